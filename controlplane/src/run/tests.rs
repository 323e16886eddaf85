//! Whole control planes over loopback.

use std::{fs, path::Path, time::Duration};

use linkerd2_proxy_api::destination::{GetDestination, destination_client::DestinationClient};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::config::Ports;

const PATIENCE: Duration = Duration::from_secs(60);

fn config(state: &Path) -> Config {
    let mut config = Config::with_state(state, "test").unwrap();
    config.ports = Ports { destination: 0, policy: 0, identity: 0, metrics: 0, dns: 0 };
    config.admin = Some(([127, 0, 0, 1], 0).into());
    config
}

struct Running {
    bound: Bound,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(config: Config) -> Self {
        let plane = ControlPlane::start(config).await.unwrap_or_else(|error| panic!("{:#?}", error.lines()));
        let bound = plane.bound().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(plane.run_until(async { drop(stopped.await) }));
        Self { bound, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.expect("it ends in time").unwrap().unwrap();
    }

    async fn get(&self, path: &str) -> (u16, String) {
        exchange(TcpStream::connect(self.bound.metrics).await.unwrap(), "GET", path, "").await
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let stream = UnixStream::connect(&self.bound.socket).await.unwrap();
        let (status, body) = exchange(stream, method, path, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut response)).await.expect("an answer in time").unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn it_starts_ready_and_says_what_it_does() {
    let state = TempDir::new().unwrap();
    let running = Running::start(config(state.path())).await;
    assert_eq!(running.get("/live").await, (200, "live\n".into()));
    assert_eq!(running.get("/ready").await, (200, "ready\n".into()));
    let (status, body) = running.get("/ready?verbose").await;
    let readiness: weft_admin_api::types::Readiness = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && readiness.ready && readiness.checks.len() == 5, "{body}");

    let (status, answer) =
        running.admin("PUT", "/registry/v1/workloads/default/web-0", r#"{"service":"web"}"#).await;
    assert_eq!(status, 201, "{answer}");
    let told = answer["addresses"]["destination"]["address"].as_str().unwrap();
    assert_eq!(told, running.bound.destination.to_string());
    assert_eq!(
        answer["addresses"]["policy"]["name"],
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    let (status, services) = running.admin("GET", "/v1/services", "").await;
    assert_eq!(
        (status, &services["items"][0]["host"]),
        (200, &"web.default.svc.cluster.local".into()),
        "{services}"
    );
    let (_, workloads) = running.admin("GET", "/v1/workloads", "").await;
    assert!(workloads["items"][0]["leaseUntil"].is_string(), "{workloads}");

    let request = GetDestination {
        path: "web.default.svc.cluster.local:80".into(),
        context_token: r#"{"ns":"default","pod":"web-0"}"#.into(),
        ..Default::default()
    };
    let mut client =
        DestinationClient::connect(format!("http://{}", running.bound.destination)).await.unwrap();
    let mut stream = client.get(request).await.unwrap().into_inner();
    assert!(timeout(PATIENCE, stream.message()).await.unwrap().unwrap().is_some());
    let (_, proxies) = running.admin("GET", "/v1/proxies", "").await;
    assert_eq!(
        (&proxies["items"][0]["name"], &proxies["items"][0]["destinationStreams"]),
        (&"web-0".into(), &1.into())
    );

    let (status, page) = running.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "weft_ready 1",
        "weft_registry_workloads 1",
        "weft_proxies 1",
        "weft_manifest_problems 0",
        "process_max_fds",
    ] {
        assert!(page.lines().any(|l| l.starts_with(line)), "{line} is not in\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        assert!(matches!(value, Some(Ok(_))), "{line}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_was_started_is_there_again_after_a_restart() {
    let state = TempDir::new().unwrap();
    let first = Running::start(config(state.path())).await;
    let body = r#"{"service":"web","ports":[{"port":8080}]}"#;
    let (_, before) = first.admin("PUT", "/registry/v1/workloads/default/web-0", body).await;
    first.stop().await;
    let second = Running::start(config(state.path())).await;
    let (status, after) = second.admin("PUT", "/registry/v1/workloads/default/web-0", body).await;
    assert_eq!((status, &after["ip"], &after["serviceIp"]), (200, &before["ip"], &before["serviceIp"]));
    assert_eq!(after["trustAnchors"], before["trustAnchors"]);
    second.stop().await;
}

#[tokio::test]
async fn two_cannot_have_one_state() {
    let state = TempDir::new().unwrap();
    let running = Running::start(config(state.path())).await;
    let error = ControlPlane::start(config(state.path())).await.err().unwrap();
    assert!(matches!(error, RunError::State(OpenError::InUse { .. })), "{error:?}");
    assert_eq!((error.exit_code(), error.lines().len()), (1, 2));
    assert_eq!(running.get("/ready").await.0, 200, "the first goes on, also on its socket");
    assert_eq!(running.admin("GET", "/v1/readiness", "").await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn all_ports_that_are_taken_are_told_with_their_options() {
    let state = TempDir::new().unwrap();
    let taken =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [policy, dns] = taken.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let mut config = config(state.path());
    config.ports.policy = policy;
    config.ports.dns = dns;
    let error = ControlPlane::start(config).await.err().unwrap();
    let lines = error.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("policy cannot listen on 127.0.0.1:{policy} (--policy-port): ")),
        "{lines:?}"
    );
    assert!(lines[1].contains("(--dns-port)"), "{lines:?}");
    assert!(fs::read_dir(state.path()).unwrap().next().is_none(), "the state was not touched");
}

#[tokio::test]
async fn bad_manifests_are_a_usage_error_with_every_line() {
    let state = TempDir::new().unwrap();
    let path = state.path().join("bad.yaml");
    fs::write(&path, "kind: Servr\n---\nkind: Server\napiVersion: policy.linkerd.io/v1beta3\n").unwrap();
    let error =
        ControlPlane::start(Config { manifests: vec![path], ..config(state.path()) }).await.err().unwrap();
    assert_eq!(error.exit_code(), 64);
    assert_eq!(error.lines().len(), 4, "{:#?}", error.lines());
}

#[tokio::test]
async fn a_manifest_that_goes_bad_is_shown_and_leaves_it_ready() {
    let state = TempDir::new().unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("web.yaml");
    let good = "{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web}, spec: {port: 80, podSelector: {}}}";
    fs::write(&path, good).unwrap();
    let running =
        Running::start(Config { manifests: vec![dir.path().to_owned()], ..config(state.path()) }).await;
    assert_eq!(running.get("/ready").await, (200, "ready\n".into()));
    fs::write(&path, good.replace("port: 80", "port: 0")).unwrap();
    let degraded = async {
        loop {
            let (status, body) = running.get("/ready").await;
            if body != "ready\n" {
                return (status, body);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (status, body) = timeout(PATIENCE, degraded).await.expect("the problem shows");
    assert_eq!(
        (status, &*body),
        (200, "ready\nmanifests degraded: 1 problems; what was last good is in force\n")
    );
    let (_, readiness) = running.admin("GET", "/v1/readiness", "").await;
    assert_eq!(
        (&readiness["problems"][0]["line"], &readiness["ready"]),
        (&1.into(), &true.into()),
        "{readiness}"
    );
    running.stop().await;
}
