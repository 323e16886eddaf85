//! The registry over HTTP, for the Unix socket in the state directory: whoever may open it is a local administrator.
//!
//! | request | does |
//! |---|---|
//! | `PUT /registry/v1/workloads/{namespace}/{pod}` | registers, changes or renews; 201 if it is new |
//! | `DELETE /registry/v1/workloads/{namespace}/{pod}` | removes; 204 also if there is none |
//! | `GET /registry/v1/workloads/{namespace}/{pod}` | `{"namespace", "pod", "ttlSeconds"}`, or 404 |
//! | `GET /registry/v1/workloads` | `{"workloads": […]}` |

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use weft_admin_api::Problem;
use weft_model::fact::Id;
use weft_store::StoreError;

use super::{
    Lease, Moment, Registry, RegistryError,
    api::{Registration, faults},
};
use crate::identity::CertifyError;

/// The largest body: 64 KiB.
const MAX_BODY: usize = 64 * 1024;

/// The routes.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/registry/v1/workloads", get(list))
        .route("/registry/v1/workloads/{namespace}/{pod}", get(one).put(register).delete(remove))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(registry)
}

/// The answer to `GET /registry/v1/workloads`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workloads {
    /// Every workload, by namespace and name.
    pub workloads: Vec<Listed>,
}

/// A workload in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its namespace.
    pub namespace: String,
    /// Its pod name.
    pub pod: String,
    /// How long its lease lasts yet.
    pub ttl_seconds: f64,
}

async fn register(
    State(registry): State<Arc<Registry>>,
    Path((namespace, pod)): Path<(String, String)>,
    body: Result<Json<Registration>, JsonRejection>,
) -> Response {
    let registration = match body {
        Ok(Json(registration)) => registration,
        Err(rejection) => {
            let text = rejection.body_text();
            return problem(rejection.status(), "bad-request", "Bad request", Some(text), None);
        }
    };
    let id = Id::new(namespace, pod);
    let faults = faults(&id, &registration);
    if !faults.is_empty() {
        let problem =
            Problem { faults, ..new_problem(StatusCode::BAD_REQUEST, "bad-request", "Bad request") };
        return answer(problem);
    }
    match registry.register(&id, &registration, Moment::now()).await {
        Ok(answer) => {
            let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
            (status, Json(answer)).into_response()
        }
        Err(error) => refused(&error),
    }
}

async fn remove(
    State(registry): State<Arc<Registry>>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Response {
    match registry.remove(&Id::new(namespace, pod), Moment::now()).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(&error),
    }
}

async fn one(
    State(registry): State<Arc<Registry>>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Response {
    let id = Id::new(namespace, pod);
    match registry.leases(Moment::now()).get(&id) {
        Some(lease) => Json(listed(&id, lease)).into_response(),
        None => {
            let detail = Some(format!("there is no workload {id}"));
            problem(StatusCode::NOT_FOUND, "not-found", "Not found", detail, None)
        }
    }
}

fn listed(id: &Id, lease: &Lease) -> Listed {
    Listed {
        namespace: id.namespace.to_string(),
        pod: id.name.to_string(),
        ttl_seconds: lease.remaining.as_secs_f64(),
    }
}

async fn list(State(registry): State<Arc<Registry>>) -> Json<Workloads> {
    let leases = registry.leases(Moment::now());
    Json(Workloads { workloads: leases.iter().map(|(id, lease)| listed(id, lease)).collect() })
}

fn refused(error: &RegistryError) -> Response {
    let store = |store: &StoreError| {
        let status = match store {
            StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        problem(status, "not-written", "Not written", Some(store.to_string()), Some(store.advice()))
    };
    match error {
        RegistryError::AddressTaken { .. } => {
            let advice = "choose another address, or leave it out to be given one";
            problem(StatusCode::CONFLICT, "conflict", "Conflict", Some(error.to_string()), Some(advice))
        }
        RegistryError::IdentityTooLong(_) => {
            let advice = "choose shorter names";
            problem(
                StatusCode::BAD_REQUEST,
                "bad-request",
                "Bad request",
                Some(error.to_string()),
                Some(advice),
            )
        }
        RegistryError::Store(error) | RegistryError::Token(CertifyError::Store(error)) => store(error),
        RegistryError::Token(source) => {
            let detail = Some(format!("{error}: {source}"));
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-token", "No join token", detail, None)
        }
    }
}

fn problem(
    status: StatusCode,
    kind: &str,
    title: &str,
    detail: Option<String>,
    advice: Option<&'static str>,
) -> Response {
    answer(Problem { detail, advice: advice.map(str::to_owned), ..new_problem(status, kind, title) })
}

fn new_problem(status: StatusCode, kind: &str, title: &str) -> Problem {
    Problem {
        kind: format!("urn:weft:problem:{kind}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: None,
        instance: None,
        advice: None,
        faults: Vec::new(),
    }
}

fn answer(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(problem)).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
