//! The life of an accepted connection until its protocol is known.
//!
//! ```text
//! outbound:  accept ─▶ discover ─▶ (detect) ─▶ HTTP/1 | HTTP/2 | opaque
//! inbound:   accept ─▶ detect TLS ─▶ terminate ─▶ (transport header) ─▶ (detect) ─▶ HTTP/1 | HTTP/2 | authorize, opaque
//! ```
//!
//! An outbound connection is not read from until its target's policy is there. What was read to decide is not
//! consumed: it goes to whatever was decided for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_http::h2::Role;
use weft_names::IdentityName;
use weft_net::detect::{self, Http, Tls as Hello};
use weft_net::tls::{Offer, TlsConn};
use weft_net::transport_header::{self, SessionProtocol};
use weft_policy::{inbound, outbound};

use crate::balancer::{Balancer, Pick};
use crate::conn::{Closing, Conn, Security, Stage, Timeout};
use crate::counts::CachedPermit;
use crate::discovery::Target;
use crate::http1::Http1Server;
use crate::io::{Accepted, Io, Note, Side};
use crate::limits::Bound;
use crate::metrics::labels::{LOOPBACK, NO_TLS_FROM_REMOTE, PORT_SKIPPED};
use crate::metrics::{Detected, ErrorKind, Peer, Tls, TransportHeaderLabels, TransportLabels};
use crate::ports::PortPolicy;
use crate::slab::Key;
use crate::worker::Worker;

/// Whom an accepted connection belongs to and what governs it. Lives as long as the connection.
pub(crate) struct Client {
    /// The client.
    pub(crate) peer: SocketAddr,
    /// Where it meant to connect to. Of a direct connection: where its transport header says.
    pub(crate) target: SocketAddr,
    /// The policy that governs it; none while a direct connection has not said its port.
    pub(crate) policy: Option<Governed>,
    /// How it is secured.
    pub(crate) tls: Tls,
    /// Who it is, proven by mutual TLS.
    pub(crate) identity: Option<IdentityName>,
    /// It connected to the proxy's own port: a transport header says what it is for.
    pub(crate) direct: bool,
    /// Its bytes are carried opaquely: counted as such when it ends.
    pub(crate) tunnelled: bool,
    /// It was HTTP before: what allowed the request allows its bytes.
    pub(crate) upgraded: bool,
    /// The balancer that chooses its endpoint, and the endpoints that could not be connected to.
    pub(crate) balancer: Option<Key<Balancer>>,
    pub(crate) attempts: u32,
    /// The balancer's choice, while it is being connected to.
    pub(crate) pick: Option<Pick>,
    /// Counters of what it has been allowed so far.
    pub(crate) permits: Vec<CachedPermit>,
}

/// Which policy governs a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Governed {
    Outbound(Key<Target>),
    Inbound(Key<PortPolicy>),
}

/// What an accepted connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accept {
    /// The policy of its target. Not read from.
    Discover,
    /// Enough bytes to tell a ClientHello from anything else.
    DetectTls,
    /// The end of the handshake.
    Handshake,
    /// The transport header.
    TransportHeader,
    /// Enough bytes to tell HTTP/1, HTTP/2 and anything else.
    DetectHttp,
    /// An endpoint to carry its bytes to. Not read from.
    Endpoint,
}

impl Accept {
    /// True if nothing is to be read meanwhile.
    pub(crate) fn parked(self) -> bool {
        matches!(self, Self::Discover | Self::Endpoint)
    }
}

impl Worker {
    // --- accept

    /// A new connection of either side.
    pub(crate) fn accept(&mut self, io: &mut impl Io, accepted: Accepted) {
        let Accepted { socket, side, peer, original_destination: target } = accepted;
        if self.gauges.accepted.get() >= self.config.limits.accepted_connections as u64 {
            self.met(io, Bound::AcceptedConnections);
            return io.reset(socket);
        }
        let mut conn = Conn::new(socket, side, Stage::Accept(Accept::DetectTls), self.now);
        conn.client = Some(Box::new(Client {
            peer,
            target,
            policy: None,
            tls: Tls::None(match side {
                Side::Outbound => LOOPBACK,
                Side::Inbound => NO_TLS_FROM_REMOTE,
            }),
            identity: None,
            direct: false,
            tunnelled: false,
            upgraded: false,
            balancer: None,
            attempts: 0,
            pick: None,
            permits: Vec::new(),
        }));
        let id = self.open(conn);
        self.gauges.accepted.up();
        match side {
            Side::Outbound => self.accept_outbound(io, id, target),
            Side::Inbound => self.accept_inbound(io, id, target),
        }
    }

    fn accept_outbound(&mut self, io: &mut impl Io, id: Key<Conn>, target: SocketAddr) {
        let own = self.config.outbound.listen.contains(&target);
        if own || target.ip().is_loopback() && !self.config.outbound.allow_loopback {
            return self.refuse(
                io,
                id,
                ErrorKind::Io,
                "accept",
                "the connection is addressed to the proxy itself",
            );
        }
        self.set_stage(io, id, Accept::Discover);
        self.discover(io, id, target);
    }

    fn accept_inbound(&mut self, io: &mut impl Io, id: Key<Conn>, target: SocketAddr) {
        let config = &self.config.inbound;
        if !config.ips.is_empty() && !config.ips.contains(&target.ip()) {
            return self.refuse(
                io,
                id,
                ErrorKind::Io,
                "accept",
                "the destination is not an address of this workload",
            );
        }
        if target.port() == config.listen_port {
            if let Some(client) = self.client_mut(id) {
                client.direct = true;
            }
            return self.detect_tls(io, id);
        }
        let Some(port) = self.govern_inbound(io, id, target.port()) else { return };
        match self.discovery.port(port).map(|p| &p.policy.protocol) {
            Some(inbound::Protocol::Opaque) => {
                if let Some(client) = self.client_mut(id) {
                    client.tls = Tls::None(PORT_SKIPPED);
                }
                self.forward_opaque(io, id);
            }
            Some(_) => self.detect_tls(io, id),
            None => {}
        }
    }

    // --- discover (outbound)

    /// The target's policy is there: goes on with a connection that waited for it, or that needed not to.
    pub(crate) fn discovered_for(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(plan) = self.plan_of(id).map(Arc::clone) else { return };
        self.set_deadline(id, None);
        self.open_source_transport(id);
        let parent = &plan.parent;
        match &plan.policy.protocol {
            outbound::Protocol::Detect { .. } => {
                parent.detect.count();
                self.set_stage(io, id, Accept::DetectHttp);
                self.set_deadline(
                    id,
                    Some((self.now + self.config.outbound.detect_timeout, Timeout::DetectHttp)),
                );
            }
            outbound::Protocol::Http1(_) => {
                parent.http1.count();
                self.serve_http1(io, id);
            }
            outbound::Protocol::Http2(_) | outbound::Protocol::Grpc(_) => {
                parent.http2.count();
                self.serve_http2(io, id);
            }
            outbound::Protocol::Opaque(_) => {
                parent.opaque.count();
                self.forward_opaque(io, id);
            }
            outbound::Protocol::Tls(_) => {
                parent.tls.count();
                self.detect_tls(io, id);
            }
        }
    }

    // --- detect

    fn detect_tls(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.set_stage(io, id, Accept::DetectTls);
        self.set_deadline(id, Some((self.now + self.config.inbound.detect_timeout, Timeout::DetectTls)));
    }

    /// The first bytes of a connection, or more of them. How many were used: none of those that decide.
    pub(crate) fn detect(&mut self, io: &mut impl Io, id: Key<Conn>, accept: Accept, bytes: &[u8]) -> usize {
        match accept {
            Accept::DetectTls => match detect::detect_tls(bytes) {
                Hello::NeedMore => 0,
                Hello::Hello(hello) => self.client_hello(io, id, hello.sni.as_deref(), bytes),
                Hello::NotTls => {
                    self.plaintext_client(io, id);
                    0
                }
            },
            Accept::TransportHeader => match transport_header::decode(bytes) {
                Ok(None) => 0,
                Ok(Some((header, used))) => {
                    self.direct(io, id, &header);
                    used
                }
                Err(e) => {
                    self.refuse(io, id, ErrorKind::Io, "terminate", &e.to_string());
                    0
                }
            },
            Accept::DetectHttp => {
                match detect::detect_http(bytes) {
                    Http::NeedMore if bytes.len() < self.config.limits.detect_bytes => {}
                    Http::NeedMore | Http::NotHttp => {
                        self.count_detected(id, Detected::NotHttp);
                        self.forward_opaque(io, id);
                    }
                    Http::Http1 => {
                        self.count_detected(id, Detected::Http1);
                        self.serve_http1(io, id);
                    }
                    Http::Http2 => {
                        self.count_detected(id, Detected::Http2);
                        self.serve_http2(io, id);
                    }
                }
                0
            }
            // Handshake messages go to TLS, and nothing is read while parked.
            Accept::Discover | Accept::Handshake | Accept::Endpoint => 0,
        }
    }

    fn count_detected(&mut self, id: Key<Conn>, detected: Detected) {
        let Some(conn) = self.conns.get(id) else { return };
        let took = self.now - conn.opened;
        match conn.client.as_ref().and_then(|c| c.policy) {
            Some(Governed::Outbound(key)) => {
                if let Some(plan) = self.discovery.target(key).and_then(|t| t.plan.as_ref()) {
                    plan.parent.detected.count(detected, took);
                }
            }
            Some(Governed::Inbound(key)) => {
                if let Some(port) = self.discovery.port(key) {
                    port.block.detected.count(detected, took);
                }
            }
            None => {}
        }
    }

    // --- terminate (inbound), or look at the name only (outbound TLS routes)

    /// A whole ClientHello. Ours is answered; anybody else's is carried through.
    fn client_hello(&mut self, io: &mut impl Io, id: Key<Conn>, name: Option<&str>, bytes: &[u8]) -> usize {
        let Some(conn) = self.conns.get(id) else { return 0 };
        let Some(client) = &conn.client else { return 0 };
        let direct = client.direct;
        let ours = conn.side == Side::Inbound
            && self.identity.as_ref().is_some_and(|identity| identity.is_asked_for(name));
        if !ours {
            if direct {
                self.refuse(
                    io,
                    id,
                    ErrorKind::Io,
                    "terminate",
                    "a connection to the proxy's port is for another name",
                );
                return 0;
            }
            let sni = name.map(Arc::from);
            if let Some(client) = self.client_mut(id) {
                client.tls = Tls::Passthrough(sni);
            }
            self.passthrough(io, id, name);
            return 0;
        }
        let Some(identity) = self.identity.clone() else { return 0 };
        let offer = if direct { Offer::Tagged } else { Offer::Plain };
        match TlsConn::server(&identity, offer) {
            Ok(tls) => {
                let deadline = self.now + self.config.handshake_timeout;
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.security = Security::Tls(Box::new(tls));
                }
                self.set_stage(io, id, Accept::Handshake);
                self.set_deadline(id, Some((deadline, Timeout::Handshake)));
                self.received(io, id, bytes);
                bytes.len()
            }
            Err(e) => {
                self.refuse(io, id, ErrorKind::Unexpected, "terminate", &e.to_string());
                0
            }
        }
    }

    /// The handshake with a client is done: who is it, and what comes next?
    pub(crate) fn terminated(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.set_deadline(id, None);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Security::Tls(tls) = &conn.security else { return };
        let identity = tls.peer().cloned();
        let tagged = tls.is_tagged();
        let Some(client) = &mut conn.client else { return };
        client.tls = match &identity {
            Some(identity) => Tls::Mutual(Arc::from(identity.as_str())),
            None => Tls::NoIdentity,
        };
        client.identity = identity;
        if !client.direct {
            return self.inbound_protocol(io, id);
        }
        if client.identity.is_none() || !tagged {
            let message = "a connection to the proxy's port has no client identity or no transport header";
            return self.refuse(io, id, ErrorKind::Io, "terminate", message);
        }
        self.set_stage(io, id, Accept::TransportHeader);
        self.set_deadline(
            id,
            Some((self.now + self.config.inbound.detect_timeout, Timeout::TransportHeader)),
        );
    }

    /// The client does not speak TLS.
    fn plaintext_client(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        if conn.side == Side::Outbound {
            return self.refuse(io, id, ErrorKind::Io, "detect", "the target takes TLS only");
        }
        if conn.client.as_ref().is_some_and(|c| c.direct) {
            return self.refuse(
                io,
                id,
                ErrorKind::Io,
                "terminate",
                "a connection to the proxy's port is not TLS",
            );
        }
        self.inbound_protocol(io, id);
    }

    /// The transport header: which port, and what is spoken.
    fn direct(&mut self, io: &mut impl Io, id: Key<Conn>, header: &transport_header::TransportHeader) {
        let Some(client) = self.client_mut(id) else { return };
        let client_id: Arc<str> = client.identity.as_ref().map_or("", |i| i.as_str()).into();
        if header.name.is_some() {
            return self.refuse(io, id, ErrorKind::Io, "terminate", "this proxy is not a gateway");
        }
        let port = header.port.get();
        if port == self.config.inbound.listen_port {
            return self.refuse(
                io,
                id,
                ErrorKind::Io,
                "terminate",
                "the transport header names the proxy's own port",
            );
        }
        let Some(client) = self.client_mut(id) else { return };
        client.target.set_port(port);
        let session_protocol = match header.protocol {
            Some(SessionProtocol::Http1) => "http/1",
            Some(SessionProtocol::Http2) => "http/2",
            None => "",
        };
        let labels =
            TransportHeaderLabels { session_protocol, target_port: port, target_name: None, client_id };
        self.blocks.transport_headers(&labels).connections.count();
        if self.govern_inbound(io, id, port).is_none() {
            return;
        }
        self.set_deadline(id, None);
        self.open_source_transport(id);
        match header.protocol {
            Some(SessionProtocol::Http1) => self.serve_http1(io, id),
            Some(SessionProtocol::Http2) => self.serve_http2(io, id),
            None => self.forward_opaque(io, id),
        }
    }

    /// TLS is dealt with, one way or the other: what does the port's policy say is spoken?
    fn inbound_protocol(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.set_deadline(id, None);
        self.open_source_transport(id);
        let Some(conn) = self.conns.get(id) else { return };
        let secured = matches!(conn.security, Security::Tls(_));
        let Some(port) = self.port_policy_of(id) else { return };
        match &port.policy.protocol {
            inbound::Protocol::Opaque | inbound::Protocol::Tls => self.forward_opaque(io, id),
            // A meshed client may have made HTTP/2 of it.
            inbound::Protocol::Http1 { .. } if !secured => self.serve_http1(io, id),
            inbound::Protocol::Http1 { .. } => {
                let timeout = self.config.inbound.detect_timeout;
                self.detect_http(io, id, timeout);
            }
            inbound::Protocol::Http2 { .. } | inbound::Protocol::Grpc { .. } => self.serve_http2(io, id),
            inbound::Protocol::Detect { timeout, .. } => {
                let timeout = *timeout;
                self.detect_http(io, id, timeout);
            }
        }
    }

    fn detect_http(&mut self, io: &mut impl Io, id: Key<Conn>, timeout: Duration) {
        self.set_stage(io, id, Accept::DetectHttp);
        self.set_deadline(id, Some((self.now + timeout, Timeout::DetectHttp)));
    }

    // --- known

    fn serve_http1(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.set_deadline(id, None);
        self.start_stage(io, id, Stage::Http1Server(Box::new(Http1Server::new())));
    }

    fn serve_http2(&mut self, io: &mut impl Io, id: Key<Conn>) {
        self.set_deadline(id, None);
        self.start_http2(io, id, Role::Server);
    }

    // --- failures before there is anything to answer to

    /// What a client waits for has not come in time.
    pub(crate) fn accept_timed_out(&mut self, io: &mut impl Io, id: Key<Conn>, timeout: Timeout) {
        match timeout {
            Timeout::DetectHttp => {
                self.count_detected(id, Detected::Timeout);
                // The server speaks first, or it is no HTTP. A policy of HTTP/1 means what it says.
                let http1 = self
                    .port_policy_of(id)
                    .is_some_and(|p| matches!(p.policy.protocol, inbound::Protocol::Http1 { .. }));
                if http1 { self.serve_http1(io, id) } else { self.forward_opaque(io, id) }
            }
            Timeout::DetectTls => {
                self.gauges.slow_clients.count();
                self.refuse(io, id, ErrorKind::TlsDetectTimeout, "detect", "tls detection timeout");
            }
            Timeout::TransportHeader => {
                self.gauges.slow_clients.count();
                self.refuse(
                    io,
                    id,
                    ErrorKind::TlsDetectTimeout,
                    "terminate",
                    "the transport header did not come in time",
                );
            }
            _ => self.refuse(io, id, ErrorKind::Io, "discover", "the target was not discovered in time"),
        }
    }

    /// The client ended its stream before it said anything to go by.
    pub(crate) fn ended_before_protocol(&mut self, io: &mut impl Io, id: Key<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        match &conn.stage {
            // What it sent is all there will be, and it is not HTTP.
            Stage::Accept(Accept::DetectHttp) if !conn.input.is_empty() => {
                self.count_detected(id, Detected::NotHttp);
                self.forward_opaque(io, id);
            }
            Stage::Accept(Accept::DetectTls) if !conn.input.is_empty() => {
                self.plaintext_client(io, id);
            }
            // All it will send is there; the tunnel carries it, and its end.
            Stage::Accept(Accept::Endpoint) => {}
            _ => self.close(io, id, Closing::Clean),
        }
    }

    /// The socket broke, or TLS did.
    pub(crate) fn accept_failed(&mut self, io: &mut impl Io, id: Key<Conn>, error: &io::Error) {
        self.refuse(io, id, ErrorKind::Io, "accept", &error.to_string());
    }

    /// Closes a connection that cannot be answered; says why in log and metrics.
    pub(crate) fn refuse(
        &mut self,
        io: &mut impl Io,
        id: Key<Conn>,
        kind: ErrorKind,
        stage: &'static str,
        message: &str,
    ) {
        self.tell_failure(io, id, kind, stage, message);
        self.close(io, id, Closing::Cut);
    }

    /// Says in log and metrics why a connection is of no use any more.
    pub(crate) fn tell_failure(
        &self,
        io: &mut impl Io,
        id: Key<Conn>,
        kind: ErrorKind,
        stage: &'static str,
        message: &str,
    ) {
        let Some(conn) = self.conns.get(id) else { return };
        let errors = match conn.side {
            Side::Outbound => &self.gauges.outbound_tcp_errors,
            Side::Inbound => &self.gauges.inbound_tcp_errors,
        };
        if let Some(counter) = errors.get(kind as usize) {
            counter.count();
        }
        if let Some(client) = &conn.client {
            io.note(&Note::ConnectionFailed {
                side: conn.side,
                client: client.peer,
                target: client.target,
                stage,
                message,
            });
        }
    }

    // --- small things

    pub(crate) fn client(&self, id: Key<Conn>) -> Option<&Client> {
        self.conns.get(id)?.client.as_deref()
    }

    pub(crate) fn client_mut(&mut self, id: Key<Conn>) -> Option<&mut Client> {
        self.conns.get_mut(id)?.client.as_deref_mut()
    }

    fn set_stage(&mut self, io: &mut impl Io, id: Key<Conn>, accept: Accept) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.stage = Stage::Accept(accept);
            self.tell_interest(io, id);
        }
    }

    /// The protocol is known: what was received goes there.
    fn start_stage(&mut self, io: &mut impl Io, id: Key<Conn>, stage: Stage) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.stage = stage;
            self.todo.push_back(crate::worker::Todo::Consume(id));
            self.tell_interest(io, id);
        }
    }

    /// Counts the client's connection from now on: its labels are known.
    pub(crate) fn open_source_transport(&mut self, id: Key<Conn>) {
        let server = self.port_policy_of(id).map(|p| Arc::clone(&p.policy.meta));
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(client) = &conn.client else { return };
        if conn.transport.is_some() {
            return;
        }
        let labels = TransportLabels {
            side: conn.side,
            peer: Peer::Source,
            target: client.target,
            tls: client.tls.clone(),
            server,
            endpoint: None,
        };
        let transport = self.blocks.transports(&labels);
        transport.opened.count();
        transport.open.up();
        conn.transport = Some(transport);
    }
}
