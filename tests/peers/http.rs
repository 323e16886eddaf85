//! Every HTTP client with every HTTP server, in both versions: one list of cases, told in README.md.

use crate::{
    program::{Program, node, prepared, python},
    scene::{Scene, pattern, sha256},
};
use serde_json::Value;
use std::{net::SocketAddr, process::Command};

/// A peer that makes the requests of the cases, answers them, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Go,
    Node,
    /// The h2 library: HTTP/2 only.
    Python,
}

/// What every client does with every server. `slow` comes on its own.
const CASES: &[&str] = &[
    "get",
    "head",
    "empty",
    "missing",
    "post",
    "upload",
    "download",
    "stream",
    "reuse",
    "parallel",
    "big-header",
    "hints",
    "expect",
    "early",
    "cancel",
    "die",
    "refuse",
    "refuse-post",
    "goaway",
];

/// Version of HTTP, as peers call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Peer {
    fn command(self) -> Command {
        match self {
            Self::Go => Command::new(prepared("go-peers")),
            Self::Node => node("http.js"),
            Self::Python => python("h2_peer.py"),
        }
    }

    fn server(self, address: SocketAddr, version: Version) -> Command {
        let mut command = self.command();
        command.arg("http-server").arg(address.to_string()).arg(version.name());
        command
    }

    fn client(self, version: Version, url: &str, cases: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["http-client", version.name(), url]).args(cases);
        command
    }

    /// What its library has no way to do, or to show.
    fn lacks(self, case: &str) -> bool {
        let lacking: &[&str] = match self {
            Self::Go | Self::Node | Self::Python => &[],
        };
        lacking.contains(&case)
    }
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1.1",
            Self::Two => "2",
        }
    }
}

macro_rules! matrix {
    ($($name:ident: $client:ident $version:ident $server:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check(Peer::$client, Version::$version, Peer::$server).await;
        }
    )*};
}

matrix! {
    go_http1_go: Go One Go;
    go_http2_go: Go Two Go;
    node_http1_node: Node One Node;
    node_http2_node: Node Two Node;
    go_http1_node: Go One Node;
    go_http2_node: Go Two Node;
    node_http1_go: Node One Go;
    node_http2_go: Node Two Go;
    python_http2_python: Python Two Python;
    python_http2_go: Python Two Go;
    python_http2_node: Python Two Node;
    go_http2_python: Go Two Python;
    node_http2_python: Node Two Python;
}

async fn check(client: Peer, version: Version, server: Peer) {
    let mut scene = Scene::start().await;
    let mut app = scene.server("server", &mut server.server(scene.exit(), version)).await;
    let cases: Vec<_> =
        CASES.iter().copied().filter(|case| !client.lacks(case) && !server.lacks(case)).collect();
    let mut command = client.client(version, &scene.url(), &cases);
    let ended = Program::start("client", &mut command).finish().await.well();
    let said = ended.said();
    for case in &cases {
        let line = said.iter().find(|line| line["case"] == *case);
        let line = line.unwrap_or_else(|| panic!("nothing of {case}:\n{}", ended.text));
        client_saw(case, version, line);
    }
    if cases.contains(&"cancel") {
        app.wait_for("that the client of /hold is gone", |said| {
            said.iter().any(|line| line["target"] == "/hold" && line["end"] == "gone").then_some(())
        })
        .await;
    }
    slow(&mut scene, client, version).await;
    server_saw(&cases, version, &app.said());
    let said = app.said();
    let requests = said.iter().filter(|line| line["method"].is_string());
    // A request without content that a connection took down with it unanswered may be sent again (RFC 9110 9.2.2).
    let again = said.iter().filter(|line| line["target"] == "/refuse" && line["method"] == "GET").count();
    let requests = requests.count() - again.saturating_sub(1);
    scene.counted(requests).await;
}

/// What a client must have seen.
fn client_saw(case: &str, version: Version, line: &Value) {
    let content = |status: u16, length: usize, body: &[u8]| {
        assert!(line["error"].is_null(), "{case}: {line}");
        assert_eq!(line["status"], status, "{case}: {line}");
        assert_eq!(line["proto"], version.name(), "{case}: {line}");
        assert_eq!(line["length"], length, "{case}: {line}");
        assert_eq!(line["sha256"], sha256(body), "{case}: {line}");
        for (name, _) in line["headers"].as_object().unwrap() {
            assert!(!name.starts_with("l5d-"), "{case}: {line}");
        }
    };
    let body = |status: u16, body: &[u8]| content(status, body.len(), body);
    match case {
        "get" => {
            body(200, &pattern(1000));
            assert_eq!(line["headers"]["content-length"], "1000", "{line}");
        }
        "head" => {
            body(200, b"");
            assert_eq!(line["headers"]["content-length"], "1000", "{line}");
        }
        "empty" => body(204, b""),
        "missing" => body(404, b""),
        "post" => body(200, &pattern(100_000)),
        "upload" => {
            let expected = pattern(300_000);
            body(200, &expected);
            assert_eq!(line["trailers"]["x-sha256"], sha256(&expected), "{line}");
            assert_eq!(line["trailers"]["x-trailer-seen"], sha256(&expected), "{line}");
        }
        "download" => body(200, &pattern(20_000_000)),
        "stream" => {
            let expected = pattern(10_000).repeat(100);
            body(200, &expected);
            assert_eq!(line["trailers"]["x-sha256"], sha256(&expected), "{line}");
        }
        "reuse" => {
            assert_eq!(line["ok"], 50, "{line}");
            assert_eq!(line["connections"], 1, "{line}");
        }
        "parallel" => assert_eq!(line["ok"], 40, "{line}"),
        "big-header" => body(200, &pattern(1)),
        "hints" => {
            body(200, b"after hints");
            assert_eq!(line["hints"][0], "103 </style.css>; rel=preload", "{line}");
        }
        "expect" => {
            body(200, &pattern(5000));
            assert_eq!(line["continued"], true, "{line}");
        }
        // Whether the client has written everything before it reads the answer is up to it.
        "early" => assert!(line["status"] == 413 || !line["error"].is_null(), "{line}"),
        "cancel" => {
            assert_eq!(line["first"], "first piece", "{line}");
            assert_eq!(line["status"], 200, "{line}");
        }
        "die" => {
            assert!(line["error"].is_string(), "a body that is cut must not look whole: {line}");
            assert!(line["length"].as_u64().is_none_or(|length| length <= 50_000), "{line}");
        }
        "refuse" | "refuse-post" => match version {
            Version::One => {
                assert_eq!(line["status"], 502, "{line}");
                assert!(line["headers"]["l5d-proxy-error"].is_string(), "{line}");
            }
            Version::Two => {
                assert!(
                    line["error"].as_str().is_some_and(|error| error.contains("INTERNAL_ERROR")),
                    "{line}"
                );
            }
        },
        "goaway" => {
            assert_eq!(line["first_status"], 200, "{line}");
            body(200, &pattern(10));
        }
        _ => panic!("{case}: {line}"),
    }
}

/// What the server must have seen.
fn server_saw(cases: &[&str], version: Version, said: &[Value]) {
    let requests: Vec<_> = said.iter().filter(|line| line["method"].is_string()).collect();
    for line in &requests {
        assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
        assert_eq!(line["proto"], version.name(), "{line}");
        for name in ["l5d-orig-proto", "l5d-proxy-error", "connection", "http2-settings"] {
            assert!(line["headers"][name].is_null(), "{line}");
        }
    }
    let find = |target: &str, method: &str| {
        let found: Vec<_> =
            requests.iter().filter(|line| line["target"] == target && line["method"] == method).collect();
        assert!(!found.is_empty(), "no {method} {target} in {requests:#?}");
        found
    };
    for case in cases {
        match *case {
            "get" => {
                let line = find("/bytes/1000?q=%20x&y", "GET")[0];
                assert_eq!(line["headers"]["x-test"], "a, b", "{line}");
                assert_eq!(line["headers"]["cookie"], "a=1; b=2; c=3", "{line}");
            }
            "head" => assert_eq!(find("/bytes/1000", "HEAD").len(), 1),
            "post" | "upload" => {
                let length = if *case == "post" { 100_000 } else { 300_000 };
                let found = find("/echo", "POST");
                let line = found.iter().find(|line| line["length"] == length);
                let line = line.unwrap_or_else(|| panic!("{found:#?}"));
                assert_eq!(line["sha256"], sha256(&pattern(length)), "{line}");
                if *case == "upload" {
                    assert!(line["headers"]["content-length"].is_null(), "{line}");
                    assert_eq!(line["trailers"]["x-checksum"], sha256(&pattern(length)), "{line}");
                } else {
                    assert_eq!(line["headers"]["content-length"], "100000", "{line}");
                }
            }
            "big-header" => {
                let line = find("/bytes/1", "GET")[0];
                assert_eq!(line["headers"]["x-big"], "(8000)", "{line}");
            }
            "reuse" => assert!(find("/bytes/10", "GET").len() >= 50),
            // What may have had an effect is never sent again.
            "refuse-post" => assert_eq!(find("/refuse", "POST").len(), 1),
            _ => {}
        }
    }
}

/// Somebody reads slowly: the server is held back, and the proxies keep little.
async fn slow(scene: &mut Scene, client: Peer, version: Version) {
    const LENGTH: u32 = 60_000_000;
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    scene.weigh();
    let mut command = client.client(version, &scene.url(), &["slow"]);
    let mut client = Program::start("slow client", command.env("GATE", &gate));
    client.wait_for("a pause", |said| said.iter().any(|line| line["paused"] == true).then_some(())).await;
    let read = scene.stalled().await;
    assert!(read < f64::from(LENGTH), "the server was not held back: {read} bytes");
    std::fs::write(&gate, "").unwrap();
    let said = client.finish().await.well().said();
    let line = said.iter().find(|line| line["case"] == "slow").unwrap();
    assert!(line["error"].is_null(), "{line}");
    assert_eq!(line["length"], LENGTH, "{line}");
    assert_eq!(line["sha256"], sha256(&pattern(usize::try_from(LENGTH).unwrap())), "{line}");
}
