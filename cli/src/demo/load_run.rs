//! A load generator that runs in a workload: its reports, its end.

use crate::{
    load::{Plan, Report, Tally},
    machine::{MachineError, Program, Running},
    workload::Place,
};
use std::{collections::BTreeMap, io, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::watch,
    task::JoinHandle,
};

/// How long it may take to end: the longest request, and some.
const PATIENCE: Duration = Duration::from_secs(12);

/// A load generator that runs.
#[derive(Debug)]
pub struct LoadRun {
    // Dropping it ends it.
    _running: Running,
    stdin: Option<ChildStdin>,
    reports: watch::Receiver<Report>,
    reader: JoinHandle<()>,
}

/// Why there is no load, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] MachineError),
    /// The plan or the pipes.
    #[error("could not talk to the load generator")]
    Pipe(#[from] io::Error),
    /// It ended without a last report.
    #[error("the load generator ended without a last report")]
    Broken,
}

impl LoadRun {
    /// Starts it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn start(place: &Place, plan: &Plan) -> Result<Self, LoadError> {
        let plan = serde_json::to_string(plan).map_err(io::Error::from)?;
        let program = Program {
            stdin: Stdio::piped(),
            stdout: Stdio::piped(),
            stderr: Stdio::null(),
            ..Program::ourselves(["load".to_owned(), plan])
        };
        let mut running = place.spawn(program)?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = ChildStdin::from_std(running.stdin.take().ok_or_else(missing)?)?;
        let stdout = ChildStdout::from_std(running.stdout.take().ok_or_else(missing)?)?;
        let (sender, reports) = watch::channel(Report::default());
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that is cut off is one of a process that was killed.
                if let Ok(report) = serde_json::from_str(&line) {
                    sender.send_replace(report);
                }
            }
        });
        Ok(Self { _running: running, stdin: Some(stdin), reports, reader })
    }

    /// The newest report.
    pub fn report(&self) -> Report {
        self.reports.borrow().clone()
    }

    /// Its reports as they come.
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.reports.clone()
    }

    /// Waits until so many requests of a target have ended, or so long. How many it were.
    pub async fn wait_for(&self, target: &str, requests: u64, patience: Duration) -> u64 {
        let mut reports = self.reports();
        let of = |report: &Report| report.targets.get(target).map_or(0, |tally| tally.requests);
        // What is there after that time is what there is.
        let _ = tokio::time::timeout(patience, reports.wait_for(|report| of(report) >= requests)).await;
        of(&self.report())
    }

    /// Lets the requests on their way end, and gives what was counted.
    ///
    /// # Errors
    /// It was killed.
    pub async fn stop(mut self) -> Result<BTreeMap<String, Tally>, LoadError> {
        if let Some(mut stdin) = self.stdin.take() {
            // It may have ended by itself.
            let _ = stdin.write_all(b"stop\n").await;
        }
        self.finish().await
    }

    /// Waits until its plan is done, and gives what was counted.
    ///
    /// # Errors
    /// It was killed, or takes too long.
    pub async fn finish(mut self) -> Result<BTreeMap<String, Tally>, LoadError> {
        let last = tokio::time::timeout(PATIENCE, self.reports.wait_for(|report| report.last)).await;
        let report = match last {
            Ok(Ok(report)) => report.clone(),
            _ => return Err(LoadError::Broken),
        };
        Ok(report.targets)
    }
}

impl Drop for LoadRun {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
