//! Heads made of any bytes: either they cannot be written, or what is written is one head that says just that. Nothing in
//! a part can end its line or be taken for another part (RFC 9113 10.3).
//!
//! Input: a byte of choices, a status, then parts: method, path, authority, scheme, reason, and fields, each with its
//! length.

use weft_http::{
    fields::Leg,
    h1::{Body, Framing, Options, Parser, write_last_chunk, write_request, write_response},
    head::{Extra, Head, Method, Outgoing, Range, Section, Target, Version},
    limits::Limits,
};

use crate::input::Input;

/// The most fields of an input.
const FIELDS: usize = 20;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.u8();
    let status = input.u16();
    let mut bytes = Vec::new();
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Range::new(bytes.len() - part.len(), bytes.len())
    };
    let method = input.short();
    let mut head = Head::default();
    head.begin(
        [Section::Request, Section::Response, Section::Trailers][usize::from(choices & 3) % 3],
        Version::Http2,
    );
    head.method = Method::of(method);
    head.method_name = part(method);
    head.path = part(input.short());
    head.authority = part(input.short());
    head.scheme = part(input.short());
    head.reason = part(input.short());
    head.status = status;
    if head.method == Method::Connect && choices & 4 == 0 {
        head.target = Target::Authority;
    }
    let mut extra = Extra::default();
    let mut fields = Vec::new();
    while !input.is_empty() && fields.len() < FIELDS {
        let (name, value) = (input.short(), input.short());
        extra.add_named(name, value);
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
    let message = Outgoing::new(&head, &bytes, Leg::OutboundRequest).with(&extra);
    let framing = match choices >> 3 & 3 {
        0 => Framing::None,
        1 => Framing::Length(u64::from(status)),
        _ => Framing::Chunked,
    };
    let options = Options { absolute_form: choices & 32 != 0, ..Options::new(framing) };
    let mut out = b"before".to_vec();
    let written = match head.section {
        Section::Request => write_request(&mut out, &message, &options),
        Section::Response => write_response(&mut out, &message, &options),
        Section::Trailers => write_last_chunk(&mut out, Some(&message)),
    };
    let Some(out) = out.strip_prefix(b"before") else { panic!("what was there is still there") };
    if written.is_err() {
        assert!(out.is_empty(), "nothing is left of a failed head");
        return;
    }
    match head.section {
        Section::Trailers => {
            let section = out.strip_prefix(b"0\r\n").expect("the last chunk");
            assert_eq!(line_breaks(section), 1 + kept(&fields, Section::Trailers), "{}", out.escape_ascii());
        }
        section => reread(section, out, &message, framing, &fields),
    }
}

/// How many lines there are, the empty one included.
fn line_breaks(bytes: &[u8]) -> usize {
    assert_eq!(bytes.iter().filter(|b| **b == b'\r').count(), bytes.iter().filter(|b| **b == b'\n').count());
    bytes.windows(2).filter(|w| w == b"\r\n").count()
}

/// Of the added fields those that are written, as far as the writer decides that.
fn kept(fields: &[(Vec<u8>, Vec<u8>)], section: Section) -> usize {
    fields.iter().filter(|(name, _)| is_kept(name, section)).count()
}

fn is_kept(name: &[u8], section: Section) -> bool {
    let kind = weft_http::fields::Kind::of(name);
    match section {
        Section::Trailers => kind.meaning().in_trailers,
        _ => {
            !name.eq_ignore_ascii_case(b"content-length")
                && !name.eq_ignore_ascii_case(b"te")
                && !name.eq_ignore_ascii_case(b"transfer-encoding")
        }
    }
}

fn reread(
    section: Section,
    out: &[u8],
    message: &Outgoing<'_>,
    framing: Framing,
    fields: &[(Vec<u8>, Vec<u8>)],
) {
    let request = section == Section::Request;
    // Start line, perhaps `host`, the fields, perhaps the framing, `te` with `connection`, the empty line.
    let te = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"te"));
    let expected = 2
        + kept(fields, section)
        + usize::from(request)
        + usize::from(framing != Framing::None)
        + if request && te { 2 } else { 0 };
    assert_eq!(line_breaks(out), expected, "{}", out.escape_ascii());
    let mut again = Head::default();
    // Fields of this hop are nobody's to add: `connection`, a second `host`, may make the head one that we refuse.
    let sane = fields.iter().all(|(name, _)| {
        let kind = weft_http::fields::Kind::of(name);
        !kind.meaning().hop_by_hop() && !name.eq_ignore_ascii_case(b"host")
    });
    let parsed = Parser::new(section).parse(out, &mut again, &Limits::default());
    if let Ok(used) = parsed {
        assert_eq!(used, Some(out.len()), "{}", out.escape_ascii());
    } else if sane && !(message.head.method == Method::Connect && framing != Framing::None) {
        panic!("{parsed:?}: {}", out.escape_ascii());
    }
    if parsed.is_err() || !sane {
        return;
    }
    if request {
        assert_eq!(again.method_name.of(out), message.method());
        assert_eq!(again.authority.of(out), message.authority());
        if message.head.method != Method::Connect {
            assert_eq!(Outgoing::new(&again, out, message.leg).path(), message.path());
        }
        let body = match framing {
            Framing::Length(n @ 1..) => Body::Length(n),
            Framing::Chunked => Body::Chunked,
            _ => Body::None,
        };
        assert_eq!(Body::of_request(&again), body);
    } else {
        assert_eq!(again.status, message.head.status);
    }
    let trimmed = |value: &[u8]| value.trim_ascii().to_vec();
    let read: Vec<_> = again
        .fields
        .iter()
        .map(|f| (f.name.of(out).to_vec(), f.value.of(out).to_vec()))
        .filter(|(name, _)| is_kept(name, section) && name != b"host")
        .collect();
    let sent: Vec<_> = fields
        .iter()
        .filter(|(name, _)| is_kept(name, section))
        .map(|(name, value)| (name.clone(), trimmed(value)))
        .collect();
    assert_eq!(read, sent);
}

/// Parts, harmless and not.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |choices: u8, status: u16, parts: &[&str]| {
        let mut bytes = vec![choices];
        bytes.extend_from_slice(&status.to_le_bytes());
        for part in parts {
            bytes.push(part.len() as u8);
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    };
    vec![
        seed(0, 0, &["GET", "/", "a", "http", "", "accept", "*/*", "x-a", "b c"]),
        seed(0x20, 0, &["OPTIONS", "*", "a:80", "https", ""]),
        seed(
            8,
            5,
            &["POST", "/x?y=z", "a", "http", "", "Content-Type", "application/grpc", "te", "trailers"],
        ),
        seed(16, 0, &["PUT", "/", "", "", "", "cookie", "a=b", "cookie", "c=d"]),
        seed(0, 0, &["CONNECT", "", "a:443", "", ""]),
        seed(0, 0, &["CONNECT", "/", "a", "http", "", "sec-websocket-version", "13"]),
        seed(0, 0, &["GET", "/ HTTP/1.1\r\nx: y", "a", "http", ""]),
        seed(0, 0, &["GET", "/", "a\r\nb: c", "http", "", "x\r\ny", "z", "v", "w\r\n\r\nGET / HTTP/1.1"]),
        seed(1, 200, &["", "", "", "", "OK", "server", "x", "date", "y"]),
        seed(9, 404, &["", "", "", "", "No\r\nx: y"]),
        seed(1, 1000, &["", "", "", "", ""]),
        seed(2, 0, &["", "", "", "", "", "grpc-status", "0", "content-length", "5"]),
    ]
}
