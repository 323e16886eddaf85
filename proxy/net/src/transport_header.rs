//! What a meshed connection says about itself before its own bytes: the port it is for and what it carries.
//!
//! Two proxies that negotiated the ALPN protocol [`ALPN`] on the inbound port exchange, inside TLS and before anything
//! else from the client:
//!
//! ```text
//! "transport.l5d.io/v1\r\n\r\n"   19 + 4 bytes
//! length                          u32, big endian
//! Header { int32 port = 1; string name = 2; SessionProtocol session_protocol = 3; }       protobuf
//!     SessionProtocol { oneof kind { Http1 http1 = 1; Http2 http2 = 2; } }                both empty
//! ```
//!
//! Written by hand: three fields need no protobuf library, and the data path does not depend on one.

mod wire;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use self::wire::{Reader, Value};

/// The ALPN protocol that says a transport header follows.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";

/// The longest header, preface and length included, that is accepted. Linkerd's readers allow the same.
pub const MAX_TRANSPORT_HEADER_LEN: usize = 64 * 1024;

/// The longest `name`: a DNS name.
pub const MAX_NAME_LEN: usize = 255;

const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";

const PORT: u32 = 1;
const NAME: u32 = 2;
const SESSION_PROTOCOL: u32 = 3;
const SESSION_HTTP1: u32 = 1;
const SESSION_HTTP2: u32 = 2;

/// A decoded header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportHeader {
    /// The port of the application that the connection is for.
    pub port: NonZeroU16,
    /// The name that a gateway shall forward to; none on the way to a workload. At most [`MAX_NAME_LEN`] bytes.
    pub name: Option<Box<str>>,
    /// What the connection carries; none for opaque bytes.
    pub protocol: Option<SessionProtocol>,
}

/// What a tagged connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionProtocol {
    /// HTTP/1 messages.
    Http1,
    /// HTTP/2, from its connection preface on.
    Http2,
}

/// Why bytes are no transport header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportHeaderError {
    /// The first bytes differ from the preface.
    #[error("the connection does not start with a transport header")]
    Preface,
    /// The stated length passes [`MAX_TRANSPORT_HEADER_LEN`].
    #[error("transport header of {0} bytes is longer than {MAX_TRANSPORT_HEADER_LEN}")]
    TooLong(u64),
    /// The message is not the protobuf message it should be.
    #[error("malformed transport header: {0}")]
    Malformed(&'static str),
    /// The port is not one.
    #[error("transport header with port {0}, which is not in 1..=65535")]
    Port(i32),
}

/// Reads a header from the front of `bytes`: the header and how many bytes it took, or `None` while it is incomplete.
///
/// # Errors
/// As soon as the bytes cannot become a header any more.
pub fn decode(bytes: &[u8]) -> Result<Option<(TransportHeader, usize)>, TransportHeaderError> {
    let seen = bytes.get(..PREFACE.len()).unwrap_or(bytes);
    if !PREFACE.starts_with(seen) {
        return Err(TransportHeaderError::Preface);
    }
    let Some(rest) = bytes.get(PREFACE.len()..) else { return Ok(None) };
    let Some((len, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let len = u64::from(u32::from_be_bytes(*len));
    let before = PREFACE.len() + 4;
    let message_len = usize::try_from(len).ok().filter(|len| before + len <= MAX_TRANSPORT_HEADER_LEN);
    let Some(message_len) = message_len else {
        return Err(TransportHeaderError::TooLong(len.saturating_add(before as u64)));
    };
    let Some(message) = rest.get(..message_len) else { return Ok(None) };
    Ok(Some((header(message)?, before + message_len)))
}

impl TransportHeader {
    /// Appends the header to `out`.
    ///
    /// A name longer than [`MAX_NAME_LEN`] would be refused by [`decode`]; names come from discovery, which has
    /// parsed them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        let len_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let message_at = out.len();
        wire::put_varint(out, PORT, u64::from(self.port.get()));
        if let Some(name) = &self.name {
            wire::put_bytes(out, NAME, name.as_bytes());
        }
        if let Some(protocol) = self.protocol {
            let mut kind = Vec::with_capacity(2);
            wire::put_bytes(
                &mut kind,
                match protocol {
                    SessionProtocol::Http1 => SESSION_HTTP1,
                    SessionProtocol::Http2 => SESSION_HTTP2,
                },
                &[],
            );
            wire::put_bytes(out, SESSION_PROTOCOL, &kind);
        }
        let len = u32::try_from(out.len() - message_at).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(len_at..message_at) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }
}

/// As protobuf readers do: fields may come in any order, unknown ones are skipped, of repeated ones the last counts.
fn header(message: &[u8]) -> Result<TransportHeader, TransportHeaderError> {
    let (mut port, mut name, mut protocol) = (0_i32, None, None);
    let mut fields = Reader::new(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (PORT, Value::Varint(value)) => port = low_half(value),
            (NAME, Value::Bytes(value)) => name = text(value)?,
            (SESSION_PROTOCOL, Value::Bytes(value)) => protocol = session_protocol(value)?.or(protocol),
            (PORT | NAME | SESSION_PROTOCOL, _) => {
                return Err(TransportHeaderError::Malformed("wire type of a field"));
            }
            _ => {}
        }
    }
    let port = u16::try_from(port).ok().and_then(NonZeroU16::new).ok_or(TransportHeaderError::Port(port))?;
    Ok(TransportHeader { port, name, protocol })
}

fn session_protocol(message: &[u8]) -> Result<Option<SessionProtocol>, TransportHeaderError> {
    let mut protocol = None;
    let mut fields = Reader::new(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (SESSION_HTTP1, Value::Bytes(_)) => protocol = Some(SessionProtocol::Http1),
            (SESSION_HTTP2, Value::Bytes(_)) => protocol = Some(SessionProtocol::Http2),
            (SESSION_HTTP1 | SESSION_HTTP2, _) => {
                return Err(TransportHeaderError::Malformed("wire type of a session protocol"));
            }
            _ => {}
        }
    }
    Ok(protocol)
}

fn text(value: &[u8]) -> Result<Option<Box<str>>, TransportHeaderError> {
    if value.len() > MAX_NAME_LEN {
        return Err(TransportHeaderError::Malformed("name too long"));
    }
    let text =
        std::str::from_utf8(value).map_err(|_| TransportHeaderError::Malformed("name is not UTF-8"))?;
    Ok((!text.is_empty()).then(|| Box::from(text)))
}

/// An `int32` travels as the varint of its 64-bit sign extension.
#[expect(clippy::cast_possible_truncation, reason = "protobuf defines it so")]
fn low_half(value: u64) -> i32 {
    value as i32
}
