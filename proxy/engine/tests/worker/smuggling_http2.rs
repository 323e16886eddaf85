//! HTTP/2 clients that break the protocol, or bend it: each frame or sequence, what the proxy answers, and that nothing of it is asked
//! of a server. Where the connection is to go on, it does: an honest request on it is served as if nothing had been.

use weft_engine::io::{Side, SocketId};
use weft_http::h2::PREFACE;

use crate::bench::{Bench, SERVER, addr};
use crate::frames::*;

/// RFC 9113 7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 0xb;

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/evil"), (":authority", "web")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "web")];

/// What is to come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// GOAWAY with this code, and the end.
    Connection(u32),
    /// RST_STREAM of that stream with this code, and the connection goes on.
    Stream(u32, u32),
    /// Nothing, and the connection goes on.
    Nothing,
    /// A response with this status on stream 1, and the connection goes on.
    Answer(&'static str),
    /// The end, without a word of HTTP/2.
    Closed,
}
use Then::{Answer, Closed, Connection, Nothing, Stream};

fn sent(b: &mut Bench, id: SocketId) -> Vec<Frame> {
    frames(&std::mem::take(&mut b.world.socks[id.0 as usize].tx))
}

/// The status on a stream, by the static table or as a literal of ours: enough for what the proxy says itself.
fn status_on(frames: &[Frame], stream: u32) -> Option<String> {
    let head = frames.iter().find(|f| f.kind == HEADERS && f.stream == stream)?;
    Some(match head.payload.as_slice() {
        [0x88, ..] => "200".to_owned(),
        [0x8c, ..] => "400".to_owned(),
        [0x8d, ..] => "404".to_owned(),
        [0x08 | 0x48, 3, a, b, c, ..] => [*a, *b, *c].iter().map(|b| char::from(*b)).collect(),
        other => format!("{other:x?}"),
    })
}

/// Sends `bytes` on a new connection and says what came of it. `id`: a stream that an honest request may use after it.
fn check(name: &str, bytes: &[u8], then: Then, id: u32) {
    for pieces in [1, 3] {
        let mut b = Bench::new(|_| {});
        let client = b.accept(Side::Inbound, addr(SERVER));
        b.sends(client, client_preface());
        sent(&mut b, client);
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            if !b.is_closed(client) {
                b.sends(client, piece);
            }
        }
        assert!(b.world.dialed.is_empty(), "{name}: a server is asked");
        let answer = sent(&mut b, client);
        match then {
            Connection(code) => {
                assert_eq!(goaway_code(&answer), Some(code), "{name}: {answer:x?}");
                assert!(b.is_closed(client), "{name}");
            }
            Closed => {
                assert_eq!(goaway_code(&answer), None, "{name}: {answer:x?}");
                assert!(b.is_closed(client), "{name}");
            }
            Stream(stream, code) => {
                assert_eq!(reset_code(&answer, stream), Some(code), "{name}: {answer:x?}")
            }
            Nothing => {
                let told = |f: &&Frame| matches!(f.kind, RST_STREAM | GOAWAY | HEADERS);
                assert_eq!(answer.iter().find(told), None, "{name}");
            }
            Answer(status) => {
                assert_eq!(status_on(&answer, 1).as_deref(), Some(status), "{name}: {answer:x?}")
            }
        }
        assert_eq!(b.gauges(|g| g.exchanges.get()), 0, "{name}: nothing is left");
        if !matches!(then, Connection(_) | Closed) {
            assert!(!b.is_closed(client), "{name}: the connection is of use still");
            b.sends(client, headers(id, true, &GET));
            let server = b.connects(0);
            assert_eq!(
                sent(&mut b, server).iter().filter(|f| f.kind == HEADERS).count(),
                1,
                "{name}: one request"
            );
        }
    }
}

fn post(stream: u32, more: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    let mut bytes = headers(stream, false, &[&POST[..], more].concat());
    bytes.extend_from_slice(&data(stream, true, content));
    bytes
}

/// A field block, whole, on stream 1.
fn raw(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
}

/// `GET /` by the static table, and more.
fn get_and(more: &[u8]) -> Vec<u8> {
    raw(&[&[0x82, 0x86, 0x84, 0x41, 3, b'w', b'e', b'b'], more].concat())
}

#[test]
fn rfc9113_4_and_5_frames_where_they_cannot_be() {
    let get = headers(1, true, &GET);
    let begun = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let cases: &[(&str, Vec<u8>, Then)] = &[
        (
            "4.2 a frame above SETTINGS_MAX_FRAME_SIZE",
            frame(DATA, 0, 1, &[0; 16_385]),
            Connection(FRAME_SIZE_ERROR),
        ),
        ("4.1 an unknown type", frame(0x2a, 0xff, 1, b"anything"), Nothing),
        ("4.1 an unknown type of stream 0", frame(0xfe, 0, 0, b""), Nothing),
        ("5.1 DATA on an idle stream", data(1, true, b"x"), Connection(PROTOCOL_ERROR)),
        ("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), Connection(PROTOCOL_ERROR)),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "5.1 CONTINUATION alone",
            frame(CONTINUATION, END_HEADERS, 1, &block(&GET)),
            Connection(PROTOCOL_ERROR),
        ),
        ("5.1.1 an even stream", headers(2, true, &GET), Connection(PROTOCOL_ERROR)),
        ("5.1.1 stream 0", headers(0, true, &GET), Connection(PROTOCOL_ERROR)),
        (
            "5.1.1 a stream below the last",
            [headers(5, true, &[]), headers(3, true, &GET)].concat(),
            Connection(STREAM_CLOSED),
        ),
        ("6.1 DATA of stream 0", data(0, false, b"x"), Connection(PROTOCOL_ERROR)),
        ("6.1 padding as long as the frame", frame(DATA, PADDED, 1, &[1]), Connection(PROTOCOL_ERROR)),
        ("6.1 padded, and empty", frame(DATA, PADDED, 1, &[]), Connection(FRAME_SIZE_ERROR)),
        (
            "6.2 padding longer than the frame",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x82]),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.2 padded, and empty", frame(HEADERS, END_HEADERS | PADDED, 1, &[]), Connection(FRAME_SIZE_ERROR)),
        (
            "6.2 a priority cut short",
            frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "6.2 DATA within a field block",
            [begun.clone(), data(1, true, b"x")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.2 PING within a field block",
            [begun.clone(), frame(PING, 0, 0, &[0; 8])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.2 an unknown type within a field block",
            [begun.clone(), frame(0x20, 0, 1, b"")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.10 CONTINUATION of another stream",
            [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.10 another HEADERS within", [begun.clone(), get].concat(), Connection(PROTOCOL_ERROR)),
        (
            "6.10 CONTINUATION without end",
            [begun.clone(), frame(CONTINUATION, 0, 1, b"").repeat(17)].concat(),
            Connection(ENHANCE_YOUR_CALM),
        ),
        (
            "6.10 CONTINUATION frames of 16 KiB",
            [begun, frame(CONTINUATION, 0, 1, &[0x82; 16_384]).repeat(9)].concat(),
            Connection(ENHANCE_YOUR_CALM),
        ),
        ("6.3 PRIORITY of stream 0", frame(PRIORITY, 0, 0, &[0; 5]), Connection(PROTOCOL_ERROR)),
        ("6.3 PRIORITY of another length", frame(PRIORITY, 0, 1, &[0; 4]), Connection(FRAME_SIZE_ERROR)),
        (
            "5.3 PRIORITY of a stream upon itself: nobody cares",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
            Nothing,
        ),
        ("6.4 RST_STREAM of stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), Connection(PROTOCOL_ERROR)),
        ("6.4 RST_STREAM of another length", frame(RST_STREAM, 0, 1, &[0; 3]), Connection(FRAME_SIZE_ERROR)),
        ("6.5 SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), Connection(PROTOCOL_ERROR)),
        ("6.5 SETTINGS that are no parameters", frame(SETTINGS, 0, 0, &[0; 7]), Connection(FRAME_SIZE_ERROR)),
        (
            "6.5 an acknowledgement with parameters",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Connection(FRAME_SIZE_ERROR),
        ),
        ("6.5 an acknowledgement of nothing", frame(SETTINGS, ACK, 0, &[]), Nothing),
        ("6.5.2 ENABLE_PUSH 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), Connection(PROTOCOL_ERROR)),
        (
            "6.5.2 INITIAL_WINDOW_SIZE 2^31",
            frame(SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0]),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "6.5.2 MAX_FRAME_SIZE 16383",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 63, 255]),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.5.2 MAX_FRAME_SIZE 2^24", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), Connection(PROTOCOL_ERROR)),
        ("6.5.2 an unknown parameter", frame(SETTINGS, 0, 0, &[0xf0, 0xf0, 1, 0, 0, 0]), Nothing),
        (
            "RFC 8441 3 ENABLE_CONNECT_PROTOCOL 2",
            frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 2]),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.5 33 parameters", frame(SETTINGS, 0, 0, &[0xf0; 198]), Connection(ENHANCE_YOUR_CALM)),
        ("6.5 101 times", frame(SETTINGS, 0, 0, &[]).repeat(101), Connection(ENHANCE_YOUR_CALM)),
        (
            "6.6 PUSH_PROMISE",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            Connection(PROTOCOL_ERROR),
        ),
        ("6.7 PING of a stream", frame(PING, 0, 1, &[0; 8]), Connection(PROTOCOL_ERROR)),
        ("6.7 PING of another length", frame(PING, 0, 0, &[0; 7]), Connection(FRAME_SIZE_ERROR)),
        ("6.7 an answer to no PING", frame(PING, ACK, 0, &[7; 8]), Nothing),
        ("6.7 1001 PINGs", frame(PING, 0, 0, &[0; 8]).repeat(1001), Connection(ENHANCE_YOUR_CALM)),
        ("6.8 GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), Connection(PROTOCOL_ERROR)),
        ("6.8 GOAWAY cut short", frame(GOAWAY, 0, 0, &[0; 7]), Connection(FRAME_SIZE_ERROR)),
        ("6.9 WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Connection(PROTOCOL_ERROR)),
        (
            "6.9 WINDOW_UPDATE by nothing, reserved bit set",
            frame(WINDOW_UPDATE, 0, 0, &[128, 0, 0, 0]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "6.9 WINDOW_UPDATE of another length",
            frame(WINDOW_UPDATE, 0, 0, &[0; 5]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "6.9.1 a window above 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1 10001 WINDOW_UPDATEs",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(10_001),
            Connection(ENHANCE_YOUR_CALM),
        ),
        ("5.3 1001 PRIORITYs", frame(PRIORITY, 0, 1, &[0; 5]).repeat(1001), Connection(ENHANCE_YOUR_CALM)),
        ("5.5 1001 of an unknown type", frame(0x21, 0, 0, &[]).repeat(1001), Connection(ENHANCE_YOUR_CALM)),
        ("HTTP/1 within", b"GET /evil HTTP/1.1\r\nhost: web\r\n\r\n".to_vec(), Connection(FRAME_SIZE_ERROR)),
        ("a second preface", PREFACE.to_vec(), Connection(FRAME_SIZE_ERROR)),
    ];
    for (name, bytes, then) in cases {
        check(name, bytes, *then, 7);
    }
}

#[test]
fn rfc9113_3_4_what_is_no_preface() {
    for (name, bytes, then) in [
        ("a head after it", [&PREFACE[..], &headers(1, true, &GET)].concat(), Connection(PROTOCOL_ERROR)),
        (
            "an acknowledgement after it",
            [&PREFACE[..], &frame(SETTINGS, ACK, 0, &[])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("HTTP/1 after its first line", b"PRI * HTTP/2.0\r\nhost: web\r\n\r\n".to_vec(), Closed),
        ("another word in it", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), Closed),
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.accept(Side::Inbound, addr(SERVER));
        b.sends(client, bytes);
        let got = std::mem::take(&mut b.world.socks[client.0 as usize].tx);
        let code = goaway_code(&frames(&got));
        assert_eq!(code, if let Connection(code) = then { Some(code) } else { None }, "{name}: {got:x?}");
        assert!(b.is_closed(client) && b.world.dialed.is_empty(), "{name}");
    }
}

#[test]
fn rfc7541_blocks_that_cannot_be_decoded() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("6.1 index 0", get_and(&[0x80])),
        ("2.3.3 an index beyond both tables", get_and(&[0xbf])),
        ("2.3.3 a name beyond both tables", get_and(&[0x7f, 0, 1, b'x'])),
        ("5.1 an integer of six octets", get_and(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])),
        ("5.1 an integer cut short", get_and(&[0xff])),
        ("5.2 a string longer than the block", get_and(&[0x00, 0x7f, 0x10, b'x'])),
        ("5.2 a string of 2^28", get_and(&[0x00, 0x7f, 0xff, 0xff, 0xff, 0x7f])),
        ("5.2 EOS in a string", get_and(&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x'])),
        ("5.2 padding of zeros", get_and(&[0x00, 0x81, 0b0001_1000, 1, b'x'])),
        ("5.2 padding of eight bits", get_and(&[0x00, 0x82, 0b0001_1111, 0xff, 1, b'x'])),
        ("6.3 a table of 4097", raw(&[0x3f, 0xe2, 0x1f, 0x82])),
        ("4.2 a size after a field", get_and(&[0x20])),
        ("6.2 a literal cut short", get_and(&[0x40])),
    ];
    for (name, bytes) in cases {
        check(name, bytes, Connection(COMPRESSION_ERROR), 7);
    }
}

#[test]
fn rfc9113_8_requests_that_are_malformed() {
    let with = |more: &[(&str, &str)]| headers(1, true, &[&GET[..], more].concat());
    let pseudo = |fields: &[(&str, &str)]| headers(1, true, fields);
    let [method, scheme, path, host] = GET;
    let refused = Stream(1, PROTOCOL_ERROR);
    let long = "a".repeat(33_000);
    let many: Vec<_> = (0..129).map(|_| ("x", "y")).collect();
    let cases: &[(&str, Vec<u8>, Then)] = &[
        ("8.3.1 no :method", pseudo(&[scheme, path, host]), refused),
        ("8.3.1 no :scheme", pseudo(&[method, path, host]), refused),
        ("8.3.1 no :path", pseudo(&[method, scheme, host]), refused),
        ("8.3.1 nothing", pseudo(&[]), refused),
        ("8.3.1 :path without a slash", pseudo(&[method, scheme, (":path", "evil"), host]), refused),
        (
            "8.3.1 :path in absolute form",
            pseudo(&[method, scheme, (":path", "http://web/evil"), host]),
            refused,
        ),
        ("8.3.1 :path of a star, not OPTIONS", pseudo(&[method, scheme, (":path", "*"), host]), refused),
        ("8.3.1 :path with a tab", pseudo(&[method, scheme, (":path", "/\t"), host]), refused),
        ("8.3.1 :path with DEL", pseudo(&[method, scheme, (":path", "/\x7f"), host]), refused),
        (
            "8.3.1 :authority with user information",
            pseudo(&[method, scheme, path, (":authority", "web:80@evil")]),
            refused,
        ),
        ("8.3.1 :authority with a path", pseudo(&[method, scheme, path, (":authority", "evil/x?")]), refused),
        ("8.3.1 :authority of nothing", pseudo(&[method, scheme, path, (":authority", "")]), refused),
        (
            "8.3.1 :authority with a port above 65535",
            pseudo(&[method, scheme, path, (":authority", "web:65536")]),
            refused,
        ),
        ("8.3.1 :scheme with a colon", pseudo(&[method, (":scheme", "http:"), path, host]), refused),
        ("8.3.1 :scheme of nothing", pseudo(&[method, (":scheme", ""), path, host]), refused),
        ("8.3 :method twice", pseudo(&[method, method, scheme, path, host]), refused),
        ("8.3 :path twice", pseudo(&[method, scheme, path, path, host]), refused),
        (
            "8.3 a pseudo-header field behind a field",
            pseudo(&[method, scheme, path, ("x", "y"), host]),
            refused,
        ),
        ("8.3 :Path", pseudo(&[method, scheme, (":Path", "/"), host]), refused),
        ("8.3 a pseudo-header field of responses", with(&[(":status", "200")]), refused),
        ("8.3 a pseudo-header field of nobody", with(&[(":evil", "x")]), refused),
        ("8.3 a colon alone", with(&[(":", "x")]), refused),
        ("8.3.1 host that is another", with(&[("host", "evil")]), refused),
        ("8.3.1 host with another port", with(&[("host", "web:81")]), refused),
        ("8.3.1 host twice, the same", with(&[("host", "web"), ("host", "web")]), refused),
        ("8.2.1 a name in upper case", with(&[("X", "y")]), refused),
        ("8.2.1 Content-Length", with(&[("Content-Length", "0")]), refused),
        ("8.2.1 a name with a colon", with(&[("x:y", "z")]), refused),
        ("8.2.1 a name with CR LF", with(&[("x\r\ny", "z")]), refused),
        ("8.2.1 a name with NUL", with(&[("x\0", "z")]), refused),
        ("8.2.1 a name of UTF-8", with(&[("x\u{e4}", "z")]), refused),
        ("8.2.1 a value with CR", with(&[("x", "y\r")]), refused),
        ("8.2.1 a value with LF", with(&[("x", "y\nz: a")]), refused),
        ("8.2.1 a value with NUL", with(&[("x", "\0")]), refused),
        ("8.2.1 a value that begins with a space", with(&[("x", " y")]), refused),
        ("8.2.1 a value that ends with a tab", with(&[("x", "y\t")]), refused),
        ("8.2.2 connection", with(&[("connection", "close")]), refused),
        ("8.2.2 connection of nothing", with(&[("connection", "")]), refused),
        ("8.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")]), refused),
        ("8.2.2 upgrade", with(&[("upgrade", "h2c")]), refused),
        ("8.2.2 te that is not trailers", with(&[("te", "gzip")]), refused),
        ("8.2.2 te of a list", with(&[("te", "trailers;q=0")]), refused),
        ("8.1.1 a length and no content", with(&[("content-length", "1")]), refused),
        ("8.1.1 a length of 2^63", with(&[("content-length", "9223372036854775808")]), refused),
        ("8.1.1 a negative length", with(&[("content-length", "-1")]), refused),
        ("8.1.1 a length of a list", with(&[("content-length", "0,0")]), refused),
        ("8.1.1 a length of nothing", with(&[("content-length", "")]), refused),
        ("8.1.1 a length in hexadecimal", with(&[("content-length", "0x0")]), refused),
        ("8.1.1 two lengths", with(&[("content-length", "0"), ("content-length", "0")]), refused),
        ("8.5 CONNECT with :path", pseudo(&[(":method", "CONNECT"), path, host]), refused),
        (
            "8.5 CONNECT with :scheme",
            pseudo(&[(":method", "CONNECT"), scheme, (":authority", "web:80")]),
            refused,
        ),
        ("8.5 CONNECT without :authority", pseudo(&[(":method", "CONNECT")]), refused),
        ("8.5 CONNECT without a port", pseudo(&[(":method", "CONNECT"), host]), refused),
        (
            "RFC 8441 4 :protocol with GET",
            pseudo(&[method, (":protocol", "websocket"), scheme, path, host]),
            refused,
        ),
        (
            "RFC 8441 4 :protocol of two words",
            pseudo(&[(":method", "CONNECT"), (":protocol", "web socket"), scheme, path, host]),
            refused,
        ),
        (
            "RFC 8441 4 extended CONNECT without :authority",
            pseudo(&[(":method", "CONNECT"), (":protocol", "websocket"), scheme, path]),
            refused,
        ),
        ("field_bytes", with(&[("x", &long)]), Answer("431")),
        ("fields", with(&many), Answer("431")),
    ];
    for (name, bytes, then) in cases {
        // A head above a frame goes on in CONTINUATION.
        let bytes = match frames(bytes).first() {
            Some(f) if f.payload.len() > 16_384 => continued(&f.payload),
            _ => bytes.clone(),
        };
        check(name, &bytes, *then, 7);
    }
}

/// Streams that were opened well and go wrong. `/x` is asked of a server; its stream is cut, and whatever comes for the stream later is for
/// nobody.
#[test]
fn rfc9113_5_1_streams_that_go_wrong() {
    let whole = post(1, &[], b"hi");
    let open = headers(1, false, &POST);
    let with = |then: &[u8]| [&open, then].concat();
    let ended = |then: &[u8]| [&whole, then].concat();
    let length = headers(1, false, &[&POST[..], &[("content-length", "5")]].concat());
    for (name, bytes, then) in [
        ("5.1 DATA after END_STREAM", ended(&data(1, true, b"x")), Stream(1, STREAM_CLOSED)),
        ("5.1 empty DATA after END_STREAM", ended(&data(1, false, b"")), Stream(1, STREAM_CLOSED)),
        ("5.1 HEADERS after END_STREAM", ended(&headers(1, true, &GET)), Stream(1, STREAM_CLOSED)),
        ("8.1 a second head", with(&headers(1, false, &GET)), Stream(1, PROTOCOL_ERROR)),
        ("8.1 a second head, and the end", with(&headers(1, true, &GET)), Stream(1, PROTOCOL_ERROR)),
        (
            "8.1 trailers without END_STREAM",
            with(&headers(1, false, &[("x", "y")])),
            Stream(1, PROTOCOL_ERROR),
        ),
        ("8.3 :path in trailers", with(&headers(1, true, &[(":path", "/evil")])), Stream(1, PROTOCOL_ERROR)),
        (
            "8.2.2 transfer-encoding in trailers",
            with(&headers(1, true, &[("transfer-encoding", "chunked")])),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "8.2.1 CR LF in trailers",
            with(&headers(1, true, &[("x", "y\r\nz: a")])),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "8.1.1 less than was said",
            [&length[..], &data(1, true, b"hi")].concat(),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "8.1.1 more than was said",
            [&length[..], &data(1, false, b"hello!")].concat(),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "8.1.1 less than was said, and trailers",
            [&length[..], &data(1, false, b"hi"), &headers(1, true, &[("x", "y")])].concat(),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "6.9 WINDOW_UPDATE by nothing",
            with(&frame(WINDOW_UPDATE, 0, 1, &[0; 4])),
            Stream(1, PROTOCOL_ERROR),
        ),
        (
            "6.9.1 a window above 2^31-1",
            with(&frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255])),
            Stream(1, FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1 more than the window",
            with(&data(1, false, &[0; 16_384]).repeat(4)),
            Stream(1, FLOW_CONTROL_ERROR),
        ),
        (
            "5.1.1 the same stream again, reset",
            with(&[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), headers(1, true, &GET)].concat()),
            Connection(STREAM_CLOSED),
        ),
        (
            "5.1 DATA after RST_STREAM",
            with(&[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), data(1, true, b"x")].concat()),
            Stream(1, STREAM_CLOSED),
        ),
        (
            "5.1 WINDOW_UPDATE after RST_STREAM",
            with(
                &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])].concat(),
            ),
            Nothing,
        ),
        (
            "6.5 a window that SETTINGS raise above 2^31-1",
            with(
                &[
                    frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0]),
                    frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 1]),
                ]
                .concat(),
            ),
            Connection(FLOW_CONTROL_ERROR),
        ),
        ("6.1 1001 times nothing", with(&data(1, false, b"").repeat(1_100)), Connection(ENHANCE_YOUR_CALM)),
        (
            "6.1 1001 times padding",
            with(&frame(DATA, PADDED, 1, &[3, 0, 0, 0]).repeat(1_100)),
            Connection(ENHANCE_YOUR_CALM),
        ),
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.accept(Side::Inbound, addr(SERVER));
        b.sends(client, client_preface());
        sent(&mut b, client);
        b.sends(client, &bytes);
        let answer = sent(&mut b, client);
        match then {
            Connection(code) => {
                assert_eq!(goaway_code(&answer), Some(code), "{name}: {answer:x?}");
                assert!(b.is_closed(client), "{name}");
            }
            Stream(stream, code) => {
                assert_eq!(reset_code(&answer, stream), Some(code), "{name}: {answer:x?}");
                assert!(!b.is_closed(client), "{name}");
            }
            _ => assert!(!b.is_closed(client) && goaway_code(&answer).is_none(), "{name}: {answer:x?}"),
        }
        assert_eq!(
            b.gauges(|g| (g.exchanges.get(), g.buffered_bytes.get())),
            (0, 0),
            "{name}: nothing is left"
        );
        if !b.world.dialed.is_empty() && !b.is_closed(b.world.dialed[0].1) {
            let server = b.connects(0);
            assert!(
                sent(&mut b, server).iter().all(|f| f.kind != HEADERS),
                "{name}: nobody is asked any more"
            );
        }
    }
}

/// CVE-2023-44487 and CVE-2025-8671: streams that the client resets, or makes us reset, one after the other. What was begun for each is
/// ended, and after so many the connection.
#[test]
fn limits_http2_resets_and_stream_errors_end_the_connection() {
    let reset = |id: u32| frame(RST_STREAM, 0, id, &[0, 0, 0, 8]);
    let zero = |id: u32| frame(WINDOW_UPDATE, 0, id, &[0; 4]);
    let overflow = |id: u32| frame(WINDOW_UPDATE, 0, id, &[127, 255, 255, 255]);
    let again = |id: u32| data(id, true, b"x");
    let bad = |id: u32| headers(id, true, &[("x", " y")]);
    type Provoke<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    for (name, provoke, most) in [
        ("rapid reset", &reset as Provoke<'_>, 1_000u32),
        ("WINDOW_UPDATE by nothing", &zero, 200),
        ("a window above 2^31-1", &overflow, 200),
        ("DATA after END_STREAM", &again, 200),
        ("malformed trailers", &bad, 200),
    ] {
        let mut b = Bench::new(|_| {});
        let client = b.accept(Side::Inbound, addr(SERVER));
        b.sends(client, client_preface());
        let mut n = 0;
        while !b.is_closed(client) && n < 5_000 {
            let id = 2 * n + 1;
            b.sends(client, [headers(id, true, &GET), provoke(id)].concat());
            assert_eq!(b.gauges(|g| g.exchanges.get()), 0, "{name}");
            n += 1;
        }
        assert!((most..=most + 1).contains(&n), "{name}: {n}");
        assert_eq!(goaway_code(&sent(&mut b, client)), Some(ENHANCE_YOUR_CALM), "{name}");
    }
}
