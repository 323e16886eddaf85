use super::*;
use crate::testing::Random;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn config() -> Config {
    let backoff = Backoff::new(100 * Duration::from_millis(1), 60 * SECOND, 0.0).unwrap();
    Config { connect_backoff: backoff, max_waiting: 3, ..Config::default() }
}

fn breaking(max_failures: u32) -> Config {
    let backoff = Backoff::new(SECOND, 60 * SECOND, 0.0).unwrap();
    Config { breaker: Some(Policy::Consecutive { max_failures, backoff }), ..config() }
}

/// A balancer of `n` endpoints, all of them ready.
fn ready(n: u8, config: Config) -> (Balancer<u8>, Vec<EndpointId>) {
    let mut b = Balancer::new(config);
    b.update((0..n).map(|i| (addr(i), i)), at(0));
    let ids: Vec<_> = std::iter::from_fn(|| b.next_connect()).collect();
    for id in &ids {
        b.ready(*id, at(0));
    }
    (b, ids)
}

#[test]
fn new_endpoints_are_connected_before_they_are_picked() {
    let mut b = Balancer::new(config());
    b.update([(addr(1), 'a'), (addr(2), 'b')], at(0));
    assert_eq!(b.pick(at(0), 0), None);
    let (a, bb) = (b.next_connect().unwrap(), b.next_connect().unwrap());
    assert_eq!(b.next_connect(), None);
    assert_eq!((b.get(a), b.get(bb)), (Some(&'a'), Some(&'b')));
    assert_eq!(b.pick(at(0), 0), None);
    assert!(b.ready(bb, at(0)));
    assert_eq!(b.pick(at(0), u64::MAX).map(|t| t.endpoint()), Some(bb));
    assert_eq!((b.available(), b.len()), (1, 2));
}

#[test]
fn updates_keep_the_state_of_what_stays() {
    let mut b = Balancer::new(config());
    b.update([(addr(1), 'a'), (addr(2), 'b'), (addr(3), 'c')], at(0));
    let ids: Vec<_> = std::iter::from_fn(|| b.next_connect()).collect();
    for id in &ids {
        b.ready(*id, at(0));
    }
    let ticket = b.pick_but(at(0), 0, |id| id != ids[0]).unwrap();
    assert_eq!(ticket.endpoint(), ids[0]);
    // 1 stays, 2 changes, 3 goes, 4 comes.
    let mut gone = b.update([(addr(1), 'a'), (addr(2), 'x'), (addr(4), 'd')], at(0));
    gone.sort_unstable();
    assert_eq!(gone, [(ids[1], 'b'), (ids[2], 'c')]);
    assert_eq!(b.load(ids[0]).map(PeakEwma::in_flight), Some(1));
    assert_eq!((b.get(ids[1]), b.available()), (None, 1));
    let new: Vec<_> = std::iter::from_fn(|| b.next_connect()).collect();
    assert!(new.iter().map(|id| *b.get(*id).unwrap()).eq(['x', 'd']));
}

#[test]
fn what_is_told_about_endpoints_that_are_gone_means_nothing() {
    let (mut b, ids) = ready(1, breaking(1));
    let ticket = b.pick(at(0), 0).unwrap();
    b.update([(addr(0), 77)], at(0));
    let id = b.next_connect().unwrap();
    assert_eq!(id.slot(), ids[0].slot(), "the place is used again");
    b.ready(id, at(0));
    b.responded(&ticket, at(9), None);
    b.classified(&ticket, Some(Class::Failure), at(9), 0);
    b.lost(ids[0], at(9));
    b.failed(ids[0], at(9), 0);
    assert!(!b.ready(ids[0], at(9)));
    assert_eq!((b.available(), b.next_connect(), b.deadline()), (1, None, None));
    assert_eq!(b.load(id).unwrap().in_flight(), 0);
}

#[test]
fn the_less_loaded_of_two_is_picked_and_the_first_of_equals() {
    let (mut b, ids) = ready(2, config());
    assert_eq!(b.pick(at(0), 0).unwrap().endpoint(), ids[0]);
    for random in [0, u64::MAX, 1 << 40] {
        let t = b.pick(at(0), random).unwrap();
        assert_eq!(t.endpoint(), ids[1], "it has fewer requests");
        b.unsent(&t, at(0));
    }
    let t = b.pick(at(0), 0).unwrap();
    b.responded(&t, at(500), None);
    assert!(b.load(ids[1]).unwrap().rtt(at(500)) == Duration::from_millis(500));
    let t = b.pick(at(500), u64::MAX).unwrap();
    assert_eq!(t.endpoint(), ids[0], "two requests of 30 ms are less than one of 500 ms");
}

#[test]
fn failures_cost_a_penalty_where_there_is_one() {
    let (mut b, ids) = ready(1, config());
    let t = b.pick(at(0), 0).unwrap();
    b.responded(&t, at(40), Some(Failure::default()));
    assert_eq!(b.load(ids[0]).unwrap().rtt(at(40)), Duration::from_millis(40));
    let (mut b, ids) = ready(1, Config { penalty: Some(Penalty::default()), ..config() });
    let t = b.pick(at(0), 0).unwrap();
    b.responded(&t, at(40), Some(Failure { retry_after: Some(7 * SECOND) }));
    assert_eq!(b.load(ids[0]).unwrap().rtt(at(40)), 7 * SECOND);
}

#[test]
fn every_pair_is_drawn() {
    let mut pairs = BTreeMap::new();
    let mut random = Random(1);
    for _ in 0..12_000 {
        let (a, b) = draw_two(4, random.next()).unwrap();
        *pairs.entry((a, b.unwrap())).or_insert(0) += 1;
    }
    assert_eq!(pairs.len(), 12);
    assert!(pairs.keys().all(|(a, b)| a != b && *a < 4 && *b < 4));
    assert!(pairs.values().all(|n| (850..1150).contains(n)), "{pairs:?}");
    assert_eq!((draw_two(0, 7), draw_two(1, u64::MAX)), (None, Some((0, None))));
    assert_eq!(draw_two(3, u64::MAX), Some((2, Some(1))));
}

#[test]
fn avoided_endpoints_are_taken_last() {
    let (mut b, ids) = ready(2, config());
    for random in [0, u64::MAX] {
        let t = b.pick_but(at(0), random, |id| id == ids[0]).unwrap();
        assert_eq!(t.endpoint(), ids[1]);
    }
    assert!(b.pick_but(at(0), 0, |_| true).is_some());
}

#[test]
fn connecting_backs_off_until_it_succeeds() {
    let (mut b, ids) = ready(1, config());
    b.lost(ids[0], at(0));
    assert_eq!((b.pick(at(0), 0), b.next_connect()), (None, Some(ids[0])));
    let mut now = 0;
    for wait in [100, 200, 400, 800] {
        b.failed(ids[0], at(now), 0);
        assert_eq!(b.next_connect(), None);
        now += wait;
        assert_eq!(b.deadline(), Some(at(now)));
        assert_eq!(b.expired(at(now - 1)), Due::default());
        assert_eq!(b.expired(at(now)), Due { connect: true, ..Due::default() });
        assert_eq!(b.next_connect(), Some(ids[0]));
    }
    b.ready(ids[0], at(now));
    b.lost(ids[0], at(now));
    b.next_connect();
    b.failed(ids[0], at(now), 0);
    assert_eq!(b.deadline(), Some(at(now + 100)));
}

#[test]
fn broken_endpoints_are_not_picked_but_probed() {
    let (mut b, ids) = ready(2, breaking(1));
    let t = b.pick(at(0), 0).unwrap();
    assert!(!b.classified(&t, Some(Class::Failure), at(0), 0));
    assert_eq!(t.endpoint(), ids[0]);
    for random in [0, u64::MAX] {
        assert_eq!(b.pick(at(0), random).unwrap().endpoint(), ids[1]);
    }
    assert_eq!(b.deadline(), Some(at(1000)));
    assert_eq!(b.expired(at(1000)), Due { available: true, ..Due::default() });
    let probe = b.pick_but(at(1000), 0, |id| id != ids[0]).unwrap();
    assert!(probe.is_probe() && probe.endpoint() == ids[0]);
    assert_eq!(b.available(), 1, "one probe at a time");
    assert!(b.classified(&probe, None, at(1100), 0), "it told nothing: another one");
    let probe = b.pick_but(at(1100), 0, |id| id != ids[0]).unwrap();
    assert!(b.classified(&probe, Some(Class::Success), at(1200), 0));
    assert_eq!(b.available(), 2);
}

#[test]
fn a_connection_that_comes_back_does_not_mend_a_broken_endpoint() {
    let (mut b, ids) = ready(1, breaking(1));
    let t = b.pick(at(0), 0).unwrap();
    b.classified(&t, Some(Class::Failure), at(0), 0);
    b.lost(ids[0], at(1));
    assert!(!b.ready(ids[0], at(2)));
    assert_eq!(b.pick(at(2), 0), None);
}

#[test]
fn waiting_is_bounded_in_number() {
    let mut b = Balancer::<u8>::new(config());
    for _ in 0..3 {
        assert_eq!(b.wait(at(0)), Ok(()));
    }
    assert_eq!(b.wait(at(0)), Err(Rejected::Full));
    b.unwait();
    assert_eq!((b.wait(at(0)), b.waiting()), (Ok(()), 3));
}

#[test]
fn waiting_is_bounded_in_time() {
    let mut b = Balancer::new(config());
    b.update([(addr(1), 'a')], at(0));
    let id = b.next_connect().unwrap();
    b.wait(at(1000)).unwrap();
    assert_eq!(b.deadline(), Some(at(4000)));
    assert_eq!(b.expired(at(3999)), Due::default());
    assert_eq!(b.expired(at(4000)), Due { failfast: true, ..Due::default() });
    b.unwait();
    assert!(b.is_failing());
    assert_eq!(b.wait(at(9000)), Err(Rejected::FailFast));
    b.ready(id, at(9000));
    assert!(!b.is_failing());
    // Lost again while somebody waits: the time starts anew.
    b.wait(at(9000)).unwrap();
    assert_eq!(b.deadline(), None);
    b.lost(id, at(9500));
    assert_eq!(b.deadline(), Some(at(12_500)));
}

#[test]
fn an_update_that_takes_the_last_endpoint_starts_the_time() {
    let (mut b, _) = ready(1, config());
    b.wait(at(0)).unwrap();
    b.update([], at(100));
    assert_eq!(b.deadline(), Some(at(3100)));
    assert!(b.is_empty());
}

#[test]
fn updates_do_not_make_the_connect_queue_grow() {
    let mut b = Balancer::new(config());
    for round in 0..1000u32 {
        b.update((0..4).map(|n| (addr(n), round)), at(0));
    }
    assert_eq!((b.wanted.len(), b.slots.places()), (4, 4));
}

#[derive(Clone, Debug)]
enum Step {
    Update(Vec<(u8, u8)>),
    Connect,
    Ready(u8),
    Failed(u8),
    Lost(u8),
    Pick(u64),
    Respond(u8, Option<Class>),
    Abandon(u8),
    Wait,
    Unwait,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![
        Just(None),
        Just(Some(Class::Success)),
        Just(Some(Class::Failure)),
        Just(Some(Class::RateLimited))
    ];
    let step = prop_oneof![
        prop::collection::vec((0u8..6, 0u8..2), 0..6).prop_map(Step::Update),
        Just(Step::Connect),
        Just(Step::Connect),
        any::<u8>().prop_map(Step::Ready),
        any::<u8>().prop_map(Step::Ready),
        any::<u8>().prop_map(Step::Failed),
        any::<u8>().prop_map(Step::Lost),
        any::<u64>().prop_map(Step::Pick),
        any::<u64>().prop_map(Step::Pick),
        (any::<u8>(), class).prop_map(|(n, c)| Step::Respond(n, c)),
        any::<u8>().prop_map(Step::Abandon),
        Just(Step::Wait),
        Just(Step::Unwait),
        (0u64..2000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..200)
}

fn check(b: &Balancer<u8>, tickets: &[Ticket]) {
    let listed: BTreeSet<u32> = b.available.iter().copied().collect();
    assert_eq!(listed.len(), b.available.len(), "an endpoint is listed twice");
    for (id, m) in b.slots.iter() {
        let can = m.link == Link::Ready && m.breaker.as_ref().is_none_or(Breaker::admits);
        assert_eq!(can, listed.contains(&id.slot()));
        assert_eq!(
            m.available_at.and_then(|at| b.available.get(at as usize).copied()),
            can.then_some(id.slot())
        );
        let in_flight = tickets.iter().filter(|t| t.endpoint == id).count();
        assert_eq!(m.load.in_flight() as usize, in_flight);
    }
    assert!(b.wanted.len() <= 64 && b.waiting <= b.config.max_waiting);
    assert!(b.available.is_empty() || !b.failfast.is_failing());
    if b.available.is_empty() && b.waiting > 0 {
        assert!(b.failfast.is_failing() || b.failfast.deadline().is_some(), "somebody may wait for ever");
    }
}

proptest! {
    #[test]
    fn invariants_hold_whatever_happens(steps in steps(), max_failures in 1u32..3) {
        let (mut b, mut ids) = (Balancer::new(breaking(max_failures)), Vec::new());
        let (mut now, mut tickets) = (at(0), Vec::<Ticket>::new());
        for step in steps {
            let nth = |n: u8, len: usize| (len > 0).then(|| usize::from(n) % len);
            match step {
                Step::Update(set) => {
                    let before: Vec<_> = b.slots.iter().map(|(id, m)| (id, m.addr, m.value)).collect();
                    b.update(set.iter().map(|(a, v)| (addr(*a), *v)), now);
                    let last: BTreeMap<_, _> = set.iter().map(|(a, v)| (addr(*a), *v)).collect();
                    prop_assert_eq!(b.len(), last.len());
                    for (id, addr, value) in before {
                        prop_assert_eq!(b.get(id).is_some(), last.get(&addr) == Some(&value));
                    }
                }
                Step::Connect => ids.extend(b.next_connect()),
                Step::Ready(n) => { if let Some(i) = nth(n, ids.len()) { b.ready(ids[i], now); } }
                Step::Failed(n) => { if let Some(i) = nth(n, ids.len()) { b.failed(ids[i], now, 0); } }
                Step::Lost(n) => { if let Some(i) = nth(n, ids.len()) { b.lost(ids[i], now); } }
                Step::Pick(random) => {
                    let available = b.available();
                    let ticket = b.pick(now, random);
                    prop_assert_eq!(ticket.is_some(), available > 0);
                    tickets.extend(ticket);
                }
                Step::Respond(n, class) => if let Some(i) = nth(n, tickets.len()) {
                    let t = tickets.swap_remove(i);
                    b.responded(&t, now, None);
                    b.classified(&t, class, now, 0);
                },
                Step::Abandon(n) => if let Some(i) = nth(n, tickets.len()) {
                    let t = tickets.swap_remove(i);
                    b.unsent(&t, now);
                },
                Step::Wait => { let _ = b.wait(now); }
                Step::Unwait => b.unwait(),
                Step::Pass(ms) => {
                    now = now + Duration::from_millis(ms);
                    let deadline = b.deadline();
                    let due = b.expired(now);
                    prop_assert!(due == Due::default() || deadline.is_some_and(|d| d <= now));
                    prop_assert!(b.deadline().is_none_or(|d| d > now));
                }
            }
            check(&b, &tickets);
        }
    }
}
