//! HTTP/2: floods, bombs, windows that stay shut, heads that would be something else in HTTP/1.

use super::{DOORS, Door, MIB, Scene, Stream};
use bytes::{BufMut, BytesMut};
use std::{collections::HashSet, time::Duration};
use tokio::io::AsyncWriteExt;
use weft_tests::{
    client::{
        frames::{self, Frame, code, flag, kind, opening, put, request},
        mesh::Session,
    },
    wait::soon,
};

/// Sends `flood` until the peer says GOAWAY or closes, or it has been sent so often; the error code of the GOAWAY.
async fn flooded(stream: Box<dyn Stream>, flood: &[u8], times: usize) -> Option<u32> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let flood = flood.to_vec();
    let writing = tokio::spawn(async move {
        for _ in 0..times {
            if writer.write_all(&flood).await.is_err() {
                return;
            }
        }
        // Open until the answer is there.
        std::future::pending::<()>().await;
    });
    let ended = soon("the end of a flooded connection", goaway(&mut reader)).await;
    writing.abort();
    ended
}

/// Reads until GOAWAY with an error, or the end.
async fn goaway(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<u32> {
    while let Some(frame) = frames::read(reader).await {
        if let Some(error) = frame.goaway().filter(|error| *error != code::NO_ERROR) {
            return Some(error);
        }
    }
    None
}

/// A whole request on a stream.
fn get(out: &mut BytesMut, stream: u32, path: &str) {
    put(out, kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, &request("GET", "h", path, &[]));
}

async fn connection(scene: &Scene, door: Door, settings: &[(u16, u32)]) -> Box<dyn Stream> {
    let mut stream = scene.attack(door, Session::Http2).await;
    stream.write_all(&opening(settings)).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_with_enhance_your_calm() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    let one = |kind, flags, stream, payload: &[u8]| {
        let mut out = BytesMut::new();
        put(&mut out, kind, flags, stream, payload);
        out
    };
    let floods: [(&str, BytesMut); 7] = [
        ("PING", one(kind::PING, 0, 0, &[0; 8])),
        ("SETTINGS", one(kind::SETTINGS, 0, 0, &[])),
        ("PRIORITY", one(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 0])),
        ("WINDOW_UPDATE", one(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown type", one(0x42, 0, 0, b"what is this")),
        ("empty DATA", one(kind::DATA, 0, 1, &[])),
        ("CONTINUATION", one(kind::CONTINUATION, 0, 1, &[])),
    ];
    for door in DOORS {
        for (what, flood) in &floods {
            let before = scene.errors_now(door).await;
            let mut stream = connection(&scene, door, &[]).await;
            let mut first = BytesMut::new();
            match *what {
                // A request whose content goes on for ever, or whose head does.
                "empty DATA" => {
                    put(&mut first, kind::HEADERS, flag::END_HEADERS, 1, &request("POST", "h", "/echo", &[]));
                }
                "CONTINUATION" => put(&mut first, kind::HEADERS, 0, 1, &request("GET", "h", "/", &[])),
                _ => {}
            }
            stream.write_all(&first).await.unwrap();
            let ended = flooded(stream, &flood.repeat(500), 200).await;
            // Where the kernel has dropped the answer with what was unread, the connection's end is all there is.
            assert!(matches!(ended, Some(code::ENHANCE_YOUR_CALM) | None), "{door:?} {what}: {ended:?}");
            scene.broken(door, before).await;
        }
        let grown = scene.grown(door);
        assert!(grown < 16 * MIB, "{door:?}: {} MiB more", grown / MIB);
    }
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_the_connection_before_it_costs_the_application_anything() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let before = scene.errors_now(door).await;
        let stream = connection(&scene, door, &[]).await;
        let mut flood = BytesMut::new();
        for n in 0..20_000_u32 {
            get(&mut flood, 2 * n + 1, "/slow/10000");
            put(&mut flood, kind::RST_STREAM, 0, 2 * n + 1, &code::CANCEL.to_be_bytes());
        }
        let ended = flooded(stream, &flood, 1).await;
        assert!(matches!(ended, Some(code::ENHANCE_YOUR_CALM) | None), "{door:?}: {ended:?}");
        scene.broken(door, before).await;
    }
    let reached = scene.app.seen().iter().filter(|seen| seen.uri.path() == "/slow/10000").count();
    // 1,000 of a client, 4,000 of another proxy.
    assert!(reached <= 1100 + 4100, "{reached} of 40,000 reached the application");
    good.served().await;
    scene.all_is_gone().await;
}

/// RFC 7541 7: a long field put into the table once, and referred to by a byte each time.
#[tokio::test(flavor = "multi_thread")]
async fn rfc7541_7_a_bomb_is_answered_with_431() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let mut stream = connection(&scene, door, &[]).await;
        let mut block = request("GET", "h", "/bomb", &[]);
        // Literal with incremental indexing (RFC 7541 6.2.1): a name of one byte, a value of 3,900.
        block.put_slice(&[0x40, 1, b'x', 127]);
        block.put_slice(&[0xbd, 0x1d]);
        block.put_slice(&[b'v'; 3900]);
        block.put_slice(&[0x80 | 62; 12_000]);
        let mut out = BytesMut::new();
        put(&mut out, kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block[..]);
        stream.write_all(&out).await.unwrap();
        let answer = soon("an answer", response(&mut stream, 1)).await;
        assert!(answer.is_refused("431"), "{door:?}: {answer:?}");
        // The connection is as good as before, and so is its table.
        let mut out = BytesMut::new();
        get(&mut out, 3, "/name");
        stream.write_all(&out).await.unwrap();
        let answer = soon("an answer", response(&mut stream, 3)).await;
        assert_eq!(answer.content, b"server", "{door:?}");
        let grown = scene.grown(door);
        assert!(grown < 16 * MIB, "{door:?}: {} MiB more", grown / MIB);
    }
    assert!(scene.app.seen().iter().all(|seen| seen.uri.path() != "/bomb"));
    good.served().await;
}

/// How a stream was answered.
#[derive(Debug, Default)]
struct Answer {
    /// Field blocks, not decoded: what is looked for in them is never indexed.
    blocks: Vec<u8>,
    content: Vec<u8>,
    reset: Option<u32>,
}

impl Answer {
    /// Whether it was reset, or answered by this status.
    fn is_refused(&self, status: &str) -> bool {
        self.reset.is_some() || self.blocks.windows(3).any(|window| window == status.as_bytes())
    }
}

/// Reads until a stream has ended.
async fn response(stream: &mut (impl tokio::io::AsyncRead + Unpin), id: u32) -> Answer {
    let mut answer = Answer::default();
    while let Some(Frame { kind, flags, stream, payload }) = frames::read(stream).await {
        if stream != id {
            continue;
        }
        match kind {
            kind::HEADERS => answer.blocks.extend_from_slice(&payload),
            kind::DATA => answer.content.extend_from_slice(&payload),
            kind::RST_STREAM => {
                answer.reset = Some(u32::from_be_bytes(payload.try_into().unwrap()));
                return answer;
            }
            _ => {}
        }
        if flags & flag::END_STREAM != 0 {
            return answer;
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_would_be_something_else_in_http1_are_refused() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    type Fields = &'static [(&'static str, &'static str)];
    let cases: &[(&str, &str, Fields)] = &[
        ("a value with a line end", "/evil", &[("x", "a\r\ntransfer-encoding: chunked")]),
        ("a value with a bare LF", "/evil", &[("x", "a\nb: c")]),
        ("a value with NUL", "/evil", &[("x", "a\0b")]),
        ("a name with a line end", "/evil", &[("x\r\ny", "a")]),
        ("a name with a colon", "/evil", &[("x:y", "a")]),
        ("a name with a space", "/evil", &[("x y", "a")]),
        ("an upper-case name", "/evil", &[("X", "a")]),
        ("transfer-encoding", "/evil", &[("transfer-encoding", "chunked")]),
        ("connection", "/evil", &[("connection", "close")]),
        ("two lengths", "/evil", &[("content-length", "1"), ("content-length", "2")]),
        ("a length without content", "/evil", &[("content-length", "5")]),
        ("a path with a line end", "/evil HTTP/1.1\r\nx: y", &[]),
        ("a path with a space", "/evil x", &[]),
        ("an empty path", "", &[]),
        ("another host", "/evil", &[("host", "other")]),
    ];
    for door in DOORS {
        for (what, path, fields) in cases {
            let mut stream = connection(&scene, door, &[]).await;
            let mut out = BytesMut::new();
            let block = request("GET", "h", path, fields);
            put(&mut out, kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, &block);
            get(&mut out, 3, "/name");
            stream.write_all(&out).await.unwrap();
            let answer = soon("an answer", response(&mut stream, 1)).await;
            assert!(answer.is_refused("400"), "{door:?} {what}: {answer:?}");
        }
    }
    let evil = scene.app.seen().into_iter().filter(|seen| seen.uri.path() != "/name");
    assert_eq!(evil.count(), 0);
    good.served().await;
}

/// RFC 9113 6.5.2.
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A parameter of a SETTINGS frame.
fn setting(frame: &Frame, wanted: u16) -> Option<u32> {
    assert_eq!(frame.kind, kind::SETTINGS);
    let mut parameters = frame.payload.chunks_exact(6);
    parameters.find_map(|parameter| {
        let (id, value) = parameter.split_at(2);
        (id == wanted.to_be_bytes()).then(|| u32::from_be_bytes(value.try_into().unwrap()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_there_may_be_are_refused() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let mut stream = connection(&scene, door, &[]).await;
        let settings = soon("SETTINGS", frames::read(&mut stream)).await.unwrap();
        let limit = setting(&settings, MAX_CONCURRENT_STREAMS).unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut streams = 0..;
        // A PING behind them says when all of them have been seen.
        let mut held = |out: &mut BytesMut, count: u32| {
            for n in streams.by_ref().take(count as usize) {
                put(out, kind::HEADERS, flag::END_HEADERS, 2 * n + 1, &request("POST", "h", "/held", &[]));
            }
            put(out, kind::PING, 0, 0, &[0; 8]);
        };
        let mut out = BytesMut::new();
        put(&mut out, kind::SETTINGS, flag::ACK, 0, &[]);
        held(&mut out, limit + 50);
        let mut writing = tokio::spawn(async move {
            let _ = writer.write_all(&out).await;
            writer
        });
        let (mut refused, mut answered) = (0, HashSet::new());
        while refused < 50 {
            let frame = soon("a refused stream", frames::read(&mut reader)).await.unwrap();
            match frame.kind {
                kind::RST_STREAM if frame.payload == code::REFUSED_STREAM.to_be_bytes() => {
                    assert!(frame.stream > 2 * limit, "{door:?} {frame:?}");
                    refused += 1;
                }
                // On a slow machine some are not placed in time, which makes room for as many.
                kind::HEADERS => drop(answered.insert(frame.stream)),
                kind::RST_STREAM => assert!(answered.contains(&frame.stream), "{door:?} {frame:?}"),
                kind::PING => {
                    let mut writer = writing.await.unwrap();
                    let mut more = BytesMut::new();
                    held(&mut more, 50);
                    writing = tokio::spawn(async move {
                        let _ = writer.write_all(&more).await;
                        writer
                    });
                }
                _ => {}
            }
        }
        drop(writing.await.unwrap());
    }
    good.served().await;
    scene.all_is_gone().await;
}

/// Clients that ask for much and open no window: what they do not take is not fetched either.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_stay_shut_hold_no_more_than_their_share() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let mut held = Vec::new();
        for _ in 0..20 {
            // SETTINGS_INITIAL_WINDOW_SIZE 0.
            let mut stream = connection(&scene, door, &[(4, 0)]).await;
            let mut out = BytesMut::new();
            for n in 0..50_u32 {
                get(&mut out, 2 * n + 1, "/bytes/1000000");
            }
            stream.write_all(&out).await.unwrap();
            held.push(stream);
        }
        scene.proxy(door).wait_for_metrics("weft_worker_held", |page| page.held("exchanges") >= 1000.0).await;
        // A gigabyte was asked for. A stream's window of it may have been fetched, not more.
        let page = scene.proxy(door).metrics().await;
        let buffered = page.held("buffered_bytes");
        assert!(buffered <= 1000.0 * 80.0 * 1024.0, "{door:?}: {buffered} bytes");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let grown = scene.grown(door);
        assert!(grown < 128 * MIB, "{door:?}: {} MiB more", grown / MIB);
        drop(held);
        scene.proxy(door).wait_for_metrics("weft_worker_held", |page| page.held("exchanges") < 10.0).await;
    }
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_over_the_limit_end_the_connection() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    const FRAME_SIZE_ERROR: u32 = 6;
    const PROTOCOL_ERROR: u32 = 1;
    for door in DOORS {
        for (what, frame, error) in [
            ("a payload of 16 MiB", b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".as_slice(), FRAME_SIZE_ERROR),
            ("DATA on stream 0", b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x", PROTOCOL_ERROR),
            ("HEADERS on an even stream", b"\x00\x00\x01\x01\x05\x00\x00\x00\x02\x82", PROTOCOL_ERROR),
            ("CONTINUATION out of nowhere", b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82", PROTOCOL_ERROR),
            (
                "SETTINGS of a wrong length",
                b"\x00\x00\x05\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
                FRAME_SIZE_ERROR,
            ),
            ("PING of a wrong length", b"\x00\x00\x01\x06\x00\x00\x00\x00\x00\x00", FRAME_SIZE_ERROR),
        ] {
            let before = scene.errors_now(door).await;
            let mut stream = connection(&scene, door, &[]).await;
            stream.write_all(frame).await.unwrap();
            let ended = soon("the end", goaway(&mut stream)).await;
            assert_eq!(ended, Some(error), "{door:?} {what}");
            scene.broken(door, before).await;
        }
    }
    good.served().await;
}
