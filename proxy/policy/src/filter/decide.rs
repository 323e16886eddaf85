//! Whether filters let a request go on.

use super::{Filter, GrpcFailure, HeaderEdit, HttpFailure, InvalidRedirect, Redirect};
use crate::{FailureKind, RequestView, matching::PathRank};

/// What the filters say about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It goes on, with the edits of [`request_edits`].
    Forward,
    /// It is answered with a redirect.
    Redirect {
        /// The status.
        status: u16,
        /// The `Location`.
        location: String,
    },
    /// It is answered with a status somebody chose.
    FailHttp(&'a HttpFailure),
    /// It is answered with a gRPC status somebody chose.
    FailGrpc(&'a GrpcFailure),
    /// A redirect cannot be made: an internal error.
    InvalidRedirect(InvalidRedirect),
    /// The filters cannot be applied: an internal error, or a closed connection.
    Invalid {
        /// What is wrong.
        message: &'a str,
    },
    /// Not allowed: the connection is closed.
    Forbidden,
}

/// What `filters` say about `request`, which matched by `path` and came by `scheme`. `random` gives uniformly random
/// numbers, one for each failure that is injected only sometimes. Allocates only for the location of a redirect.
pub fn decide<'a>(
    filters: &'a [Filter],
    request: &RequestView<'_>,
    scheme: &str,
    path: PathRank,
    random: &mut dyn FnMut() -> u64,
) -> Verdict<'a> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => {}
            Filter::FailHttp(failure) => {
                if failure.ratio.is_none_or(|r| r.happens(random())) {
                    return Verdict::FailHttp(failure);
                }
            }
            Filter::FailGrpc(failure) => {
                if failure.ratio.is_none_or(|r| r.happens(random())) {
                    return Verdict::FailGrpc(failure);
                }
            }
            Filter::Redirect(redirect) => match redirect.location(request, scheme, path) {
                Ok(None) => {}
                Ok(Some(location)) => {
                    let status = redirect.status.unwrap_or(Redirect::DEFAULT_STATUS);
                    return Verdict::Redirect { status, location };
                }
                Err(error) => return Verdict::InvalidRedirect(error),
            },
            Filter::Forbidden => return Verdict::Forbidden,
            Filter::Invalid { message } | Filter::InternalError { message } => {
                return Verdict::Invalid { message };
            }
        }
    }
    Verdict::Forward
}

/// The edits of the request's header, in the order to perform them.
pub fn request_edits(filters: &[Filter]) -> impl Iterator<Item = &HeaderEdit> {
    filters.iter().filter_map(|f| match f {
        Filter::RequestHeaders(edit) => Some(edit),
        _ => None,
    })
}

/// The edits of the response's header, in the order to perform them.
pub fn response_edits(filters: &[Filter]) -> impl Iterator<Item = &HeaderEdit> {
    filters.iter().filter_map(|f| match f {
        Filter::ResponseHeaders(edit) => Some(edit),
        _ => None,
    })
}

impl Verdict<'_> {
    /// Which answer of the table it is; `None` if the request goes on.
    pub fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::Forward => None,
            Self::Redirect { .. } => Some(FailureKind::Redirect),
            Self::FailHttp(_) => Some(FailureKind::InjectedHttp),
            Self::FailGrpc(_) => Some(FailureKind::InjectedGrpc),
            Self::InvalidRedirect(_) => Some(FailureKind::FilterError),
            Self::Invalid { .. } => Some(FailureKind::InvalidPolicy),
            Self::Forbidden => Some(FailureKind::Forbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeaderValue, NoHeaders, filter::Ratio};

    fn verdict(filters: &[Filter], randoms: &[u64]) -> Verdict<'static> {
        let request = RequestView { method: b"GET", authority: b"web", target: b"/a", headers: &NoHeaders };
        let mut randoms = randoms.iter().copied();
        let filters = Box::leak(filters.to_vec().into_boxed_slice());
        let verdict = decide(filters, &request, "http", PathRank::Exact(2), &mut || {
            randoms.next().expect("one draw each")
        });
        assert_eq!(randoms.next(), None, "a number was drawn for nothing");
        verdict
    }

    fn fail(status: u16, ratio: Option<(u32, u32)>) -> Filter {
        let ratio = ratio.map(|(n, d)| Ratio::new(n, d).unwrap());
        Filter::FailHttp(HttpFailure { status, message: "no".into(), ratio })
    }

    #[test]
    fn the_first_filter_that_answers_wins() {
        let redirect = Filter::Redirect(Redirect { scheme: Some("https".into()), ..Redirect::default() });
        let moved = Verdict::Redirect { status: 301, location: "https://web/a".into() };
        assert_eq!(verdict(&[], &[]), Verdict::Forward);
        assert_eq!(verdict(&[redirect.clone(), fail(503, None)], &[]), moved);
        assert!(
            matches!(verdict(&[fail(503, None), redirect], &[]), Verdict::FailHttp(f) if f.status == 503)
        );
        assert_eq!(verdict(&[Filter::Forbidden], &[]), Verdict::Forbidden);
    }

    #[test]
    fn sometimes() {
        assert_eq!(verdict(&[fail(503, Some((1, 4)))], &[1]), Verdict::Forward);
        assert!(matches!(verdict(&[fail(503, Some((1, 4)))], &[4]), Verdict::FailHttp(_)));
        assert!(
            matches!(verdict(&[fail(1, Some((0, 4))), fail(2, Some((4, 4)))], &[0, 3]), Verdict::FailHttp(f) if f.status == 2)
        );
        assert_eq!((Ratio::new(0, 0), Ratio::new(2, 1)), (None, None));
    }

    #[test]
    fn edits_keep_their_order() {
        let edit = |name: &'static str| HeaderEdit {
            set: vec![(crate::HeaderName::known(name), HeaderValue::new(b"v").unwrap())],
            ..HeaderEdit::default()
        };
        let filters = [
            Filter::RequestHeaders(edit("a")),
            Filter::ResponseHeaders(edit("b")),
            Filter::RequestHeaders(edit("c")),
        ];
        assert!(request_edits(&filters).eq([&edit("a"), &edit("c")]));
        assert!(response_edits(&filters).eq([&edit("b")]));
    }
}
