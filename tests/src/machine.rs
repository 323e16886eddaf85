//! A machine of its own for `weft up` and `weft run`: a network of its own, a `/run` of its own, on the kernel of this one.
//!
//! What weft changes on a machine it changes here, so that tests run beside each other and beside a mesh that is in use. What
//! is left of it can be looked at: processes, links, packet filters, files.

use crate::{
    binaries,
    place::require_root,
    process::{Ended, Process},
    wait::until_blocking,
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A machine. Everything of it ends when it is dropped.
pub struct Machine {
    name: String,
    holder: Child,
    files: TempDir,
}

impl Machine {
    /// One with a loopback link and nothing else.
    ///
    /// # Panics
    /// Without root.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let name = format!("weft-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let files = TempDir::with_prefix("weft-test-machine-").expect("a directory");
        // Programs run as other users, too.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(files.path(), mode).expect("a mode");
        let ready = files.path().join("ready");
        let script = format!(
            "mount -t tmpfs -o mode=755 {name} /run && ip link set lo up && touch {} && exec sleep infinity",
            ready.display()
        );
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare");
        let machine = Self { name, holder, files };
        until_blocking("a machine", || ready.exists().then_some(()));
        machine
    }

    /// A directory for files, which everybody may enter.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// The state directory of its control plane.
    pub fn state(&self) -> PathBuf {
        self.files.path().join("state")
    }

    /// A command that will run on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--net", "--"]);
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command.env("HOME", self.files.path()).env_remove("XDG_RUNTIME_DIR").env_remove("XDG_STATE_HOME");
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    /// A command of weft's; of those that know one, with the state directory of this machine.
    pub fn weft(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(binaries::path("weft"));
        let (first, rest) = arguments.split_first().expect("a command");
        command.arg(first);
        if ["up", "run", "get"].contains(first) {
            command.arg("--state").arg(self.state());
        }
        command.args(rest);
        command
    }

    /// Starts a command of weft's.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::spawn(&format!("weft {}", arguments.join(" ")), &mut self.weft(arguments))
    }

    /// Runs a command of weft's to its end.
    pub fn finish(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    /// Runs any program to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ended {
        Process::spawn(program, self.command(program).args(arguments)).wait()
    }

    /// Command lines of processes that were started on it, by whomever, and live.
    ///
    /// # Panics
    /// Without /proc.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // All they start inherits its /run, also into mount namespaces of their own.
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != self.holder.id() && !line.is_empty() && mounts.contains(&format!(" {} ", self.name)) {
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    /// What weft has left of itself, in words; empty if nothing.
    pub fn left_over(&self) -> Vec<String> {
        let mut left: Vec<_> =
            self.processes().into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect();
        let links = self.run("ip", &["-o", "link"]).lines;
        left.extend(links.into_iter().filter(|line| !line.contains(" lo:")));
        left.extend(self.run("nft", &["list", "tables"]).lines);
        // But for the empty file that its processes lock.
        let files = self.run("find", &["/run", "-mindepth", "2", "!", "-path", "/run/weft/lock"]).lines;
        left.extend(files.into_iter().map(|path| format!("file {path}")));
        let forwarding = self.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).text();
        if forwarding != "0" {
            left.push(format!("net.ipv4.ip_forward is {forwarding}"));
        }
        left
    }

    /// Waits until nothing is left.
    ///
    /// # Panics
    /// When something stays.
    pub fn assert_clean(&self) {
        let deadline = std::time::Instant::now() + crate::wait::PATIENCE;
        loop {
            let left = self.left_over();
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "left on the machine:\n{}", left.join("\n"));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // By number, and only what was started here.
        for (pid, _) in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
