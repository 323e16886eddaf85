//! Network namespaces: held by file descriptors, entered by threads.
//!
//! A namespace lives as long as something refers to it: a process, a thread, an open descriptor. Nothing here gives
//! one a name in the file system, so nothing is left behind when its holder dies.

use nix::sched::{CloneFlags, setns, unshare};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    thread,
};
use thiserror::Error;

/// A network namespace.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

/// Why a network namespace could not be made or entered.
#[derive(Debug, Error)]
pub enum NetNsError {
    /// The path is not there or may not be read.
    #[error("could not open the network namespace {}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Root, or CAP_SYS_ADMIN in the user namespace, is needed.
    #[error("could not make a network namespace: root or CAP_SYS_ADMIN is needed")]
    Create(#[source] io::Error),
    /// It is not a network namespace, or CAP_SYS_ADMIN is missing.
    #[error(
        "could not enter the network namespace: is it one, and is this process allowed to (CAP_SYS_ADMIN)?"
    )]
    Enter(#[source] io::Error),
    /// No thread to do it in.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
}

const OWN: &str = "/proc/thread-self/ns/net";

impl NetNs {
    /// The calling thread's.
    pub fn current() -> Result<Self, NetNsError> {
        Self::open(Path::new(OWN))
    }

    /// The one a path leads to: `/proc/PID/ns/net`, or a name that `ip netns` made.
    pub fn open(path: &Path) -> Result<Self, NetNsError> {
        let file = File::open(path).map_err(|source| NetNsError::Open { path: path.to_owned(), source })?;
        Ok(Self(file.into()))
    }

    /// A new one, empty but for a loopback link that is down. The caller stays where it is.
    pub fn create() -> Result<Self, NetNsError> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| NetNsError::Create(e.into()))?;
            Self::current()
        })?
    }

    /// Moves the calling thread into it: sockets it opens and threads and processes it starts from now on are there.
    /// There is no way back but another `enter`.
    pub fn enter(&self) -> Result<(), NetNsError> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(|e| NetNsError::Enter(e.into()))
    }

    /// Runs something in it, on a thread of its own, and waits for it.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        on_a_thread(|| self.enter().map(|()| f()))?
    }

    /// Another handle of the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// What tells one namespace from another while both exist: device and inode.
    pub fn id(&self) -> io::Result<(u64, u64)> {
        let meta = File::from(self.0.try_clone()?).metadata()?;
        Ok((meta.dev(), meta.ino()))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Namespaces are a property of threads: a fresh one can be moved and thrown away.
fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("netns".into()).spawn_scoped(scope, f).map_err(NetNsError::Thread)?;
        match thread.join() {
            Ok(value) => Ok(value),
            // The closure's panic goes on where it was called.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_which() {
        let e = NetNs::open(Path::new("/no/such/namespace")).unwrap_err();
        assert_eq!(e.to_string(), "could not open the network namespace /no/such/namespace");
        let not_one = NetNs::open(Path::new("/dev/null")).unwrap();
        assert!(matches!(not_one.run(|| ()), Err(NetNsError::Enter(_))));
        assert_eq!(NetNs::current().unwrap().id().unwrap(), NetNs::current().unwrap().id().unwrap());
    }
}
