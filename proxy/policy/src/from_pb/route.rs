//! Matches and filters, which inbound and outbound routes share.

use super::{At, Invalid, Problem, each, required, shared};
use crate::{
    Filter, HeaderName, HeaderValue, Pattern,
    filter::{GrpcFailure, HeaderEdit, HttpFailure, Ratio, Redirect, RewritePath},
    limits::MAX_MATCHES,
    matching::{GrpcMatch, HeaderMatch, HttpMatch, PathMatch, QueryMatch, RpcMatch, ValueMatch},
};
use linkerd2_proxy_api::{grpc_route, http_route, http_types};
use std::sync::Arc;
use weft_names::Port;

// --- matches

pub(super) fn http_matches(matches: &[http_route::HttpRouteMatch]) -> Result<Vec<HttpMatch>, Problem> {
    each(matches, "matches", MAX_MATCHES, http_match)
}

pub(super) fn grpc_matches(matches: &[grpc_route::GrpcRouteMatch]) -> Result<Vec<GrpcMatch>, Problem> {
    each(matches, "matches", MAX_MATCHES, grpc_match)
}

fn http_match(m: &http_route::HttpRouteMatch) -> Result<HttpMatch, Problem> {
    Ok(HttpMatch {
        path: m.path.as_ref().map(path).transpose().at("path")?,
        headers: headers(&m.headers)?,
        query: each(&m.query_params, "query_params", MAX_MATCHES, query)?,
        method: m.method.as_ref().map(shared::method).transpose().at("method")?,
        condition: None,
    })
}

fn grpc_match(m: &grpc_route::GrpcRouteMatch) -> Result<GrpcMatch, Problem> {
    let named = |s: &str| (!s.is_empty()).then(|| Arc::from(s));
    let rpc = m.rpc.as_ref().map(|rpc| RpcMatch { service: named(&rpc.service), method: named(&rpc.method) });
    Ok(GrpcMatch { rpc: rpc.filter(|r| *r != RpcMatch::default()), headers: headers(&m.headers)? })
}

fn path(path: &http_route::PathMatch) -> Result<PathMatch, Problem> {
    use http_route::path_match::Kind;
    let absolute = |path: &str| {
        if path.starts_with('/') { Ok(Arc::from(path)) } else { Err(Problem::from(Invalid::Path)) }
    };
    Ok(match path.kind.as_ref().ok_or(Invalid::UnknownKind)? {
        Kind::Exact(path) => PathMatch::Exact(absolute(path)?),
        Kind::Prefix(path) => PathMatch::Prefix(absolute(path)?),
        Kind::Regex(regex) => PathMatch::Regex(pattern(regex)?),
    })
}

pub(super) fn pattern(regex: &str) -> Result<Pattern, Problem> {
    Ok(Pattern::new(regex).map_err(Invalid::Pattern)?)
}

fn headers(headers: &[http_route::HeaderMatch]) -> Result<Vec<HeaderMatch>, Problem> {
    use http_route::header_match::Value;
    each(headers, "headers", MAX_MATCHES, |header| {
        let value = match required(&header.value, "value")? {
            Value::Exact(value) => ValueMatch::exact(value),
            Value::Regex(regex) => ValueMatch::Regex(pattern(regex)?),
        };
        Ok(HeaderMatch { name: header_name(&header.name)?, value })
    })
}

fn query(query: &http_route::QueryParamMatch) -> Result<QueryMatch, Problem> {
    use http_route::query_param_match::Value;
    let value = match required(&query.value, "value")? {
        Value::Exact(value) => ValueMatch::exact(value),
        Value::Regex(regex) => ValueMatch::Regex(pattern(regex)?),
    };
    Ok(QueryMatch { name: Arc::from(query.name.as_str()), value })
}

// --- filters

pub(super) fn http_failure(f: &http_route::HttpFailureInjector) -> Result<Filter, Problem> {
    let status = status(f.status, 100..=999)?;
    Ok(Filter::FailHttp(HttpFailure {
        status,
        message: Arc::from(f.message.as_str()),
        ratio: ratio(&f.ratio)?,
    }))
}

pub(super) fn grpc_failure(f: &grpc_route::GrpcFailureInjector) -> Result<Filter, Problem> {
    Ok(Filter::FailGrpc(GrpcFailure {
        code: f.code,
        message: Arc::from(f.message.as_str()),
        ratio: ratio(&f.ratio)?,
    }))
}

pub(super) fn request_headers(m: &http_route::RequestHeaderModifier) -> Result<Filter, Problem> {
    Ok(Filter::RequestHeaders(edit(&m.add, &m.set, &m.remove)?))
}

pub(super) fn response_headers(m: &http_route::ResponseHeaderModifier) -> Result<Filter, Problem> {
    Ok(Filter::ResponseHeaders(edit(&m.add, &m.set, &m.remove)?))
}

pub(super) fn redirect(r: &http_route::RequestRedirect) -> Result<Filter, Problem> {
    use http_route::path_modifier::Replace;
    let host = match r.host.as_str() {
        "" => None,
        host => Some(host.parse().map_err(Invalid::Name).at("host")?),
    };
    let port = match r.port {
        0 => None,
        port => Some(Port::try_from(port).map_err(Invalid::Port).at("port")?),
    };
    let path = match &r.path {
        None => None,
        Some(path) => Some(match required(&path.replace, "path.replace")? {
            Replace::Full(path) => RewritePath::Full(Arc::from(path.as_str())),
            Replace::Prefix(path) => RewritePath::Prefix(Arc::from(path.as_str())),
        }),
    };
    let status = match r.status {
        0 => None,
        n => Some(status(n, 300..=399)?),
    };
    let scheme = r.scheme.as_ref().map(shared::scheme).transpose().at("scheme")?;
    Ok(Filter::Redirect(Redirect { scheme, host, path, port, status }))
}

fn edit(
    add: &Option<http_types::Headers>,
    set: &Option<http_types::Headers>,
    remove: &[String],
) -> Result<HeaderEdit, Problem> {
    let fields = |fields: &Option<http_types::Headers>, field: &str| match fields {
        None => Ok(Vec::new()),
        Some(fields) => each(&fields.headers, field, MAX_MATCHES, |header| {
            let value = HeaderValue::new(&header.value).map_err(Invalid::Header).at("value")?;
            Ok((header_name(&header.name)?, value))
        }),
    };
    Ok(HeaderEdit {
        add: fields(add, "add")?,
        set: fields(set, "set")?,
        remove: each(remove, "remove", MAX_MATCHES, |name| header_name(name))?,
    })
}

fn header_name(name: &str) -> Result<HeaderName, Problem> {
    name.parse().map_err(Invalid::Header).at("name")
}

fn ratio(ratio: &Option<http_route::Ratio>) -> Result<Option<Ratio>, Problem> {
    ratio.as_ref().map(Ratio::from_pb).transpose().at("ratio")
}

fn status(status: u32, allowed: std::ops::RangeInclusive<u16>) -> Result<u16, Problem> {
    let fits = u16::try_from(status).ok().filter(|s| allowed.contains(s));
    fits.ok_or_else(|| Invalid::Range(status.into())).at("status")
}
