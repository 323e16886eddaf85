//! Service profiles: the older, simpler way to say what is done with requests to a service.

use super::{Endpoint, Labels};
use crate::{
    Meta,
    matching::{Condition, ResponseCondition},
};
use std::{sync::Arc, time::Duration};
use weft_names::{Authority, DnsName};

/// What is known about a service or an endpoint beside its policy. Source: `destination.DestinationProfile`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// The service's full name; none for endpoints, or if nothing is known.
    pub name: Option<DnsName>,
    /// Whether connections are opaque: no protocol detection.
    pub opaque: bool,
    /// The endpoint, if the target is one.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Where requests go instead, by weight.
    pub targets: Vec<ProfileTarget>,
    /// Routes, in order.
    pub routes: Vec<ProfileRoute>,
    /// How many retries there may be; none is no retries.
    pub retry_budget: Option<RetryBudget>,
    /// The service.
    pub parent: Option<Arc<Meta>>,
    /// The profile object.
    pub profile: Option<Arc<Meta>>,
}

/// One of the places requests go instead. Source: `destination.WeightedDst`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileTarget {
    /// What to resolve.
    pub authority: Authority,
    /// Relative weight.
    pub weight: u32,
    /// What it is.
    pub backend: Option<Arc<Meta>>,
}

/// A route of a profile: the first one whose condition holds is taken. Source: `destination.Route`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRoute {
    /// Which requests.
    pub condition: Condition,
    /// Which of its responses are failures; the first class that matches decides, none is statuses 500 to 599.
    pub classes: Vec<ResponseClass>,
    /// Labels of its metrics (`rt_*`).
    pub labels: Labels,
    /// Whether failures are tried again.
    pub retryable: bool,
    /// How long until the head of the response, all attempts together.
    pub timeout: Option<Duration>,
}

/// Which responses are failures, or are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseClass {
    /// Which responses.
    pub condition: ResponseCondition,
    /// Whether they are failures.
    pub is_failure: bool,
}

/// How many retries there may be. Source: `destination.RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    ttl: Duration,
    ratio: f32,
    min_per_second: u32,
}

/// What a profile's route asks of the rule it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRule {
    /// The service's name and port (`dst` of the route's metrics).
    pub dst: Arc<str>,
    /// Labels of its metrics (`rt_*`); empty for the rule of all other requests.
    pub labels: Labels,
    /// Which responses are failures.
    pub classes: Vec<ResponseClass>,
    /// How long until the head of the response, all attempts together.
    pub timeout: Option<Duration>,
    /// How many retries there may be; none is none. Shared by all rules of the profile.
    pub retry_budget: Option<RetryBudget>,
}

impl Profile {
    /// Bytes of a request's body that are kept to be sent again.
    pub const MAX_RETRY_BYTES: u32 = 64 * 1024;

    /// Whether HTTP requests follow the profile and not the policy.
    pub fn takes_http(&self) -> bool {
        !self.routes.is_empty() || !self.targets.is_empty()
    }
}

impl ProfileRule {
    /// Whether a response with this status is a failure.
    pub fn is_failure(&self, status: u16) -> bool {
        match self.classes.iter().find(|c| c.condition.matches(status)) {
            Some(class) => class.is_failure,
            None => (500..=599).contains(&status),
        }
    }
}

impl RetryBudget {
    /// A budget: over `ttl` (1 s to 60 s), `ratio` (0 to 1000) retries per request and `min_per_second` besides.
    /// `None` if something is out of range.
    pub fn new(ttl: Duration, ratio: f32, min_per_second: u32) -> Option<Self> {
        let in_range = (Duration::from_secs(1)..=Duration::from_secs(60)).contains(&ttl)
            && (0.0..=1000.0).contains(&ratio);
        in_range.then_some(Self { ttl, ratio, min_per_second })
    }

    /// How long a request counts.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Retries per request.
    pub fn ratio(&self) -> f32 {
        self.ratio
    }

    /// Retries per second there may always be.
    pub fn min_per_second(&self) -> u32 {
        self.min_per_second
    }
}
