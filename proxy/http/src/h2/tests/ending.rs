//! RFC 9113, sections 6.7 and 6.8: how connections end, and the timers that see to it.

use super::*;

fn goaways(frames: &[Frame]) -> Vec<(u32, Code)> {
    let word = |b: &[u8]| u32::from_be_bytes(b.try_into().unwrap());
    let goaways = frames.iter().filter(|f| f.kind == kind::GOAWAY);
    goaways.map(|f| (word(&f.payload[..4]), Code(word(&f.payload[4..8])))).collect()
}

#[test]
fn rfc9113_6_8_graceful_end_of_a_server() {
    let mut side = Side::server();
    side.feed(&headers(1, true, &get())).unwrap();
    side.conn.shut_down(&mut side.out, side.now);
    side.conn.shut_down(&mut side.out, side.now);
    let sent = side.sent();
    assert_eq!(goaways(&sent), [(0x7fff_ffff, Code::NO_ERROR)]);
    let ping = sent.iter().find(|f| f.kind == kind::PING).unwrap().payload.clone();
    // What the peer had sent before it knew is still taken.
    assert_eq!(side.feed(&headers(3, true, &get())).unwrap().len(), 1);
    assert_eq!(side.feed(&frame(kind::PING, 1, 0, &ping)), Ok(vec![]));
    assert_eq!(goaways(&side.sent()), [(3, Code::NO_ERROR)]);
    // After that, not, whatever comes on such streams: but their blocks are decoded.
    let indexed = [&get()[..], b"\x40\x01a\x01b"].concat();
    for n in 0..2000 {
        let id = 5 + 2 * n;
        let refused = Seen::Rejected { id, error: StreamError::Refused };
        let trailers = headers(id, true, &block(&[("x", "y")]));
        let octets = [headers(id, false, &indexed), data(id, false, &[0; 500]), trailers].concat();
        assert_eq!(side.feed(&octets), Ok(vec![refused]));
    }
    assert!(side.sent().iter().all(|f| f.kind == kind::WINDOW_UPDATE && f.stream == 0));
    assert!(!side.conn.is_finished());
    side.respond(1, 200, true);
    side.respond(3, 200, true);
    assert!(side.conn.is_finished());
}

#[test]
fn limits_http2_drain_notice_ms() {
    let mut side = Side::with(Role::Server, Config::default().with_keepalive(None));
    side.feed(PREFACE).unwrap();
    side.feed(&[settings(&[]), frame(kind::SETTINGS, 1, 0, &[])].concat()).unwrap();
    assert_eq!(side.conn.next_deadline(), None);
    side.out.clear();
    side.conn.shut_down(&mut side.out, side.now);
    assert_eq!(side.conn.next_deadline(), Some(side.now + Duration::from_secs(1)));
    side.wait(999);
    side.conn.expired(&mut side.out, side.now).unwrap();
    assert_eq!(goaways(&side.sent()).len(), 1);
    side.wait(1);
    side.conn.expired(&mut side.out, side.now).unwrap();
    assert_eq!(goaways(&side.sent()), [(0, Code::NO_ERROR)]);
    assert!(side.conn.is_finished());
}

#[test]
fn rfc9113_6_8_client_told_to_go_away() {
    let mut side = Side::client();
    for owner in [10, 11, 12] {
        let key = side.open(true);
        side.conn.set_owner(key, owner);
    }
    let announced = side.feed(&goaway(0x7fff_ffff, Code::NO_ERROR)).unwrap();
    assert_eq!(announced, [Seen::GoAway { last: 0x7fff_ffff, code: Code::NO_ERROR }]);
    assert_eq!(side.conn.can_open(), Err(OpenError::Ending));
    assert_eq!(side.conn.open_streams(), 3);
    let (code, cause) = (Code::REFUSED_STREAM, Cause::GoAway);
    assert_eq!(
        side.feed(&goaway(1, Code::NO_ERROR)).unwrap(),
        [
            Seen::GoAway { last: 1, code: Code::NO_ERROR },
            Seen::Reset { id: 3, code, cause },
            Seen::Reset { id: 5, code, cause }
        ]
    );
    assert!(!side.conn.is_finished());
    assert_eq!(side.feed(&headers(1, true, &ok())).unwrap().len(), 1);
    assert!(side.conn.is_finished());
}

#[test]
fn rfc9113_6_8_goaway_with_debug_data() {
    let mut side = Side::client();
    let payload = [&[0, 0, 0, 0, 0, 0, 0, 0xb][..], b"too_many_pings"].concat();
    let seen = side.feed(&frame(kind::GOAWAY, 0, 0, &payload)).unwrap();
    assert_eq!(seen, [Seen::GoAway { last: 0, code: Code::ENHANCE_YOUR_CALM }]);
}

#[test]
fn a_client_that_shuts_down_opens_no_more_and_finishes() {
    let mut side = Side::client();
    side.open(true);
    side.out.clear();
    side.conn.shut_down(&mut side.out, side.now);
    assert_eq!(goaways(&side.sent()), [(0, Code::NO_ERROR)]);
    assert_eq!(side.conn.can_open(), Err(OpenError::Ending));
    assert!(!side.conn.is_finished());
    side.feed(&headers(1, true, &ok())).unwrap();
    assert!(side.conn.is_finished());
}

#[test]
fn rfc9113_6_5_3_settings_not_acknowledged_in_time() {
    let mut side = Side::new(Role::Client, limits::Http2::default());
    assert_eq!(side.conn.next_deadline(), Some(side.now + Duration::from_secs(10)));
    side.feed(&settings(&[])).unwrap();
    side.wait(9_999);
    assert_eq!(side.conn.expired(&mut side.out, side.now), Ok(()));
    side.out.clear();
    side.wait(1);
    assert_eq!(side.conn.expired(&mut side.out, side.now), Err(ConnectionError::SettingsTimeout));
    assert_eq!(goaways(&side.sent()), [(0, Code::SETTINGS_TIMEOUT)]);
    assert_eq!(side.conn.next_deadline(), None);
    assert!(side.conn.is_finished());
}

#[test]
fn rfc9113_6_7_keepalive() {
    let mut side = Side::client();
    let due = |s: &Side| s.conn.next_deadline().map(|at| (at.saturating_sub(s.now)).as_millis());
    assert_eq!(due(&side), Some(10_000));
    side.wait(6_000);
    side.feed(&window_update(0, 1)).unwrap();
    side.wait(4_000);
    side.conn.expired(&mut side.out, side.now).unwrap();
    assert_eq!(side.sent(), [], "the peer has shown life since");
    assert_eq!(due(&side), Some(6_000));
    side.wait(6_000);
    side.conn.expired(&mut side.out, side.now).unwrap();
    let ping = side.sent();
    assert_eq!((ping[0].kind, ping[0].flags), (kind::PING, 0));
    assert_eq!(due(&side), Some(3_000));
    side.wait(2_999);
    side.conn.expired(&mut side.out, side.now).unwrap();
    assert_eq!(side.sent(), []);
    let pong = frame(kind::PING, 1, 0, &ping[0].payload);
    assert_eq!(side.feed(&pong), Ok(vec![]), "its answer is nobody else's");
    assert_eq!(due(&side), Some(10_000));
    side.wait(10_000);
    side.conn.expired(&mut side.out, side.now).unwrap();
    side.wait(3_000);
    assert_eq!(side.conn.expired(&mut side.out, side.now), Err(ConnectionError::KeepaliveTimeout));
}

#[test]
fn keepalive_only_while_streams_are_open() {
    let keepalive = Keepalive { while_idle: false, ..Keepalive::default() };
    let mut side = Side::with(Role::Client, Config::default().with_keepalive(Some(keepalive)));
    side.feed(&[settings(&[]), frame(kind::SETTINGS, 1, 0, &[])].concat()).unwrap();
    assert_eq!(side.conn.next_deadline(), None);
    side.open(true);
    assert_eq!(side.conn.next_deadline(), Some(side.now + Duration::from_secs(10)));
}

#[test]
fn rfc9113_6_8_an_error_after_goaway_takes_in_no_more_streams() {
    let mut side = Side::server();
    side.feed(&headers(1, true, &get())).unwrap();
    side.conn.shut_down_now(Code::NO_ERROR, &mut side.out);
    side.feed(&headers(3, true, &get())).unwrap();
    side.out.clear();
    side.feed(&window_update(0, 0)).unwrap_err();
    assert_eq!(goaways(&side.sent()), [(1, Code::PROTOCOL_ERROR)]);
}

/// A frame that comes byte by byte, and a field block whose end never comes, have their time; a connection on which frames end
/// has all the time it wants.
#[test]
fn limits_http2_frame_ms() {
    let whole = headers(1, true, &get());
    let begun = frame(kind::HEADERS, 0, 1, &get());
    let continued = frame(kind::CONTINUATION, 0, 1, &[]);
    for pieces in
        [vec![&whole[..1], &whole[1..2], &whole[2..3]], vec![&begun[..], &continued[..], &continued[..5]]]
    {
        let mut side = Side::server();
        for piece in pieces {
            assert_eq!(side.feed(piece), Ok(vec![]));
            side.wait(9_999);
            assert_eq!(side.conn.expired(&mut side.out, side.now), Ok(()));
        }
        side.out.clear();
        side.wait(3);
        assert_eq!(side.conn.expired(&mut side.out, side.now), Err(ConnectionError::SlowFrame));
        assert_eq!(goaways(&side.sent()).last().map(|g| g.1), Some(Code::ENHANCE_YOUR_CALM));
    }

    // Each read ends within a frame, and each frame ends in the next.
    let mut side = Side::server();
    let update = window_update(0, 1);
    side.feed(&update[..5]).unwrap();
    for _ in 0..20 {
        side.wait(9_000);
        assert_eq!(side.conn.expired(&mut side.out, side.now), Ok(()));
        side.feed(&[&update[5..], &update[..5]].concat()).unwrap();
    }
    // Content may be slow: that is for others to judge.
    side.feed(&[&update[5..], &headers(1, false, &post()), &data(1, false, &[7; 20])[..12]].concat())
        .unwrap();
    for _ in 0..10 {
        side.wait(9_000);
        side.feed(&[7]).unwrap();
        assert_eq!(side.conn.expired(&mut side.out, side.now), Ok(()));
    }
}
