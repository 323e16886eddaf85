//! The same HTTP/1 messages straight to an application, and through both proxies: what it sees, what the client is told, and
//! whether the connection is kept must be the same, but for what is listed with its reason.

use crate::{
    program::{Program, node, prepared},
    scene::Scene,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, process::Command};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_tests::{client::connect, place::Place, wait::soon};

/// What the mesh may do otherwise than the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing.
    Same,
    /// It refuses, with this status, what an application may take: the reason.
    Refused(u16, &'static str),
    /// It takes, and passes on in good form, what an application may refuse: the reason.
    Mended(&'static str),
}
use Rule::{Mended, Refused, Same};

/// A name, what is sent, and what may differ.
type Case = (&'static str, &'static str, Rule);

const CASES: &[Case] = &[
    ("plain", "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("query", "GET /echo?a=%20&b HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("empty query", "GET /echo? HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("escapes", "GET /status/200?%2e%2E%2f HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("absolute form", "GET http://a/echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    (
        "line before",
        "\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        Mended("RFC 9112 2.2: one empty line before a request is ignored"),
    ),
    ("names of any case", "GET /echo HTTP/1.1\r\nhOsT: a\r\nX-TEST: b\r\n\r\n", Same),
    ("no space", "GET /echo HTTP/1.1\r\nHost:a\r\nx-test:b\r\n\r\n", Same),
    ("spaces and tabs around", "GET /echo HTTP/1.1\r\nHost: \t a \t\r\nx-test:\t b c \t\r\n\r\n", Same),
    ("empty value", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test:\r\n\r\n", Same),
    ("token of all characters", "GET /echo HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09: b\r\n\r\n", Same),
    ("obs-text", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test: gr\u{fc}n\r\n\r\n", Same),
    ("twice the same field", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test: b\r\nx-test: c\r\n\r\n", Same),
    ("port in host", "GET /echo HTTP/1.1\r\nHost: a:8080\r\n\r\n", Same),
    ("IPv6 in host", "GET /echo HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Same),
    ("asks for the end", "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Same),
    (
        "asks for the end in a list",
        "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: x-test, Close\r\nx-other: b\r\n\r\n",
        Same,
    ),
    ("1.0", "GET /status/200 HTTP/1.0\r\nHost: a\r\n\r\n", Same),
    ("1.0 without host", "GET /status/200 HTTP/1.0\r\n\r\n", Same),
    ("1.0 kept", "GET /bytes/10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", Same),
    ("head", "HEAD /bytes/100 HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("delete", "DELETE /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("not modified", "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("hints", "GET /hints HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Same),
    ("length of nothing", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Same),
    (
        "length with zeros",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
        Mended("RFC 9110 8.6: the same number, written anew"),
    ),
    ("no length", "POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("content of GET", "GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Same),
    (
        "chunks",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        Same,
    ),
    (
        "chunks, capitals",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        Same,
    ),
    (
        "chunk size with zeros",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n",
        Same,
    ),
    (
        "chunk extension",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n",
        Same,
    ),
    (
        "chunk extension, quoted",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
        Same,
    ),
    (
        "trailers",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-checksum: b\r\n\r\n",
        Same,
    ),
    (
        "no content in chunks",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Same,
    ),
    ("two at once", "GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /echo?2 HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    (
        "two with content",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nho",
        Same,
    ),
    // From here on, what no client may send.
    ("no host", "GET /echo HTTP/1.1\r\n\r\n", Same),
    ("two hosts", "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400, "RFC 9112 3.2")),
    ("two hosts in one", "GET /echo HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused(400, "RFC 9112 3.2")),
    ("host with a path", "GET /echo HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400, "RFC 9112 3.2")),
    (
        "host and target differ",
        "GET http://b/echo HTTP/1.1\r\nHost: a\r\n\r\n",
        Mended("RFC 9112 3.2.2: the target's authority replaces that of Host"),
    ),
    ("space before the colon", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test : b\r\n\r\n", Same),
    ("space before a name", "GET /echo HTTP/1.1\r\nHost: a\r\n x-test: b\r\n\r\n", Same),
    (
        "folded",
        "GET /echo HTTP/1.1\r\nHost: a\r\nx-test: b\r\n c\r\n\r\n",
        Refused(400, "RFC 9112 5.2: to be rejected, or replaced by spaces"),
    ),
    ("no colon", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test\r\n\r\n", Same),
    ("no name", "GET /echo HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Same),
    ("NUL in a value", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test: b\0c\r\n\r\n", Same),
    ("CR in a value", "GET /echo HTTP/1.1\r\nHost: a\r\nx-test: b\rc\r\n\r\n", Same),
    ("name with brackets", "GET /echo HTTP/1.1\r\nHost: a\r\nx(test): b\r\n\r\n", Same),
    (
        "lines end with LF",
        "GET /echo HTTP/1.1\nHost: a\n\n",
        Refused(
            400,
            "RFC 9112 2.2 permits to take LF alone, and does not ask it: who reads it otherwise can be tricked",
        ),
    ),
    (
        "version 1.2",
        "GET /echo HTTP/1.2\r\nHost: a\r\n\r\n",
        Refused(
            505,
            "RFC 9110 2.5 would have it read as 1.1, should it ever exist; RFC 9110 15.6.6 is the answer to what is not known",
        ),
    ),
    ("version 3.0", "GET /echo HTTP/3.0\r\nHost: a\r\n\r\n", Same),
    ("version in small letters", "GET /echo http/1.1\r\nHost: a\r\n\r\n", Same),
    ("two spaces", "GET  /echo HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, "RFC 9112 3: one space")),
    ("space in the target", "GET /ec ho HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("tab for a space", "GET\t/echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("target without a slash", "GET echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    ("malformed method", "G(T /echo HTTP/1.1\r\nHost: a\r\n\r\n", Same),
    (
        "two lengths",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        Same,
    ),
    (
        "two lengths that agree",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Refused(400, "RFC 9110 8.6: to be rejected, or read as one"),
    ),
    ("list of lengths", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", Same),
    ("length with a sign", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", Same),
    ("negative length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", Same),
    ("length in hexadecimal", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", Same),
    (
        "length above 64 bits",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        Same,
    ),
    ("empty length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Same),
    (
        "length and chunks",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400, "RFC 9112 6.1: may be rejected, and ought to be handled as an error by 6.3"),
    ),
    ("unknown coding", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: other\r\n\r\n0\r\n\r\n", Same),
    (
        "chunked twice",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Same,
    ),
    (
        "chunked not last",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        Same,
    ),
    (
        "chunked with a vertical tab",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Same,
    ),
    (
        "chunked in 1.0",
        "POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400, "RFC 9112 6.1: its framing is faulty"),
    ),
];

/// The last request on a connection that is kept.
const LAST: &str = "GET /status/299 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The final statuses in what a server sent. No content of these cases looks like one.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let all = text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse().ok());
    all.filter(|status| *status >= 200).collect()
}

/// Sends a case, then the last request, and reads to the end. That a server which refuses may reset afterwards is no matter.
async fn told(place: &Place, address: SocketAddr, message: &[u8], answers: usize) -> Vec<u16> {
    let mut stream: TcpStream = connect(place, address).await;
    stream.write_all(message).await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", async {
        while statuses(&answer).len() < answers {
            if stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        }
        if stream.write_all(LAST.as_bytes()).await.is_ok() {
            let _ = stream.read_to_end(&mut answer).await;
        }
    })
    .await;
    statuses(&answer)
}

/// What the application saw, without what is the proxies' own or belongs to one connection.
fn seen(line: &Value) -> Value {
    let mut headers = line["headers"].as_object().cloned().unwrap_or_default();
    headers.retain(|name, _| {
        !name.starts_with("l5d-") && !["connection", "transfer-encoding"].contains(&name.as_str())
    });
    json!([
        line["method"],
        line["target"],
        line["length"],
        line["sha256"],
        line["trailers"],
        line["end"],
        headers
    ])
}

/// One case: what was told, and what was seen.
async fn outcome(
    place: &Place,
    to: SocketAddr,
    app: &mut Program,
    from: &mut usize,
    case: &Case,
) -> (Vec<u16>, Vec<Value>) {
    let (_, message, _) = case;
    // One byte a character: obs-text is no UTF-8.
    let bytes: Vec<u8> = message.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let told = told(
        place,
        to,
        &bytes,
        message.matches(" /echo?").count().max(message.matches("POST").count()).max(1),
    )
    .await;
    let wanted = *from + told.iter().filter(|status| **status < 400 || **status == 404).count();
    let lines = app
        .wait_for(case.0, |said| {
            let lines: Vec<_> = said.iter().filter(|line| line["end"] == "complete").cloned().collect();
            (lines.len() >= wanted).then_some(lines)
        })
        .await;
    let new = lines.get(*from..).unwrap_or_default().iter().map(seen).collect();
    *from = lines.len();
    (told, new)
}

async fn agree(command: impl Fn() -> Command, name: &str) {
    let scene = Scene::start().await;
    let place = Place::loopback();
    let direct = place.at(8080);
    let serve = |address: SocketAddr| {
        let mut command = command();
        command.arg("http-server").arg(address.to_string()).arg("1.1");
        command
    };
    let mut alone = scene.server("alone", &mut serve(direct)).await;
    let mut meshed = scene.server("meshed", &mut serve(scene.exit())).await;
    let (mut from_alone, mut from_meshed) = (0, 0);
    let mut wrong = Vec::new();
    for case in CASES {
        let expected = outcome(&place, direct, &mut alone, &mut from_alone, case).await;
        let found = outcome(&place, scene.entrance(), &mut meshed, &mut from_meshed, case).await;
        let good = match case.2 {
            Same => found == expected || (refused(&expected) && refused(&found)),
            Refused(status, _) => found.1.is_empty() && found.0 == [status],
            Mended(_) => !found.1.is_empty(),
        };
        if !good {
            wrong.push(format!("{}: {:?}\n  alone  {expected:?}\n  meshed {found:?}", case.0, case.2));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    scene.nothing_is_held().await;
}

/// Refused, and nothing seen: with which status of the 4xx or 5xx is everybody's own affair.
fn refused((told, seen): &(Vec<u16>, Vec<Value>)) -> bool {
    seen.is_empty() && told.len() <= 1 && told.iter().all(|status| *status >= 400)
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    agree(|| Command::new(prepared("go-peers")), "Go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn llhttp() {
    agree(|| node("http.js"), "Node").await;
}
