//! Why a TLS connection failed, sorted for metrics and told with both sides' names.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error};
use weft_names::IdentityName;

use super::verify::{Check, Refused};

/// A closed list of reasons: the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The peer's certificate does not lead to one of our roots.
    UntrustedIssuer,
    /// A certificate of the peer's chain has expired.
    Expired,
    /// A certificate of the peer's chain is not valid yet.
    NotYetValid,
    /// The server proved another identity than the expected one.
    WrongName,
    /// The peer's certificate is malformed, for another use, or its proof of the key is wrong.
    BadCertificate,
    /// A certificate was required of the client and none came, or none with an identity.
    NoClientCertificate,
    /// The peer refused us with an alert: our certificate, or what we offered.
    RefusedByPeer,
    /// No version, suite, group or signature in common.
    NothingInCommon,
    /// The client offers none of the protocols that this port serves.
    NoProtocol,
    /// The bytes are no TLS, or were changed on the way.
    Malformed,
    /// The transport ended before the handshake did.
    Unfinished,
    /// Neither side's fault: no randomness, no clock.
    Internal,
}

/// Why a connection failed, and between whom.
#[derive(Clone, Debug)]
pub struct TlsError {
    failure: Failure,
    ours: Option<IdentityName>,
    peer: Box<str>,
    source: Option<Error>,
}

impl Failure {
    /// The value of the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UntrustedIssuer => "untrusted_issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::BadCertificate => "bad_certificate",
            Self::NoClientCertificate => "no_client_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::NothingInCommon => "nothing_in_common",
            Self::NoProtocol => "no_protocol",
            Self::Malformed => "malformed",
            Self::Unfinished => "unfinished",
            Self::Internal => "internal",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::UntrustedIssuer => "the peer's certificate was not issued under our trust anchors",
            Self::Expired => "the peer's certificate has expired",
            Self::NotYetValid => "the peer's certificate is not valid yet",
            Self::WrongName => "the certificate does not match the expected identity",
            Self::BadCertificate => "the peer's certificate is not acceptable",
            Self::NoClientCertificate => "the client has no certificate with an identity",
            Self::RefusedByPeer => "the peer refused the connection",
            Self::NothingInCommon => "no TLS parameters in common",
            Self::NoProtocol => "no ALPN protocol in common",
            Self::Malformed => "malformed TLS",
            Self::Unfinished => "the connection ended in the handshake",
            Self::Internal => "TLS could not be used",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoProtocol,
            Error::AlertReceived(_) => Self::RefusedByPeer,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::NoApplicationProtocol => Self::NoProtocol,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => Self::Malformed,
            _ => Self::Internal,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            // Another root of the same name shows as a signature that is wrong.
            E::UnknownIssuer | E::BadSignature => Self::UntrustedIssuer,
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
            _ => Self::BadCertificate,
        }
    }
}

impl TlsError {
    /// `peer`: whom we expected.
    pub(super) fn new(source: Error, ours: Option<IdentityName>, peer: Box<str>) -> Self {
        Self { failure: Failure::of(&source), ours, peer, source: Some(source) }
    }

    /// Of a certificate that a verifier has just refused.
    pub(super) fn refused(source: Error, ours: Option<IdentityName>, refused: Refused) -> Self {
        let failure = match refused.check {
            Check::Chain => Failure::of(&source),
            Check::Proof => Failure::BadCertificate,
        };
        Self { failure, ours, peer: refused.names, source: Some(source) }
    }

    pub(super) fn without_source(failure: Failure, ours: Option<IdentityName>, peer: Box<str>) -> Self {
        Self { failure, ours, peer, source: None }
    }

    /// The reason, for a metric or a decision.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// Our own identity, if we had one to show.
    #[must_use]
    pub fn ours(&self) -> Option<&IdentityName> {
        self.ours.as_ref()
    }

    /// Whom the peer's certificate names, if it showed one; else whom we expected, or "a client".
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether the peer broke the connection off, so that sending it an alert is of no use.
    #[must_use]
    pub fn is_by_peer(&self) -> bool {
        matches!(self.failure, Failure::RefusedByPeer | Failure::Unfinished)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (peer: {}; this proxy: ", self.failure.told(), self.peer)?;
        match &self.ours {
            Some(ours) => write!(f, "{ours})"),
            None => f.write_str("without a certificate)"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
