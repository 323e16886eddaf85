//! What the admin server answers, as a function of a request: Linkerd's paths, statuses and texts.

use super::Admin;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::{collections::BTreeMap, net::SocketAddr};

/// Longest body of `PUT /proxy-log-level`, in bytes.
const MAX_FILTER: usize = 16 * 1024;

type Reply = Response<Full<Bytes>>;

impl Admin {
    /// Answers one request of `client`.
    pub(super) async fn answer(&self, client: SocketAddr, request: Request<Incoming>) -> Reply {
        let local = client.ip().to_canonical().is_loopback();
        let path = request.uri().path().to_owned();
        match (path.as_str(), request.method()) {
            ("/live", _) => text(StatusCode::OK, "live\n"),
            ("/ready", _) => match self.readiness.check() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(what) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\nwaiting for {what}\n"))
                }
            },
            ("/metrics", _) => self.metrics(),
            ("/env.json", _) => env_json(&request),
            ("/proxy-log-level" | "/shutdown", _) if !local => {
                text(StatusCode::FORBIDDEN, "Requests are only permitted from localhost.")
            }
            ("/proxy-log-level", &Method::GET) => text(StatusCode::OK, self.log.filter()),
            ("/proxy-log-level", &Method::PUT) => self.set_log_level(request).await,
            ("/proxy-log-level", _) => method_not_allowed("GET, PUT"),
            ("/shutdown", _) if !self.shutdown_enabled => text(
                StatusCode::NOT_FOUND,
                "shutdown endpoint is not enabled: set LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED=true\n",
            ),
            ("/shutdown", &Method::POST) => {
                // Already ending if nobody takes it.
                let _ = self.shutdown.try_send(());
                text(StatusCode::OK, "shutdown\n")
            }
            ("/shutdown", _) => method_not_allowed("POST"),
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    fn metrics(&self) -> Reply {
        let mut reply = text(StatusCode::OK, self.telemetry.page());
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
        reply
    }

    async fn set_log_level(&self, request: Request<Incoming>) -> Reply {
        let Ok(body) = Limited::new(request.into_body(), MAX_FILTER).collect().await else {
            return text(
                StatusCode::BAD_REQUEST,
                format!("the filter is longer than {MAX_FILTER} bytes or broke off\n"),
            );
        };
        let body = body.to_bytes();
        let outcome = match std::str::from_utf8(&body) {
            Ok(filter) => self.log.set_filter(filter.trim()),
            Err(error) => Err(format!("the filter is not UTF-8: {error}")),
        };
        match outcome {
            Ok(()) => {
                let mut reply = text(StatusCode::NO_CONTENT, "");
                reply.headers_mut().remove(header::CONTENT_TYPE);
                reply
            }
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

/// The environment, or the variables named in the query: `?A&B`.
fn env_json<B>(request: &Request<B>) -> Reply {
    let accepts_json = request.headers().get_all(header::ACCEPT).iter().all(|accept| {
        accept.to_str().is_ok_and(|accept| {
            accept.contains("application/json") || accept.contains("application/*") || accept.contains("*/*")
        })
    });
    if !accepts_json {
        return text(StatusCode::NOT_ACCEPTABLE, "only application/json is available\n");
    }
    let query = request.uri().query().unwrap_or("");
    if query.contains('=') {
        return text(StatusCode::BAD_REQUEST, "the query names variables, without values: ?NAME&NAME\n");
    }
    let all = std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), Some(value.to_string_lossy().into_owned()))
    });
    let mut shown: BTreeMap<String, Option<String>> = all.collect();
    let wanted: Vec<_> = query.split('&').filter(|name| !name.is_empty()).collect();
    if !wanted.is_empty() {
        shown = wanted.iter().map(|name| ((*name).to_owned(), shown.get(*name).cloned().flatten())).collect();
    }
    let mut reply = text(StatusCode::OK, serde_json::to_string(&shown).unwrap_or_default());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "");
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    reply
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}
