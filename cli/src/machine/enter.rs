//! The hidden command every program is started through: it takes the steps that need a process of its own.
//!
//! Plain: files in place, user changed, then the program takes this process over. Contained: this process stays as
//! the first of a new process namespace, so that all the program ever starts ends with it; it passes signals on, reaps
//! orphans, and ends with the program's exit code.

use super::{OURSELVES, User, owner::Process};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fmt::Display,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

pub(super) const COMMAND: &str = "__enter";

/// Exit code: the steps before the program failed.
const NOT_SET_UP: u8 = 125;
/// Exit code: the program is there but does not run.
const NOT_RUNNABLE: u8 = 126;
/// Exit code: there is no such program.
const NOT_FOUND: u8 = 127;

/// The steps before the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Enter {
    /// Who started it: the program must not outlive this process.
    pub(super) parent: Option<Process>,
    /// Files to show in other places: where, and what.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
    /// Whom to run it as.
    pub(super) user: Option<User>,
    /// Whether all its descendants end with it.
    pub(super) contain: bool,
}

impl Enter {
    /// The command that takes the steps and then runs `argv`.
    pub(super) fn command(&self, argv: &[OsString]) -> io::Result<Command> {
        let mut command = Command::new(OURSELVES);
        command.arg0("weft").arg(COMMAND).arg(serde_json::to_string(self)?).args(argv);
        Ok(command)
    }

    /// Takes the steps in this process and becomes the program, or watches over it; returns if there is no program.
    pub(super) fn start(&self, argv: &[OsString]) -> ExitCode {
        let Some((program, args)) = argv.split_first() else {
            return fail(NOT_SET_UP, "no program was named");
        };
        if let Err(e) = self.prepare() {
            return fail(NOT_SET_UP, e);
        }
        if self.contain {
            // The program is started as any other, so that it has its user, and no signals blocked.
            let inner = Self { parent: None, files: Vec::new(), user: self.user, contain: false };
            return inner.command(argv).and_then(watch).unwrap_or_else(|e| fail(NOT_SET_UP, e));
        }
        let mut command = Command::new(program);
        command.args(args);
        if program == OURSELVES {
            // So that lists of processes say what it is.
            command.arg0("weft");
        }
        let error = match SigSet::empty().thread_set_mask() {
            Ok(()) => command.exec(),
            Err(e) => e.into(),
        };
        not_run(program, &error)
    }

    fn prepare(&self) -> Result<(), String> {
        if !self.files.is_empty() || self.contain {
            own_mounts().map_err(|e| format!("could not get a mount table of its own: {e}"))?;
        }
        for (place, file) in &self.files {
            show(file, place)
                .map_err(|e| format!("could not show {} as {}: {e}", file.display(), place.display()))?;
        }
        if let (Some(user), false) = (self.user, self.contain) {
            become_user(user)
                .map_err(|e| format!("could not become user {} group {}: {e}", user.uid, user.gid))?;
        }
        // After the change of user, which clears it.
        if let Some(parent) = self.parent {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(|e| format!("could not bind to the parent: {e}"))?;
            if !parent.is_alive() {
                return Err("the parent is gone".into());
            }
        }
        if self.contain {
            // Shows the program its own process numbers. Where a sandbox hides parts of /proc it may not be mounted
            // anew: the program then sees other numbers there than its own.
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
        }
        Ok(())
    }
}

/// The hidden command.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let steps = args.next().and_then(|text| serde_json::from_str::<Enter>(text.to_str()?).ok());
    match steps {
        Some(steps) => steps.start(&args.collect::<Vec<_>>()),
        None => fail(NOT_SET_UP, "this command is for weft's own use"),
    }
}

/// A copy of the mount table that still learns what the machine mounts, but tells it nothing.
fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
}

/// Makes `place` read as `file`. A place that is a link stands for what it leads to.
fn show(file: &Path, place: &Path) -> io::Result<()> {
    let place = fs::canonicalize(place)?;
    mount(Some(file), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn become_user(user: User) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Runs a program as a child until it ends, and passes signals on to it.
pub(super) fn attend(argv: &[OsString]) -> ExitCode {
    // Not started from here: it would inherit that all signals are blocked.
    let inner = Enter { parent: None, files: Vec::new(), user: None, contain: false };
    inner.command(argv).and_then(watch).unwrap_or_else(|e| fail(NOT_SET_UP, e))
}

fn not_run(program: &OsString, error: &io::Error) -> ExitCode {
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
    fail(code, format_args!("{}: {error}", program.display()))
}

/// Runs a command as a child and does an init's work until it ends.
fn watch(mut command: Command) -> io::Result<ExitCode> {
    let all = SigSet::all();
    all.thread_block()?;
    let signals = SignalFd::new(&all)?;
    let child = Pid::from_raw(command.spawn()?.id().cast_signed());
    loop {
        let Some(info) = signals.read_signal()? else { continue };
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        match signal {
            Some(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return Ok(ExitCode::from(code));
                }
            }
            // What the terminal sends (SI_KERNEL) the program has got itself.
            Some(signal) if info.ssi_code <= 0 => drop(kill(child, signal)),
            _ => {}
        }
    }
}

/// Collects all that have ended; the exit code if the child is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status.to_le_bytes()[0]),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = u8::try_from(128 + signal as i32).ok();
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

fn fail(code: u8, why: impl Display) -> ExitCode {
    eprintln!("weft: {why}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_come_through_the_command_line() {
        let steps = Enter {
            parent: Some(Process { pid: 7, start: 9 }),
            files: vec![("/etc/resolv.conf".into(), "/run/a b".into())],
            user: Some(User { uid: 1, gid: 2 }),
            contain: true,
        };
        let command = steps.command(&["x".into(), "-y".into()]).unwrap();
        let args: Vec<_> = command.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!((args[0], &args[2..]), (COMMAND, &["x", "-y"][..]));
        assert_eq!(serde_json::from_str::<Enter>(args[1]).unwrap(), steps);
    }
}
