//! Filters: what a rule or a backend does to a request before, or instead of, sending it on.
//!
//! Filters are applied in the order listed: [`decide`] says whether the request goes on, and with which answer not;
//! the edits of [`request_edits`] and [`response_edits`] are for the engine to perform on heads it owns.

mod decide;
mod redirect;

pub use self::{
    decide::{Verdict, decide, request_edits, response_edits},
    redirect::{InvalidRedirect, Redirect, RewritePath},
};

use crate::{HeaderName, HeaderValue};
use std::sync::Arc;

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Answers with an HTTP status. Source: `http_route.HttpFailureInjector`.
    FailHttp(HttpFailure),
    /// Answers with a gRPC status. Source: `grpc_route.GrpcFailureInjector`.
    FailGrpc(GrpcFailure),
    /// Edits the request's header.
    RequestHeaders(HeaderEdit),
    /// Edits the response's header. HTTP routes only.
    ResponseHeaders(HeaderEdit),
    /// Answers with a redirect. HTTP routes only.
    Redirect(Redirect),
    /// Ends the connection: not allowed. Opaque and TLS routes only.
    Forbidden,
    /// Ends the connection: what was configured cannot be done. Opaque and TLS routes only.
    Invalid {
        /// What is wrong.
        message: Arc<str>,
    },
    /// Fails every request: the policy itself could not be understood. Has no place in messages.
    InternalError {
        /// What is wrong.
        message: Arc<str>,
    },
}

/// An injected HTTP failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFailure {
    /// The status to answer with, 100 to 999.
    pub status: u16,
    /// Why.
    pub message: Arc<str>,
    /// How often; none is always.
    pub ratio: Option<Ratio>,
}

/// An injected gRPC failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcFailure {
    /// The gRPC status to answer with; control planes also send numbers that are none.
    pub code: u32,
    /// Why.
    pub message: Arc<str>,
    /// How often; none is always.
    pub ratio: Option<Ratio>,
}

/// How often something happens: `numerator` times out of `denominator`, which is not 0 and not less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    numerator: u32,
    denominator: u32,
}

/// Changes to a header: first `add`, then `set`, then `remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Fields that are appended.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Fields that replace all of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Names whose fields are all removed.
    pub remove: Vec<HeaderName>,
}

impl Ratio {
    /// `numerator` out of `denominator`; `None` unless the denominator is at least 1 and at least the numerator.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (denominator > 0 && numerator <= denominator).then_some(Self { numerator, denominator })
    }

    /// How many.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Out of how many.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// Whether it happens, given a uniformly random number.
    pub fn happens(self, random: u64) -> bool {
        random % u64::from(self.denominator) < u64::from(self.numerator)
    }
}
