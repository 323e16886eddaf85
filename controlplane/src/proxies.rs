//! Which proxies are connected: those with a call open. For the admin API and metrics.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use weft_model::fact::Id;
use weft_names::IdentityName;

use crate::{mesh_tls::Peer, target::Context};

/// The most proxies that are kept in mind: 20,000. Further ones are served all the same, and not listed.
pub const MAX_PROXIES: usize = 20_000;

/// The proxies that are connected. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<Mutex<BTreeMap<Id, Proxy>>>);

/// A proxy that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Who it proved to be, if it did.
    pub identity: Option<IdentityName>,
    /// Where it called from last.
    pub address: SocketAddr,
    /// Since when it has had calls open without a break.
    pub since: Timestamp,
    /// Its open calls for endpoints and profiles.
    pub destination: u32,
    /// Its open calls for policies.
    pub policy: u32,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Endpoints and profiles.
    Destination,
    /// Policies.
    Policy,
}

/// An open call of a proxy; it is counted until this is dropped.
#[derive(Debug)]
pub struct Open {
    proxies: Proxies,
    id: Id,
    purpose: Purpose,
}

impl Proxies {
    /// A proxy opened a call. `None` if it does not say which it is, or there are too many.
    pub fn opened(
        &self,
        context: &Context,
        peer: Option<&Peer>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Option<Open> {
        let (id, peer) = (context.workload()?, peer?);
        let mut proxies = self.lock();
        if proxies.len() >= MAX_PROXIES && !proxies.contains_key(&id) {
            return None;
        }
        let new = Proxy { identity: None, address: peer.address, since: now, destination: 0, policy: 0 };
        let proxy = proxies.entry(id.clone()).or_insert(new);
        proxy.identity.clone_from(&peer.identity);
        proxy.address = peer.address;
        *proxy.count(purpose) += 1;
        Some(Open { proxies: self.clone(), id, purpose })
    }

    /// Every proxy that is connected, by the name of its workload.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Id, Proxy> {
        self.lock().clone()
    }

    /// How many are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Proxy>> {
        // Counts are changed in one step each, so they are whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    fn count(&mut self, purpose: Purpose) -> &mut u32 {
        match purpose {
            Purpose::Destination => &mut self.destination,
            Purpose::Policy => &mut self.policy,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut proxies = self.proxies.lock();
        if let Some(proxy) = proxies.get_mut(&self.id) {
            let count = proxy.count(self.purpose);
            *count = count.saturating_sub(1);
            if proxy.destination == 0 && proxy.policy == 0 {
                proxies.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_listed_while_it_has_a_call_open() {
        let proxies = Proxies::default();
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), identity: None, server: None };
        let context = Context::parse("default:web-0");
        let open = |purpose| proxies.opened(&context, Some(&peer), purpose, Timestamp::UNIX_EPOCH);
        let first = open(Purpose::Destination).unwrap();
        let second = open(Purpose::Policy).unwrap();
        let id = Id::new("default", "web-0");
        assert_eq!((proxies.all()[&id].destination, proxies.all()[&id].policy), (1, 1));
        drop(first);
        assert_eq!((proxies.all()[&id].destination, proxies.count()), (0, 1));
        drop(second);
        assert_eq!(proxies.count(), 0);
        assert!(
            proxies
                .opened(&Context::default(), Some(&peer), Purpose::Policy, Timestamp::UNIX_EPOCH)
                .is_none()
        );
    }
}
