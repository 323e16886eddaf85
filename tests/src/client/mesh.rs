//! A mesh client without a proxy: TLS and transport header by hand, to meet a proxy's inbound port as a peer does, or does not.

use super::connect;
use crate::{
    ca::{Ca, Leaf, TRANSPORT_ALPN},
    place::Place,
    wait::soon,
};
use bytes::{BufMut, BytesMut};
use rustls::pki_types::ServerName;
use std::{io, net::SocketAddr};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What a direct connection carries, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Anything.
    Opaque,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The transport header: preface, length, and a protobuf message with port (1) and session protocol (3).
pub fn header(port: u16, session: Session) -> BytesMut {
    let mut message = BytesMut::new();
    message.put_u8(1 << 3);
    let mut rest = u32::from(port);
    while rest >= 128 {
        message.put_u8(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    message.put_u8(u8::try_from(rest).expect("below 128"));
    match session {
        Session::Opaque => {}
        Session::Http1 => message.put_slice(&[3 << 3 | 2, 2, 1 << 3 | 2, 0]),
        Session::Http2 => message.put_slice(&[3 << 3 | 2, 2, 2 << 3 | 2, 0]),
    }
    let mut out = BytesMut::from(&b"transport.l5d.io/v1\r\n\r\n"[..]);
    out.put_u32(u32::try_from(message.len()).expect("a short message"));
    out.put_slice(&message);
    out
}

/// Whom a client is and whom it trusts.
pub struct Peer<'a> {
    /// Whose roots it trusts.
    pub trusts: &'a Ca,
    /// What it shows.
    pub shows: Option<&'a Leaf>,
    /// What it offers.
    pub alpn: &'a [&'a [u8]],
    /// Whom it asks for.
    pub asks_for: &'a str,
}

impl<'a> Peer<'a> {
    /// One that is in order.
    pub fn good(ca: &'a Ca, leaf: &'a Leaf, asks_for: &'a str) -> Self {
        Self { trusts: ca, shows: Some(leaf), alpn: &[TRANSPORT_ALPN], asks_for }
    }

    /// Connects and shakes hands. With TLS 1.3 a server may still refuse after this.
    ///
    /// # Errors
    /// When the server refuses at once.
    pub async fn connect(&self, place: &Place, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let config = self.trusts.client(self.shows, self.alpn);
        let name = ServerName::try_from(self.asks_for.to_owned()).expect("a DNS name");
        let stream = connect(place, address).await;
        soon("a handshake", TlsConnector::from(config).connect(name, stream)).await
    }

    /// Connects, shakes hands and names what the connection is for.
    ///
    /// # Errors
    /// When the server refuses at once.
    pub async fn open(
        &self,
        place: &Place,
        address: SocketAddr,
        port: u16,
        session: Session,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.connect(place, address).await?;
        stream.write_all(&header(port, session)).await?;
        Ok(stream)
    }
}
