//! The token that local administrators have: whoever can read the file in the state directory.

use super::problem::ProblemResponse;
use crate::types::Problem;
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

/// The file in the state directory that holds the token of the HTTPS listener; mode 0600.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Lets only requests pass that have `Authorization: Bearer <token>`.
///
/// For the HTTPS listener, which is on loopback by default: every user of the machine can connect to it, only those who
/// can read [`ADMIN_TOKEN_FILE`] may ask.
pub fn require_token(router: Router, token: &str) -> Router {
    let expected = blake3::hash(token.as_bytes());
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let presented =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(
                |value| {
                    let (scheme, token) = value.split_once(' ')?;
                    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
                },
            );
        // Hashes compare in constant time.
        match presented {
            Some(token) if blake3::hash(token.as_bytes()) == expected => next.run(request).await,
            presented => unauthorized(request.uri().path(), presented.is_some()),
        }
    }))
}

fn unauthorized(path: &str, presented: bool) -> Response {
    let detail = if presented { "the bearer token is not the right one" } else { "there is no bearer token" };
    let problem = Problem {
        kind: "urn:weft:problem:unauthorized".into(),
        title: "Not authorized".into(),
        status: StatusCode::UNAUTHORIZED.as_u16(),
        detail: Some(detail.into()),
        instance: Some(path.to_owned()),
        advice: Some(format!(
            "send `Authorization: Bearer` with what is in the file {ADMIN_TOKEN_FILE} of the state directory, or use the \
             Unix socket there"
        )),
        faults: Vec::new(),
    };
    let mut response = ProblemResponse::from(problem).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weft\""));
    response
}
