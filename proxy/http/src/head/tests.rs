//! Heads from HTTP/2 field sections (RFC 9113 8), and which fields go out of a head.

use super::*;
use crate::fields::{Indexing, Leg};

/// A head of these fields, as HPACK would yield them, and its verdict.
fn section(section: Section, fields: &[(&str, &str)]) -> (Head, Vec<u8>, Result<(), Malformed>) {
    let mut bytes = Vec::new();
    let mut head = Head::default();
    head.begin(section, Version::Http2);
    for (name, value) in fields {
        let start = bytes.len();
        bytes.extend_from_slice(name.as_bytes());
        let middle = bytes.len();
        bytes.extend_from_slice(value.as_bytes());
        let field = Field {
            name: Range::new(start, middle),
            value: Range::new(middle, bytes.len()),
            kind: Kind::of(name.as_bytes()),
            never_indexed: false,
        };
        head.add_h2(&bytes, field, &limits::Head::default());
    }
    let verdict = head.finish_h2(&bytes);
    (head, bytes, verdict)
}

/// `fields` after the four pseudo-header fields of an ordinary request.
fn get(fields: &[(&str, &str)]) -> Result<(), Malformed> {
    let pseudos = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
    section(Section::Request, &[&pseudos, fields].concat()).2
}

/// A request of these pseudo-header fields; an empty string leaves one out, `""` is written as `"empty"`.
fn pseudos(
    method: &str,
    scheme: &str,
    authority: &str,
    path: &str,
    protocol: &str,
) -> (Head, Result<(), Malformed>) {
    let all = [
        (":method", method),
        (":scheme", scheme),
        (":authority", authority),
        (":path", path),
        (":protocol", protocol),
    ];
    let given: Vec<_> = all
        .into_iter()
        .filter(|p| !p.1.is_empty())
        .map(|(n, v)| (n, if v == "empty" { "" } else { v }))
        .collect();
    let (head, _, verdict) = section(Section::Request, &given);
    (head, verdict)
}

#[test]
fn rfc9113_8_3_1_requests() {
    use Malformed::{
        Authority, Method, PseudoMissing, PseudoUnexpected, Scheme, Target as BadTarget, TargetForm,
    };
    for (method, scheme, authority, path, protocol, expected) in [
        ("GET", "http", "h", "/", "", Ok(Target::Origin)),
        ("GET", "https", "h:443", "/p?q", "", Ok(Target::Origin)),
        ("GET", "http", "", "/", "", Ok(Target::Origin)),
        ("x-METHOD", "http", "[::1]:1", "/", "", Ok(Target::Origin)),
        ("OPTIONS", "http", "h", "*", "", Ok(Target::Asterisk)),
        ("CONNECT", "", "h:443", "", "", Ok(Target::Authority)),
        ("CONNECT", "http", "h", "/chat", "websocket", Ok(Target::Origin)),
        ("", "http", "h", "/", "", Err(PseudoMissing)),
        ("GET", "", "h", "/", "", Err(PseudoMissing)),
        ("GET", "http", "h", "", "", Err(PseudoMissing)),
        ("empty", "http", "h", "/", "", Err(Method)),
        ("G T", "http", "h", "/", "", Err(Method)),
        ("GET / HTTP/1.1\r\nx: y\r\n\r\n", "http", "h", "/", "", Err(Method)),
        ("GET", "http", "h", "empty", "", Err(BadTarget)),
        ("GET", "http", "h", "x", "", Err(BadTarget)),
        ("GET", "http", "h", "http://a/", "", Err(BadTarget)),
        ("GET", "http", "h", "/a b", "", Err(BadTarget)),
        ("GET", "http", "h", "/a\r\nx: y", "", Err(BadTarget)),
        ("GET", "http", "h", "/ HTTP/1.1\r\nhost: evil\r\n\r\n", "", Err(BadTarget)),
        ("GET", "http", "h", "/a\0", "", Err(BadTarget)),
        ("GET", "http", "h", "/a#b", "", Err(BadTarget)),
        ("GET", "http", "h", "*", "", Err(TargetForm)),
        ("GET", "http", "empty", "/", "", Err(Authority)),
        ("GET", "http", "u@h", "/", "", Err(Authority)),
        ("GET", "http", "h/evil", "/", "", Err(Authority)),
        ("GET", "http", "h\r\nx: y", "/", "", Err(Authority)),
        ("GET", "http", "h evil", "/", "", Err(Authority)),
        ("GET", "http", "h:x", "/", "", Err(Authority)),
        ("GET", "empty", "h", "/", "", Err(Scheme)),
        ("GET", "ht tp", "h", "/", "", Err(Scheme)),
        ("GET", "http://evil/ HTTP/1.1\r\nx", "h", "/", "", Err(Scheme)),
        ("CONNECT", "http", "h:443", "", "", Err(PseudoUnexpected)),
        ("CONNECT", "", "h:443", "/", "", Err(PseudoUnexpected)),
        ("CONNECT", "", "h", "", "", Err(Authority)),
        ("CONNECT", "", "", "", "", Err(Authority)),
        ("GET", "http", "h", "/", "websocket", Err(PseudoUnexpected)),
        ("CONNECT", "http", "", "/", "websocket", Err(PseudoMissing)),
        ("CONNECT", "http", "h", "", "websocket", Err(PseudoMissing)),
        ("CONNECT", "http", "h", "/", "a b", Err(PseudoUnexpected)),
    ] {
        let (head, verdict) = pseudos(method, scheme, authority, path, protocol);
        assert_eq!(
            verdict.map(|()| head.target),
            expected,
            "{method:?} {scheme:?} {authority:?} {path:?} {protocol:?}"
        );
    }
}

#[test]
fn rfc9113_8_3_places_of_pseudo_header_fields() {
    use Malformed::{PseudoMisplaced, PseudoMissing, PseudoUnexpected, Status};
    let ok = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let with = |more: &[(&'static str, &'static str)]| [&ok, more].concat();
    for (kind, fields, expected) in [
        (Section::Request, with(&[]), Ok(())),
        (Section::Request, with(&[(":path", "/")]), Err(PseudoMisplaced)),
        (Section::Request, with(&[("a", "b"), (":authority", "h")]), Err(PseudoMisplaced)),
        (Section::Request, with(&[(":status", "200")]), Err(PseudoUnexpected)),
        (Section::Request, with(&[(":version", "HTTP/1.1")]), Err(PseudoUnexpected)),
        (Section::Request, with(&[(":", "x")]), Err(PseudoUnexpected)),
        (Section::Request, vec![], Err(PseudoMissing)),
        (Section::Response, vec![(":status", "200"), ("a", "b")], Ok(())),
        (Section::Response, vec![(":status", "103")], Ok(())),
        (Section::Response, vec![], Err(PseudoMissing)),
        (Section::Response, vec![("a", "b"), (":status", "200")], Err(PseudoMisplaced)),
        (Section::Response, vec![(":status", "200"), (":status", "200")], Err(PseudoMisplaced)),
        (Section::Response, vec![(":status", "200"), (":path", "/")], Err(PseudoUnexpected)),
        (Section::Response, vec![(":status", "101")], Err(Status)),
        (Section::Response, vec![(":status", "99")], Err(Status)),
        (Section::Response, vec![(":status", "0200")], Err(Status)),
        (Section::Response, vec![(":status", "2 0")], Err(Status)),
        (Section::Response, vec![(":status", "")], Err(Status)),
        (Section::Trailers, vec![], Ok(())),
        (Section::Trailers, vec![("grpc-status", "0")], Ok(())),
        (Section::Trailers, vec![(":status", "200")], Err(PseudoUnexpected)),
        (Section::Trailers, vec![(":path", "/")], Err(PseudoUnexpected)),
    ] {
        assert_eq!(section(kind, &fields).2, expected, "{kind:?} {fields:?}");
    }
}

#[test]
fn rfc9113_8_2_1_bytes_of_fields() {
    use Malformed::{FieldName, FieldValue};
    for (name, value, expected) in [
        ("a", "b", Ok(())),
        ("a", "", Ok(())),
        ("a", "b c\td \u{e4}", Ok(())),
        ("a-b_c!#$%&'*+.^`|~1", "x", Ok(())),
        ("", "b", Err(FieldName)),
        ("A", "b", Err(FieldName)),
        ("a ", "b", Err(FieldName)),
        ("a:", "b", Err(FieldName)),
        ("a:b", "c", Err(FieldName)),
        ("a\r\nb", "c", Err(FieldName)),
        ("transfer-encoding: chunked\r\nx", "y", Err(FieldName)),
        ("a\0", "b", Err(FieldName)),
        ("\u{e4}", "b", Err(FieldName)),
        ("a", " b", Err(FieldValue)),
        ("a", "b ", Err(FieldValue)),
        ("a", "b\t", Err(FieldValue)),
        ("a", "b\r\nc: d", Err(FieldValue)),
        ("a", "b\nc", Err(FieldValue)),
        ("a", "b\rc", Err(FieldValue)),
        ("a", "b\0c", Err(FieldValue)),
        ("a", "b\x7f", Err(FieldValue)),
        ("a", "b\x01", Err(FieldValue)),
    ] {
        assert_eq!(get(&[(name, value)]), expected, "{name:?}: {value:?}");
        assert_eq!(section(Section::Trailers, &[(name, value)]).2, expected, "trailer {name:?}: {value:?}");
    }
}

#[test]
fn rfc9113_8_2_2_connection_specific_fields() {
    for (name, value, expected) in [
        ("connection", "close", false),
        ("keep-alive", "x", false),
        ("proxy-connection", "x", false),
        ("transfer-encoding", "chunked", false),
        ("upgrade", "h2c", false),
        ("http2-settings", "x", false),
        ("te", "trailers", true),
        ("te", "Trailers", true),
        ("te", "gzip", false),
        ("te", "trailers, gzip", false),
    ] {
        let expected = if expected { Ok(()) } else { Err(Malformed::ConnectionSpecific) };
        assert_eq!(get(&[(name, value)]), expected, "{name}: {value}");
    }
}

#[test]
fn rfc9113_8_3_1_host_beside_authority() {
    use Malformed::{Authority, HostDiffers, HostRepeated};
    for (authority, hosts, expected) in [
        ("h", &["h"][..], Ok("h")),
        ("h", &["H"], Ok("h")),
        ("", &["h:80"], Ok("h:80")),
        ("", &[], Ok("")),
        ("", &[""], Ok("")),
        ("h", &["evil"], Err(HostDiffers)),
        ("h", &[""], Err(HostDiffers)),
        ("h", &["h", "h"], Err(HostRepeated)),
        ("", &["h", "evil"], Err(HostRepeated)),
        ("", &["h/evil"], Err(Authority)),
        ("", &["u@h"], Err(Authority)),
    ] {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/")];
        if !authority.is_empty() {
            fields.push((":authority", authority));
        }
        fields.extend(hosts.iter().map(|h| ("host", *h)));
        let (head, bytes, verdict) = section(Section::Request, &fields);
        let got = verdict.map(|()| String::from_utf8_lossy(head.authority.of(&bytes)).into_owned());
        assert_eq!(got, expected.map(str::to_owned), "{authority:?} {hosts:?}");
    }
}

#[test]
fn rfc9113_8_1_1_lengths() {
    assert_eq!(get(&[("content-length", "5")]), Ok(()));
    assert_eq!(
        get(&[("content-length", "5"), ("content-length", "5")]),
        Err(Malformed::ContentLengthRepeated)
    );
    for bad in ["", "x", "-1", "5,5", "+5", "9223372036854775808"] {
        assert_eq!(get(&[("content-length", bad)]), Err(Malformed::ContentLength), "{bad}");
    }
}

#[test]
fn the_first_fault_is_told_and_fields_after_it_do_no_harm() {
    assert_eq!(get(&[("A", "b"), ("c", "d\0"), (":path", "/")]), Err(Malformed::FieldName));
    let many = vec![("a", "b"); limits::Head::default().fields as usize + 1];
    assert_eq!(get(&many), Err(Malformed::TooManyFields));
    let (head, ..) = section(Section::Trailers, &vec![("a", "b"); 100_000]);
    assert_eq!(head.fields.len(), limits::Head::default().fields as usize, "what is too much is not kept");
}

#[test]
fn a_head_is_filled_again_without_allocating() {
    let (mut head, ..) = section(Section::Trailers, &[("a", "b"); 50]);
    let (capacity, place) = (head.fields.capacity(), head.fields.as_ptr());
    head.begin(Section::Response, Version::Http11);
    assert_eq!((head.section, head.version, head.fields.len()), (Section::Response, Version::Http11, 0));
    for _ in 0..50 {
        head.add(b"ab", Field::default(), &limits::Head::default());
    }
    assert_eq!((head.fields.capacity(), head.fields.as_ptr()), (capacity, place));
}

// --- what goes out

fn names(message: &Outgoing<'_>) -> Vec<String> {
    message.fields().map(|f| format!("{}={}", text(f.name), text(f.value))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn te_trailers_goes_on_over_http2() {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), ("te", "trailers"), ("a", "b")];
    let (head, bytes, _) = section(Section::Request, &fields);
    assert_eq!(names(&Outgoing::new(&head, &bytes, Leg::OutboundRequest)), ["a=b", "te=trailers"]);
}

#[test]
fn linkerd_fields_end_where_the_table_says() {
    let fields = [
        (":status", "200"),
        ("l5d-proxy-error", "x"),
        ("l5d-proxy-connection", "close"),
        ("l5d-orig-proto", "HTTP/1.1"),
        ("l5d-other", "y"),
    ];
    let (head, bytes, _) = section(Section::Response, &fields);
    assert!(head.facts.l5d_close);
    let mut extra = Extra::default();
    extra.add(Kind::ProxyError, b"ours");
    let message = Outgoing::new(&head, &bytes, Leg::OutboundResponse).with(&extra);
    assert_eq!(names(&message), ["l5d-other=y", "l5d-proxy-error=ours"]);
    extra.clear();
    assert!(extra.is_empty());
}

#[test]
fn trailers_carry_no_framing_even_if_configured() {
    let (head, bytes, _) =
        section(Section::Trailers, &[("content-length", "5"), ("host", "h"), ("grpc-status", "0")]);
    assert_eq!(names(&Outgoing::new(&head, &bytes, Leg::InboundResponse)), ["grpc-status=0"]);
}

#[test]
fn rfc7541_7_1_3_how_a_field_may_be_indexed() {
    let bytes = b"cookieauthorizationdatea0123456789abcdefghij";
    let field = |name: std::ops::Range<usize>, value: std::ops::Range<usize>, never_indexed| Field {
        kind: Kind::of(&bytes[name.clone()]),
        name: Range::new(name.start, name.end),
        value: Range::new(value.start, value.end),
        never_indexed,
    };
    let mut head = Head::response(Version::Http2, 200);
    head.fields = vec![
        field(0..6, 24..43, false),
        field(0..6, 24..44, false),
        field(6..19, 24..44, false),
        field(19..23, 24..44, false),
        field(23..24, 24..44, false),
        field(23..24, 24..44, true),
    ];
    let message = Outgoing::new(&head, bytes, Leg::InboundRequest);
    let got: Vec<_> = message.fields().map(|f| f.indexing()).collect();
    assert_eq!(
        got,
        [
            Indexing::Never,
            Indexing::Index,
            Indexing::Never,
            Indexing::Volatile,
            Indexing::Index,
            Indexing::Never
        ],
        "short cookie, long cookie, authorization, date, anything, anything that came never-indexed"
    );
}

#[test]
fn the_faults_that_have_a_status_of_their_own() {
    assert_eq!(Malformed::TooManyFields.status(), 431);
    assert_eq!(Malformed::StartLineTooLong.status(), 414);
    assert_eq!(Malformed::TransferCoding.status(), 501);
    assert_eq!(Malformed::Version.status(), 505);
    assert_eq!(Malformed::HostMissing.status(), 400);
    assert_eq!(Malformed::HostMissing.to_string(), "host is missing");
}
