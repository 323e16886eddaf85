//! The standalone registry: workloads come with a lease, get an address, an identity and a service, and go when they
//! say so or stop renewing.
//!
//! ```text
//!   PUT /registry/v1/workloads/NS/POD ─▶ api (checked) ─▶ Registry::register ─▶ store ─▶ events ─▶ projection
//!   sweep, every half second ──────────────────────────▶ Registry::expire ───┘
//! ```
//!
//! - What is on the disk comes first: an address that is told to anybody is in the store. A change is written, then
//!   shown; when it cannot be written it is not made, and what was there stays.
//! - Leases run on the monotonic clock and are not kept: whoever was registered when the control plane went down has
//!   a whole lease when it comes back, and a control plane that was stopped for a while grants that while to all.
//! - A service outlives its last workload by [`Config::linger`], so that its clients are told "no endpoints" by their
//!   proxies and do not run into an address that means something else.
//! - One operation at a time. Renewals that change nothing do not touch the disk more than once in a minute.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Mutex;
use weft_model::{Event, Mesh, fact::Id};
use weft_store::{NewWorkload, Pool, PortRow, ServiceRow, Store, StoreError};

pub mod api;
pub mod http;

mod facts;

#[cfg(test)]
mod tests;

use self::api::{Addresses, Answer, Networks, Registration};
use crate::identity::{Authority, CertifyError};

/// Leases are looked at this often: half a second.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// A registration that does not change is written again after this long, so that its join tokens live on: a minute.
const REWRITE_AFTER: Duration = Duration::from_secs(60);

/// A sweep that comes later than this means that the whole process stood still: 2 s.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// How the registry is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where workloads get their addresses from.
    pub workloads: Pool,
    /// Where services get their virtual addresses from.
    pub services: Pool,
    /// A lease where none is asked for. Default 15 s.
    pub ttl: Duration,
    /// How long a service stays after its last workload. Default 10 min.
    pub linger: Duration,
    /// What workloads are told of the control plane.
    pub addresses: Addresses,
    /// What workloads are told of networks.
    pub networks: Networks,
}

/// A moment on both clocks: one that can be written down and one that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The date.
    pub date: Timestamp,
    /// The monotonic clock.
    pub tick: Instant,
}

/// The registry.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    store: Store,
    authority: Arc<Authority>,
    mesh: Mesh,
    /// Held for the whole of an operation, also while it waits for the store.
    state: Mutex<State>,
    /// What is shown of the leases, for readers that cannot wait.
    leases: Leases,
}

/// When leases end, and when workloads were first registered.
#[derive(Debug, Default)]
struct Leases(std::sync::Mutex<BTreeMap<Id, (Instant, Timestamp)>>);

#[derive(Debug, Default)]
struct State {
    workloads: BTreeMap<Id, Registered>,
    services: BTreeMap<Id, Served>,
    swept: Option<Instant>,
}

/// A workload that is registered.
#[derive(Debug)]
struct Registered {
    row: NewWorkload,
    until: Instant,
    created_at: Timestamp,
    written: Instant,
}

/// A service that has an address.
#[derive(Debug)]
struct Served {
    row: ServiceRow,
    /// Since when it has no workload.
    empty_since: Option<Instant>,
    /// Whether it is in a manifest, and so stays without workloads.
    written: bool,
}

/// What is shown of a workload's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it lasts yet.
    pub remaining: Duration,
    /// When the workload was first registered.
    pub created_at: Timestamp,
}

/// Why something is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address belongs to something else.
    #[error("the address {address} belongs to {owner}")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        owner: String,
    },
    /// The names make an identity that is longer than one can be.
    #[error("the identity of service account {0} would be longer than a DNS name can be")]
    IdentityTooLong(Id),
    /// The state could not be read or written.
    #[error("the registration could not be written")]
    Store(#[from] StoreError),
    /// No join token could be made.
    #[error("no join token could be made")]
    Token(#[source] CertifyError),
}

impl Registry {
    /// Takes up what was registered when the control plane went down: every lease begins anew.
    ///
    /// # Errors
    /// The state cannot be read, or a range was changed and new addresses cannot be given.
    pub async fn open(
        config: Config,
        store: Store,
        authority: Arc<Authority>,
        mesh: Mesh,
        now: Moment,
    ) -> Result<Self, RegistryError> {
        let (state, leases) = (Mutex::new(State::default()), Leases::default());
        let this = Self { config, store, authority, mesh, state, leases };
        let mut state = this.state.lock().await;
        for mut row in this.store.services().await? {
            let id = Id::new(&*row.namespace, &*row.name);
            if !this.config.services.range.contains(&row.vip) {
                let vip = this.store.allocate(&this.config.services, &id.to_string(), now.date).await?;
                row =
                    this.store.upsert_service(&row.namespace, &row.name, vip, &row.ports, now.date).await?.0;
            }
            let served = Served { row, empty_since: Some(now.tick), written: false };
            state.services.insert(id, served);
        }
        for row in this.store.workloads().await? {
            let id = Id::new(&*row.workload.namespace, &*row.workload.name);
            if let Some(service) =
                row.workload.service.as_deref().map(|name| Id::new(id.namespace.clone(), name))
                && let Some(served) = state.services.get_mut(&service)
            {
                served.empty_since = None;
            }
            let until = now.tick + row.workload.lease_ttl;
            let created_at = row.created_at;
            state
                .workloads
                .insert(id, Registered { row: row.workload, until, created_at, written: now.tick });
        }
        let services = state.services.values().map(|served| facts::service(&served.row));
        let workloads = state.workloads.values().map(|registered| facts::workload(&registered.row));
        this.mesh.apply(services.chain(workloads));
        drop(state);
        Ok(this)
    }

    /// Registers a workload, changes it, or renews its lease: one and the same request.
    ///
    /// # Errors
    /// See [`RegistryError`]. What was registered before stays.
    pub async fn register(
        &self,
        id: &Id,
        asked: &Registration,
        now: Moment,
    ) -> Result<Answer, RegistryError> {
        let mut state = self.state.lock().await;
        let account = asked.service_account.clone().or_else(|| asked.service.clone());
        let account = account.unwrap_or_else(|| id.name.to_string());
        let identity = self.authority.identity(&account, &id.namespace);
        let identity =
            identity.map_err(|_| RegistryError::IdentityTooLong(Id::new(id.namespace.clone(), &*account)))?;

        let ip = self.address_of(&state, id, asked, now).await?;
        let row = NewWorkload {
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
            service: asked.service.clone(),
            service_account: account,
            identity: identity.to_string(),
            ip,
            ports: asked.ports.iter().map(api::Port::row).collect(),
            labels: asked.labels.clone(),
            ready: asked.ready,
            lease_ttl: asked.ttl.unwrap_or(self.config.ttl),
        };
        let mut events = Vec::new();
        let service_ip = match &row.service {
            Some(name) => {
                let service = Id::new(id.namespace.clone(), &**name);
                let ports = union(&state, &service, id, &row.ports);
                let (vip, event) = self.serve(&mut state, &service, Some(ports), now).await?;
                events.extend(event);
                if let Some(served) = state.services.get_mut(&service) {
                    served.empty_since = None;
                }
                Some(vip)
            }
            None => None,
        };

        let before = state.workloads.get(id);
        let created = before.is_none();
        let is_fresh = |before: &Registered| {
            before.row == row && now.tick.saturating_duration_since(before.written) < REWRITE_AFTER
        };
        let mut token = None;
        let (created_at, written) = match before {
            Some(before) if is_fresh(before) && !asked.issue_token => (before.created_at, before.written),
            _ => {
                let tokens_until = self.authority.tokens_until(now.date);
                let registered = self.store.upsert_workload(&row, tokens_until, now.date).await?;
                if registered.live_tokens == 0 || asked.issue_token {
                    let minted = self.authority.mint(&identity, &id.namespace, &id.name, now.date).await;
                    token = Some(minted.map_err(RegistryError::Token)?);
                }
                (registered.row.created_at, now.tick)
            }
        };
        let left = before
            .and_then(|before| before.row.service.clone())
            .filter(|left| Some(left) != row.service.as_ref());
        events.push(facts::workload(&row));
        let until = now.tick + row.lease_ttl;
        let registered = Registered { row: row.clone(), until, created_at, written };
        self.leases.lock().insert(id.clone(), (until, created_at));
        state.workloads.insert(id.clone(), registered);
        if let Some(left) = left {
            state.leave(&Id::new(id.namespace.clone(), left), now.tick);
        }
        self.mesh.apply(events);
        Ok(Answer {
            namespace: row.namespace,
            pod: row.name,
            service: row.service,
            service_account: row.service_account,
            identity: row.identity,
            join_token: token.map(|token| token.reveal()),
            trust_anchors: self.authority.trust_anchors_pem(),
            ip: row.ip,
            service_ip,
            ttl: row.lease_ttl,
            created,
            addresses: self.config.addresses.clone(),
            networks: self.config.networks.clone(),
        })
    }

    /// Removes a workload; whether there was one.
    ///
    /// # Errors
    /// The state cannot be written: it stays.
    pub async fn remove(&self, id: &Id, now: Moment) -> Result<bool, RegistryError> {
        let mut state = self.state.lock().await;
        if !state.workloads.contains_key(id) {
            return Ok(false);
        }
        self.forget(&mut state, id, now).await?;
        Ok(true)
    }

    /// Removes the workloads whose lease ran out, and the services that lingered long enough. What cannot be written
    /// is tried again at the next sweep. The workloads that were removed.
    pub async fn expire(&self, now: Moment) -> Vec<Id> {
        let mut state = self.state.lock().await;
        let since = state.swept.replace(now.tick).map(|swept| now.tick.saturating_duration_since(swept));
        if let Some(since) = since.filter(|since| *since > STOOD_STILL) {
            // Nobody could renew while this process stood still.
            tracing::warn!(?since, "the control plane stood still; leases are longer by that");
            state.workloads.values_mut().for_each(|registered| registered.until += since);
            self.leases.lock().values_mut().for_each(|(until, _)| *until += since);
        }
        let due: Vec<Id> =
            state.workloads.iter().filter(|(_, r)| r.until <= now.tick).map(|(id, _)| id.clone()).collect();
        let mut removed = Vec::new();
        for id in due {
            match self.forget(&mut state, &id, now).await {
                Ok(()) => removed.push(id),
                Err(error) => {
                    tracing::error!(workload = %id, %error, "an expired workload could not be removed")
                }
            }
        }
        let lingered = |served: &Served| {
            let empty = served.empty_since.is_some_and(|since| now.tick >= since + self.config.linger);
            empty && !served.written
        };
        let due: Vec<Id> =
            state.services.iter().filter(|(_, served)| lingered(served)).map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Err(error) = self.unserve(&mut state, &id, now).await {
                tracing::error!(service = %id, %error, "a service without workloads could not be removed");
            }
        }
        removed
    }

    /// Gives a service that is written in a manifest an address, and keeps it while it is written.
    ///
    /// # Errors
    /// No address can be given, or not be written.
    pub async fn keep_service(&self, id: &Id, now: Moment) -> Result<(), RegistryError> {
        let mut state = self.state.lock().await;
        let (_, event) = self.serve(&mut state, id, None, now).await?;
        if let Some(served) = state.services.get_mut(id) {
            served.written = true;
        }
        self.mesh.apply(event);
        Ok(())
    }

    /// A service is not written in a manifest any more: without workloads it lingers and goes.
    pub async fn release_service(&self, id: &Id) {
        if let Some(served) = self.state.lock().await.services.get_mut(id) {
            served.written = false;
        }
    }

    /// What is shown of every registration. Does not wait.
    #[must_use]
    pub fn leases(&self, now: Moment) -> BTreeMap<Id, Lease> {
        let lease = |(until, created_at): &(Instant, Timestamp)| Lease {
            remaining: until.saturating_duration_since(now.tick),
            created_at: *created_at,
        };
        self.leases.lock().iter().map(|(id, ends)| (id.clone(), lease(ends))).collect()
    }

    /// How many workloads are registered.
    #[must_use]
    pub fn workloads(&self) -> usize {
        self.leases.lock().len()
    }

    /// The address of a workload: the one it asks for, the one it has, or one of its own.
    async fn address_of(
        &self,
        state: &State,
        id: &Id,
        asked: &Registration,
        now: Moment,
    ) -> Result<IpAddr, RegistryError> {
        let has = state.workloads.get(id).map(|registered| registered.row.ip);
        let address = match (asked.ip, has) {
            (Some(asked), _) => asked,
            (None, Some(has)) if self.config.workloads.range.contains(&has) => return Ok(has),
            (None, _) => self.store.allocate(&self.config.workloads, &id.to_string(), now.date).await?,
        };
        let owner = self.mesh.read(|mesh| {
            let facts = mesh.facts();
            let workload = facts.workloads_at(address).find(|workload| workload.id != *id);
            let workload = workload.map(|workload| format!("workload {}", workload.id));
            workload.or_else(|| {
                facts.services_at(address).next().map(|service| format!("service {}", service.id))
            })
        });
        match owner {
            Some(owner) => Err(RegistryError::AddressTaken { address, owner }),
            None => Ok(address),
        }
    }

    /// Makes sure that a service has an address and these ports (those it has, if none are given). Its address, and
    /// what to tell the projection if something is new.
    async fn serve(
        &self,
        state: &mut State,
        id: &Id,
        ports: Option<Vec<PortRow>>,
        now: Moment,
    ) -> Result<(IpAddr, Option<Event>), RegistryError> {
        let has = state.services.get(id);
        let ports = ports.or_else(|| has.map(|served| served.row.ports.clone())).unwrap_or_default();
        if let Some(served) = has.filter(|served| served.row.ports == ports) {
            return Ok((served.row.vip, None));
        }
        let vip = match has {
            Some(served) => served.row.vip,
            None => self.store.allocate(&self.config.services, &id.to_string(), now.date).await?,
        };
        let (row, _) = self.store.upsert_service(&id.namespace, &id.name, vip, &ports, now.date).await?;
        let event = facts::service(&row);
        match state.services.get_mut(id) {
            Some(served) => served.row = row,
            None => {
                let served = Served { row, empty_since: Some(now.tick), written: false };
                state.services.insert(id.clone(), served);
            }
        }
        Ok((vip, Some(event)))
    }

    async fn forget(&self, state: &mut State, id: &Id, now: Moment) -> Result<(), RegistryError> {
        self.store.delete_workload(&id.namespace, &id.name, now.date).await?;
        self.store.release(&self.config.workloads, &id.to_string(), now.date).await?;
        self.leases.lock().remove(id);
        if let Some(registered) = state.workloads.remove(id)
            && let Some(service) = registered.row.service
        {
            state.leave(&Id::new(id.namespace.clone(), service), now.tick);
        }
        self.mesh.apply([Event::WorkloadGone(id.clone())]);
        Ok(())
    }

    async fn unserve(&self, state: &mut State, id: &Id, now: Moment) -> Result<(), RegistryError> {
        self.store.delete_service(&id.namespace, &id.name).await?;
        self.store.release(&self.config.services, &id.to_string(), now.date).await?;
        state.services.remove(id);
        self.mesh.apply([Event::ServiceGone(id.clone())]);
        Ok(())
    }
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, (Instant, Timestamp)>> {
        // Each change is one insertion or removal, so the map is whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A workload left a service: if it was the last one, the service begins to linger.
    fn leave(&mut self, service: &Id, now: Instant) {
        let is_of = |(id, registered): (&Id, &Registered)| {
            id.namespace == service.namespace && registered.row.service.as_deref() == Some(&*service.name)
        };
        if !self.workloads.iter().any(is_of)
            && let Some(served) = self.services.get_mut(service)
        {
            served.empty_since = Some(now);
        }
    }
}

/// The ports of a service: those of all its workloads. What a workload says now wins over what others said before.
fn union(state: &State, service: &Id, own: &Id, ports: &[PortRow]) -> Vec<PortRow> {
    let others = state.workloads.iter().filter(|(id, registered)| {
        *id != own
            && id.namespace == service.namespace
            && registered.row.service.as_deref() == Some(&*service.name)
    });
    let mut union: BTreeMap<u16, PortRow> = BTreeMap::new();
    for port in others.flat_map(|(_, registered)| &registered.row.ports).chain(ports) {
        union.insert(port.port, port.clone());
    }
    union.into_values().collect()
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { date: Timestamp::now(), tick: Instant::now() }
    }
}
