//! Manifests: loaded at start, followed while the control plane runs.
//!
//! ```text
//!   every 250 ms: look (stat) ─▶ changed and still since the last look ─▶ read ─▶ Manifests::replace ─▶ events
//! ```
//!
//! - A file's objects come and go together. A file that is bad is reported; what was last good of it stays in force.
//! - At the start nothing is in force yet: a file that is bad then is a reason not to start.
//! - An object is in one file. A second file with it is bad.
//! - Files are read when they are still between two looks, so that one that is being written is not read half. One
//!   that is gone is gone when it is missing at two looks.
//! - A path that cannot be looked at changes nothing: an unmounted directory does not take policies out of force.
//!
//! [`Manifests`] is pure; [`look`] and [`read`] are the IO.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use weft_model::{
    Event, Kind, Object, Problem,
    fact::Id,
    manifest::{self, MAX_FILE_SIZE},
};

mod follow;

#[cfg(test)]
mod tests;

pub use self::follow::{INTERVAL, follow};

/// The most files: 1,000. Further ones are a problem.
pub const MAX_FILES: usize = 1_000;

/// The files of a directory that are manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What is in force, file by file.
#[derive(Debug, Default)]
pub struct Manifests {
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug, Default)]
struct File {
    /// The objects in force.
    objects: Vec<Object>,
    /// What is wrong with what is written now.
    problems: Arc<[Problem]>,
    /// How the file was when it was read.
    read: Option<Stamp>,
    /// How it was at the last look.
    seen: Option<Stamp>,
}

/// By what a change of a file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

/// What a look at the given paths found.
#[derive(Debug, Default)]
pub struct Look {
    /// The files, and paths that cannot be looked at.
    pub found: BTreeMap<PathBuf, Result<Stamp, Problem>>,
    /// Paths of which the files cannot be told: files below them are not gone.
    pub blind: Vec<PathBuf>,
}

/// What reading a file gave.
pub type ReadFile = (PathBuf, Option<Stamp>, Result<Vec<Object>, Vec<Problem>>);

/// Looks at files and at the manifests in directories. Directories below those are not looked into.
#[must_use]
pub fn look(paths: &[PathBuf]) -> Look {
    let mut look = Look::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => look_into(path, &mut look),
            Ok(metadata) => {
                look.found.insert(path.clone(), Ok(Stamp::of(&metadata)));
            }
            Err(error) => look.fail(path, &error),
        }
    }
    look
}

fn look_into(directory: &Path, look: &mut Look) {
    let entries = match fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return look.fail(directory, &error),
    };
    for entry in entries {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || !extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            continue;
        }
        // Links are followed: a directory mounted into a container is made of them.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                look.found.insert(path, Ok(Stamp::of(&metadata)));
            }
            Ok(_) => {}
            // Gone since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => look.fail(&path, &error),
        }
    }
}

impl Look {
    fn fail(&mut self, path: &Path, error: &io::Error) {
        let problem = Problem::file(&name(path), format!("cannot be read: {error}"));
        self.found.insert(path.to_owned(), Err(problem));
        self.blind.push(path.to_owned());
    }
}

/// Reads a file.
pub fn read(path: &Path) -> ReadFile {
    let file = name(path);
    let failed = |error: io::Error| Err(vec![Problem::file(&file, format!("cannot be read: {error}"))]);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return (path.to_owned(), None, failed(error)),
    };
    let stamp = Stamp::of(&metadata);
    if metadata.len() > MAX_FILE_SIZE as u64 {
        let problem = Problem::file(&file, format!("is larger than {MAX_FILE_SIZE} bytes"));
        return (path.to_owned(), Some(stamp), Err(vec![problem]));
    }
    let objects = match fs::read_to_string(path) {
        Ok(text) => manifest::read(&file, &text),
        Err(error) => failed(error),
    };
    (path.to_owned(), Some(stamp), objects)
}

impl Manifests {
    /// Takes what a look found and says which files to read: those that changed and were still since the last look
    /// (all that changed, if `at_once`). Files that are gone are taken out of force, and problems with looking
    /// reported, by the events.
    pub fn seen(&mut self, look: &Look, at_once: bool) -> (Vec<PathBuf>, Vec<Event>) {
        let mut events = Vec::new();
        let mut gone = Vec::new();
        let mut due = Vec::new();
        let room = MAX_FILES.saturating_sub(self.files.len());
        let new: Vec<&PathBuf> = look.found.keys().filter(|path| !self.files.contains_key(*path)).collect();
        for path in new.iter().take(room) {
            self.files.insert((*path).clone(), File::default());
        }
        if new.len() > room {
            let problem = format!("and {} more: at most {MAX_FILES} manifests are read", new.len() - room);
            events.push(Event::Problems(
                "manifests".into(),
                [Problem::file(&"manifests".into(), problem)].into(),
            ));
        }
        for (path, file) in &mut self.files {
            match look.found.get(path) {
                Some(Ok(stamp)) => {
                    let still = at_once || file.seen == Some(*stamp);
                    file.seen = Some(*stamp);
                    if still && file.read != Some(*stamp) {
                        due.push(path.clone());
                    }
                }
                Some(Err(problem)) => {
                    file.seen = None;
                    let problems: Arc<[Problem]> = [problem.clone()].into();
                    if file.problems != problems {
                        file.problems = problems.clone();
                        file.read = None;
                        events.push(Event::Problems(name(path), problems));
                    }
                }
                None if look.blind.iter().any(|blind| path.starts_with(blind)) => {}
                None if file.seen.is_some() && !at_once => file.seen = None,
                None => gone.push(path.clone()),
            }
        }
        for path in gone {
            if let Some(file) = self.files.remove(&path) {
                events.extend(
                    file.objects.iter().map(|object| Event::Erased(object.kind(), object.id().clone())),
                );
                events.push(Event::Problems(name(&path), [].into()));
            }
        }
        (due, events)
    }

    /// Takes what was read and says what changes. Bad files change nothing but what is reported.
    pub fn replace(&mut self, read: Vec<ReadFile>) -> Vec<Event> {
        let mut bad: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        let mut good: BTreeMap<PathBuf, Vec<Object>> = BTreeMap::new();
        for (path, stamp, objects) in read {
            if let Some(file) = self.files.get_mut(&path) {
                file.read = stamp;
                match objects {
                    Ok(objects) => drop(good.insert(path, objects)),
                    Err(problems) => drop(bad.insert(path, problems)),
                }
            }
        }
        // A file that turns out bad falls back to what it had, which can be what another new one has too: at most
        // one round per file.
        while let Some((path, problems)) = self.twice_written(&good) {
            good.remove(&path);
            bad.insert(path, problems);
        }
        let mut events = Vec::new();
        for (path, objects) in &good {
            let keys: BTreeSet<_> = objects.iter().map(key).collect();
            let before = self.files.get(path).map(|file| file.objects.as_slice()).unwrap_or_default();
            let erased = before.iter().filter(|object| !keys.contains(&key(object)));
            events.extend(erased.map(|object| Event::Erased(object.kind(), object.id().clone())));
        }
        for (path, objects) in good {
            events.extend(objects.iter().cloned().map(Event::Written));
            events.push(Event::Problems(name(&path), [].into()));
            if let Some(file) = self.files.get_mut(&path) {
                file.objects = objects;
                file.problems = [].into();
            }
        }
        for (path, problems) in bad {
            if let Some(file) = self.files.get_mut(&path) {
                file.problems = problems.into();
                events.push(Event::Problems(name(&path), file.problems.clone()));
            }
        }
        events
    }

    /// The first file that would write an object another file writes too.
    fn twice_written(&self, good: &BTreeMap<PathBuf, Vec<Object>>) -> Option<(PathBuf, Vec<Problem>)> {
        let mut seen: BTreeMap<(Kind, &Id), &Object> = BTreeMap::new();
        let kept = self.files.iter().filter(|(path, _)| !good.contains_key(*path));
        for (_, file) in kept {
            seen.extend(file.objects.iter().map(|object| (key(object), object)));
        }
        for (path, objects) in good {
            let twice = |object: &Object| {
                let first = seen.get(&key(object))?.source()?;
                let source = object.source()?.clone();
                let message = format!("{} {} is written in {first} too", object.kind().as_str(), object.id());
                Some(Problem { source, path: String::new(), value: None, message, suggestion: None })
            };
            let problems: Vec<Problem> = objects.iter().filter_map(twice).collect();
            if !problems.is_empty() {
                return Some((path.clone(), problems));
            }
            seen.extend(objects.iter().map(|object| (key(object), object)));
        }
        None
    }

    /// Everything that is wrong, file by file.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.files.values().flat_map(|file| file.problems.iter().cloned()).collect()
    }

    /// The services that are written.
    pub fn services(&self) -> impl Iterator<Item = &Id> {
        let objects = self.files.values().flat_map(|file| &file.objects);
        objects.filter(|object| object.kind() == Kind::Service).map(Object::id)
    }
}

fn key(object: &Object) -> (Kind, &Id) {
    (object.kind(), object.id())
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

/// Loads everything at the start.
///
/// # Errors
/// Every problem of every file.
pub fn load(paths: &[PathBuf]) -> Result<(Manifests, Vec<Event>), Vec<Problem>> {
    let mut manifests = Manifests::default();
    let (due, mut events) = manifests.seen(&look(paths), true);
    events.extend(manifests.replace(due.iter().map(|path| read(path)).collect()));
    let problems = manifests.problems();
    if problems.is_empty() { Ok((manifests, events)) } else { Err(problems) }
}
