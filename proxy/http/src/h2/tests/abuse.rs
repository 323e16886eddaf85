//! Each bound of `limits::Http2` that only abuse exceeds: one less is taken, one more is answered.

use super::*;

/// Feeds `make(0)`, `make(1)`, ... until the connection ends; how many were taken, and the error.
fn until_it_ends(side: &mut Side, mut make: impl FnMut(u32) -> Vec<u8>) -> (u32, ConnectionError) {
    for n in 0..100_000 {
        if let Err(error) = side.feed(&make(n)) {
            assert_eq!(error.code(), Code::ENHANCE_YOUR_CALM);
            let goaway = side.sent().pop().unwrap();
            assert_eq!(goaway.kind, kind::GOAWAY);
            return (n, error);
        }
        side.conn.flushed();
        side.out.clear();
    }
    panic!("the connection never ended");
}

fn flood(make: impl FnMut(u32) -> Vec<u8>) -> (u32, ConnectionError) {
    until_it_ends(&mut Side::server(), make)
}

fn id(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn limits_http2_resets_rapid_reset() {
    let (taken, error) = flood(|n| [headers(id(n), true, &get()), reset(id(n), Code::CANCEL)].concat());
    assert_eq!((taken, error), (1000, ConnectionError::Flood(Flood::Resets)));
}

#[test]
fn limits_http2_resets_are_forgiven_to_who_also_works() {
    let mut side = Side::server();
    for n in 0..5000 {
        let (a, b) = (id(2 * n), id(2 * n + 1));
        side.feed(&[headers(a, true, &get()), reset(a, Code::CANCEL), headers(b, true, &get())].concat())
            .unwrap();
        side.respond(b, 200, true);
        side.conn.flushed();
    }
}

#[test]
fn limits_http2_resets_come_back_with_time() {
    let mut side = Side::server();
    for n in 0..3000 {
        side.feed(&[headers(id(n), true, &get()), reset(id(n), Code::CANCEL)].concat()).unwrap();
        side.wait(11);
    }
}

/// Streams that the peer provokes us to reset cost as much as those it resets.
#[test]
fn limits_http2_stream_errors_provoked_resets() {
    let cases: [fn(u32) -> Vec<u8>; 4] = [
        |n| headers(id(n), true, &block(&[("a", "b")])),
        |n| [headers(id(n), true, &get()), window_update(id(n), 0)].concat(),
        |n| [headers(id(n), true, &get()), data(id(n), true, b"x")].concat(),
        |n| [headers(id(n), true, &get()), window_update(id(n), 0x7fff_ffff)].concat(),
    ];
    for case in cases {
        assert_eq!(flood(case), (200, ConnectionError::Flood(Flood::StreamErrors)));
    }
}

#[test]
fn limits_http2_max_concurrent_streams_flood() {
    let limits = limits::Http2 { max_concurrent_streams: 10, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    let ended = until_it_ends(&mut side, |n| headers(id(n), true, &get()));
    assert_eq!(ended, (10 + 200, ConnectionError::Flood(Flood::StreamErrors)));
}

#[test]
fn limits_http2_continuation_frames() {
    let (taken, error) = flood(|n| match n {
        0 => frame(kind::HEADERS, 0, 1, &get()),
        _ => frame(kind::CONTINUATION, 0, 1, &[]),
    });
    assert_eq!((taken, error), (17, ConnectionError::Flood(Flood::ContinuationFrames)));
}

#[test]
fn limits_http2_block_bytes() {
    let piece = [0u8; 16_384];
    let (taken, error) =
        flood(|n| frame(if n == 0 { kind::HEADERS } else { kind::CONTINUATION }, 0, 1, &piece));
    assert_eq!((taken, error), (8, ConnectionError::Flood(Flood::BlockBytes)));
}

#[test]
fn limits_http2_block_bytes_of_one_large_frame() {
    let limits = limits::Http2 { frame_bytes: 1 << 20, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    let header = Header { length: 200_000, kind: kind::HEADERS, flags: END_HEADERS, stream: 1 };
    assert_eq!(side.fails(&header.octets()), ConnectionError::Flood(Flood::BlockBytes), "before it has come");
}

#[test]
fn limits_http2_header_list_bytes_hpack_bomb() {
    let mut side = Side::server();
    let mut bomb = get();
    bomb.extend_from_slice(b"\x40\x01x\x7f\xa1\x1e");
    bomb.resize(bomb.len() + 4000, b'v');
    bomb.resize(16_000, 0xbe);
    let seen = side.feed(&headers(1, true, &bomb)).unwrap();
    let fault = Malformed::HeadTooLong;
    assert_eq!(seen, [Seen::Oversized { id: 1, end: true, fault }]);
    assert_eq!(fault.status(), 431);
    assert!(side.arena.len() <= 65_536);
    side.respond(1, 431, true);
    // The context has survived.
    let next = [&get()[..], b"\xbe"].concat();
    assert!(matches!(&side.feed(&headers(3, true, &next)).unwrap()[..], [Seen::Head { id: 3, .. }]));
}

#[test]
fn limits_head_fields_and_field_bytes() {
    let mut side = Side::server();
    let many: Vec<(&str, &str)> = (0..129).map(|_| ("a", "b")).collect();
    let octets = headers(1, false, &[get(), block(&many)].concat());
    let seen = side.feed(&octets).unwrap();
    assert_eq!(seen, [Seen::Oversized { id: 1, end: false, fault: Malformed::TooManyFields }]);
    let mut client = Side::client();
    client.open(false);
    client.out.clear();
    let octets = headers(1, false, &[ok(), block(&many)].concat());
    let (code, cause) =
        (Code::ENHANCE_YOUR_CALM, Cause::Error(StreamError::TooLarge(Malformed::TooManyFields)));
    assert_eq!(client.feed(&octets).unwrap(), [Seen::Reset { id: 1, code, cause }]);
}

#[test]
fn limits_http2_settings() {
    let (taken, error) = flood(|_| settings(&[]));
    assert_eq!((taken, error), (99, ConnectionError::Flood(Flood::Settings)), "the preface had one");
    assert_eq!(flood(|_| settings(&[(4, 1); 33])), (0, ConnectionError::Flood(Flood::SettingsEntries)));
}

#[test]
fn limits_http2_pings() {
    assert_eq!(flood(|_| frame(kind::PING, 0, 0, &[0; 8])), (1000, ConnectionError::Flood(Flood::Pings)));
    assert_eq!(flood(|_| frame(kind::PING, 1, 0, &[0; 8])), (1000, ConnectionError::Flood(Flood::Pings)));
    // A peer that measures with every message is none.
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    for _ in 0..5000 {
        side.feed(&[data(1, false, b"message"), frame(kind::PING, 0, 0, &[0; 8])].concat()).unwrap();
        side.conn.flushed();
    }
}

#[test]
fn limits_http2_window_updates() {
    let expected = (10_000, ConnectionError::Flood(Flood::WindowUpdates));
    assert_eq!(flood(|_| window_update(0, 1)), expected);
    let mut side = Side::server();
    side.feed(&headers(1, true, &get())).unwrap();
    assert_eq!(until_it_ends(&mut side, |_| window_update(1, 1)), expected);
    // Two for each message sent are fair.
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.respond(1, 200, false);
    for _ in 0..20_000 {
        side.send_data(1, b"message", false);
        side.feed(&[window_update(0, 7), window_update(1, 7)].concat()).unwrap();
    }
}

#[test]
fn limits_http2_idle_frames() {
    let expected = (1000, ConnectionError::Flood(Flood::IdleFrames));
    assert_eq!(flood(|_| frame(kind::PRIORITY, 0, 1, &[0; 5])), expected);
    assert_eq!(flood(|_| frame(0xbe, 0, 1, b"x")), expected);
    assert_eq!(flood(|_| frame(kind::SETTINGS, 1, 0, &[])), expected);
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    assert_eq!(until_it_ends(&mut side, |_| data(1, false, b"")), expected);
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    assert_eq!(until_it_ends(&mut side, |_| frame(kind::DATA, PADDED, 1, &[1, 0])), expected);
    let mut side = Side::server();
    side.feed(&[headers(1, true, &get()), reset(1, Code::CANCEL)].concat()).unwrap();
    assert_eq!(until_it_ends(&mut side, |_| reset(1, Code::CANCEL)), expected);
    let mut side = Side::server();
    side.feed(&[headers(1, true, &get()), reset(1, Code::CANCEL)].concat()).unwrap();
    assert_eq!(until_it_ends(&mut side, |_| data(1, false, b"x")), expected);
    let mut side = Side::client();
    assert_eq!(until_it_ends(&mut side, |_| goaway(0, Code::NO_ERROR)), (1001, expected.1));
    // Empty DATA for a stream that we have reset is empty too.
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.conn.reset(side.key(1), Code::CANCEL, &mut side.out);
    assert_eq!(until_it_ends(&mut side, |_| data(1, false, b"")), expected);
    let mut side = Side::server();
    side.feed(&headers(1, false, &post())).unwrap();
    side.conn.reset(side.key(1), Code::CANCEL, &mut side.out);
    let trailers = block(&[("x", "y")]);
    let (taken, _) = until_it_ends(&mut side, |_| headers(1, true, &trailers));
    assert!(taken <= 2000, "{taken}");
}

#[test]
fn limits_http2_queued_control_bytes() {
    let limits = limits::Http2 { queued_control_bytes: 50 * 17, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    side.conn.flushed();
    for _ in 0..50 {
        side.feed(&ping).unwrap();
    }
    assert_eq!(side.out.len(), 50 * 17);
    // A peer that reads as much as it asks for is served on, also when something is always left.
    for _ in 0..500 {
        side.conn.written(17);
        side.feed(&ping).unwrap();
    }
    side.conn.written(16);
    assert_eq!(side.fails(&ping), ConnectionError::Flood(Flood::QueuedControlBytes));
}

#[test]
fn limits_http2_interim_heads() {
    let mut side = Side::client();
    side.open(false);
    side.out.clear();
    let interim = headers(1, false, &block(&[(":status", "100")]));
    for _ in 0..16 {
        assert_eq!(side.feed(&interim).unwrap().len(), 1);
    }
    let (code, cause) = (Code::ENHANCE_YOUR_CALM, Cause::Error(StreamError::InterimHeads));
    assert_eq!(side.feed(&interim).unwrap(), [Seen::Reset { id: 1, code, cause }]);
}

#[test]
fn limits_http2_frame_bytes() {
    let limits = limits::Http2 { frame_bytes: 20_000, ..Default::default() };
    let mut side = Side::ready(Role::Server, limits);
    side.feed(&headers(1, false, &post())).unwrap();
    assert_eq!(side.feed(&data(1, false, &[0; 20_000])).unwrap().len(), 1);
    assert_eq!(side.fails(&data(1, false, &[0; 20_001])), ConnectionError::FrameSize);
}

/// What a peer makes us hold, whatever it sends.
#[test]
fn memory_of_a_connection_is_bounded() {
    assert!(size_of::<Connection>() <= 656);
    assert!(size_of::<super::super::streams::Stream>() <= 64);
}
