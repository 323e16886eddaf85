//! Protocol detection: a verdict stays, comes in time, and does not depend on the split.
//!
//! Input: two bytes that choose the split, then what a client sends.

use weft_net::detect::{
    Detected, Http, MAX_CLIENT_HELLO_LEN, MAX_REQUEST_LINE_LEN, Tls, detect, detect_http, detect_tls,
};

use crate::input::{Input, pieces};

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u16();
    let bytes = input.rest();
    let (all, http, tls) = (detect(bytes), detect_http(bytes), detect_tls(bytes));
    let (mut len, mut decided) = (0, 0);
    for piece in pieces(bytes, how) {
        // What was decided before is not decided otherwise; after that a few more looks are enough.
        let verdict = detect(&bytes[..len]);
        assert!(verdict == Detected::NeedMore || verdict == all, "{len}: {verdict:?}, then {all:?}");
        let verdict = detect_http(&bytes[..len]);
        assert!(verdict == Http::NeedMore || verdict == http, "{len}: {verdict:?}, then {http:?}");
        let verdict = detect_tls(&bytes[..len]);
        assert!(verdict == Tls::NeedMore || verdict == tls, "{len}: {verdict:?}, then {tls:?}");
        decided += usize::from(detect(&bytes[..len]) != Detected::NeedMore);
        if decided > 8 {
            break;
        }
        len += piece.len();
    }
    if bytes.len() >= MAX_CLIENT_HELLO_LEN {
        assert_ne!(all, Detected::NeedMore);
        assert_ne!(tls, Tls::NeedMore);
    }
    if bytes.len() >= MAX_REQUEST_LINE_LEN {
        assert_ne!(http, Http::NeedMore);
    }
    match &all {
        Detected::Http1 => assert_eq!((http, tls), (Http::Http1, Tls::NotTls)),
        Detected::Http2 => assert_eq!((http, tls), (Http::Http2, Tls::NotTls)),
        Detected::Tls(facts) => assert_eq!(&tls, &Tls::Hello(facts.clone())),
        Detected::Opaque => assert_eq!((http, tls), (Http::NotHttp, Tls::NotTls)),
        Detected::NeedMore => assert!(http == Http::NeedMore || tls == Tls::NeedMore),
    }
}

/// Beginnings of protocols.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let long_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1100));
    let beginnings: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\r\nPOST /x HTTP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
        b"EHLO example\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01\x40\x00\x01\x00\x3f\xf0",
        b"SSH-2.0-x\r\n",
        long_target.as_bytes(),
    ];
    let mut seeds: Vec<_> = beginnings.iter().map(|bytes| [&[5, 1], *bytes].concat()).collect();
    seeds.extend(crate::client_hello::records().into_iter().map(|hello| [&[7, 0], &hello[..]].concat()));
    seeds
}
