//! Why a question has no answer, in words for whoever asked.

use http::StatusCode;
use std::io;
use thiserror::Error;
use weft_admin_api::Problem;

/// Why a question has no answer. [`ClientError::advice`] says what to do.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers at the socket or address.
    #[error("no control plane answers at {target}")]
    Connect {
        /// Where.
        target: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the control plane at {target} is not trusted")]
    Tls {
        /// Where.
        target: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address of the control plane cannot be used.
    #[error("{address:?} is not an address of the form HOST:PORT")]
    Address {
        /// The address.
        address: String,
    },
    /// The trust anchors cannot be used.
    #[error("the trust anchors are not certificates in PEM")]
    Anchors,
    /// The token cannot be sent.
    #[error("the token has characters that a token cannot have")]
    Token,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
    /// [`crate::TIMEOUT`] passed.
    #[error("the control plane at {target} did not answer in time")]
    Timeout {
        /// Where.
        target: String,
    },
    /// The connection broke, or what answers does not speak HTTP.
    #[error("the exchange with the control plane at {target} broke off")]
    Exchange {
        /// Where.
        target: String,
        /// How.
        #[source]
        source: hyper::Error,
    },
    /// The answer could not be read.
    #[error("the answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The question could not be put into a request.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// The answer is longer than [`crate::MAX_BODY`].
    #[error("the answer to {path} is too long")]
    TooLong {
        /// What was asked.
        path: String,
    },
    /// A list does not end.
    #[error("the list has too many pages")]
    TooManyPages,
    /// The control plane refused and said why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Something else than a control plane refused.
    #[error("{path} was answered with {status}")]
    Status {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is not what this client knows.
    #[error("the answer to {path} is not what was expected")]
    Contents {
        /// What was asked.
        path: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// What a person can do about it, if there is something that fits.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("ask as the user that runs the control plane, or as root")
            }
            Self::Connect { .. } => Some("start one with `weft up`, or say where its state is with --state"),
            Self::Tls { .. } => {
                Some("give the trust anchors of that control plane (trust-anchors.pem in its state)")
            }
            Self::Address { .. } => Some("give a host and a port, such as localhost:7443"),
            Self::Anchors => Some("give the file trust-anchors.pem of the control plane's state"),
            Self::Token => Some("give what is in the file admin.token of the control plane's state"),
            Self::Timeout { .. } => Some("see its log, and /ready on its port 9990"),
            Self::Exchange { .. } | Self::Status { .. } => {
                Some("is it a weft control plane that listens there?")
            }
            Self::Contents { .. } => Some("use a client of the control plane's version"),
            // A problem's advice is part of its text.
            _ => None,
        }
    }

    /// The control plane's own words, if it refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}
