//! `weft demo --check`: every promise put to the test on a mesh of its own, one after the other.

mod changes;
mod counters;
mod protocols;
mod scene;
mod security;
pub mod table;

pub use self::table::{Check, Outcome};

use self::scene::{Observed, Scene};
use super::{Ground, mesh::Options, plain::say};
use std::time::{Duration, Instant};

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Widest lines.
const WIDTH: usize = 120;

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Http1,
    Http2,
    GrpcUnary,
    GrpcStream,
    WebSocket,
    Tcp,
    TcpHalfClose,
    ServerFirst,
    Identity,
    Permission,
    Counters,
    SlowReplica,
    ReplicaChange,
    ControlPlane,
    Drain,
    Renewal,
    Wire,
}

impl Step {
    const ALL: [Self; 18] = [
        Self::Start,
        Self::Http1,
        Self::Http2,
        Self::GrpcUnary,
        Self::GrpcStream,
        Self::WebSocket,
        Self::Tcp,
        Self::TcpHalfClose,
        Self::ServerFirst,
        Self::Identity,
        Self::Permission,
        Self::Counters,
        Self::SlowReplica,
        Self::ReplicaChange,
        Self::ControlPlane,
        Self::Drain,
        Self::Renewal,
        Self::Wire,
    ];

    fn id(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::GrpcUnary => "grpc-unary",
            Self::GrpcStream => "grpc-stream",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::TcpHalfClose => "tcp-half-close",
            Self::ServerFirst => "server-first",
            Self::Identity => "identity",
            Self::Permission => "permission",
            Self::Counters => "counters",
            Self::SlowReplica => "slow-replica",
            Self::ReplicaChange => "replica-change",
            Self::ControlPlane => "control-plane-killed",
            Self::Drain => "drain",
            Self::Renewal => "certificate-renewal",
            Self::Wire => "wire-tls13",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Start => "first meshed request within 3 s of the start",
            Self::Http1 => "HTTP/1.1 requests on one connection, bodies echoed",
            Self::Http2 => "HTTP/2 with prior knowledge, requests at once on one connection",
            Self::GrpcUnary => "unary gRPC calls answered with status 0",
            Self::GrpcStream => "a gRPC stream both ways, and its trailers",
            Self::WebSocket => "messages echoed, and ticks that nobody asked for one by one",
            Self::Tcp => "a protocol of its own, both ways on one connection",
            Self::TcpHalfClose => "an answer after our end of file and not before",
            Self::ServerFirst => "the server's greeting without waiting for the client",
            Self::Identity => {
                "the server is told who asks, whatever the client says; the client has verified the server"
            }
            Self::Permission => {
                "without permission 403, a reason in the header and a metric; with it 200; as the manifest says"
            }
            Self::Counters => {
                "every metrics page parses; its counters are those of the load generator, to the request"
            }
            Self::SlowReplica => "the slow one of three replicas gets under a sixth",
            Self::ReplicaChange => "a replica added and one removed under load: 0 failed",
            Self::ControlPlane => {
                "control plane killed and started again under load: 0 failed; then a new endpoint is learnt"
            }
            Self::Drain => "SIGTERM to a proxy under load: 0 failed, what was in flight ends, exit code 0",
            Self::Renewal => "a certificate is renewed while a connection stays open",
            Self::Wire => {
                "nothing but TLS 1.3 between workloads, no marker in it; the marker is seen where there is no mesh"
            }
        }
    }

    /// Why it cannot be shown without namespaces.
    fn not_on_loopback(self) -> Option<&'static str> {
        match self {
            Self::Permission => Some("proxies let in whatever comes from loopback, as Linkerd's do"),
            Self::Wire => Some("there is no wire between workloads"),
            _ => None,
        }
    }

    async fn run(self, scene: &mut Scene) -> anyhow::Result<Observed> {
        match self {
            Self::Start => scene.start().await,
            Self::Http1 => protocols::http1(scene).await,
            Self::Http2 => protocols::http2(scene).await,
            Self::GrpcUnary => protocols::grpc_unary(scene).await,
            Self::GrpcStream => protocols::grpc_stream(scene).await,
            Self::WebSocket => protocols::websocket(scene).await,
            Self::Tcp => protocols::tcp(scene).await,
            Self::TcpHalfClose => protocols::tcp_half_close(scene).await,
            Self::ServerFirst => protocols::server_first(scene).await,
            Self::Identity => security::identity(scene).await,
            Self::Permission => security::permission(scene).await,
            Self::Counters => counters::counters(scene).await,
            Self::SlowReplica => changes::slow_replica(scene).await,
            Self::ReplicaChange => changes::replica_change(scene).await,
            Self::ControlPlane => changes::control_plane(scene).await,
            Self::Drain => changes::drain(scene).await,
            Self::Renewal => security::renewal(scene).await,
            Self::Wire => security::wire(scene).await,
        }
    }
}

/// Runs all checks and removes everything. With `lines`, each is told as soon as it is made.
///
/// # Errors
/// The mesh could not be started.
pub async fn run(options: &Options, ground: &Ground, lines: bool) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let tell = |text: &str| {
        if lines {
            say(text);
        }
    };
    tell(&format!("weft demo --check on {}", ground.name));
    for missing in &ground.missing {
        tell(&format!("  {missing}"));
    }
    let width = terminal_width();
    let mut scene = Scene::new(options, started).await?;
    let mut outcome = Outcome::default();
    for step in Step::ALL {
        if let (None, Some(why)) = (&scene.capture, step.not_on_loopback()) {
            tell(&format!("--  {:<22}         not shown here: {why}", step.id()));
            continue;
        }
        let begun = if step == Step::Start { started } else { Instant::now() };
        let observed = match tokio::time::timeout(PATIENCE, step.run(&mut scene)).await {
            Ok(Ok(observed)) => observed,
            Ok(Err(error)) => Observed { ok: false, text: format!("{error:#}") },
            Err(_) => Observed { ok: false, text: format!("not done within {PATIENCE:?}") },
        };
        let check = Check {
            id: step.id().to_owned(),
            ok: observed.ok,
            expected: step.expected().to_owned(),
            observed: observed.text,
            ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        tell(&check.lines(width));
        outcome.push(check);
    }
    let removed = scene.mesh.stop().await;
    tell(&removed);
    tell(&outcome.summary());
    Ok(outcome)
}

/// Columns of the terminal, or as many as most have.
fn terminal_width() -> usize {
    let size = ratatui::crossterm::terminal::size();
    size.map_or(WIDTH, |(columns, _)| usize::from(columns)).clamp(80, WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_words() {
        let ids: BTreeSet<_> = Step::ALL.iter().map(|step| step.id()).collect();
        assert_eq!(ids.len(), Step::ALL.len());
        for id in ids {
            assert!(id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'), "{id}");
        }
    }
}
