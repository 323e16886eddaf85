//! What this process may do with the network, found out by doing it.

use super::{OURSELVES, chain};
use std::{
    error::Error,
    fs,
    process::{Command, ExitCode, Stdio},
};
use weft_init::{NetNs, Plan, Redirection, netlink::route::Route};

pub(super) const COMMAND: &str = "__probe";

/// The user the proxy runs as where it can have one of its own: Linkerd's.
pub const PROXY_UID: u32 = 2102;
/// The mark of the proxy's sockets where it cannot.
pub const PROXY_MARK: u32 = 0x2102;

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Make namespaces and redirect in them, now.
    Namespaces(Exempt),
    /// The same after [`super::userns::reexec`].
    UserNamespace,
    /// Neither; here is why.
    None(Vec<String>),
}

/// How redirection tells the proxy's own connections from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// The proxy runs as this user.
    User(u32),
    /// The proxy's sockets carry this mark: there is one user only.
    Mark(u32),
}

/// Finds out by making a namespace with redirect rules and throwing it away; a few milliseconds.
pub fn probe() -> Privilege {
    let here = match prove() {
        Ok(()) => {
            let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            let exempt =
                if maps(&map, PROXY_UID) { Exempt::User(PROXY_UID) } else { Exempt::Mark(PROXY_MARK) };
            return Privilege::Namespaces(exempt);
        }
        Err(e) => format!("as this user: {e}"),
    };
    match prove_in_user_namespace() {
        Ok(()) => Privilege::UserNamespace,
        Err(e) => Privilege::None(vec![here, format!("in a user namespace: {e}")]),
    }
}

/// The hidden command: enters a user namespace and tries there.
pub(super) fn run() -> ExitCode {
    match super::userns::enter().map_err(|e| chain(&e)).and_then(|()| prove()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn prove() -> Result<(), String> {
    let trial = || -> Result<(), Box<dyn Error + Send + Sync>> {
        let ns = NetNs::create()?;
        ns.run(|| -> Result<(), Box<dyn Error + Send + Sync>> {
            Route::open()?.set_up("lo")?;
            weft_init::apply(&Plan::new(&Redirection::standard()))?;
            Ok(())
        })?
    };
    trial().map_err(|e| chain(&*e))
}

fn prove_in_user_namespace() -> Result<(), String> {
    let output = Command::new(OURSELVES)
        .arg(COMMAND)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| format!("could not start a trial: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(if said.is_empty() { format!("the trial ended with {}", output.status) } else { said })
}

/// Whether a uid_map gives `uid` a meaning.
fn maps(uid_map: &str, uid: u32) -> bool {
    uid_map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next().unwrap_or(0), numbers.next(), numbers.next().unwrap_or(0));
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_maps() {
        assert!(maps("         0          0 4294967295\n", 2102));
        assert!(!maps("         0       1000          1\n", 2102));
        assert!(maps("0 1000 1\n1 100000 65536\n", 2102));
        assert!(!maps("", 2102));
        assert!(!maps("garbage\n", 2102));
    }
}
