//! An outbound policy made ready: its balancers, endpoints and counters found, so that a request only follows indices.

use std::sync::Arc;

use weft_policy::Meta;
use weft_policy::outbound::{self, Accrual, Dispatcher, Distribution, Policy, Protocol};

use crate::balancer::{Balancer, BalancerConfig};
use crate::io::Io;
use crate::metrics::{self, OutboundRoute, ParentLabels, RouteBackend, RouteBackendLabels, RouteLabels};
use crate::pool::Endpoint;
use crate::slab::Key;
use crate::worker::Worker;

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

impl Worker {
    pub(crate) fn plan(&mut self, io: &mut impl Io, policy: Arc<Policy>) -> Plan {
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
        let parent = self.blocks.parents(&ParentLabels { parent });
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
            let block = self.blocks.outbound_routes(&labels);
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
                self.blocks.route_backends(&labels)
            });
            backends.push(BackendPlan { to, block });
        }
        backends
    }

    /// Gives up what a plan held. Exchanges under way keep what they have got.
    pub(crate) fn release_plan(&mut self, io: &mut impl Io, plan: &Plan) {
        for dispatch in &plan.dispatches {
            match dispatch {
                Dispatch::Endpoint(endpoint) => self.release_endpoint(*endpoint),
                Dispatch::Balancer(balancer) => self.release_balancer(io, *balancer),
                Dispatch::Fail => {}
            }
        }
    }
}
