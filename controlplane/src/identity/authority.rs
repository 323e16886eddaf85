//! The certificate authority of one control plane: what is in force, and the order of checks.

use super::{
    csr::{Csr, CsrError},
    issue::{Issued, Lifetime, Serial, issue, sign},
    issuer::{Issuer, IssuerError, new_issuer, new_root},
    token::{RANDOM_LEN, Token, TokenError},
    x509::pem,
};
use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::sync::Mutex;
use weft_names::{IdentityName, TrustDomain, identity::InvalidIdentity};
use weft_store::{NewCertificate, NewToken, Retention, Store, StoreError, TrustRoot};

/// The longest pause between two looks at whether the issuer is due: 1 h.
const MAINTENANCE_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// The loop looks at the clock this often.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// Tokens that ended this long ago are forgotten: 7 days, so that a late user is still told why.
const TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Names and times of a certificate authority.
#[derive(Clone, Debug)]
pub struct Config {
    /// The control plane's namespace, part of every identity. Default: `linkerd`.
    pub namespace: String,
    /// The trust domain. Default: `cluster.local`.
    pub trust_domain: TrustDomain,
    /// How long certificates are valid.
    pub lifetime: Lifetime,
    /// How long a join token lasts after its workload's registration was last renewed. Default: 24 h. A proxy reads
    /// its token again at each renewal, so this is how long a workload survives a control plane that is gone.
    pub token_ttl: Duration,
    /// How long expired certificates stay in the ledger.
    pub retention: Retention,
}

/// Signs certificates. One per control plane; shared by reference.
#[derive(Debug)]
pub struct Authority {
    config: Config,
    store: Store,
    trust: ArcSwap<Trust>,
    /// Held while an issuer is replaced, so that only one is made.
    replacing: Mutex<()>,
}

#[derive(Debug)]
struct Trust {
    root: TrustRoot,
    issuer: Issuer,
}

/// What a proxy asks.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who it wants to be.
    pub identity: &'a str,
    /// Its join token.
    pub token: &'a [u8],
    /// Its certificate signing request, DER.
    pub csr: &'a [u8],
    /// Where it asks from, for the ledger and the log.
    pub requester: &'a str,
}

/// What it gets.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate, already in the ledger.
    pub issued: Issued,
    /// Certificates between it and the root, leaf's issuer first. DER.
    pub intermediates: Vec<Vec<u8>>,
}

/// A certificate of the control plane itself, with its key.
pub struct OwnCertificate {
    /// Leaf first, then the issuer. DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key, PKCS#8 DER.
    pub key: Vec<u8>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

/// Why the authority cannot start or keep its issuer.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The state could not be read or written.
    #[error("the trust root and issuer could not be read or kept")]
    Store(#[from] StoreError),
    /// What is in the state cannot be used.
    #[error("the trust root or issuer in the state cannot be used")]
    Issuer(#[from] IssuerError),
    /// The clock stands before the root was made, or after its end.
    #[error(
        "the trust root is valid from {not_before:.0} to {not_after:.0}, and it is {now:.0}: is the clock right?"
    )]
    RootNotValid {
        /// Start of validity.
        not_before: Timestamp,
        /// End of validity.
        not_after: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

/// Why no certificate is issued.
#[derive(Debug, Error)]
pub enum CertifyError {
    /// A field is empty.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// The identity asked for is no name.
    #[error("{0:?} is not an identity")]
    Identity(String, #[source] InvalidIdentity),
    /// The issuer's chain is not valid now.
    #[error("the issuer's chain is valid until {until:.0}, and it is {now:.0}")]
    IssuerNotValid {
        /// End of validity.
        until: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The request for a certificate is not acceptable.
    #[error("the certificate signing request for {identity} is refused")]
    Csr {
        /// Who asked.
        identity: IdentityName,
        /// Why.
        #[source]
        source: CsrError,
    },
    /// The token does not admit the workload.
    #[error("the join token presented for {identity} is refused")]
    Token {
        /// Who asked.
        identity: IdentityName,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// The state could not be read or written.
    #[error("the certificate could not be recorded")]
    Store(#[source] StoreError),
    /// Signing failed.
    #[error("the certificate could not be signed")]
    Sign(#[source] rcgen::Error),
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

// === impl Authority ===

impl Authority {
    /// Takes the trust root and the issuer from the store; makes those that are not there, or due.
    pub async fn open(store: Store, config: Config, now: Timestamp) -> Result<Self, AuthorityError> {
        let root_name = config.root_name();
        // With several roots the newest signs; handing out older ones as further anchors comes with rotation.
        let root = match store.trust_roots().await?.into_iter().next() {
            Some(root) if root.authority.name == root_name => root,
            Some(root) => {
                return Err(IssuerError::OtherName {
                    what: "trust root",
                    found: root.authority.name,
                    wanted: root_name,
                }
                .into());
            }
            None => {
                let root = store.add_trust_root(&new_root(&root_name, now)?, now).await?;
                tracing::info!(
                    name = root_name,
                    fingerprint = root.authority.fingerprint,
                    not_after = %root.authority.not_after,
                    "made a trust root"
                );
                root
            }
        };
        let (not_before, not_after) = (root.authority.not_before, root.authority.not_after);
        if !(not_before..=not_after).contains(&now) {
            return Err(AuthorityError::RootNotValid { not_before, not_after, now });
        }

        let kept = match store.current_issuer().await? {
            Some(row) => Some(Issuer::load(&row, &root, &config.issuer_name())?),
            None => None,
        };
        let issuer = match kept {
            Some(issuer) if !issuer.is_due(now) => issuer,
            _ => replace_issuer(&store, &root, &config.issuer_name(), now).await?,
        };
        let trust = ArcSwap::from_pointee(Trust { root, issuer });
        Ok(Self { config, store, trust, replacing: Mutex::new(()) })
    }

    /// How it was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What workloads are to trust, PEM (`LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS`).
    pub fn trust_anchors_pem(&self) -> String {
        pem("CERTIFICATE", &self.trust.load().root.authority.certificate)
    }

    /// What workloads are to trust, DER.
    pub fn trust_anchors(&self) -> Vec<Vec<u8>> {
        vec![self.trust.load().root.authority.certificate.clone()]
    }

    /// Until when the issuer's chain is valid (`issuer_cert_ttl_seconds`).
    pub fn issuer_not_after(&self) -> Timestamp {
        self.trust.load().issuer.not_after()
    }

    /// The identity of a service account in this mesh.
    pub fn identity(&self, account: &str, namespace: &str) -> Result<IdentityName, InvalidIdentity> {
        IdentityName::service_account(account, namespace, &self.config.namespace, &self.config.trust_domain)
    }

    /// Issues a certificate to whoever shows a join token for its identity.
    ///
    /// The order of checks is Linkerd's: fields, the issuer's chain, the request, the token, the token's identity.
    pub async fn certify(&self, request: Request<'_>, now: Timestamp) -> Result<Certified, CertifyError> {
        for (what, empty) in [
            ("identity", request.identity.is_empty()),
            ("token", request.token.is_empty()),
            ("certificate signing request", request.csr.is_empty()),
        ] {
            if empty {
                return Err(CertifyError::Missing(what));
            }
        }
        let identity: IdentityName = request
            .identity
            .parse()
            .map_err(|source| CertifyError::Identity(request.identity.to_owned(), source))?;

        let trust = self.trust.load_full();
        if !trust.issuer.is_valid(now) {
            return Err(CertifyError::IssuerNotValid { until: trust.issuer.not_after(), now });
        }
        let csr = Csr::check(request.csr, &identity)
            .map_err(|source| CertifyError::Csr { identity: identity.clone(), source })?;

        let refused = |source| CertifyError::Token { identity: identity.clone(), source };
        let token = Token::parse(request.token).map_err(refused)?;
        let row = self.store.token(&token.id()).await.map_err(CertifyError::Store)?;
        token.admits(row.as_ref(), &identity, now).map_err(refused)?;

        let serial = Serial::new(random().map_err(CertifyError::Random)?);
        let issued =
            issue(&csr, &trust.issuer, self.config.lifetime, serial, now).map_err(CertifyError::Sign)?;
        self.record(&identity, &issued, &trust.issuer, request.requester, Some(token.id()), now).await?;
        Ok(Certified { issued, intermediates: vec![trust.issuer.certificate().to_vec()] })
    }

    /// Issues a certificate, with a new key, to the control plane itself. `also` are further DNS names and IP addresses
    /// it is good for, beside the identity.
    pub async fn certify_own(
        &self,
        identity: &IdentityName,
        also: &[String],
        now: Timestamp,
    ) -> Result<OwnCertificate, CertifyError> {
        let trust = self.trust.load_full();
        if !trust.issuer.is_valid(now) {
            return Err(CertifyError::IssuerNotValid { until: trust.issuer.not_after(), now });
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CertifyError::Sign)?;
        let serial = Serial::new(random().map_err(CertifyError::Random)?);
        let issued = sign(identity, also, &key, &trust.issuer, self.config.lifetime, serial, now)
            .map_err(CertifyError::Sign)?;
        self.record(identity, &issued, &trust.issuer, "control plane", None, now).await?;
        Ok(OwnCertificate {
            not_before: issued.not_before,
            not_after: issued.not_after,
            chain: vec![issued.leaf, trust.issuer.certificate().to_vec()],
            key: key.serialize_der(),
        })
    }

    /// Makes a join token for a workload, good for `identity` alone, until `config.token_ttl` from now or from the
    /// last renewal of the workload's registration ([`Authority::tokens_until`]). The text is not kept anywhere.
    pub async fn mint(
        &self,
        identity: &IdentityName,
        namespace: &str,
        workload: &str,
        now: Timestamp,
    ) -> Result<Token, CertifyError> {
        let token = Token::from_random(random::<RANDOM_LEN>().map_err(CertifyError::Random)?);
        let new = NewToken {
            id: token.id(),
            secret_hash: token.secret_hash(),
            identity: identity.to_string(),
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            expires_at: self.tokens_until(now),
        };
        self.store.add_token(&new, now).await.map_err(CertifyError::Store)?;
        Ok(token)
    }

    /// Until when tokens last that are made, or whose workload is renewed, at `now`.
    pub fn tokens_until(&self, now: Timestamp) -> Timestamp {
        let ttl = SignedDuration::try_from(self.config.token_ttl).unwrap_or(SignedDuration::MAX);
        now.saturating_add(ttl).unwrap_or(Timestamp::MAX)
    }

    /// Replaces the issuer when it is due and forgets what is old. Returns when to come again.
    ///
    /// An error leaves everything in force as it was: call again, at the latest after the time that
    /// [`Authority::next_maintenance`] gives.
    pub async fn maintain(&self, now: Timestamp) -> Result<Timestamp, AuthorityError> {
        let guard = self.replacing.lock().await;
        let trust = self.trust.load_full();
        if trust.issuer.is_due(now) {
            let issuer = replace_issuer(&self.store, &trust.root, &self.config.issuer_name(), now).await?;
            self.trust.store(Arc::new(Trust { root: trust.root.clone(), issuer }));
        }
        drop(guard);
        self.store.prune_certificates(self.config.retention, now).await?;
        let long_ago = now.saturating_sub(TOKENS_KEPT).unwrap_or(Timestamp::MIN);
        self.store.prune_tokens(long_ago).await?;
        Ok(self.next_maintenance(now))
    }

    /// When [`Authority::maintain`] should be called again.
    pub fn next_maintenance(&self, now: Timestamp) -> Timestamp {
        let latest = now.saturating_add(MAINTENANCE_INTERVAL).unwrap_or(Timestamp::MAX);
        // An issuer that cannot last longer (its root ends) would be due at once, every time.
        let due = self.trust.load().issuer.due();
        if due > now { due.min(latest) } else { latest }
    }

    /// Maintains for as long as it is polled: run it as a task of its own.
    pub async fn keep_maintained(&self) {
        loop {
            let now = Timestamp::now();
            let next = match self.maintain(now).await {
                Ok(next) => next,
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, source, "the certificate authority could not be maintained");
                    self.next_maintenance(now)
                }
            };
            // In short steps, because clocks jump.
            while Timestamp::now() < next {
                let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
                tokio::time::sleep(wait.min(CLOCK_CHECK)).await;
            }
        }
    }

    async fn record(
        &self,
        identity: &IdentityName,
        issued: &Issued,
        issuer: &Issuer,
        requester: &str,
        token_id: Option<String>,
        now: Timestamp,
    ) -> Result<(), CertifyError> {
        let row = NewCertificate {
            serial: issued.serial.to_hex(),
            identity: identity.to_string(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            issuer_generation: issuer.generation(),
            requester: requester.to_owned(),
            token_id,
            fingerprint: issued.fingerprint.clone(),
        };
        self.store.record_certificate(&row, now).await.map(drop).map_err(CertifyError::Store)
    }
}

async fn replace_issuer(
    store: &Store,
    root: &TrustRoot,
    name: &str,
    now: Timestamp,
) -> Result<Issuer, AuthorityError> {
    let row = store.replace_issuer(root.generation, &new_issuer(root, name, now)?, now).await?;
    tracing::info!(
        name,
        fingerprint = row.authority.fingerprint,
        not_after = %row.authority.not_after,
        "made an issuer"
    );
    Ok(Issuer::load(&row, root, name)?)
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map(|()| bytes)
}

// === impl Config ===

impl Config {
    /// The issuer's name: `identity.<namespace>.<trust domain>`.
    pub fn issuer_name(&self) -> String {
        format!("identity.{}.{}", self.namespace, self.trust_domain)
    }

    /// The root's name: `root.<namespace>.<trust domain>`.
    pub fn root_name(&self) -> String {
        format!("root.{}.{}", self.namespace, self.trust_domain)
    }
}

// === impl CertifyError ===

impl CertifyError {
    /// The gRPC status Linkerd's identity service answers with in this case.
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::Missing(_) | Self::Identity(..) => tonic::Code::InvalidArgument,
            Self::IssuerNotValid { .. } => tonic::Code::Unknown,
            Self::Csr { .. } => tonic::Code::FailedPrecondition,
            Self::Token { source: TokenError::Malformed, .. } => tonic::Code::InvalidArgument,
            Self::Token { .. } => tonic::Code::FailedPrecondition,
            // Not Linkerd's, whose service keeps no ledger: nothing is wrong with the request, try again later.
            Self::Store(_) => tonic::Code::Unavailable,
            Self::Sign(_) | Self::Random(_) => tonic::Code::Internal,
        }
    }
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}
