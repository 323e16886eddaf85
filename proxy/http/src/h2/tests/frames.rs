//! RFC 9113, sections 3 to 6: the preface, the frame format, each frame type.

use super::*;

const PROTOCOL: Code = Code::PROTOCOL_ERROR;
const SIZE: Code = Code::FRAME_SIZE_ERROR;

#[test]
fn rfc9113_3_4_server_preface_is_settings() {
    let mut side = Side::new(Role::Server, limits::Http2::default());
    let sent = side.sent();
    assert_eq!(sent[0].kind, kind::SETTINGS);
    let parameter = |id: u16| {
        let pairs = sent[0].payload.chunks(6);
        let values = pairs
            .filter(|p| p[..2] == id.to_be_bytes())
            .map(|p| u32::from_be_bytes(p[2..].try_into().unwrap()));
        values.collect::<Vec<_>>()
    };
    assert_eq!(parameter(3), [1024], "MAX_CONCURRENT_STREAMS");
    assert_eq!(parameter(6), [65_536], "MAX_HEADER_LIST_SIZE");
    assert_eq!(parameter(8), [1], "ENABLE_CONNECT_PROTOCOL");
    assert_eq!(parameter(2), [], "a server does not send ENABLE_PUSH");
    assert_eq!(updates(&sent), [(0, 1024 * 1024 - 65_535)]);
}

#[test]
fn rfc9113_3_4_client_preface() {
    let side = Side::new(Role::Client, limits::Http2::default());
    assert!(side.out.starts_with(PREFACE));
    let sent = parse(&side.out);
    assert_eq!(sent[0].kind, kind::SETTINGS);
    assert_eq!(sent[0].payload[..6], [0, 2, 0, 0, 0, 0], "ENABLE_PUSH 0");
}

#[test]
fn rfc9113_3_4_other_preface() {
    for octets in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01", b"P\n"] {
        let mut side = Side::new(Role::Server, limits::Http2::default());
        side.out.clear();
        assert_eq!(side.feed(octets), Err(ConnectionError::Preface));
        assert!(side.out.is_empty(), "HTTP/2 is not spoken to who does not speak it");
    }
}

#[test]
fn rfc9113_3_4_first_frame_must_be_settings() {
    for first in [frame(kind::PING, 0, 0, &[0; 8]), frame(kind::SETTINGS, 1, 0, &[]), frame(0xbe, 0, 0, &[])]
    {
        let mut side = Side::new(Role::Server, limits::Http2::default());
        assert_eq!(side.feed(PREFACE), Ok(vec![]));
        assert_eq!(side.fails(&first), ConnectionError::NoSettings);
        let mut side = Side::new(Role::Client, limits::Http2::default());
        assert_eq!(side.fails(&first), ConnectionError::NoSettings);
    }
}

/// Octets after which the connection is over, by section: for a server with stream 1 open.
#[test]
fn rfc9113_6_frames_that_end_the_connection() {
    let long = vec![0; 16_385];
    let cases: &[(&str, Vec<u8>, Code)] = &[
        ("4.2 longer than allowed", frame(kind::DATA, 0, 1, &long), SIZE),
        ("4.2 an unknown type too", frame(0xee, 0, 1, &long), SIZE),
        ("4.3 block cut short", headers(3, false, &[0x40]), Code::COMPRESSION_ERROR),
        ("4.3 index of nothing", headers(3, false, &[0xff, 0x20]), Code::COMPRESSION_ERROR),
        ("4.3 cut short in trailers", headers(1, true, &[0x00, 0x01]), Code::COMPRESSION_ERROR),
        (
            "5.5 unknown type within a block",
            [frame(1, 0, 3, &get()), frame(0xbe, 0, 3, &[])].concat(),
            PROTOCOL,
        ),
        ("6.1 DATA on stream 0", data(0, false, b"x"), PROTOCOL),
        ("6.1 as much padding as payload", frame(kind::DATA, PADDED, 1, &[3, 0, 0]), PROTOCOL),
        ("6.1 PADDED and empty", frame(kind::DATA, PADDED, 1, &[]), SIZE),
        ("6.2 HEADERS on stream 0", headers(0, true, &get()), PROTOCOL),
        ("6.2 more padding than payload", frame(1, PADDED | END_HEADERS, 3, &[4, 0x82, 0, 0]), PROTOCOL),
        ("6.2 PADDED and empty", frame(1, PADDED | END_HEADERS, 3, &[]), SIZE),
        ("6.2 too short for priority", frame(1, 0x20 | END_HEADERS, 3, &[0; 4]), SIZE),
        ("6.3 PRIORITY on stream 0", frame(kind::PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        ("6.3 PRIORITY of 4", frame(kind::PRIORITY, 0, 1, &[0; 4]), SIZE),
        ("6.4 RST_STREAM on stream 0", reset(0, Code::CANCEL), PROTOCOL),
        ("6.4 RST_STREAM of 3", frame(kind::RST_STREAM, 0, 1, &[0; 3]), SIZE),
        ("6.5 SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, &[]), PROTOCOL),
        ("6.5 acknowledgement with payload", frame(kind::SETTINGS, 1, 0, &[0; 6]), SIZE),
        ("6.5 SETTINGS of 5", frame(kind::SETTINGS, 0, 0, &[0; 5]), SIZE),
        ("6.5.2 ENABLE_PUSH 2", settings(&[(2, 2)]), PROTOCOL),
        ("6.5.2 window above 2^31-1", settings(&[(4, 1 << 31)]), Code::FLOW_CONTROL_ERROR),
        ("6.5.2 frame size below 2^14", settings(&[(5, 16_383)]), PROTOCOL),
        ("6.5.2 frame size above 2^24-1", settings(&[(5, 1 << 24)]), PROTOCOL),
        ("8441 3 neither 0 nor 1", settings(&[(8, 2)]), PROTOCOL),
        ("8441 3 taken back", [settings(&[(8, 1)]), settings(&[(8, 0)])].concat(), PROTOCOL),
        ("6.6 PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), PROTOCOL),
        ("6.7 PING on a stream", frame(kind::PING, 0, 1, &[0; 8]), PROTOCOL),
        ("6.7 PING of 7", frame(kind::PING, 0, 0, &[0; 7]), SIZE),
        ("6.8 GOAWAY on a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("6.8 GOAWAY of 7", frame(kind::GOAWAY, 0, 0, &[0; 7]), SIZE),
        ("6.9 WINDOW_UPDATE of 5", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 5]), SIZE),
        ("6.9 connection by zero", window_update(0, 0), PROTOCOL),
        ("6.9.1 connection above 2^31-1", window_update(0, 0x7fff_ffff), Code::FLOW_CONTROL_ERROR),
        ("6.10 without HEADERS", frame(kind::CONTINUATION, END_HEADERS, 1, &get()), PROTOCOL),
        ("6.10 after the end", [headers(3, true, &get()), frame(9, END_HEADERS, 3, &[])].concat(), PROTOCOL),
        (
            "6.10 on another stream",
            [frame(1, 0, 3, &get()), frame(9, END_HEADERS, 5, &[])].concat(),
            PROTOCOL,
        ),
        ("6.10 other frame within", [frame(1, 0, 3, &get()), window_update(0, 1)].concat(), PROTOCOL),
        ("6.10 other HEADERS within", [frame(1, 0, 3, &get()), headers(3, true, &get())].concat(), PROTOCOL),
    ];
    for (case, octets, code) in cases {
        let mut side = Side::server();
        side.feed(&headers(1, false, &post())).unwrap();
        assert_eq!(side.fails(octets).code(), *code, "{case}");
    }
}

#[test]
fn rfc9113_6_frames_that_end_the_connection_of_a_client() {
    let cases: &[(&str, Vec<u8>, Code)] = &[
        ("5.1.1 HEADERS that nobody asked for", headers(3, true, &ok()), PROTOCOL),
        ("5.1.1 HEADERS on an even stream", headers(2, true, &ok()), PROTOCOL),
        ("6.5.2 server with ENABLE_PUSH 1", settings(&[(2, 1)]), PROTOCOL),
        ("6.6 PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), PROTOCOL),
        ("6.8 GOAWAY that grows", [goaway(1, Code::NO_ERROR), goaway(3, Code::NO_ERROR)].concat(), PROTOCOL),
    ];
    for (case, octets, code) in cases {
        let mut side = Side::client();
        side.open(false);
        assert_eq!(side.fails(octets).code(), *code, "{case}");
    }
}

#[test]
fn rfc9113_5_5_unknown_frames_flags_and_settings_are_ignored() {
    let mut side = Side::server();
    assert_eq!(side.feed(&frame(0xbe, 0xff, 0x7fff_ffff, b"whatever")), Ok(vec![]));
    assert_eq!(side.feed(&settings(&[(0xbeef, 7), (0, 1)])), Ok(vec![Seen::Settings]));
    side.out.clear();
    assert_eq!(side.feed(&frame(kind::PING, 0xfe, 0, b"12345678")), Ok(vec![]));
    assert_eq!(side.sent(), [Frame { kind: kind::PING, flags: 1, stream: 0, payload: b"12345678".to_vec() }]);
    assert_eq!(side.feed(&headers(1, true, &get())), Ok(vec![head_seen(1, true, GET_SEEN)]));
}

#[test]
fn rfc9113_6_1_padding_is_not_content() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let padded = frame(kind::DATA, PADDED, 1, b"\x03abc\0\0\0");
    assert_eq!(side.feed(&padded), Ok(vec![Seen::Data { id: 1, data: b"abc".to_vec(), end: false }]));
    assert_eq!(side.feed(&frame(kind::DATA, PADDED, 1, b"\x02\0\0")), Ok(vec![]));
    let last = frame(kind::DATA, PADDED | END, 1, b"\x02\0\0");
    assert_eq!(side.feed(&last), Ok(vec![Seen::Data { id: 1, data: vec![], end: true }]));
}

#[test]
fn rfc9113_6_2_padding_and_priority_of_headers() {
    let mut side = Side::server();
    let payload = [&[2, 0x80, 0, 0, 1, 255][..], &get(), &[0, 0]].concat();
    let octets = frame(kind::HEADERS, PADDED | 0x20 | END_HEADERS | END, 1, &payload);
    assert_eq!(side.feed(&octets), Ok(vec![head_seen(1, true, GET_SEEN)]));
}

#[test]
fn rfc9113_6_3_priority_means_nothing_even_on_idle_streams() {
    let mut side = Side::server();
    assert_eq!(side.feed(&frame(kind::PRIORITY, 0, 77, &[0, 0, 0, 77, 1])), Ok(vec![]));
    assert_eq!(side.feed(&headers(1, true, &get())), Ok(vec![head_seen(1, true, GET_SEEN)]));
}

#[test]
fn rfc9113_6_5_3_settings_are_acknowledged() {
    let mut side = Side::server();
    side.feed(&settings(&[(5, 1 << 20), (3, 7), (6, 99), (8, 1)])).unwrap();
    assert_eq!(side.sent(), [Frame { kind: kind::SETTINGS, flags: 1, stream: 0, payload: vec![] }]);
    let peer = side.conn.peer();
    assert_eq!(
        (peer.max_frame_size, peer.max_concurrent_streams, peer.max_header_list_size),
        (1 << 20, 7, 99)
    );
    assert!(peer.connect_protocol);
}

#[test]
fn rfc9113_6_5_2_last_of_equal_parameters_counts() {
    let mut side = Side::server();
    side.feed(&settings(&[(4, 0x7fff_ffff), (4, 0), (4, 10)])).unwrap();
    assert_eq!(side.conn.peer().initial_window_size, 10);
}

#[test]
fn rfc9113_6_7_pings() {
    let mut side = Side::server();
    side.conn.send_ping(*b"deadbeef", &mut side.out);
    assert_eq!(side.sent()[0].payload, b"deadbeef");
    assert_eq!(
        side.feed(&frame(kind::PING, 1, 0, b"deadbeef")),
        Ok(vec![Seen::Pong { payload: *b"deadbeef" }])
    );
}

#[test]
fn rfc9113_6_10_continuation() {
    let block = get();
    for cut in 0..=block.len() {
        for cut2 in cut..=block.len() {
            let mut side = Side::server();
            let octets = [
                frame(kind::HEADERS, END, 1, &block[..cut]),
                frame(kind::CONTINUATION, 0, 1, &block[cut..cut2]),
                frame(kind::CONTINUATION, END_HEADERS, 1, &block[cut2..]),
            ];
            assert_eq!(side.feed(&octets.concat()), Ok(vec![head_seen(1, true, GET_SEEN)]));
        }
    }
}

#[test]
fn rfc9113_4_3_long_heads_are_sent_in_continuations() {
    let mut side = Side::client();
    let value = "v".repeat(20_000);
    let extra = extra(&[("x-long", &value), ("x-more", &value)]);
    let (head, bytes) = request_head("GET", "/");
    let request = Outgoing::new(&head, &bytes, Leg::OutboundRequest).with(&extra);
    side.conn.open(0, &request, true, &mut side.out).unwrap();
    let octets = std::mem::take(&mut side.out);
    let kinds: Vec<_> = parse(&octets).iter().map(|f| (f.kind, f.flags)).collect();
    assert_eq!(kinds, [(kind::HEADERS, END), (kind::CONTINUATION, 0), (kind::CONTINUATION, END_HEADERS)]);
    let mut server = Side::server();
    match &server.feed(&octets).unwrap()[..] {
        [Seen::Head { fields, end: true, .. }] => assert_eq!(fields.len(), GET_SEEN.len() + 2 * (20_000 + 9)),
        other => panic!("{other:?}"),
    }
}
