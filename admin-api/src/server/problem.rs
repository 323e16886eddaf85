//! Errors as answers.

use crate::types::{Fault, Problem};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use weft_store::StoreError;

/// A problem as an answer: its status, `application/problem+json`. Boxed, so that the good answers stay small.
#[derive(Debug)]
pub(crate) struct ProblemResponse(Box<Problem>);

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// No such object.
pub(super) fn not_found(uri: &Uri, what: &str) -> ProblemResponse {
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:not-found".into(),
        title: "Not found".into(),
        status: StatusCode::NOT_FOUND.as_u16(),
        detail: Some(format!("there is no {what}")),
        instance: Some(uri.path().to_owned()),
        advice: None,
        faults: Vec::new(),
    })
}

/// Parts of the request are wrong.
pub(super) fn bad_request(uri: &Uri, faults: Vec<Fault>) -> ProblemResponse {
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:bad-request".into(),
        title: "Bad request".into(),
        status: StatusCode::BAD_REQUEST.as_u16(),
        detail: None,
        instance: Some(uri.path().to_owned()),
        advice: None,
        faults,
    })
}

/// The state could not be read.
pub(super) fn store(uri: &Uri, error: &StoreError) -> ProblemResponse {
    tracing::warn!(%error, source = std::error::Error::source(error).map(ToString::to_string), "admin API");
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:state".into(),
        title: "The state cannot be read".into(),
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        detail: Some(error.to_string()),
        instance: Some(uri.path().to_owned()),
        advice: Some(error.advice().to_owned()),
        faults: Vec::new(),
    })
}

/// Fallback of the router.
pub(super) async fn unknown_path(uri: Uri) -> ProblemResponse {
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:unknown-path".into(),
        title: "Not found".into(),
        status: StatusCode::NOT_FOUND.as_u16(),
        detail: Some("there is nothing at this path".into()),
        instance: Some(uri.path().to_owned()),
        advice: Some("see /openapi.json for the paths there are".into()),
        faults: Vec::new(),
    })
}

/// Fallback of every route; the router adds `Allow`.
pub(super) async fn unknown_method(method: Method, uri: Uri) -> ProblemResponse {
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:method-not-allowed".into(),
        title: "Method not allowed".into(),
        status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        detail: Some("this path can only be read".into()),
        instance: Some(uri.path().to_owned()),
        advice: None,
        faults: vec![Fault {
            location: "method".into(),
            found: Some(method.to_string()),
            expected: "GET or HEAD".into(),
        }],
    })
}
