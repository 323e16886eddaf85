//! Inbound ports: the policy of each, the default one until it comes, and the limits on requests.

use std::sync::Arc;

use weft_balance::RateLimiter;
use weft_balance::rate_limit::Who;
use weft_names::IdentityName;
use weft_policy::inbound::{RateLimitFor, ServerPolicy};

use crate::accept::{Accept, Governed};
use crate::conn::{Conn, Stage};
use crate::io::{Io, Subject};
use crate::limits::Bound;
use crate::metrics::{ErrorKind, Server, ServerLabels};
use crate::slab::Key;
use crate::time::Instant;
use crate::worker::Worker;

/// An inbound port.
pub(crate) struct PortPolicy {
    pub(crate) port: u16,
    pub(crate) policy: Arc<ServerPolicy>,
    /// Counts how often the policy changed: what connections have cached of an older one is of no use.
    pub(crate) generation: u32,
    pub(crate) block: Arc<Server>,
    /// Limits on requests; new with each policy.
    limiter: Option<RateLimiter<Option<IdentityName>>>,
    pub(crate) users: u32,
    pub(crate) forget: Option<Instant>,
    /// Known from the start and kept.
    pub(crate) fixed: bool,
}

impl Worker {
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
        // Traffic does not wait for the answer, so it does not fail for a full queue either.
        self.ask(io, Subject::Port(port));
        let config = &self.config.inbound;
        let policy = if config.opaque_ports.contains(port) {
            Arc::clone(&config.default_opaque_policy)
        } else {
            Arc::clone(&config.default_policy)
        };
        let block = self.server_block(&policy, port);
        let limiter = Self::limiter(&policy);
        let entry =
            PortPolicy { port, policy, generation: 0, block, limiter, users: 0, forget: None, fixed: false };
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

    fn server_block(&mut self, policy: &ServerPolicy, port: u16) -> Arc<Server> {
        self.blocks.servers(&ServerLabels { server: Arc::clone(&policy.meta), port })
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
}
