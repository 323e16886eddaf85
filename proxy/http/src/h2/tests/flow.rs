//! RFC 9113, sections 5.2 and 6.9: windows, both ways.

use super::*;

#[test]
fn rfc9113_6_9_content_waits_for_the_stream_window() {
    let mut side = Side::client();
    side.open(false);
    side.feed(&[window_update(0, 1 << 20), settings(&[(5, 1 << 14)])].concat()).unwrap();
    side.out.clear();
    let body = vec![7; 100_000];
    assert_eq!(side.send_data(1, &body, true), 65_535);
    let sizes: Vec<_> = side.sent().iter().map(|f| (f.payload.len(), f.flags)).collect();
    assert_eq!(sizes, [(16_384, 0), (16_384, 0), (16_384, 0), (16_383, 0)]);
    assert_eq!(side.send_data(1, &body[65_535..], true), 0);
    assert_eq!(side.feed(&window_update(1, 10)), Ok(vec![Seen::Writable { id: 1 }]));
    assert_eq!(side.send_data(1, &body[65_535..], true), 10);
    assert_eq!(side.feed(&window_update(1, 50_000)), Ok(vec![Seen::Writable { id: 1 }]));
    assert_eq!(side.send_data(1, &body[65_545..], true), 100_000 - 65_545);
    assert_eq!(side.sent().last().map(|f| f.flags), Some(END));
}

#[test]
fn rfc9113_6_9_content_waits_for_the_connection_window_in_turn() {
    let mut side = Side::client();
    for _ in 0..3 {
        side.open(false);
    }
    assert_eq!(side.send_data(1, &[0; 60_000], false), 60_000);
    assert_eq!(side.send_data(3, &[0; 60_000], false), 5535);
    assert_eq!(side.send_data(5, &[0; 60_000], false), 0);
    assert_eq!(side.conn.send_capacity(side.key(5)), 0);
    assert_eq!(
        side.feed(&window_update(0, 100)),
        Ok(vec![Seen::Writable { id: 3 }, Seen::Writable { id: 5 }])
    );
    assert_eq!(side.send_data(3, &[0; 60], false), 60);
    assert_eq!(side.send_data(5, &[0; 60], false), 40);
    assert_eq!(side.feed(&window_update(0, 100)), Ok(vec![Seen::Writable { id: 5 }]));
}

#[test]
fn rfc9113_6_9_the_end_alone_needs_no_window() {
    let mut side = Side::client();
    side.feed(&settings(&[(4, 0)])).unwrap();
    side.open(false);
    side.out.clear();
    assert_eq!(side.send_data(1, b"x", false), 0);
    assert_eq!(side.sent(), []);
    assert_eq!(side.send_data(1, b"", true), 0);
    assert_eq!(side.sent(), [Frame { kind: kind::DATA, flags: END, stream: 1, payload: vec![] }]);
}

#[test]
fn rfc9113_6_9_2_initial_window_changes_apply_to_open_streams() {
    let mut side = Side::client();
    side.open(false);
    side.feed(&window_update(0, 1 << 20)).unwrap();
    assert_eq!(side.send_data(1, &[0; 60_000], false), 60_000);
    side.feed(&settings(&[(4, 1000)])).unwrap();
    // 65,535 - 60,000 - 64,535: negative.
    assert_eq!(side.send_data(1, &[0; 10], false), 0);
    assert_eq!(side.feed(&window_update(1, 59_000)), Ok(vec![]), "exactly zero");
    assert_eq!(side.send_data(1, &[0; 10], false), 0);
    assert_eq!(side.feed(&window_update(1, 1)), Ok(vec![Seen::Writable { id: 1 }]));
    assert_eq!(side.send_data(1, &[0; 10], false), 1);
    let seen = side.feed(&settings(&[(4, 1005)])).unwrap();
    assert_eq!(seen, [Seen::Settings, Seen::Writable { id: 1 }]);
    assert_eq!(side.send_data(1, &[0; 10], false), 5);
    side.open(false);
    assert_eq!(side.send_data(3, &[0; 2000], false), 1005);
}

#[test]
fn rfc9113_6_9_1_stream_window_above_the_maximum() {
    let mut side = Side::client();
    side.open(false);
    side.out.clear();
    let seen = side.feed(&window_update(1, 0x7fff_ffff)).unwrap();
    let (code, cause) = (Code::FLOW_CONTROL_ERROR, Cause::Error(StreamError::FlowControl));
    assert_eq!(seen, [Seen::Reset { id: 1, code, cause }]);
    assert_eq!(side.sent(), [rst(1, code)]);
    let mut side = Side::client();
    side.open(false);
    side.feed(&window_update(1, 0x7fff_0000)).unwrap();
    assert_eq!(
        side.fails(&settings(&[(4, 65_536)])).code(),
        code,
        "by SETTINGS it is the connection's error"
    );
}

#[test]
fn rfc9113_6_9_zero_increment_on_a_stream() {
    let mut side = Side::client();
    side.open(false);
    let (code, cause) = (Code::PROTOCOL_ERROR, Cause::Error(StreamError::ZeroIncrement));
    assert_eq!(side.feed(&window_update(1, 0)), Ok(vec![Seen::Reset { id: 1, code, cause }]));
}

#[test]
fn rfc9113_5_2_1_credit_is_given_when_the_content_has_gone_on() {
    let mut side = Side::server();
    side.credits = false;
    side.feed(&headers(1, false, &post())).unwrap();
    for _ in 0..3 {
        side.feed(&data(1, false, &[0; 16_384])).unwrap();
    }
    assert_eq!(side.sent(), []);
    let key = side.key(1);
    side.conn.credit(key, 20_000, &mut side.out);
    assert_eq!(side.sent(), [], "less than half of the window is not worth a frame");
    side.conn.credit(key, 20_000, &mut side.out);
    assert_eq!(updates(&side.sent()), [(1, 40_000)]);
    side.conn.credit(key, 9152, &mut side.out);
    assert_eq!(side.sent(), []);
}

#[test]
fn rfc9113_6_9_1_more_than_the_stream_window() {
    let mut side = Side::server();
    side.credits = false;
    side.feed(&headers(1, false, &post())).unwrap();
    for _ in 0..3 {
        side.feed(&data(1, false, &[0; 16_384])).unwrap();
    }
    assert_eq!(side.feed(&data(1, false, &[0; 16_383])).unwrap().len(), 1);
    side.out.clear();
    let seen = side.feed(&data(1, false, b"x")).unwrap();
    let (code, cause) = (Code::FLOW_CONTROL_ERROR, Cause::Error(StreamError::FlowControl));
    assert_eq!(seen, [Seen::Reset { id: 1, code, cause }]);
}

#[test]
fn rfc9113_6_9_1_more_than_the_connection_window() {
    let limits = limits::Http2 { connection_window_bytes: 65_535, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    side.credits = false;
    for id in [1, 3] {
        side.feed(&headers(id, false, &post())).unwrap();
        for _ in 0..2 {
            side.feed(&data(id, false, &[0; 16_000])).unwrap();
        }
    }
    assert_eq!(side.fails(&data(3, false, &[0; 1536])).code(), Code::FLOW_CONTROL_ERROR);
}

/// Whatever becomes of streams with content that nobody claims, the connection's window comes back.
#[test]
fn rfc9113_6_9_the_connection_gets_back_what_streams_leave() {
    let limits = limits::Http2 { connection_window_bytes: 65_535, stream_errors: 1000, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    side.credits = false;
    let bodies = [
        // Reset by the peer; by us in the middle of a frame; by an error; ended by both; padding; for closed streams.
        |id| [headers(id, false, &post()), data(id, false, &[0; 9000]), reset(id, Code::CANCEL)].concat(),
        |id| [headers(id, false, &post()), data(id, false, &[0; 9000])].concat(),
        |id| [headers(id, false, &post()), data(id, true, &[0; 9000]), data(id, false, &[0; 5000])].concat(),
        |id| [headers(id, false, &post()), data(id, true, &[0; 9000])].concat(),
        |id| {
            [headers(id, false, &post()), frame(kind::DATA, PADDED, id, &[255; 256]), reset(id, Code::CANCEL)]
                .concat()
        },
        |id| [headers(id, true, &get()), data(id, false, &[0; 9000])].concat(),
    ];
    let mut id = 1;
    let mut window = 65_535i64;
    for round in 0..100 {
        let octets = bodies[round % bodies.len()](id);
        let sent: usize =
            parse(&octets).iter().filter(|f| f.kind == kind::DATA).map(|f| f.payload.len()).sum();
        window -= sent as i64;
        side.feed(&octets).unwrap_or_else(|e| panic!("round {round}: {e}"));
        let open = side.conn.streams().next();
        if let Some((key, _)) = open {
            if round % 2 == 0 {
                side.conn.reset(key, Code::CANCEL, &mut side.out);
            } else {
                side.respond(id, 200, true);
                side.conn.reset(key, Code::NO_ERROR, &mut side.out);
            }
        }
        let back: u32 = updates(&side.sent()).iter().filter(|u| u.0 == 0).map(|u| u.1).sum();
        window += i64::from(back);
        assert!(window > 65_535 / 2 - 20_000, "round {round}: {window}");
        id += 2;
        side.conn.flushed();
    }
    assert_eq!(side.conn.open_streams(), 0);
}

#[test]
fn rfc9113_6_5_3_a_smaller_window_of_ours_counts_from_its_acknowledgement() {
    let limits = limits::Http2 { stream_window_bytes: 1000, ..Default::default() };
    let mut side = Side::new(Role::Server, limits);
    side.credits = false;
    side.feed(PREFACE).unwrap();
    side.feed(&settings(&[])).unwrap();
    side.feed(&headers(1, false, &post())).unwrap();
    side.feed(&data(1, false, &[0; 900])).unwrap();
    assert_eq!(side.feed(&data(1, false, &[0; 2000])).unwrap().len(), 1, "the peer may not know yet");
    side.feed(&frame(kind::SETTINGS, 1, 0, &[])).unwrap();
    let seen = side.feed(&data(1, false, b"x")).unwrap();
    assert!(matches!(seen[..], [Seen::Reset { cause: Cause::Error(StreamError::FlowControl), .. }]));
    side.feed(&headers(3, false, &post())).unwrap();
    side.feed(&data(3, false, &[0; 1000])).unwrap();
    assert!(matches!(side.feed(&data(3, false, b"x")).unwrap()[..], [Seen::Reset { .. }]));
}

/// Whoever ends a stream with content left over does not wait for its window any more.
#[test]
fn a_stream_that_was_ended_is_neither_blocked_nor_writable() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.respond(1, 200, false);
    assert_eq!(side.send_data(1, &[0; 70_000], false), 65_535);
    assert!(side.longest_blocked().is_some());
    let mut head = Head::default();
    head.begin(Section::Trailers, Version::Http2);
    let trailers = Outgoing::new(&head, &[], Leg::InboundResponse);
    side.conn.send_trailers(side.key(1), &trailers, &mut side.out).unwrap();
    assert!(side.longest_blocked().is_none());
    let updates = [window_update(0, 42), window_update(1, 42)].concat();
    assert_eq!(side.feed(&updates), Ok(vec![]));
}

#[test]
fn blocked_streams_are_seen_with_their_time() {
    let mut side = Side::client();
    side.feed(&settings(&[(4, 10)])).unwrap();
    side.open(false);
    side.open(false);
    assert_eq!(side.longest_blocked(), None);
    let start = side.now;
    side.send_data(1, &[0; 20], false);
    side.wait(1000);
    side.send_data(3, &[0; 20], false);
    assert_eq!(side.longest_blocked(), Some((side.key(1), start)));
    side.send_data(1, &[0; 10], false);
    assert_eq!(side.longest_blocked(), Some((side.key(1), start)), "trying is no progress");
    side.feed(&window_update(1, 5)).unwrap();
    assert_eq!(side.longest_blocked(), Some((side.key(3), side.now)));
    side.wait(1000);
    side.send_data(1, &[0; 10], false);
    assert_eq!(side.longest_blocked().map(|b| b.0.id()), Some(3));
}

#[test]
fn small_pieces_of_content_share_a_frame_while_nothing_comes_between() {
    let mut side = Side::client();
    side.open(false);
    side.open(false);
    side.out.clear();
    let frames = |side: &mut Side| {
        let sent = side.sent();
        sent.iter().map(|f| (f.stream, f.payload.len(), f.flags)).collect::<Vec<_>>()
    };
    assert_eq!(side.send_data(1, b"abc", false), 3);
    assert_eq!(side.send_data(1, b"de", false), 2);
    assert_eq!(side.send_data(3, b"x", false), 1);
    assert_eq!(side.send_data(1, b"f", false), 1);
    assert_eq!(frames(&mut side), [(1, 5, 0), (3, 1, 0), (1, 1, 0)]);
    // What was taken away is not added to.
    assert_eq!(side.send_data(1, b"g", false), 1);
    assert_eq!(frames(&mut side), [(1, 1, 0)]);
    // Up to the size of a frame; the end goes with the last octet, or alone.
    assert_eq!(side.send_data(1, &[0; 16_000], false), 16_000);
    assert_eq!(side.send_data(1, &[0; 1000], false), 1000);
    assert_eq!(side.send_data(1, b"", true), 0);
    assert_eq!(frames(&mut side), [(1, 16_384, 0), (1, 616, END)]);
    // Anything that is written between ends it, even if the output is then as long as it was.
    assert_eq!(side.send_data(3, &[0; 8], false), 8);
    side.out.clear();
    side.conn.send_ping([0; 8], &mut side.out);
    assert_eq!(side.send_data(3, b"x", false), 1);
    let kinds: Vec<_> = side.sent().iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [kind::PING, kind::DATA]);
}

#[test]
fn rfc9113_6_9_1_padding_alone_is_credited_too() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let padding = frame(kind::DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat());
    for _ in 0..900 {
        side.feed(&padding).unwrap();
    }
    assert_eq!(updates(&side.sent()).iter().filter(|u| u.0 == 1).map(|u| u.1).sum::<u32>() / 32_768, 7);
}

#[test]
fn rfc9113_6_9_the_end_needs_no_window_of_ours() {
    let limits = limits::Http2 { stream_window_bytes: 1000, ..Default::default() };
    let mut side = Side::new(Role::Server, limits);
    side.credits = false;
    side.feed(
        &[&PREFACE[..], &settings(&[]), &headers(1, false, &post()), &data(1, false, &[0; 5000])].concat(),
    )
    .unwrap();
    side.feed(&frame(kind::SETTINGS, 1, 0, &[])).unwrap();
    assert_eq!(side.feed(&data(1, true, b"")).unwrap(), [Seen::Data { id: 1, data: vec![], end: true }]);
}
