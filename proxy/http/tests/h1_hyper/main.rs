//! HTTP/1 compared with hyper, message by message, over in-memory connections.
//!
//! The same bytes go to both. Where one refuses what the other accepts, the reason must be in a table of
//! [`differences`], with an example that shows it; where both accept, they must have seen the same messages, to the
//! last byte of content. What our writers write, hyper must read as meant, and the reverse.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod differences;
mod oracle;
mod ours;
mod writing;

use differences::{LAXER, STRICTER};
use oracle::Oracle;
use proptest::collection::vec;
use proptest::prelude::*;

/// A message as either side saw it. Field names in lower case; fields sorted, as hyper groups them by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Method, target and version; or status and version.
    pub(crate) start: String,
    /// Fields without what `connection` takes away.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// Content.
    pub(crate) content: Vec<u8>,
    /// Trailer fields that may be trailers.
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

/// What one side saw of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The messages that arrived whole.
    pub(crate) messages: Vec<Message>,
    /// Why no more came: a fault by name. None if the connection ended between messages, or because a message asked
    /// for it.
    pub(crate) fault: Option<String>,
}

/// Which side of a connection reads the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    /// A client that has asked once, with HEAD if so.
    Client {
        head: bool,
    },
}

/// Compares. An error says what differs without being listed.
fn compare(oracle: &Oracle, side: Side, bytes: &[u8]) -> Result<(), String> {
    let (ours, theirs) = (ours::read(side, bytes), oracle.read(side, bytes));
    let describe =
        || format!("{side:?} {:?}\n  ours: {ours:?}\n  hyper: {theirs:?}", bytes.escape_ascii().to_string());
    for (a, b) in ours.messages.iter().zip(&theirs.messages) {
        if a != b {
            return Err(format!("not the same message: {}", describe()));
        }
    }
    let (a, b) = (ours.messages.len(), theirs.messages.len());
    if a < b {
        let Some(fault) = ours.fault.as_deref() else {
            // We closed where hyper did not.
            let last = ours.messages.last();
            return if last.is_some_and(differences::odd_connection) { Ok(()) } else { Err(describe()) };
        };
        if !STRICTER.iter().any(|d| d.fault == fault) {
            return Err(format!("we refuse what hyper accepts, {fault} is not listed: {}", describe()));
        }
    }
    if a > b && !LAXER.iter().any(|d| (d.applies)(&ours.messages[..=b])) {
        return Err(format!("we accept what hyper refuses: {}", describe()));
    }
    Ok(())
}

#[test]
fn every_listed_difference_is_real() {
    let oracle = Oracle::new();
    for d in STRICTER {
        let side = if d.example.trim_start().starts_with("HTTP/") {
            Side::Client { head: false }
        } else {
            Side::Server
        };
        let (ours, theirs) =
            (ours::read(side, d.example.as_bytes()), oracle.read(side, d.example.as_bytes()));
        assert_eq!(ours.fault.as_deref(), Some(d.fault), "{}: {:?} {ours:?}", d.reason, d.example);
        assert!(theirs.messages.len() > ours.messages.len(), "{}: {:?} {theirs:?}", d.reason, d.example);
    }
    for d in LAXER {
        let (ours, theirs) = (ours::read(Side::Server, d.example), oracle.read(Side::Server, d.example));
        assert!(ours.messages.len() > theirs.messages.len(), "{}: {ours:?} {theirs:?}", d.reason);
        let upto = &ours.messages[..=theirs.messages.len()];
        assert!((d.applies)(upto), "{}: {upto:?}", d.reason);
    }
}

// --- messages, and what happens to them

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /a/b?c=d HTTP/1.1",
    "POST /x HTTP/1.1",
    "PUT /%20 HTTP/1.1",
    "HEAD / HTTP/1.1",
    "GET / HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET http://a.b:80/c HTTP/1.1",
    "M-SEARCH /x HTTP/1.1",
    "CONNECT a:443 HTTP/1.1",
    "DELETE /x HTTP/1.0",
    "GET http://a HTTP/1.1",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 x",
    "HTTP/1.1 200",
    "HTTP/1.1 500 ",
    "HTTP/1.1 799 \u{e4}",
    "HTTP/1.1 205 x",
];

const FIELDS: &[&str] = &[
    "accept: */*",
    "X-A:b",
    "x-b:  c d\t",
    "cookie: a=b",
    "cookie: c=d",
    "x-utf: \u{e4}",
    "connection: close",
    "connection: keep-alive",
    "Connection: Keep-Alive, x-b",
    "user-agent: x",
    "expect: 100-continue",
    "x-empty:",
    "te: trailers",
    "content-type: text/plain",
    "upgrade: y",
];

/// Ends of heads with their content.
const CONTENTS: &[&str] = &[
    "\r\n",
    "\r\n",
    "content-length: 0\r\n\r\n",
    "content-length: 5\r\n\r\nhello",
    "Content-Length: 005\r\n\r\nhello",
    "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nx-t: u\r\ny: z\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhel",
    "content-length: 9\r\n\r\nhello",
];

/// What mutations put in: bytes and lines that parsers have disagreed about.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\0",
    "\x0b",
    "\x7f",
    "\u{e4}",
    "#",
    "?",
    "/",
    "@",
    "0",
    "5",
    "f",
    "-",
    "+",
    "x",
    "\r\n ",
    "host: h\r\n",
    "host: i j\r\n",
    "content-length: 5\r\n",
    "content-length: 6\r\n",
    "content-length: -1\r\n",
    "content-length: x\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, gzip\r\n",
    "transfer-encoding: identity\r\n",
    "a : b\r\n",
    "connection: close\r\n",
    "1\r\nx\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "ffffffffffffffff",
    "00000000000000000",
];

#[derive(Clone, Debug)]
enum Mutation {
    Insert(usize, usize),
    Replace(usize, usize),
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Byte(usize, u8),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = || any::<usize>();
    vec(
        prop_oneof![
            3 => (at(), 0..PIECES.len()).prop_map(|(a, p)| Mutation::Insert(a, p)),
            2 => (at(), 0..PIECES.len()).prop_map(|(a, p)| Mutation::Replace(a, p)),
            2 => (at(), 1usize..4).prop_map(|(a, n)| Mutation::Delete(a, n)),
            1 => (at(), 1usize..20, at()).prop_map(|(a, n, to)| Mutation::Copy(a, n, to)),
            1 => (at(), any::<u8>()).prop_map(|(a, b)| Mutation::Byte(a, b)),
        ],
        0..4,
    )
}

fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let len = bytes.len().max(1);
        let cut = |a: usize, n: usize| (a % len).min(bytes.len())..(a % len + n).min(bytes.len());
        match *mutation {
            Mutation::Insert(a, p) => drop(bytes.splice(cut(a, 0), PIECES[p].bytes())),
            Mutation::Replace(a, p) => drop(bytes.splice(cut(a, PIECES[p].len()), PIECES[p].bytes())),
            Mutation::Delete(a, n) => drop(bytes.drain(cut(a, n))),
            Mutation::Copy(a, n, to) => {
                let piece = bytes[cut(a, n)].to_vec();
                bytes.splice(cut(to, 0), piece);
            }
            Mutation::Byte(a, b) => {
                if let Some(byte) = bytes.get_mut(a % len) {
                    *byte = b;
                }
            }
        }
    }
    bytes
}

fn message(starts: &'static [&'static str], host: bool) -> impl Strategy<Value = String> {
    (0..starts.len(), vec(0..FIELDS.len(), 0..4), 0..CONTENTS.len()).prop_map(
        move |(start, fields, content)| {
            let lines: String = fields.iter().map(|f| format!("{}\r\n", FIELDS[*f])).collect();
            format!(
                "{}\r\n{}{lines}{}",
                starts[start],
                if host { "Host: h\r\n" } else { "" },
                CONTENTS[content]
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_seen_as_hyper_sees_them(
        messages in vec(message(REQUEST_LINES, true), 1..4), mutations in mutations(),
    ) {
        thread_local!(static ORACLE: Oracle = Oracle::new());
        let bytes = mutate(messages.concat().into_bytes(), &mutations);
        let result = ORACLE.with(|oracle| compare(oracle, Side::Server, &bytes));
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn responses_are_seen_as_hyper_sees_them(
        message in message(STATUS_LINES, false), mutations in mutations(), head in any::<bool>(),
    ) {
        thread_local!(static ORACLE: Oracle = Oracle::new());
        let bytes = mutate(message.into_bytes(), &mutations);
        let result = ORACLE.with(|oracle| compare(oracle, Side::Client { head }, &bytes));
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}
