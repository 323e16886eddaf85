//! The one table from what went wrong to the answer the client gets.
//!
//! A stage's own error says what happened; at the edge it becomes one [`FailureKind`], and everything a client or an
//! operator sees follows from that: HTTP status, gRPC status, whether the connection is kept, metric labels, and the
//! text of `l5d-proxy-error` where the stage has none more exact. The table is a golden file of this crate's tests.

use std::fmt;

/// Why the proxy itself answers, instead of the peer a request was for. Closed: also the values of metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// No rule of the policy matches the request.
    RouteNotFound,
    /// No authorization allows the client.
    Unauthorized,
    /// A rate limit is exceeded.
    RateLimited,
    /// A rule forbids the connection.
    Forbidden,
    /// A gateway is not for this name.
    GatewayDomain,
    /// A gateway was reached through itself.
    GatewayLoop,
    /// No endpoint has become ready for so long that requests fail at once.
    FailFast,
    /// A limit on requests is reached, or there is no backend.
    LoadShed,
    /// The request took longer than its total timeout.
    RequestTimeout,
    /// The response took too long, counted from the end of the request.
    ResponseTimeout,
    /// The head of the response took too long.
    ResponseHeadersTimeout,
    /// Nothing was sent either way for too long.
    IdleTimeout,
    /// The timeout of a service profile's route.
    ProfileTimeout,
    /// Connecting took too long.
    ConnectTimeout,
    /// Connecting failed.
    Connect,
    /// A connection failed, or the peer closed it before it had answered.
    Io,
    /// The peer reset the HTTP/2 stream that carried an HTTP/1 request.
    UpgradedReset,
    /// The endpoint's identity is not the one the request requires.
    IdentityRequired,
    /// The backend is configured to fail.
    BackendFailed,
    /// The policy could not be understood.
    InvalidPolicy,
    /// A filter cannot be applied to this request.
    FilterError,
    /// A filter answered with a redirect.
    Redirect,
    /// A filter injected an HTTP status.
    InjectedHttp,
    /// A filter injected a gRPC status.
    InjectedGrpc,
    /// The request's target has a form its method must not have.
    MalformedTarget,
    /// The request's head or content is not what RFC 9112, or RFC 9113 section 8, allows.
    MalformedRequest,
    /// Anything else: a defect.
    Unexpected,
}

/// What is answered. A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; `None` is the one the filter chose.
    pub http: Option<u16>,
    /// The gRPC status (`grpc-status`), where the request is gRPC.
    pub grpc: GrpcStatus,
    /// Whether the client's connection is closed after the answer.
    pub close: bool,
    /// `error` of `outbound_http_route_request_statuses` and its like; empty if the answer is no error of the proxy.
    pub stream_error: &'static str,
    /// `error` of `outbound_http_errors_total` and `inbound_http_errors_total`; `None` if it is not counted there.
    pub error: Option<&'static str>,
    /// Text for `l5d-proxy-error`, where nothing more exact is known.
    pub message: &'static str,
}

/// The gRPC status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcStatus {
    /// This one.
    Code(u8),
    /// The one the filter chose.
    Chosen,
    /// The answer is never a gRPC one.
    Never,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 27] = [
        Self::RouteNotFound,
        Self::Unauthorized,
        Self::RateLimited,
        Self::Forbidden,
        Self::GatewayDomain,
        Self::GatewayLoop,
        Self::FailFast,
        Self::LoadShed,
        Self::RequestTimeout,
        Self::ResponseTimeout,
        Self::ResponseHeadersTimeout,
        Self::IdleTimeout,
        Self::ProfileTimeout,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Io,
        Self::UpgradedReset,
        Self::IdentityRequired,
        Self::BackendFailed,
        Self::InvalidPolicy,
        Self::FilterError,
        Self::Redirect,
        Self::InjectedHttp,
        Self::InjectedGrpc,
        Self::MalformedTarget,
        Self::MalformedRequest,
        Self::Unexpected,
    ];

    /// The answer.
    #[rustfmt::skip]
    pub const fn answer(self) -> Answer {
        use GrpcStatus::{Chosen, Code, Never};
        const KEEP: bool = false;
        const CLOSE: bool = true;
        match self {
            Self::RouteNotFound => row(Some(404), Code(5), KEEP, "", None, "no route found for request"),
            Self::Unauthorized => row(Some(403), Code(7), KEEP, "", None, "unauthorized"),
            Self::RateLimited => row(Some(429), Code(8), KEEP, "", None, "rate limit exceeded"),
            Self::Forbidden => row(Some(403), Code(7), CLOSE, "", None, "forbidden by policy"),
            Self::GatewayDomain => row(Some(404), Code(5), KEEP, "", Some("gateway domain invalid"), "bad gateway domain"),
            Self::GatewayLoop => row(Some(508), Code(10), CLOSE, "", Some("gateway loop"), "gateway loop detected"),
            Self::FailFast => row(Some(504), Code(4), CLOSE, "FAIL_FAST", Some("failfast"), "service in fail-fast"),
            Self::LoadShed => row(Some(503), Code(14), CLOSE, "LOAD_SHED", Some("loadshed"), "service unavailable: load shed"),
            Self::RequestTimeout => row(Some(504), Code(4), KEEP, "REQUEST_TIMEOUT", Some("response timeout"), "request timed out"),
            Self::ResponseTimeout => row(Some(504), Code(4), KEEP, "RESPONSE_STREAM_TIMEOUT", Some("response timeout"), "response timed out"),
            Self::ResponseHeadersTimeout => row(Some(504), Code(4), KEEP, "RESPONSE_HEADERS_TIMEOUT", Some("response timeout"), "response headers timed out"),
            Self::IdleTimeout => row(Some(504), Code(4), KEEP, "IDLE_TIMEOUT", Some("response timeout"), "stream timed out idle"),
            Self::ProfileTimeout => row(Some(504), Code(4), CLOSE, "REQUEST_TIMEOUT", Some("response timeout"), "response timed out by service profile"),
            Self::ConnectTimeout => row(Some(504), Code(4), CLOSE, "IO", Some("i/o"), "connect timed out"),
            Self::Connect => row(Some(502), Code(14), CLOSE, "IO", Some("i/o"), "connect failed"),
            Self::Io => row(Some(502), Code(14), CLOSE, "IO", Some("i/o"), "connection failed"),
            Self::UpgradedReset => row(Some(502), Code(14), CLOSE, "RESET", Some("i/o"), "stream reset by peer"),
            Self::IdentityRequired => row(Some(502), Code(14), CLOSE, "UNKNOWN", Some("identity required"), "required identity not matched by endpoint"),
            Self::BackendFailed => row(Some(502), Code(14), CLOSE, "UNKNOWN", Some("unexpected"), "backend is configured to fail"),
            Self::InvalidPolicy => row(Some(500), Code(13), CLOSE, "UNKNOWN", Some("unexpected"), "invalid policy"),
            Self::FilterError => row(Some(500), Code(13), CLOSE, "UNKNOWN", Some("unexpected"), "route filter failed"),
            Self::Redirect => row(None, Code(5), KEEP, "", None, "redirected"),
            Self::InjectedHttp => row(None, Code(9), KEEP, "", None, "failure injected"),
            Self::InjectedGrpc => row(Some(200), Chosen, KEEP, "", None, "failure injected"),
            Self::MalformedTarget => row(Some(400), Never, CLOSE, "", None, "malformed request target"),
            Self::MalformedRequest => row(Some(400), Never, CLOSE, "", None, "malformed request"),
            Self::Unexpected => row(Some(500), Code(13), CLOSE, "UNKNOWN", Some("unexpected"), "unexpected error"),
        }
    }

    /// The kind's name in snake case, for metrics of our own and for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RouteNotFound => "route_not_found",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Forbidden => "forbidden",
            Self::GatewayDomain => "gateway_domain",
            Self::GatewayLoop => "gateway_loop",
            Self::FailFast => "fail_fast",
            Self::LoadShed => "load_shed",
            Self::RequestTimeout => "request_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::ResponseHeadersTimeout => "response_headers_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::ProfileTimeout => "profile_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Io => "io",
            Self::UpgradedReset => "upgraded_reset",
            Self::IdentityRequired => "identity_required",
            Self::BackendFailed => "backend_failed",
            Self::InvalidPolicy => "invalid_policy",
            Self::FilterError => "filter_error",
            Self::Redirect => "redirect",
            Self::InjectedHttp => "injected_http",
            Self::InjectedGrpc => "injected_grpc",
            Self::MalformedTarget => "malformed_target",
            Self::MalformedRequest => "malformed_request",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().message)
    }
}

const fn row(
    http: Option<u16>,
    grpc: GrpcStatus,
    close: bool,
    stream_error: &'static str,
    error: Option<&'static str>,
    message: &'static str,
) -> Answer {
    Answer { http, grpc, close, stream_error, error, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_the_golden_file() {
        let mut table = String::new();
        for kind in FailureKind::ALL {
            let a = kind.answer();
            let http = a.http.map_or_else(|| "chosen".to_owned(), |s| s.to_string());
            let grpc = match a.grpc {
                GrpcStatus::Code(code) => code.to_string(),
                GrpcStatus::Chosen => "chosen".to_owned(),
                GrpcStatus::Never => "never".to_owned(),
            };
            let close = if a.close { "close" } else { "keep" };
            let error = a.error.unwrap_or("-");
            let stream = if a.stream_error.is_empty() { "-" } else { a.stream_error };
            table += &format!(
                "{} | {http} | {grpc} | {close} | {stream} | {error} | {}\n",
                kind.name(),
                a.message
            );
        }
        assert_eq!(table, include_str!("failure/golden.txt"), "the table is now:\n{table}");
    }

    #[test]
    fn every_kind_is_listed_once_and_its_text_fits_a_header() {
        assert_eq!(FailureKind::ALL.iter().collect::<BTreeSet<_>>().len(), FailureKind::ALL.len());
        assert_eq!(
            FailureKind::ALL.iter().map(|k| k.name()).collect::<BTreeSet<_>>().len(),
            FailureKind::ALL.len()
        );
        for kind in FailureKind::ALL {
            assert!(crate::HeaderValue::new(kind.to_string().as_bytes()).is_ok());
        }
    }
}
