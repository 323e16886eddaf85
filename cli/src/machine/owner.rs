//! Who holds what on this machine: one directory per process, so that what a killed one left can be swept up.
//!
//!     BASE/lock                       held while anything below changes
//!     BASE/PID-START/record.json      what was changed, written before it is changed
//!     BASE/PID-START/ns/NAME          link to the namespace, good while the process lives
//!     BASE/PID-START/...              files that programs are shown
//!
//! A process is told from a later one with the same number by its start time.

mod change;

pub use change::Change;

use super::MachineError;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use weft_init::NetNs;

/// A process, told from others that had its number or will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub start: u64,
}

/// This process' part of the run-time directory. Dropping it undoes what it has recorded.
#[derive(Debug)]
pub struct Owner {
    base: PathBuf,
    directory: PathBuf,
    record: Record,
}

/// What one process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is: "demo", "run web", ….
    pub label: String,
    /// Path of the namespace with the bridge, if it takes part in the machine's network.
    pub hub: Option<PathBuf>,
    /// Its namespaces by name.
    pub members: BTreeMap<String, MemberRecord>,
    /// What it has changed, in order.
    pub changes: Vec<Change>,
}

/// What another process needs to know to run something in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Files that programs there see in other places: where, and what.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The first process of the process namespace that its program has, if it has one.
    #[serde(default)]
    pub first: Option<Process>,
}

/// Most directories of dead processes that one sweep looks at: the rest is left for the next one.
pub const MAX_SWEPT: usize = 1000;
/// The longest record that is read, bytes.
const MAX_RECORD: u64 = 1 << 20;

/// The directory for things that last as long as their process: `/run/weft` for root, the user's run-time directory, or
/// one in `/tmp` that nobody else can have made.
pub fn runtime_directory(writable_run: bool, xdg_runtime_dir: Option<&Path>, uid: u32) -> PathBuf {
    match xdg_runtime_dir {
        _ if writable_run => PathBuf::from("/run/weft"),
        Some(dir) if dir.is_absolute() => dir.join("weft"),
        _ => PathBuf::from(format!("/tmp/weft-{uid}")),
    }
}

/// [`runtime_directory`] for this process.
pub fn own_runtime_directory(xdg_runtime_dir: Option<&Path>) -> PathBuf {
    let run = nix::unistd::access("/run", nix::unistd::AccessFlags::W_OK).is_ok();
    // Seen from outside of a user namespace: the same directory every time.
    let uid = fs::read_to_string("/proc/self/uid_map").ok().and_then(|map| outer_uid(&map));
    runtime_directory(run, xdg_runtime_dir, uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()))
}

/// Who root of a user namespace is outside of it.
fn outer_uid(uid_map: &str) -> Option<u32> {
    let mut numbers = uid_map.lines().next()?.split_whitespace().map(str::parse::<u32>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(outer)), Some(Ok(1))) => Some(outer),
        _ => None,
    }
}

// === impl Process ===

impl Process {
    /// This process.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|start| Self { pid, start })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    fn name(self) -> String {
        format!("{}-{}", self.pid, self.start)
    }

    fn from_name(name: &str) -> Option<Self> {
        let (pid, start) = name.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }
}

fn start_time(pid: u32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in /proc/PID/stat (proc_pid_stat(5), field 22); `None` for a process that has ended.
fn parse_stat(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, which may itself contain brackets and blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

// === impl Owner ===

impl Owner {
    /// Makes this process' directory in `base`.
    pub fn claim(base: &Path, label: &str) -> Result<Self, MachineError> {
        prepare_base(base)?;
        let _lock = lock(base)?;
        let own = Process::own()
            .ok_or_else(|| file("read", Path::new("/proc/self/stat"))(io::ErrorKind::NotFound.into()))?;
        let directory = base.join(own.name());
        // Of an earlier claim of this same process.
        let _ = fs::remove_dir_all(&directory);
        let ns = directory.join("ns");
        DirBuilder::new().recursive(true).mode(0o755).create(&ns).map_err(file("create", &ns))?;
        let owner = Self {
            base: base.to_owned(),
            directory,
            record: Record { label: label.to_owned(), ..Record::default() },
        };
        owner.write()?;
        Ok(owner)
    }

    /// The directory, for files that should go with this process.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it holds and has changed.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes a file into the directory.
    pub fn add_file(&self, name: &str, content: &str) -> Result<PathBuf, MachineError> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(file("create", parent))?;
        }
        fs::write(&path, content).map_err(file("write", &path))?;
        Ok(path)
    }

    /// Makes a namespace of ours findable by name.
    pub fn add_member(
        &mut self,
        name: &str,
        ns: &NetNs,
        member: MemberRecord,
    ) -> Result<PathBuf, MachineError> {
        let link = self.directory.join("ns").join(name);
        symlink(descriptor_path(ns), &link).map_err(file("create", &link))?;
        self.record.members.insert(name.to_owned(), member);
        self.write()?;
        Ok(link)
    }

    /// Records that a contained program runs in a namespace, so that others can join it there.
    pub fn set_program(&mut self, name: &str, running: &super::Running) -> Result<(), MachineError> {
        if let Some(member) = self.record.members.get_mut(name) {
            member.first = Process::of(running.pid());
            self.write()?;
        }
        Ok(())
    }

    /// Forgets a namespace.
    pub fn remove_member(&mut self, name: &str) -> Result<(), MachineError> {
        let link = self.directory.join("ns").join(name);
        self.record.members.remove(name);
        let _ = fs::remove_file(link);
        self.write()
    }

    /// Records the namespace with the bridge as one that this process holds.
    pub(super) fn set_hub(&mut self, hub: &NetNs) -> Result<(), MachineError> {
        self.record.hub = Some(descriptor_path(hub));
        self.write()
    }

    /// The bridge's namespace that another live process holds.
    pub(super) fn others_hub(&self) -> Option<NetNs> {
        self.others().into_iter().find_map(|record| NetNs::open(&record.hub?).ok())
    }

    /// Makes changes to the machine: each is written down first.
    pub fn change(&mut self, changes: Vec<Change>) -> Result<(), MachineError> {
        let _lock = lock(&self.base)?;
        let others = self.others();
        for change in changes {
            let change = change.keeping_first(&others);
            self.record.changes.push(change.clone());
            self.write()?;
            change.make()?;
        }
        Ok(())
    }

    /// Undoes all changes, the last one first. Those another live process relies on are left to it.
    pub fn undo(&mut self) -> Result<Vec<String>, MachineError> {
        let _lock = lock(&self.base)?;
        let mut undone = Vec::new();
        while let Some(change) = self.record.changes.last() {
            undone.extend(change.undo(&self.others())?);
            self.record.changes.pop();
            self.write()?;
        }
        Ok(undone)
    }

    /// Takes the lock of the run-time directory, for steps that must not be taken by two processes at once.
    pub(super) fn lock(&self) -> Result<File, MachineError> {
        lock(&self.base)
    }

    /// The records of other live processes.
    fn others(&self) -> Vec<Record> {
        records(&self.base)
            .into_iter()
            .filter(|(p, dir, _)| p.is_alive() && *dir != self.directory)
            .map(|(.., r)| r)
            .collect()
    }

    fn write(&self) -> Result<(), MachineError> {
        let (path, new) = (self.directory.join("record.json"), self.directory.join("record.new"));
        let text = serde_json::to_string(&self.record).map_err(|e| file("write", &new)(e.into()))?;
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(file("write", &path))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // What fails here is still written down: the next sweep tries again.
        if self.undo().is_ok() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Undoes what processes that are gone have left in `base`; says what, a line each.
pub fn sweep(base: &Path) -> Result<Vec<String>, MachineError> {
    if !base.exists() {
        return Ok(Vec::new());
    }
    prepare_base(base)?;
    let _lock = lock(base)?;
    let (alive, dead): (Vec<_>, Vec<_>) = records(base).into_iter().partition(|(p, ..)| p.is_alive());
    let alive: Vec<Record> = alive.into_iter().map(|(.., r)| r).collect();
    let mut swept = Vec::new();
    for (process, directory, record) in dead {
        for change in record.changes.iter().rev() {
            swept.extend(change.undo(&alive)?);
        }
        fs::remove_dir_all(&directory).map_err(file("remove", &directory))?;
        swept.push(format!(
            "removed what process {} ({}) left in {}",
            process.pid,
            record.label,
            directory.display()
        ));
    }
    Ok(swept)
}

/// The live processes with a record in `base`, and their directories.
pub(super) fn living(base: &Path) -> Vec<(Process, PathBuf, Record)> {
    records(base).into_iter().filter(|(p, ..)| p.is_alive()).collect()
}

/// A record that cannot be read counts as empty: there is nothing to undo that we know of.
fn records(base: &Path) -> Vec<(Process, PathBuf, Record)> {
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    let directories = entries.filter_map(|e| {
        let path = e.ok()?.path();
        Some((Process::from_name(path.file_name()?.to_str()?)?, path))
    });
    directories
        .take(MAX_SWEPT)
        .map(|(process, path)| {
            let record = read_record(&path.join("record.json")).unwrap_or_default();
            (process, path, record)
        })
        .collect()
}

fn read_record(path: &Path) -> Option<Record> {
    use io::Read;
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_RECORD).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The base directory must be ours alone: what is in it decides what root undoes.
fn prepare_base(base: &Path) -> Result<(), MachineError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(base) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(file("create", base)(e)),
        _ => {}
    }
    let meta = fs::symlink_metadata(base).map_err(file("read", base))?;
    let ours = meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(MachineError::NotOurs(base.to_owned())) }
}

fn lock(base: &Path) -> Result<File, MachineError> {
    let path = base.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = open.map_err(file("open", &path))?;
    lock.lock().map_err(file("lock", &path))?;
    Ok(lock)
}

/// Where others find a descriptor of ours.
fn descriptor_path(ns: &NetNs) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd()).into()
}

/// Wraps an error about a file.
pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MachineError {
    let path = path.to_owned();
    move |source| MachineError::File { action, path, source }
}

#[cfg(test)]
mod tests;
