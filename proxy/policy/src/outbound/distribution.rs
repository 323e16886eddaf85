//! Which backend gets a request.

use super::Endpoint;
use crate::{Filter, Meta};
use std::{sync::Arc, time::Duration};

/// How a rule chooses among backends. Source: `outbound.*.Distribution`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Distribution {
    /// There is none: requests are shed.
    #[default]
    Empty,
    /// The first one that is ready.
    FirstAvailable(Vec<RouteBackend>),
    /// A random one of those that are ready, by weight. The weights' sum is not 0.
    RandomAvailable(Vec<(RouteBackend, u32)>),
}

/// A backend as one rule uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Filters applied after the rule's.
    pub filters: Vec<Filter>,
}

/// Where requests can be sent. Workers keep a balancer per backend, so equal backends may share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// What it is.
    pub meta: Arc<Meta>,
    /// How to get there.
    pub dispatcher: Dispatcher,
}

/// How to get to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dispatcher {
    /// To one endpoint.
    Forward(Arc<Endpoint>),
    /// To one of the endpoints that resolving a path gives.
    Balance {
        /// What to resolve (`Destination/Get` path).
        path: Arc<str>,
        /// How load is measured.
        load: Load,
    },
    /// Nowhere.
    Fail {
        /// Why.
        message: Arc<str>,
    },
}

/// How the load of an endpoint is measured: peak exponentially weighted moving average of its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// The latency assumed of an endpoint that has answered nothing yet. Default 30 ms.
    pub default_rtt: Duration,
    /// Time constant of the average. Default 10 s.
    pub decay: Duration,
    /// What failures cost; none is nothing special.
    pub penalty: Option<Penalty>,
}

/// What failures cost an endpoint's latency average. Source: `PenaltyPeakEwma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Penalty {
    /// The least latency a failure counts as. Default 5 s.
    pub penalty: Duration,
    /// The most a server's own hint (`retry-after`) may raise it to. Default 300 s.
    pub max_retry_after: Duration,
}

// === impl Distribution ===

impl Distribution {
    /// Always this backend.
    pub fn only(backend: RouteBackend) -> Self {
        Self::FirstAvailable(vec![backend])
    }

    /// The backends, in the order listed.
    pub fn backends(&self) -> impl Iterator<Item = &RouteBackend> {
        let (first, random) = match self {
            Self::Empty => (&[][..], &[][..]),
            Self::FirstAvailable(backends) => (backends.as_slice(), &[][..]),
            Self::RandomAvailable(backends) => (&[][..], backends.as_slice()),
        };
        first.iter().chain(random.iter().map(|(backend, _)| backend))
    }

    /// How many backends there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::FirstAvailable(backends) => backends.len(),
            Self::RandomAvailable(backends) => backends.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The backend for a request, with its index: the first ready one, or a ready one drawn by weight with the
    /// uniformly random number `random`. `None` if none is ready. A backend of weight 0 is never drawn.
    pub fn pick(
        &self,
        random: u64,
        mut ready: impl FnMut(usize, &RouteBackend) -> bool,
    ) -> Option<(usize, &RouteBackend)> {
        match self {
            Self::Empty => None,
            Self::FirstAvailable(backends) => backends.iter().enumerate().find(|(i, b)| ready(*i, b)),
            Self::RandomAvailable(backends) => {
                let mut candidates = |weight: u32, i: usize, b: &RouteBackend| weight > 0 && ready(i, b);
                let total: u64 = backends
                    .iter()
                    .enumerate()
                    .map(|(i, (b, weight))| if candidates(*weight, i, b) { u64::from(*weight) } else { 0 })
                    .sum();
                let mut point = random.checked_rem(total)?;
                for (i, (backend, weight)) in backends.iter().enumerate() {
                    if !candidates(*weight, i, backend) {
                        continue;
                    }
                    match point.checked_sub(u64::from(*weight)) {
                        Some(rest) => point = rest,
                        None => return Some((i, backend)),
                    }
                }
                None
            }
        }
    }
}

// === impl RouteBackend ===

impl RouteBackend {
    /// A backend without filters of its own.
    pub fn new(backend: Arc<Backend>) -> Self {
        Self { backend, filters: Vec::new() }
    }
}

// === impl Backend ===

impl Backend {
    /// One endpoint.
    pub fn forward(meta: Arc<Meta>, endpoint: Arc<Endpoint>) -> Self {
        Self { meta, dispatcher: Dispatcher::Forward(endpoint) }
    }

    /// The endpoints behind a path.
    pub fn balance(meta: Arc<Meta>, path: impl Into<Arc<str>>, load: Load) -> Self {
        Self { meta, dispatcher: Dispatcher::Balance { path: path.into(), load } }
    }

    /// Nowhere.
    pub fn fail(meta: Arc<Meta>, message: impl Into<Arc<str>>) -> Self {
        Self { meta, dispatcher: Dispatcher::Fail { message: message.into() } }
    }
}

// === impl Load ===

impl Default for Load {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10), penalty: None }
    }
}

impl Default for Penalty {
    fn default() -> Self {
        Self { penalty: Duration::from_secs(5), max_retry_after: Duration::from_secs(300) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(n: usize) -> Vec<RouteBackend> {
        (0..n)
            .map(|i| {
                RouteBackend::new(Arc::new(Backend::fail(Arc::new(Meta::default_named(i.to_string())), "x")))
            })
            .collect()
    }

    fn weighted(weights: &[u32]) -> Distribution {
        Distribution::RandomAvailable(
            backends(weights.len()).into_iter().zip(weights.iter().copied()).collect(),
        )
    }

    #[test]
    fn first_available_goes_in_order() {
        let d = Distribution::FirstAvailable(backends(3));
        assert_eq!(d.pick(7, |_, _| true).map(|(i, _)| i), Some(0));
        assert_eq!(d.pick(7, |i, _| i > 1).map(|(i, _)| i), Some(2));
        assert_eq!(d.pick(7, |_, _| false), None);
        assert_eq!(Distribution::Empty.pick(7, |_, _| true), None);
        assert_eq!(d.backends().count(), d.len());
    }

    #[test]
    fn random_available_follows_the_weights_exactly() {
        let count = |d: &Distribution, ready: &dyn Fn(usize) -> bool| {
            let mut counts = vec![0; d.len()];
            for random in 0..60 {
                if let Some((i, b)) = d.pick(random, |i, _| ready(i)) {
                    assert_eq!(b.backend.meta.name(), i.to_string());
                    counts[i] += 1;
                }
            }
            counts
        };
        let d = weighted(&[1, 0, 2, 3]);
        assert_eq!(count(&d, &|_| true), [10, 0, 20, 30]);
        assert_eq!(count(&d, &|i| i != 3), [20, 0, 40, 0]);
        assert_eq!(count(&d, &|i| i == 1), [0, 0, 0, 0]);
        assert_eq!(count(&d, &|_| false), [0, 0, 0, 0]);
        assert_eq!(count(&weighted(&[u32::MAX, u32::MAX]), &|_| true).iter().sum::<i32>(), 60);
    }
}
