//! Running something in a namespace of another weft: `weft exec NAME -- CMD`.

use super::{
    MachineError,
    enter::{self, Enter},
    owner::{self, Process},
};
use nix::sched::{CloneFlags, setns};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use weft_init::NetNs;

/// A namespace that a running weft holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What holds it: "demo", "run web", ….
    pub label: String,
    /// Who holds it.
    pub process: Process,
    path: PathBuf,
    files: Vec<(PathBuf, PathBuf)>,
    first: Option<Process>,
}

/// All namespaces that live processes have published in `base`, by name.
pub fn list(base: &Path) -> Vec<Found> {
    let mut found: Vec<_> = owner::living(base)
        .into_iter()
        .flat_map(|(process, directory, record)| {
            let label = record.label;
            record.members.into_iter().map(move |(name, member)| Found {
                path: directory.join("ns").join(&name),
                name,
                label: label.clone(),
                process,
                files: member.files,
                first: member.first,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The namespace of this name.
pub fn find(base: &Path, name: &str) -> Result<Found, MachineError> {
    let all = list(base);
    let others = all.iter().map(|f| f.name.clone()).collect();
    all.into_iter()
        .find(|f| f.name == name)
        .ok_or_else(|| MachineError::Unknown { name: name.to_owned(), others })
}

impl Found {
    /// Becomes a program in the namespace, or watches over one that shares processes and files with the workload's
    /// own; returns when that has ended, or if there is none. The process must have one thread.
    pub fn exec(&self, argv: &[OsString]) -> Result<ExitCode, MachineError> {
        self.enter_user_namespace()?;
        NetNs::open(&self.path)?.enter()?;
        match self.first.filter(|first| first.is_alive()) {
            Some(first) => {
                join(first)?;
                Ok(enter::attend(argv))
            }
            None => {
                let steps = Enter { parent: None, files: self.files.clone(), user: None, contain: false };
                Ok(steps.start(argv))
            }
        }
    }

    /// A rootless weft's namespaces belong to its user namespace: only who is in that one may enter them.
    fn enter_user_namespace(&self) -> Result<(), MachineError> {
        let path = PathBuf::from(format!("/proc/{}/ns/user", self.process.pid));
        let fail = || owner::file("enter", &path);
        let (own, theirs) = (fs::metadata("/proc/self/ns/user"), fs::metadata(&path));
        use std::os::unix::fs::MetadataExt;
        if own.map_err(fail())?.ino() == theirs.map_err(fail())?.ino() {
            return Ok(());
        }
        let file = File::open(&path).map_err(fail())?;
        setns(file, CloneFlags::CLONE_NEWUSER).map_err(|e| fail()(io::Error::from(e)))
    }
}

/// Enters the mount table of a contained program, and lets what is started from here on be one of its processes.
fn join(first: Process) -> Result<(), MachineError> {
    let directory = std::env::current_dir();
    let open = |kind: &str| {
        let path = PathBuf::from(format!("/proc/{}/ns/{kind}", first.pid));
        File::open(&path).map(|file| (file, path.clone())).map_err(owner::file("open", &path))
    };
    // Both are opened before the first is entered: it has a /proc of its own.
    let namespaces = [(open("pid")?, CloneFlags::CLONE_NEWPID), (open("mnt")?, CloneFlags::CLONE_NEWNS)];
    for ((file, path), kind) in namespaces {
        setns(file, kind).map_err(|e| owner::file("enter", &path)(io::Error::from(e)))?;
    }
    // The mount tables differ in few files only, so the directory is there.
    let _ = directory.and_then(std::env::set_current_dir);
    Ok(())
}
