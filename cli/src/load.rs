//! The load generator: an ordinary client of the demo's services, at set rates, that counts what it sees.
//!
//! Runs as a program of its own in a workload's namespace, so that everything it sends goes through that workload's
//! proxy. Told what to do by a [`Plan`] in its arguments; says how it goes in [`Report`]s, one JSON line each, on its
//! standard output; ends when its plan is done, when its standard input says `stop` or ends, or with its parent.
//!
//! A worker (one per connection of a target) sends one request, waits for its end, then for its next turn: turns that
//! were missed meanwhile are not made up for, so a slow service gets fewer requests and no queue builds up here.

pub mod client;
pub mod histogram;
pub mod plan;
pub mod report;

pub use self::{
    histogram::Histogram,
    plan::{Plan, Protocol, Target},
    report::{Report, Tally},
};

use self::client::Client;
use std::{
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
    task::JoinSet,
    time::MissedTickBehavior,
};

/// Between two reports.
pub const REPORT_EVERY: Duration = Duration::from_millis(500);
/// How long one request may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A target and what was counted for it.
struct Running {
    target: Target,
    tally: Mutex<Tally>,
    /// Requests that may still be started; none means no limit.
    left: Mutex<Option<u64>>,
}

/// Runs a plan to its end, with reports on standard output.
///
/// # Errors
/// Standard output is closed: nobody listens.
pub async fn run(plan: Plan) -> anyhow::Result<()> {
    let started = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let targets: Vec<_> = plan
        .targets
        .into_iter()
        .map(|target| {
            let left = Mutex::new(target.requests);
            Arc::new(Running { target, tally: Mutex::default(), left })
        })
        .collect();
    let mut workers = JoinSet::new();
    for running in &targets {
        for number in 0..running.target.connections.max(1) {
            workers.spawn(work(Arc::clone(running), number, stopped.clone()));
        }
    }
    tokio::spawn(obey(stop));
    let mut reports = tokio::time::interval(REPORT_EVERY);
    loop {
        let last = tokio::select! {
            _ = reports.tick() => false,
            () = async { while workers.join_next().await.is_some() {} } => true,
        };
        let tallies = targets.iter().map(|running| {
            let tally = running.tally.lock().unwrap_or_else(PoisonError::into_inner);
            (running.target.name.clone(), tally.clone())
        });
        let report = Report { ms: millis(started.elapsed()), last, targets: tallies.collect() };
        let mut line = serde_json::to_vec(&report)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        if last {
            return Ok(());
        }
    }
}

/// One connection's requests.
async fn work(running: Arc<Running>, number: u32, mut stopped: watch::Receiver<bool>) {
    let target = &running.target;
    let period = Duration::from_secs_f64(f64::from(target.connections.max(1)) / target.rate.clamp(0.01, 1e6));
    // Workers of a target take turns instead of all sending at once.
    let first = period.mul_f64(f64::from(number) / f64::from(target.connections.max(1)));
    let mut turns = tokio::time::interval_at(tokio::time::Instant::now() + first, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = Client::new(target);
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            _ = turns.tick() => {}
        }
        if !running.take() {
            return;
        }
        let sent = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, client.once()).await;
        let mut tally = running.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(Ok(done)) => tally.succeeded(sent.elapsed(), done),
            Ok(Err(failure)) => tally.failed(&failure),
            Err(_) => {
                drop(tally);
                client = Client::new(target);
                running
                    .tally
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .failed(&client::Failure::sent("timeout"));
            }
        }
    }
}

impl Running {
    fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.as_mut() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Stops when told to, or when whoever could tell is gone.
async fn obey(stop: watch::Sender<bool>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == "stop" {
            break;
        }
    }
    let _ = stop.send(true);
    // The last worker may still be waiting for its answer.
    stop.closed().await;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
