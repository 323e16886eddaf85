//! Two workers as they stand in a mesh: HTTP/1 from a client to the outbound side of one, HTTP/2 between them, HTTP/1 from the inbound side
//! of the other to a server. What the client says and what the server reads are HTTP/1; what lies between may change neither.

use std::sync::Arc;

use weft_engine::io::{Side, SocketId};
use weft_policy::outbound::{Backend, Endpoint, Hint};

use crate::bench::{Bench, SERVER, addr, meta, to};

pub(crate) struct Mesh {
    pub(crate) outbound: Bench,
    pub(crate) inbound: Bench,
    pub(crate) client: SocketId,
    /// Connections between the two, as either sees them.
    between: Vec<(SocketId, SocketId)>,
    /// Of `inbound.world.dialed`.
    servers: usize,
}

impl Mesh {
    /// A client is there, and its protocol is known: it has asked something and was answered.
    pub(crate) fn new() -> Self {
        let mut mesh = Self::silent();
        mesh.client_sends("GET /first HTTP/1.1\r\nhost: web\r\n\r\n");
        let server = mesh.server().unwrap();
        assert!(mesh.inbound.got(server).starts_with("GET /first HTTP/1.1\r\n"));
        mesh.server_sends(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert!(mesh.client_got().starts_with("HTTP/1.1 200 OK\r\n"));
        mesh
    }

    /// A client is there, and has said nothing.
    pub(crate) fn silent() -> Self {
        let mut outbound = Bench::new(|_| {});
        let client = outbound.client();
        let endpoint = Endpoint { hint: Hint::H2, ..Endpoint::plain(addr(SERVER)) };
        outbound.discovered(to(Arc::new(Backend::forward(meta("server"), Arc::new(endpoint)))));
        Self { outbound, inbound: Bench::new(|_| {}), client, between: Vec::new(), servers: 0 }
    }

    pub(crate) fn client_sends(&mut self, bytes: impl AsRef<[u8]>) {
        if !self.outbound.is_closed(self.client) {
            self.outbound.sends(self.client, bytes);
        }
        self.settle();
    }

    pub(crate) fn client_got(&mut self) -> String {
        self.outbound.got(self.client)
    }

    /// The latest connection to the server.
    pub(crate) fn server(&self) -> Option<SocketId> {
        self.inbound.world.dialed.last().map(|d| d.1)
    }

    pub(crate) fn server_sends(&mut self, server: SocketId, bytes: impl AsRef<[u8]>) {
        if !self.inbound.is_closed(server) {
            self.inbound.sends(server, bytes);
        }
        self.settle();
    }

    pub(crate) fn server_ends(&mut self, server: SocketId) {
        if !self.inbound.is_closed(server) {
            self.inbound.ends(server);
        }
        self.settle();
    }

    /// Everything that was said to any server.
    pub(crate) fn servers_got(&mut self) -> String {
        (0..self.inbound.world.dialed.len())
            .map(|n| self.inbound.got(self.inbound.world.dialed[n].1))
            .collect()
    }

    /// Connects what is to be connected, and carries bytes between the two until none are left.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while self.between.len() < self.outbound.world.dialed.len() {
                let here = self.outbound.connects(self.between.len());
                let there = self.inbound.accept(Side::Inbound, addr(SERVER));
                self.between.push((here, there));
                moved = true;
            }
            while self.servers < self.inbound.world.dialed.len() {
                self.inbound.connects(self.servers);
                self.servers += 1;
                moved = true;
            }
            for (here, there) in self.between.clone() {
                moved |= carry(&mut self.outbound, here, &mut self.inbound, there);
                moved |= carry(&mut self.inbound, there, &mut self.outbound, here);
            }
            if !moved {
                return;
            }
        }
    }
}

fn carry(from: &mut Bench, out: SocketId, to: &mut Bench, into: SocketId) -> bool {
    let bytes = std::mem::take(&mut from.world.socks[out.0 as usize].tx);
    if bytes.is_empty() || to.is_closed(into) {
        return false;
    }
    to.sends(into, bytes);
    true
}
