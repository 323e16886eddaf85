//! A workload's proxy as a process: started, waited for, asked, drained.

use super::{http, place::Place};
use crate::machine::{MachineError, Program, Running, User, privilege::Exempt};
use nix::sys::signal::Signal;
use std::{
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use weft_proxy::config::PREFIX;

/// Between two looks at a proxy that is not ready yet.
const POLL: Duration = Duration::from_millis(10);
/// Lines of its log that are shown when it fails.
const LAST_LINES: usize = 5;

/// A proxy that runs.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    admin: SocketAddr,
    log: PathBuf,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] MachineError),
    /// Its log could not be made.
    #[error("could not create the proxy's log {}", .path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the proxy ended with {status}; its last lines, from {}:\n{lines}", .log.display())]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        lines: String,
    },
    /// It was not ready in time.
    #[error("the proxy is not ready after {:.1} s: {why}; its log is {}", .waited.as_secs_f64(), .log.display())]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What it says it waits for.
        why: String,
        /// Its log.
        log: PathBuf,
    },
}

impl Proxy {
    /// Starts it.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn start(
        place: &Place,
        variables: Vec<(String, String)>,
        exempt: Option<Exempt>,
        log: &Path,
    ) -> Result<Self, ProxyError> {
        let failed = |source| ProxyError::Log { path: log.to_owned(), source };
        let out = File::options().create(true).append(true).open(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let admin = variables.iter().find(|(name, _)| name.strip_prefix(PREFIX) == Some("ADMIN_LISTEN_ADDR"));
        let port =
            admin.and_then(|(_, value)| value.parse::<SocketAddr>().ok()).map_or(0, |addr| addr.port());
        let user = match exempt {
            Some(Exempt::User(uid)) => Some(User { uid, gid: uid }),
            _ => None,
        };
        let program = Program {
            env: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            clear_env: true,
            directory: Some("/".into()),
            user,
            stdin: Stdio::null(),
            stdout: out.into(),
            stderr: err.into(),
            ..Program::ourselves(["proxy"])
        };
        Ok(Self { running: place.spawn(program)?, admin: (place.own(), port).into(), log: log.to_owned() })
    }

    /// Waits until it has a certificate.
    ///
    /// # Errors
    /// It ended, or is not ready in time.
    pub async fn ready(&mut self, place: &Place, patience: Duration) -> Result<(), ProxyError> {
        let start = Instant::now();
        let mut why = "it does not listen yet".to_owned();
        loop {
            if let Some(status) = self.running.ended() {
                return Err(ProxyError::Ended {
                    status,
                    log: self.log.clone(),
                    lines: last_lines(&self.log),
                });
            }
            match self.page(place, "/ready").await {
                Ok((status, _)) if status.is_success() => return Ok(()),
                Ok((_, text)) => why = text.trim().replace('\n', ", "),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => why = error.to_string(),
            }
            if start.elapsed() > patience {
                return Err(ProxyError::NotReady { waited: start.elapsed(), why, log: self.log.clone() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// One of its admin pages.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn page(&self, place: &Place, path: &str) -> io::Result<(::http::StatusCode, String)> {
        http::get(place.connect(self.admin).await?, path).await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Lets it finish what is open, for so long.
    pub async fn drain(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.running.signal(Signal::SIGTERM);
        match tokio::time::timeout(patience, self.running.wait()).await {
            Ok(status) => Some(status),
            Err(_) => {
                self.running.kill().await;
                None
            }
        }
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        self.running.wait().await
    }
}

/// The end of a log.
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let count = text.lines().count();
    let last = text.lines().skip(count.saturating_sub(LAST_LINES));
    last.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
