//! RFC 9113, section 5: stream states and identifiers.

use super::*;

#[test]
fn rfc9113_5_1_idle_streams_take_only_headers_and_priority() {
    for octets in [data(1, false, b"x"), reset(1, Code::CANCEL), window_update(1, 1), window_update(2, 1)] {
        assert_eq!(Side::server().fails(&octets).code(), Code::PROTOCOL_ERROR);
        assert_eq!(Side::client().fails(&octets).code(), Code::PROTOCOL_ERROR);
    }
}

#[test]
fn rfc9113_5_1_half_closed_by_the_peer() {
    for (octets, seen) in [
        (data(1, false, b"x"), Some(StreamError::AfterEnd)),
        (data(1, true, b""), Some(StreamError::AfterEnd)),
        (headers(1, true, &get()), Some(StreamError::AfterEnd)),
        (window_update(1, 1), None),
        (frame(kind::PRIORITY, 0, 1, &[0; 5]), None),
    ] {
        let mut side = Side::server();
        side.feed(&headers(1, true, &get())).unwrap();
        let expected = seen.map(|e| {
            let code = Code::STREAM_CLOSED;
            assert_eq!(e.code(), code);
            Seen::Reset { id: 1, code, cause: Cause::Error(e) }
        });
        assert_eq!(side.feed(&octets), Ok(expected.into_iter().collect()));
        assert_eq!(side.sent().len(), usize::from(seen.is_some()));
        assert_eq!(side.conn.open_streams(), u32::from(seen.is_none()));
    }
}

#[test]
fn rfc9113_5_1_half_closed_by_this_side_still_receives() {
    let mut side = Side::client();
    side.open(true);
    assert_eq!(side.feed(&headers(1, false, &ok())), Ok(vec![head_seen(1, false, ":status: 200\n")]));
    let seen = side.feed(&data(1, true, b"x")).unwrap();
    assert_eq!(seen, [Seen::Data { id: 1, data: b"x".to_vec(), end: true }]);
    assert_eq!(side.conn.open_streams(), 0);
}

#[test]
fn rfc9113_5_1_closed_by_both_ends() {
    let closed = || {
        let mut side = Side::server();
        side.feed(&headers(1, true, &get())).unwrap();
        side.respond(1, 200, true);
        side.out.clear();
        assert_eq!(side.conn.open_streams(), 0);
        side
    };
    for late in [window_update(1, 1), reset(1, Code::CANCEL), frame(kind::PRIORITY, 0, 1, &[0; 5])] {
        let mut side = closed();
        assert_eq!(side.feed(&late), Ok(vec![]));
        assert_eq!(side.sent(), []);
    }
    let mut side = closed();
    assert_eq!(side.feed(&data(1, false, b"x")), Ok(vec![]));
    assert_eq!(side.sent(), [rst(1, Code::STREAM_CLOSED)]);
    assert_eq!(closed().fails(&headers(1, true, &get())), ConnectionError::StreamClosed);
}

#[test]
fn rfc9113_5_1_frames_sent_before_our_reset_arrived_are_ignored() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.conn.reset(side.key(1), Code::CANCEL, &mut side.out);
    assert_eq!(side.sent(), [rst(1, Code::CANCEL)]);
    let late = [
        data(1, false, b"abc"),
        headers(1, true, &block(&[("x", "y")])),
        window_update(1, 9),
        reset(1, Code::CANCEL),
    ];
    assert_eq!(side.feed(&late.concat()), Ok(vec![]));
    assert_eq!(side.sent(), []);
    // The field block was decoded, so the context is intact.
    assert_eq!(side.feed(&headers(3, true, &get())), Ok(vec![head_seen(3, true, GET_SEEN)]));
}

#[test]
fn rfc9113_5_1_content_of_a_reset_stream_is_bounded_by_its_window() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.conn.reset(side.key(1), Code::CANCEL, &mut side.out);
    let chunk = data(1, false, &[0; 16_383]);
    for _ in 0..4 {
        assert_eq!(side.feed(&chunk), Ok(vec![]));
    }
    side.feed(&data(1, false, &[0; 3])).unwrap();
    assert_eq!(side.fails(&data(1, false, b"x")).code(), Code::FLOW_CONTROL_ERROR);
}

#[test]
fn rfc9113_5_1_reset_in_the_middle_of_a_frame() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let octets = data(1, true, &[7; 1000]);
    assert_eq!(side.feed(&octets[..500]).unwrap().len(), 1);
    side.conn.reset(side.key(1), Code::CANCEL, &mut side.out);
    assert_eq!(side.feed(&octets[500..]), Ok(vec![]));
    assert_eq!(side.feed(&headers(3, true, &get())), Ok(vec![head_seen(3, true, GET_SEEN)]));
}

#[test]
fn limits_http2_remembered_resets() {
    let limits = limits::Http2 { remembered_resets: 2, ..Default::default() };
    let mut side = Side::ready(Role::Client, limits);
    for _ in 0..3 {
        let key = side.open(false);
        side.conn.reset(key, Code::CANCEL, &mut side.out);
    }
    side.out.clear();
    assert_eq!(side.feed(&headers(3, false, &ok())), Ok(vec![]));
    assert_eq!(side.sent(), [], "remembered");
    assert_eq!(side.feed(&headers(1, false, &ok())), Ok(vec![]));
    assert_eq!(side.sent(), [rst(1, Code::STREAM_CLOSED)], "forgotten");
}

#[test]
fn rfc9113_5_1_1_identifiers() {
    for octets in [headers(2, true, &get()), [headers(5, true, &get()), headers(4, true, &get())].concat()] {
        assert_eq!(Side::server().fails(&octets).code(), Code::PROTOCOL_ERROR);
    }
    // Skipped identifiers are closed for good.
    let mut side = Side::server();
    side.feed(&headers(5, true, &get())).unwrap();
    assert_eq!(side.fails(&headers(3, true, &get())), ConnectionError::StreamClosed);
    let mut side = Side::client();
    assert_eq!([side.open(true).id(), side.open(true).id(), side.open(true).id()], [1, 3, 5]);
}

#[test]
fn rfc9113_5_1_1_a_client_whose_identifiers_are_used_up_opens_no_stream() {
    let mut side = Side::client();
    side.conn.next_id = settings::MAX_WINDOW;
    assert_eq!(side.open(true).id(), 0x7fff_ffff);
    assert_eq!(side.conn.can_open(), Err(OpenError::Ending));
}

#[test]
fn rfc9113_5_1_2_concurrency() {
    let limits = limits::Http2 { max_concurrent_streams: 2, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    let open = |side: &mut Side, id| side.feed(&headers(id, true, &get())).unwrap();
    open(&mut side, 1);
    open(&mut side, 3);
    assert_eq!(open(&mut side, 5), [Seen::Rejected { id: 5, error: StreamError::Refused }]);
    assert_eq!(side.sent(), [rst(5, Code::REFUSED_STREAM)]);
    side.respond(1, 200, true);
    assert_eq!(open(&mut side, 7), [head_seen(7, true, GET_SEEN)]);
}

#[test]
fn rfc9113_5_1_2_a_client_keeps_to_what_the_peer_allows_and_to_its_own_bound() {
    let limits = limits::Http2 { outgoing_streams: 3, ..Default::default() };
    let mut side = Side::ready(Role::Client, limits);
    assert_eq!(side.conn.peer().max_concurrent_streams, u32::MAX, "the peer did not say");
    side.feed(&settings(&[(3, 1)])).unwrap();
    side.open(true);
    assert_eq!(side.conn.can_open(), Err(OpenError::Full));
    side.feed(&settings(&[(3, 50)])).unwrap();
    side.open(true);
    side.open(true);
    assert_eq!(side.conn.can_open(), Err(OpenError::Full));
    side.feed(&headers(1, true, &ok())).unwrap();
    assert_eq!(side.conn.can_open(), Ok(()));
    assert_eq!(Side::new(Role::Client, limits::Http2::default()).conn.peer().max_concurrent_streams, 100);
}

#[test]
fn rfc9113_6_4_reset_by_the_peer() {
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    let key = side.key(1);
    side.conn.set_owner(key, 42);
    assert_eq!(side.conn.owner(key), Some(42));
    let mut input = &reset(1, Code(0x77))[..];
    let event = side.conn.next(&mut input, &mut side.head, &mut side.arena, &mut side.out, side.now).unwrap();
    assert_eq!(event, Some(Event::Reset { stream: key, owner: 42, code: Code(0x77), cause: Cause::Peer }));
    assert_eq!(side.conn.owner(key), None);
    assert_eq!(side.conn.send_data(key, b"x", true, &mut side.out, side.now), Err(Closed));
    side.conn.reset(key, Code::CANCEL, &mut side.out);
    side.conn.credit(key, 0, &mut side.out);
    assert_eq!(side.sent(), [], "a stream that is gone is left alone");
}

#[test]
fn nothing_is_sent_out_of_order() {
    let mut side = Side::server();
    side.feed(&headers(1, true, &get())).unwrap();
    let key = side.key(1);
    assert_eq!(
        side.conn.send_data(key, b"x", false, &mut side.out, side.now),
        Err(Closed),
        "before the head"
    );
    side.respond(1, 103, true);
    side.respond(1, 200, false);
    let head = Head::response(Version::Http2, 200);
    let again =
        side.conn.send_head(key, &Outgoing::new(&head, &[], Leg::InboundResponse), true, &mut side.out);
    assert_eq!(again, Err(Closed), "a second final head");
    side.send_data(1, b"x", true);
    assert_eq!(side.conn.send_data(key, b"x", false, &mut side.out, side.now), Err(Closed), "after the end");
    let kinds: Vec<_> = side.sent().iter().map(|f| (f.kind, f.flags & END)).collect();
    assert_eq!(kinds, [(kind::HEADERS, 0), (kind::HEADERS, 0), (kind::DATA, END)]);
}
