//! A whole HTTP/1 connection, read: the same messages whatever the split; bounds hold; httparse understands a head in the
//! same way; and what is written on is read back as the same message with the same end.
//!
//! Input: a byte of choices (see `Case`), two for the split, then what one side sends.

use weft_http::{
    fields::{Kind, Leg},
    h1::{
        Body, Connection, Decoder, Event, Framing, Options, Parser, is_persistent, is_reusable,
        request_framing, response_framing, write_chunk, write_last_chunk, write_request, write_response,
    },
    head::{Head, Method, Outgoing, Section, Target, Version},
    limits::Limits,
};

use crate::input::{Input, pieces};

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let case = Case::new(input.u8());
    let how = input.u16();
    let bytes = input.rest();
    let whole = read(case, bytes, &[bytes], true);
    let split = read(case, bytes, &pieces(bytes, how), false);
    assert_eq!(split, whole);
}

/// What the first byte chooses.
#[derive(Clone, Copy, Debug)]
struct Case {
    section: Section,
    /// Bounds so small that short inputs reach them.
    small: bool,
    /// Responses: what was asked for.
    method: Method,
    leg: Leg,
    /// HTTP/1.0 clients are answered differently.
    client: Version,
}

impl Case {
    fn new(byte: u8) -> Self {
        let response = byte & 1 == 1;
        Self {
            section: if response { Section::Response } else { Section::Request },
            small: byte & 2 != 0,
            method: [Method::Get, Method::Head, Method::Connect, Method::Post][usize::from(byte >> 2 & 3)],
            leg: Leg::ALL[usize::from(byte >> 4 & 1) * 2 + usize::from(response)],
            client: if byte & 32 == 0 { Version::Http11 } else { Version::Http10 },
        }
    }

    fn limits(self) -> Limits {
        let mut limits = Limits::default();
        if self.small {
            limits.head.fields = 4;
            limits.head.field_bytes = 24;
            limits.head.connection_options = 3;
            limits.http1.head_bytes = 80;
            limits.http1.start_line_bytes = 25;
            limits.http1.chunk_extension_bytes = 4;
            limits.http1.trailer_bytes = 12;
        }
        limits
    }
}

/// What one side of a connection was seen to send.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Head(String),
    /// All of the content, and the trailers.
    End(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>),
    /// The connection is of no use any more.
    Failed(String),
    /// Closed in the middle of a message, with as much of its content.
    Cut(Vec<u8>),
}

/// Reads a connection that delivers these pieces and is closed. `deep`: also look at what could be sent on.
fn read(case: Case, bytes: &[u8], pieces: &[&[u8]], deep: bool) -> Vec<Seen> {
    let limits = case.limits();
    let (mut parser, mut head, mut trailers) = (Parser::new(case.section), Head::default(), Head::default());
    let mut seen = Vec::new();
    let mut body: Option<(Body, Decoder, Vec<u8>)> = None;
    // Everything before `from` is done with; what has arrived ends at `to`.
    let (mut from, mut to) = (0, 0);
    for piece in pieces {
        to += piece.len();
        // Another connection has used the heads meanwhile.
        head.begin(Section::Trailers, Version::Http2);
        trailers.begin(Section::Trailers, Version::Http2);
        loop {
            let rest = &bytes[from..to];
            let Some((framing, decoder, content)) = &mut body else {
                match parser.parse(rest, &mut head, &limits) {
                    Ok(Some(used)) => {
                        check_head(case, &limits, &rest[..used], &head, deep);
                        let framing = match case.section {
                            Section::Request => Body::of_request(&head),
                            _ => Body::of_response(&head, case.method),
                        };
                        seen.push(Seen::Head(describe(&head, &rest[..used], framing)));
                        body = Some((framing, Decoder::new(framing), Vec::new()));
                        from += used;
                        continue;
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        assert!((400..=505).contains(&fault.status()));
                        seen.push(Seen::Failed(format!("{fault:?}")));
                        return seen;
                    }
                }
            };
            match decoder.decode(rest, &mut trailers, &limits) {
                Ok(step) => {
                    assert!(step.consumed <= rest.len());
                    let used = &rest[..step.consumed];
                    match step.event {
                        Event::Data(range) => {
                            assert!(!range.is_empty() && step.consumed > 0);
                            content.extend_from_slice(range.of(used));
                        }
                        Event::NeedMore => {
                            from += step.consumed;
                            assert!(
                                to - from <= limits.http1.trailer_bytes as usize,
                                "held back: {}",
                                to - from
                            );
                            break;
                        }
                        Event::End => {
                            assert!(decoder.is_end() && decoder.remaining() == Some(0));
                            let lines = match framing {
                                Body::Chunked => lines(&trailers, used),
                                _ => Vec::new(),
                            };
                            if let Body::Length(n) = framing {
                                assert_eq!(*n, content.len() as u64);
                            }
                            if deep && *framing == Body::Chunked {
                                check_chunked(case, content, &trailers, used);
                            }
                            seen.push(Seen::End(std::mem::take(content), lines));
                            body = None;
                        }
                    }
                    from += step.consumed;
                }
                Err(fault) => {
                    seen.push(Seen::Cut(std::mem::take(content)));
                    seen.push(Seen::Failed(format!("{fault:?}")));
                    return seen;
                }
            }
        }
    }
    match &mut body {
        Some((_, decoder, content)) => {
            let content = std::mem::take(content);
            seen.push(match decoder.closed() {
                Ok(()) => Seen::End(content, Vec::new()),
                Err(_) => Seen::Cut(content),
            });
        }
        None if parser.is_partial() => seen.push(Seen::Cut(Vec::new())),
        None => {}
    }
    seen
}

fn lines(head: &Head, bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    head.fields.iter().map(|f| (f.name.of(bytes).to_vec(), f.value.of(bytes).to_vec())).collect()
}

fn describe(head: &Head, bytes: &[u8], body: Body) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let fields: Vec<String> =
        lines(head, bytes).iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
    let (method, path, authority) =
        (head.method_name.of(bytes), head.path.of(bytes), head.authority.of(bytes));
    let (scheme, reason) = (head.scheme.of(bytes), head.reason.of(bytes));
    format!(
        "{:?} {} {} {:?} {} {} {} {} {body:?} {fields:?} {} {}",
        head.version,
        text(method),
        text(scheme),
        head.target,
        text(authority),
        text(path),
        head.status,
        text(reason),
        is_persistent(head),
        head.section == Section::Request || is_reusable(head, Method::Get),
    )
}

fn check_head(case: Case, limits: &Limits, bytes: &[u8], head: &Head, deep: bool) {
    assert!(bytes.len() <= limits.http1.head_bytes as usize);
    assert!(head.fields.len() <= limits.head.fields as usize);
    for field in &head.fields {
        assert!(field.name.len() + field.value.len() <= limits.head.field_bytes as usize);
    }
    if deep {
        beside_httparse(case, bytes, head);
        match case.section {
            Section::Request => write_request_on(case, bytes, head),
            _ => write_response_on(case, bytes, head),
        }
    }
}

/// Whatever we take for a head is one for httparse too, and says the same.
fn beside_httparse(case: Case, bytes: &[u8], head: &Head) {
    // Bytes that are no text, which nobody has defined and everybody passes on, httparse refuses in a target.
    if str::from_utf8(head.path.of(bytes)).is_err() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let (used, minor, theirs) = if case.section == Section::Request {
        let mut request = httparse::Request::new(&mut fields);
        let used = request.parse(bytes).expect("httparse reads it");
        assert_eq!(request.method.unwrap().as_bytes(), head.method_name.of(bytes));
        let target = request.path.unwrap().as_bytes();
        match head.target {
            Target::Origin | Target::Asterisk => assert_eq!(target, head.path.of(bytes)),
            Target::Authority => assert_eq!(target, head.authority.of(bytes)),
            Target::Absolute => assert!(target.ends_with(head.path.of(bytes))),
        }
        (used, request.version, request.headers)
    } else {
        let mut response = httparse::Response::new(&mut fields);
        let used = response.parse(bytes).expect("httparse reads it");
        assert_eq!(response.code, Some(head.status));
        (used, response.version, response.headers)
    };
    assert!(used.is_complete() && used.unwrap() == bytes.len(), "the head ends at the same place");
    assert_eq!(minor, Some(u8::from(head.version == Version::Http11)));
    // We leave out what `connection` lists.
    let mut theirs = theirs.iter();
    for field in &head.fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        assert!(theirs.any(|h| h.name.as_bytes() == name && h.value == value), "{}", name.escape_ascii());
    }
}

/// A head that was read can be written, and is then read as the same, with content that ends at the same place.
fn write_request_on(case: Case, bytes: &[u8], head: &Head) {
    let body = Body::of_request(head);
    let framing = request_framing(head, body == Body::None);
    let message = Outgoing::new(head, bytes, case.leg);
    let plain = Options::new(framing);
    let absolute = Options { absolute_form: true, connection: Connection::Upgrade, ..plain };
    for options in [plain, absolute] {
        let mut out = Vec::new();
        if let Err(fault) = write_request(&mut out, &message, &options) {
            let empty_authority = options.absolute_form && head.authority.is_empty();
            let odd_scheme = options.absolute_form && head.method == Method::Connect;
            assert!(empty_authority || odd_scheme, "{fault:?} for {}", bytes.escape_ascii());
            assert!(out.is_empty(), "nothing is left of a failed head");
            continue;
        }
        let again = reread(Section::Request, &out);
        assert_eq!(again.method_name.of(&out), head.method_name.of(bytes));
        assert_eq!(again.authority.of(&out), head.authority.of(bytes));
        if head.method != Method::Connect {
            let message_again = Outgoing::new(&again, &out, case.leg);
            assert_eq!(message_again.path(), message.path());
        }
        match (framing, Body::of_request(&again)) {
            (Framing::None | Framing::Length(0), Body::None) | (Framing::Chunked, Body::Chunked) => {}
            (Framing::Length(n), Body::Length(m)) if n == m => {}
            other => panic!("{other:?}: {}", out.escape_ascii()),
        }
        nothing_of_this_hop(&again, &options);
        // A second time nothing changes any more.
        let options =
            Options { framing: request_framing(&again, Body::of_request(&again) == Body::None), ..options };
        let mut twice = Vec::new();
        write_request(&mut twice, &Outgoing::new(&again, &out, case.leg), &options).expect("what we wrote");
        // But for the space after the last of several cookies, if that one was empty.
        let told = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("; \\r\\n", ";\\r\\n");
        assert_eq!(told(&twice), told(&out));
    }
}

fn write_response_on(case: Case, bytes: &[u8], head: &Head) {
    let body = Body::of_response(head, case.method);
    let framing = response_framing(head, case.method, case.client, body == Body::None);
    let options = Options { version: case.client, ..Options::new(framing) };
    let mut out = Vec::new();
    write_response(&mut out, &Outgoing::new(head, bytes, case.leg), &options).expect("a head that was read");
    let again = reread(Section::Response, &out);
    assert_eq!(again.status, head.status);
    let body_again = Body::of_response(&again, case.method);
    match (framing, body, body_again) {
        // What has no content has none, whatever is said about its length.
        (_, Body::None, Body::None) | (Framing::None, Body::Tunnel, Body::Tunnel) => {}
        (Framing::Length(n), Body::Length(_), Body::Length(m)) if n == m => {}
        (Framing::Chunked, Body::Chunked | Body::UntilClose, Body::Chunked) => {}
        (Framing::UntilClose, Body::Chunked | Body::UntilClose, Body::UntilClose) => {}
        other => panic!("{other:?}: {} from {}", out.escape_ascii(), bytes.escape_ascii()),
    }
    nothing_of_this_hop(&again, &options);
}

/// What concerns one connection only is not passed on, but for what this hop says itself.
fn nothing_of_this_hop(again: &Head, options: &Options<'_>) {
    for field in &again.fields {
        let ours = match field.kind {
            Kind::TransferEncoding => options.framing == Framing::Chunked,
            Kind::Te => options.connection == Connection::Unsaid && again.facts.te_trailers,
            Kind::Connection => options.connection == Connection::Upgrade || again.facts.te_trailers,
            Kind::Upgrade => options.connection == Connection::Upgrade,
            kind => !kind.meaning().hop_by_hop(),
        };
        assert!(ours, "{:?} was passed on", field.kind);
    }
    assert!(again.facts.upgrade.is_none() || options.connection == Connection::Upgrade);
}

fn reread(section: Section, bytes: &[u8]) -> Head {
    let (mut head, mut limits) = (Head::default(), Limits::default());
    // A field or two more than came in, and cookies in one line.
    limits.head.fields += 4;
    limits.http1.head_bytes *= 2;
    limits.http1.start_line_bytes *= 2;
    limits.head.field_bytes *= 2;
    match Parser::new(section).parse(bytes, &mut head, &limits) {
        Ok(Some(used)) => assert_eq!(used, bytes.len(), "one head: {}", bytes.escape_ascii()),
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    }
    head
}

/// Content that was read chunked is written in one chunk and read back.
fn check_chunked(case: Case, content: &[u8], trailers: &Head, bytes: &[u8]) {
    let mut out = Vec::new();
    write_chunk(&mut out, content);
    let section = Outgoing::new(trailers, bytes, case.leg);
    write_last_chunk(&mut out, Some(&section)).expect("trailers that were read");
    let (mut decoder, mut head, mut at, mut data) =
        (Decoder::new(Body::Chunked), Head::default(), 0, Vec::new());
    loop {
        let step = decoder.decode(&out[at..], &mut head, &Limits::default()).expect("what we wrote");
        match step.event {
            Event::Data(range) => data.extend_from_slice(range.of(&out[at..])),
            Event::End => break,
            Event::NeedMore => panic!("incomplete: {}", out.escape_ascii()),
        }
        at += step.consumed;
    }
    assert_eq!(data, content);
    let sent: Vec<_> = section
        .fields()
        .filter(|f| f.kind.meaning().in_trailers)
        .map(|f| (f.name.to_vec(), f.value.to_vec()))
        .collect();
    assert_eq!(lines(&head, &out[at..]), sent);
}

/// Messages, good and bad.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let requests: &[&str] = &[
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\nGET /a?b=c HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nx-sum: 1\r\nhost: no\r\n\r\n",
        "PUT http://a:80/b HTTP/1.1\r\nhost: c\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\nopaque",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, x-hop\r\nupgrade: websocket\r\nx-hop: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=b\r\ncookie: c=d\r\nte: trailers, gzip\r\nconnection: te, close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nl5d-orig-proto: HTTP/1.1; absolute-form\r\nl5d-client-id: x\r\n\r\n",
    ];
    let responses: &[&str] = &[
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: x\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\nHTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        "HTTP/1.0 200 \r\n\r\nuntil it ends",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x01\x02",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n",
        "HTTP/1.1 99 low\r\n\r\n",
    ];
    let mut seeds = Vec::new();
    for (n, text) in requests.iter().enumerate() {
        seeds.push([&[if n % 2 == 0 { 0 } else { 16 }, n as u8, 0], text.as_bytes()].concat());
    }
    for (n, text) in responses.iter().enumerate() {
        seeds.push([&[1 | (n as u8 & 15) << 2, n as u8, 0], text.as_bytes()].concat());
    }
    // Small bounds.
    for text in [
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\na: b\r\n\r\n",
    ] {
        seeds.push([&[2, 9, 0], text.as_bytes()].concat());
    }
    seeds
}
