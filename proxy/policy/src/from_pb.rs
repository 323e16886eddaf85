//! From API messages to the model: what a proxy does with what a control plane sends.
//!
//! A policy is understood as a whole or not at all: [`outbound`] and [`server`] fail, and [`Policy::from_pb`] and
//! [`ServerPolicy::from_pb`] put a policy that refuses everything in its place, with the reason. Endpoints and profiles are
//! understood in parts: what is not is left out, and told besides. Nothing here panics, whatever the message.

mod endpoint;
mod inbound;
mod outbound;
mod profile;
mod route;
mod shared;

pub use self::{endpoint::update, inbound::server, outbound::outbound, profile::profile};

use crate::{
    filter::Ratio,
    header::InvalidHeader,
    inbound::ServerPolicy,
    matching::InvalidHostMatch,
    outbound::{Change, InvalidBackoff, Policy, Profile},
    pattern::InvalidPattern,
};
use linkerd2_proxy_api as pb;
use std::error::Error as _;
use thiserror::Error;
use weft_names::{
    authority::InvalidAuthority, dns::InvalidDnsName, identity::InvalidIdentity, port::InvalidPort,
};

/// What is wrong with a message, and where.
#[derive(Debug, Error)]
#[error("invalid {path}")]
pub struct Problem {
    /// The field, such as `protocol.http1.routes[2].rules[0].filters[1]`.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub cause: Invalid,
}

/// What is wrong with a field.
#[derive(Debug, Error)]
pub enum Invalid {
    /// It has to be there.
    #[error("missing")]
    Missing,
    /// A kind this version does not know, or none at all.
    #[error("unknown kind")]
    UnknownKind,
    /// More than [`crate::limits`] allow.
    #[error("more than {0}")]
    TooMany(usize),
    /// A number out of its range.
    #[error("{0} is out of range")]
    Range(f64),
    /// A ratio that is none.
    #[error("not a ratio")]
    Ratio,
    /// A distribution of which nothing is ever drawn.
    #[error("all weights are zero")]
    NoWeight,
    /// A time that is negative or too long.
    #[error("not a duration")]
    Duration,
    /// Not an IP address, or not one with this prefix length.
    #[error("not an address")]
    Address,
    /// A path that does not begin with a slash.
    #[error("not an absolute path")]
    Path,
    /// Not a URI scheme.
    #[error("not a scheme")]
    Scheme,
    /// Conditions nested too deeply.
    #[error("nested too deeply")]
    Depth,
    /// Not a port.
    #[error("not a port")]
    Port(#[source] InvalidPort),
    /// Not a DNS name.
    #[error("not a name")]
    Name(#[source] InvalidDnsName),
    /// Not an identity.
    #[error("not an identity")]
    Identity(#[source] InvalidIdentity),
    /// Not an authority.
    #[error("not an authority")]
    Authority(#[source] InvalidAuthority),
    /// Not a host match.
    #[error("not a host")]
    Host(#[source] InvalidHostMatch),
    /// Not a header name, header value or method.
    #[error("not a header or method")]
    Header(#[source] InvalidHeader),
    /// A regular expression that does not compile.
    #[error("not a regular expression")]
    Pattern(#[source] InvalidPattern),
    /// A backoff that makes no sense.
    #[error("not a backoff")]
    Backoff(#[source] InvalidBackoff),
}

impl Policy {
    /// The policy of a message, or one that fails everything if it cannot be understood ([`Policy::problem`]).
    pub fn from_pb(message: &pb::outbound::OutboundPolicy) -> Self {
        outbound(message).unwrap_or_else(|problem| Self::invalid(problem.text()))
    }
}

impl ServerPolicy {
    /// The policy of a message, or one that refuses everything if it cannot be understood ([`ServerPolicy::problem`]).
    pub fn from_pb(message: &pb::inbound::Server) -> Self {
        server(message).unwrap_or_else(|problem| Self::invalid(problem.text()))
    }
}

impl Profile {
    /// The profile of a message, without what cannot be understood; [`profile`] also tells what that is.
    pub fn from_pb(message: &pb::destination::DestinationProfile) -> Self {
        profile(message).0
    }
}

impl Change {
    /// The change a message makes, without endpoints that cannot be understood; [`update`] also tells which. `None` if the
    /// message is of a kind that is not known.
    pub fn from_pb(message: &pb::destination::Update) -> Option<Self> {
        update(message).0
    }
}

impl Problem {
    fn new(field: impl Into<String>, cause: Invalid) -> Self {
        Self { path: field.into(), cause }
    }

    /// The same problem, of a field of `parent`.
    fn within(mut self, parent: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{parent}{separator}{}", self.path);
        self
    }

    /// The problem and its causes in one line.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl From<Invalid> for Problem {
    fn from(cause: Invalid) -> Self {
        Self::new("", cause)
    }
}

/// Says in which field a problem is.
trait At<T> {
    /// In a field.
    fn at(self, field: &str) -> Result<T, Problem>;
    /// In an item of a list.
    fn at_item(self, field: &str, index: usize) -> Result<T, Problem>;
}

impl<T, E: Into<Problem>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, Problem> {
        self.map_err(|e| e.into().within(field))
    }

    fn at_item(self, field: &str, index: usize) -> Result<T, Problem> {
        self.map_err(|e| e.into().within(&format!("{field}[{index}]")))
    }
}

/// A field that has to be there.
fn required<'a, T>(value: &'a Option<T>, field: &str) -> Result<&'a T, Problem> {
    value.as_ref().ok_or_else(|| Problem::new(field, Invalid::Missing))
}

/// Each item of a list of at most `limit`.
fn each<T, U>(
    items: &[T],
    field: &str,
    limit: usize,
    mut convert: impl FnMut(&T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    if items.len() > limit {
        return Err(Problem::new(field, Invalid::TooMany(limit)));
    }
    items.iter().enumerate().map(|(i, item)| convert(item).at_item(field, i)).collect()
}

impl Ratio {
    fn from_pb(ratio: &pb::http_route::Ratio) -> Result<Self, Invalid> {
        Self::new(ratio.numerator, ratio.denominator).ok_or(Invalid::Ratio)
    }
}

#[cfg(test)]
mod tests;
