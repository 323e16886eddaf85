//! `HTTPRoute` and `GRPCRoute`.

use std::{sync::Arc, time::Duration};

use weft_policy::{
    Filter, HeaderName, Method,
    matching::{GrpcMatch, HeaderMatch, HostMatch, HttpMatch, PathMatch, QueryMatch, RpcMatch, ValueMatch},
};

use super::{
    annotations::Annotations,
    expression, filter,
    meta::{self, Meta},
    reader::{At, Fields, Reader},
};
use crate::{
    duration,
    fact::{
        GrpcRoute, HttpRoute, Id, ParentRef,
        authz::RouteGroup,
        route::{BackendRef, GrpcRule, HttpRule},
    },
};

/// `spec.hostnames`, by the API.
const MAX_HOSTS: usize = 16;
/// `spec.parentRefs`, by the API.
const MAX_PARENTS: usize = 32;
/// `spec.rules`, by the API.
const MAX_RULES: usize = 16;
/// Matches, headers, parameters or backends in one rule; the API has 8, 16 or 64 for most.
const MAX_ITEMS: usize = 64;
/// The greatest weight, by the API.
const MAX_WEIGHT: i128 = 1_000_000;

/// Reads `spec` of an `HTTPRoute`.
pub(super) fn http(
    group: RouteGroup,
    meta: Meta<'_>,
    spec: &Fields<'_>,
    r: &mut Reader,
) -> Option<HttpRoute> {
    let before = r.count();
    let parents = parents(spec, r, group, &meta.id.namespace);
    let hosts = hosts(spec, r);
    let rules = match spec.get("rules") {
        Some(list) => list.items(r, MAX_RULES, |at, r| http_rule(at, r, &meta.id.namespace)),
        // The API's default: one rule for everything.
        None => {
            let (matches, filters, backends) = (Vec::new(), Vec::new(), Vec::new());
            vec![HttpRule { matches, filters, backends, request_timeout: None }]
        }
    };
    let traffic = Annotations(&meta.annotations).route(r);
    if r.count() > before {
        return None;
    }
    let Meta { id, created, source, .. } = meta;
    Some(HttpRoute { group, id, created, parents, hosts, rules, traffic, source })
}

/// Reads `spec` of a `GRPCRoute`.
pub(super) fn grpc(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<GrpcRoute> {
    let before = r.count();
    let parents = parents(spec, r, RouteGroup::Gateway, &meta.id.namespace);
    let hosts = hosts(spec, r);
    let rules = match spec.get("rules") {
        Some(list) => list.items(r, MAX_RULES, |at, r| grpc_rule(at, r, &meta.id.namespace)),
        None => Vec::new(),
    };
    let traffic = Annotations(&meta.annotations).route(r);
    if r.count() > before {
        return None;
    }
    let Meta { id, created, source, .. } = meta;
    Some(GrpcRoute { id, created, parents, hosts, rules, traffic, source })
}

fn parents(spec: &Fields<'_>, r: &mut Reader, group: RouteGroup, own: &Arc<str>) -> Vec<ParentRef> {
    let Some(list) = spec.get("parentRefs") else { return Vec::new() };
    list.items(r, MAX_PARENTS, |at, r| Some(parent(at, r, group, own))).into_iter().flatten().collect()
}

/// A parent of ours; `None` for those of others, such as a Gateway, and for bad ones.
fn parent(at: &At<'_>, r: &mut Reader, group: RouteGroup, own: &Arc<str>) -> Option<ParentRef> {
    at.fields(r, |f, r| {
        let parent_group = f.get("group").and_then(|at| at.text(r)).unwrap_or(group.as_str());
        let kind = f.get("kind").and_then(|at| at.text(r)).unwrap_or("Gateway");
        let namespace = match f.get("namespace") {
            Some(at) => at.parse(r, "a namespace", meta::label),
            None => Some(own.clone()),
        };
        let name = f
            .need(r, "name", "the name of the object meant")
            .and_then(|at| at.parse(r, "an object's name", meta::subdomain));
        let section = f.get("sectionName");
        let port_at = f.get("port");
        let port = port_at.as_ref().and_then(|at| at.port(r));
        let id = Id { namespace: namespace?, name: name? };
        match (parent_group, kind) {
            ("policy.linkerd.io", "Server") => {
                if id.namespace != *own {
                    at.reject(r, "a route and its Server must be in the same namespace");
                    return None;
                }
                if let Some(at) = section.or(port_at) {
                    at.reject(r, "a Server has no sections and only one port");
                    return None;
                }
                Some(ParentRef::Server(id))
            }
            ("" | "core", "Service") => {
                if let Some(at) = section {
                    at.reject(r, "a Service has no sections");
                    return None;
                }
                Some(ParentRef::Service(id, port))
            }
            (_, "Service") => {
                at.reject(r, "a Service is of group core: expected `group: core`");
                None
            }
            (_, "Server") => {
                at.reject(r, "a Server is of group policy.linkerd.io");
                None
            }
            ("policy.linkerd.io", kind) => {
                at.reject(
                    r,
                    format!("{} cannot be a parent; expected Server, or core Service", kind.escape_debug()),
                );
                None
            }
            _ => None,
        }
    })
}

fn hosts(spec: &Fields<'_>, r: &mut Reader) -> Vec<HostMatch> {
    let Some(list) = spec.get("hostnames") else { return Vec::new() };
    list.items(r, MAX_HOSTS, |at, r| {
        at.parse(r, "a host name, or *.SUFFIX", |text| text.parse::<HostMatch>().map_err(|_| ""))
    })
}

fn http_rule(at: &At<'_>, r: &mut Reader, own: &Arc<str>) -> Option<HttpRule> {
    at.fields(r, |f, r| {
        f.ignore(&["name"]);
        let matches = f.get("matches").map(|at| at.items(r, MAX_ITEMS, http_match)).unwrap_or_default();
        let filters = f.get("filters").map(|at| filter::http(&at, r)).unwrap_or_default();
        let backends = f.get("backendRefs").map(|at| backends(&at, r, own, filter::http)).unwrap_or_default();
        let request_timeout = f.get("timeouts").and_then(|at| request_timeout(&at, r));
        Some(HttpRule { matches, filters, backends, request_timeout })
    })
}

/// `{request, backendRequest}`. The latter has no effect in Linkerd either; it is checked all the same.
fn request_timeout(at: &At<'_>, r: &mut Reader) -> Option<Duration> {
    at.fields(r, |f, r| {
        let read = |at: At<'_>, r: &mut Reader| at.parse(r, "a duration", duration::gateway);
        let request = f.get("request").and_then(|at| read(at, r));
        let backend = f.get("backendRequest");
        let backend_request = backend.clone().and_then(|at| read(at, r));
        if let (Some(request), Some(backend_request), Some(at)) = (request, backend_request, backend)
            && !request.is_zero()
            && backend_request > request
        {
            at.reject(r, "backendRequest must not be longer than request");
        }
        request.filter(|request| !request.is_zero())
    })
}

fn http_match(at: &At<'_>, r: &mut Reader) -> Option<HttpMatch> {
    at.fields(r, |f, r| {
        let path = f.get("path").and_then(|at| path_match(&at, r));
        let headers = f.get("headers").map(|at| headers(&at, r)).unwrap_or_default();
        let query = f.get("queryParams").map(|at| query(&at, r)).unwrap_or_default();
        let method = f.get("method").and_then(|at| at.parse(r, "an HTTP method", str::parse::<Method>));
        Some(HttpMatch { path, headers, query, method, condition: None })
    })
}

fn path_match(at: &At<'_>, r: &mut Reader) -> Option<PathMatch> {
    #[derive(Clone, Copy)]
    enum Type {
        Exact,
        Prefix,
        Regex,
    }
    at.fields(r, |f, r| {
        let value = f.get("value");
        let kind = match f.get("type") {
            Some(at) => at.choice(
                r,
                &[("Exact", Type::Exact), ("PathPrefix", Type::Prefix), ("RegularExpression", Type::Regex)],
            )?,
            None => Type::Prefix,
        };
        let absolute = |text: &str| match text.starts_with('/') {
            true => Ok(Arc::from(text)),
            false => Err(""),
        };
        match (kind, value) {
            (Type::Prefix, None) => Some(PathMatch::Prefix("/".into())),
            (Type::Exact, Some(at)) => {
                at.parse(r, "a path that begins with /", absolute).map(PathMatch::Exact)
            }
            (Type::Prefix, Some(at)) => {
                at.parse(r, "a path that begins with /", absolute).map(PathMatch::Prefix)
            }
            (Type::Regex, Some(at)) => expression(&at, r).map(PathMatch::Regex),
            (Type::Exact | Type::Regex, None) => {
                f.here().reject(r, "value is missing");
                None
            }
        }
    })
}

fn headers(list: &At<'_>, r: &mut Reader) -> Vec<HeaderMatch> {
    let name = |at: &At<'_>, r: &mut Reader| at.parse(r, "a header's name", str::parse::<HeaderName>);
    let matches = named_values(list, r, name).into_iter();
    matches.map(|(name, value)| HeaderMatch { name, value }).collect()
}

fn query(list: &At<'_>, r: &mut Reader) -> Vec<QueryMatch> {
    let name = |at: &At<'_>, r: &mut Reader| at.text(r).map(Arc::from);
    let matches = named_values(list, r, name).into_iter();
    matches.map(|(name, value)| QueryMatch { name, value }).collect()
}

/// A list of `{type, name, value}`.
fn named_values<N>(
    list: &At<'_>,
    r: &mut Reader,
    read_name: impl Fn(&At<'_>, &mut Reader) -> Option<N>,
) -> Vec<(N, ValueMatch)> {
    list.items(r, MAX_ITEMS, |at, r| {
        at.fields(r, |f, r| {
            let is_regex = match f.get("type") {
                Some(at) => at.choice(r, &[("Exact", false), ("RegularExpression", true)])?,
                None => false,
            };
            let name = f.need(r, "name", "a name").and_then(|at| read_name(&at, r));
            let value = f.need(r, "value", "a value").and_then(|at| match is_regex {
                true => expression(&at, r).map(ValueMatch::Regex),
                false => at.text(r).map(ValueMatch::exact),
            });
            Some((name?, value?))
        })
    })
}

fn grpc_rule(at: &At<'_>, r: &mut Reader, own: &Arc<str>) -> Option<GrpcRule> {
    at.fields(r, |f, r| {
        f.ignore(&["name"]);
        let matches = f.get("matches").map(|at| at.items(r, MAX_ITEMS, grpc_match)).unwrap_or_default();
        let filters = f.get("filters").map(|at| filter::grpc(&at, r)).unwrap_or_default();
        let backends = f.get("backendRefs").map(|at| backends(&at, r, own, filter::grpc)).unwrap_or_default();
        Some(GrpcRule { matches, filters, backends })
    })
}

fn grpc_match(at: &At<'_>, r: &mut Reader) -> Option<GrpcMatch> {
    at.fields(r, |f, r| {
        let rpc = f.get("method").and_then(|at| rpc(&at, r));
        let headers = f.get("headers").map(|at| headers(&at, r)).unwrap_or_default();
        Some(GrpcMatch { rpc, headers })
    })
}

fn rpc(at: &At<'_>, r: &mut Reader) -> Option<RpcMatch> {
    at.fields(r, |f, r| {
        if let Some(kind) = f.get("type") {
            kind.choice(r, &[("Exact", ())]);
        }
        let name = |at: At<'_>, r: &mut Reader| at.text(r).map(Arc::from);
        let service = f.get("service").and_then(|at| name(at, r));
        let method = f.get("method").and_then(|at| name(at, r));
        if service.is_none() && method.is_none() {
            f.here().reject(r, "expected service, method or both");
            return None;
        }
        Some(RpcMatch { service, method })
    })
}

fn backends(
    list: &At<'_>,
    r: &mut Reader,
    own: &Arc<str>,
    read_filters: fn(&At<'_>, &mut Reader) -> Vec<Filter>,
) -> Vec<BackendRef> {
    list.items(r, MAX_ITEMS, |at, r| {
        at.fields(r, |f, r| {
            let group: Arc<str> = f.get("group").and_then(|at| at.text(r)).unwrap_or_default().into();
            let kind: Arc<str> = f.get("kind").and_then(|at| at.text(r)).unwrap_or("Service").into();
            let namespace = match f.get("namespace") {
                Some(at) => at.parse(r, "a namespace", meta::label),
                None => Some(own.clone()),
            };
            let name = f
                .need(r, "name", "the name of the service")
                .and_then(|at| at.parse(r, "an object's name", meta::subdomain));
            let port = f.get("port").and_then(|at| at.port(r));
            let weight = match f.get("weight") {
                Some(at) => at.integer(r, 0..=MAX_WEIGHT),
                None => Some(1),
            };
            let filters = f.get("filters").map(|at| read_filters(&at, r)).unwrap_or_default();
            let is_service = matches!(&*group, "" | "core") && &*kind == "Service";
            if is_service && port.is_none() {
                f.here().reject(r, "a Service needs a port");
            }
            let id = Id { namespace: namespace?, name: name? };
            Some(BackendRef { group, kind, id, port, weight: weight?, filters })
        })
    })
}
