//! An upstream connection from the first packet to the first byte of its protocol, or to its failure.

use std::io::{self, ErrorKind};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use weft_http::h2::Role;
use weft_net::tls::{Offer, Target as TlsTarget, TlsConn};
use weft_net::transport_header::{SessionProtocol, TransportHeader};
use weft_policy::FailureKind;

use crate::conn::{Closing, Conn, Security, Stage, Timeout};
use crate::http1::Http1Client;
use crate::io::{Io, Note, Side};
use crate::metrics::{self, EndpointLabels, Peer, TransportLabels};
use crate::pool::Endpoint;
use crate::slab::Key;
use crate::worker::{Todo, Worker};

/// A connection being made.
pub(crate) struct Dial {
    /// The socket is not connected yet; after that TLS may take a while.
    pub(crate) connecting: bool,
    pub(crate) purpose: Purpose,
}

/// What a connection is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Http1,
    Http2,
    /// The bytes of one client.
    Opaque(Key<Conn>),
}

impl Worker {
    /// Begins to make one. False if that failed at once; everybody who waited has been told then.
    pub(crate) fn dial(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>, purpose: Purpose) -> bool {
        let Some(e) = self.endpoints.get_mut(endpoint) else {
            self.endpoint_failed(io, endpoint, purpose, &io::Error::other("the endpoint is no more"));
            return false;
        };
        let side = e.side;
        let timeout = match side {
            Side::Outbound => self.config.outbound.connect_timeout,
            Side::Inbound => self.config.inbound.connect_timeout,
        };
        match io.connect(e.address(), side) {
            Ok(socket) => {
                e.connections += 1;
                if let Some(dialing) = e.dialing_for(purpose) {
                    *dialing += 1;
                }
                let stage = Stage::Dial(Box::new(Dial { connecting: true, purpose }));
                let mut conn = Conn::new(socket, side, stage, self.now);
                conn.endpoint = Some(endpoint);
                let id = self.open(conn);
                self.gauges.dialed.up();
                self.set_deadline(id, Some((self.now + timeout, Timeout::Connect)));
                self.tell_interest(io, id);
                true
            }
            Err(error) => {
                self.endpoint_failed(io, endpoint, purpose, &error);
                false
            }
        }
    }

    /// The socket is connected, or is not.
    pub(crate) fn connected(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if let Err(error) = io.connect_result(conn.socket) {
            if error.kind() == ErrorKind::WouldBlock {
                return;
            }
            return self.dial_failed(io, id, &error);
        }
        let Stage::Dial(dial) = &mut conn.stage else { return };
        dial.connecting = false;
        let Some(endpoint) = conn.endpoint else { return };
        match self.tls_target(endpoint) {
            Ok(None) => self.dialed(io, id),
            Ok(Some(target)) => match TlsConn::client(&target) {
                Ok(tls) => {
                    if let Some(conn) = self.conns.get_mut(id) {
                        conn.security = Security::Tls(Box::new(tls));
                    }
                    self.mark(id);
                    self.tell_interest(io, id);
                }
                Err(error) => self.dial_failed(io, id, &io::Error::other(error)),
            },
            Err(error) => self.dial_failed(io, id, &error),
        }
    }

    /// How to meet the endpoint: by TLS with whom; none for plaintext.
    fn tls_target(&mut self, endpoint: Key<Endpoint>) -> io::Result<Option<TlsTarget>> {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return Ok(None) };
        let Some(tls) = e.policy.as_ref().and_then(|p| p.tls.as_ref()) else { return Ok(None) };
        if let Some((generation, target)) = &e.tls
            && *generation == self.identity_generation
        {
            return Ok(Some(target.clone()));
        }
        let Some(identity) = &self.identity else {
            return Err(io::Error::other("this proxy has no certificate yet"));
        };
        let offer = if e.tagged_port().is_some() { Offer::Tagged } else { Offer::Plain };
        let target =
            identity.target(tls.server_id.clone(), &tls.server_name, offer).map_err(io::Error::other)?;
        e.tls = Some((self.identity_generation, target.clone()));
        Ok(Some(target))
    }

    /// A connection is made, and the peer is who it should be.
    pub(crate) fn dialed(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Stage::Dial(dial) = &conn.stage else { return };
        let (purpose, Some(endpoint)) = (dial.purpose, conn.endpoint) else { return };
        let tagged = matches!(&conn.security, Security::Tls(tls) if tls.is_tagged());
        let Some(e) = self.endpoints.get_mut(endpoint) else {
            return self.close(io, id, Closing::Clean);
        };
        if e.tagged_port().is_some() && !tagged {
            let error = io::Error::other("the peer takes no transport header on its own port");
            return self.dial_failed(io, id, &error);
        }
        if let Some(dialing) = e.dialing_for(purpose) {
            *dialing -= 1;
        }
        let target_port = e.tagged_port().and_then(|_| NonZeroU16::new(e.target.port()));
        e.failures.succeeded();
        e.backoff = None;
        let header = target_port.map(|port| TransportHeader {
            port,
            name: None,
            protocol: match purpose {
                Purpose::Http1 => Some(SessionProtocol::Http1),
                Purpose::Http2 => Some(SessionProtocol::Http2),
                Purpose::Opaque(_) => None,
            },
        });
        self.set_deadline(id, None);
        self.open_destination_transport(id, endpoint);
        if let (Some(header), Some(output)) = (header, self.output(id)) {
            header.encode(output);
        }
        match purpose {
            Purpose::Opaque(client) => {
                self.opaque_connected(io, client, id);
            }
            Purpose::Http1 => {
                self.become_stage(io, id, Stage::Http1Client(Box::new(Http1Client::new())));
                if let Some(e) = self.endpoints.get_mut(endpoint) {
                    e.http1 += 1;
                }
                self.released(io, id);
            }
            Purpose::Http2 => {
                self.start_http2(io, id, Role::Client);
                let mut retired = false;
                if let Some(e) = self.endpoints.get_mut(endpoint) {
                    e.http2.push(id);
                    retired = e.retired;
                }
                if retired {
                    // Nobody will retire it once more: it is for those who wait, and for nobody after them.
                    self.serve_endpoint(io, endpoint);
                    self.drain_http2(id);
                } else {
                    self.todo.push_back(Todo::Serve(endpoint));
                }
            }
        }
        self.endpoint_ready(endpoint);
    }

    fn become_stage(&mut self, io: &mut impl Io, id: Key<Conn>, stage: Stage) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.stage = stage;
            self.tell_interest(io, id);
        }
    }

    /// A connection could not be made.
    pub(crate) fn dial_failed(&mut self, io: &mut impl Io, id: Key<Conn>, error: &io::Error) {
        let Some(conn) = self.conns.get(id) else { return };
        let Stage::Dial(dial) = &conn.stage else { return };
        let (purpose, endpoint) = (dial.purpose, conn.endpoint);
        self.close(io, id, Closing::Cut);
        if let Some(endpoint) = endpoint {
            self.endpoint_failed(io, endpoint, purpose, error);
        }
    }

    /// Tells everybody who waited for an endpoint that it cannot be reached.
    fn endpoint_failed(
        &mut self,
        io: &mut impl Io,
        endpoint: Key<Endpoint>,
        purpose: Purpose,
        error: &io::Error,
    ) {
        let random = io.random();
        let Some(e) = self.endpoints.get_mut(endpoint) else {
            // It was retired and this was its last connection: whom that was for still has to know.
            if let Purpose::Opaque(client) = purpose {
                self.opaque_not_connected(io, client, error);
            }
            return;
        };
        let mut backoff = Duration::ZERO;
        // Connections that were begun together fail together: for the back-off that is once.
        if e.balancer.is_none() && e.backoff.is_none() {
            backoff = e.failures.failed(random);
            let at = self.now + backoff;
            e.backoff = Some(at);
            self.endpoint_timers.arm(endpoint.index(), at);
        }
        let message = &error.to_string();
        io.note(&Note::ConnectFailed { side: e.side, target: e.address(), message, backoff });
        let kind = match error.kind() {
            ErrorKind::TimedOut => FailureKind::ConnectTimeout,
            _ => FailureKind::Connect,
        };
        // Another connection may still be made; who waits for that goes on waiting.
        let waiting: Vec<_> = if e.dialing() == 0 { e.waiting.take().collect() } else { Vec::new() };
        if let Some((balancer, id)) = e.balancer
            && !e.has_http2()
        {
            self.endpoint_unreachable(io, balancer, id);
        }
        for ex in waiting {
            self.not_connected(io, ex, kind, error);
        }
        if let Purpose::Opaque(client) = purpose {
            self.opaque_not_connected(io, client, error);
        }
    }

    /// A back-off is over, or nobody has used the endpoint for long enough.
    pub(crate) fn endpoint_timed_out(&mut self, io: &mut impl Io, endpoint: Key<Endpoint>) {
        let now = self.now;
        if let Some(e) = self.endpoints.get_mut(endpoint)
            && e.backoff.is_some_and(|at| at <= now)
        {
            e.backoff = None;
            self.todo.push_back(Todo::Serve(endpoint));
        }
        if let Some(at) = self.endpoints.get(endpoint).and_then(Endpoint::next_deadline) {
            self.endpoint_timers.arm(endpoint.index(), at);
        }
        if self.endpoints.get(endpoint).is_some_and(|e| e.unused.is_some_and(|at| at <= self.now)) {
            self.retire(io, endpoint);
        }
    }

    fn open_destination_transport(&mut self, id: Key<Conn>, endpoint: Key<Endpoint>) {
        let Some(e) = self.endpoints.get_mut(endpoint) else { return };
        let transport = match &e.transport {
            Some(transport) => Arc::clone(transport),
            None => {
                let transport = self.blocks.transports(&TransportLabels {
                    side: e.side,
                    peer: Peer::Destination,
                    target: e.target,
                    tls: e.tls_label(),
                    server: None,
                    endpoint: e.policy.clone(),
                });
                e.transport = Some(Arc::clone(&transport));
                transport
            }
        };
        // Unknown, local, remote: as discovery labels it.
        let zone = e.policy.as_ref().map(|policy| match policy.labels.get("zone_locality") {
            Some("local") => 1,
            Some("remote") => 2,
            _ => 0,
        });
        transport.opened.count();
        transport.open.up();
        if let Some(conn) = self.conns.get_mut(id) {
            conn.transport = Some(transport);
            conn.zone = zone;
        }
    }

    /// The counters of HTTP towards an endpoint.
    pub(crate) fn endpoint_http(&mut self, endpoint: Key<Endpoint>) -> Option<Arc<metrics::Http>> {
        let e = self.endpoints.get_mut(endpoint)?;
        if e.http.is_none() {
            let endpoint = e.policy.clone()?;
            e.http = Some(self.blocks.endpoints(&EndpointLabels { endpoint, tls: e.tls_label() }));
        }
        e.http.clone()
    }
}
