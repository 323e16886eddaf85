//! What the worker knows of targets and ports, and what it has prepared from that.
//!
//! A policy is asked for when the first connection needs it and kept, with updates, for as long as connections use it
//! and a while longer. When one arrives everything a request will need is resolved at once: balancers, endpoints,
//! counters. A request then only follows indices.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_balance::RateLimiter;
use weft_balance::rate_limit::Who;
use weft_names::IdentityName;
use weft_policy::Meta;
use weft_policy::inbound::{RateLimitFor, ServerPolicy};
use weft_policy::outbound::{self, Accrual, Dispatcher, Distribution, Policy, Protocol};

use crate::accept::{Accept, Governed};
use crate::balancer::{Balancer, BalancerConfig};
use crate::conn::{Conn, Stage, Timeout};
use crate::io::{DiscoverError, Io, Question, Side, Subject};
use crate::limits::Bound;
use crate::metrics::{
    self, ErrorKind, OutboundRoute, ParentLabels, RouteBackend, RouteBackendLabels, RouteLabels, Server,
    ServerLabels,
};
use crate::pool::Endpoint;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::timers::Timers;
use crate::worker::Worker;

/// Everything that was asked for and not forgotten.
#[derive(Default)]
pub(crate) struct Discovery {
    targets: Slab<Target>,
    by_address: HashMap<SocketAddr, Key<Target>>,
    target_timers: Timers,
    ports: Slab<PortPolicy>,
    by_port: HashMap<u16, Key<PortPolicy>>,
    port_timers: Timers,
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

/// An inbound port.
pub(crate) struct PortPolicy {
    pub(crate) port: u16,
    pub(crate) policy: Arc<ServerPolicy>,
    /// Counts how often the policy changed: what connections have cached of an older one is of no use.
    pub(crate) generation: u32,
    pub(crate) block: Arc<Server>,
    /// Limits on requests; new with each policy.
    limiter: Option<RateLimiter<Option<IdentityName>>>,
    users: u32,
    forget: Option<Instant>,
    /// Known from the start and kept.
    fixed: bool,
}

/// An outbound policy, with everything resolved that a request needs.
pub(crate) struct Plan {
    pub(crate) policy: Arc<Policy>,
    pub(crate) parent: Arc<metrics::Parent>,
    /// By table, route and rule, as in the policy.
    tables: [Vec<Vec<RulePlan>>; Table::COUNT],
    /// Every balancer and endpoint in it, for giving them up with the plan.
    dispatches: Vec<Dispatch>,
}

/// Which of a policy's lists of routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Http1,
    Http2,
    Opaque,
}

impl Table {
    const COUNT: usize = 3;
}

/// A rule of a plan.
pub(crate) struct RulePlan {
    /// Counters; none for opaque routes.
    pub(crate) block: Option<Arc<OutboundRoute>>,
    pub(crate) backends: Vec<BackendPlan>,
}

/// A backend of a rule.
pub(crate) struct BackendPlan {
    pub(crate) to: Dispatch,
    pub(crate) block: Option<Arc<RouteBackend>>,
}

/// Where a backend leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dispatch {
    Endpoint(Key<Endpoint>),
    Balancer(Key<Balancer>),
    Fail,
}

impl Plan {
    pub(crate) fn rule(&self, table: Table, route: usize, rule: usize) -> Option<&RulePlan> {
        self.tables.get(table as usize)?.get(route)?.get(rule)
    }
}

impl Plan {
    /// What a rule says of trying again.
    pub(crate) fn retry(&self, table: Table, route: usize, rule: usize) -> Option<&outbound::Retry> {
        fn of<M>(routes: &outbound::Routes<M>, route: usize, rule: usize) -> Option<&outbound::Retry> {
            routes.routes.get(route)?.rules.get(rule)?.retry.as_ref()
        }
        match (&self.policy.protocol, table) {
            (Protocol::Detect { http1, .. }, Table::Http1) | (Protocol::Http1(http1), Table::Http1) => {
                of(http1, route, rule)
            }
            (Protocol::Detect { http2, .. }, Table::Http2) | (Protocol::Http2(http2), Table::Http2) => {
                of(http2, route, rule)
            }
            (Protocol::Grpc(routes), Table::Http2) => of(routes, route, rule),
            _ => None,
        }
    }
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
        [self.target_timers.next(), self.port_timers.next()].into_iter().flatten().min()
    }
}

impl Worker {
    // --- outbound targets

    /// Finds the policy for a connection to `address`, or lets it wait for it.
    pub(crate) fn discover(&mut self, io: &mut impl Io, id: Key<Conn>, address: SocketAddr) {
        let known = self.discovery.by_address.get(&address).copied();
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
        let limit = self.config.limits.discovering as u64;
        let Some(target) = self.discovery.targets.get_mut(key) else { return };
        if target.plan.is_none() {
            if self.gauges.discovering.get() >= limit {
                self.met(io, Bound::DiscoveringConnections);
                return self.refuse(
                    io,
                    id,
                    ErrorKind::LoadShed,
                    "discover",
                    "too many connections wait for discovery",
                );
            }
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

    fn plan(&mut self, io: &mut impl Io, policy: Arc<Policy>) -> Plan {
        let mut dispatches = Vec::new();
        let mut tables = [const { Vec::new() }; Table::COUNT];
        let parent = Arc::clone(&policy.parent);
        let [http1_table, http2_table, opaque_table] = &mut tables;
        match &policy.protocol {
            Protocol::Detect { http1, http2, opaque, .. } => {
                *http1_table = self.plan_http(io, &parent, http1, false, &mut dispatches);
                *http2_table = self.plan_http(io, &parent, http2, false, &mut dispatches);
                *opaque_table = self.plan_tcp(io, opaque.routes.iter().map(|r| &r.rules), &mut dispatches);
            }
            Protocol::Http1(routes) => {
                *http1_table = self.plan_http(io, &parent, routes, false, &mut dispatches)
            }
            Protocol::Http2(routes) => {
                *http2_table = self.plan_http(io, &parent, routes, false, &mut dispatches)
            }
            Protocol::Grpc(routes) => {
                *http2_table = self.plan_http(io, &parent, routes, true, &mut dispatches)
            }
            Protocol::Opaque(routes) => {
                *opaque_table = self.plan_tcp(io, routes.routes.iter().map(|r| &r.rules), &mut dispatches);
            }
            Protocol::Tls(routes) => {
                *opaque_table = self.plan_tcp(io, routes.routes.iter().map(|r| &r.rules), &mut dispatches);
            }
        }
        let parent = self.registry.parents.block(&ParentLabels { parent });
        Plan { policy, parent, tables, dispatches }
    }

    fn plan_http<M>(
        &mut self,
        io: &mut impl Io,
        parent: &Arc<Meta>,
        routes: &outbound::Routes<M>,
        grpc: bool,
        dispatches: &mut Vec<Dispatch>,
    ) -> Vec<Vec<RulePlan>> {
        let mut table = Vec::with_capacity(routes.routes.len());
        for route in &routes.routes {
            let labels = RouteLabels { parent: Arc::clone(parent), route: Arc::clone(&route.meta), grpc };
            let block = self.registry.outbound_routes.block(&labels);
            let rules = route.rules.iter().map(|rule| RulePlan {
                block: Some(Arc::clone(&block)),
                backends: self.plan_backends(io, &rule.backends, Some(&labels), routes.accrual, dispatches),
            });
            table.push(rules.collect());
        }
        table
    }

    fn plan_tcp<'a>(
        &mut self,
        io: &mut impl Io,
        routes: impl Iterator<Item = &'a Vec<outbound::TcpRule>>,
        dispatches: &mut Vec<Dispatch>,
    ) -> Vec<Vec<RulePlan>> {
        let mut table = Vec::new();
        for rules in routes {
            let rules = rules.iter().map(|rule| RulePlan {
                block: None,
                backends: self.plan_backends(io, &rule.backends, None, None, dispatches),
            });
            table.push(rules.collect());
        }
        table
    }

    fn plan_backends(
        &mut self,
        io: &mut impl Io,
        distribution: &Distribution,
        route: Option<&RouteLabels>,
        accrual: Option<Accrual>,
        dispatches: &mut Vec<Dispatch>,
    ) -> Vec<BackendPlan> {
        let mut backends = Vec::with_capacity(distribution.len());
        for backend in distribution.backends() {
            let backend = &backend.backend;
            let to = match &backend.dispatcher {
                Dispatcher::Forward(endpoint) => Dispatch::Endpoint(self.lone_endpoint(endpoint)),
                Dispatcher::Balance { path, load } => {
                    let config = BalancerConfig { http: route.is_some(), load: *load, accrual };
                    Dispatch::Balancer(self.balancer(io, path, config, &backend.meta))
                }
                Dispatcher::Fail { .. } => Dispatch::Fail,
            };
            dispatches.push(to);
            let block = route.map(|route| {
                let labels = RouteBackendLabels { route: route.clone(), backend: Arc::clone(&backend.meta) };
                self.registry.route_backends.block(&labels)
            });
            backends.push(BackendPlan { to, block });
        }
        backends
    }

    /// Gives up what a plan held. Exchanges under way keep what they have got.
    fn release_plan(&mut self, io: &mut impl Io, plan: &Plan) {
        for dispatch in &plan.dispatches {
            match dispatch {
                Dispatch::Endpoint(endpoint) => self.release_endpoint(*endpoint),
                Dispatch::Balancer(balancer) => self.release_balancer(io, *balancer),
                Dispatch::Fail => {}
            }
        }
    }

    // --- lone endpoints: forwarded to, or the application itself

    /// The endpoint of a forwarding backend; one and the same for equal ones.
    fn lone_endpoint(&mut self, policy: &Arc<outbound::Endpoint>) -> Key<Endpoint> {
        if let Some(key) = self.lone.get(policy).copied()
            && let Some(endpoint) = self.endpoints.get_mut(key)
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

    fn release_endpoint(&mut self, key: Key<Endpoint>) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.users -= 1;
        if endpoint.users == 0 {
            endpoint.unused = Some(self.now);
            self.endpoint_timers.arm(key.index(), self.now);
        }
    }

    // --- inbound ports

    /// Asks about the ports that are to be known before anybody connects.
    pub(crate) fn ask_about_fixed_ports(&mut self, io: &mut impl Io) {
        let ports: Vec<u16> = self.config.inbound.ports.iter().collect();
        for port in ports {
            if let Some(key) = self.port_entry(io, port)
                && let Some(entry) = self.discovery.ports.get_mut(key)
            {
                entry.fixed = true;
                entry.forget = None;
            }
        }
    }

    /// Puts a connection under the policy of `port`; the default one, if the port's own is not there yet.
    pub(crate) fn govern_inbound(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        port: u16,
    ) -> Option<Key<PortPolicy>> {
        let Some(key) = self.port_entry(io, port) else {
            self.refuse(io, id, ErrorKind::LoadShed, "discover", "too many ports are known");
            return None;
        };
        if let Some(entry) = self.discovery.ports.get_mut(key) {
            entry.users += 1;
            entry.forget = None;
        }
        if let Some(client) = self.client_mut(id) {
            client.policy = Some(Governed::Inbound(key));
        }
        Some(key)
    }

    fn port_entry(&mut self, io: &mut impl Io, port: u16) -> Option<Key<PortPolicy>> {
        if let Some(key) = self.discovery.by_port.get(&port) {
            return Some(*key);
        }
        if self.discovery.len() >= self.config.limits.policies {
            self.met(io, Bound::Policies);
            return None;
        }
        // Traffic does not wait for the answer, so it does not fail for a full queue either: the next one asks again.
        let asked = io.ask(Question::Port { port }).is_ok();
        let config = &self.config.inbound;
        let policy = if config.opaque_ports.contains(port) {
            Arc::clone(&config.default_opaque_policy)
        } else {
            Arc::clone(&config.default_policy)
        };
        let block = self.server_block(&policy, port);
        let forget = (!asked).then_some(self.now);
        let limiter = Self::limiter(&policy);
        let entry =
            PortPolicy { port, policy, generation: 0, block, limiter, users: 0, forget, fixed: false };
        let key = self.discovery.ports.insert(entry);
        self.discovery.by_port.insert(port, key);
        Some(key)
    }

    /// The limits of a policy on requests, as good as new.
    fn limiter(policy: &ServerPolicy) -> Option<RateLimiter<Option<IdentityName>>> {
        let limit = policy.rate_limit()?;
        let overrides = limit.overrides.iter().map(|o| o.limit);
        Some(RateLimiter::new(
            limit.total,
            limit.identity,
            overrides,
            RateLimiter::<Option<IdentityName>>::DEFAULT_MAX_CLIENTS,
        ))
    }

    /// Whether the limits of a port let one more request of a client through.
    pub(crate) fn within_rate_limit(&mut self, id: Key<Conn>) -> bool {
        let now = self.now;
        let Some(Governed::Inbound(key)) = self.client(id).and_then(|c| c.policy) else { return true };
        let identity = self.client(id).and_then(|c| c.identity.clone());
        let Some(port) = self.discovery.ports.get_mut(key) else { return true };
        let (Some(limiter), Some(limit)) = (&mut port.limiter, port.policy.rate_limit()) else { return true };
        let who = match limit.for_client(identity.as_ref()) {
            RateLimitFor::Override(index) => Who::Override(index),
            RateLimitFor::Identity => Who::Client(&identity),
            RateLimitFor::None => Who::Nobody,
        };
        limiter.check(who, now).is_ok()
    }

    fn server_block(&self, policy: &ServerPolicy, port: u16) -> Arc<Server> {
        self.registry.servers.block(&ServerLabels { server: Arc::clone(&policy.meta), port })
    }

    /// A port's policy has come, or another one: connections that it does not allow any more are cut.
    pub(crate) fn port_policy(&mut self, io: &mut impl Io, port: u16, policy: Arc<ServerPolicy>) {
        let Some(key) = self.discovery.by_port.get(&port).copied() else { return };
        let block = self.server_block(&policy, port);
        let Some(entry) = self.discovery.ports.get_mut(key) else { return };
        entry.limiter = Self::limiter(&policy);
        entry.policy = policy;
        entry.block = block;
        entry.generation = entry.generation.wrapping_add(1);
        let governed: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, c)| c.client.as_ref().is_some_and(|cl| cl.policy == Some(Governed::Inbound(key))))
            .filter(|(_, c)| matches!(c.stage, Stage::Relay(_) | Stage::Accept(Accept::Endpoint)))
            .map(|(id, _)| id)
            .collect();
        for id in governed {
            self.reauthorize(io, id);
        }
    }

    pub(crate) fn port_policy_of(&self, id: Key<Conn>) -> Option<&PortPolicy> {
        match self.client(id)?.policy? {
            Governed::Inbound(key) => self.discovery.port(key),
            Governed::Outbound(_) => None,
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

    /// Forgets what nobody has used for long enough.
    pub(crate) fn forget_idle_policies(&mut self, io: &mut impl Io) {
        while let Some(slot) = self.discovery.target_timers.due(self.now) {
            let Some(key) = self.discovery.targets.key_at(slot) else { continue };
            match self.discovery.targets.get(key).and_then(|t| t.forget) {
                Some(at) if at <= self.now => {
                    let Some(target) = self.discovery.targets.remove(key) else { continue };
                    self.discovery.by_address.remove(&target.address);
                    let _ = io.ask(Question::Forget(Subject::Target(target.address)));
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
                    let _ = io.ask(Question::Forget(Subject::Port(port.port)));
                }
                Some(at) => self.discovery.port_timers.arm(slot, at),
                None => {}
            }
        }
    }
}
