//! Matches and filters, which inbound and outbound routes share.

use super::shared;
use crate::{
    HeaderName, HeaderValue,
    filter::{GrpcFailure, HeaderEdit, HttpFailure, Ratio, Redirect, RewritePath},
    matching::{GrpcMatch, HeaderMatch, HttpMatch, PathMatch, QueryMatch, ValueMatch},
};
use linkerd2_proxy_api::{grpc_route, http_route, http_types};

// --- matches

pub(super) fn http_match(m: &HttpMatch) -> http_route::HttpRouteMatch {
    http_route::HttpRouteMatch {
        path: m.path.as_ref().map(path),
        headers: m.headers.iter().map(header).collect(),
        query_params: m.query.iter().map(query).collect(),
        method: m.method.as_ref().map(shared::method),
    }
}

/// The call is always told, empty where it is any: proxies look for it.
pub(super) fn grpc_match(m: &GrpcMatch) -> grpc_route::GrpcRouteMatch {
    let rpc = m.rpc.clone().unwrap_or_default();
    let text = |part: Option<std::sync::Arc<str>>| part.map(|p| p.to_string()).unwrap_or_default();
    grpc_route::GrpcRouteMatch {
        rpc: Some(grpc_route::GrpcRpcMatch { service: text(rpc.service), method: text(rpc.method) }),
        headers: m.headers.iter().map(header).collect(),
    }
}

fn path(path: &PathMatch) -> http_route::PathMatch {
    use http_route::path_match::Kind;
    let kind = match path {
        PathMatch::Exact(path) => Kind::Exact(path.to_string()),
        PathMatch::Prefix(path) => Kind::Prefix(path.to_string()),
        PathMatch::Regex(pattern) => Kind::Regex(pattern.as_str().to_owned()),
    };
    http_route::PathMatch { kind: Some(kind) }
}

fn header(header: &HeaderMatch) -> http_route::HeaderMatch {
    use http_route::header_match::Value;
    let value = match &header.value {
        ValueMatch::Exact(value) => Value::Exact(value.to_vec()),
        ValueMatch::Regex(pattern) => Value::Regex(pattern.as_str().to_owned()),
    };
    http_route::HeaderMatch { name: header.name.to_string(), value: Some(value) }
}

/// A value that is no text cannot be told exactly; what stands in its place matches nothing that is sent.
fn query(query: &QueryMatch) -> http_route::QueryParamMatch {
    use http_route::query_param_match::Value;
    let value = match &query.value {
        ValueMatch::Exact(value) => Value::Exact(String::from_utf8_lossy(value).into_owned()),
        ValueMatch::Regex(pattern) => Value::Regex(pattern.as_str().to_owned()),
    };
    http_route::QueryParamMatch { name: query.name.to_string(), value: Some(value) }
}

// --- filters

pub(super) fn http_failure(f: &HttpFailure) -> http_route::HttpFailureInjector {
    http_route::HttpFailureInjector {
        status: f.status.into(),
        message: f.message.to_string(),
        ratio: f.ratio.map(ratio),
    }
}

pub(super) fn grpc_failure(f: &GrpcFailure) -> grpc_route::GrpcFailureInjector {
    grpc_route::GrpcFailureInjector {
        code: f.code,
        message: f.message.to_string(),
        ratio: f.ratio.map(ratio),
    }
}

pub(super) fn request_headers(edit: &HeaderEdit) -> http_route::RequestHeaderModifier {
    http_route::RequestHeaderModifier {
        add: fields(&edit.add),
        set: fields(&edit.set),
        remove: edit.remove.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn response_headers(edit: &HeaderEdit) -> http_route::ResponseHeaderModifier {
    http_route::ResponseHeaderModifier {
        add: fields(&edit.add),
        set: fields(&edit.set),
        remove: edit.remove.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn redirect(redirect: &Redirect) -> http_route::RequestRedirect {
    use http_route::path_modifier::Replace;
    let replace = redirect.path.as_ref().map(|path| match path {
        RewritePath::Full(path) => Replace::Full(path.to_string()),
        RewritePath::Prefix(path) => Replace::Prefix(path.to_string()),
    });
    http_route::RequestRedirect {
        scheme: redirect.scheme.as_deref().map(shared::scheme),
        host: redirect.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        path: replace.map(|replace| http_route::PathModifier { replace: Some(replace) }),
        port: redirect.port.map_or(0, |port| port.get().into()),
        status: redirect.status.unwrap_or(0).into(),
    }
}

fn fields(fields: &[(HeaderName, HeaderValue)]) -> Option<http_types::Headers> {
    use http_types::headers::Header;
    let field = |(name, value): &(HeaderName, HeaderValue)| Header {
        name: name.to_string(),
        value: value.as_bytes().to_vec(),
    };
    (!fields.is_empty()).then(|| http_types::Headers { headers: fields.iter().map(field).collect() })
}

fn ratio(ratio: Ratio) -> http_route::Ratio {
    http_route::Ratio { numerator: ratio.numerator(), denominator: ratio.denominator() }
}
