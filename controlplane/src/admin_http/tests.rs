//! The listeners, asked with plain bytes.

use super::{
    AdminTls, HEAD_TIMEOUT, MAX_CONNECTIONS, SocketError, anchors_file, bind_unix, serve_https, serve_unix,
};
use crate::identity::{Authority, Config, Lifetime, Renew};
use axum::{Router, routing::get};
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{Notify, oneshot},
};
use tokio_rustls::TlsConnector;
use weft_store::{Retention, Store};

const CLOSE: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    let mut answer = Vec::new();
    // A connection that is refused may be closed before the request is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn authority(dir: &Path, validity: Duration) -> Arc<Authority> {
    let now = Timestamp::now();
    let store = Store::open(dir, "test", now).await.unwrap();
    let config = Config {
        namespace: "linkerd".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        lifetime: Lifetime { validity, clock_skew: Duration::ZERO },
        token_ttl: Duration::from_secs(3600),
        retention: Retention::default(),
    };
    Arc::new(Authority::open(store, config, now).await.unwrap())
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_replaces_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    drop(bind_unix(&path).unwrap());
    assert!(path.exists(), "nobody removed it");
    let listener = bind_unix(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    tokio::spawn(serve_unix(listener, hello(), std::future::pending()));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), CLOSE).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn a_path_that_cannot_be_a_socket_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120)).join("admin.sock");
    let error = bind_unix(&long).unwrap_err();
    assert!(matches!(error, SocketError::TooLong { .. }));
    assert!(error.to_string().contains("at most 107 are possible"), "{error}");
    let error = bind_unix(&dir.path().join("none/admin.sock")).unwrap_err();
    assert!(matches!(error, SocketError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    tokio::spawn(serve_unix(bind_unix(&path).unwrap(), hello(), std::future::pending()));
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0u8; 15];
        stream.read_exact(&mut answer).await.unwrap();
        open.push(stream);
    }
    assert_eq!(exchange(UnixStream::connect(&path).await.unwrap(), CLOSE).await, "");
    open.pop();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while exchange(UnixStream::connect(&path).await.unwrap(), CLOSE).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "no room came back");
    }
}

#[tokio::test]
async fn a_request_under_way_ends_before_the_listener_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = Router::new().route("/", {
        let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
        get(async move || {
            started.notify_one();
            go_on.notified().await;
            "done"
        })
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let server = tokio::spawn(serve_unix(bind_unix(&path).unwrap(), router, stopped));
    let idle = UnixStream::connect(&path).await.unwrap();
    let client = tokio::spawn(exchange(UnixStream::connect(&path).await.unwrap(), CLOSE));
    started.notified().await;
    stop.send(()).unwrap();
    while UnixStream::connect(&path).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    assert!(client.await.unwrap().ends_with("done"));
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    assert_eq!(exchange(idle, "").await, "");
}

#[tokio::test]
async fn heads_are_bounded_in_time_and_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    tokio::spawn(serve_unix(bind_unix(&path).unwrap(), hello(), std::future::pending()));
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20 * 1024));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), &long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    tokio::time::pause();
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let start = tokio::time::Instant::now();
        exchange(UnixStream::connect(&path).await.unwrap(), begun).await;
        assert!(start.elapsed() >= HEAD_TIMEOUT, "{begun:?}");
    }
}

struct Https {
    address: std::net::SocketAddr,
    tls: Arc<AdminTls>,
    dir: TempDir,
}

async fn https(validity: Duration) -> Https {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path(), validity).await;
    anchors_file(&authority, dir.path()).unwrap();
    anchors_file(&authority, dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let addresses = ["10.9.8.7".parse().unwrap(), "0.0.0.0".parse().unwrap(), address.ip()];
    let tls = Arc::new(AdminTls::new(authority, &addresses, Timestamp::now()).await.unwrap());
    tokio::spawn(serve_https(listener, Arc::clone(&tls), hello(), std::future::pending()));
    Https { address, tls, dir }
}

impl Https {
    async fn connect(&self, name: &str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let pem = self.dir.path().join("trust-anchors.pem");
        roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(weft_net::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(self.address).await?).await
    }
}

#[tokio::test]
async fn https_is_good_for_the_names_it_is_reached_by() {
    let https = https(Duration::from_secs(3600)).await;
    let identity = "weft-admin.linkerd.serviceaccount.identity.linkerd.cluster.local";
    for name in ["localhost", "127.0.0.1", "::1", "10.9.8.7", identity] {
        let answer = exchange(https.connect(name).await.unwrap(), CLOSE).await;
        assert!(answer.ends_with("hello"), "{name}: {answer}");
    }
    for name in ["0.0.0.0", "example.org"] {
        assert!(https.connect(name).await.is_err(), "{name}");
    }
    let plain = exchange(TcpStream::connect(https.address).await.unwrap(), CLOSE).await;
    assert!(!plain.contains("HTTP/1.1"), "{plain}");
}

#[tokio::test]
async fn https_gets_a_new_certificate_in_time() {
    let https = https(Duration::from_secs(10)).await;
    let until = https.tls.not_after();
    let tls = Arc::clone(&https.tls);
    let renewal = tokio::spawn(async move { tls.keep_renewed().await });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while https.tls.not_after() == until {
        assert!(tokio::time::Instant::now() < deadline, "not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    renewal.abort();
    assert!(exchange(https.connect("localhost").await.unwrap(), CLOSE).await.ends_with("hello"));
}
