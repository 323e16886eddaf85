//! Good and bad clients against the acceptor, and a proxy's whole first minute: Certify without a certificate, then
//! discovery with it.

use super::{AcceptError, Failure, HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, MeshStream, MeshTls, Peer};
use crate::identity::{Authority, Config, IdentityService, Lifetime, Outcome, Outcomes, Renew};
use jiff::{SignedDuration, Timestamp};
use linkerd2_proxy_api::identity::{
    CertifyRequest, identity_client::IdentityClient, identity_server::IdentityServer,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, transport::Endpoint};
use weft_names::IdentityName;
use weft_store::{Retention, Store};

const IDENTITY: &str = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
const DESTINATION: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

struct Plane {
    authority: Arc<Authority>,
    tls: Arc<MeshTls>,
    listener: TcpListener,
    store: Store,
    _dir: TempDir,
}

/// A certificate and its key.
type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

async fn plane(validity: Duration) -> Plane {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let store = Store::open(dir.path(), "test", now).await.unwrap();
    let config = Config {
        namespace: "linkerd".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        lifetime: Lifetime { validity, clock_skew: Duration::ZERO },
        token_ttl: Duration::from_secs(3600),
        retention: Retention::default(),
    };
    let authority = Arc::new(Authority::open(store.clone(), config, now).await.unwrap());
    let names = [IDENTITY, DESTINATION].map(|name| name.parse().unwrap()).into();
    let tls = Arc::new(MeshTls::new(Arc::clone(&authority), names, now).await.unwrap());
    Plane { authority, tls, listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), store, _dir: dir }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Plane {
    /// Connects `client` and accepts it, at the same time.
    async fn accept<C>(
        &self,
        client: impl AsyncFnOnce(TcpStream) -> C,
    ) -> (C, Result<MeshStream, AcceptError>) {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (accepted, address) = self.listener.accept().await.unwrap();
        tokio::join!(client(stream), self.tls.accept(accepted, address))
    }

    async fn tls(
        &self,
        name: &str,
        credentials: Option<Credentials>,
    ) -> (io::Result<TlsStream<TcpStream>>, Result<MeshStream, AcceptError>) {
        let connector = connector(&self.authority.trust_anchors(), credentials);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        self.accept(async move |stream| {
            let mut stream = connector.connect(name, stream).await?;
            // A client is done before the server has looked at its certificate; the answer tells.
            let mut byte = [0u8; 1];
            match stream.read(&mut byte).now_or_error().await {
                Some(Err(error)) => Err(error),
                _ => Ok(stream),
            }
        })
        .await
    }

    async fn credentials(&self, now: Timestamp) -> Credentials {
        credentials(&self.authority, now).await
    }
}

/// Waits for an error only as long as the server takes to send one on loopback.
trait NowOrError: Future + Sized {
    async fn now_or_error(self) -> Option<Self::Output> {
        tokio::time::timeout(Duration::from_millis(100), self).await.ok()
    }
}
impl<F: Future> NowOrError for F {}

async fn credentials(authority: &Authority, now: Timestamp) -> Credentials {
    let own = authority.certify_own(&WEB.parse().unwrap(), &[], now).await.unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key));
    (own.chain.into_iter().map(CertificateDer::from).collect(), key)
}

fn connector(anchors: &[Vec<u8>], credentials: Option<Credentials>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(CertificateDer::from(anchor.clone())).unwrap();
    }
    let config = ClientConfig::builder_with_provider(weft_net::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match credentials {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

fn name(text: &str) -> Option<IdentityName> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn clients_with_and_without_a_certificate_are_accepted_by_the_name_they_ask_for() {
    let plane = plane(DAY).await;
    for asked in [IDENTITY, DESTINATION] {
        for with_certificate in [false, true] {
            let credentials =
                if with_certificate { Some(plane.credentials(Timestamp::now()).await) } else { None };
            let (client, server) = plane.tls(asked, credentials).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            assert!(server.is_tls());
            assert_eq!(server.peer().identity, if with_certificate { name(WEB) } else { None });
            assert_eq!(server.peer().server, name(asked));

            client.write_all(b"ping").await.unwrap();
            let mut read = [0u8; 4];
            server.read_exact(&mut read).await.unwrap();
            server.write_all(b"pong").await.unwrap();
            server.flush().await.unwrap();
            client.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"pong");
        }
    }
}

#[tokio::test]
async fn the_name_is_found_in_any_case() {
    let plane = plane(DAY).await;
    let (client, server) = plane.tls(&IDENTITY.to_uppercase(), None).await;
    client.unwrap();
    assert_eq!(server.unwrap().peer().server, name(IDENTITY));
}

fn refusal(server: Result<MeshStream, AcceptError>, plane: &Plane, failure: Failure) -> AcceptError {
    let error = server.unwrap_err();
    assert_eq!(error.failure, failure, "{error}: {:?}", error.source);
    assert_eq!(plane.tls.failures().value(failure), 1, "{failure}");
    assert!(error.client.starts_with("127.0.0.1:"), "{error}");
    error
}

#[tokio::test]
async fn a_certificate_of_another_root_is_refused_with_both_names() {
    let (here, elsewhere) = (plane(DAY).await, plane(DAY).await);
    let (client, server) = here.tls(DESTINATION, Some(elsewhere.credentials(Timestamp::now()).await)).await;
    let error = refusal(server, &here, Failure::ClientCertificate);
    assert!(error.client.ends_with(&format!("with a certificate for {WEB}")), "{error}");
    assert_eq!(error.server, DESTINATION);
    let told = client.unwrap_err().to_string();
    // Both roots have the same name, so it is the signature that does not fit.
    assert!(told.contains("alert: DecryptError"), "{told}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let plane = plane(Duration::from_secs(60)).await;
    // The authority is valid since an hour ago.
    let past = Timestamp::now() - SignedDuration::from_mins(30);
    let (_, server) = plane.tls(DESTINATION, Some(plane.credentials(past).await)).await;
    let error = refusal(server, &plane, Failure::ClientCertificate);
    assert!(error.source.unwrap().to_string().contains("expired"));
}

#[tokio::test]
async fn any_name_the_root_vouches_for_is_an_identity() {
    let plane = plane(DAY).await;
    let elsewhere =
        plane.authority.certify_own(&"a.b".parse().unwrap(), &[], Timestamp::now()).await.unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(elsewhere.key));
    let chain = elsewhere.chain.into_iter().map(CertificateDer::from).collect();
    let (_, server) = plane.tls(IDENTITY, Some((chain, key))).await;
    assert_eq!(server.unwrap().peer().identity, name("a.b"));
}

#[tokio::test]
async fn names_that_are_not_ours_are_refused() {
    for asked in [WEB, "127.0.0.1"] {
        let plane = plane(DAY).await;
        let (client, server) = plane.tls(asked, None).await;
        let error = refusal(server, &plane, Failure::ServerName);
        assert_eq!(error.server, if asked == WEB { WEB } else { "not named" });
        assert!(client.unwrap_err().to_string().contains("alert"), "the client is told");
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_root_refuses_us() {
    let (here, elsewhere) = (plane(DAY).await, plane(DAY).await);
    let connector = connector(&elsewhere.authority.trust_anchors(), None);
    let (client, server) = here
        .accept(async move |stream| connector.connect(ServerName::try_from(IDENTITY).unwrap(), stream).await)
        .await;
    assert!(client.is_err());
    refusal(server, &here, Failure::RefusedByPeer);
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    for (bytes, failure) in [
        (&b""[..], Failure::Closed),
        (&[0x16], Failure::Closed),
        (&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0], Failure::Protocol),
        (&[0x16; 64], Failure::Protocol),
    ] {
        let plane = plane(DAY).await;
        let (_, server) = plane
            .accept(async |mut stream: TcpStream| {
                stream.write_all(bytes).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            })
            .await;
        refusal(server, &plane, failure);
    }
}

#[tokio::test]
async fn plaintext_is_for_loopback() {
    let plane = plane(DAY).await;
    let mut accepted = Vec::new();
    for address in
        ["127.0.0.1:5", "127.8.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5", "10.0.0.7:5", "[fd00::7]:5"]
    {
        let mut client = TcpStream::connect(plane.listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = plane.listener.accept().await.unwrap();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let address: SocketAddr = address.parse().unwrap();
        match plane.tls.accept(stream, address).await {
            Ok(mut stream) => {
                assert_eq!(stream.peer(), &Peer { address, identity: None, server: None });
                let mut read = [0u8; 3];
                stream.read_exact(&mut read).await.unwrap();
                assert_eq!(&read, b"PRI", "the byte that was looked at is still there");
                accepted.push(address.to_string());
            }
            Err(error) => assert_eq!(error.failure, Failure::Plaintext),
        }
    }
    assert_eq!(accepted, ["127.0.0.1:5", "127.8.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"]);
    assert_eq!(plane.tls.failures().value(Failure::Plaintext), 2);
}

#[tokio::test]
async fn a_silent_client_is_given_up_in_time() {
    let plane = plane(DAY).await;
    tokio::time::pause();
    for bytes in [&b""[..], &[0x16], &[0x16, 3, 1]] {
        let start = tokio::time::Instant::now();
        let (_client, server) = plane
            .accept(async |mut stream: TcpStream| {
                stream.write_all(bytes).await.unwrap();
                stream
            })
            .await;
        assert_eq!(server.unwrap_err().failure, Failure::Timeout);
        assert!(start.elapsed() >= HANDSHAKE_TIMEOUT);
    }
}

#[tokio::test]
async fn handshakes_beyond_the_limit_wait_for_their_turn() {
    let plane = plane(DAY).await;
    let address = plane.listener.local_addr().unwrap();
    let mut stalled = Vec::new();
    for _ in 0..MAX_HANDSHAKES {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = plane.listener.accept().await.unwrap();
        client.write_all(&[0x16]).await.unwrap();
        let tls = Arc::clone(&plane.tls);
        stalled.push((client, tokio::spawn(async move { tls.accept(stream, peer).await })));
    }
    while plane.tls.handshakes.available_permits() > 0 {
        tokio::task::yield_now().await;
    }

    let connector = connector(&plane.authority.trust_anchors(), None);
    let client = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect(ServerName::try_from(IDENTITY).unwrap(), stream).await
    });
    let (stream, peer) = plane.listener.accept().await.unwrap();
    let tls = Arc::clone(&plane.tls);
    let mut good = tokio::spawn(async move { tls.accept(stream, peer).await });
    tokio::time::timeout(Duration::from_millis(50), &mut good).await.expect_err("there is no permit");

    let (client_end, task) = stalled.pop().unwrap();
    drop(client_end);
    assert_eq!(task.await.unwrap().unwrap_err().failure, Failure::Closed);
    good.await.unwrap().unwrap();
    client.await.unwrap().unwrap();
}

#[tokio::test]
async fn certificates_are_renewed_while_connections_stay_open() {
    // Due after 70 % of 10 s.
    let plane = plane(Duration::from_secs(10)).await;
    let (client, server) = plane.tls(IDENTITY, None).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let first = client.get_ref().1.peer_certificates().unwrap()[0].clone();
    let until = plane.tls.not_after();
    assert!(plane.tls.renew_at() < until, "due before it is too late");

    let tls = Arc::clone(&plane.tls);
    let renewal = tokio::spawn(async move { tls.keep_renewed().await });
    let renewed = async {
        while plane.tls.not_after() == until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renewed).await.expect("renewed");
    renewal.abort();

    let (again, _server) = plane.tls(IDENTITY, None).await;
    assert_ne!(again.unwrap().get_ref().1.peer_certificates().unwrap()[0], first);
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
}

/// Serves Certify on the listener and gives a client of it.
async fn serve(
    plane: Plane,
) -> (
    Arc<Authority>,
    Store,
    Arc<Outcomes>,
    impl AsyncFn() -> IdentityClient<tonic::transport::Channel>,
    TempDir,
) {
    let Plane { authority, tls, listener, store, _dir } = plane;
    let outcomes = Arc::new(Outcomes::default());
    let service = IdentityService::new(Arc::clone(&authority), Arc::clone(&outcomes));
    let address = listener.local_addr().unwrap();
    let (tx, rx) = tokio::sync::mpsc::channel::<io::Result<MeshStream>>(8);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            if let Ok(stream) = tls.accept(stream, peer).await {
                tx.send(Ok(stream)).await.unwrap();
            }
        }
    });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(IdentityServer::new(service))
            .serve_with_incoming(tokio_stream::wrappers::ReceiverStream::new(rx)),
    );
    let connector = connector(&authority.trust_anchors(), None);
    let client = async move || {
        let connector = connector.clone();
        let connect = tower::service_fn(move |_: http::Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let stream = connector.connect(ServerName::try_from(IDENTITY).unwrap(), stream).await?;
                Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let channel =
            Endpoint::from_static("http://linkerd-identity").connect_with_connector(connect).await.unwrap();
        IdentityClient::new(channel)
    };
    (authority, store, outcomes, client, _dir)
}

#[tokio::test]
async fn a_proxy_gets_its_first_certificate_and_uses_it() {
    let (authority, store, outcomes, client, _dir) = serve(plane(DAY).await).await;
    let now = Timestamp::now();
    let token = authority.mint(&WEB.parse().unwrap(), "default", "web-0", now).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![WEB.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).unwrap().der().to_vec();
    let request = CertifyRequest {
        identity: WEB.into(),
        token: token.reveal().into_bytes(),
        certificate_signing_request: csr,
    };
    let response = client().await.certify(request.clone()).await.unwrap().into_inner();
    assert_eq!(response.intermediate_certificates.len(), 1);
    let valid_until = response.valid_until.unwrap().seconds;
    assert!((valid_until - now.as_second() - 24 * 3600).abs() <= 5, "{valid_until}");
    assert_eq!(outcomes.value(Outcome::Issued), 1);

    let query = weft_store::CertificateQuery { identity: Some(WEB.into()), before: None, limit: 1 };
    let row = store.certificates(&query).await.unwrap().remove(0);
    assert_eq!(row.certificate.fingerprint, crate::identity::fingerprint(&response.leaf_certificate));
    assert!(row.certificate.requester.starts_with("127.0.0.1:"), "{}", row.certificate.requester);

    // With it the proxy is who it says it is.
    let names = vec![DESTINATION.parse().unwrap()];
    let tls = MeshTls::new(Arc::clone(&authority), names, now).await.unwrap();
    let chain = std::iter::once(response.leaf_certificate)
        .chain(response.intermediate_certificates)
        .map(CertificateDer::from)
        .collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(&authority.trust_anchors(), Some((chain, key)));
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, address) = listener.accept().await.unwrap();
    let (client, server) = tokio::join!(
        connector.connect(ServerName::try_from(DESTINATION).unwrap(), stream),
        tls.accept(accepted, address)
    );
    client.unwrap();
    assert_eq!(server.unwrap().peer().to_string(), format!("{address} ({WEB})"));
}

#[tokio::test]
async fn refusals_travel_with_status_and_reason() {
    let (authority, _store, outcomes, client, _dir) = serve(plane(DAY).await).await;
    let token = authority.mint(&WEB.parse().unwrap(), "default", "web-0", Timestamp::now()).await.unwrap();
    let mut client = client().await;
    let mut ask = async |identity: &str, token: &str, csr: &[u8]| {
        let request = CertifyRequest {
            identity: identity.into(),
            token: token.into(),
            certificate_signing_request: csr.into(),
        };
        client.certify(request).await.unwrap_err()
    };
    let mut params = CertificateParams::new(vec![WEB.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec();

    let status = ask("", &token.reveal(), &csr).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "the request has no identity"));
    let status = ask(WEB, &token.reveal(), b"x").await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        format!(
            "the certificate signing request for {WEB} is refused: not a certificate signing request in DER"
        )
    );
    let status = ask(WEB, "eyJhbGciOi", &csr).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().ends_with("this is not a join token of this control plane (weft_join_...)"));
    assert_eq!(outcomes.value(Outcome::BadRequest), 1);
    assert_eq!(outcomes.value(Outcome::BadCsr), 1);
    assert_eq!(outcomes.value(Outcome::BadToken), 1);
    assert_eq!(outcomes.value(Outcome::Issued), 0);
}
