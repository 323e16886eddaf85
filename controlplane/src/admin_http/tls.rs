//! The certificate of the HTTPS listener: of the mesh's root, renewed like every other.

use crate::identity::{Authority, CertifyError, Renew, keep_renewed, renew_at};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{fs, io, net::IpAddr, path::Path, sync::Arc};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use weft_names::{IdentityName, identity::InvalidIdentity};

/// The service account the admin API's identity is made of.
const ACCOUNT: &str = "weft-admin";

/// Beside its identity, the certificate is good for these: whoever connects locally names one of them.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the trust anchors are for clients, in the state directory.
const ANCHORS_FILE: &str = "trust-anchors.pem";

/// TLS of the HTTPS listener.
#[derive(Debug)]
pub struct AdminTls {
    authority: Arc<Authority>,
    identity: IdentityName,
    names: Vec<String>,
    own: ArcSwap<Own>,
}

#[derive(Debug)]
struct Own {
    config: Arc<ServerConfig>,
    not_after: Timestamp,
    renew_at: Timestamp,
}

/// Why HTTPS cannot be served.
#[derive(Debug, Error)]
pub enum AdminTlsError {
    /// The control plane's namespace or trust domain make no identity.
    #[error("the admin API has no identity")]
    Identity(#[from] InvalidIdentity),
    /// The authority did not issue a certificate.
    #[error("no certificate for the admin API")]
    Certify(#[from] CertifyError),
    /// TLS does not take what was made.
    #[error("the certificate of the admin API cannot be used")]
    Tls(#[from] rustls::Error),
}

impl AdminTls {
    /// Issues a certificate for the local names and for `addresses`, those that are listened on.
    pub async fn new(
        authority: Arc<Authority>,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Self, AdminTlsError> {
        let identity = authority.identity(ACCOUNT, &authority.config().namespace)?;
        let mut names: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
        // "Any address" is not one that a client connects to.
        for address in addresses.iter().filter(|address| !address.is_unspecified()).map(ToString::to_string) {
            if !names.contains(&address) {
                names.push(address);
            }
        }
        let own = ArcSwap::from_pointee(issue(&authority, &identity, &names, now).await?);
        Ok(Self { authority, identity, names, own })
    }

    /// Does the handshake.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.own.load().config)).accept(stream).await
    }

    /// Renews for as long as it is polled: run it as a task of its own.
    pub async fn keep_renewed(&self) {
        keep_renewed(self).await;
    }
}

impl Renew for AdminTls {
    type Error = AdminTlsError;

    const WHAT: &'static str = "admin HTTPS";

    fn not_after(&self) -> Timestamp {
        self.own.load().not_after
    }

    fn renew_at(&self) -> Timestamp {
        self.own.load().renew_at
    }

    async fn renew(&self, now: Timestamp) -> Result<(), AdminTlsError> {
        let own = issue(&self.authority, &self.identity, &self.names, now).await?;
        self.own.store(Arc::new(own));
        Ok(())
    }
}

async fn issue(
    authority: &Authority,
    identity: &IdentityName,
    names: &[String],
    now: Timestamp,
) -> Result<Own, AdminTlsError> {
    let own = authority.certify_own(identity, names, now).await?;
    let chain = own.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key));
    let mut config = ServerConfig::builder_with_provider(weft_net::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Own { config: Arc::new(config), not_after: own.not_after, renew_at: renew_at(now, own.not_after) })
}

/// Writes the trust anchors into the state directory, for clients of the HTTPS listener (`curl --cacert`).
pub fn anchors_file(authority: &Authority, state: &Path) -> io::Result<()> {
    let path = state.join(ANCHORS_FILE);
    let pem = authority.trust_anchors_pem();
    if fs::read_to_string(&path).is_ok_and(|there| there == pem) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, pem)?;
    fs::rename(temporary, path)
}
