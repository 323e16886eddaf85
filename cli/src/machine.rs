//! This machine's network, made and unmade: namespaces, links, addresses, programs in them, a way out.
//!
//! Everything is done by system calls and netlink; nothing needs to be installed. Namespaces have no names in the file
//! system: this process holds them by file descriptors, so the kernel removes them, and the links and rules in them,
//! however this process ends. Programs die with the thread that waits for them, contained ones with all they have
//! started. What cannot be held that way (a sysctl of the machine, files) is written down before it is done, with who
//! did it, and [`owner::sweep`] undoes it when that process is gone.
//!
//! Read first: [`Network`], [`Program`], [`Owner`]. `main` calls [`hidden`] before anything else: some steps are only
//! possible in a process of one thread, and are taken by running this program again.

pub mod attach;
mod enter;
pub mod layout;
pub mod network;
pub mod owner;
pub mod privilege;
pub mod program;
pub mod uplink;
pub mod userns;

pub use self::{
    layout::Layout,
    network::{Member, Network},
    owner::Owner,
    privilege::{Privilege, probe},
    program::{Program, Running, User},
    uplink::Uplink,
};

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};
use thiserror::Error;

/// Why the machine's network could not be changed as wanted.
#[derive(Debug, Error)]
pub enum MachineError {
    /// A namespace.
    #[error("could not use a network namespace")]
    Namespace(#[from] weft_init::netns::NetNsError),
    /// A link, an address, a route or a rule.
    #[error("could not set up the network")]
    Netlink(#[from] weft_init::netlink::Error),
    /// A file of ours, or one of the kernel's.
    #[error("could not {action} {}", .path.display())]
    File {
        /// What was tried: "write", "read", ….
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory for run-time files belongs to somebody else.
    #[error("{} is not a directory of this user alone; remove it, or set XDG_RUNTIME_DIR", .0.display())]
    NotOurs(PathBuf),
    /// A program could not be started.
    #[error("could not start {program}")]
    Spawn {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// No address of the network is free, or the one asked for is outside of it.
    #[error("{address} cannot be used in the network {network}")]
    Address {
        /// The address.
        address: String,
        /// The network.
        network: String,
    },
    /// A bound was reached.
    #[error("at most {limit} {what} are possible")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// Nobody has a namespace of this name.
    #[error("no running weft has a namespace {name:?}; {}", there_are(.others))]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        others: Vec<String>,
    },
}

fn there_are(others: &[String]) -> String {
    if others.is_empty() { "there is none".to_owned() } else { format!("there are: {}", others.join(", ")) }
}

/// The program itself, also when its file has been replaced since it was started.
const OURSELVES: &str = "/proc/self/exe";

/// Does what the command line asks for, if it is one of the hidden commands that this module runs itself with.
pub fn hidden(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    match args.next()?.to_str()? {
        enter::COMMAND => Some(enter::run(args)),
        userns::COMMAND => Some(userns::run(args)),
        privilege::COMMAND => Some(privilege::run()),
        _ => None,
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_unknown_is_told_beside_those_there_are() {
        let said = |others: &[&str]| {
            let others = others.iter().map(|&name| name.to_owned()).collect();
            MachineError::Unknown { name: "web".into(), others }.to_string()
        };
        assert_eq!(said(&[]), "no running weft has a namespace \"web\"; there is none");
        assert_eq!(said(&["a-0", "b-0"]), "no running weft has a namespace \"web\"; there are: a-0, b-0");
    }
}
