//! Mesh TLS of the control plane's own ports, terminated here with certificates it issues to itself.
//!
//! ```text
//! TcpStream ─▶ first byte ─▶ 0x16: ClientHello ─▶ certificate of the name asked for ─▶ TLS 1.3 ─▶ MeshStream::Tls
//!                        └─▶ else: from loopback ──────────────────────────────────────────────▶ MeshStream::Plain
//!                                  from elsewhere: refused
//! ```
//!
//! Clients are asked for a certificate and need not have one: a proxy calls the identity service before it has its
//! first. One that is shown must be good, or the connection is refused. Proxies speak plaintext to a control plane
//! on a loopback address, as stock proxies do.
//!
//! Bounds: [`HANDSHAKE_TIMEOUT`] from accept to ready, [`MAX_HANDSHAKES`] at once (more wait, within that time).
//! Whoever accepts bounds the number of connections.

mod stream;
mod verify;

#[cfg(test)]
mod tests;

pub use self::stream::MeshStream;

use self::verify::ClientVerifier;
use crate::identity::{Authority, CertifyError, Renew, keep_renewed, renew_at};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::LazyConfigAcceptor;
use weft_names::IdentityName;

/// From accept to the end of the handshake: 10 s.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most handshakes at once: 64. Each costs about a millisecond of CPU; further ones wait.
pub const MAX_HANDSHAKES: usize = 64;

/// First byte of a TLS record with a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Accepts mesh TLS as one or more names of the control plane.
#[derive(Debug)]
pub struct MeshTls {
    authority: Arc<Authority>,
    names: Vec<IdentityName>,
    own: ArcSwap<Own>,
    handshakes: Semaphore,
    failures: Failures,
}

/// The certificates in use.
#[derive(Debug)]
struct Own {
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
    verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    not_after: Timestamp,
    renew_at: Timestamp,
}

/// Who is at the other end, for logs, the ledger and policy. A request extension of every gRPC call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its identity, if it proved one.
    pub identity: Option<IdentityName>,
    /// Which of our names it asked for; `None` in plaintext.
    pub server: Option<IdentityName>,
}

/// Why a connection was not accepted, with both sides' names as far as they are known.
#[derive(Debug, Error)]
#[error("{failure} (client {client}, server {server})")]
pub struct AcceptError {
    /// What went wrong.
    pub failure: Failure,
    /// The client: its address, and the names in its certificate if it showed one.
    pub client: String,
    /// The server name it asked for.
    pub server: String,
    /// The cause.
    #[source]
    pub source: Option<io::Error>,
}

/// What went wrong; a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`HANDSHAKE_TIMEOUT`] passed.
    Timeout,
    /// The peer closed the connection before the handshake was done.
    Closed,
    /// Plaintext from an address that is not loopback.
    Plaintext,
    /// The peer asked for a name that is not ours, or for none.
    ServerName,
    /// The peer's certificate is not good: another root, expired, not for clients.
    ClientCertificate,
    /// The peer refused our certificate or our offer.
    RefusedByPeer,
    /// The peer does not speak TLS 1.3 as we do.
    Protocol,
}

/// How many connections were not accepted, by [`Failure`].
#[derive(Debug, Default)]
pub struct Failures([AtomicU64; Failure::ALL.len()]);

/// Why own certificates could not be made.
#[derive(Debug, Error)]
pub enum MeshTlsError {
    /// The authority did not issue one.
    #[error("no certificate for {name}")]
    Certify {
        /// For which name.
        name: IdentityName,
        /// Why.
        #[source]
        source: CertifyError,
    },
    /// TLS does not take what was made.
    #[error("the certificates of the control plane cannot be used")]
    Tls(#[source] rustls::Error),
    /// The trust anchors cannot be used to verify clients.
    #[error("the trust anchors cannot be used")]
    Anchors(#[source] rustls::server::VerifierBuilderError),
}

// === impl MeshTls ===

impl MeshTls {
    /// Issues certificates for `names` and is ready to accept.
    pub async fn new(
        authority: Arc<Authority>,
        names: Vec<IdentityName>,
        now: Timestamp,
    ) -> Result<Self, MeshTlsError> {
        let own = Own::issue(&authority, &names, now).await?;
        Ok(Self {
            authority,
            names,
            own: ArcSwap::from_pointee(own),
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            failures: Failures::default(),
        })
    }

    /// How many connections were not accepted.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Takes a connection as far as its first byte of plaintext. Failures are counted here; the caller logs them.
    pub async fn accept(&self, stream: TcpStream, address: SocketAddr) -> Result<MeshStream, AcceptError> {
        let accepted = match timeout(HANDSHAKE_TIMEOUT, self.handshake(stream, address)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(AcceptError::new(Failure::Timeout, address, None, None)),
        };
        if let Err(error) = &accepted {
            self.failures.count(error.failure);
        }
        accepted
    }

    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Result<MeshStream, AcceptError> {
        let mut first = [0u8; 1];
        match stream.peek(&mut first).await {
            Ok(0) => return Err(AcceptError::new(Failure::Closed, address, None, None)),
            Ok(_) => {}
            Err(error) => return Err(AcceptError::new(Failure::Closed, address, None, Some(error))),
        }
        if first != [TLS_HANDSHAKE] {
            if !is_loopback(address.ip()) {
                return Err(AcceptError::new(Failure::Plaintext, address, None, None));
            }
            return Ok(MeshStream::plain(stream, Peer { address, identity: None, server: None }));
        }

        // Never closed, so there is always a permit to come.
        let _permit = self.handshakes.acquire().await;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(|error| AcceptError::from_io(error, address, None, None))?;
        let asked = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let server = asked.as_deref().and_then(|name| self.names.iter().find(|ours| ours.as_str() == name));

        let own = self.own.load_full();
        let verifier = Arc::new(ClientVerifier::new(Arc::clone(&own.verifier)));
        let config = own.config(asked.as_deref(), &verifier).map_err(|error| {
            AcceptError::from_io(io::Error::other(error), address, asked.as_deref(), None)
        })?;
        match start.into_stream(Arc::new(config)).await {
            Ok(tls) => {
                let identity = verifier.proved();
                Ok(MeshStream::tls(tls, Peer { address, identity, server: server.cloned() }))
            }
            Err(error) if server.is_none() => {
                Err(AcceptError::new(Failure::ServerName, address, asked.as_deref(), Some(error)))
            }
            Err(error) => Err(AcceptError::from_io(error, address, asked.as_deref(), Some(&verifier))),
        }
    }

    /// Renews for as long as it is polled: run it as a task of its own.
    pub async fn keep_renewed(&self) {
        keep_renewed(self).await;
    }
}

impl Renew for MeshTls {
    type Error = MeshTlsError;

    const WHAT: &'static str = "mesh TLS";

    fn not_after(&self) -> Timestamp {
        self.own.load().not_after
    }

    fn renew_at(&self) -> Timestamp {
        self.own.load().renew_at
    }

    async fn renew(&self, now: Timestamp) -> Result<(), MeshTlsError> {
        let own = Own::issue(&self.authority, &self.names, now).await?;
        self.own.store(Arc::new(own));
        Ok(())
    }
}

// === impl Own ===

impl Own {
    async fn issue(
        authority: &Authority,
        names: &[IdentityName],
        now: Timestamp,
    ) -> Result<Self, MeshTlsError> {
        let provider = weft_net::tls::provider();
        let mut by_name = BTreeMap::new();
        let mut not_after = Timestamp::MAX;
        for name in names {
            let own = authority
                .certify_own(name, &[], now)
                .await
                .map_err(|source| MeshTlsError::Certify { name: name.clone(), source })?;
            not_after = not_after.min(own.not_after);
            let key = provider
                .key_provider
                .load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key)))
                .map_err(MeshTlsError::Tls)?;
            let chain = own.chain.into_iter().map(CertificateDer::from).collect();
            by_name.insert(name.to_string(), Arc::new(CertifiedKey::new(chain, key)));
        }

        let mut roots = rustls::RootCertStore::empty();
        for anchor in authority.trust_anchors() {
            roots.add(CertificateDer::from(anchor)).map_err(MeshTlsError::Tls)?;
        }
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(MeshTlsError::Anchors)?;
        Ok(Self { by_name, verifier, not_after, renew_at: renew_at(now, not_after) })
    }

    /// The configuration for one connection: one name's certificate, and a verifier that remembers whom it saw.
    fn config(
        &self,
        name: Option<&str>,
        verifier: &Arc<ClientVerifier>,
    ) -> Result<ServerConfig, rustls::Error> {
        let certificate = name.and_then(|name| self.by_name.get(name)).cloned();
        let mut config = ServerConfig::builder_with_provider(weft_net::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::<ClientVerifier>::clone(verifier))
            .with_cert_resolver(Arc::new(OneName(certificate)));
        // Proxies keep their connections for days and offer no resumption: tickets would be waste.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// The certificate of the name asked for; with none, the peer gets an alert and not just a closed connection.
#[derive(Debug)]
struct OneName(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for OneName {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

// === impl AcceptError ===

impl AcceptError {
    fn new(failure: Failure, address: SocketAddr, asked: Option<&str>, source: Option<io::Error>) -> Self {
        let server = asked.unwrap_or("not named").to_owned();
        Self { failure, client: address.to_string(), server, source }
    }

    fn from_io(
        error: io::Error,
        address: SocketAddr,
        asked: Option<&str>,
        verifier: Option<&ClientVerifier>,
    ) -> Self {
        let failure = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Failure::ClientCertificate,
            Some(rustls::Error::AlertReceived(_)) => Failure::RefusedByPeer,
            Some(_) => Failure::Protocol,
            None => Failure::Closed,
        };
        let mut this = Self::new(failure, address, asked, Some(error));
        if let Some(names) = verifier.and_then(ClientVerifier::shown) {
            this.client = format!("{} with a certificate for {names}", this.client);
        }
        this
    }
}

// === impl Failure ===

impl Failure {
    /// Every failure, in order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Closed,
        Self::Plaintext,
        Self::ServerName,
        Self::ClientCertificate,
        Self::RefusedByPeer,
        Self::Protocol,
    ];

    /// The word in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Plaintext => "plaintext",
            Self::ServerName => "server_name",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the handshake took too long",
            Self::Closed => "the connection was closed before the handshake was done",
            Self::Plaintext => "plaintext is accepted from loopback addresses only",
            Self::ServerName => "the client asked for a name this control plane does not have",
            Self::ClientCertificate => "the client's certificate is not good",
            Self::RefusedByPeer => "the client refused the handshake",
            Self::Protocol => "the client does not speak TLS 1.3 as the mesh does",
        })
    }
}

// === impl Failures ===

impl Failures {
    fn count(&self, failure: Failure) {
        if let Some(counter) = self.0.get(failure as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many connections failed so.
    pub fn value(&self, failure: Failure) -> u64 {
        self.0.get(failure as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

// === impl Peer ===

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Some(identity) => write!(f, "{} ({identity})", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}
