//! Where we differ from hyper on purpose.

use crate::Message;

/// Messages that we refuse and hyper accepts.
pub(crate) struct Stricter {
    /// The name of our fault.
    pub(crate) fault: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) example: &'static str,
}

/// Messages that we accept and hyper refuses.
pub(crate) struct Laxer {
    /// True if this is why hyper does not have the last of these messages.
    pub(crate) applies: fn(&[Message]) -> bool,
    pub(crate) reason: &'static str,
    pub(crate) example: &'static [u8],
}

const fn stricter(fault: &'static str, reason: &'static str, example: &'static str) -> Stricter {
    Stricter { fault, reason, example }
}

pub(crate) const STRICTER: &[Stricter] = &[
    stricter(
        "LineEnding",
        "a bare LF may be taken for the end of a line (RFC 9112 2.2); a hop that does not sees one field less",
        "GET / HTTP/1.1\nhost: h\n\n",
    ),
    stricter("LineEnding", "the same in responses", "HTTP/1.1 200 OK\ncontent-length: 0\n\n"),
    stricter(
        "StartLine",
        "any number of empty lines before a request; RFC 9112 2.2 asks for at least one",
        "\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n",
    ),
    stricter(
        "StartLine",
        "empty lines before a response, where RFC 9112 2.2 allows none",
        "\r\nHTTP/1.1 204 x\r\n\r\n",
    ),
    stricter(
        "Target",
        "a fragment, which is no part of a request target (RFC 9112 3.2) and which hyper drops",
        "GET /a#b HTTP/1.1\r\nhost: h\r\n\r\n",
    ),
    stricter(
        "Target",
        "user information, which is to be treated as an error (RFC 9110 4.2.4)",
        "GET http://u:p@h/ HTTP/1.1\r\nhost: h\r\n\r\n",
    ),
    stricter(
        "TargetForm",
        "authority-form without CONNECT (RFC 9112 3.2.3)",
        "GET h:80 HTTP/1.1\r\nhost: h\r\n\r\n",
    ),
    stricter("TargetForm", "`*` without OPTIONS (RFC 9112 3.2.4)", "GET * HTTP/1.1\r\nhost: h\r\n\r\n"),
    stricter(
        "TargetForm",
        "CONNECT without authority-form (RFC 9112 3.2.3)",
        "CONNECT / HTTP/1.1\r\nhost: h\r\n\r\n",
    ),
    stricter("HostMissing", "a server must refuse it (RFC 9112 3.2)", "GET / HTTP/1.1\r\n\r\n"),
    stricter(
        "HostRepeated",
        "a server must refuse it (RFC 9112 3.2)",
        "GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n",
    ),
    stricter(
        "Authority",
        "a server must refuse an invalid host (RFC 9112 3.2)",
        "GET / HTTP/1.1\r\nhost: h/x\r\n\r\n",
    ),
    stricter(
        "ContentLength",
        "hyper does not look at it where a response has no content, but passes it on",
        "HTTP/1.1 304 x\r\ncontent-length: x\r\n\r\n",
    ),
    stricter(
        "ContentLengthRepeated",
        "may be refused or mended (RFC 9110 8.6); hyper mends equal ones",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
    ),
    stricter(
        "LengthAndTransferEncoding",
        "ought to be handled as an error (RFC 9112 6.3); hyper drops the length and closes afterwards",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    stricter(
        "TransferEncodingRepeated",
        "chunked must not be applied twice (RFC 9112 6.1)",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    stricter(
        "TransferCoding",
        "a coding that nobody here decodes (RFC 9112 6.1: 501)",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    stricter(
        "TransferEncoding",
        "an empty list member before chunked",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: ,chunked\r\n\r\n0\r\n\r\n",
    ),
    stricter(
        "TransferEncoding",
        "a response in a coding that nobody here decodes; hyper reads it undecoded until the connection closes",
        "HTTP/1.1 200 x\r\ntransfer-encoding: gzip\r\n\r\nabc",
    ),
    stricter(
        "TransferEncodingVersion",
        "faulty framing (RFC 9112 6.1); hyper does not look at it where a response has no content",
        "HTTP/1.0 304 x\r\ntransfer-encoding: chunked\r\n\r\n",
    ),
    stricter(
        "ConnectContent",
        "has no defined meaning, and has been used for attacks (RFC 9110 9.3.6)",
        "CONNECT h:80 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok",
    ),
    stricter(
        "ChunkSize",
        "white space after a chunk size and no extension (RFC 9112 7.1.1)",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
    ),
    stricter(
        "ChunkSizeOverflow",
        "more than 16 digits, even if they are zeros",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n",
    ),
    stricter(
        "ChunkExtension",
        "a control byte in a chunk extension (RFC 9112 7.1.1); hyper skips extensions unseen",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0;\0\r\n\r\n",
    ),
    stricter(
        "Trailers(LineEnding)",
        "as in heads; hyper looks for CR LF CR LF, so it takes the head of the next request for trailers",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\n\r\n\r\n",
    ),
];

pub(crate) const LAXER: &[Laxer] = &[
    Laxer {
        applies: |messages| messages.last().is_some_and(|m| m.start.contains('\u{fffd}')),
        reason: "a target that is not UTF-8, which `http::Uri` cannot hold; servers do accept it",
        example: b"GET /\xff HTTP/1.1\r\nhost: h\r\n\r\n",
    },
    Laxer {
        applies: |messages| messages.last().is_some_and(|m| m.start.contains(['<', '>', '`', '"'])),
        reason: "bytes that RFC 3986 does not allow in a path or query but clients send, and servers take as they are",
        example: b"GET /<a> HTTP/1.1\r\nhost: h\r\n\r\n",
    },
    Laxer {
        applies: |messages| messages.iter().rev().nth(1).is_some_and(odd_connection),
        reason: "`connection` holds a byte that is not ASCII: hyper ignores all of it, we that option only",
        example: b"GET / HTTP/1.0\r\nconnection: keep-alive, \xff\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    },
];

/// The connection field is one that hyper does not read.
pub(crate) fn odd_connection(message: &Message) -> bool {
    message.fields.iter().any(|(name, value)| name == "connection" && !value.is_ascii())
}
