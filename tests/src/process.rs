//! A program under test: started, listened to, and gone when the test is.

use crate::wait::{PATIENCE, until_blocking};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Lines of output kept; older ones are forgotten.
const MAX_LINES: usize = 20_000;
/// How long an ended program's output is waited for where others have it open, too.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Lines shown when a test fails.
const SHOWN: usize = 60;

/// A running program. Dropping it kills it, by its process id, and waits for its end.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
    status: Option<ExitStatus>,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output and error, in lines.
    pub lines: Vec<String>,
}

impl Process {
    /// Starts a program with nothing on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        let output = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(collect(pipe, Arc::clone(&output)));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, Arc::clone(&output)));
        }
        Self { name: name.to_owned(), child, output, readers, status: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits for a line that holds all of `parts`.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for_line(&mut self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.line(parts) {
                return line;
            }
            if self.ended().is_some() {
                thread::sleep(Duration::from_millis(50));
                if let Some(line) = self.line(parts) {
                    return line;
                }
                panic!(
                    "{} ended ({:?}) without a line of {parts:?}:\n{}",
                    self.name,
                    self.status,
                    self.tail()
                );
            }
            assert!(Instant::now() < deadline, "{} wrote no line of {parts:?}:\n{}", self.name, self.tail());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A line that holds all of `parts`, if there is one by now.
    pub fn line(&self, parts: &[&str]) -> Option<String> {
        self.lines().into_iter().rev().find(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it cannot be sent, as when the program has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name));
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of ours");
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> Ended {
        let name = self.name.clone();
        let status = until_blocking(format!("the end of {name}"), || self.ended());
        // The pipes are read to their ends by threads of their own; who is left of its children may hold them open.
        let deadline = Instant::now() + LAST_WORDS;
        while !self.readers.iter().all(thread::JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let lines = self.lines();
        Ended { status, lines }
    }

    /// Resident memory now, in bytes.
    ///
    /// # Panics
    /// When the program has ended.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running program");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
        kib * 1024
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
    }
}

impl Ended {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {:?}", self.status))
    }

    /// Everything it wrote.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Gone meanwhile is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            println!("--- {} ({}), its last lines:\n{}", self.name, self.child.id(), self.tail());
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Mutex<VecDeque<String>>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            line.clear();
            let mut lines = into.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    })
}
