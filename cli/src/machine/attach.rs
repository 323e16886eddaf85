//! Running something in a namespace of another weft: `weft exec NAME -- CMD`.

use super::{
    MachineError,
    enter::Enter,
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
    /// Becomes a program in the namespace; returns only if that fails. The process must have one thread.
    pub fn exec(&self, argv: &[OsString]) -> Result<ExitCode, MachineError> {
        self.enter_user_namespace()?;
        NetNs::open(&self.path)?.enter()?;
        let steps = Enter { parent: None, files: self.files.clone(), user: None, contain: false };
        Ok(steps.start(argv))
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
