//! Every gRPC client with every gRPC server: one list of cases, told in README.md.

use crate::{
    program::{Program, prepared, python},
    scene::{Scene, pattern, sha256},
};
use serde_json::Value;
use std::process::Command;

#[derive(Clone, Copy, Debug)]
enum Peer {
    Go,
    Python,
}

/// In this order: the last one ends the server.
const CASES: &[&str] = &[
    "unary",
    "empty",
    "big",
    "gzip",
    "collect",
    "spread",
    "talk",
    "parallel",
    "fail",
    "break",
    "unimplemented",
    "deadline",
    "cancel",
    "die",
];
/// What a call fails with; not all of it may be in a field as it is.
const FAILURE: &str = "not here: 100 % grün\n";

impl Peer {
    fn command(self) -> Command {
        match self {
            Self::Go => Command::new(prepared("go-peers")),
            Self::Python => python("grpc_peer.py"),
        }
    }
}

macro_rules! matrix {
    ($($name:ident: $client:ident $server:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check(Peer::$client, Peer::$server).await;
        }
    )*};
}

matrix! {
    go_calls_go: Go Go;
    go_calls_python: Go Python;
    python_calls_go: Python Go;
    python_calls_python: Python Python;
}

async fn check(client: Peer, server: Peer) {
    let scene = Scene::start().await;
    let mut command = server.command();
    let mut app = scene.server("server", command.arg("grpc-server").arg(scene.exit().to_string())).await;
    let mut command = client.command();
    command.arg("grpc-client").arg(scene.entrance().to_string()).args(CASES);
    let ended = Program::start("client", &mut command).finish().await.well();
    let said = ended.said();
    for case in CASES {
        let line = said.iter().find(|line| line["case"] == *case);
        client_saw(case, line.unwrap_or_else(|| panic!("nothing of {case}:\n{}", ended.text)));
    }
    let lines = app
        .wait_for("the end of every call", |said| {
            // What becomes of calls that were given up is told on its own time.
            let held = said.iter().filter(|line| line["method"] == "/weft.test.Peer/Hold").count();
            (held >= 2 && said.iter().any(|line| line["end"] == "dies")).then(|| said.to_vec())
        })
        .await;
    let calls: Vec<_> = lines.iter().filter(|line| line["method"].is_string()).collect();
    server_saw(&calls);
    scene.counted(calls.len()).await;
    // 4 and 102 of them, and what was sent in answer, by what it said.
    for (status, least) in [("0", 106.0), ("5", 1.0), ("15", 1.0), ("12", 1.0)] {
        for count in scene.both("response_total", &[("grpc_status", status)]).await {
            assert!(count >= least, "{count} with gRPC status {status}");
        }
    }
}

fn client_saw(case: &str, line: &Value) {
    let status = |code: u16| assert_eq!(line["status"], code, "{case}: {line}");
    let same = |body: &[u8]| {
        status(0);
        assert_eq!(line["length"], body.len(), "{case}: {line}");
        assert_eq!(line["sha256"], sha256(body), "{case}: {line}");
    };
    match case {
        "unary" => {
            same(b"hello");
            assert_eq!(line["head"]["x-head"], "of the answer", "{line}");
            assert_eq!(line["head"]["x-seen-bin"], "0001feff", "{line}");
            assert_eq!(line["tail"]["x-tail"], "after it", "{line}");
            assert_eq!(line["tail"]["x-tail-bin"], "00ff10", "{line}");
        }
        "empty" => same(b""),
        "big" => same(&pattern(3_000_000)),
        "gzip" => same(&b"again ".repeat(100_000)),
        "collect" => {
            status(0);
            let all: Vec<u8> = (0..500).flat_map(|n| pattern(n * 3)).collect();
            assert_eq!(line["answer"], format!("{} {}", all.len(), sha256(&all)), "{line}");
        }
        "spread" => {
            status(0);
            assert_eq!((&line["right"], &line["messages"]), (&1000.into(), &0.into()), "{line}");
        }
        "talk" => {
            status(0);
            assert_eq!(line["right"], 200, "{line}");
        }
        "parallel" => assert_eq!(line["ok"], 100, "{line}"),
        "fail" => {
            status(5);
            assert_eq!((&line["message"], &line["messages"]), (&FAILURE.into(), &0.into()), "{line}");
        }
        "break" => {
            status(15);
            assert_eq!((&line["message"], &line["messages"]), (&FAILURE.into(), &1.into()), "{line}");
            assert_eq!(line["tail"]["x-tail"], "after it", "{line}");
        }
        "unimplemented" => status(12),
        "deadline" => status(4),
        "cancel" => {
            status(1);
            assert_eq!(line["first"], "first", "{line}");
        }
        // The connection to the server broke under the call: that must not look like an end.
        "die" => {
            status(14);
            assert_eq!(line["first"], "first", "{line}");
        }
        _ => panic!("{case}: {line}"),
    }
}

fn server_saw(calls: &[&Value]) {
    for line in calls {
        if line["end"] != "dies" || line["headers"].is_object() {
            assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
        }
    }
    let find = |method: &str| {
        let method = format!("/weft.test.Peer/{method}");
        let found: Vec<_> = calls.iter().filter(|line| line["method"] == *method).collect();
        assert!(!found.is_empty(), "no {method} in {calls:#?}");
        found
    };
    let first = find("Unary")[0];
    assert_eq!(first["headers"]["x-some"], "text", "{first}");
    assert_eq!(first["headers"]["x-some-bin"], "0001feff", "{first}");
    assert_eq!(first["deadline"], true, "{first}");
    assert_eq!(find("Collect")[0]["messages"], 500);
    assert_eq!(find("Talk")[0]["messages"], 200);
    let held = find("Hold");
    assert_eq!(held.len(), 2);
    for line in held {
        assert_eq!(line["end"], "gone", "{line}");
    }
}
