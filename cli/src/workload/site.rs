//! This machine's part of a mesh: network, control plane, files.

use super::registry::Registry;
use crate::machine::{MachineError, Network, Owner, Uplink, network::has_ipv6, privilege::Exempt};
use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What the workloads started by this process share.
#[derive(Debug)]
pub struct Site {
    /// Where they are registered.
    pub registry: Registry,
    /// Whether they have IPv6 addresses too.
    pub ipv6: bool,
    /// This machine's name.
    pub node: String,
    ground: Ground,
    uplink: Option<Uplink>,
    // Last: what it undoes must be in use no more.
    owner: Mutex<Owner>,
}

/// What workloads stand on.
#[derive(Debug)]
pub enum Ground {
    /// A network of namespaces, with redirection that knows proxies by this.
    Namespaces(Network, Exempt),
    /// The machine's loopback network.
    Loopback,
}

impl Site {
    /// A site whose files go when it is dropped.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn new(owner: Owner, ground: Ground, registry: Registry) -> Result<Self, MachineError> {
        // Proxies run as another user and read files of theirs below it.
        for path in [owner.directory().parent(), Some(owner.directory())].into_iter().flatten() {
            fs::set_permissions(path, Permissions::from_mode(0o711)).map_err(file("change", path))?;
        }
        let node = fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        let ipv6 = matches!(ground, Ground::Namespaces(..)) && has_ipv6();
        let node = node.unwrap_or_else(|_| "localhost".into());
        Ok(Self { registry, ipv6, node, ground, uplink: None, owner: Mutex::new(owner) })
    }

    /// Holds the way from the network to this machine as long as the site is there.
    pub fn hold(&mut self, uplink: Uplink) {
        self.uplink = Some(uplink);
    }

    /// What workloads stand on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The network, where there is one.
    pub fn network(&self) -> Option<&Network> {
        match &self.ground {
            Ground::Namespaces(network, _) => Some(network),
            Ground::Loopback => None,
        }
    }

    /// How redirection knows a proxy's own connections.
    pub fn exempt(&self) -> Option<Exempt> {
        match self.ground {
            Ground::Namespaces(_, exempt) => Some(exempt),
            Ground::Loopback => None,
        }
    }

    /// What this process holds on this machine.
    pub fn owner(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory that goes with this process, which a workload's proxy may use.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, MachineError> {
        let path = self.owner().directory().join(name);
        let make = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        make.and_then(|()| self.give(&path)).map_err(file("create", &path))?;
        Ok(path)
    }

    /// Writes a file for a workload's proxy alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn secret(&self, path: &Path, text: &str) -> Result<(), MachineError> {
        let write = || {
            let new = path.with_extension("new");
            fs::write(&new, "")?;
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            fs::write(&new, text)?;
            self.give(&new)?;
            fs::rename(&new, path)
        };
        write().map_err(file("write", path))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.exempt() {
            Some(Exempt::User(uid)) => chown(path, Some(uid), Some(uid)),
            _ => Ok(()),
        }
    }
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MachineError {
    let path = path.to_owned();
    move |source| MachineError::File { action, path, source }
}
