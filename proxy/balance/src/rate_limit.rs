//! Rate limits by the generic cell rate algorithm (GCRA).

use crate::time::{Instant, nanos};
use std::{collections::HashMap, hash::Hash, num::NonZeroU32, time::Duration};

/// One limit: so many per second, and as many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Gcra {
    /// Nanoseconds that one takes up.
    cell: f64,
    /// Nanoseconds that what was let through still takes up, as of `updated`.
    debt: f64,
    updated: Instant,
}

/// Nanoseconds of debt there may be: a second's worth, so that the burst is the rate.
const BURST: f64 = 1e9;

/// The limits of one server: of all clients together, of some by name, and of each other client.
///
/// `K` names clients. There are at most `max_clients` limits of single clients: those that are paid for, which
/// are as good as new, are dropped to make room; clients that find no room share one limit.
#[derive(Clone, Debug)]
pub struct RateLimiter<K> {
    total: Option<Gcra>,
    overrides: Vec<Option<Gcra>>,
    identity: Option<Gcra>,
    clients: HashMap<K, Gcra>,
    crowd: Option<Gcra>,
    max_clients: usize,
    swept: Instant,
}

/// Which limit, beside the total, is for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a, K> {
    /// The override at this index.
    Override(usize),
    /// Its own.
    Client(&'a K),
    /// None.
    Nobody,
}

/// Which limit is exceeded, and when it would not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// How long until one is let through, if no other comes before.
    pub retry_after: Duration,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of all clients together.
    Total,
    /// The override at this index.
    Override(usize),
    /// The client's own.
    Client,
}

impl Gcra {
    /// `per_second`, and as many at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { cell: 1e9 / f64::from(per_second.get()), debt: 0.0, updated: Instant::START }
    }

    /// Whether one more is let through; counts it if so.
    ///
    /// # Errors
    /// How long until one would be.
    pub fn check(&mut self, now: Instant) -> Result<(), Duration> {
        let debt = self.debt(now);
        let over = debt + self.cell - BURST;
        // The slack is for sums of fractions.
        if over > 0.5 {
            return Err(Duration::from_nanos(over.ceil() as u64));
        }
        self.debt = debt + self.cell;
        self.updated = self.updated.max(now);
        Ok(())
    }

    fn debt(&self, now: Instant) -> f64 {
        (self.debt - nanos(now.since(self.updated)) as f64).max(0.0)
    }

    /// Whether it is as good as new.
    fn is_paid(&self, now: Instant) -> bool {
        self.debt(now) <= 0.0
    }
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Clients there are limits of their own for, unless configured.
    pub const DEFAULT_MAX_CLIENTS: usize = 10_000;

    /// How long apart dropping what is paid for is tried while there is no room.
    const SWEEP: Duration = Duration::from_secs(1);

    /// Limits per second; none is no limit. `overrides` are by index.
    pub fn new(
        total: Option<NonZeroU32>,
        identity: Option<NonZeroU32>,
        overrides: impl IntoIterator<Item = Option<NonZeroU32>>,
        max_clients: usize,
    ) -> Self {
        let identity = identity.map(Gcra::new);
        Self {
            total: total.map(Gcra::new),
            overrides: overrides.into_iter().map(|o| o.map(Gcra::new)).collect(),
            identity,
            clients: HashMap::new(),
            crowd: identity,
            max_clients,
            swept: Instant::START,
        }
    }

    /// Whether a request of `who` is let through; counts it if so. The total is counted first, also of requests that
    /// another limit then refuses.
    ///
    /// # Errors
    /// Which limit refuses it.
    pub fn check(&mut self, who: Who<'_, K>, now: Instant) -> Result<(), Exceeded> {
        let exceeded = |limit| move |retry_after| Exceeded { limit, retry_after };
        if let Some(total) = &mut self.total {
            total.check(now).map_err(exceeded(Limit::Total))?;
        }
        match who {
            Who::Nobody => Ok(()),
            Who::Override(index) => match self.overrides.get_mut(index) {
                Some(Some(limit)) => limit.check(now).map_err(exceeded(Limit::Override(index))),
                _ => Ok(()),
            },
            Who::Client(client) => match self.client(client, now) {
                Some(limit) => limit.check(now).map_err(exceeded(Limit::Client)),
                None => Ok(()),
            },
        }
    }

    /// How many clients have a limit of their own now.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn client(&mut self, client: &K, now: Instant) -> Option<&mut Gcra> {
        let fresh = self.identity?;
        if !self.clients.contains_key(client) {
            if self.clients.len() >= self.max_clients && now.since(self.swept) >= Self::SWEEP {
                self.clients.retain(|_, limit| !limit.is_paid(now));
                self.swept = now;
            }
            if self.clients.len() >= self.max_clients {
                return self.crowd.as_mut();
            }
            self.clients.insert(client.clone(), fresh);
        }
        self.clients.get_mut(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    fn rps(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    fn passed(limit: &mut Gcra, ms: u64) -> usize {
        (0..1000).take_while(|_| limit.check(at(ms)).is_ok()).count()
    }

    #[test]
    fn a_burst_then_a_steady_rate() {
        let mut g = Gcra::new(rps(10).unwrap());
        assert_eq!(passed(&mut g, 0), 10);
        assert_eq!(g.check(at(0)), Err(Duration::from_millis(100)));
        assert_eq!(passed(&mut g, 99), 0);
        assert_eq!(passed(&mut g, 100), 1);
        assert_eq!(passed(&mut g, 350), 2);
        assert_eq!(passed(&mut g, 60_000), 10);
    }

    #[test]
    fn rates_that_do_not_divide_a_second() {
        for n in [1, 3, 7, 333] {
            let mut g = Gcra::new(rps(n).unwrap());
            assert_eq!(passed(&mut g, 0), n as usize);
            assert_eq!(passed(&mut g, 1000), n as usize);
        }
    }

    #[test]
    fn limits_in_order() {
        let mut l = RateLimiter::new(rps(5), rps(2), [rps(1), None], 10);
        let limit = |l: &mut RateLimiter<&str>, who| l.check(who, at(0)).err().map(|e| e.limit);
        assert_eq!(limit(&mut l, Who::Client(&"a")), None);
        assert_eq!(limit(&mut l, Who::Client(&"a")), None);
        assert_eq!(limit(&mut l, Who::Client(&"a")), Some(Limit::Client));
        assert_eq!(limit(&mut l, Who::Client(&"b")), None);
        assert_eq!(limit(&mut l, Who::Override(0)), None);
        // The refused request has counted: five were asked for.
        assert_eq!(limit(&mut l, Who::Client(&"b")), Some(Limit::Total));
    }

    #[test]
    fn overrides() {
        let mut l = RateLimiter::<&str>::new(None, None, [rps(1), None], 10);
        assert!(l.check(Who::Override(0), at(0)).is_ok());
        assert_eq!(l.check(Who::Override(0), at(0)).unwrap_err().limit, Limit::Override(0));
        for who in [Who::Override(1), Who::Override(9), Who::Nobody, Who::Client(&"a")] {
            assert!((0..100).all(|_| l.check(who, at(0)).is_ok()));
        }
        assert_eq!(l.clients(), 0);
    }

    #[test]
    fn clients_are_bounded() {
        let mut l = RateLimiter::new(None, rps(1), [], 3);
        for client in 0..3 {
            assert!(l.check(Who::Client(&client), at(10_000)).is_ok());
        }
        assert!(l.check(Who::Client(&3), at(10_000)).is_ok(), "first of the crowd");
        assert!(l.check(Who::Client(&4), at(10_000)).is_err(), "the crowd shares one limit");
        assert_eq!(l.clients(), 3);
        assert!(l.check(Who::Client(&4), at(11_000)).is_ok());
        assert_eq!(l.clients(), 1, "those who were paid for made room");
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_burst(n in 1u32..50, gaps in prop::collection::vec(0u64..200, 1..300)) {
            let mut g = Gcra::new(rps(n).unwrap());
            let mut now = 0;
            let mut let_through = Vec::new();
            for gap in gaps {
                now += gap;
                if g.check(at(now)).is_ok() {
                    let_through.push(now);
                }
            }
            for (i, first) in let_through.iter().enumerate() {
                for (count, last) in let_through.iter().skip(i).enumerate() {
                    let allowed = f64::from(n) * (1.0 + (last - first) as f64 / 1000.0) + 1e-6;
                    prop_assert!((count + 1) as f64 <= allowed);
                }
            }
        }
    }
}
