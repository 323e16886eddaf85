//! HTTP/1: heads that mean two things, heads that are too much, requests without end.

use super::{DOORS, Door, MIB, Scene};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_tests::{
    client::{mesh::Session, read_to_end},
    wait::soon,
};

/// Requests that two parsers could read in two ways, by where the trick is.
const SMUGGLING: &[(&str, &str)] = &[
    ("both framings", "content-length: 4\r\ntransfer-encoding: chunked\r\n"),
    ("both framings, turned round", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"),
    (
        "both framings, one declared to end here",
        "connection: content-length\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n",
    ),
    ("two lengths", "content-length: 4\r\ncontent-length: 5\r\n"),
    ("the same length twice", "content-length: 4\r\ncontent-length: 4\r\n"),
    ("a list of lengths", "content-length: 4, 4\r\n"),
    ("a signed length", "content-length: +4\r\n"),
    ("a negative length", "content-length: -1\r\n"),
    ("a hexadecimal length", "content-length: 0x4\r\n"),
    ("a length above 64 bits", "content-length: 18446744073709551620\r\n"),
    ("space before the colon", "content-length : 4\r\n"),
    ("a tab before the colon", "transfer-encoding\t: chunked\r\n"),
    ("an unknown coding", "transfer-encoding: xchunked\r\n"),
    ("chunked not last", "transfer-encoding: chunked, gzip\r\n"),
    ("chunked twice", "transfer-encoding: chunked, chunked\r\n"),
    ("two codings fields", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
    ("identity", "transfer-encoding: identity\r\n"),
    ("vertical tab", "transfer-encoding: \x0bchunked\r\n"),
    ("NUL in a value", "x: a\0b\r\n"),
    ("NUL in a name", "transfer-encoding\0: chunked\r\n"),
    ("obs-fold", "x: a\r\n transfer-encoding: chunked\r\n"),
    ("obs-fold of a framing field", "transfer-encoding:\r\n chunked\r\n"),
    ("a bare CR", "x: a\rtransfer-encoding: chunked\r\n"),
    ("a bare LF", "x: a\ntransfer-encoding: chunked\r\n"),
    ("a name with a space", "transfer encoding: chunked\r\n"),
    ("an empty name", ": chunked\r\n"),
    ("two hosts", "host: other\r\n"),
];

const TAIL: &str = "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: h\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_could_mean_two_things_is_refused() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let direction = if door == Door::Outbound { "outbound" } else { "inbound" };
        let labels = [("direction", direction), ("kind", "malformed_request")];
        for (what, lines) in SMUGGLING {
            let request = format!("POST /first HTTP/1.1\r\nhost: h\r\n{lines}\r\n{TAIL}");
            let before = scene.proxy(door).metrics().await.sum("weft_http_failures_total", &labels);
            let mut stream = scene.attack(door, Session::Http1).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
            // One answer, then the connection is over.
            assert!(
                answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501"),
                "{what}: {answer:?}"
            );
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
            assert!(answer.contains("connection: close\r\n"), "{what}: {answer:?}");
            assert!(answer.contains("l5d-proxy-error: "), "{what}: {answer:?}");
            let after = scene.proxy(door).metrics().await.sum("weft_http_failures_total", &labels);
            assert_eq!(after, before + 1.0, "{what}");
        }
    }
    let paths: Vec<_> = scene.app.seen().into_iter().map(|seen| seen.uri.path().to_owned()).collect();
    assert!(paths.iter().all(|path| path == "/name"), "{paths:?}");
    good.served().await;
}

/// Faults in content come when the head has gone on: the application gets no whole request, and no second one.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_malformed_is_cut_off() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        for (what, chunks) in [
            ("a size above 64 bits", "10000000000000000\r\nx\r\n0\r\n\r\n"),
            ("a size that is none", "five\r\nhello\r\n0\r\n\r\n"),
            ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
            ("a prefixed size", "0x5\r\nhello\r\n0\r\n\r\n"),
            ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
            ("no line end after the data", "5\r\nhelloX\r\n0\r\n\r\n"),
            ("a bare CR in an extension", "5;a=\rb\r\nhello\r\n0\r\n\r\n"),
        ] {
            let request = format!(
                "POST /malformed HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{chunks}\
                 GET /evil HTTP/1.1\r\nhost: h\r\n\r\n"
            );
            let mut stream = scene.attack(door, Session::Http1).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
            assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
        }
    }
    assert!(scene.app.seen().iter().all(|seen| seen.uri.path() != "/evil"));
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_over_the_limit_are_answered_with_the_status_that_says_so() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    let fields = "x-many: value\r\n".repeat(200);
    let long = "v".repeat(40_000);
    let much: String = (0..100).map(|n| format!("x-{n}: {}\r\n", "v".repeat(1000))).collect();
    for door in DOORS {
        for (what, request, status) in [
            ("many fields", format!("GET / HTTP/1.1\r\nhost: h\r\n{fields}\r\n"), 431),
            ("a long field", format!("GET / HTTP/1.1\r\nhost: h\r\nx: {long}\r\n\r\n"), 431),
            ("a long head", format!("GET / HTTP/1.1\r\nhost: h\r\n{much}\r\n"), 431),
            ("a long target", format!("GET /{long} HTTP/1.1\r\nhost: h\r\n\r\n"), 414),
        ] {
            let mut stream = scene.attack(door, Session::Http1).await;
            // The answer may come, and the connection end, before everything is sent.
            let _ = stream.write_all(request.as_bytes()).await;
            let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{door:?} {what}: {answer:?}");
            assert!(answer.contains("connection: close\r\n"), "{what}: {answer:?}");
        }
    }
    // Fewer are not too many.
    let fields = "x-many: value\r\n".repeat(80);
    let request = format!("GET /name HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n");
    let mut stream = scene.attack(Door::Outbound, Session::Http1).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with(b"HTTP/1.1 200 "));
    good.served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_end_wait_for_their_answers_to_be_read() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    const REQUESTS: usize = 50_000;
    let request = "GET /name HTTP/1.1\r\nhost: h\r\n\r\n";
    let (mut reader, mut writer) = tokio::io::split(scene.attack(Door::Outbound, Session::Http1).await);
    let writing = tokio::spawn(async move {
        let many = request.repeat(1000);
        for _ in 0..REQUESTS / 1000 {
            writer.write_all(many.as_bytes()).await.unwrap();
        }
        writer
    });
    // Nobody reads: after a while nothing more is taken.
    let mut before = usize::MAX;
    let stuck = loop {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let now = scene.app.seen().iter().filter(|seen| seen.header("host") == "h").count();
        if now == before {
            break now;
        }
        before = now;
    };
    assert!(stuck < REQUESTS, "all {stuck} were answered, and nobody had read an answer");
    let grown = scene.grown(Door::Outbound);
    assert!(grown < 16 * MIB, "{} MiB more", grown / MIB);
    // Reading sets it going again, to the last of them.
    let mut answers = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut rest = Vec::new();
    while answers < REQUESTS {
        let n = soon(format!("answer {answers}"), reader.read(&mut buffer)).await.unwrap();
        assert!(n > 0, "closed after {answers}");
        rest.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&rest).into_owned();
        let end = text.rfind("\r\n\r\nserver").map_or(0, |at| at + 10);
        answers += text[..end].matches("\r\n\r\nserver").count();
        rest.drain(..end);
    }
    drop(writing.await.unwrap());
    good.served().await;
}
