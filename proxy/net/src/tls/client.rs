//! Whom a client connects to, and how it will know.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use weft_names::{DnsName, IdentityName};

use super::chains::Chains;
use super::identity::{IdentityError, Offer, WallClock};
use super::roots::Roots;
use super::sessions::{self, Kept};
use super::verify::{ServerChain, ServerVerifier};
use super::{crypto, provider};

/// A server that must prove one identity. Cheap to clone; made once per endpoint and identity of ours.
#[derive(Clone)]
pub struct Target {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    ours: Option<IdentityName>,
    expected: IdentityName,
}

impl Target {
    /// A server that we meet before we have a certificate of our own: the identity service.
    ///
    /// # Errors
    /// [`IdentityError::ServerName`], [`IdentityError::Config`].
    pub fn anonymous(
        roots: &Roots,
        clock: &WallClock,
        server_id: IdentityName,
        server_name: &DnsName,
    ) -> Result<Self, IdentityError> {
        let chain = Arc::new(ServerChain { roots: roots.clone(), verified: Chains::default() });
        let config = config(&chain, clock, &server_id)?;
        Self::new(&config, &chain, None, None, server_id, server_name, Offer::Plain)
    }

    pub(super) fn new(
        config: &ClientConfig,
        chain: &Arc<ServerChain>,
        tickets: Option<&Arc<Kept>>,
        ours: Option<IdentityName>,
        expected: IdentityName,
        server_name: &DnsName,
        offer: Offer,
    ) -> Result<Self, IdentityError> {
        let name = ServerName::try_from(server_name.as_str().to_owned())
            .map_err(|_| IdentityError::ServerName(server_name.clone()))?;
        let mut config = config.clone();
        let verifier = ServerVerifier { chain: Arc::clone(chain), expected: expected.clone() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        if offer == Offer::Tagged {
            config.alpn_protocols = vec![crate::transport_header::ALPN.to_vec()];
        }
        if let Some(tickets) = tickets {
            tickets.lend(&mut config);
        }
        Ok(Self { config: Arc::new(config), server_name: name, ours, expected })
    }

    /// The identity that the server must prove.
    #[must_use]
    pub fn expected(&self) -> &IdentityName {
        &self.expected
    }

    /// Our own identity, if we have one yet.
    #[must_use]
    pub fn ours(&self) -> Option<&IdentityName> {
        self.ours.as_ref()
    }

    /// The configuration for clients that another shell drives (control-plane streams): nothing is resumed.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        sessions::forgo(&mut config);
        Arc::new(config)
    }

    /// The configuration for [`super::TlsConn`].
    pub(super) fn resuming(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name to send as SNI.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("server_name", &self.server_name)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// A configuration without a certificate of our own.
pub(super) fn config(
    chain: &Arc<ServerChain>,
    clock: &WallClock,
    expected: &IdentityName,
) -> Result<ClientConfig, IdentityError> {
    let verifier = ServerVerifier { chain: Arc::clone(chain), expected: expected.clone() };
    let mut config = ClientConfig::builder_with_details(provider(), clock.provider())
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(IdentityError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    sessions::forgo(&mut config);
    Ok(config)
}
