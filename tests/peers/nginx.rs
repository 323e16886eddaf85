//! nginx as a server of files, before curl, nghttp and h2load, and as a client: a reverse proxy in front of ours.

use crate::{
    program::{Ended, Program, prepared},
    scene::{Scene, pattern, sha256},
};
use serde_json::Value;
use std::{net::SocketAddr, process::Command};
use tempfile::TempDir;
use weft_tests::{client::try_connect, place::Place, wait::until};

struct Nginx {
    program: Program,
    files: TempDir,
}

impl Nginx {
    async fn start(listen: &str, address: SocketAddr, server: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let directory = files.path().display();
        std::fs::create_dir(files.path().join("www")).unwrap();
        std::fs::write(files.path().join("www/content"), pattern(1_000_000)).unwrap();
        std::fs::write(files.path().join("www/text.txt"), "again and ".repeat(100_000)).unwrap();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr warn;
            events {{ worker_connections 2000; }}
            http {{
                {paths}
                types {{ text/plain txt; }}
                log_format json escape=json '{{\"method\":\"$request_method\",\"target\":\"$request_uri\",\
                    \"proto\":\"$server_protocol\",\"client\":\"$http_l5d_client_id\",\"status\":\"$status\",\
                    \"sent\":$body_bytes_sent,\"end\":\"$request_completion\"}}';
                access_log {directory}/access.log json;
                client_max_body_size 5m;
                gzip on; gzip_types text/plain; gzip_min_length 100; gzip_proxied any; gzip_http_version 1.0;
                {server}
            }}"
        )
        .replace("LISTEN", listen)
        .replace("DIRECTORY", &directory.to_string());
        std::fs::write(files.path().join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new(if std::path::Path::new("/usr/sbin/nginx").exists() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        });
        command.args(["-e", "stderr", "-p"]).arg(files.path()).arg("-c").arg(files.path().join("nginx.conf"));
        let program = Program::start("nginx", &mut command);
        let place = Place::loopback();
        until("nginx", async || try_connect(&place, address).await.ok()).await;
        Self { program, files }
    }

    async fn files(scene: &Scene, more: &str) -> Self {
        let listen = format!("{}{more}", scene.exit());
        let server = "server { listen LISTEN; root DIRECTORY/www; \
            location /in/ { alias DIRECTORY/www/; dav_methods PUT; create_full_put_path on; } \
            location /slow/ { alias DIRECTORY/www/; limit_rate 50k; } }";
        Self::start(&listen, scene.exit(), server).await
    }

    fn seen(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.files.path().join("access.log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for so many lines in its log, all of them of clients who are known.
    async fn saw(&self, requests: usize) -> Vec<Value> {
        let seen =
            until("lines in a log", async || Some(self.seen()).filter(|seen| seen.len() >= requests)).await;
        assert_eq!(seen.len(), requests, "{seen:#?}");
        for line in &seen {
            assert_eq!(line["client"], Scene::client_id(), "{line}");
        }
        seen
    }
}

async fn run(program: &str, directory: &TempDir, arguments: &[&str]) -> Ended {
    let mut command = Command::new(program);
    Program::start(program, command.current_dir(directory.path()).args(arguments)).finish().await
}

/// Ranges, compression, conditions, uploads and refusals, the same for both versions; `count` of them.
async fn files(version: &str, listen: &str) {
    let scene = Scene::start().await;
    let nginx = Nginx::files(&scene, listen).await;
    let url = |path: &str| format!("{}{path}", scene.url());
    let curl = async |arguments: &[&str], path: &str| {
        let url = url(path);
        let all = [
            &["-q", "-sS", version, "-o", "out", "-w", "%{http_code} %{size_download}", "-D", "head"],
            arguments,
            &[&url],
        ];
        let ended = run("curl", &nginx.files, &all.concat()).await.well();
        let read = |name: &str| std::fs::read(nginx.files.path().join(name)).unwrap_or_default();
        let head = String::from_utf8(read("head")).unwrap().to_ascii_lowercase();
        (ended.text.trim().to_owned(), head, read("out"))
    };
    let content = pattern(1_000_000);
    let (told, head, body) = curl(&[], "/content").await;
    assert_eq!((told.as_str(), sha256(&body)), ("200 1000000", sha256(&content)));
    assert!(head.contains("server: nginx") && head.contains("accept-ranges: bytes"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let (told, head, body) = curl(&["-r", "100-299"], "/content").await;
    assert_eq!((told.as_str(), &body[..]), ("206 200", &content[100..300]));
    assert!(head.contains("content-range: bytes 100-299/1000000"), "{head}");
    let (told, head, body) = curl(&["-r", "0-9,500-509"], "/content").await;
    assert!(told.starts_with("206") && head.contains("multipart/byteranges"), "{told} {head}");
    assert!(body.windows(10).any(|window| window == &content[500..510]));
    let (told, ..) = curl(&["-r", "2000000-"], "/content").await;
    assert!(told.starts_with("416"), "{told}");
    // Compressed while it is sent, so nobody knows its length before.
    let (told, head, body) = curl(&["--compressed"], "/text.txt").await;
    assert!(told.starts_with("200") && head.contains("content-encoding: gzip"), "{told} {head}");
    assert!(!head.contains("content-length"), "{head}");
    assert_eq!(body.len(), 1_000_000);
    let condition = format!("if-none-match: {tag}");
    let (told, ..) = curl(&["-H", &condition], "/content").await;
    assert_eq!(told, "304 0");
    let (told, ..) = curl(&["-T", "www/content"], "/in/copy").await;
    assert!(told.starts_with("201"), "{told}");
    assert_eq!(sha256(&std::fs::read(nginx.files.path().join("www/copy")).unwrap()), sha256(&content));
    let (told, ..) = curl(&[], "/none").await;
    assert!(told.starts_with("404"), "{told}");
    let (told, ..) = curl(&["-X", "DELETE"], "/content").await;
    assert!(told.starts_with("405"), "{told}");
    let seen = nginx.saw(9).await;
    let spoken = if listen.is_empty() { "HTTP/1.1" } else { "HTTP/2.0" };
    assert!(seen.iter().all(|line| line["proto"] == spoken && line["end"] == "OK"), "{seen:#?}");
    scene.counted(9).await;
    for (status, count) in
        [("206", 2.0), ("304", 1.0), ("416", 1.0), ("404", 1.0), ("405", 1.0), ("201", 1.0)]
    {
        assert_eq!(scene.both("response_total", &[("status_code", status)]).await, [count; 2], "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_over_http1() {
    files("--http1.1", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_over_http2() {
    files("--http2-prior-knowledge", " http2").await;
}

/// It dies in the middle of a file: nobody is told that this is the end.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_file() {
    for (version, listen, codes) in
        [("--http1.1", "", &[18, 56][..]), ("--http2-prior-knowledge", " http2", &[92])]
    {
        let scene = Scene::start().await;
        let nginx = Nginx::files(&scene, listen).await;
        let mut command = Command::new("curl");
        let out = nginx.files.path().join("out");
        command
            .args(["-q", "-sS", "-N", version, "-o"])
            .arg(&out)
            .arg(format!("{}/slow/content", scene.url()));
        let curl = Program::start("curl", &mut command);
        until("the beginning", async || std::fs::metadata(&out).is_ok_and(|it| it.len() > 0).then_some(()))
            .await;
        drop(nginx.program);
        let ended = curl.finish().await;
        assert!(codes.contains(&ended.code), "{version}: {} {}", ended.code, ended.text);
        scene.nothing_is_held().await;
    }
}

/// Its upstream is a service of the mesh: HTTP/1.0 on a connection for each request, as it comes; and HTTP/1.1 kept alive.
#[tokio::test(flavor = "multi_thread")]
async fn reverse_proxy_into_the_mesh() {
    let scene = Scene::start().await;
    let mut command = Command::new(prepared("go-peers"));
    let app = scene.server("server", command.arg("http-server").arg(scene.exit().to_string())).await;
    let address = scene.pair.client.place().at(9090);
    let server = format!(
        "upstream mesh {{ server {}; keepalive 4; }} server {{ listen LISTEN; \
            location /old/ {{ proxy_pass http://mesh/; }} \
            location /new/ {{ proxy_pass http://mesh/; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                proxy_request_buffering off; }} }}",
        scene.entrance()
    );
    let nginx = Nginx::start(&address.to_string(), address, &server).await;
    for way in ["old", "new"] {
        for (arguments, path, expected) in [
            (&[][..], "bytes/1000000", pattern(1_000_000)),
            (&[], "stream/10/10000", pattern(10_000).repeat(10)),
            (
                &["-H", "transfer-encoding: chunked", "--data-binary", "@www/content"],
                "echo",
                pattern(1_000_000),
            ),
        ] {
            let url = format!("http://{address}/{way}/{path}");
            let all = [&["-q", "-sS", "-f", "-o", "out"], arguments, &[&url]].concat();
            let ended = run("curl", &nginx.files, &all).await;
            assert_eq!(ended.code, 0, "{way} {path}: {}", ended.text);
            let body = std::fs::read(nginx.files.path().join("out")).unwrap();
            assert_eq!(sha256(&body), sha256(&expected), "{way} {path}: {} bytes", body.len());
        }
    }
    let said = app.said();
    for line in said.iter().filter(|line| line["method"].is_string()) {
        assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
    }
    scene.counted(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp() {
    let scene = Scene::start().await;
    let nginx = Nginx::files(&scene, " http2").await;
    let url = |path: &str| format!("{}{path}", scene.url());
    let ended = run("nghttp", &nginx.files, &["-nv", "--no-dep", &url("/content")]).await.well();
    assert!(ended.text.contains(":status: 200"), "{}", ended.text);
    assert!(ended.text.contains("END_STREAM") && !ended.text.contains("l5d-"), "{}", ended.text);
    // Padding, HTTP/2 priorities, a small window, and 20 at once on one connection.
    let (content, text) = (url("/content"), url("/text.txt"));
    let arguments = ["-n", "-s", "-b", "100", "-w", "16", "-W", "16", "-m", "10", &content, &text];
    let ended = run("nghttp", &nginx.files, &arguments).await.well();
    assert_eq!(ended.text.matches(" 200 ").count(), 20, "{}", ended.text);
    let upload = url("/in/nghttp");
    let arguments = ["-nv", "-H", ":method: PUT", "-d", "www/content", &upload];
    let ended = run("nghttp", &nginx.files, &arguments).await.well();
    assert!(ended.text.contains(":status: 201"), "{}", ended.text);
    assert_eq!(std::fs::read(nginx.files.path().join("www/nghttp")).unwrap(), pattern(1_000_000));
    nginx.saw(22).await;
    scene.counted(22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2load() {
    for (speak, listen) in [(&[][..], " http2"), (&["--h1"][..], "")] {
        let scene = Scene::start().await;
        let nginx = Nginx::files(&scene, listen).await;
        let url = format!("{}/content", scene.url());
        let mut arguments = speak.to_vec();
        arguments.extend(["-n", "200", "-c", "8", "-t", "1"]);
        if speak.is_empty() {
            arguments.extend(["-m", "10", "-w", "18", "-W", "20"]);
        }
        arguments.push(&url);
        let ended = run("h2load", &nginx.files, &arguments).await.well();
        assert!(ended.text.contains("200 succeeded, 0 failed, 0 errored, 0 timeout"), "{}", ended.text);
        assert!(ended.text.contains("status codes: 200 2xx"), "{}", ended.text);
        nginx.saw(200).await;
        scene.counted(200).await;
    }
}
