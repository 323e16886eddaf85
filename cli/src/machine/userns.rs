//! User namespaces: root among our own, with one user that is the caller.

use super::OURSELVES;
use nix::sched::{CloneFlags, unshare};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};
use thiserror::Error;

pub(super) const COMMAND: &str = "__userns";

/// Why there is no user namespace for us.
#[derive(Debug, Error)]
pub enum UserNsError {
    /// The kernel or its security modules forbid it.
    #[error(
        "the kernel does not let this user make a user namespace (see kernel.unprivileged_userns_clone, \
         user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Refused(#[source] io::Error),
    /// Made, but the user could not be mapped.
    #[error("could not write {0}")]
    Map(&'static str, #[source] io::Error),
}

/// Runs this program again, with these arguments (without the program's name), as root of a new user namespace and
/// with a mount table of its own. The process stays the same one; this returns only if it could not be done.
///
/// Call it before any thread is started and before anything is open that should not be inherited.
pub fn reexec(args: impl IntoIterator<Item = OsString>) -> io::Error {
    Command::new(OURSELVES).arg0("weft").arg(COMMAND).args(args).exec()
}

/// The hidden command.
pub(super) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let error = match enter() {
        Ok(()) => Command::new(OURSELVES).arg0("weft").args(args).exec().to_string(),
        Err(e) => super::chain(&e),
    };
    eprintln!("weft: {error}");
    ExitCode::FAILURE
}

/// Moves this process, which must have one thread, into a new user namespace that maps its user and group to root.
pub(super) fn enter() -> Result<(), UserNsError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|e| UserNsError::Refused(e.into()))?;
    for (path, text) in [
        // Without this an unprivileged process may not map a group.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(path, text).map_err(|e| UserNsError::Map(path, e))?;
    }
    Ok(())
}
