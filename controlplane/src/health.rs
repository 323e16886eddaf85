//! Health and metrics: `/live`, `/ready`, `/metrics` on port 9990, in plaintext for whoever asks.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while the process runs |
//! | `/ready` | 200 when every part works; else 503 and a line for each that does not |
//! | `/ready?verbose` | the same statuses, and everything there is to say, as JSON ([`Readiness`]) |
//! | `/metrics` | Prometheus' text format |
//!
//! A degraded part, such as a manifest that is bad while the last good one is in force, leaves the control plane ready.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use jiff::Timestamp;
use weft_admin_api::types::{Check, CheckState, ManifestProblem, Readiness};
use weft_model::{Kind, Mesh, Problem, fact::authz::RouteGroup};
use weft_store::Store;

use crate::{
    identity::{Authority, Outcome, Outcomes, Renew as _},
    mesh_tls::{Failure, MeshTls},
    metrics::{
        Metrics, process,
        text::{CONTENT_TYPE, Text},
    },
    proxies::Proxies,
    registry::Registry,
};

/// The parts whose health is looked at.
pub struct Health {
    /// Facts, views, and problems of manifests.
    pub mesh: Mesh,
    /// The state.
    pub store: Store,
    /// The issuer.
    pub authority: Arc<Authority>,
    /// What became of requests for certificates.
    pub outcomes: Arc<Outcomes>,
    /// The control plane's own certificates.
    pub tls: Arc<MeshTls>,
    /// Leases.
    pub registry: Arc<Registry>,
    /// Connected proxies.
    pub proxies: Proxies,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether all listeners are up, and none has been told to stop.
    pub serving: Arc<AtomicBool>,
}

impl Health {
    /// How the parts are.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let now = Timestamp::now();
        let problems = self.mesh.read(|mesh| {
            let all = mesh.facts().problems().flat_map(|(_, problems)| problems.iter());
            all.map(manifest_problem).collect::<Vec<_>>()
        });
        let checks = vec![
            match self.serving.load(Ordering::Relaxed) {
                true => check("listeners", CheckState::Ok, None),
                false => check("listeners", CheckState::Failed, Some("starting, or stopping".to_owned())),
            },
            {
                let state = self.store.write_state();
                match state.advice() {
                    None => check("store", CheckState::Ok, None),
                    Some(advice) => {
                        let detail = format!("{}; {advice}", state.as_str());
                        check("store", CheckState::Degraded, Some(detail))
                    }
                }
            },
            valid("identity", "the issuer's chain", self.authority.issuer_not_after(), now),
            valid("mesh-tls", "the control plane's own certificate", self.tls.not_after(), now),
            match problems.len() {
                0 => check("manifests", CheckState::Ok, None),
                count => {
                    let detail = format!("{count} problems; what was last good is in force");
                    check("manifests", CheckState::Degraded, Some(detail))
                }
            },
        ];
        let ready = checks.iter().all(|check| check.state != CheckState::Failed);
        Readiness { ready, checks, problems }
    }

    /// The metrics page.
    #[must_use]
    pub fn page(&self) -> String {
        let mut text = Text::default();
        self.metrics.write(&mut text);
        self.write_identity(&mut text);
        self.write_mesh(&mut text);
        process::write(&mut text);
        text.finish()
    }

    fn write_identity(&self, text: &mut Text) {
        let left = self.authority.issuer_not_after().duration_since(Timestamp::now());
        text.gauge(
            "issuer_cert_ttl_seconds",
            "How long the issuer's chain is valid yet, in seconds.",
            left.as_secs_f64().max(0.0),
        );
        text.family(
            "weft_identity_requests_total",
            "counter",
            "Requests for certificates, by what became of them.",
        );
        for outcome in Outcome::ALL {
            let labels = [("outcome", outcome.as_str())];
            text.sample("weft_identity_requests_total", &labels, self.outcomes.value(outcome));
        }
        text.family(
            "weft_tls_failures_total",
            "counter",
            "gRPC connections not accepted, by what went wrong.",
        );
        for failure in Failure::ALL {
            let labels = [("failure", failure.as_str())];
            text.sample("weft_tls_failures_total", &labels, self.tls.failures().value(failure));
        }
    }

    fn write_mesh(&self, text: &mut Text) {
        text.gauge("weft_proxies", "Proxies with a call open.", self.proxies.count());
        text.gauge("weft_registry_workloads", "Workloads registered.", self.registry.workloads());
        self.mesh.read(|mesh| {
            let facts = mesh.facts();
            text.counter("weft_projection_generation", "Changes of the mesh so far.", mesh.generation());
            text.gauge("weft_projection_views", "Different things subscribed to.", mesh.views());
            text.gauge("weft_services", "Services known.", facts.services().count());
            text.gauge("weft_workloads", "Workloads known.", facts.workloads().count());
            text.family("weft_manifest_objects", "gauge", "Objects of manifests in force, by kind.");
            for (kind, label) in KINDS {
                text.sample("weft_manifest_objects", &[("kind", label)], facts.count(kind));
            }
            let problems: usize = facts.problems().map(|(_, problems)| problems.len()).sum();
            text.gauge("weft_manifest_problems", "What is wrong with manifests.", problems);
        });
        text.gauge("weft_ready", "Whether the control plane is ready.", u8::from(self.readiness().ready));
    }
}

const KINDS: [(Kind, &str); 10] = [
    (Kind::Service, "Service"),
    (Kind::Server, "Server"),
    (Kind::ServerAuthorization, "ServerAuthorization"),
    (Kind::AuthorizationPolicy, "AuthorizationPolicy"),
    (Kind::MeshTlsAuthentication, "MeshTLSAuthentication"),
    (Kind::NetworkAuthentication, "NetworkAuthentication"),
    (Kind::ServiceProfile, "ServiceProfile"),
    (Kind::HttpRoute(RouteGroup::Linkerd), "HTTPRoute.policy.linkerd.io"),
    (Kind::HttpRoute(RouteGroup::Gateway), "HTTPRoute.gateway.networking.k8s.io"),
    (Kind::GrpcRoute, "GRPCRoute"),
];

fn check(name: &str, state: CheckState, detail: Option<String>) -> Check {
    Check { name: name.to_owned(), state, detail }
}

fn valid(name: &str, what: &str, until: Timestamp, now: Timestamp) -> Check {
    match until > now {
        true => check(name, CheckState::Ok, None),
        false => {
            let detail =
                format!("{what} was valid until {until:.0}, and it is {now:.0}: is the clock right?");
            check(name, CheckState::Failed, Some(detail))
        }
    }
}

fn manifest_problem(problem: &Problem) -> ManifestProblem {
    let line = problem.source.at.line;
    let text = problem.to_string();
    let place = format!("{}: ", problem.source);
    ManifestProblem {
        file: problem.source.file.to_string(),
        line: (line > 0).then_some(line),
        object: None,
        message: text.strip_prefix(&place).unwrap_or(&text).to_owned(),
    }
}

/// The routes.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.as_deref().unwrap_or_default().split('&').any(|part| {
        matches!(part.split_once('=').unwrap_or((part, "")), ("verbose", value) if value != "0" && value != "false")
    });
    if verbose {
        return (status, Json(readiness)).into_response();
    }
    let mut lines = if readiness.ready { "ready\n".to_owned() } else { "not ready\n".to_owned() };
    for check in readiness.checks.iter().filter(|check| check.state != CheckState::Ok) {
        let Check { name, state, detail } = check;
        lines.push_str(&format!(
            "{name} {}: {}\n",
            state.as_str(),
            detail.as_deref().unwrap_or("no details")
        ));
    }
    (status, lines).into_response()
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], health.page()).into_response()
}
