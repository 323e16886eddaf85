//! The router as clients see it, over a store with certificates and views that are made up.

mod document;
mod errors;
mod lists;

use super::{Views, router};
use crate::types::{Check, CheckState, ManifestProblem, Port, Protocol, Proxy, Readiness, Service, Workload};
use axum::{Router, body::Body};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tower::ServiceExt;
use weft_store::{NewAuthority, NewCertificate, PrivateKey, Store};

const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

#[derive(Default)]
struct Made {
    services: Mutex<Vec<Service>>,
    failed: Mutex<bool>,
}

impl Views for Made {
    fn services(&self) -> Vec<Service> {
        self.services.lock().unwrap().clone()
    }

    fn workloads(&self) -> Vec<Workload> {
        vec![Workload {
            namespace: "default".into(),
            name: "web-0".into(),
            service: Some("web".into()),
            service_account: "web".into(),
            identity: WEB.into(),
            address: "10.1.0.5".into(),
            ports: vec![Port { port: 8080, name: Some("http".into()), protocol: Protocol::Http2 }],
            labels: [("app".into(), "web".into())].into(),
            ready: true,
            lease_until: Some(at(15)),
            created_at: Some(at(0)),
        }]
    }

    fn proxies(&self) -> Vec<Proxy> {
        [("web-0", Some(WEB)), ("old", None)]
            .map(|(name, identity)| Proxy {
                namespace: "default".into(),
                name: name.into(),
                identity: identity.map(Into::into),
                address: "10.1.0.5:40112".into(),
                connected_at: Some(at(1)),
                destination_streams: 2,
                policy_streams: 1,
                certificate: None,
            })
            .into()
    }

    fn readiness(&self) -> Readiness {
        let failed = *self.failed.lock().unwrap();
        let state = if failed { CheckState::Failed } else { CheckState::Degraded };
        Readiness {
            ready: !failed,
            checks: vec![Check { name: "store".into(), state, detail: Some("the disk is full".into()) }],
            problems: vec![ManifestProblem {
                file: "policy/web.yaml".into(),
                line: Some(7),
                object: Some("Server default/web".into()),
                message: "spec.port: expected a number or a name".into(),
            }],
        }
    }

    fn trust_domain(&self) -> String {
        "cluster.local".into()
    }
}

struct Served {
    router: Router,
    views: Arc<Made>,
    store: Store,
    _dir: TempDir,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn service(namespace: &str, name: &str) -> Service {
    Service {
        namespace: namespace.into(),
        name: name.into(),
        host: format!("{name}.{namespace}.svc.cluster.local"),
        address: Some("10.96.0.2".into()),
        ports: vec![Port { port: 80, name: None, protocol: Protocol::Detect }],
        endpoints: 2,
        ready_endpoints: 1,
        created_at: None,
    }
}

/// An API over `certificates` rows, of which every second one is of [`WEB`].
async fn serve(certificates: i64) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "test", at(0)).await.unwrap();
    let authority = |name: &str| NewAuthority {
        name: name.into(),
        certificate: vec![1],
        private_key: PrivateKey::new(vec![2]),
        fingerprint: name.into(),
        not_before: at(0),
        not_after: at(1),
    };
    let root = store.add_trust_root(&authority("root"), at(0)).await.unwrap();
    let issuer = store.replace_issuer(root.generation, &authority("issuer"), at(0)).await.unwrap();
    for i in 0..certificates {
        let new = NewCertificate {
            serial: format!("{i:032x}"),
            identity: if i % 2 == 0 { WEB.into() } else { "other".into() },
            not_before: Timestamp::UNIX_EPOCH,
            // By the real clock: the first has expired, the rest have not.
            not_after: if i == 0 { Timestamp::from_second(1).unwrap() } else { at(1_000_000_000) },
            issuer_generation: issuer.generation,
            requester: "10.1.0.5:40112".into(),
            token_id: (i % 2 == 0).then(|| "abc".into()),
            fingerprint: format!("{i:064x}"),
        };
        store.record_certificate(&new, at(i)).await.unwrap();
    }
    let views = Arc::new(Made::default());
    views.services.lock().unwrap().push(service("default", "web"));
    let router = router(Arc::<Made>::clone(&views), store.clone());
    Served { router, views, store, _dir: dir }
}

impl Served {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        let status = response.status();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            if status.is_success() || path == "/v1/readiness" {
                "application/json"
            } else {
                "application/problem+json"
            },
            "{path}"
        );
        (status, json(response).await)
    }
}

async fn json(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
