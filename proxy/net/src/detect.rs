//! What protocol a client speaks, told from its first bytes.
//!
//! Everything here is a pure function of the bytes received so far. A caller keeps the bytes, asks again when more
//! arrive, and hands them all to whatever the verdict names; nothing is consumed. Three properties hold and are
//! tested:
//!
//! - **monotone**: once a verdict other than "need more" is given for some bytes, any longer input that starts with
//!   them gets the same verdict. So it does not matter how the network splits the input.
//! - **bounded**: "need more" is never the answer to [`MAX_CLIENT_HELLO_LEN`] bytes (to [`MAX_REQUEST_LINE_LEN`] for
//!   [`detect_http`]).
//! - **early**: a verdict comes with the first byte that decides it.
//!
//! A client that waits for the server to speak first sends nothing, so the caller also needs a time-out, after which
//! the connection is opaque.

mod client_hello;
mod request_line;

#[cfg(test)]
mod tests;

pub use self::client_hello::{ClientHelloFacts, MAX_CLIENT_HELLO_LEN};
pub use self::request_line::MAX_REQUEST_LINE_LEN;

use self::client_hello::Hello;
use self::request_line::Line;

/// How an HTTP/2 connection begins, as far as it takes to tell (RFC 9113 section 3.4 has the whole preface).
pub const HTTP2_PREFACE_START: &[u8] = b"PRI * HTTP/2.0";

/// The verdict of [`detect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It can still be several things: ask again with more bytes.
    NeedMore,
    /// An HTTP/1 request line.
    Http1,
    /// The start of the HTTP/2 connection preface.
    Http2,
    /// A whole TLS ClientHello.
    Tls(ClientHelloFacts),
    /// None of these.
    Opaque,
}

/// The verdict of [`detect_http`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// It can still be both: ask again with more bytes.
    NeedMore,
    /// An HTTP/1 request line.
    Http1,
    /// The start of the HTTP/2 connection preface.
    Http2,
    /// Not HTTP.
    NotHttp,
}

/// The verdict of [`detect_tls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It may become a ClientHello: ask again with more bytes.
    NeedMore,
    /// A whole ClientHello.
    Hello(ClientHelloFacts),
    /// Not TLS, not a ClientHello, or one longer than [`MAX_CLIENT_HELLO_LEN`].
    NotTls,
}

/// Tells HTTP/1, HTTP/2 and TLS from anything else.
///
/// ```
/// use weft_net::detect::{Detected, detect};
///
/// assert_eq!(detect(b"GET / HT"), Detected::NeedMore);
/// assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Detected::Http1);
/// assert_eq!(detect(b"PRI * HTTP/2.0"), Detected::Http2);
/// assert_eq!(detect(b"\0\0\0\x08\x04\xd2\x16\x2f"), Detected::Opaque);
/// ```
#[must_use]
pub fn detect(bytes: &[u8]) -> Detected {
    match detect_tls(bytes) {
        Tls::Hello(facts) => Detected::Tls(facts),
        // No HTTP request begins with the byte of a TLS handshake record.
        Tls::NeedMore => Detected::NeedMore,
        Tls::NotTls => match detect_http(bytes) {
            Http::NeedMore => Detected::NeedMore,
            Http::Http1 => Detected::Http1,
            Http::Http2 => Detected::Http2,
            Http::NotHttp => Detected::Opaque,
        },
    }
}

/// Tells HTTP/1 and HTTP/2 from anything else, for streams where TLS is not looked for: outbound connections, and
/// what comes out of a terminated TLS connection.
#[must_use]
pub fn detect_http(bytes: &[u8]) -> Http {
    let head = bytes.get(..HTTP2_PREFACE_START.len()).unwrap_or(bytes);
    if HTTP2_PREFACE_START.starts_with(head) {
        return if head.len() == HTTP2_PREFACE_START.len() { Http::Http2 } else { Http::NeedMore };
    }
    match request_line::parse(bytes) {
        Line::NeedMore => Http::NeedMore,
        Line::Http1 => Http::Http1,
        Line::NotHttp => Http::NotHttp,
    }
}

/// Tells a TLS ClientHello from anything else; for anything but TLS one byte is enough.
#[must_use]
pub fn detect_tls(bytes: &[u8]) -> Tls {
    match client_hello::parse(bytes) {
        Hello::NeedMore => Tls::NeedMore,
        Hello::Whole(facts) => Tls::Hello(facts),
        Hello::NotTls => Tls::NotTls,
    }
}
