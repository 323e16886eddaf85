//! Who we are: certificate, key and roots, made into TLS configurations once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use weft_names::{DnsName, IdentityName};

use super::chains::{Chains, not_after};
use super::client::{self, Target};
use super::crypto::SIGNATURES;
use super::roots::Roots;
use super::sessions::{Kept, Tickets};
use super::verify::{ClientChain, ClientVerifier, ServerChain, has_name};
use super::{crypto, provider};
use crate::transport_header;

/// What an issuer gave us, unchecked.
pub struct Issued {
    /// The leaf's DER, then those of the intermediates in order.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the leaf, PKCS#8 DER: ECDSA on P-256, or Ed25519.
    pub key: Vec<u8>,
}

/// A certificate with its key and the roots that peers are checked against, ready for connections of both sides.
///
/// Immutable: a renewed certificate or a changed bundle of roots is a new identity, which new connections use while
/// the old ones keep theirs. Verified chains and tickets are cached inside, so each worker gets an identity of its own by
/// [`Identity::for_worker`] and threads share nothing but the keys by which servers know their own tickets.
pub struct Identity {
    name: IdentityName,
    server_name: DnsName,
    roots: Roots,
    key: Arc<CertifiedKey>,
    clock: WallClock,
    expires: Duration,
    client: ClientConfig,
    server_chain: Arc<ServerChain>,
    /// What clients prove here can be resumed here.
    tickets: Arc<Tickets>,
    /// What we have proved elsewhere.
    kept: Arc<Kept>,
    server_any: Arc<ServerConfig>,
    server_tagged: Arc<ServerConfig>,
    server_shell: Arc<ServerConfig>,
}

/// What is agreed by ALPN besides TLS itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// Nothing: the connection's own bytes follow.
    Plain,
    /// `transport.l5d.io/v1`: as a client, a transport header comes first if the server selects it. As a server, for
    /// the proxy's own inbound port: the client must show a certificate.
    Tagged,
}

/// Where certificate checks take the time from.
#[derive(Clone, Debug, Default)]
pub enum WallClock {
    /// The machine's clock.
    #[default]
    System,
    /// Seconds since 1970, set by whoever holds the other end: simulations.
    Set(Arc<AtomicU64>),
}

/// Why a certificate cannot be used as our identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No certificate at all.
    #[error("the certificate chain is empty")]
    NoCertificate,
    /// The leaf is malformed.
    #[error("the certificate is malformed")]
    Certificate(#[source] webpki::Error),
    /// The leaf has expired.
    #[error("the certificate has expired")]
    Expired,
    /// The chain does not lead to our own roots, or not now, or not for both uses.
    #[error("the certificate does not chain to the trust anchors as a {usage} certificate")]
    Chain {
        /// "server" or "client".
        usage: &'static str,
        /// What is wrong with it.
        #[source]
        source: webpki::Error,
    },
    /// The leaf names others.
    #[error("the certificate is not for {0}")]
    Name(IdentityName),
    /// The key is not PKCS#8 or of another kind.
    #[error("the private key is not usable")]
    Key(#[source] rustls::Error),
    /// The key cannot make the signatures that peers accept.
    #[error("the private key must be ECDSA P-256 or Ed25519")]
    KeyKind,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The roots cannot be used to verify clients.
    #[error("the trust anchors cannot be used")]
    Roots(#[source] rustls::server::VerifierBuilderError),
    /// The TLS library refuses the configuration.
    #[error("the TLS configuration was refused")]
    Config(#[source] rustls::Error),
    /// The name to send as SNI is not one.
    #[error("{0} cannot be sent as a server name")]
    ServerName(DnsName),
}

// === impl Identity ===

impl Identity {
    /// Checks what was issued and builds all configurations.
    ///
    /// The chain must lead to `roots` now, for servers and for clients, and the leaf must name `name`; a certificate
    /// that peers would refuse is refused here, where something can be done about it. `server_name` is what
    /// clients send as SNI to reach us.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(
        name: IdentityName,
        server_name: DnsName,
        issued: Issued,
        roots: Roots,
        clock: WallClock,
    ) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> =
            issued.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.key));
        let (leaf, intermediates) = chain.split_first().ok_or(IdentityError::NoCertificate)?;
        let parsed = EndEntityCert::try_from(leaf).map_err(IdentityError::Certificate)?;
        let now = clock.now();
        let expires = not_after(leaf).ok_or(IdentityError::Certificate(webpki::Error::BadDer))?;
        if now.as_secs() >= expires {
            return Err(IdentityError::Expired);
        }
        for (usage, key_usage) in [("server", KeyUsage::server_auth()), ("client", KeyUsage::client_auth())] {
            let anchors = &roots.store().roots;
            parsed
                .verify_for_usage(SIGNATURES.all, anchors, intermediates, now, key_usage, None, None)
                .map_err(|source| IdentityError::Chain { usage, source })?;
        }
        if !has_name(leaf, &name) {
            return Err(IdentityError::Name(name));
        }
        let key = any_supported_type(&key).map_err(IdentityError::Key)?;
        if key.choose_scheme(OWN_SCHEMES).is_none() {
            return Err(IdentityError::KeyKind);
        }
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| IdentityError::KeyMismatch)?;
        let tickets = Tickets::new(&clock).map_err(IdentityError::Config)?;
        Self::build(name, server_name, Arc::new(key), roots, clock, Duration::from_secs(expires), tickets)
    }

    /// The same identity with caches of its own. Sessions that clients began with one can be resumed with the other.
    ///
    /// # Errors
    /// None that [`Identity::new`] would not have given already.
    pub fn for_worker(&self) -> Result<Self, IdentityError> {
        Self::build(
            self.name.clone(),
            self.server_name.clone(),
            Arc::clone(&self.key),
            self.roots.clone(),
            self.clock.clone(),
            self.expires,
            Arc::clone(&self.tickets),
        )
    }

    fn build(
        name: IdentityName,
        server_name: DnsName,
        key: Arc<CertifiedKey>,
        roots: Roots,
        clock: WallClock,
        expires: Duration,
        tickets: Arc<Tickets>,
    ) -> Result<Self, IdentityError> {
        let server_chain = Arc::new(ServerChain { roots: roots.clone(), verified: Chains::default() });
        let mut client = client::config(&server_chain, &clock, &name)?;
        client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&key)));

        let client_chain = Arc::new(ClientChain::new(&roots).map_err(IdentityError::Roots)?);
        let server =
            |offer, tickets| server_config(&client_chain, &key, &clock, offer, tickets).map(Arc::new);
        Ok(Self {
            server_any: server(Offer::Plain, Some(&tickets))?,
            server_tagged: server(Offer::Tagged, Some(&tickets))?,
            server_shell: server(Offer::Plain, None)?,
            kept: Kept::new(&clock),
            tickets,
            name,
            server_name,
            roots,
            key,
            clock,
            expires,
            client,
            server_chain,
        })
    }

    /// The name that our certificate proves.
    #[must_use]
    pub fn name(&self) -> &IdentityName {
        &self.name
    }

    /// The SNI by which clients ask for us. A ClientHello with another one is not ours to terminate.
    #[must_use]
    pub fn server_name(&self) -> &DnsName {
        &self.server_name
    }

    /// Whether a ClientHello asks for us.
    #[must_use]
    pub fn is_asked_for(&self, sni: Option<&str>) -> bool {
        sni.is_some_and(|sni| self.server_name.matches(sni.as_bytes()))
    }

    /// The roots that peers are checked against.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// When the leaf expires, since 1970.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// How many tickets our clients keep.
    #[cfg(test)]
    pub(super) fn tickets_kept(&self) -> usize {
        self.kept.len()
    }

    /// The chain that we show, leaf first, DER.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.key.cert.iter().map(AsRef::as_ref)
    }

    /// How we meet a server that shall be `server_id`, asking for it as `server_name`.
    ///
    /// # Errors
    /// [`IdentityError::ServerName`].
    pub fn target(
        &self,
        server_id: IdentityName,
        server_name: &DnsName,
        offer: Offer,
    ) -> Result<Target, IdentityError> {
        let (chain, kept, ours) = (&self.server_chain, Some(&self.kept), Some(self.name.clone()));
        Target::new(&self.client, chain, kept, ours, server_id, server_name, offer)
    }

    /// The configuration for servers that another shell drives (admin and tap listeners): nothing is resumed.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_shell)
    }

    /// The configuration for [`super::TlsConn`].
    pub(super) fn resuming(&self, offer: Offer) -> Arc<ServerConfig> {
        Arc::clone(match offer {
            Offer::Plain => &self.server_any,
            Offer::Tagged => &self.server_tagged,
        })
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("server_name", &self.server_name)
            .field("roots", &self.roots)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Signatures that we make. ECDSA is what Linkerd's proxies make; Ed25519 is accepted by all of them, and has a fixed
/// length, which makes simulated runs repeatable.
const OWN_SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

fn server_config(
    chain: &Arc<ClientChain>,
    key: &Arc<CertifiedKey>,
    clock: &WallClock,
    offer: Offer,
    tickets: Option<&Arc<Tickets>>,
) -> Result<ServerConfig, IdentityError> {
    let verifier: Arc<dyn ClientCertVerifier> =
        Arc::new(ClientVerifier { chain: Arc::clone(chain), mandatory: offer == Offer::Tagged });
    let mut config = ServerConfig::builder_with_details(provider(), clock.provider())
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(IdentityError::Config)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if let Some(tickets) = tickets {
        tickets.offer(&mut config);
    }
    if offer == Offer::Tagged {
        config.alpn_protocols = vec![transport_header::ALPN.to_vec()];
    }
    Ok(config)
}

// === impl WallClock ===

impl WallClock {
    pub(super) fn now(&self) -> UnixTime {
        match self {
            Self::System => UnixTime::now(),
            Self::Set(seconds) => {
                UnixTime::since_unix_epoch(Duration::from_secs(seconds.load(Ordering::Relaxed)))
            }
        }
    }

    pub(super) fn provider(&self) -> Arc<dyn TimeProvider> {
        match self {
            Self::System => Arc::new(DefaultTimeProvider),
            Self::Set(_) => Arc::new(self.clone()),
        }
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}
