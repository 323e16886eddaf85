//! What must hold at the end of every run.

use std::collections::BTreeMap;

use weft_policy::FailureKind;

use crate::book::Outcome;
use crate::case::Case;
use crate::client::Plan;
use crate::net::Host;
use crate::services::{Expect, FIXED_PORTS, is_answer};
use crate::spec::{ABORT, BREAK, FAILS, FLAKY, GRPC, Kind, MISBEHAVIOUR, REPEATABLE, SLOW_FIRST, Spec};
use crate::world::World;

/// Endpoints that are tried for one exchange, by each of two proxies.
const ATTEMPTS: u32 = 3;

impl World {
    pub(crate) fn judge(&mut self, case: &Case) -> Result<(), String> {
        let mut wrong = std::mem::take(&mut self.book.wrong);
        for plan in &case.clients {
            // What one of a client's requests does to their connection is their own affair.
            let rude = plan.specs.iter().any(|s| s.has(MISBEHAVIOUR));
            for spec in &plan.specs {
                self.judge_request(plan, spec, case.is_rough() || rude, case.is_rough(), &mut wrong);
            }
        }
        for w in 0..2 {
            self.judge_rest(w, &mut wrong);
            self.judge_bytes(w, &mut wrong);
        }
        self.judge_counters(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// `excused`: a failure has a reason.
    fn judge_request(&self, plan: &Plan, spec: &Spec, excused: bool, rough: bool, wrong: &mut Vec<String>) {
        let id = spec.id;
        let Some(outcome) = self.book.outcomes.get(&id).copied() else {
            return wrong.push(format!("request {id} never ended"));
        };
        let seen = self.book.seen.get(&id).copied().unwrap_or(0);
        // Unanswered requests are repeated where that is safe; others are delivered once, whatever happens.
        let repeatable = matches!(spec.method(), "GET" | "HEAD" | "PUT" | "DELETE") && !plan.kind.is_raw();
        let struck = self.book.struck.get(&id).copied().unwrap_or(0);
        let broken = rough || spec.has(ABORT) || struck > 0;
        let once_more = if broken && repeatable { ATTEMPTS * ATTEMPTS } else { 1 };
        // Clients that pipeline ask again for what was not answered.
        let asked = self.book.asked.get(&id).copied().unwrap_or(1);
        let most = plan.to.most_attempts() * once_more * asked;
        if seen > most {
            wrong.push(format!("request {id} was delivered {seen} times, {plan:?}"));
        }
        let served = matches!(outcome, Outcome::Whole { by_proxy: false, .. });
        if served && seen == 0 {
            wrong.push(format!("request {id} was answered by nobody"));
        }
        if served && (spec.has(ABORT) || spec.has(BREAK)) {
            wrong.push(format!("response {id} was cut and looks whole"));
        }
        let expect = plan.to.expect(spec, plan.kind);
        let excused = excused || self.is_struck(spec, struck, seen);
        // A response that calls for another attempt stands while nobody is there for one.
        let nobody = self.book.broken > 0;
        if let Some(why) = not_as_expected(expect, plan, spec, outcome, seen, excused, nobody) {
            wrong.push(format!(
                "request {id} of {:?} to {} {why}: {outcome:?}, {spec:?}",
                plan.kind, plan.to.name
            ));
        }
    }

    /// Whether a server took a request's connection away so that nobody could help it: content that had gone is not sent again, and
    /// nor is anything for ever. What a broken connection had under way no server has seen.
    fn is_struck(&self, spec: &Spec, struck: u32, seen: u32) -> bool {
        let of = |times: &BTreeMap<u32, u32>| times.get(&spec.id).copied().unwrap_or(0);
        let (refused, unseen) = (of(&self.book.refused), of(&self.book.unseen));
        // Some were not even sent when their connection took no more: at most as many as that happened.
        let unseen = if seen == 0 { self.book.away.len() as u32 } else { unseen };
        let lost = unseen > 0 && (spec.has_content() || unseen + refused >= ATTEMPTS);
        // Another attempt may be one of these though the first was seen.
        let unread = self.book.broken > 0 && (seen == 0 || spec.has(REPEATABLE));
        spec.has(BREAK) || struck > 0 || lost || unread
    }

    /// Nothing is left: no connection, exchange, stream, buffer, timer, policy, endpoint, subscription.
    fn judge_rest(&mut self, w: usize, wrong: &mut Vec<String>) {
        self.with(w, |worker, io, now| {
            worker.expired(io, now);
            worker.flush(io, now);
        });
        let fixed = FIXED_PORTS.len() as u64;
        let spare = self.limits.spare_buffers as u64;
        self.registries[w].workers.visit(|_, blocks, _| {
            for g in blocks {
                let gauges = [
                    ("accepted", &g.accepted),
                    ("dialed", &g.dialed),
                    ("exchanges", &g.exchanges),
                    ("discovering", &g.discovering),
                    ("queued", &g.queued),
                    ("idle pooled", &g.idle_pooled),
                    ("endpoints", &g.endpoints),
                    ("buffered bytes", &g.buffered_bytes),
                    ("policies", &g.policies),
                    ("timers", &g.timers),
                ];
                for (name, gauge) in gauges {
                    if gauge.get() != if name == "policies" { fixed } else { 0 } {
                        wrong.push(format!("worker {w}: {} {name} left", gauge.get()));
                    }
                }
                if g.spare_buffers.get() > spare {
                    wrong.push(format!("worker {w}: {} spare buffers", g.spare_buffers.get()));
                }
            }
        });
        let open = self.net.open_of(Host::Worker(w));
        if open > 0 {
            wrong.push(format!("worker {w}: {open} sockets left"));
        }
        let remembered = self.control.remembered(w);
        if !remembered.is_empty() {
            wrong.push(format!("worker {w}: still asks for {remembered:?}"));
        }
        self.registries[w].transports.visit(|labels, blocks, _| {
            for b in blocks {
                if b.open.get() != 0 || b.opened.get() != b.closed.total() {
                    let (opened, closed) = (b.opened.get(), b.closed.total());
                    wrong.push(format!("worker {w}: {labels:?} opened {opened} closed {closed}"));
                }
            }
        });
    }

    /// The bytes that are counted have crossed the sockets; what of that was TLS's own is not counted.
    fn judge_bytes(&self, w: usize, wrong: &mut Vec<String>) {
        let (mut read, mut written) = (0, 0);
        self.registries[w].transports.visit(|_, blocks, _| {
            read += blocks.iter().map(|b| b.read.get()).sum::<u64>();
            written += blocks.iter().map(|b| b.written.get()).sum::<u64>();
        });
        let mine = || self.net.socks.iter().filter(|s| s.host == Host::Worker(w));
        let moved = (mine().map(|s| s.read).sum::<u64>(), mine().map(|s| s.written).sum::<u64>());
        if read > moved.0 || written > moved.1 {
            wrong.push(format!(
                "worker {w}: counts {read} bytes read and {written} written, but was {moved:?}"
            ));
        }
    }

    /// What both workers count agrees with itself.
    fn judge_counters(&self, wrong: &mut Vec<String>) {
        let (mut out_requests, mut out_responses) = (0, 0);
        self.registries[0].endpoints.visit(|_, blocks, _| {
            out_requests += blocks.iter().map(|b| b.requests.get()).sum::<u64>();
            out_responses += blocks.iter().map(|b| b.responses.total()).sum::<u64>();
        });
        if out_requests != out_responses {
            wrong.push(format!("outbound: {out_requests} requests, {out_responses} responses"));
        }
        let (mut in_requests, mut in_responses) = (0, 0);
        self.registries[1].permits.visit(|_, blocks, _| {
            in_requests += blocks.iter().map(|b| b.http.requests.get()).sum::<u64>();
            in_responses += blocks.iter().map(|b| b.http.responses.total()).sum::<u64>();
        });
        if in_requests != in_responses {
            wrong.push(format!("inbound: {in_requests} requests, {in_responses} responses"));
        }
    }
}

fn not_as_expected(
    expect: Expect,
    plan: &Plan,
    spec: &Spec,
    outcome: Outcome,
    seen: u32,
    excused: bool,
    nobody: bool,
) -> Option<&'static str> {
    let h2 = plan.kind == Kind::Http2;
    let answered = |kinds: &[FailureKind]| match outcome {
        Outcome::Whole { by_proxy: true, status, grpc } => {
            kinds.iter().any(|k| is_answer(*k, spec, h2, status, grpc))
        }
        _ => false,
    };
    let served = match outcome {
        Outcome::Whole { by_proxy: false, status, grpc } => {
            if spec.has(GRPC) && h2 && grpc != Some(if spec.has(FAILS) { 13 } else { 0 }) {
                return Some("has another outcome than the server gave it");
            }
            let again = spec.has(FLAKY | SLOW_FIRST) && spec.has(REPEATABLE);
            if again && status != spec.status && !excused && !nobody {
                return Some("was not tried again");
            }
            true
        }
        _ => false,
    };
    let timed = |kinds: &[FailureKind]| {
        use FailureKind::{IdleTimeout, RequestTimeout, ResponseTimeout};
        kinds.iter().any(|k| matches!(k, RequestTimeout | ResponseTimeout | IdleTimeout))
    };
    // Whatever goes wrong, what must not be served is not.
    match expect {
        Expect::Answered(_) | Expect::Refused | Expect::Broken if served => {
            return Some("was served against the policy");
        }
        Expect::Answered(kinds) if seen > 0 && !timed(kinds) => {
            return Some("reached a server against the policy");
        }
        Expect::Refused if seen > 0 => return Some("reached a server against the policy"),
        _ => {}
    }
    if excused {
        return None;
    }
    let as_expected = match expect {
        Expect::Served => served,
        Expect::Answered(kinds) => answered(kinds),
        Expect::ServedOr(kinds) => served || answered(kinds),
        Expect::Broken => matches!(outcome, Outcome::Told | Outcome::Whole { by_proxy: true, .. }),
        Expect::Refused => outcome == Outcome::Told,
    };
    (!as_expected).then_some("is not as expected")
}
