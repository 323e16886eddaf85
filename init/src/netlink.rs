//! Netlink in the small: sockets, messages and attributes, every length checked.
//!
//! A [`Socket`] belongs to the network namespace its thread was in when it was opened, and stays there. Requests
//! are built with [`Attrs`] and [`Message`]; what the kernel sends is read with [`attr::parse`] and
//! [`message::parse`], which answer [`Malformed`] instead of reading past an end.
//!
//! The socket is netlink-sys' and not rustix' or nix': theirs can send and receive, but neither can switch on
//! extended acknowledgements without `unsafe`, and the sentence the kernel then adds to an error ("Device can not
//! be enslaved while up") is what a person needs.

pub mod attr;
pub mod message;
pub mod route;
mod socket;

pub use self::{
    attr::{Attr, Attrs, Malformed},
    message::Message,
    socket::{Protocol, Socket},
};

use std::io;
use thiserror::Error;

/// Why a netlink request did not do what it was to do.
#[derive(Debug, Error)]
pub enum Error {
    /// No netlink socket: the kernel lacks the protocol, or a sandbox forbids it.
    #[error("could not open a netlink socket")]
    Open(#[source] io::Error),
    /// The request did not leave.
    #[error("could not send a netlink request to {action}")]
    Send {
        /// What was asked for.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// No answer, or not within five seconds.
    #[error("no answer from the kernel to the request to {action}")]
    Receive {
        /// What was asked for.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel said no.
    #[error("the kernel refused to {action}{}", .kernel.as_ref().map(|k| format!(" ({k})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        action: String,
        /// The kernel's own sentence, where it gave one.
        kernel: Option<String>,
        /// The error number.
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("the kernel's answer to the request to {action} could not be read")]
    Answer {
        /// What was asked for.
        action: String,
        /// Where it stops making sense.
        source: Malformed,
    },
    /// What was listed changed all the time while it was read.
    #[error("the kernel's tables kept changing while they were read to {action}")]
    Changing {
        /// What was asked for.
        action: String,
    },
    /// A request or an answer is larger than its bound.
    #[error("the netlink {what} to {action} is larger than {limit} bytes")]
    TooLarge {
        /// "request" or "answer".
        what: &'static str,
        /// What was asked for.
        action: String,
        /// The bound, bytes.
        limit: usize,
    },
    /// A link is up but carries nothing.
    #[error("the link {link} is up but carries no packets after {waited:?}: is its other end up?")]
    NotReady {
        /// Its name.
        link: String,
        /// How long that was given.
        waited: std::time::Duration,
    },
    /// The named thing does not exist.
    #[error("there is no {0}")]
    Missing(String),
}

impl Error {
    /// Whether the kernel refused with this error number.
    pub fn is_refusal(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == kind)
    }
}
