//! RFC 9113, section 8: messages on streams.

use super::*;

fn rejected(id: u32, error: StreamError) -> Vec<Seen> {
    vec![Seen::Rejected { id, error }]
}

#[test]
fn rfc9113_8_1_request_with_content_and_trailers() {
    let mut side = Side::server();
    let octets = [
        headers(1, false, &post()),
        data(1, false, b"he"),
        data(1, false, b"llo"),
        headers(1, true, &block(&[("x-sum", "5"), ("content-length", "9")])),
    ];
    let seen = side.feed(&octets.concat()).unwrap();
    assert_eq!(
        seen,
        [
            head_seen(1, false, ":method: POST\n:scheme: http\n:path: /p\n:authority: a\n"),
            Seen::Data { id: 1, data: b"he".to_vec(), end: false },
            Seen::Data { id: 1, data: b"llo".to_vec(), end: false },
            Seen::Trailers { id: 1, fields: "x-sum: 5\n".to_owned() },
        ]
    );
}

#[test]
fn rfc9113_8_1_trailers_must_end_the_stream() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let seen = side.feed(&headers(1, false, &block(&[("x", "y")]))).unwrap();
    let (code, cause) = (Code::PROTOCOL_ERROR, Cause::Error(StreamError::Order));
    assert_eq!(seen, [Seen::Reset { id: 1, code, cause }]);
    assert_eq!(side.sent(), [rst(1, code)]);
}

#[test]
fn rfc9113_8_1_pseudo_header_fields_in_trailers() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let seen = side.feed(&headers(1, true, &block(&[(":method", "GET")]))).unwrap();
    assert!(matches!(seen[..], [Seen::Reset { code: Code::PROTOCOL_ERROR, .. }]), "{seen:?}");
}

#[test]
fn rfc9113_8_1_interim_responses() {
    let mut side = Side::client();
    side.open(true);
    let octets = [
        headers(1, false, &block(&[(":status", "100")])),
        headers(1, false, &block(&[(":status", "103"), ("link", "x")])),
        headers(1, false, &ok()),
        data(1, true, b"x"),
    ];
    let seen = side.feed(&octets.concat()).unwrap();
    assert_eq!(seen[0], head_seen(1, false, ":status: 100\n"));
    assert_eq!(seen[1], head_seen(1, false, ":status: 103\nlink: x\n"));
    assert_eq!(seen[2], head_seen(1, false, ":status: 200\n"));
    assert_eq!(seen.len(), 4);
}

/// A response that breaks a rule resets its stream, and nothing else.
#[test]
fn rfc9113_8_1_1_malformed_responses() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("8.1 content before the head", data(1, false, b"x")),
        ("8.1 an interim response that ends", headers(1, true, &block(&[(":status", "100")]))),
        (
            "8.1 trailers that do not end",
            [headers(1, false, &ok()), headers(1, false, &block(&[("a", "b")]))].concat(),
        ),
        ("8.3.2 no status", headers(1, true, &block(&[("a", "b")]))),
        ("8.3.2 two", headers(1, true, &block(&[(":status", "200"), (":status", "200")]))),
        ("8.3 a request's", headers(1, true, &block(&[(":status", "200"), (":path", "/")]))),
        ("8.6 101", headers(1, true, &block(&[(":status", "101")]))),
        ("8.2.2 connection", headers(1, true, &block(&[(":status", "200"), ("connection", "close")]))),
        ("8.2.1 upper case", headers(1, true, &[&ok()[..], b"\x00\x01A\x01b"].concat())),
        (
            "8.1.1 short",
            [headers(1, false, &block(&[(":status", "200"), ("content-length", "2")])), data(1, true, b"x")]
                .concat(),
        ),
        (
            "8.1.1 long",
            [
                headers(1, false, &block(&[(":status", "200"), ("content-length", "2")])),
                data(1, false, b"xyz"),
            ]
            .concat(),
        ),
        ("8.1.1 nothing", headers(1, true, &block(&[(":status", "200"), ("content-length", "2")]))),
        (
            "8.1.1 content of 304",
            [headers(1, false, &block(&[(":status", "304")])), data(1, true, b"x")].concat(),
        ),
    ];
    for (case, octets) in cases {
        let mut side = Side::client();
        side.open(false);
        side.open(false);
        side.out.clear();
        let seen = side.feed(octets).unwrap();
        assert!(
            matches!(
                seen.last(),
                Some(Seen::Reset { id: 1, code: Code::PROTOCOL_ERROR, cause: Cause::Error(_) })
            ),
            "{case}: {seen:?}"
        );
        assert_eq!(side.sent(), [rst(1, Code::PROTOCOL_ERROR)], "{case}");
        assert_eq!(side.feed(&headers(3, true, &ok())).unwrap().len(), 1, "{case}: the other stream goes on");
    }
}

#[test]
fn rfc9113_8_1_1_head_and_not_modified_have_a_length_and_no_content() {
    let length = block(&[(":status", "200"), ("content-length", "5")]);
    let head_request = || {
        let mut side = Side::client();
        let (head, bytes) = request_head("HEAD", "/");
        side.conn.open(0, &Outgoing::new(&head, &bytes, Leg::OutboundRequest), true, &mut side.out).unwrap();
        side
    };
    for octets in [headers(1, true, &length), [headers(1, false, &length), data(1, true, b"")].concat()] {
        let seen = head_request().feed(&octets).unwrap();
        assert!(!seen.iter().any(|s| matches!(s, Seen::Reset { .. })), "{seen:?}");
    }
    let seen = head_request().feed(&[headers(1, false, &length), data(1, true, b"12345")].concat()).unwrap();
    assert!(matches!(seen[1], Seen::Reset { .. }), "content in the answer to HEAD");
    let mut side = Side::client();
    side.open(true);
    let not_modified = block(&[(":status", "304"), ("content-length", "5")]);
    assert_eq!(side.feed(&headers(1, true, &not_modified)).unwrap().len(), 1);
}

#[test]
fn rfc9113_8_1_1_content_length_of_requests() {
    let with = |length: &str| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
            ("content-length", length),
        ];
        headers(1, false, &block(&fields))
    };
    let ends = |octets: Vec<u8>| Side::server().feed(&octets).unwrap().pop();
    let reset =
        Seen::Reset { id: 1, code: Code::PROTOCOL_ERROR, cause: Cause::Error(StreamError::ContentLength) };
    let whole = Seen::Data { id: 1, data: b"cd".to_vec(), end: true };
    assert_eq!(ends([with("4"), data(1, false, b"ab"), data(1, true, b"cd")].concat()), Some(whole));
    assert_eq!(ends([with("5"), data(1, false, b"ab"), data(1, true, b"cd")].concat()), Some(reset.clone()));
    assert_eq!(ends([with("3"), data(1, false, b"ab"), data(1, true, b"cd")].concat()), Some(reset.clone()));
    let trailers = headers(1, true, &block(&[("x", "y")]));
    assert_eq!(ends([with("3"), data(1, false, b"ab"), trailers].concat()), Some(reset));
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("content-length", "1")];
    assert_eq!(
        Side::server().feed(&headers(1, true, &block(&fields))),
        Ok(rejected(1, StreamError::ContentLength))
    );
}

/// The rules of a head are `Head::finish_h2`'s; here, that they are asked for and what the answer is.
#[test]
fn rfc9113_8_1_1_malformed_requests_reset_their_stream_only() {
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let cases: &[(&[(&str, &str)], Malformed)] = &[
        (&[(":method", "GET"), (":scheme", "http")], Malformed::PseudoMissing),
        (&[(":method", "GET"), (":method", "GET")], Malformed::PseudoMisplaced),
        (&[("a", "b"), (":method", "GET")], Malformed::PseudoMisplaced),
        (&[(":method", "GET"), (":status", "200")], Malformed::PseudoUnexpected),
        (&[base[0], base[1], base[2], base[3], (":what", "")], Malformed::PseudoUnexpected),
        (&[base[0], base[1], base[2], base[3], ("connection", "x")], Malformed::ConnectionSpecific),
        (
            &[base[0], base[1], base[2], base[3], ("transfer-encoding", "chunked")],
            Malformed::ConnectionSpecific,
        ),
        (&[base[0], base[1], base[2], base[3], ("te", "gzip")], Malformed::ConnectionSpecific),
        (&[base[0], base[1], base[2], base[3], ("host", "b")], Malformed::HostDiffers),
        (&[base[0], base[1], base[2], base[3], ("a", "b\r\nc: d")], Malformed::FieldValue),
        (&[base[0], base[1], base[2], base[3], ("a b", "c")], Malformed::FieldName),
        (&[base[0], base[1], (":path", ""), base[3]], Malformed::Target),
        (&[base[0], base[1], (":path", "/ HTTP/1.1"), base[3]], Malformed::Target),
    ];
    for (fields, fault) in cases {
        let mut side = Side::server();
        let seen = side.feed(&headers(1, true, &block(fields)));
        assert_eq!(seen, Ok(rejected(1, StreamError::Malformed(*fault))), "{fields:?}");
        assert_eq!(side.sent(), [rst(1, Code::PROTOCOL_ERROR)]);
        assert_eq!(side.feed(&headers(3, true, &get())), Ok(vec![head_seen(3, true, GET_SEEN)]));
    }
    let mut side = Side::server();
    let upper = [&get()[..], b"\x00\x01A\x01b"].concat();
    assert_eq!(
        side.feed(&headers(1, true, &upper)),
        Ok(rejected(1, StreamError::Malformed(Malformed::FieldName)))
    );
    // The same from the dynamic table.
    let upper = [&get()[..], b"\x40\x01A\x01b"].concat();
    side.feed(&headers(3, true, &upper)).unwrap();
    let indexed = [&get()[..], b"\xbe"].concat();
    assert_eq!(
        side.feed(&headers(5, true, &indexed)),
        Ok(rejected(5, StreamError::Malformed(Malformed::FieldName)))
    );
}

#[test]
fn rfc9113_8_5_connect() {
    let mut side = Side::server();
    let connect = block(&[(":method", "CONNECT"), (":authority", "db:5432")]);
    let seen = side.feed(&[headers(1, false, &connect), data(1, false, b"hello")].concat()).unwrap();
    assert_eq!(seen[0], head_seen(1, false, ":method: CONNECT\n:authority: db:5432\n"));
    assert_eq!(seen[1], Seen::Data { id: 1, data: b"hello".to_vec(), end: false });

    let (mut head, bytes) = request_head("CONNECT", "");
    head.scheme = crate::head::Range::default();
    let mut client = Side::client();
    client.conn.open(0, &Outgoing::new(&head, &bytes, Leg::OutboundRequest), false, &mut client.out).unwrap();
    let octets = std::mem::take(&mut client.out);
    let seen = Side::server().feed(&octets).unwrap();
    assert!(
        matches!(&seen[..], [Seen::Rejected { error: StreamError::Malformed(Malformed::Authority), .. }]),
        "a has no port"
    );
}

#[test]
fn rfc9110_9_3_6_a_tunnel_has_no_length_whatever_its_head_says() {
    let tunnel = |status: &str, protocol: bool| {
        let mut fields = vec![(":method", "CONNECT"), (":authority", "a:1")];
        if protocol {
            fields.extend([(":scheme", "http"), (":path", "/"), (":protocol", "websocket")]);
        }
        let mut asked = Side::server();
        asked.feed(&headers(1, false, &block(&fields))).unwrap();
        let mut side = Side::client();
        let request = Outgoing::new(&asked.head, &asked.arena, Leg::OutboundRequest);
        side.conn.open(0, &request, false, &mut side.out).unwrap();
        let length = block(&[(":status", status), ("content-length", "2")]);
        side.feed(&[headers(1, false, &length), data(1, false, b"xyz"), data(1, true, b"")].concat()).unwrap()
    };
    for protocol in [false, true] {
        for status in ["200", "299"] {
            let seen = tunnel(status, protocol);
            assert!(!seen.iter().any(|s| matches!(s, Seen::Reset { .. })), "{status}: {seen:?}");
        }
        let seen = tunnel("403", protocol);
        let fault = Cause::Error(StreamError::ContentLength);
        assert!(
            matches!(seen.last(), Some(Seen::Reset { cause, .. }) if *cause == fault),
            "no tunnel: {seen:?}"
        );
    }
}

#[test]
fn rfc8441_4_extended_connect() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
    ];
    let octets = headers(1, false, &block(&fields));
    let text = ":method: CONNECT\n:scheme: http\n:path: /chat\n:authority: a\n:protocol: websocket\n";
    let mut side = Side::server();
    assert_eq!(side.feed(&octets), Ok(vec![head_seen(1, false, text)]));

    // And on, as it came.
    let mut client = Side::client();
    client.feed(&settings(&[(8, 1)])).unwrap();
    assert!(client.conn.peer().connect_protocol);
    client.out.clear();
    let request = Outgoing::new(&side.head, &side.arena, Leg::OutboundRequest);
    client.conn.open(0, &request, false, &mut client.out).unwrap();
    assert_eq!(Side::server().feed(&client.out), Ok(vec![head_seen(1, false, text)]));

    let mut side = Side::with(Role::Server, Config::default().with_connect_protocol(false));
    side.feed(PREFACE).unwrap();
    side.feed(&settings(&[])).unwrap();
    let refused = rejected(1, StreamError::Malformed(Malformed::PseudoUnexpected));
    assert_eq!(side.feed(&octets), Ok(refused), "not where SETTINGS did not allow it");
}

#[test]
fn heads_are_written_as_the_table_of_names_says() {
    let mut side = Side::server();
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/x?y"),
        (":authority", "a:1"),
        ("te", "trailers"),
        ("host", "a:1"),
        ("l5d-client-id", "forged"),
        ("content-type", "application/grpc"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
    ];
    side.feed(&headers(1, true, &block(&fields))).unwrap();
    let mut client = Side::client();
    let extra = extra(&[("L5d-Dst-Canonical", "a.svc:1")]);
    let request = Outgoing::new(&side.head, &side.arena, Leg::OutboundRequest).with(&extra);
    client.conn.open(0, &request, true, &mut client.out).unwrap();
    let text = ":method: GET\n:scheme: https\n:path: /x?y\n:authority: a:1\ncontent-type: application/grpc\n\
                cookie: a=b\ncookie: c=d\nte: trailers\nl5d-dst-canonical: a.svc:1\n";
    assert_eq!(Side::server().feed(&client.out), Ok(vec![head_seen(1, true, text)]));
}

#[test]
fn trailers_are_written_and_empty_ones_are_an_end() {
    let mut side = Side::server();
    side.feed(&headers(1, true, &get())).unwrap();
    side.feed(&headers(3, true, &get())).unwrap();
    side.respond(1, 200, false);
    side.respond(3, 200, false);
    side.out.clear();
    let mut head = Head::default();
    head.begin(Section::Trailers, Version::Http2);
    let grpc = extra(&[("grpc-status", "0")]);
    let trailers = Outgoing::new(&head, &[], Leg::InboundResponse);
    side.conn.send_trailers(side.key(1), &trailers.with(&grpc), &mut side.out).unwrap();
    side.conn.send_trailers(side.key(3), &trailers, &mut side.out).unwrap();
    assert_eq!(side.conn.open_streams(), 0);
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].flags), (kind::HEADERS, END | END_HEADERS));
    assert_eq!((sent[1].kind, sent[1].flags, sent[1].payload.len()), (kind::DATA, END, 0));
}
