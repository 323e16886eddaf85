//! What is counted of an exchange. Blocks were found when the policy or the client was first seen; here they are only
//! followed.

use std::sync::Arc;
use std::time::Duration;

use weft_http::h2::Code;
use weft_policy::{FailureKind, inbound};

use crate::conn::Conn;
use crate::exchange::{End, Exchange};
use crate::metrics::{self, InboundRouteLabels, PermitLabels, Response};
use crate::plan::{Plan, Table};
use crate::slab::Key;
use crate::worker::Worker;

/// What an exchange is counted under.
pub(crate) enum Counts {
    /// It was refused before there was anything.
    None,
    /// By indices into its plan.
    Outbound { plan: Arc<Plan>, table: Table, route: usize, rule: usize, backend: usize },
    /// What allowed it, and its route.
    Inbound { permit: Arc<metrics::Permit>, route: Arc<metrics::InboundRoute> },
}

/// The counters of one client's requests on one route, found once and kept with the connection.
pub(crate) struct CachedPermit {
    /// Of the policy.
    generation: u32,
    route_index: usize,
    authorization: Arc<weft_policy::Meta>,
    permit: Arc<metrics::Permit>,
    route: Arc<metrics::InboundRoute>,
}

/// Permits that one connection keeps; beyond that they are looked up each time.
const CACHED_PERMITS: usize = 8;

impl Counts {
    /// The counters of the outbound route.
    pub(crate) fn route_block(&self) -> Option<Arc<metrics::OutboundRoute>> {
        match self {
            Self::Outbound { plan, table, route, rule, .. } => {
                plan.rule(*table, *route, *rule)?.block.clone()
            }
            Self::None | Self::Inbound { .. } => None,
        }
    }
}

impl Worker {
    /// A request goes out to an endpoint.
    pub(crate) fn count_request(&mut self, ex: Key<Exchange>, first_attempt: bool) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        match &x.counts {
            Counts::None => {}
            Counts::Outbound { plan, table, route, rule, backend } => {
                if let Some(backend) = plan.rule(*table, *route, *rule).and_then(|r| r.backends.get(*backend))
                    && let Some(block) = &backend.block
                {
                    block.requests.count();
                }
                let endpoint = x.endpoint;
                let before = x.chosen.http.take();
                let http = endpoint.and_then(|e| self.endpoint_http(e));
                if let Some(x) = self.exchanges.get_mut(ex) {
                    // Sent to one endpoint and now to another: the first has not answered.
                    if let Some(before) = before {
                        before.responses.count(Worker::outcome(x, End::Failed(FailureKind::Io)));
                    }
                    if let Some(http) = &http {
                        http.requests.count();
                    }
                    x.chosen.http = http;
                }
            }
            Counts::Inbound { permit, route } => {
                if first_attempt {
                    permit.http.requests.count();
                    route.requests.count();
                }
            }
        }
    }

    /// The response's content begins.
    pub(crate) fn count_latency(&self, ex: Key<Exchange>, took: Duration) {
        let Some(x) = self.exchanges.get(ex) else { return };
        match &x.counts {
            Counts::None => {}
            Counts::Outbound { .. } => {
                if let Some(http) = &x.chosen.http {
                    http.latency.record_duration(took);
                }
            }
            Counts::Inbound { permit, .. } => permit.http.latency.record_duration(took),
        }
    }

    /// An exchange is over.
    pub(crate) fn count_end(&self, ex: Key<Exchange>, end: End) {
        let Some(x) = self.exchanges.get(ex) else { return };
        let outcome = Worker::outcome(x, end);
        let took = self.now - x.started;
        match &x.counts {
            Counts::None => {}
            Counts::Outbound { plan, table, route, rule, backend } => {
                let Some(rule) = plan.rule(*table, *route, *rule) else { return };
                if let Some(block) = &rule.block {
                    block.durations.record_duration(took);
                    block.statuses.count(outcome);
                    if outcome.success && x.replay.as_ref().is_some_and(|r| r.has_retried()) {
                        block.retry_successes.count();
                    }
                }
                if let Some(sent_at) = x.sent_at {
                    if let Some(block) = rule.backends.get(*backend).and_then(|b| b.block.as_ref()) {
                        block.durations.record_duration(self.now - sent_at);
                        block.statuses.count(outcome);
                    }
                    if let Some(http) = &x.chosen.http {
                        http.responses.count(outcome);
                    }
                }
            }
            Counts::Inbound { permit, route } => {
                route.durations.record_duration(took);
                route.statuses.count(outcome);
                if x.sent_at.is_some() {
                    permit.http.responses.count(outcome);
                }
            }
        }
    }

    /// What is counted of how an exchange ended.
    pub(crate) fn outcome(x: &Exchange, end: End) -> Response {
        let error = match end {
            End::Whole => "",
            End::Failed(kind) => kind.answer().stream_error,
            End::Cancelled => "CANCEL",
            End::Reset(Code::REFUSED_STREAM) => "REFUSED",
            End::Reset(Code::ENHANCE_YOUR_CALM) => "ENHANCE_YOUR_CALM",
            End::Reset(Code::CANCEL) => "CANCEL",
            End::Reset(_) => "RESET",
        };
        let grpc_failed = matches!(x.grpc_status, Some(2 | 4 | 7 | 13 | 14 | 15));
        let success =
            matches!(end, End::Whole | End::Failed(_)) && error.is_empty() && x.status < 500 && !grpc_failed;
        Response { status: x.status, grpc_status: x.grpc_status, success, error }
    }

    /// The counters of a permit: kept with the connection, so that a request looks up nothing.
    pub(crate) fn permit_counts(
        &mut self,
        id: Key<Conn>,
        generation: u32,
        permit: &inbound::Permit<'_>,
        grpc: bool,
    ) -> (Arc<metrics::Permit>, Arc<metrics::InboundRoute>) {
        let route_index = permit.indices.0;
        let Some(client) = self.client_mut(id) else {
            return (Arc::default(), Arc::default());
        };
        let cached = client.permits.iter().find(|c| {
            (c.generation, c.route_index) == (generation, route_index)
                && Arc::ptr_eq(&c.authorization, permit.authorization)
        });
        if let Some(cached) = cached {
            return (Arc::clone(&cached.permit), Arc::clone(&cached.route));
        }
        let route_meta = Arc::clone(permit.route.unwrap_or(permit.server));
        let labels = PermitLabels {
            target: client.target,
            server: Arc::clone(permit.server),
            route: Arc::clone(&route_meta),
            authorization: Arc::clone(permit.authorization),
            tls: client.tls.clone(),
        };
        let route_labels = InboundRouteLabels { server: Arc::clone(permit.server), route: route_meta, grpc };
        let found = (self.blocks.permits(&labels), self.blocks.inbound_routes(&route_labels));
        let Some(client) = self.client_mut(id) else { return found };
        client.permits.retain(|c| c.generation == generation);
        if client.permits.len() < CACHED_PERMITS {
            client.permits.push(CachedPermit {
                generation,
                route_index,
                authorization: Arc::clone(permit.authorization),
                permit: Arc::clone(&found.0),
                route: Arc::clone(&found.1),
            });
        }
        found
    }
}
