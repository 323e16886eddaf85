//! What processes cost, read from `/proc`, and children that end with the bench.

use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use weft_init::NetNs;

/// CPU time that processes have used, all threads, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it.
    pub total: f64,
    /// In user mode. The kernel counts this share in ticks, so it is coarser than the total.
    pub user: f64,
}

impl Cpu {
    /// What these processes have used until now.
    ///
    /// # Panics
    /// When one of them is gone.
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        pids.iter()
            .map(|pid| Self::of_one(*pid))
            .fold(Self::default(), |a, b| Self { total: a.total + b.total, user: a.user + b.user })
    }

    fn of_one(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
        // After the name, which is in parentheses and may hold anything: fields 3 and on.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap_or(0)..].split_whitespace().skip(1).collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number") * 10_000.0;
        let user = ticks(14);
        // Exact, where the kernel has it; threads of the measured programs do not come and go.
        let exact = fs::read_dir(format!("/proc/{pid}/task")).ok().and_then(|tasks| {
            tasks.flatten().try_fold(0.0, |sum, task| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                Some(sum + text.split_whitespace().next()?.parse::<f64>().ok()? / 1_000.0)
            })
        });
        Self { total: exact.unwrap_or_else(|| user + ticks(15)), user }
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { total: self.total - earlier.total, user: self.user - earlier.user }
    }
}

/// Resident memory of a process in bytes.
///
/// # Panics
/// When it is gone.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("its resident size");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number") * 1024
}

/// A program that ends when this value does, and when the bench is killed.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts `program` in a namespace as a user. Its output goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(
        namespace: &NetNs,
        user: u32,
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        log: &Path,
    ) -> Self {
        let mut command = inside(namespace, user, program, arguments);
        let out = fs::File::options().create(true).append(true).open(log).expect("a log");
        command.env_clear().envs(environment.iter().map(|(n, v)| (n, v)));
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a descriptor")).stderr(out);
        Self(command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program.display())))
    }

    /// Takes a child that was started otherwise.
    #[must_use]
    pub fn child(child: Child) -> Self {
        Self(child)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command in a namespace as a user, killed when the thread that starts it ends.
#[must_use]
pub fn inside(namespace: &NetNs, user: u32, program: &Path, arguments: &[String]) -> Command {
    // `nsenter` and `setpriv` become the program, so its process id is the child's.
    let mut command = Command::new("nsenter");
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
    command.arg(format!("--net={path}")).args(["--", "setpriv", "--pdeathsig", "KILL"]);
    if user != 0 {
        command.arg("--clear-groups").arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
    }
    command.arg("--").arg(program).args(arguments);
    command
}

/// Waits until something is so.
///
/// # Panics
/// When it does not become so within `patience`.
pub fn wait_until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How busy the machine is with other things.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// CPU time that was not idle, in ticks of all processors.
    pub busy: f64,
    /// CPU time that the hypervisor gave to others.
    pub stolen: f64,
    /// All CPU time.
    pub all: f64,
}

impl Machine {
    /// Since the machine started.
    ///
    /// # Panics
    /// Never on Linux.
    #[must_use]
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
        let first = stat.lines().next().unwrap_or_default();
        let fields: Vec<f64> = first.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        let all: f64 = fields.iter().take(8).sum();
        Self { busy: all - fields[3] - fields[4], stolen: fields[7], all }
    }

    /// Between `earlier` and this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy - earlier.busy,
            stolen: self.stolen - earlier.stolen,
            all: self.all - earlier.all,
        }
    }
}
