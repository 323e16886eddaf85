//! Programs that are started somewhere and do not outlive us.

use super::{MachineError, enter::Enter, owner::Process};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fmt, io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
    thread,
};
use tokio::sync::watch;
use weft_init::NetNs;

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The only group.
    pub gid: u32,
}

/// What to run, and how.
#[derive(Debug)]
pub struct Program {
    /// The program, looked up as a shell does, and its arguments.
    pub argv: Vec<OsString>,
    /// Variables besides our own.
    pub env: Vec<(OsString, OsString)>,
    /// Whether ours are left out.
    pub clear_env: bool,
    /// Its working directory; ours if not given.
    pub directory: Option<PathBuf>,
    /// Whom it runs as; us if not given. Only where users can be changed.
    pub user: Option<User>,
    /// Files it sees in other places: where, and what.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Whether everything it starts ends with it, also what it sends into the background. Needed for programs that
    /// are not ours; costs a process more.
    pub contain: bool,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

/// A program that runs. Dropping it kills it.
pub struct Running {
    /// The other end of a piped standard input.
    pub stdin: Option<ChildStdin>,
    /// The other end of a piped standard output.
    pub stdout: Option<ChildStdout>,
    /// The other end of a piped standard error.
    pub stderr: Option<ChildStderr>,
    pid: u32,
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// The stack of a thread that only waits, bytes.
const STACK: usize = 128 << 10;

// === impl Program ===

impl Program {
    /// A program with our environment, user and terminal.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            clear_env: false,
            directory: None,
            user: None,
            files: Vec::new(),
            contain: false,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
        }
    }

    /// This program itself, with other arguments.
    pub fn ourselves(args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self::new([OsString::from(super::OURSELVES)].into_iter().chain(args.into_iter().map(Into::into)))
    }

    /// Starts it in a network namespace, or in ours.
    ///
    /// That the program is there and may be run is seen in its exit code, as with a shell: 127 not found, 126 not
    /// runnable, 125 the way there failed; the reason is on its standard error.
    pub fn spawn(self, namespace: Option<&NetNs>) -> Result<Running, MachineError> {
        let name = self.argv.first().map(|p| p.display().to_string()).unwrap_or_default();
        let fail = |source| MachineError::Spawn { program: name.clone(), source };
        let namespace = namespace.map(NetNs::try_clone).transpose().map_err(fail)?;
        let (started, answer) = sync_channel(1);
        let (exited, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let waiter = reaped.clone();
        // The program is bound to the life of the thread that starts it, so that thread stays until it ends.
        thread::Builder::new()
            .name("program".into())
            .stack_size(STACK)
            .spawn(move || match self.start(namespace.as_ref()) {
                Ok(mut child) => {
                    let pid = child.id();
                    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                    // The one who asked waits for exactly this.
                    let _ = started.send(Ok((pid, pipes)));
                    let status = wait(&mut child, &waiter);
                    exited.send_replace(Some(status));
                }
                Err(e) => drop(started.send(Err(e))),
            })
            .map_err(fail)?;
        let (pid, (stdin, stdout, stderr)) =
            answer.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(fail)?;
        Ok(Running { stdin, stdout, stderr, pid, reaped, exit })
    }

    /// On a thread of its own: it is moved, and what it starts is where it is then.
    fn start(self, namespace: Option<&NetNs>) -> io::Result<Child> {
        let steps =
            Enter { parent: Process::own(), files: self.files, user: self.user, contain: self.contain };
        let mut command = steps.command(&self.argv)?;
        command.stdin(self.stdin).stdout(self.stdout).stderr(self.stderr);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env);
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        if let Some(namespace) = namespace {
            namespace.enter().map_err(io::Error::other)?;
        }
        if self.contain {
            unshare(CloneFlags::CLONE_NEWPID)?;
        }
        command.spawn()
    }
}

/// Waits until the child has ended, and only then frees its number, so that nobody signals a stranger.
fn wait(child: &mut Child, reaped: &Mutex<bool>) -> ExitStatus {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
    }
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    *reaped = true;
    // It has ended: this does not block. That somebody else has waited for it cannot be.
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00))
}

// === impl Running ===

impl Running {
    /// Its number, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal. A program that has ended gets none, and nobody else gets it either.
    pub fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // It can only fail for a program that is ending now.
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it ends. May be called again, and given up.
    pub async fn wait(&mut self) -> ExitStatus {
        match self.exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The waiting thread is gone, and with it the program.
            Err(_) => ExitStatus::from_raw(Signal::SIGKILL as i32),
        }
    }

    /// Ends it at once and waits until it is gone.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("pid", &self.pid)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}
