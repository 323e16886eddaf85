//! What the worker knows of targets and ports, and what it has prepared from that.
//!
//! A policy is asked for when the first connection needs it and kept, with updates, for as long as connections use it
//! and a while longer. When one arrives everything a request will need is resolved at once: balancers, endpoints,
//! counters. A request then only follows indices.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_policy::outbound::{self, Policy};

use crate::accept::Governed;
use crate::conn::{Conn, Timeout};
use crate::io::{DiscoverError, Io, Question, Side, Subject};
use crate::limits::Bound;
use crate::metrics::ErrorKind;
use crate::plan::Plan;
use crate::pool::Endpoint;
use crate::ports::PortPolicy;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::timers::Timers;
use crate::worker::Worker;

/// How long after the queue of questions was full it is tried again, for what no connection waits for.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Everything that was asked for and not forgotten.
#[derive(Default)]
pub(crate) struct Discovery {
    targets: Slab<Target>,
    by_address: HashMap<SocketAddr, Key<Target>>,
    target_timers: Timers,
    pub(crate) ports: Slab<PortPolicy>,
    pub(crate) by_port: HashMap<u16, Key<PortPolicy>>,
    pub(crate) port_timers: Timers,
    /// Ports and paths that the queue of questions had no room for: each one once, so no more than are known.
    unasked: Vec<Subject>,
    /// When they are asked about again.
    ask_again: Option<Instant>,
}

/// An outbound target.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// None until the answer comes.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Connections that wait for the answer.
    waiting: Vec<Key<Conn>>,
    /// Connections that it governs, waiting ones included.
    users: u32,
    /// When it is forgotten, if nobody comes.
    forget: Option<Instant>,
}

impl Discovery {
    pub(crate) fn target(&self, key: Key<Target>) -> Option<&Target> {
        self.targets.get(key)
    }

    pub(crate) fn port(&self, key: Key<PortPolicy>) -> Option<&PortPolicy> {
        self.ports.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len() + self.ports.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.target_timers.next(), self.port_timers.next(), self.ask_again].into_iter().flatten().min()
    }
}

impl Worker {
    // --- questions that nobody waits for

    /// Asks about a port or a path; if there is no room for the question, again in a while.
    pub(crate) fn ask(&mut self, io: &mut impl Io, subject: Subject) {
        let question = match &subject {
            Subject::Target(target) => Question::Discover { target: *target },
            Subject::Path(path) => Question::Resolve { path: Arc::clone(path) },
            Subject::Port(port) => Question::Port { port: *port },
        };
        if io.ask(question).is_err() {
            self.discovery.unasked.push(subject);
            self.discovery.ask_again.get_or_insert(self.now + ASK_AGAIN);
        }
    }

    /// Nobody needs to know any more.
    pub(crate) fn forget(&mut self, io: &mut impl Io, subject: Subject) {
        match self.discovery.unasked.iter().position(|unasked| *unasked == subject) {
            Some(at) => drop(self.discovery.unasked.swap_remove(at)),
            // Always taken: it makes room.
            None => drop(io.ask(Question::Forget(subject))),
        }
    }

    fn ask_again(&mut self, io: &mut impl Io) {
        if self.discovery.ask_again.is_some_and(|at| at <= self.now) {
            self.discovery.ask_again = None;
            for subject in std::mem::take(&mut self.discovery.unasked) {
                self.ask(io, subject);
            }
        }
    }

    // --- outbound targets

    /// Finds the policy for a connection to `address`, or lets it wait for it.
    pub(crate) fn discover(&mut self, io: &mut impl Io, id: Key<Conn>, address: SocketAddr) {
        let known = self.discovery.by_address.get(&address).copied();
        let is_there = known.and_then(|key| self.discovery.target(key)).is_some_and(|t| t.plan.is_some());
        if !is_there && self.gauges.discovering.get() >= self.config.limits.discovering as u64 {
            self.met(io, Bound::DiscoveringConnections);
            return self.refuse(
                io,
                id,
                ErrorKind::LoadShed,
                "discover",
                "too many connections wait for discovery",
            );
        }
        let key = match known {
            Some(key) => key,
            None => {
                if self.discovery.len() >= self.config.limits.policies {
                    self.met(io, Bound::Policies);
                    return self.refuse(
                        io,
                        id,
                        ErrorKind::LoadShed,
                        "discover",
                        "too many targets are known",
                    );
                }
                if io.ask(Question::Discover { target: address }).is_err() {
                    return self.refuse(
                        io,
                        id,
                        ErrorKind::LoadShed,
                        "discover",
                        "too many questions are open",
                    );
                }
                let target = Target { address, plan: None, waiting: Vec::new(), users: 0, forget: None };
                let key = self.discovery.targets.insert(target);
                self.discovery.by_address.insert(address, key);
                key
            }
        };
        let Some(target) = self.discovery.targets.get_mut(key) else { return };
        if target.plan.is_none() {
            target.waiting.push(id);
            self.gauges.discovering.up();
        }
        target.users += 1;
        target.forget = None;
        let ready = target.plan.is_some();
        if let Some(client) = self.client_mut(id) {
            client.policy = Some(Governed::Outbound(key));
        }
        if ready {
            self.discovered_for(io, id);
        } else {
            self.set_deadline(id, Some((self.now + self.config.discover_timeout, Timeout::Discover)));
        }
    }

    /// A target's policy has come, or another one.
    pub(crate) fn discovered(
        &mut self,
        io: &mut impl Io,
        address: SocketAddr,
        policy: Result<Arc<Policy>, DiscoverError>,
    ) {
        let Some(key) = self.discovery.by_address.get(&address).copied() else { return };
        let policy = match policy {
            Ok(policy) => policy,
            Err(error) => return self.not_discovered(io, key, &error),
        };
        // The new plan before the old one goes: what both have stays.
        let plan = Arc::new(self.plan(io, policy));
        let Some(target) = self.discovery.targets.get_mut(key) else { return };
        let old = target.plan.replace(plan);
        let waiting = std::mem::take(&mut target.waiting);
        if let Some(old) = old {
            self.release_plan(io, &old);
        }
        for id in waiting {
            self.gauges.discovering.down();
            self.discovered_for(io, id);
        }
    }

    fn not_discovered(&mut self, io: &mut impl Io, key: Key<Target>, error: &DiscoverError) {
        let Some(target) = self.discovery.targets.get_mut(key) else { return };
        // One that has a policy keeps it.
        for id in std::mem::take(&mut target.waiting) {
            self.gauges.discovering.down();
            self.refuse(io, id, ErrorKind::Io, "discover", &error.to_string());
        }
        if let Some(target) = self.discovery.targets.get(key)
            && target.plan.is_none()
        {
            let address = target.address;
            self.discovery.targets.remove(key);
            self.discovery.by_address.remove(&address);
        }
    }

    /// The plan that governs a connection.
    pub(crate) fn plan_of(&self, id: Key<Conn>) -> Option<&Arc<Plan>> {
        self.plan_by(self.client(id)?.policy?)
    }

    /// The plan of an outbound policy that governs something.
    pub(crate) fn plan_by(&self, governed: Governed) -> Option<&Arc<Plan>> {
        match governed {
            Governed::Outbound(key) => self.discovery.target(key)?.plan.as_ref(),
            Governed::Inbound(_) => None,
        }
    }

    // --- lone endpoints: forwarded to, or the application itself

    /// The endpoint of a forwarding backend; one and the same for equal ones.
    pub(crate) fn lone_endpoint(&mut self, policy: &Arc<outbound::Endpoint>) -> Key<Endpoint> {
        // One that is retired goes with its last connection, whoever may refer to it then.
        if let Some(key) = self.lone.get(policy).copied()
            && let Some(endpoint) = self.endpoints.get_mut(key).filter(|e| !e.retired)
        {
            endpoint.users += 1;
            endpoint.unused = None;
            return key;
        }
        let mut endpoint = Endpoint::new(
            Side::Outbound,
            policy.addr,
            Some(Arc::clone(policy)),
            self.config.outbound.backoff,
        );
        endpoint.users = 1;
        let key = self.endpoints.insert(endpoint);
        self.lone.insert(Arc::clone(policy), key);
        key
    }

    /// The application at `address`.
    pub(crate) fn local_endpoint(&mut self, address: SocketAddr) -> Key<Endpoint> {
        let idle = self.now + self.config.inbound.discovery_idle;
        let known = self
            .local
            .get(&address)
            .copied()
            .filter(|key| self.endpoints.get(*key).is_some_and(|e| !e.retired));
        let key = match known {
            Some(key) => key,
            None => {
                let key = self.endpoints.insert(Endpoint::new(
                    Side::Inbound,
                    address,
                    None,
                    self.config.inbound.backoff,
                ));
                self.local.insert(address, key);
                self.endpoint_timers.arm(key.index(), idle);
                key
            }
        };
        // Forgotten a while after the last use.
        if let Some(endpoint) = self.endpoints.get_mut(key) {
            endpoint.unused = Some(idle);
        }
        key
    }

    pub(crate) fn release_endpoint(&mut self, key: Key<Endpoint>) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.users -= 1;
        if endpoint.users == 0 {
            endpoint.unused = Some(self.now);
            self.endpoint_timers.arm(key.index(), self.now);
        }
    }

    // --- the end of interest

    /// A connection no longer needs the policy that governed it.
    pub(crate) fn ungovern(&mut self, id: Key<Conn>, governed: Governed) {
        match governed {
            Governed::Outbound(key) => {
                let forget = self.now + self.config.outbound.discovery_idle;
                let Some(target) = self.discovery.targets.get_mut(key) else { return };
                let before = target.waiting.len();
                target.waiting.retain(|w| *w != id);
                if target.waiting.len() < before {
                    self.gauges.discovering.down();
                }
                target.users -= 1;
                if target.users == 0 {
                    target.forget = Some(forget);
                    self.discovery.target_timers.arm(key.index(), forget);
                }
            }
            Governed::Inbound(key) => {
                let forget = self.now + self.config.inbound.discovery_idle;
                let Some(port) = self.discovery.ports.get_mut(key) else { return };
                port.users -= 1;
                if port.users == 0 && !port.fixed {
                    port.forget = Some(forget);
                    self.discovery.port_timers.arm(key.index(), forget);
                }
            }
        }
    }

    /// Forgets what nobody has used for long enough, and asks about what could not be asked before.
    pub(crate) fn forget_idle_policies(&mut self, io: &mut impl Io) {
        self.ask_again(io);
        while let Some(slot) = self.discovery.target_timers.due(self.now) {
            let Some(key) = self.discovery.targets.key_at(slot) else { continue };
            match self.discovery.targets.get(key).and_then(|t| t.forget) {
                Some(at) if at <= self.now => {
                    let Some(target) = self.discovery.targets.remove(key) else { continue };
                    self.discovery.by_address.remove(&target.address);
                    self.forget(io, Subject::Target(target.address));
                    if let Some(plan) = target.plan {
                        self.release_plan(io, &plan);
                    }
                }
                Some(at) => self.discovery.target_timers.arm(slot, at),
                None => {}
            }
        }
        while let Some(slot) = self.discovery.port_timers.due(self.now) {
            let Some(key) = self.discovery.ports.key_at(slot) else { continue };
            match self.discovery.ports.get(key).and_then(|p| p.forget) {
                Some(at) if at <= self.now => {
                    let Some(port) = self.discovery.ports.remove(key) else { continue };
                    self.discovery.by_port.remove(&port.port);
                    self.forget(io, Subject::Port(port.port));
                }
                Some(at) => self.discovery.port_timers.arm(slot, at),
                None => {}
            }
        }
    }
}
