//! Everything that a run depends on, by seed, and how a failing one is made smaller.

use crate::abuser::Abuse;
use crate::client::Plan;
use crate::rng::Rng;
use crate::services::{Expect, SERVICES, Service};
use crate::spec::{Kind, MISBEHAVIOUR, spec};

const MS: u64 = 1_000_000;
/// A silence of the control plane that nobody notices.
const SHORT: u64 = 400 * MS;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) clients: Vec<Plan>,
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) abuses: Vec<Abuse>,
    /// Buffers are scarce.
    pub(crate) tight: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection between two open sockets is cut; the number chooses which.
    Cut(u64),
    /// Nothing arrives at one socket for a while.
    Stall(u64, u64),
    /// Nothing arrives at either end any more, and they learn of it only much later.
    Vanish(u64, u64),
    /// Somebody between the proxies forges an end.
    CutShort(u64),
    /// A worker has a new certificate.
    Renew(usize),
    /// Other endpoints are there.
    Endpoints(u8),
    /// Other policies, by which everything is served too.
    Policies,
    /// A port of the servers' proxy lets nobody in any more; or does again.
    Deny(bool),
    /// The control plane does not answer for a while.
    Silence(u64),
    /// The control plane knows no target for a while.
    Unknown(u64),
    /// One worker drains.
    Drain(usize),
}

/// How much goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing: everything has to succeed.
    Calm,
    /// Applications misbehave; others must not notice.
    Rude,
    /// The world does too.
    Rough,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mood = [Mood::Calm, Mood::Rude, Mood::Rough, Mood::Rough][seed as usize % 4];
        let mut id = 0;
        let clients = (0..rng.between(1, 6)).map(|_| plan(&mut rng, &mut id, mood != Mood::Calm)).collect();
        let n = if mood == Mood::Rough { rng.between(1, 7) } else { 0 };
        let mut faults: Vec<_> =
            (0..n).map(|_| (rng.below(3_000) as u64 * MS / 4, fault(&mut rng))).collect();
        // These nobody may notice.
        for _ in 0..rng.below(3) {
            let harmless =
                rng.pick(&[Fault::Renew(0), Fault::Renew(1), Fault::Policies, Fault::Silence(SHORT)]);
            faults.push((rng.below(1_000) as u64 * MS, harmless));
        }
        faults.sort_by_key(|f| f.0);
        let n = if mood == Mood::Calm { 0 } else { rng.below(4) as u32 };
        let abuses = (0..n).map(|i| Abuse::new(&mut rng, 1_000_000 + i)).collect();
        Self { seed, clients, faults, abuses, tight: rng.one_in(6) }
    }

    /// What is to be expected: what was left out of it makes a case calmer.
    pub(crate) fn is_rough(&self) -> bool {
        let harmless = |f: &Fault| match f {
            Fault::Renew(_) | Fault::Policies => true,
            Fault::Silence(nanos) => *nanos <= SHORT,
            _ => false,
        };
        self.tight || self.faults.iter().any(|(_, f)| !harmless(f))
    }

    /// Cases with something left out, much of it first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let with = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            case
        };
        if self.faults.len() > 1 {
            all.push(with(&|c| c.faults.clear()));
        }
        for i in (0..self.clients.len()).filter(|_| self.clients.len() > 1) {
            all.push(with(&|c| _ = c.clients.remove(i)));
        }
        for i in 0..self.abuses.len() {
            all.push(with(&|c| _ = c.abuses.remove(i)));
        }
        for i in 0..self.faults.len() {
            all.push(with(&|c| _ = c.faults.remove(i)));
        }
        for (i, client) in self.clients.iter().enumerate() {
            for k in (0..client.specs.len()).filter(|_| client.specs.len() > 1) {
                all.push(with(&|c| _ = c.clients[i].specs.remove(k)));
            }
        }
        if self.tight {
            all.push(with(&|c| c.tight = false));
        }
        // Simpler requests, where that changes nothing of what is expected.
        for (i, client) in self.clients.iter().enumerate() {
            for (k, spec) in client.specs.iter().enumerate().filter(|(_, s)| !s.is_tunnel()) {
                let bits = (0..32).map(|b| 1 << b).filter(|b| spec.flags & b != 0);
                for bit in bits.filter(|b| b & !MISBEHAVIOUR != 0) {
                    let simpler = crate::spec::Spec { flags: spec.flags & !bit, ..*spec };
                    let same = client.to.expect(&simpler, client.kind) == client.to.expect(spec, client.kind);
                    if same && spec.is_simpler_without(bit) {
                        all.push(with(&|c| c.clients[i].specs[k] = simpler));
                    }
                }
                if spec.delay > 0 && client.to.expect(spec, client.kind) == Expect::Served {
                    all.push(with(&|c| c.clients[i].specs[k].delay = 0));
                }
            }
        }
        all
    }
}

fn fault(rng: &mut Rng) -> Fault {
    match rng.below(17) {
        0..=3 => Fault::Cut(rng.next()),
        4 | 5 => Fault::Stall(rng.next(), rng.below(3_000) as u64 * MS),
        6 => Fault::Vanish(rng.next(), rng.between(1_000, 60_000) as u64 * MS),
        7 => Fault::CutShort(rng.next()),
        8 => Fault::Renew(rng.below(2)),
        9..=11 => Fault::Endpoints(rng.next() as u8),
        12 => Fault::Policies,
        13 => Fault::Deny(!rng.one_in(3)),
        14 => Fault::Silence(rng.below(12_000) as u64 * MS),
        15 => Fault::Unknown(rng.below(4_000) as u64 * MS),
        _ => Fault::Drain(rng.below(2)),
    }
}

fn plan(rng: &mut Rng, id: &mut u32, rude: bool) -> Plan {
    let only = std::env::var("WEFT_SIM_SERVICE").ok();
    let to = only.and_then(|n| SERVICES.iter().find(|s| s.name == n)).unwrap_or_else(|| Service::any(rng));
    let kind = Kind::any(rng, to);
    let n = if kind.is_raw() { 1 } else { rng.between(1, 6) };
    let specs = (0..n)
        .map(|_| {
            *id += 1;
            spec(rng, *id, kind, to, rude)
        })
        .collect();
    Plan { kind, to, start: rng.below(40) as u64 * MS, specs }
}
