//! WebSockets by ws, and a browser that opens a page, both through the mesh to Node.

use crate::{
    program::{Program, node},
    scene::Scene,
};
use serde_json::{Value, json};
use std::process::Command;

async fn server(scene: &Scene) -> Program {
    scene.server("server", node("web.js").arg("server").arg(scene.exit().to_string())).await
}

/// Waits until the server has told the end of so many WebSockets, all of them of a client that is known.
async fn sockets(app: &mut Program, count: usize) -> Vec<Value> {
    let all = app
        .wait_for("the end of WebSockets", |said| {
            let sockets: Vec<_> = said.iter().filter(|line| line["socket"].is_string()).cloned().collect();
            (sockets.len() >= count).then_some(sockets)
        })
        .await;
    assert_eq!(all.len(), count, "{all:#?}");
    for line in &all {
        assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
        assert_eq!(line["headers"]["upgrade"], "websocket", "{line}");
        assert!(line["headers"]["l5d-orig-proto"].is_null(), "{line}");
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn ws() {
    let scene = Scene::start().await;
    let mut app = server(&scene).await;
    let url = format!("ws://{}", scene.entrance());
    let ended = Program::start("client", node("web.js").arg("client").arg(url)).finish().await.well();
    let said = ended.said();
    let [talk, closed, dropped, left] = &said[..] else { panic!("{}", ended.text) };
    assert_eq!(talk["protocol"], "second", "{talk}");
    assert_eq!(talk["extensions"], "permessage-deflate", "{talk}");
    assert_eq!(talk["right"], 8, "{talk}");
    assert_eq!(talk["fragments"], "in three frames", "{talk}");
    assert_eq!(talk["pong"], "are you there", "{talk}");
    assert_eq!(talk["order"], 500, "{talk}");
    assert_eq!(talk["closed"], json!({"code": 4001, "reason": "enough"}), "{talk}");
    assert_eq!(closed["extensions"], "", "{closed}");
    assert_eq!(closed["closed"], json!({"code": 4002, "reason": "as you wish"}), "{closed}");
    // 1006: the connection broke without a word of it (RFC 6455 7.1.5).
    assert_eq!(dropped["closed"]["code"], 1006, "{dropped}");
    assert_eq!(left["closed"]["code"], 1006, "{left}");
    let all = sockets(&mut app, 4).await;
    let find = |path: &str| all.iter().find(|line| line["socket"] == path).unwrap();
    let first = find("/one?a=b");
    assert_eq!(
        (&first["code"], &first["reason"], &first["messages"]),
        (&4001.into(), &"enough".into(), &509.into())
    );
    assert_eq!((&first["headers"]["x-test"], &first["ping"]), (&"kept".into(), &"are you there".into()));
    assert_eq!(find("/two")["code"], 4002);
    assert_eq!(find("/four")["code"], 1006);
    scene.nothing_is_held().await;
    for count in scene.both("request_total", &[]).await {
        assert_eq!(count, 4.0);
    }
    assert_eq!(scene.both("response_total", &[("status_code", "101")]).await, [4.0; 2]);
}

/// Debian's browser itself: what is on the path is a shell that waits for it, and the browser would outlive that.
const BROWSER: &str = "/usr/lib/chromium/chromium-headless-shell";

#[tokio::test(flavor = "multi_thread")]
async fn chromium() {
    let scene = Scene::start().await;
    let mut app = server(&scene).await;
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(BROWSER);
    command
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .env("HOME", profile.path())
        .arg(format!("{}/page", scene.url()));
    let browser = Program::start("chromium", &mut command);
    let report = app
        .wait_for("a report", |said| {
            said.iter().find(|line| line["report"].is_object()).map(|line| line["report"].clone())
        })
        .await;
    assert!(report["error"].is_null(), "{report}");
    assert_eq!(report["echo"], json!([200, true]), "{report}");
    assert_eq!(report["proto"], "http/1.1", "{report}");
    assert_eq!((&report["parallel"], &report["missing"]), (&30.into(), &404.into()), "{report}");
    assert_eq!(
        (&report["events"], &report["held"]),
        (&"1 2 3 4 5".into(), &"first piece".into()),
        "{report}"
    );
    assert_eq!((&report["protocol"], &report["text"]), (&"second".into(), &"grün".into()), "{report}");
    assert_eq!(report["binary"], true, "{report}");
    assert_eq!(report["closed"], json!({"code": 4002, "reason": "as you wish", "clean": true}), "{report}");
    assert_eq!(
        (&report["dropped"]["code"], &report["dropped"]["clean"]),
        (&1006.into(), &false.into()),
        "{report}"
    );
    assert_eq!(report["left"], json!({"code": 4003, "reason": "bye", "clean": true}), "{report}");
    // What the page gave up, the server has been told of, though the browser is still there.
    for path in ["/events", "/hold"] {
        app.wait_for("that the page wants no more", |said| {
            said.iter().any(|line| line["target"] == path && line["end"] == "gone").then_some(())
        })
        .await;
    }
    sockets(&mut app, 3).await;
    drop(browser);
    let said = app.said();
    for line in said.iter().filter(|line| line["method"].is_string()) {
        assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
    }
    let requests =
        said.iter().filter(|line| line["method"].is_string() || line["socket"].is_string()).count();
    scene.counted(requests).await;
}
