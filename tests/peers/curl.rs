//! curl before Go's server: what people type.

use crate::{
    program::{Ended, Program, prepared},
    scene::{Scene, number, pattern, sha256},
};
use std::process::Command;
use tempfile::TempDir;

const WRITE: &str = "%{http_code} %{http_version} %{size_download} %{num_connects}\\n";

struct Curl {
    scene: Scene,
    server: Program,
    files: TempDir,
    version: &'static str,
}

impl Curl {
    async fn start(version: &'static str) -> Self {
        let scene = Scene::start().await;
        let mut command = Command::new(prepared("go-peers"));
        let server = scene.server("server", command.arg("http-server").arg(scene.exit().to_string())).await;
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("content"), pattern(2_000_000)).unwrap();
        Self { scene, server, files, version }
    }

    /// Runs it; what it writes goes to `out` and is given as the lines of `WRITE`.
    async fn run(&self, arguments: &[&str], paths: &[&str]) -> Ended {
        let mut command = Command::new("curl");
        command.current_dir(self.files.path()).args(["-q", "-sS", self.version, "-w", WRITE]).args(arguments);
        for path in paths {
            command.arg(format!("{}{path}", self.scene.url())).args(["-o", "out"]);
        }
        Program::start("curl", &mut command).finish().await
    }

    fn out(&self) -> Vec<u8> {
        std::fs::read(self.files.path().join("out")).unwrap_or_default()
    }

    /// What both versions do.
    async fn common(&mut self, number_of_version: &str) {
        let v = number_of_version;
        // (curl 7.88 cannot use a connection of HTTP/2 again that it was not told of by TLS, whoever the server is.)
        if self.version == "--http1.1" {
            // One connection for all of them.
            let ended = self.run(&[], &["/bytes/10", "/bytes/20", "/status/404"]).await.well();
            assert_eq!(ended.text.trim(), "200 1.1 10 1\n200 1.1 20 0\n404 1.1 0 0");
        } else {
            let ended = self.run(&[], &["/status/404"]).await.well();
            assert_eq!(ended.text.trim(), "404 2 0 1");
        }

        let ended = self.run(&["-I"], &["/bytes/1000"]).await.well();
        assert!(ended.text.contains(&format!("200 {v} 0 1")), "{}", ended.text);
        let head = String::from_utf8(self.out()).unwrap().to_ascii_lowercase();
        assert!(head.contains("content-length: 1000\r\n") && !head.contains("l5d-"), "{head}");

        // Long enough for curl to ask first.
        let ended = self.run(&["-v", "-H", "expect: 100-continue", "-T", "content"], &["/echo"]).await.well();
        assert!(ended.text.contains(&format!("200 {v} 2000000")), "{}", ended.text);
        assert!(ended.text.contains(&format!("< HTTP/{v} 100")), "{}", ended.text);
        assert_eq!(sha256(&self.out()), sha256(&pattern(2_000_000)));

        let chunked = ["-H", "transfer-encoding: chunked", "-H", "expect:", "--data-binary", "@content"];
        let ended = self.run(&chunked, &["/echo"]).await.well();
        assert!(ended.text.contains(&format!("200 {v} 2000000")), "{}", ended.text);
        assert_eq!(sha256(&self.out()), sha256(&pattern(2_000_000)));

        let ended = self.run(&[], &["/bytes/20000000"]).await.well();
        assert_eq!(ended.text.trim(), format!("200 {v} 20000000 1"));
        assert_eq!(sha256(&self.out()), sha256(&pattern(20_000_000)));

        // It goes away; the server learns of it.
        let ended = self.run(&["-m", "1"], &["/hold"]).await;
        assert_eq!(ended.code, 28, "{}", ended.text);
        self.server
            .wait_for("that curl is gone", |said| {
                said.iter().any(|line| line["target"] == "/hold" && line["end"] == "gone").then_some(())
            })
            .await;
    }

    async fn check_counts(&self) {
        let said = self.server.said();
        let requests: Vec<_> = said.iter().filter(|line| line["method"].is_string()).collect();
        for line in &requests {
            assert_eq!(line["headers"]["l5d-client-id"], Scene::client_id(), "{line}");
        }
        let again = requests.iter().filter(|line| line["target"] == "/refuse").count();
        self.scene.counted(requests.len() - again.saturating_sub(1)).await;
        for count in self.scene.both("response_total", &[("status_code", "404")]).await {
            assert_eq!(count, number(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http1() {
    let mut curl = Curl::start("--http1.1").await;
    curl.common("1.1").await;
    // Exit code 18: less came than was promised; 56: the connection was reset.
    let ended = curl.run(&[], &["/die/50000"]).await;
    assert!([18, 56].contains(&ended.code), "{} {}", ended.code, ended.text);
    let ended = curl.run(&["-D", "head"], &["/refuse"]).await.well();
    assert!(ended.text.starts_with("502"), "{}", ended.text);
    let head = std::fs::read_to_string(curl.files.path().join("head")).unwrap().to_ascii_lowercase();
    assert!(head.contains("l5d-proxy-error: "), "{head}");
    curl.check_counts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge() {
    let mut curl = Curl::start("--http2-prior-knowledge").await;
    curl.common("2").await;
    // Exit code 92: the stream was reset.
    for path in ["/die/50000", "/refuse"] {
        let ended = curl.run(&[], &[path]).await;
        assert_eq!(ended.code, 92, "{path}: {}", ended.text);
        assert!(ended.text.contains("INTERNAL_ERROR"), "{path}: {}", ended.text);
    }
    curl.check_counts().await;
}

/// What asks for HTTP/2 over HTTP/1.1 gets HTTP/1.1; the field is for one hop only. HTTP/1.0 arrives as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn old_and_upgrading_clients() {
    for (version, spoken) in [("--http2", "1.1"), ("--http1.0", "1.")] {
        let curl = Curl::start(version).await;
        let ended = curl.run(&[], &["/bytes/1000"]).await.well();
        assert!(ended.text.starts_with(&format!("200 {spoken}")), "{}", ended.text);
        assert_eq!(sha256(&curl.out()), sha256(&pattern(1000)));
        let said = curl.server.said();
        let line = said.iter().find(|line| line["method"] == "GET").unwrap();
        assert!(
            line["headers"]["upgrade"].is_null() && line["headers"]["http2-settings"].is_null(),
            "{line}"
        );
        curl.scene.counted(1).await;
    }
}
