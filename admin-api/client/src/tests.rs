//! The client against the real router over both listeners, and against servers that are no control plane.

use crate::{Client, ClientError, Filter, Https, MAX_BODY, Operation};
use jiff::Timestamp;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{collections::BTreeSet, path::Path, sync::Arc};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;
use weft_admin_api::{
    Views, document, require_token, router,
    types::{Proxy, Readiness, Service, Workload},
};
use weft_store::Store;

struct Made(u32);

impl Views for Made {
    fn services(&self) -> Vec<Service> {
        (0..self.0)
            .map(|i| Service {
                namespace: if i % 2 == 0 { "even" } else { "odd" }.into(),
                name: format!("s{i:04}"),
                host: String::new(),
                address: None,
                ports: vec![],
                endpoints: 0,
                ready_endpoints: 0,
                created_at: None,
            })
            .collect()
    }

    fn workloads(&self) -> Vec<Workload> {
        vec![]
    }

    fn proxies(&self) -> Vec<Proxy> {
        vec![]
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: false, checks: vec![], problems: vec![] }
    }

    fn trust_domain(&self) -> String {
        "cluster.local".into()
    }
}

async fn made(dir: &Path, services: u32) -> axum::Router {
    let store = Store::open(&dir.join("state"), "test", Timestamp::now()).await.unwrap();
    router(Arc::new(Made(services)), store)
}

/// The API on a Unix socket.
async fn unix(services: u32) -> (Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let router = made(dir.path(), services).await;
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (Client::unix(path), dir)
}

/// A Unix socket where every connection is answered with these bytes, whatever is asked.
async fn answering(bytes: Vec<u8>) -> (Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&bytes).await;
        }
    });
    (Client::unix(path), dir)
}

#[test]
fn every_operation_is_in_the_document_and_the_other_way_round() {
    let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
    let documented: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let asked: BTreeSet<_> = Operation::ALL
        .iter()
        .map(|operation| (operation.method().to_string(), operation.template().to_owned()))
        .collect();
    assert_eq!(asked, documented);
}

#[test]
fn names_and_queries_are_encoded() {
    assert_eq!(Operation::GetService.path(&["a/b", "c d?"], &[]), "/v1/services/a%2Fb/c%20d%3F");
    let query = [("limit", Some("5")), ("cursor", None), ("identity", Some("é&b=c"))];
    assert_eq!(
        Operation::ListCertificates.path(&[], &query),
        "/v1/certificates?limit=5&identity=%C3%A9%26b%3Dc"
    );
    assert_eq!(Operation::GetDocument.path(&[], &[]), "/openapi.json");
}

#[tokio::test]
async fn every_operation_is_understood_by_the_server() {
    let (client, _dir) = unix(1).await;
    client.workloads(&Filter::default()).await.unwrap();
    client.proxies(&Filter::default()).await.unwrap();
    client.certificates(&Filter { identity: Some("a b".into()), ..Filter::default() }).await.unwrap();
    assert_eq!(client.service("even", "s0000").await.unwrap().name, "s0000");
    assert_eq!(client.version().await.unwrap().product, "weft");
    assert!(!client.readiness().await.unwrap().ready, "not ready is an answer");
    assert_eq!(client.document().await.unwrap()["openapi"], "3.1.0");
    fn details<T>(result: Result<T, ClientError>) -> Option<String> {
        result.err()?.problem()?.detail.clone()
    }
    for (detail, expected) in [
        (details(client.service("even", "none").await), "there is no service even/none"),
        (details(client.workload("a", "b").await), "there is no workload a/b"),
        (details(client.proxy("a", "b").await), "there is no proxy connected for workload a/b"),
        (
            details(client.certificate("00000000000000000000000000000000").await),
            "there is no certificate with serial number 00000000000000000000000000000000",
        ),
    ] {
        assert_eq!(detail.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn lists_follow_their_pages() {
    let (client, _dir) = unix(1203).await;
    let all = client.services(&Filter::default()).await.unwrap();
    assert_eq!(all.len(), 1203);
    assert!(all.is_sorted_by_key(|service| (service.namespace.clone(), service.name.clone())));
    for limit in [0, 1, 500, 501, 5000] {
        let some = client.services(&Filter { limit: Some(limit), ..Filter::default() }).await.unwrap();
        assert_eq!(some.len(), 1203.min(limit as usize));
    }
    let odd = client.services(&Filter { namespace: Some("odd".into()), ..Filter::default() }).await.unwrap();
    assert_eq!(odd.len(), 601);
    let error =
        client.services(&Filter { identity: Some("x".into()), ..Filter::default() }).await.unwrap_err();
    assert!(error.to_string().contains("expected one of limit, cursor, namespace"), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let error = Client::unix(&path).version().await.unwrap_err();
    assert_eq!(error.to_string(), format!("no control plane answers at {}", path.display()));
    assert!(error.advice().unwrap().contains("weft up"));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::unix(&path).version().await, Err(ClientError::Connect { .. })));
}

#[tokio::test]
async fn answers_of_others_are_refused() {
    async fn error(bytes: impl Into<Vec<u8>>) -> ClientError {
        answering(bytes.into()).await.0.version().await.unwrap_err()
    }
    assert!(matches!(error("SSH-2.0-OpenSSH\r\n\r\n").await, ClientError::Exchange { .. }));
    assert!(matches!(error("").await, ClientError::Exchange { .. }));
    let not_json = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    assert!(matches!(error(not_json).await, ClientError::Contents { .. }));
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{";
    assert!(matches!(error(cut).await, ClientError::Exchange { .. }));
    let teapot = "HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n";
    assert!(matches!(error(teapot).await, ClientError::Status { status, .. } if status == 418));
    let mut long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_BODY + 1).into_bytes();
    long.resize(long.len() + MAX_BODY + 1, b' ');
    assert!(matches!(error(long).await, ClientError::TooLong { .. }));
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let body = "{\"items\":[],\"next\":\"services:a/b\"}";
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (client, _dir) = answering(answer.into_bytes()).await;
    assert!(matches!(client.services(&Filter::default()).await, Err(ClientError::TooManyPages)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Client::unix(path).version().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The API over HTTPS with a token; gives the address.
async fn https(dir: &Path, root: &CertifiedIssuer<'static, KeyPair>) -> String {
    let router = require_token(made(dir, 3).await, "secret");
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, root).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, router).await.unwrap() });
    address
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[tokio::test]
async fn https_needs_the_right_root_name_and_token() {
    let dir = tempfile::tempdir().unwrap();
    let root = issuer("root");
    let address = https(dir.path(), &root).await;
    let port = address.rsplit(':').next().unwrap().to_owned();
    let client = |address: &str, anchors: &str, token: &str| {
        Client::https(Https { address: address.into(), anchors: anchors.into(), token: token.into() })
    };

    for name in ["localhost", "127.0.0.1"] {
        let client = client(&format!("{name}:{port}"), &root.pem(), "secret\n").unwrap();
        assert_eq!(client.services(&Filter::default()).await.unwrap().len(), 3, "{name}");
    }
    let other = client(&address, &issuer("other").pem(), "secret").unwrap();
    let error = other.version().await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    let error = client(&address, &root.pem(), "guess").unwrap().version().await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 401);

    assert!(matches!(client("localhost", &root.pem(), "secret"), Err(ClientError::Address { .. })));
    assert!(matches!(client("local host:1", &root.pem(), "secret"), Err(ClientError::Address { .. })));
    assert!(matches!(client(&address, "nothing", "secret"), Err(ClientError::Anchors)));
    assert!(matches!(client(&address, &root.pem(), "a\nb"), Err(ClientError::Token)));
    let shown = format!("{:?}", client(&address, &root.pem(), "secret").unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}
