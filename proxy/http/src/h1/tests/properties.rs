//! However the bytes are split, the result is the same; and what is written is read back.

use super::{Peer, fields, one, requests};
use crate::fields::{Kind, Leg};
use crate::h1::{
    Body, Decoder, Event, Framing, Options, write_chunk, write_last_chunk, write_request, write_response,
};
use crate::head::{Extra, Head, Method, Outgoing, Section, Target, Version};
use crate::limits::Limits;
use proptest::collection::vec;
use proptest::prelude::*;

/// Parts that messages are made of, good ones and bad ones; put together at random they reach every branch.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "GET http://a/ HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 100 x\r\n",
    "host: h\r\n",
    "host: h\r\n",
    "host: h\r\n\r\n",
    "content-length: 5\r\n",
    "content-length: 5\r\n\r\nhello",
    "content-length: 0\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\n\r\n",
    "transfer-encoding: x\r\n",
    "connection: close, a\r\n",
    "a: b\r\n",
    "a:  \t\r\n",
    "a : b\r\n",
    " fold\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    ":",
    "\0",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "1;x=y\r\nz\r\n",
    "g\r\n",
    "t: u\r\n\r\n",
    "5",
    "hello",
    "x",
    "\u{e4}",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        20 => (0..PARTS.len()).prop_map(|n| PARTS[n].as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(part, 0..20).prop_map(|parts| parts.concat())
}

/// Bounds so small that random messages reach them.
fn small() -> Limits {
    let mut limits = Limits::default();
    limits.head.fields = 4;
    limits.head.field_bytes = 24;
    limits.http1.head_bytes = 80;
    limits.http1.start_line_bytes = 25;
    limits.http1.chunk_extension_bytes = 4;
    limits.http1.trailer_bytes = 12;
    limits
}

fn split(mut peer: Peer, bytes: &[u8], cuts: &[usize]) -> String {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut from = 0;
    for cut in cuts {
        peer.feed(&bytes[from..cut]);
        from = cut;
    }
    peer.closed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_split_makes_no_difference(
        bytes in stream(), cuts in vec(any::<usize>(), 0..8), client in any::<bool>(), narrow in any::<bool>(),
    ) {
        let limits = if narrow { small() } else { Limits::default() };
        let peer = || if client { Peer::client(&[Method::Head, Method::Get]) } else { Peer::server() }.with(limits);
        let whole = split(peer(), &bytes, &[]);
        prop_assert_eq!(&split(peer(), &bytes, &cuts), &whole);
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&split(peer(), &bytes, &each), &whole);
    }

    #[test]
    fn random_bytes_are_refused_or_incomplete_but_never_harm(bytes in vec(any::<u8>(), 0..300)) {
        let seen = requests(&bytes);
        prop_assert!(!seen.contains("Http1"), "{}", seen);
    }
}

// --- what is written is read back

#[derive(Clone, Debug)]
struct Message {
    method: String,
    path: String,
    authority: String,
    status: u16,
    fields: Vec<(String, String)>,
    chunks: Vec<Vec<u8>>,
    trailers: Vec<(String, String)>,
    chunked: bool,
}

fn field() -> impl Strategy<Value = (String, String)> {
    let name =
        prop_oneof!["x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", "(Accept|user-agent|ETag|server|Cookie|l5d-x)"];
    // Values that HTTP can carry: no white space around them.
    (name, "([!-~\u{e0}-\u{ff}]([ -~\t]{0,30}[!-~])?)?")
}

fn message() -> impl Strategy<Value = Message> {
    (
        "(GET|POST|PUT|HEAD|DELETE|OPTIONS|M-SEARCH|x)",
        "/[!-\"$-~\u{e0}-\u{ff}]{0,40}",
        "([a-z0-9.-]{1,20}|\\[::1\\])(:[0-9]{1,4})?",
        100u16..=999,
        vec(field(), 0..12),
        vec(vec(any::<u8>(), 1..50), 0..5),
        vec(("x-[a-z]{1,8}", "[!-~]{0,10}"), 0..3),
        any::<bool>(),
    )
        .prop_map(|(method, path, authority, status, fields, chunks, trailers, chunked)| Message {
            method,
            path,
            authority,
            status,
            fields,
            chunks,
            trailers,
            chunked,
        })
}

fn extra(fields: &[(String, String)]) -> Extra {
    let mut extra = Extra::default();
    for (name, value) in fields {
        extra.add_named(name.as_bytes(), value.as_bytes());
    }
    extra
}

fn expected(fields: &[(String, String)]) -> Vec<String> {
    fields.iter().map(|(n, v)| format!("{}:{v}", n.to_ascii_lowercase())).collect()
}

/// Writes the content as the framing says; the framing and the bytes.
fn content(message: &Message) -> (Framing, Vec<u8>) {
    let mut out = Vec::new();
    if !message.chunked {
        return (Framing::Length(message.chunks.concat().len() as u64), message.chunks.concat());
    }
    for chunk in &message.chunks {
        write_chunk(&mut out, chunk);
    }
    let mut head = Head::default();
    head.begin(Section::Trailers, Version::Http11);
    let trailers = extra(&message.trailers);
    let section = Outgoing::new(&head, &[], Leg::OutboundRequest).with(&trailers);
    write_last_chunk(&mut out, Some(&section)).unwrap();
    (Framing::Chunked, out)
}

/// Reads content back; its bytes, trailers, and how much was consumed.
fn read(body: Body, bytes: &[u8]) -> (Vec<u8>, Vec<String>, usize) {
    let mut decoder = Decoder::new(body);
    let (mut at, mut data, mut trailers) = (0, Vec::new(), Head::default());
    loop {
        let rest = &bytes[at..];
        let step = decoder.decode(rest, &mut trailers, &Limits::default()).unwrap();
        match step.event {
            Event::Data(range) => data.extend_from_slice(range.of(rest)),
            Event::End => return (data, fields(&trailers, rest), at + step.consumed),
            Event::NeedMore => panic!("incomplete"),
        }
        at += step.consumed;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn requests_are_read_back(message in message()) {
        let bytes = [&message.method, &message.path, &message.authority].map(|s| s.as_bytes()).concat();
        let (m, p) = (message.method.len(), message.method.len() + message.path.len());
        let head = Head {
            method: Method::of(message.method.as_bytes()),
            method_name: crate::head::Range::new(0, m),
            path: crate::head::Range::new(m, p),
            authority: crate::head::Range::new(p, bytes.len()),
            ..Head::default()
        };
        let extra = extra(&message.fields);
        let (framing, content) = content(&message);
        let mut out = Vec::new();
        let outgoing = Outgoing::new(&head, &bytes, Leg::OutboundRequest).with(&extra);
        write_request(&mut out, &outgoing, &Options::new(framing)).unwrap();
        let head_len = out.len();

        let read_back = one(Section::Request, &out).unwrap();
        prop_assert_eq!(read_back.method_name.of(&out), message.method.as_bytes());
        prop_assert_eq!(read_back.path.of(&out), message.path.as_bytes());
        prop_assert_eq!(read_back.authority.of(&out), message.authority.as_bytes());
        prop_assert_eq!(read_back.target, Target::Origin);
        let mut got = fields(&read_back, &out);
        got.pop();
        prop_assert_eq!(got, expected(&message.fields));

        out.extend_from_slice(&content);
        out.extend_from_slice(b"GET /next");
        let (data, trailers, consumed) = read(Body::of_request(&read_back), &out[head_len..]);
        prop_assert_eq!(data, message.chunks.concat());
        prop_assert_eq!(consumed, content.len());
        prop_assert_eq!(trailers, if message.chunked { expected(&message.trailers) } else { vec![] });
    }

    #[test]
    fn responses_are_read_back(message in message()) {
        let head = Head::response(Version::Http11, message.status);
        let extra = extra(&message.fields);
        let (framing, content) = content(&message);
        let mut out = Vec::new();
        let outgoing = Outgoing::new(&head, &[], Leg::OutboundResponse).with(&extra);
        write_response(&mut out, &outgoing, &Options::new(framing)).unwrap();
        let read_back = one(Section::Response, &out).unwrap();
        prop_assert_eq!(read_back.status, message.status);
        let mut got = fields(&read_back, &out);
        got.pop();
        prop_assert_eq!(got, expected(&message.fields));
        if let body @ (Body::Length(_) | Body::Chunked) = Body::of_response(&read_back, Method::Get) {
            let (data, _, consumed) = read(body, &content);
            prop_assert_eq!(data, message.chunks.concat());
            prop_assert_eq!(consumed, content.len());
        }
    }

    /// A head that was read and written on says the same, less what ends at this hop.
    #[test]
    fn heads_pass_through(message in message(), leg in 0usize..4) {
        let lines: String = message.fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let bytes = format!("{} {} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", message.method, message.path, message.authority);
        let head = one(Section::Request, bytes.as_bytes()).unwrap();
        let mut out = Vec::new();
        let outgoing = Outgoing::new(&head, bytes.as_bytes(), Leg::ALL[leg]);
        write_request(&mut out, &outgoing, &Options::new(Framing::None)).unwrap();
        let again = one(Section::Request, &out).unwrap();
        prop_assert_eq!(again.path.of(&out), message.path.as_bytes());
        let cookie = |f: &String| f.get(..7).is_some_and(|n| n.eq_ignore_ascii_case("cookie:"));
        let (mut before, mut after) = (fields(&head, bytes.as_bytes()), fields(&again, &out));
        let cookies = |list: &[String]| list.iter().filter(|f| cookie(f)).map(|f| f[7..].to_owned()).collect::<Vec<_>>();
        let joined = cookies(&before).join("; ");
        prop_assert_eq!(joined.trim_end_matches(' '), cookies(&after).concat());
        before.retain(|f| !cookie(f));
        after.retain(|f| !cookie(f));
        prop_assert_eq!(before, after);
        let kinds = again.fields.iter().filter(|f| f.kind == Kind::Host).count();
        prop_assert_eq!(kinds, 1);
    }
}
