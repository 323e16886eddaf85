//! The applications at both ends: the bench's own clients and servers, over memory.

use crate::{
    backend::{self, GrpcServer, Kind, http1_response, tcp_wish},
    load::{Client, Grpc, GrpcStream, Http1},
};

/// A client's connection.
#[derive(Debug)]
pub(super) enum Caller {
    Http1(Http1),
    Grpc(Box<Grpc>),
    GrpcStream(Box<GrpcStream>),
    /// Takes bytes; a unit is so many.
    Taker {
        taken: usize,
    },
    /// Sends a byte and waits for it.
    Echo,
}

/// Bytes of a unit of [`Caller::Taker`].
pub(super) const LUMP: usize = 64 * 1024;

impl Caller {
    pub(super) fn start(&mut self, streams: usize, out: &mut Vec<u8>) {
        match self {
            Self::Http1(c) => begin(c, streams, out),
            Self::Grpc(c) => begin(c.as_mut(), streams, out),
            Self::GrpcStream(c) => begin(c.as_mut(), streams, out),
            Self::Taker { .. } => out.push(tcp_wish::SEND),
            Self::Echo => out.push(tcp_wish::ECHO),
        }
    }

    pub(super) fn request(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Http1(c) => c.request(out),
            Self::Grpc(c) => c.request(out),
            Self::GrpcStream(c) => c.request(out),
            Self::Taker { .. } | Self::Echo => {}
        }
    }

    /// Units that are done with what came.
    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let done = match self {
            Self::Http1(c) => c.receive(bytes, out),
            Self::Grpc(c) => c.receive(bytes, out),
            Self::GrpcStream(c) => c.receive(bytes, out),
            Self::Taker { taken } => {
                *taken += bytes.len();
                let done = *taken / LUMP;
                *taken %= LUMP;
                Ok(done)
            }
            Self::Echo => Ok(bytes.len()),
        };
        done.expect("the right answer")
    }
}

fn begin(client: &mut impl Client, streams: usize, out: &mut Vec<u8>) {
    client.start(out);
    (0..streams).for_each(|_| client.request(out));
}

/// A server's connection.
#[derive(Debug)]
pub(super) enum Server {
    Http1 { held: Vec<u8>, response: Vec<u8> },
    Grpc(Box<GrpcServer>),
    Tcp { wish: Option<u8> },
}

impl Server {
    /// What listens on that port.
    pub(super) fn on(port: u16, out: &mut Vec<u8>) -> Self {
        let grpc = |kind| {
            let server = GrpcServer::new(kind);
            Self::Grpc(Box::new(server))
        };
        let server = match port {
            backend::HTTP1 => Self::Http1 { held: Vec::new(), response: http1_response(backend::SMALL) },
            backend::GRPC => grpc(Kind::Unary),
            backend::STREAM => grpc(Kind::Stream),
            _ => Self::Tcp { wish: None },
        };
        if let Self::Grpc(server) = &server {
            server.start(out);
        }
        server
    }

    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Http1 { held, response } => {
                held.extend_from_slice(bytes);
                while let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") {
                    held.drain(..end + 4);
                    out.extend_from_slice(response);
                }
            }
            Self::Grpc(server) => server.receive(bytes, out),
            Self::Tcp { wish } => {
                let wish = *wish.get_or_insert_with(|| bytes.first().copied().unwrap_or(0));
                if wish == tcp_wish::ECHO {
                    out.extend_from_slice(bytes);
                }
            }
        }
    }

    /// Whether it sends without being asked again.
    pub(super) fn sends(&self) -> bool {
        matches!(self, Self::Tcp { wish: Some(tcp_wish::SEND) })
    }
}
