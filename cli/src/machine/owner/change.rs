//! Changes to the machine outside of our namespaces: the few there are, and how to undo them.

use super::{super::MachineError, Record, file};
use serde::{Deserialize, Serialize};
use std::{fmt, fs, path::PathBuf};
use weft_init::{
    netlink::{Protocol, Socket, route::Route},
    nft::{Family, Transaction},
};

/// A change. Undoing one that was never made, or was undone already, does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Change {
    /// A kernel parameter.
    Sysctl {
        /// Its file below /proc/sys.
        name: String,
        /// What it was.
        before: String,
        /// What it is set to.
        after: String,
    },
    /// A table of the packet filter, family inet.
    Table {
        /// Its name.
        name: String,
    },
    /// A network link.
    Link {
        /// Its name.
        name: String,
    },
}

impl Change {
    /// Setting a kernel parameter that is now something else; `None` if it has the value already and nobody here has
    /// given it that.
    pub fn sysctl(name: &str, after: &str) -> Result<Self, MachineError> {
        let path = sysctl_path(name);
        let before = fs::read_to_string(&path).map_err(file("read", &path))?.trim().to_owned();
        Ok(Self::Sysctl { name: name.to_owned(), before, after: after.to_owned() })
    }

    /// The same change with the value that was there before the first of several processes made it.
    pub(super) fn keeping_first(self, others: &[Record]) -> Self {
        let earlier = others.iter().flat_map(|r| &r.changes).find(|c| self.is_same(c));
        match (self, earlier) {
            (Self::Sysctl { name, after, .. }, Some(Self::Sysctl { before, .. })) => {
                Self::Sysctl { name, before: before.clone(), after }
            }
            (change, _) => change,
        }
    }

    /// Makes the change, as far as it is made by writing: links and tables are made by those who know what is in them.
    pub(super) fn make(&self) -> Result<(), MachineError> {
        match self {
            Self::Sysctl { name, before, after } if before != after => {
                let path = sysctl_path(name);
                fs::write(&path, after).map_err(file("write", &path))
            }
            _ => Ok(()),
        }
    }

    /// Undoes it, unless a live process relies on it. Says what was done.
    pub(super) fn undo(&self, living: &[Record]) -> Result<Option<String>, MachineError> {
        if living.iter().flat_map(|r| &r.changes).any(|c| self.is_same(c)) {
            return Ok(None);
        }
        match self {
            Self::Sysctl { name, before, after } => {
                let path = sysctl_path(name);
                let now = fs::read_to_string(&path).map_err(file("read", &path))?;
                // Somebody else has changed it since: it is theirs.
                if before == after || now.trim() != after {
                    return Ok(None);
                }
                fs::write(&path, before).map_err(file("write", &path))?;
                Ok(Some(format!("set {} back to {before}", dotted(name))))
            }
            Self::Table { name } => {
                let existed = weft_init::nft::list(Family::Inet, name)?.is_some();
                if existed {
                    let mut socket = Socket::open(Protocol::Netfilter)?;
                    Transaction::new().remove(Family::Inet, name).commit(&mut socket)?;
                }
                Ok(existed.then(|| format!("removed the packet filter's table inet {name}")))
            }
            Self::Link { name } => {
                let mut route = Route::open()?;
                let exists = route.links()?.iter().any(|l| l.name == *name);
                if exists {
                    route.delete(name)?;
                }
                Ok(exists.then(|| format!("removed the link {name}")))
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sysctl { name: a, .. }, Self::Sysctl { name: b, .. })
            | (Self::Table { name: a }, Self::Table { name: b })
            | (Self::Link { name: a }, Self::Link { name: b }) => a == b,
            _ => false,
        }
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

/// For a person: what there is now that was not there before.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { name, before, after } if before == after => {
                write!(f, "kernel parameter {} is {after} and stays so", dotted(name))
            }
            Self::Sysctl { name, before, after } => {
                write!(f, "kernel parameter {} set to {after} (was {before})", dotted(name))
            }
            Self::Table { name } => write!(f, "packet filter table inet {name}"),
            Self::Link { name } => write!(f, "network link {name}"),
        }
    }
}
