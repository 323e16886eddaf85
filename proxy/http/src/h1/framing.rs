//! How the content of a message is delimited, and whether its connection can be used again (RFC 9112 6, 9).

use crate::head::{Head, Method, Section, Version};

/// How the content of a received message is delimited (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Everything until the connection is closed.
    UntilClose,
    /// No message any more: after 101, and after 2xx to CONNECT, both directions are opaque (RFC 9110 7.8, 9.3.6).
    Tunnel,
}

impl Body {
    /// Of a request. CONNECT has none; it becomes a tunnel by its response.
    pub fn of_request(head: &Head) -> Self {
        match (head.facts.chunked, head.facts.content_length) {
            _ if head.method == Method::Connect => Self::None,
            (true, _) => Self::Chunked,
            (false, Some(0) | None) => Self::None,
            (false, Some(n)) => Self::Length(n),
        }
    }

    /// Of a response to a request with that method.
    pub fn of_response(head: &Head, method: Method) -> Self {
        match (head.facts.chunked, head.facts.content_length) {
            _ if becomes_tunnel(head.status, method) => Self::Tunnel,
            _ if is_bodyless(head.status, method) => Self::None,
            (true, _) => Self::Chunked,
            (false, Some(0)) => Self::None,
            (false, Some(n)) => Self::Length(n),
            (false, None) => Self::UntilClose,
        }
    }
}

fn becomes_tunnel(status: u16, method: Method) -> bool {
    status == 101 || (method == Method::Connect && (200..300).contains(&status))
}

/// Responses that end with their head whatever their fields say (RFC 9112 6.3).
fn is_bodyless(status: u16, method: Method) -> bool {
    method == Method::Head || status < 200 || status == 204 || status == 304
}

/// True if the sender of this head wants to keep the connection (RFC 9112 9.3): HTTP/1.1 unless it said `close`,
/// HTTP/1.0 if it said `keep-alive`. `proxy-connection` means nothing.
pub fn is_persistent(head: &Head) -> bool {
    match head.version {
        Version::Http10 => head.facts.keep_alive && !head.facts.close,
        Version::Http11 | Version::Http2 => !head.facts.close,
    }
}

/// True if an upstream connection can carry another request once this response has been read to its end.
///
/// Also false where a response that cannot have content announces some: what may follow would be taken for the next
/// response.
pub fn is_reusable(head: &Head, method: Method) -> bool {
    let facts = &head.facts;
    let contradiction = match head.status {
        _ if method == Method::Head => false,
        100..=199 | 204 => facts.chunked || facts.content_length.is_some_and(|n| n > 0),
        // A length is that of the content that was not modified (RFC 9110 15.4.5).
        304 => facts.chunked,
        _ => false,
    };
    is_persistent(head)
        && !contradiction
        && !matches!(Body::of_response(head, method), Body::UntilClose | Body::Tunnel)
}

/// How the content of a message is announced when it is sent over HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No content, and nothing said about it.
    None,
    /// `content-length`. The content may still be left out, in answers to HEAD and in 304.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Nothing said: it ends when the connection is closed. Responses to HTTP/1.0 clients only.
    UntilClose,
}

/// How to frame a request for an HTTP/1 server. `ended`: its head was also its end.
///
/// An HTTP/1.0 message is never chunked, so one can only be asked for here if it came over HTTP/2 with a length.
pub fn request_framing(head: &Head, ended: bool) -> Framing {
    debug_assert_eq!(head.section, Section::Request);
    match head.facts.content_length {
        _ if head.method == Method::Connect => Framing::None,
        Some(n) => Framing::Length(n),
        None if !ended => Framing::Chunked,
        // Methods that anticipate content say that there is none (RFC 9110 8.6).
        None => match head.method {
            Method::Post | Method::Put | Method::Other if head.version == Version::Http2 => {
                Framing::Length(0)
            }
            _ => Framing::None,
        },
    }
}

/// How to frame the response to a request with that method for a client of that version. `ended`: its head was also
/// its end. [`Framing::UntilClose`] obliges to close.
pub fn response_framing(head: &Head, method: Method, client: Version, ended: bool) -> Framing {
    debug_assert_eq!(head.section, Section::Response);
    if head.status < 200 || head.status == 204 || becomes_tunnel(head.status, method) {
        return Framing::None;
    }
    match head.facts.content_length {
        Some(n) => Framing::Length(n),
        None if is_bodyless(head.status, method) => Framing::None,
        None if ended => Framing::Length(0),
        None if client == Version::Http10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}
