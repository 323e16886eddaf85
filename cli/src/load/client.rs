//! Clients of the demo's services: each makes a request, reads the whole answer and checks that it is the right one.
//!
//! The functions of the submodules work on a stream that is already connected, wherever that was done.

pub mod grpc;
pub mod http;
pub mod lines;
pub mod websocket;

use super::plan::{Protocol, Target};
use std::fmt;
use tokio::net::TcpStream;

/// A request that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Who answered, where answers say so.
    pub by: Option<String>,
    /// Whether a connection was made for it.
    pub connected: bool,
}

/// A request that did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Why: few different ones, so that they can be counted.
    pub reason: String,
    /// Whether it left for the server.
    pub sent: bool,
    /// Whether a connection was made for it.
    pub connected: bool,
}

/// The client of one target: at most one connection, which is kept where the protocol allows it.
pub struct Client {
    address: String,
    protocol: Protocol,
    kept: Kept,
}

/// A connection that serves the next request as well.
enum Kept {
    Nothing,
    Http(http::Sender),
    WebSocket(Box<websocket::Socket>),
    Lines(lines::Connection),
}

impl Failure {
    /// After it left.
    pub fn sent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), sent: true, connected: false }
    }

    /// Before it left.
    pub fn unsent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), sent: false, connected: false }
    }

    /// An answer that is not the one it should be.
    pub fn wrong(what: impl fmt::Display) -> Self {
        Self::sent(format!("wrong answer: {what}"))
    }
}

/// After it left: everything that reads or writes on an open connection.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::sent(kind(error.kind()))
    }
}

fn kind(kind: std::io::ErrorKind) -> String {
    kind.to_string()
}

impl Client {
    /// Connects when the first request is made.
    pub fn new(target: &Target) -> Self {
        Self { address: target.address.clone(), protocol: target.protocol.clone(), kept: Kept::Nothing }
    }

    /// One request and its whole answer. After a failure the next request starts on a new connection.
    ///
    /// # Errors
    /// What went wrong, in words that can be counted.
    pub async fn once(&mut self) -> Result<Done, Failure> {
        let mut kept = std::mem::replace(&mut self.kept, Kept::Nothing);
        // A kept connection that the other side has closed meanwhile is no failure.
        if let Kept::Http(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = Kept::Nothing;
        }
        let connected = matches!(kept, Kept::Nothing);
        if connected {
            kept = self.connect().await?;
        }
        let outcome = self.request(&mut kept).await;
        match outcome {
            Ok(by) => {
                if !matches!(self.protocol, Protocol::HalfClose | Protocol::Greeter) {
                    self.kept = kept;
                }
                Ok(Done { by, connected })
            }
            Err(failure) => Err(Failure { connected, ..failure }),
        }
    }

    async fn connect(&self) -> Result<Kept, Failure> {
        let unsent = |e: std::io::Error| Failure::unsent(format!("connect: {}", kind(e.kind())));
        let stream = TcpStream::connect(&self.address).await.map_err(unsent)?;
        let _ = stream.set_nodelay(true);
        let connected = |failure: Failure| Failure { connected: true, sent: false, ..failure };
        Ok(match &self.protocol {
            Protocol::Http1 { .. } => Kept::Http(http::Sender::http1(stream).await.map_err(connected)?),
            Protocol::Http2 { .. } | Protocol::Unary | Protocol::Stream { .. } => {
                Kept::Http(http::Sender::http2(stream).await.map_err(connected)?)
            }
            Protocol::WebSocket => {
                Kept::WebSocket(Box::new(websocket::open(stream, &self.address).await.map_err(connected)?))
            }
            Protocol::Stock | Protocol::HalfClose | Protocol::Greeter => {
                Kept::Lines(lines::Connection::new(stream))
            }
        })
    }

    async fn request(&self, kept: &mut Kept) -> Result<Option<String>, Failure> {
        match (&self.protocol, kept) {
            (Protocol::Http1 { path } | Protocol::Http2 { path }, Kept::Http(sender)) => {
                let response = http::get(sender, &self.address, path).await?;
                if !response.status().is_success() {
                    return Err(Failure::sent(format!("status {}", response.status().as_u16())));
                }
                Ok(None)
            }
            (Protocol::Unary, Kept::Http(sender)) => {
                let reply = grpc::quote(sender, &self.address, "tea").await?;
                Ok(Some(reply.replica))
            }
            (Protocol::Stream { messages }, Kept::Http(sender)) => {
                let watched = grpc::watch(sender, &self.address, *messages).await?;
                Ok(watched.replies.into_iter().next().map(|reply| reply.replica))
            }
            (Protocol::WebSocket, Kept::WebSocket(socket)) => {
                websocket::echo(socket, "a message").await.map(|()| None)
            }
            (Protocol::Stock, Kept::Lines(lines)) => lines::stock(lines).await.map(|()| None),
            (Protocol::HalfClose, Kept::Lines(lines)) => lines::load(lines, 3).await.map(|()| None),
            (Protocol::Greeter, Kept::Lines(lines)) => lines::greet(lines).await.map(|()| None),
            // Connections are made for the protocol that uses them.
            _ => Err(Failure::unsent("no connection of this protocol")),
        }
    }
}
