//! A foreign program: started, and listened to line by line.

use serde_json::Value;
use std::{
    fmt::Debug,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use weft_tests::process::Process;

/// How long a program may take for everything it is asked. None of them takes a tenth of it on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that prints lines of JSON. Killed when dropped.
pub(crate) struct Program {
    process: Process,
    name: String,
}

/// What `prepare` has put below the build's folder.
///
/// # Panics
/// When it has not been run.
pub(crate) fn prepared(path: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let path = target.join("peers").join(path);
    assert!(path.exists(), "{} is not there: tests/peers/prepare installs it", path.display());
    path
}

/// A file of this folder.
pub(crate) fn source(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers")).join(path)
}

/// Node with a script of this folder and the modules that `prepare` has installed.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", prepared("node/node_modules")).arg(source("node").join(script));
    command
}

/// Python with a script of this folder, in the environment that `prepare` has made.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(prepared("python/bin/python3"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(source("python").join(script));
    command
}

impl Program {
    /// Starts it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        Self { process: Process::spawn(name, command), name: name.to_owned() }
    }

    /// The lines of JSON so far.
    pub(crate) fn said(&self) -> Vec<Value> {
        self.process.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until what it has said is as it should be.
    pub(crate) async fn wait_for<T>(&mut self, what: impl Debug, look: impl Fn(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Whatever it writes at its end is there before the end is looked at again.
            let ended = self.process.ended();
            if let Some(found) = look(&self.said()) {
                return found;
            }
            let lines = || self.process.lines().join("\n");
            assert!(Instant::now() < deadline, "{} did not say {what:?}:\n{}", self.name, lines());
            if ended.is_some() {
                // The pipes are read by threads of their own.
                tokio::time::sleep(Duration::from_millis(200)).await;
                if let Some(found) = look(&self.said()) {
                    return found;
                }
                panic!("{} ended with {ended:?} and did not say {what:?}:\n{}", self.name, lines());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it listens.
    pub(crate) async fn listening(&mut self) {
        self.wait_for("listening", |said| {
            said.iter().any(|line| line["listening"].is_string()).then_some(())
        })
        .await;
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn finish(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while self.process.ended().is_none() {
            let lines = || self.process.lines().join("\n");
            assert!(Instant::now() < deadline, "{} did not end:\n{}", self.name, lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let name = self.name;
        let ended = tokio::task::spawn_blocking(move || self.process.wait()).await.unwrap();
        let text = ended.text();
        Ended { name, code: ended.code(), text, lines: ended.lines }
    }
}

/// A program that has ended.
pub(crate) struct Ended {
    /// Its name.
    pub(crate) name: String,
    /// Its exit code.
    pub(crate) code: i32,
    /// Everything it wrote.
    pub(crate) text: String,
    lines: Vec<String>,
}

impl Ended {
    /// That it ended well.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, 0, "{}:\n{}", self.name, self.text);
        self
    }

    /// The lines of JSON.
    pub(crate) fn said(&self) -> Vec<Value> {
        self.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
