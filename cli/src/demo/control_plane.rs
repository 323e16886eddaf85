//! The demo's control plane: `weft up` as a child, which can be killed and started again.

use crate::{
    machine::{MachineError, Program, Running},
    workload::{Registry, proxy::last_lines},
};
use nix::sys::signal::Signal;
use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use weft_init::NetNs;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// How the demo's control plane is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its state directory.
    pub state: PathBuf,
    /// Its manifests.
    pub manifests: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Where it listens.
    pub listen: Ipv4Addr,
    /// Where workloads get addresses from.
    pub workloads: String,
    /// Where services get addresses from.
    pub services: String,
    /// How long certificates are valid.
    pub certificate_lifetime: Duration,
    /// Whether it has a port 53 to answer names on.
    pub names: bool,
}

/// The control plane's process.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    namespace: Option<NetNs>,
    running: Running,
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// Its log could not be made.
    #[error("could not create the control plane's log {}", .path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] MachineError),
    /// It ended.
    #[error("the control plane ended with {status}; it said:\n{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// It does not answer.
    #[error("the control plane does not answer after {PATIENCE:?}; its log is {}", .0.display())]
    Silent(PathBuf),
}

impl ControlPlane {
    /// Starts it in a namespace, or here, and waits until it answers.
    ///
    /// # Errors
    /// See [`ControlPlaneError`].
    pub async fn start(options: Options, namespace: Option<NetNs>) -> Result<Self, ControlPlaneError> {
        let running = spawn(&options, namespace.as_ref())?;
        let mut control_plane = Self { options, namespace, running };
        control_plane.answers().await?;
        Ok(control_plane)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.options.state
    }

    /// Ends it without a warning, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Waits until it ends, however that comes about.
    pub async fn ended(&mut self) -> ExitStatus {
        self.running.wait().await
    }

    /// Starts it again with the state it had, and waits until it answers.
    ///
    /// # Errors
    /// See [`ControlPlaneError`].
    pub async fn restart(&mut self) -> Result<(), ControlPlaneError> {
        self.running = spawn(&self.options, self.namespace.as_ref())?;
        self.answers().await
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.running.signal(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, self.running.wait()).await.is_err() {
            self.running.kill().await;
        }
    }

    async fn answers(&mut self) -> Result<(), ControlPlaneError> {
        let registry = Registry::in_state(&self.options.state);
        let start = Instant::now();
        while registry.ping().await.is_err() {
            if let Some(status) = self.running.ended() {
                let said = last_lines(&self.options.log);
                return Err(ControlPlaneError::Ended { status, said });
            }
            if start.elapsed() > PATIENCE {
                return Err(ControlPlaneError::Silent(self.options.log.clone()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

fn spawn(options: &Options, namespace: Option<&NetNs>) -> Result<Running, ControlPlaneError> {
    let failed = |source| ControlPlaneError::Log { path: options.log.clone(), source };
    let out = File::options().create(true).append(true).open(&options.log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    let program = Program {
        stdin: Stdio::null(),
        stdout: out.into(),
        stderr: err.into(),
        ..Program::ourselves(arguments(options))
    };
    Ok(program.spawn(namespace)?)
}

/// The command line: what anybody could type.
fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = vec![
        "up".to_owned(),
        "--state".into(),
        options.state.display().to_string(),
        "--manifests".into(),
        options.manifests.display().to_string(),
        "--listen".into(),
        options.listen.to_string(),
        "--workload-network".into(),
        options.workloads.clone(),
        "--service-network".into(),
        options.services.clone(),
        "--certificate-lifetime".into(),
        format!("{}s", options.certificate_lifetime.as_secs()),
        "--dns-upstream".into(),
        "none".into(),
        "--admin-listen".into(),
        "off".into(),
    ];
    if !options.names {
        arguments.extend(["--dns-port".into(), "0".into()]);
    }
    arguments
}
