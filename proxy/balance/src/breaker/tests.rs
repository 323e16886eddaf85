use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

fn backoff() -> Backoff {
    Backoff::new(SECOND, 60 * SECOND, 0.0).unwrap()
}

fn consecutive(max_failures: u32) -> Breaker {
    Breaker::new(Policy::Consecutive { max_failures, backoff: backoff() }, at(0))
}

fn unified(max_consecutive_failures: u32) -> Breaker {
    let policy = Policy::Unified {
        success_rate_threshold: 0.8,
        window: 10 * SECOND,
        min_requests: 5,
        max_consecutive_failures,
        backoff: backoff(),
    };
    Breaker::new(policy, at(0))
}

/// One request and its answer.
fn answer(b: &mut Breaker, class: Class, ms: u64) {
    assert!(b.admits(), "at {ms} ms");
    let probe = b.admitted();
    b.record(class, probe, at(ms), 0);
}

#[test]
fn classes_of_statuses() {
    let of = |class, codes: &[u32], by: &dyn Fn(u32) -> Class| codes.iter().all(|c| by(*c) == class);
    let http = |status: u32| Class::of_status(status as u16);
    assert!(of(Class::Success, &[100, 200, 204, 301, 404, 428, 430, 499, 600], &http));
    assert!(of(Class::Failure, &[500, 503, 504, 599], &http));
    assert!(of(Class::RateLimited, &[429], &http));
    assert!(of(Class::Success, &[0, 1, 3, 5, 6, 9, 10, 11, 12, 16, 99], &Class::of_grpc_status));
    assert!(of(Class::Failure, &[2, 4, 7, 13, 14, 15], &Class::of_grpc_status));
    assert!(of(Class::RateLimited, &[8], &Class::of_grpc_status));
}

#[test]
fn consecutive_failures_trip() {
    let mut b = consecutive(3);
    for class in
        [Class::Failure, Class::Failure, Class::Success, Class::Failure, Class::RateLimited, Class::Failure]
    {
        answer(&mut b, class, 0);
    }
    answer(&mut b, Class::Failure, 0);
    assert!(b.admits());
    answer(&mut b, Class::Failure, 0);
    assert!(!b.admits());
    assert_eq!(b.deadline(), Some(at(1000)));
}

#[test]
fn a_probe_that_succeeds_opens() {
    let mut b = consecutive(1);
    answer(&mut b, Class::Failure, 0);
    assert!(!b.expired(at(999)) && b.expired(at(1000)) && !b.expired(at(1000)));
    assert!(b.admits() && b.admitted());
    assert!(!b.admits(), "one probe at a time");
    assert!(b.record(Class::Success, true, at(1100), 0));
    assert!(b.admits() && !b.admitted() && b.admits());
}

#[test]
fn a_probe_that_fails_shuts_for_longer() {
    let mut b = consecutive(1);
    answer(&mut b, Class::Failure, 0);
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        now += wait * 1000;
        assert_eq!(b.deadline(), Some(at(now)));
        assert!(b.expired(at(now)));
        answer(&mut b, Class::Failure, now);
    }
    b.expired(at(now + 60_000));
    answer(&mut b, Class::Success, now + 60_000);
    answer(&mut b, Class::Failure, now + 60_000);
    assert_eq!(b.deadline(), Some(at(now + 61_000)), "success starts the backoff anew");
}

#[test]
fn answers_of_requests_sent_before_do_not_decide() {
    let mut b = consecutive(1);
    assert!(!b.admitted() && !b.admitted() && !b.admitted());
    assert!(b.record(Class::Failure, false, at(0), 0));
    assert!(!b.record(Class::Success, false, at(10), 0), "late success while shut");
    assert!(!b.admits());
    b.expired(at(1000));
    b.admitted();
    assert!(!b.record(Class::Success, false, at(1010), 0), "late success while probing");
    assert!(!b.admits());
    b.record(Class::Failure, true, at(1020), 0);
    assert_eq!(b.deadline(), Some(at(3020)));
}

#[test]
fn a_probe_that_tells_nothing_is_followed_by_another() {
    let mut b = consecutive(1);
    answer(&mut b, Class::Failure, 0);
    b.expired(at(1000));
    assert!(b.admitted());
    assert!(!b.abandoned(false) && !b.admits());
    assert!(b.abandoned(true) && b.admits() && b.admitted());
}

#[test]
fn success_rate_trips_only_with_enough_requests() {
    let mut b = unified(0);
    for _ in 0..4 {
        answer(&mut b, Class::Failure, 0);
    }
    assert!(b.admits(), "4 requests are too few");
    answer(&mut b, Class::Success, 0);
    assert!(!b.admits());
}

#[test]
fn success_rate_at_the_threshold_is_good_enough() {
    let mut b = unified(0);
    for i in 0..50 {
        answer(&mut b, if i % 5 == 4 { Class::Failure } else { Class::Success }, i * 100);
    }
    answer(&mut b, Class::Failure, 5000);
    assert!(!b.admits(), "40 of 51 is below 0.8");
}

#[test]
fn rate_limiting_lowers_the_rate_but_is_no_failure_in_a_row() {
    let mut b = unified(3);
    for class in [Class::Success; 20] {
        answer(&mut b, class, 0);
    }
    for class in [Class::RateLimited, Class::Failure, Class::RateLimited, Class::Failure, Class::RateLimited]
    {
        answer(&mut b, class, 0);
    }
    assert!(b.admits(), "20 of 25, two failures in a row");
    answer(&mut b, Class::RateLimited, 0);
    assert!(!b.admits(), "20 of 26");
    b.expired(at(1000));
    answer(&mut b, Class::RateLimited, 1000);
    assert!(!b.admits(), "a probe answered so has failed");
}

#[test]
fn failures_in_a_row_trip_whatever_the_rate_is() {
    let mut b = unified(3);
    for class in [Class::Success; 100] {
        answer(&mut b, class, 0);
    }
    for _ in 0..3 {
        answer(&mut b, Class::Failure, 0);
    }
    assert!(!b.admits());
}
