//! Opaque connections from the decision to the tunnel: authorized, routed, and connected to somebody.

use std::io;
use std::sync::Arc;

use weft_policy::outbound::{Dispatcher, Protocol, TcpRule};
use weft_policy::{FailureKind, Filter};

use crate::accept::{Accept, Governed};
use crate::balancer::{Pick, Waiter};
use crate::conn::{Closing, Conn, Stage};
use crate::dial::Purpose;
use crate::io::{Io, Note, Side};
use crate::metrics::ErrorKind;
use crate::plan::{Dispatch, Table};
use crate::pool::Endpoint;
use crate::route::as_client;
use crate::slab::Key;
use crate::worker::Worker;

impl Worker {
    /// A client's bytes are not to be looked at (any more): carried to where they were meant to go.
    pub(crate) fn forward_opaque(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.forward_opaque_as(io, id, None);
    }

    /// TLS that is somebody else's: carried as it is; outbound routes may choose by the name it asks for.
    pub(crate) fn passthrough(&mut self, io: &mut impl Io, id: Key<Conn>, sni: Option<&str>) {
        self.forward_opaque_as(io, id, sni);
    }

    fn forward_opaque_as(&mut self, io: &mut impl Io, id: Key<Conn>, sni: Option<&str>) {
        self.set_deadline(id, None);
        self.open_source_transport(id);
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.stage = Stage::Accept(Accept::Endpoint);
        let side = conn.side;
        self.tell_interest(io, id);
        match side {
            Side::Inbound => {
                if !self.authorize_connection(io, id, true) {
                    return self.close(io, id, Closing::Cut);
                }
                if let Some(target) = self.client(id).map(|c| c.target) {
                    let endpoint = self.local_endpoint(target);
                    self.assign_client(io, id, endpoint, None);
                }
            }
            Side::Outbound => self.route_connection(io, id, sni),
        }
    }

    // --- outbound

    fn route_connection(&mut self, io: &mut impl Io, id: Key<Conn>, sni: Option<&str>) {
        let Some(plan) = self.plan_of(id).map(Arc::clone) else {
            return self.refuse(io, id, ErrorKind::Unexpected, "route", "there is no policy");
        };
        let (route, rule): (usize, Option<&TcpRule>) = match &plan.policy.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => {
                (0, opaque.routes.first().and_then(|r| r.rules.first()))
            }
            Protocol::Tls(routes) => match sni.and_then(|sni| routes.find(sni.as_bytes()).ok()) {
                Some(found) => (found.route_index, Some(found.rule)),
                None => (0, None),
            },
            Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Grpc(_) => (0, None),
        };
        let Some(rule) = rule else {
            return self.refuse(io, id, ErrorKind::Unexpected, "route", "no route found for the connection");
        };
        for filter in &rule.filters {
            match filter {
                Filter::Forbidden => {
                    return self.refuse(io, id, ErrorKind::Unexpected, "route", "forbidden by policy");
                }
                Filter::Invalid { message } | Filter::InternalError { message } => {
                    return self.refuse(io, id, ErrorKind::Unexpected, "route", message);
                }
                _ => {}
            }
        }
        let Some(prepared) = plan.rule(Table::Opaque, route, 0) else {
            return self.refuse(io, id, ErrorKind::Unexpected, "route", "the route is not prepared");
        };
        let ready = |i: usize| match prepared.backends.get(i).map(|b| b.to) {
            Some(Dispatch::Balancer(balancer)) => self.balancer_is_ready(balancer),
            Some(Dispatch::Endpoint(_)) => true,
            Some(Dispatch::Fail) | None => false,
        };
        let random = io.random();
        let picked =
            rule.backends.pick(random, |i, _| ready(i)).or_else(|| rule.backends.pick(random, |_, _| true));
        let Some((index, picked)) = picked else {
            return self.refuse(io, id, ErrorKind::LoadShed, "route", "the route has no backend");
        };
        match prepared.backends.get(index).map(|b| b.to) {
            Some(Dispatch::Endpoint(endpoint)) => self.assign_client(io, id, endpoint, None),
            Some(Dispatch::Balancer(balancer)) => {
                if let Some(client) = self.client_mut(id) {
                    client.balancer = Some(balancer);
                }
                self.balance(io, Waiter::Client(id), balancer);
            }
            Some(Dispatch::Fail) | None => {
                let message = match &picked.backend.dispatcher {
                    Dispatcher::Fail { message } => message,
                    _ => "the backend is not prepared",
                };
                self.refuse(io, id, ErrorKind::Unexpected, "route", message);
            }
        }
    }

    // --- inbound

    /// Whether a client may have its connection; if not it is closed, and that is counted.
    fn authorize_connection(&mut self, io: &mut impl Io, id: Key<Conn>, first: bool) -> bool {
        let Some(client) = self.client(id) else { return false };
        let Some(Governed::Inbound(key)) = client.policy else { return false };
        let Some(port) = self.discovery.port(key) else { return false };
        let refusal = match port.policy.authorize_tcp(&as_client(client)) {
            Ok(permit) => {
                if first {
                    port.block.tcp_allowed.count();
                }
                if first && permit.audit {
                    io.note(&Note::Audited {
                        client: client.peer,
                        client_id: client.identity.as_ref().map(weft_names::IdentityName::as_str),
                        target: client.target,
                        protocol: "TCP",
                    });
                }
                return true;
            }
            Err(refusal) => refusal,
        };
        if first {
            port.block.tcp_denied.count();
        } else {
            port.block.tcp_terminated.count();
        }
        io.note(&Note::ConnectionFailed {
            side: Side::Inbound,
            client: client.peer,
            target: client.target,
            stage: "authorize",
            message: &refusal.to_string(),
        });
        false
    }

    /// The policy has changed: is a connection still allowed that was?
    pub(crate) fn reauthorize(&mut self, io: &mut impl Io, id: Key<Conn>) {
        // An upgraded HTTP connection was allowed as a request, and stays.
        let upgraded = self.client(id).is_some_and(|c| c.upgraded);
        if !upgraded && !self.authorize_connection(io, id, false) {
            self.cut_client(io, id);
        }
    }

    // --- either

    /// An endpoint is chosen: a connection is made for this client alone.
    pub(crate) fn assign_client(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        endpoint: Key<Endpoint>,
        pick: Option<Pick>,
    ) {
        if let Some(client) = self.client_mut(id) {
            client.pick = pick;
            self.dial(io, endpoint, Purpose::Opaque(id));
        } else if let Some(pick) = pick {
            self.pick_unused(pick);
        }
    }

    /// The connection is there: the tunnel begins.
    pub(crate) fn opaque_connected(&mut self, io: &mut impl Io, client: Key<Conn>, server: Key<Conn>) {
        if !matches!(self.conns.get(client).map(|c| &c.stage), Some(Stage::Accept(Accept::Endpoint))) {
            // The client has gone meanwhile.
            return self.close(io, server, Closing::Clean);
        }
        if let Some(plan) = self.plan_of(client) {
            plan.parent.tcp_opened.count();
        }
        // Load is how long connecting takes.
        let pick = self.client_mut(client).and_then(|c| c.pick.take());
        if let Some(pick) = pick {
            self.pick_ended(io, pick, None);
        }
        if let Some(client) = self.client_mut(client) {
            client.tunnelled = true;
        }
        self.join(io, client, server);
    }

    /// The connection could not be made: another endpoint, if a balancer has one.
    pub(crate) fn opaque_not_connected(&mut self, io: &mut impl Io, id: Key<Conn>, error: &io::Error) {
        let most = self.config.limits.connect_attempts;
        let Some(client) = self.client_mut(id) else { return };
        client.attempts += 1;
        let (attempts, balancer) = (client.attempts, client.balancer);
        if let Some(pick) = client.pick.take() {
            self.pick_unused(pick);
        }
        match balancer {
            Some(balancer) if attempts < most => self.balance(io, Waiter::Client(id), balancer),
            _ => {
                let message = error.to_string();
                self.refuse(io, id, ErrorKind::Io, "connect", &message);
            }
        }
    }

    /// There is no endpoint for a client.
    pub(crate) fn opaque_failed(&mut self, io: &mut impl Io, id: Key<Conn>, kind: FailureKind) {
        let error = match kind {
            FailureKind::FailFast => ErrorKind::FailFast,
            _ => ErrorKind::LoadShed,
        };
        self.refuse(io, id, error, "pick", kind.answer().message);
    }

    /// Cuts a client's connection, tunnel and all.
    fn cut_client(&mut self, io: &mut impl Io, id: Key<Conn>) {
        match self.conns.get(id).map(|c| &c.stage) {
            Some(Stage::Relay(_)) => self.relay_broken(io, id),
            Some(_) => self.close(io, id, Closing::Cut),
            None => {}
        }
    }
}
