//! Which endpoint gets a request, and when nobody does: balancing, circuit breaking, retry budgets, rate limits.
//!
//! Owns state that changes with every request, as plain values of one thread: a [`Balancer`] over the endpoints of a
//! destination (power of two choices by [`PeakEwma`] load, readiness with [`Backoff`], [`FailFast`], and a
//! [`Breaker`] per endpoint), a [`RetryBudget`], a [`RateLimiter`]. Every method takes `now`, and a random number where it
//! needs one, so that a run is a function of its inputs; what is due later is told as a deadline. Choosing allocates
//! nothing.
//!
//! Must not know: sockets, clocks, runtimes, HTTP, policy messages. What an endpoint is, is the caller's.
//!
//! Read first: [`Balancer`], [`PeakEwma`], [`Breaker`].
//!
//! ```
//! use std::time::Duration;
//! use weft_balance::{Balancer, Config, Instant};
//!
//! let now = Instant::START;
//! let mut balancer = Balancer::new(Config::default());
//! balancer.update([("10.0.0.1:80".parse().unwrap(), "a"), ("10.0.0.2:80".parse().unwrap(), "b")], now);
//! while let Some(id) = balancer.next_connect() {
//!     balancer.ready(id, now); // connected
//! }
//! let ticket = balancer.pick(now, 0x1234_5678).unwrap();
//! assert!(["a", "b"].contains(balancer.get(ticket.endpoint()).unwrap()));
//! balancer.responded(&ticket, now + Duration::from_millis(3), None);
//! ```

pub mod backoff;
pub mod balancer;
pub mod breaker;
pub mod ewma;
pub mod failfast;
pub mod rate_limit;
pub mod retry_budget;
pub mod time;

pub use self::{
    backoff::{Backoff, Retries},
    balancer::{Balancer, Config, EndpointId, Rejected, Ticket},
    breaker::{Breaker, Class},
    ewma::{PeakEwma, Penalty},
    failfast::FailFast,
    rate_limit::{Gcra, RateLimiter},
    retry_budget::RetryBudget,
    time::Instant,
};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
