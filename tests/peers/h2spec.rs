//! h2spec, a suite of conformance that others wrote, before both doors: the outbound proxy, and the inbound one within mutual TLS.

use crate::{
    program::{Program, node, prepared},
    scene::Scene,
};
use std::{collections::BTreeMap, net::SocketAddr, process::Command, sync::Arc};
use tokio::{io::copy_bidirectional, net::TcpListener};
use weft_tests::{
    ca::{Validity, identity},
    client::mesh::{Peer, Session},
    pair::APP_PORT,
};

/// Where h2spec stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// It is the application of the client's proxy, which its requests reach without TLS.
    Outbound,
    /// It is a mesh peer of the server's proxy: somebody in between adds TLS and the transport header.
    Inbound,
}

/// How the application behind the proxies answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum App {
    /// Go's net/http, in HTTP/2.
    Two,
    /// Node's http, which knows HTTP/1.1 only.
    One,
}

/// What h2spec found of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Passed,
    Skipped,
    Failed(String),
}

/// A case that fails, and where it is right that it does.
struct Excuse {
    /// Section and title of h2spec.
    case: &'static str,
    doors: &'static [Door],
    apps: &'static [App],
    why: &'static str,
}

const EXCUSED: &[Excuse] = &[
    Excuse {
        case: "http2/5.3.1 Sends HEADERS frame that depend on itself",
        doors: &[Door::Outbound, Door::Inbound],
        apps: &[App::Two],
        why: "RFC 9113 5.3.2 withdraws the priorities of RFC 7540 5.3; a dependency is read and means nothing, not even an error",
    },
    Excuse {
        case: "http2/5.3.1 Sends PRIORITY frame that depend on itself",
        doors: &[Door::Outbound, Door::Inbound],
        apps: &[App::Two],
        why: "the same in a PRIORITY frame, of which RFC 9113 6.3 asks for a stream and a length only",
    },
    Excuse {
        case: "http2/3.5 Sends invalid connection preface",
        doors: &[Door::Outbound],
        apps: &[App::Two, App::One],
        why: "what a connection speaks is found out: this is not HTTP/2 with prior knowledge (RFC 9113 3.3), but a line of HTTP/1 \
              that is malformed, and is answered as such (RFC 9112 3); h2spec reads the answer as a frame",
    },
];

/// What h2spec has nothing to try with where no answer has content.
const NO_CONTENT: &[&str] = &["http2/6.5.3 ", "http2/6.9.1 ", "http2/6.9.2 "];

/// What is run at once: sections, seconds that each wait of h2spec may take, and the path. A case that passes does not wait, so for
/// most it only has to be more than a busy machine needs; those that fail wait to the end, so they are apart.
type Run = (&'static [&'static str], &'static str, &'static str);

const PATH: &str = "/bytes/1000";
const PATIENT: &str = "20";
const WAITING: &str = "5";

/// What is the same however soon a request is answered.
const MOST: &[&str] = &[
    "generic/1",
    "generic/3",
    "generic/4",
    "generic/5",
    "hpack",
    "http2/3",
    "http2/4",
    "http2/5.1/11",
    "http2/5.1/12",
    "http2/5.1/13",
    "http2/5.1.1",
    "http2/5.4",
    "http2/5.5",
    "http2/6.1",
    "http2/6.2",
    "http2/6.3",
    "http2/6.4",
    "http2/6.5",
    "http2/6.7",
    "http2/6.8",
    "http2/6.9.1/1",
    "http2/6.9.2",
    "http2/6.10",
    "http2/7",
    "http2/8.2",
];

/// What is sent after a request, and has to find its stream open: an answer must not be over before, nor have streams end.
const OPEN: &[&str] = &[
    "http2/5.1/1",
    "http2/5.1/2",
    "http2/5.1/3",
    "http2/5.1/4",
    "http2/5.1/5",
    "http2/5.1/6",
    "http2/5.1/7",
    "http2/5.1/8",
    "http2/5.1/9",
    "http2/5.1/10",
    "http2/5.1.2",
    "http2/6.9/1",
    "http2/6.9/2",
    "http2/6.9/3",
    "http2/6.9.1/2",
    "http2/6.9.1/3",
    "http2/8.1",
];

impl App {
    fn runs(self) -> &'static [Run] {
        match self {
            Self::Two => &[
                (MOST, PATIENT, PATH),
                (&["generic/2"], PATIENT, PATH),
                (OPEN, PATIENT, "/hold"),
                (&["http2/5.3.1"], WAITING, PATH),
            ],
            // The proxies answer at once and without content: nothing stays open, and no DATA follows. And dependencies are no
            // matter of the application.
            Self::One => &[(MOST, PATIENT, PATH)],
        }
    }

    /// How many cases these are in this version of h2spec: a suite that ran by halves proves nothing.
    fn cases(self) -> usize {
        match self {
            Self::Two => 146,
            Self::One => 106,
        }
    }
}

/// The cases of a JUnit report, section and title, and what came of them.
fn cases(report: &str) -> BTreeMap<String, Found> {
    let case = |case: &str| {
        let mut quoted = case.split('"').skip(1).step_by(2);
        let (section, title) = (quoted.next().unwrap(), quoted.next().unwrap());
        let found = if case.contains("<skipped>") {
            Found::Skipped
        } else if case.contains("<failure>") || case.contains("<error>") {
            Found::Failed(case.to_owned())
        } else {
            Found::Passed
        };
        (format!("{section} {title}"), found)
    };
    report.split("<testcase ").skip(1).map(case).collect()
}

/// Connections to the address come to the server's proxy as those of a mesh peer do.
async fn tunnel(scene: &Arc<Scene>) -> SocketAddr {
    let listener = TcpListener::bind(scene.pair.client.place().at(9091)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let scene = Arc::clone(scene);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                let ca = scene.pair.control.ca();
                let (leaf, name) = (ca.leaf(&identity("client"), Validity::DAY), identity("server"));
                let (place, inbound) = (scene.pair.client.place(), scene.pair.server.inbound());
                let peer = Peer::good(ca, &leaf, &name);
                let mut far = peer.open(place, inbound, APP_PORT, Session::Http2).await.unwrap();
                // How it ends is for h2spec to judge.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

async fn conforms(door: Door, app: App) {
    let scene = Arc::new(Scene::start().await);
    let mut command = match app {
        App::Two => Command::new(prepared("go-peers")),
        App::One => node("http.js"),
    };
    let version = if app == App::One { "1.1" } else { "2" };
    command.arg("http-server").arg(scene.exit().to_string()).arg(version);
    let _app = scene.server("server", &mut command).await;
    let entrance = match door {
        Door::Outbound => scene.entrance(),
        Door::Inbound => tunnel(&scene).await,
    };
    let directory = tempfile::tempdir().unwrap();
    let mut running = Vec::new();
    for (number, (sections, patience, path)) in app.runs().iter().enumerate() {
        let report = directory.path().join(format!("{number}.xml"));
        let mut command = Command::new(prepared("h2spec"));
        command
            .args(["--strict", "--timeout", patience, "--path", path, "--host", &entrance.ip().to_string()])
            .args(["--port", &entrance.port().to_string(), "--junit-report"])
            .arg(&report)
            .args(*sections);
        running.push((Program::start("h2spec", &mut command), report));
    }
    let (mut found, mut text) = (BTreeMap::new(), String::new());
    for (program, report) in running {
        text += &program.finish().await.text;
        let report = std::fs::read_to_string(&report);
        found.append(&mut cases(&report.unwrap_or_else(|error| panic!("no report, {error}: {text}"))));
    }
    let excused: Vec<_> =
        EXCUSED.iter().filter(|it| it.doors.contains(&door) && it.apps.contains(&app)).collect();
    for (case, found) in &found {
        let excuse = excused.iter().find(|it| it.case == case);
        match (found, excuse) {
            (Found::Passed, None) | (Found::Failed(_), Some(_)) => {}
            (Found::Skipped, None) if app == App::One && NO_CONTENT.iter().any(|it| case.starts_with(it)) => {
            }
            (found, None) => panic!("{door:?} {app:?} {case}: {found:?}\n{text}"),
            (found, Some(it)) => panic!("{door:?} {app:?} {case} is {found:?}, but excused: {}", it.why),
        }
    }
    assert_eq!(found.len(), app.cases(), "{:?}", found.keys());
    for excuse in excused {
        assert!(found.contains_key(excuse.case), "{} was not run", excuse.case);
    }
    scene.nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_before_http2() {
    conforms(Door::Outbound, App::Two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_before_http1() {
    conforms(Door::Outbound, App::One).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_before_http2() {
    conforms(Door::Inbound, App::Two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_before_http1() {
    conforms(Door::Inbound, App::One).await;
}
