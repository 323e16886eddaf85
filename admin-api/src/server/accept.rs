//! There is one representation of everything: JSON. Who accepts none of it is told so.

use super::problem::ProblemResponse;
use crate::types::{Fault, Problem};
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Refuses requests whose `Accept` leaves out `application/json` (RFC 9110 section 12.5.1), and marks answers as not
/// to be stored.
pub(super) async fn json_only(request: Request, next: Next) -> Response {
    let mut response = match refused(request.headers()) {
        Some(found) => not_acceptable(request.uri().path(), found).into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The field's value, if it leaves out JSON.
fn refused(headers: &HeaderMap) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    // An empty field accepts anything, as an absent one does.
    let mut ranges = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek()?;
    if ranges.any(accepts_json) { None } else { Some(values.join(", ")) }
}

fn accepts_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let wanted = ["application/json", "application/problem+json", "application/*", "*/*"]
        .iter()
        .any(|json| media_type.eq_ignore_ascii_case(json));
    let weight_is_zero = parts.any(|parameter| {
        parameter
            .split_once('=')
            .filter(|(name, _)| name.eq_ignore_ascii_case("q"))
            .and_then(|(_, weight)| weight.parse::<f32>().ok())
            == Some(0.0)
    });
    wanted && !weight_is_zero
}

fn not_acceptable(path: &str, found: String) -> ProblemResponse {
    ProblemResponse::from(Problem {
        kind: "urn:weft:problem:not-acceptable".into(),
        title: "Not acceptable".into(),
        status: StatusCode::NOT_ACCEPTABLE.as_u16(),
        detail: Some("everything here is JSON".into()),
        instance: Some(path.to_owned()),
        advice: Some("leave the Accept header out".into()),
        faults: vec![Fault {
            location: "header.accept".into(),
            found: Some(found),
            expected: "application/json among what is accepted".into(),
        }],
    })
}
