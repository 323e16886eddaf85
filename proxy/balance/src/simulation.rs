//! A destination in simulated time: requests arrive, endpoints answer after a while, fail, come and go.
//!
//! Seeds are fixed, so figures are the same on every run; bounds leave room for other seeds to hold too.

use crate::{
    Backoff, Balancer, Class, Config, EndpointId, Instant, Ticket, breaker::Policy, testing::Random,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// What an endpoint is like at some time.
#[derive(Clone, Copy)]
struct Behaviour {
    /// Mean time to answer, milliseconds.
    latency: f64,
    /// Whether it answers well.
    works: bool,
    /// Whether it can be connected to.
    reachable: bool,
}

const FINE: Behaviour = Behaviour { latency: 10.0, works: true, reachable: true };

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Answer(usize),
    Connected(EndpointId),
    /// Endpoints that cannot be reached lose their connections.
    Look,
    Deadline,
}

/// What happened.
#[derive(Default, Debug, PartialEq)]
struct Outcome {
    /// Requests sent, by endpoint and second.
    sent: BTreeMap<(u16, u64), u32>,
    /// Requests that failed, by endpoint and second.
    failed: BTreeMap<(u16, u64), u32>,
    /// Requests refused because nothing was ready for too long, by second.
    failfast: BTreeMap<u64, u32>,
    /// Requests that waited, and the longest wait in milliseconds.
    waited: u32,
    longest: u64,
    arrived: u32,
}

struct Simulation<'a> {
    balancer: Balancer<u16>,
    random: Random,
    behaviour: &'a dyn Fn(u16, f64) -> Behaviour,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    now: u64,
    in_flight: Vec<Option<(Ticket, u16)>>,
    queue: VecDeque<u64>,
    out: Outcome,
}

/// `rate` requests per second for `seconds` to endpoints `0..endpoints`, which behave as `behaviour(endpoint, second)` says.
fn simulate(
    seed: u64,
    config: Config,
    endpoints: u16,
    rate: f64,
    seconds: u64,
    behaviour: &dyn Fn(u16, f64) -> Behaviour,
) -> Outcome {
    let mut s = Simulation {
        balancer: Balancer::new(config),
        random: Random(seed),
        behaviour,
        events: BinaryHeap::new(),
        order: 0,
        now: 0,
        in_flight: Vec::new(),
        queue: VecDeque::new(),
        out: Outcome::default(),
    };
    s.balancer.update((0..endpoints).map(|n| (SocketAddr::from(([10, 0, 0, 1], n + 1)), n)), Instant::START);
    s.connect();
    s.push(0, Event::Arrive);
    s.push(0, Event::Look);
    while let Some(Reverse((at, _, event))) = s.events.pop() {
        if at > seconds * SECOND && s.in_flight.iter().all(Option::is_none) && s.queue.is_empty() {
            break;
        }
        s.now = at;
        match event {
            Event::Arrive if at < seconds * SECOND => s.arrive(rate),
            Event::Arrive => {}
            Event::Answer(i) => s.answer(i),
            Event::Connected(id) => s.connected(id),
            Event::Look => s.look(),
            Event::Deadline => s.deadline(),
        }
        if let Some(deadline) = s.balancer.deadline() {
            s.push(deadline.as_nanos().max(s.now), Event::Deadline);
        }
    }
    assert!(s.queue.is_empty() && s.balancer.waiting() == 0);
    s.out
}

impl Simulation<'_> {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn push(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn second(&self) -> u64 {
        self.now / SECOND
    }

    fn is(&self, endpoint: u16) -> Behaviour {
        (self.behaviour)(endpoint, self.now as f64 / SECOND as f64)
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-(1.0 - self.random.unit()).ln() * mean) as u64
    }

    fn arrive(&mut self, rate: f64) {
        let gap = self.exponential(SECOND as f64 / rate);
        self.push(self.now + gap, Event::Arrive);
        self.out.arrived += 1;
        if self.queue.is_empty() && self.send() {
            return;
        }
        match self.balancer.wait(self.now()) {
            Ok(()) => {
                self.queue.push_back(self.now);
                self.out.waited += 1;
            }
            Err(_) => *self.out.failfast.entry(self.now / SECOND).or_default() += 1,
        }
    }

    fn send(&mut self) -> bool {
        let random = self.random.next();
        let Some(ticket) = self.balancer.pick(self.now(), random) else { return false };
        let endpoint = *self.balancer.get(ticket.endpoint()).unwrap();
        let latency = self.is(endpoint).latency * MS as f64;
        let took = self.exponential(latency);
        *self.out.sent.entry((endpoint, self.second())).or_default() += 1;
        let i = self.in_flight.iter().position(Option::is_none).unwrap_or_else(|| {
            self.in_flight.push(None);
            self.in_flight.len() - 1
        });
        self.in_flight[i] = Some((ticket, endpoint));
        self.push(self.now + took, Event::Answer(i));
        true
    }

    fn serve(&mut self) {
        while !self.queue.is_empty() && self.send() {
            let since = self.queue.pop_front().unwrap();
            self.balancer.unwait();
            self.out.longest = self.out.longest.max((self.now - since) / MS);
        }
    }

    fn answer(&mut self, i: usize) {
        let (ticket, endpoint) = self.in_flight[i].take().unwrap();
        let is = self.is(endpoint);
        let works = is.works && is.reachable;
        if !works {
            *self.out.failed.entry((endpoint, self.second())).or_default() += 1;
        }
        let class = if works { Class::Success } else { Class::Failure };
        let random = self.random.next();
        self.balancer.responded(&ticket, self.now(), None);
        self.balancer.classified(&ticket, Some(class), self.now(), random);
        self.serve();
    }

    fn connect(&mut self) {
        while let Some(id) = self.balancer.next_connect() {
            self.push(self.now + MS, Event::Connected(id));
        }
    }

    fn connected(&mut self, id: EndpointId) {
        let Some(endpoint) = self.balancer.get(id).copied() else { return };
        if self.is(endpoint).reachable {
            self.balancer.ready(id, self.now());
            self.serve();
        } else {
            let random = self.random.next();
            self.balancer.failed(id, self.now(), random);
        }
    }

    fn look(&mut self) {
        self.push(self.now + 10 * MS, Event::Look);
        let lost: Vec<_> = self
            .balancer
            .endpoints()
            .filter(|(_, endpoint, available)| *available && !self.is(**endpoint).reachable)
            .map(|(id, ..)| id)
            .collect();
        for id in lost {
            self.balancer.lost(id, self.now());
        }
        self.connect();
    }

    fn deadline(&mut self) {
        let due = self.balancer.expired(self.now());
        self.connect();
        if due.failfast {
            for since in std::mem::take(&mut self.queue) {
                self.balancer.unwait();
                *self.out.failfast.entry(self.now / SECOND).or_default() += 1;
                self.out.longest = self.out.longest.max((self.now - since) / MS);
            }
        }
        self.serve();
    }
}

impl Outcome {
    /// Requests sent to an endpoint from one second to another.
    fn sent(&self, endpoint: u16, seconds: std::ops::Range<u64>) -> u32 {
        self.sent.range((endpoint, seconds.start)..(endpoint, seconds.end)).map(|(_, n)| n).sum()
    }

    fn failed(&self, endpoint: u16, seconds: std::ops::Range<u64>) -> u32 {
        self.failed.range((endpoint, seconds.start)..(endpoint, seconds.end)).map(|(_, n)| n).sum()
    }

    fn share(&self, endpoint: u16, seconds: std::ops::Range<u64>) -> f64 {
        let all: u32 =
            self.sent.iter().filter(|((_, second), _)| seconds.contains(second)).map(|(_, n)| n).sum();
        f64::from(self.sent(endpoint, seconds)) / f64::from(all)
    }
}

const SEEDS: [u64; 4] = [1, 2, 3, 4];

#[test]
fn equal_endpoints_get_equal_shares() {
    for seed in SEEDS {
        let out = simulate(seed, Config::default(), 4, 500.0, 60, &|_, _| FINE);
        for endpoint in 0..4 {
            let share = out.share(endpoint, 5..60);
            assert!((0.17..0.34).contains(&share), "seed {seed}: {endpoint} got {share}");
        }
        assert!(out.failed.is_empty() && out.failfast.is_empty());
    }
}

#[test]
fn a_slow_endpoint_gets_a_small_share_and_more_when_it_recovers() {
    for seed in SEEDS {
        let out = simulate(seed, Config::default(), 3, 300.0, 120, &|endpoint, second| Behaviour {
            latency: if endpoint == 0 && second < 60.0 { 200.0 } else { 10.0 },
            ..FINE
        });
        let slow = out.share(0, 5..60);
        assert!(slow < 0.10, "seed {seed}: the slow one got {slow}");
        assert!(out.sent(0, 5..60) > 0, "seed {seed}: it is never given up entirely");
        let recovered = out.share(0, 100..120);
        assert!(recovered > 0.2, "seed {seed}: recovered, it got {recovered}");
    }
}

#[test]
fn a_stalled_endpoint_is_left_alone_by_its_queue_alone() {
    // It answers nothing for 20 s: no latency is measured, only requests in flight pile up.
    for seed in SEEDS {
        let out = simulate(seed, Config::default(), 3, 300.0, 20, &|endpoint, _| Behaviour {
            latency: if endpoint == 0 { 60_000.0 } else { 10.0 },
            ..FINE
        });
        let sent = out.sent(0, 0..20);
        assert!(sent < 120, "seed {seed}: {sent} of 6000 requests were lost to it");
    }
}

#[test]
fn a_flapping_endpoint_costs_only_what_was_in_flight() {
    // Away every other second.
    for seed in SEEDS {
        let out = simulate(seed, Config::default(), 3, 300.0, 60, &|endpoint, second| Behaviour {
            reachable: endpoint != 0 || (second as u64).is_multiple_of(2),
            ..FINE
        });
        let failed: u32 = out.failed.values().sum();
        // 30 times away; up to 10 ms until that is noticed, 10 ms to answer, 100 requests per second to it.
        assert!(failed < 30 * 6, "seed {seed}: {failed} failed");
        assert!(out.failed(1, 0..60) + out.failed(2, 0..60) == 0);
        assert!(out.failfast.is_empty() && out.longest < 10, "seed {seed}: {out:?}");
        assert!(out.share(0, 0..60) > 0.05, "seed {seed}: it is used while it is there");
    }
}

fn consecutive() -> Policy {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), 0.5).unwrap();
    Policy::Consecutive { max_failures: 7, backoff }
}

#[test]
fn a_failing_endpoint_is_taken_out_and_comes_back() {
    let config = Config { breaker: Some(consecutive()), ..Config::default() };
    for seed in SEEDS {
        let out = simulate(seed, config, 3, 300.0, 90, &|endpoint, second| Behaviour {
            works: endpoint != 0 || !(10.0..60.0).contains(&second),
            latency: if endpoint == 0 && (10.0..60.0).contains(&second) { 1.0 } else { 10.0 },
            ..FINE
        });
        // Failing fast makes it look attractive: without a breaker it would get most requests.
        let failed: u32 = out.failed.values().sum();
        // 7 trip it, some were in flight, then probes after 1, 2, 4, 8, 8, ... s.
        assert!((8..=30).contains(&failed), "seed {seed}: {failed} failed");
        assert_eq!(out.sent(0, 12..60), out.failed(0, 12..60), "seed {seed}: only probes");
        assert!(out.share(0, 72..90) > 0.2, "seed {seed}: it is back");
    }
}

#[test]
fn without_a_breaker_an_endpoint_that_fails_fast_attracts_requests() {
    let out = simulate(1, Config::default(), 3, 300.0, 30, &|endpoint, _| Behaviour {
        works: endpoint != 0,
        latency: if endpoint == 0 { 1.0 } else { 10.0 },
        ..FINE
    });
    assert!(out.share(0, 5..30) > 0.4);
}

#[test]
fn a_low_success_rate_takes_an_endpoint_out() {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.5).unwrap();
    let unified = Policy::Unified {
        success_rate_threshold: 0.8,
        window: Duration::from_secs(10),
        min_requests: 5,
        max_consecutive_failures: 0,
        backoff,
    };
    let config = Config { breaker: Some(unified), ..Config::default() };
    for seed in SEEDS {
        // Fails half of the time, by the clock: never long in a row.
        let out = simulate(seed, config, 3, 300.0, 60, &|endpoint, second| Behaviour {
            works: endpoint != 0 || ((second * 100.0) as u64).is_multiple_of(2),
            ..FINE
        });
        let all: u32 = out.failed.values().sum();
        assert!(all < 200, "seed {seed}: {all} of 18000 failed");
        assert!(out.share(0, 5..60) < 0.05);
    }
}

#[test]
fn an_outage_of_all_makes_requests_wait_then_fail_fast_then_pass() {
    for seed in SEEDS {
        let out = simulate(seed, Config::default(), 2, 200.0, 40, &|_, second| Behaviour {
            reachable: !(10.0..20.0).contains(&second),
            ..FINE
        });
        let refused: u32 = out.failfast.values().sum();
        assert!(out.waited > 400, "seed {seed}: those of the first three seconds wait");
        assert!((2990..3200).contains(&out.longest), "seed {seed}: {} ms", out.longest);
        assert!(refused > 1200, "seed {seed}: {refused} were refused");
        assert!(out.failfast.keys().all(|s| (12..34).contains(s)), "seed {seed}: {:?}", out.failfast.keys());
        // Connecting is tried after 0.1, 0.2, ... 6.4 s: 12.8 s after it began to fail at the latest.
        assert_eq!(out.failfast.range(24..).count(), 0, "seed {seed}");
        assert!(out.sent(0, 25..40) + out.sent(1, 25..40) > 2800, "seed {seed}");
        let sent: u32 = out.sent.values().sum();
        assert_eq!(sent + refused, out.arrived, "seed {seed}: no request is forgotten");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let run = |seed| {
        let config = Config { breaker: Some(consecutive()), ..Config::default() };
        simulate(seed, config, 3, 300.0, 20, &|endpoint, second| Behaviour {
            works: endpoint != 0 || second < 10.0,
            ..FINE
        })
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
