//! Filters of routes and backends.

use std::sync::Arc;

use weft_names::{Host, Port};
use weft_policy::{
    Filter, HeaderName, HeaderValue,
    filter::{HeaderEdit, Redirect, RewritePath},
};

use super::reader::{At, Reader};

/// The most filters in one list, by the API.
const MAX_FILTERS: usize = 16;
/// The most headers in one list of a modifier, by the API.
const MAX_HEADERS: usize = 16;

#[derive(Clone, Copy)]
enum Type {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Unsupported,
}

/// Reads the filters of an HTTPRoute.
pub(super) fn http(list: &At<'_>, r: &mut Reader) -> Vec<Filter> {
    list.items(r, MAX_FILTERS, filter)
}

/// Reads the filters of a GRPCRoute, of which the proxy API has fewer.
pub(super) fn grpc(list: &At<'_>, r: &mut Reader) -> Vec<Filter> {
    list.items(r, MAX_FILTERS, |at, r| match filter(at, r)? {
        filter @ Filter::RequestHeaders(_) => Some(filter),
        _ => {
            at.reject(r, "this filter is not supported here; expected RequestHeaderModifier");
            None
        }
    })
}

fn filter(at: &At<'_>, r: &mut Reader) -> Option<Filter> {
    at.fields(r, |f, r| {
            let type_at = f.need(r, "type", "what the filter does")?;
            let kind = type_at.choice(
                r,
                &[
                    ("RequestHeaderModifier", Type::RequestHeaders),
                    ("ResponseHeaderModifier", Type::ResponseHeaders),
                    ("RequestRedirect", Type::Redirect),
                    ("RequestMirror", Type::Unsupported),
                    ("URLRewrite", Type::Unsupported),
                    ("ExtensionRef", Type::Unsupported),
                    ("CORS", Type::Unsupported),
                ],
            );
            f.ignore(&["requestMirror", "urlRewrite", "extensionRef", "cors"]);
            let request = f.get("requestHeaderModifier");
            let response = f.get("responseHeaderModifier");
            let redirect_at = f.get("requestRedirect");
            let missing = |field: &str, r: &mut Reader| {
                f.here().reject(r, format!("{field} is missing"));
                None
            };
            match kind? {
                Type::RequestHeaders => match request {
                    Some(at) => headers(&at, r).map(Filter::RequestHeaders),
                    None => missing("requestHeaderModifier", r),
                },
                Type::ResponseHeaders => match response {
                    Some(at) => headers(&at, r).map(Filter::ResponseHeaders),
                    None => missing("responseHeaderModifier", r),
                },
                Type::Redirect => match redirect_at {
                    Some(at) => redirect(&at, r).map(Filter::Redirect),
                    None => missing("requestRedirect", r),
                },
                Type::Unsupported => {
                    type_at.reject(
                        r,
                        "this filter is not supported; expected RequestHeaderModifier, ResponseHeaderModifier or RequestRedirect",
                    );
                    None
                }
            }
        })
}

fn headers(at: &At<'_>, r: &mut Reader) -> Option<HeaderEdit> {
    at.fields(r, |f, r| {
        let add = f.get("add").map(|at| pairs(&at, r)).unwrap_or_default();
        let set = f.get("set").map(|at| pairs(&at, r)).unwrap_or_default();
        let remove = match f.get("remove") {
            Some(list) => {
                list.items(r, MAX_HEADERS, |at, r| at.parse(r, "a header's name", str::parse::<HeaderName>))
            }
            None => Vec::new(),
        };
        Some(HeaderEdit { add, set, remove })
    })
}

fn pairs(list: &At<'_>, r: &mut Reader) -> Vec<(HeaderName, HeaderValue)> {
    list.items(r, MAX_HEADERS, |at, r| {
        at.fields(r, |f, r| {
            let name = f
                .need(r, "name", "a header's name")
                .and_then(|at| at.parse(r, "a header's name", str::parse::<HeaderName>));
            let value = f
                .need(r, "value", "the header's value")
                .and_then(|at| at.parse(r, "a header's value", |text| HeaderValue::new(text.as_bytes())));
            Some((name?, value?))
        })
    })
}

fn redirect(at: &At<'_>, r: &mut Reader) -> Option<Redirect> {
    at.fields(r, |f, r| {
        let scheme = f.get("scheme").and_then(|at| {
            at.choice(r, &[("http", Arc::<str>::from("http")), ("https", Arc::from("https"))])
        });
        let host = f
            .get("hostname")
            .and_then(|at| at.parse(r, "a host", |text| text.parse::<Host>().map_err(|_| "")));
        let path = f.get("path").and_then(|at| path(&at, r));
        let port = f.get("port").and_then(|at| at.port(r)).and_then(Port::new);
        let status = match f.get("statusCode") {
            Some(at) => match at.integer(r, 300..=399) {
                Some(status @ (301 | 302)) => Some(status),
                Some(_) => {
                    at.reject(r, "expected 301 or 302");
                    None
                }
                None => None,
            },
            None => Some(302),
        };
        Some(Redirect { scheme, host, path, port, status: Some(status?) })
    })
}

fn path(at: &At<'_>, r: &mut Reader) -> Option<RewritePath> {
    at.fields(r, |f, r| {
        let full = f.get("replaceFullPath");
        let prefix = f.get("replacePrefixMatch");
        let is_full = f
            .need(r, "type", "ReplaceFullPath or ReplacePrefixMatch")?
            .choice(r, &[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)])?;
        let absolute = |text: &str| match text.starts_with('/') {
            true => Ok(Arc::from(text)),
            false => Err(""),
        };
        match (is_full, full, prefix) {
            (true, Some(at), None) => {
                at.parse(r, "a path that begins with /", absolute).map(RewritePath::Full)
            }
            (false, None, Some(at)) => {
                at.parse(r, "a path that begins with /", absolute).map(RewritePath::Prefix)
            }
            _ => {
                f.here().reject(r, "expected the one field that goes with the type");
                None
            }
        }
    })
}
