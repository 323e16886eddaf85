//! Redirects: the `Location` a redirect filter answers with.

use crate::{RequestView, matching::PathRank};
use std::sync::Arc;
use thiserror::Error;
use weft_names::{Host, Port, authority};

/// Answers with a redirect to a URI made of the request's and of the parts given here. Source:
/// `http_route.RequestRedirect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme, in lower case; none keeps the request's.
    pub scheme: Option<Arc<str>>,
    /// The host; none keeps the request's.
    pub host: Option<Host>,
    /// The path; none keeps the request's.
    pub path: Option<RewritePath>,
    /// The port; none keeps the request's, or drops it where the scheme is given.
    pub port: Option<Port>,
    /// The status, 300 to 399; none is [`Redirect::DEFAULT_STATUS`].
    pub status: Option<u16>,
}

/// How a redirect makes its path. The query is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewritePath {
    /// All of it becomes this.
    Full(Arc<str>),
    /// The prefix that matched becomes this. Only valid in a rule that matched by prefix.
    Prefix(Arc<str>),
}

/// Why a redirect cannot be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRedirect {
    /// The prefix is to be replaced, but the rule did not match by prefix.
    #[error("a redirect replaces a path prefix, but the rule matched no prefix")]
    NoPrefix,
    /// The request has no host and the redirect gives none.
    #[error("a redirect needs a host, and neither it nor the request has one")]
    NoHost,
}

impl Redirect {
    /// What is answered where the redirect names no status.
    pub const DEFAULT_STATUS: u16 = 301;

    /// The absolute URI to redirect to, or nothing if the request already is for it. `scheme` is the request's.
    pub fn location(
        &self,
        request: &RequestView<'_>,
        scheme: &str,
        path: PathRank,
    ) -> Result<Option<String>, InvalidRedirect> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (request_host, request_port) = authority::split(request.authority).unwrap_or_default();
        let host = match &self.host {
            Some(host) => host.to_string(),
            None if request_host.is_empty() => return Err(InvalidRedirect::NoHost),
            None => text(request_host),
        };
        let new_scheme = self.scheme.as_deref().unwrap_or(scheme);
        // A port that belongs to the old scheme is not carried over to the new one.
        let port = self.port.or(if new_scheme == scheme { request_port } else { None });
        let new_path = match (&self.path, path) {
            (None, _) => text(request.path()),
            (Some(RewritePath::Full(full)), _) => full.to_string(),
            (Some(RewritePath::Prefix(with)), PathRank::Prefix(len)) => {
                replace_prefix(request.path(), len, with)
            }
            (Some(RewritePath::Prefix(_)), _) => return Err(InvalidRedirect::NoPrefix),
        };
        let unchanged = new_scheme == scheme
            && self.host.as_ref().is_none_or(|h| h.matches(request_host))
            && port == request_port
            && new_path.as_bytes() == request.path();
        if unchanged {
            return Ok(None);
        }
        let mut location = format!("{new_scheme}://{host}");
        if let Some(port) = port.filter(|p| Some(p.get()) != default_port(new_scheme)) {
            location.push(':');
            location.push_str(&port.to_string());
        }
        if !new_path.starts_with('/') {
            location.push('/');
        }
        location.push_str(&new_path);
        if let Some(query) = request.query() {
            location.push('?');
            location.push_str(&text(query));
        }
        Ok(Some(location))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The path with its first `len` bytes replaced, with one slash at the seam. A prefix of `/` has length 1, others end
/// before a slash.
fn replace_prefix(path: &[u8], len: usize, with: &str) -> String {
    let rest = String::from_utf8_lossy(path.get(len..).unwrap_or_default());
    let rest = rest.strip_prefix('/').unwrap_or(&rest);
    let with = with.strip_suffix('/').unwrap_or(with);
    if rest.is_empty() && !with.is_empty() && !path.ends_with(b"/") {
        return with.to_owned();
    }
    format!("{with}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoHeaders;

    fn location(
        redirect: &Redirect,
        authority: &str,
        target: &str,
        path: PathRank,
    ) -> Result<Option<String>, InvalidRedirect> {
        let request = RequestView {
            method: b"GET",
            authority: authority.as_bytes(),
            target: target.as_bytes(),
            headers: &NoHeaders,
        };
        redirect.location(&request, "http", path)
    }

    #[test]
    fn parts_are_replaced() {
        let any = PathRank::Prefix(1);
        let redirect = |scheme: Option<&str>, host: Option<&str>, path, port: Option<u16>| Redirect {
            scheme: scheme.map(Arc::from),
            host: host.map(|h| h.parse().unwrap()),
            path,
            port: port.and_then(Port::new),
            status: None,
        };
        let full = |p: &str| Some(RewritePath::Full(p.into()));
        let prefix = |p: &str| Some(RewritePath::Prefix(p.into()));
        for (redirect, authority, target, rank, expect) in [
            (redirect(Some("https"), None, None, None), "web:8080", "/a?b", any, Some("https://web/a?b")),
            (redirect(Some("https"), None, None, Some(8443)), "web", "/a", any, Some("https://web:8443/a")),
            (redirect(Some("https"), None, None, Some(443)), "web", "/a", any, Some("https://web/a")),
            (redirect(Some("http"), None, None, None), "web", "/a", any, None),
            (redirect(None, Some("other"), None, None), "web:81", "/a", any, Some("http://other:81/a")),
            (redirect(None, Some("[::1]"), None, Some(81)), "web", "/a", any, Some("http://[::1]:81/a")),
            (redirect(None, Some("WEB"), None, None), "web", "/a", any, None),
            (redirect(None, None, None, Some(8080)), "web:8080", "/a", any, None),
            (redirect(None, None, full("/x"), None), "web", "/a?q", any, Some("http://web/x?q")),
            (redirect(None, None, full("/a"), None), "web", "/a?q", any, None),
            (redirect(None, None, full("x"), None), "web", "/a", any, Some("http://web/x")),
            (
                redirect(None, None, prefix("/v2"), None),
                "web",
                "/v1/x",
                PathRank::Prefix(3),
                Some("http://web/v2/x"),
            ),
            (
                redirect(None, None, prefix("/v2"), None),
                "web",
                "/v1",
                PathRank::Prefix(3),
                Some("http://web/v2"),
            ),
            (
                redirect(None, None, prefix("/v2/"), None),
                "web",
                "/v1/",
                PathRank::Prefix(3),
                Some("http://web/v2/"),
            ),
            (redirect(None, None, prefix("/v2"), None), "web", "/x", any, Some("http://web/v2/x")),
            (
                redirect(None, None, prefix("/"), None),
                "web",
                "/v1/x",
                PathRank::Prefix(3),
                Some("http://web/x"),
            ),
            (redirect(None, None, prefix("/"), None), "web", "/v1", PathRank::Prefix(3), Some("http://web/")),
            (redirect(None, None, prefix("/"), None), "web", "/x", any, None),
        ] {
            assert_eq!(
                location(&redirect, authority, target, rank).unwrap().as_deref(),
                expect,
                "{redirect:?} {authority} {target}"
            );
        }
    }

    #[test]
    fn what_cannot_be_redirected() {
        let redirect = Redirect { path: Some(RewritePath::Prefix("/x".into())), ..Redirect::default() };
        assert_eq!(location(&redirect, "web", "/a", PathRank::Exact(2)), Err(InvalidRedirect::NoPrefix));
        assert_eq!(location(&redirect, "web", "/a", PathRank::Regex(2)), Err(InvalidRedirect::NoPrefix));
        assert_eq!(
            location(&Redirect::default(), "", "/a", PathRank::Exact(2)),
            Err(InvalidRedirect::NoHost)
        );
    }
}
