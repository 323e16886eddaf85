//! All facts, their indexes, and the lens through which views read them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    event::{Event, Kind, Object},
    fact::{
        AuthorizationPolicy, GrpcRoute, HttpRoute, Id, MeshTlsAuthentication, NetworkAuthentication,
        ParentRef, RouteGroup, Server, ServerAuthorization, Service, ServiceProfile, Workload,
    },
    problem::Problem,
    settings::Settings,
};

/// Something a view can depend on. An event touches topics; see [`Lens`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A service: whether it exists and what it is like.
    Service(Id),
    /// What has an address: services and workloads.
    Address(IpAddr),
    /// Which workloads belong to a service, and what they are like.
    Members(Id),
    /// A workload.
    Workload(Id),
    /// The Servers of a namespace.
    Servers(Arc<str>),
    /// AuthorizationPolicies and ServerAuthorizations of a namespace.
    Authorizations(Arc<str>),
    /// A MeshTLSAuthentication.
    MeshTlsAuthentication(Id),
    /// A NetworkAuthentication.
    NetworkAuthentication(Id),
    /// The routes that have a service as a parent.
    ServiceRoutes(Id),
    /// The routes of a namespace that have a Server as a parent.
    ServerRoutes(Arc<str>),
    /// A ServiceProfile.
    Profile(Id),
}

/// All facts.
#[derive(Debug, Default)]
pub struct Facts {
    registered: BTreeMap<Id, Arc<Service>>,
    written: BTreeMap<Id, Arc<Service>>,
    services: BTreeMap<Id, Arc<Service>>,
    workloads: BTreeMap<Id, Arc<Workload>>,
    servers: BTreeMap<Id, Arc<Server>>,
    server_authorizations: BTreeMap<Id, Arc<ServerAuthorization>>,
    authorization_policies: BTreeMap<Id, Arc<AuthorizationPolicy>>,
    mesh_tls: BTreeMap<Id, Arc<MeshTlsAuthentication>>,
    networks: BTreeMap<Id, Arc<NetworkAuthentication>>,
    profiles: BTreeMap<Id, Arc<ServiceProfile>>,
    http_routes: BTreeMap<(RouteGroup, Id), Arc<HttpRoute>>,
    grpc_routes: BTreeMap<Id, Arc<GrpcRoute>>,
    problems: BTreeMap<Arc<str>, Arc<[Problem]>>,
    service_addresses: BTreeMap<IpAddr, BTreeSet<Id>>,
    workload_addresses: BTreeMap<IpAddr, BTreeSet<Id>>,
}

/// Two things have one address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {count} {what} with conflicting {address_kind} {address}")]
pub struct Conflict {
    count: usize,
    what: &'static str,
    address_kind: &'static str,
    address: IpAddr,
}

impl Facts {
    /// Every service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// A service.
    #[must_use]
    pub fn service(&self, id: &Id) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// A workload.
    #[must_use]
    pub fn workload(&self, id: &Id) -> Option<&Arc<Workload>> {
        self.workloads.get(id)
    }

    /// The services that have an address.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.service_addresses.get(&address).into_iter().flatten().filter_map(|id| self.services.get(id))
    }

    /// The workloads that have an address.
    pub fn workloads_at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Workload>> {
        self.workload_addresses.get(&address).into_iter().flatten().filter_map(|id| self.workloads.get(id))
    }

    /// The workloads that belong to a service, in order of their names.
    pub fn members<'a, 'n>(
        &'a self,
        service: &'n Id,
    ) -> impl Iterator<Item = &'a Arc<Workload>> + use<'a, 'n> {
        let selector = self.services.get(service).and_then(|service| service.selector.as_ref());
        in_namespace(&self.workloads, &service.namespace)
            .filter(move |workload| workload.belongs_to(service, selector))
    }

    /// The problems of each file that has some.
    pub fn problems(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<[Problem]>)> {
        self.problems.iter()
    }

    /// How many objects of a kind have been written.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.written.len(),
            Kind::Server => self.servers.len(),
            Kind::ServerAuthorization => self.server_authorizations.len(),
            Kind::AuthorizationPolicy => self.authorization_policies.len(),
            Kind::MeshTlsAuthentication => self.mesh_tls.len(),
            Kind::NetworkAuthentication => self.networks.len(),
            Kind::ServiceProfile => self.profiles.len(),
            Kind::HttpRoute(group) => self.http_routes.keys().filter(|(of, _)| *of == group).count(),
            Kind::GrpcRoute => self.grpc_routes.len(),
        }
    }

    /// Takes an event in and adds the topics it touches; whether it changed anything.
    pub(crate) fn apply(&mut self, event: Event, touched: &mut BTreeSet<Topic>) -> bool {
        match event {
            Event::Service(service) => {
                let id = service.id.clone();
                set(&mut self.registered, &id, Some(service)) && self.merge(&id, touched)
            }
            Event::ServiceGone(id) => set(&mut self.registered, &id, None) && self.merge(&id, touched),
            Event::Workload(workload) => {
                let id = workload.id.clone();
                self.set_workload(&id, Some(workload), touched)
            }
            Event::WorkloadGone(id) => self.set_workload(&id, None, touched),
            Event::Written(object) => self.write(object, touched),
            Event::Erased(kind, id) => self.erase(kind, &id, touched),
            Event::Problems(file, problems) => {
                let problems = (!problems.is_empty()).then_some(problems);
                set(&mut self.problems, &file, problems)
            }
        }
    }

    fn write(&mut self, object: Object, touched: &mut BTreeSet<Topic>) -> bool {
        match object {
            Object::Service(service) => {
                let id = service.id.clone();
                set(&mut self.written, &id, Some(service)) && self.merge(&id, touched)
            }
            Object::Server(server) => {
                touch(set(&mut self.servers, &server.id.clone(), Some(server.clone())), touched, || {
                    Topic::Servers(server.id.namespace.clone())
                })
            }
            Object::ServerAuthorization(authorization) => {
                let id = authorization.id.clone();
                touch(set(&mut self.server_authorizations, &id, Some(authorization)), touched, || {
                    Topic::Authorizations(id.namespace.clone())
                })
            }
            Object::AuthorizationPolicy(policy) => {
                let id = policy.id.clone();
                touch(set(&mut self.authorization_policies, &id, Some(policy)), touched, || {
                    Topic::Authorizations(id.namespace.clone())
                })
            }
            Object::MeshTlsAuthentication(authentication) => {
                let id = authentication.id.clone();
                touch(set(&mut self.mesh_tls, &id, Some(authentication)), touched, || {
                    Topic::MeshTlsAuthentication(id.clone())
                })
            }
            Object::NetworkAuthentication(authentication) => {
                let id = authentication.id.clone();
                touch(set(&mut self.networks, &id, Some(authentication)), touched, || {
                    Topic::NetworkAuthentication(id.clone())
                })
            }
            Object::ServiceProfile(profile) => {
                let id = profile.id.clone();
                touch(set(&mut self.profiles, &id, Some(profile)), touched, || Topic::Profile(id.clone()))
            }
            Object::HttpRoute(route) => {
                let key = (route.group, route.id.clone());
                self.set_http_route(&key, Some(route), touched)
            }
            Object::GrpcRoute(route) => {
                let id = route.id.clone();
                self.set_grpc_route(&id, Some(route), touched)
            }
        }
    }

    fn erase(&mut self, kind: Kind, id: &Id, touched: &mut BTreeSet<Topic>) -> bool {
        match kind {
            Kind::Service => set(&mut self.written, id, None) && self.merge(id, touched),
            Kind::Server => {
                touch(set(&mut self.servers, id, None), touched, || Topic::Servers(id.namespace.clone()))
            }
            Kind::ServerAuthorization => {
                touch(set(&mut self.server_authorizations, id, None), touched, || {
                    Topic::Authorizations(id.namespace.clone())
                })
            }
            Kind::AuthorizationPolicy => {
                touch(set(&mut self.authorization_policies, id, None), touched, || {
                    Topic::Authorizations(id.namespace.clone())
                })
            }
            Kind::MeshTlsAuthentication => {
                touch(set(&mut self.mesh_tls, id, None), touched, || Topic::MeshTlsAuthentication(id.clone()))
            }
            Kind::NetworkAuthentication => {
                touch(set(&mut self.networks, id, None), touched, || Topic::NetworkAuthentication(id.clone()))
            }
            Kind::ServiceProfile => {
                touch(set(&mut self.profiles, id, None), touched, || Topic::Profile(id.clone()))
            }
            Kind::HttpRoute(group) => self.set_http_route(&(group, id.clone()), None, touched),
            Kind::GrpcRoute => self.set_grpc_route(id, None, touched),
        }
    }

    /// Makes the service of what the registry and a manifest say.
    fn merge(&mut self, id: &Id, touched: &mut BTreeSet<Topic>) -> bool {
        let merged = match (self.registered.get(id), self.written.get(id)) {
            (Some(registered), Some(written)) => Some(Arc::new(Service::merged(registered, written))),
            (one, other) => one.or(other).cloned(),
        };
        let before = self.services.get(id).cloned();
        if before == merged {
            return false;
        }
        if before.as_ref().and_then(|service| service.selector.as_ref())
            != merged.as_ref().and_then(|service| service.selector.as_ref())
        {
            touched.insert(Topic::Members(id.clone()));
        }
        for address in before.iter().flat_map(|service| &service.addresses) {
            touched.insert(Topic::Address(*address));
            unindex(&mut self.service_addresses, address, id);
        }
        for address in merged.iter().flat_map(|service| &service.addresses) {
            touched.insert(Topic::Address(*address));
            self.service_addresses.entry(*address).or_default().insert(id.clone());
        }
        touched.insert(Topic::Service(id.clone()));
        set(&mut self.services, id, merged)
    }

    fn set_workload(&mut self, id: &Id, new: Option<Arc<Workload>>, touched: &mut BTreeSet<Topic>) -> bool {
        let before = self.workloads.get(id).cloned();
        if !set(&mut self.workloads, id, new.clone()) {
            return false;
        }
        touched.insert(Topic::Workload(id.clone()));
        for address in before.iter().flat_map(|workload| &workload.addresses) {
            touched.insert(Topic::Address(*address));
            unindex(&mut self.workload_addresses, address, id);
        }
        for address in new.iter().flat_map(|workload| &workload.addresses) {
            touched.insert(Topic::Address(*address));
            self.workload_addresses.entry(*address).or_default().insert(id.clone());
        }
        for workload in before.iter().chain(&new) {
            if let Some(service) = &workload.service {
                touched.insert(Topic::Members(Id { namespace: id.namespace.clone(), name: service.clone() }));
            }
            for service in in_namespace(&self.services, &id.namespace) {
                if service.selector.as_ref().is_some_and(|selector| selector.matches(&workload.labels)) {
                    touched.insert(Topic::Members(service.id.clone()));
                }
            }
        }
        true
    }

    fn set_http_route(
        &mut self,
        key: &(RouteGroup, Id),
        new: Option<Arc<HttpRoute>>,
        touched: &mut BTreeSet<Topic>,
    ) -> bool {
        let before = self.http_routes.get(key).cloned();
        let changed = set(&mut self.http_routes, key, new.clone());
        if changed {
            touched.extend(
                before.iter().chain(&new).flat_map(|route| route.parents.iter()).map(ParentRef::topic),
            );
        }
        changed
    }

    fn set_grpc_route(
        &mut self,
        id: &Id,
        new: Option<Arc<GrpcRoute>>,
        touched: &mut BTreeSet<Topic>,
    ) -> bool {
        let before = self.grpc_routes.get(id).cloned();
        let changed = set(&mut self.grpc_routes, id, new.clone());
        if changed {
            touched.extend(
                before.iter().chain(&new).flat_map(|route| route.parents.iter()).map(ParentRef::topic),
            );
        }
        changed
    }
}

/// Sets or removes an entry; whether that is a change.
fn set<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: &K, new: Option<V>) -> bool {
    if map.get(key) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => map.insert(key.clone(), new),
        None => map.remove(key),
    };
    true
}

fn touch(changed: bool, touched: &mut BTreeSet<Topic>, topic: impl FnOnce() -> Topic) -> bool {
    if changed {
        touched.insert(topic());
    }
    changed
}

fn unindex(index: &mut BTreeMap<IpAddr, BTreeSet<Id>>, address: &IpAddr, id: &Id) {
    if let Some(ids) = index.get_mut(address) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(address);
        }
    }
}

/// The objects of a namespace, in order of their names.
fn in_namespace<'a, 'n, V>(
    map: &'a BTreeMap<Id, V>,
    namespace: &'n Arc<str>,
) -> impl Iterator<Item = &'a V> + use<'a, 'n, V> {
    let first = Id { namespace: namespace.clone(), name: "".into() };
    map.range(first..).take_while(move |(id, _)| id.namespace == *namespace).map(|(_, value)| value)
}

/// Facts as a view sees them: every question is remembered as a topic the view depends on.
#[derive(Debug)]
pub struct Lens<'a> {
    facts: &'a Facts,
    settings: &'a Settings,
    topics: RefCell<BTreeSet<Topic>>,
}

impl<'a> Lens<'a> {
    /// A lens that has not been asked anything.
    #[must_use]
    pub fn new(facts: &'a Facts, settings: &'a Settings) -> Self {
        Self { facts, settings, topics: RefCell::default() }
    }

    /// What has been asked.
    #[must_use]
    pub fn into_topics(self) -> BTreeSet<Topic> {
        self.topics.into_inner()
    }

    fn asked(&self, topic: Topic) {
        self.topics.borrow_mut().insert(topic);
    }

    /// What does not change.
    #[must_use]
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// A service.
    #[must_use]
    pub fn service(&self, id: &Id) -> Option<&'a Arc<Service>> {
        self.asked(Topic::Service(id.clone()));
        self.facts.services.get(id)
    }

    /// The service with this virtual address.
    ///
    /// # Errors
    /// More than one has it.
    pub fn service_at(&self, address: IpAddr) -> Result<Option<&'a Arc<Service>>, Conflict> {
        self.asked(Topic::Address(address));
        match only(&self.facts.service_addresses, address, "services", "cluster IP")? {
            Some(id) => Ok(self.service(id)),
            None => Ok(None),
        }
    }

    /// A workload.
    #[must_use]
    pub fn workload(&self, id: &Id) -> Option<&'a Arc<Workload>> {
        self.asked(Topic::Workload(id.clone()));
        self.facts.workloads.get(id)
    }

    /// The workload with this address.
    ///
    /// # Errors
    /// More than one has it.
    pub fn workload_at(&self, address: IpAddr) -> Result<Option<&'a Arc<Workload>>, Conflict> {
        self.asked(Topic::Address(address));
        match only(&self.facts.workload_addresses, address, "pods", "IP")? {
            Some(id) => Ok(self.workload(id)),
            None => Ok(None),
        }
    }

    /// The workloads that belong to a service, in order of their names.
    #[must_use]
    pub fn members(&self, service: &Id) -> Vec<&'a Arc<Workload>> {
        self.asked(Topic::Members(service.clone()));
        self.facts.members(service).collect()
    }

    /// The Servers of a namespace, the one that wins first.
    #[must_use]
    pub fn servers(&self, namespace: &Arc<str>) -> Vec<&'a Arc<Server>> {
        self.asked(Topic::Servers(namespace.clone()));
        oldest_first(in_namespace(&self.facts.servers, namespace), |server| {
            (server.created.as_ref(), &server.id.name)
        })
    }

    /// The AuthorizationPolicies of a namespace, in order of their names.
    #[must_use]
    pub fn authorization_policies(&self, namespace: &Arc<str>) -> Vec<&'a Arc<AuthorizationPolicy>> {
        self.asked(Topic::Authorizations(namespace.clone()));
        in_namespace(&self.facts.authorization_policies, namespace).collect()
    }

    /// The ServerAuthorizations of a namespace, in order of their names.
    #[must_use]
    pub fn server_authorizations(&self, namespace: &Arc<str>) -> Vec<&'a Arc<ServerAuthorization>> {
        self.asked(Topic::Authorizations(namespace.clone()));
        in_namespace(&self.facts.server_authorizations, namespace).collect()
    }

    /// A MeshTLSAuthentication.
    #[must_use]
    pub fn mesh_tls(&self, id: &Id) -> Option<&'a Arc<MeshTlsAuthentication>> {
        self.asked(Topic::MeshTlsAuthentication(id.clone()));
        self.facts.mesh_tls.get(id)
    }

    /// A NetworkAuthentication.
    #[must_use]
    pub fn network(&self, id: &Id) -> Option<&'a Arc<NetworkAuthentication>> {
        self.asked(Topic::NetworkAuthentication(id.clone()));
        self.facts.networks.get(id)
    }

    /// The HTTPRoutes of both groups that have a service as a parent, the one that comes first first.
    #[must_use]
    pub fn http_routes_of(&self, service: &Id) -> Vec<&'a Arc<HttpRoute>> {
        self.asked(Topic::ServiceRoutes(service.clone()));
        let is_of = |parent: &ParentRef| matches!(parent, ParentRef::Service(id, _) if id == service);
        oldest_first(
            self.facts.http_routes.values().filter(|route| route.parents.iter().any(is_of)),
            |route| (route.created.as_ref(), &route.id.name),
        )
    }

    /// The GRPCRoutes that have a service as a parent, the one that comes first first.
    #[must_use]
    pub fn grpc_routes_of(&self, service: &Id) -> Vec<&'a Arc<GrpcRoute>> {
        self.asked(Topic::ServiceRoutes(service.clone()));
        let is_of = |parent: &ParentRef| matches!(parent, ParentRef::Service(id, _) if id == service);
        oldest_first(
            self.facts.grpc_routes.values().filter(|route| route.parents.iter().any(is_of)),
            |route| (route.created.as_ref(), &route.id.name),
        )
    }

    /// The HTTPRoutes of both groups that have a Server as a parent, the one that comes first first.
    #[must_use]
    pub fn http_routes_on(&self, server: &Id) -> Vec<&'a Arc<HttpRoute>> {
        self.asked(Topic::ServerRoutes(server.namespace.clone()));
        let parent = ParentRef::Server(server.clone());
        oldest_first(
            self.facts.http_routes.values().filter(|route| route.parents.contains(&parent)),
            |route| (route.created.as_ref(), &route.id.name),
        )
    }

    /// The GRPCRoutes that have a Server as a parent, the one that comes first first.
    #[must_use]
    pub fn grpc_routes_on(&self, server: &Id) -> Vec<&'a Arc<GrpcRoute>> {
        self.asked(Topic::ServerRoutes(server.namespace.clone()));
        let parent = ParentRef::Server(server.clone());
        oldest_first(
            self.facts.grpc_routes.values().filter(|route| route.parents.contains(&parent)),
            |route| (route.created.as_ref(), &route.id.name),
        )
    }

    /// A ServiceProfile.
    #[must_use]
    pub fn profile(&self, id: &Id) -> Option<&'a Arc<ServiceProfile>> {
        self.asked(Topic::Profile(id.clone()));
        self.facts.profiles.get(id)
    }
}

/// The one thing that has an address.
fn only<'a>(
    index: &'a BTreeMap<IpAddr, BTreeSet<Id>>,
    address: IpAddr,
    what: &'static str,
    address_kind: &'static str,
) -> Result<Option<&'a Id>, Conflict> {
    let Some(ids) = index.get(&address) else { return Ok(None) };
    match ids.len() {
        0 | 1 => Ok(ids.first()),
        count => Err(Conflict { count, what, address_kind, address }),
    }
}

/// In order of precedence: the oldest first, of equal age by name. What has no time of creation is younger
/// than what has one.
fn oldest_first<'a, T>(
    objects: impl Iterator<Item = &'a Arc<T>>,
    age: impl Fn(&'a T) -> (Option<&'a Arc<str>>, &'a Arc<str>),
) -> Vec<&'a Arc<T>> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_key(|object| {
        let (created, name) = age(object);
        (created.is_none(), created, name)
    });
    objects
}
