//! `weft up`: the control plane of this machine, in the foreground.

use super::{Failure, exec::xdg_runtime_dir};
use crate::machine::{
    Layout, MachineError, Network, Owner, Privilege, Uplink,
    owner::{own_runtime_directory, sweep},
    privilege::Exempt,
    probe,
};
use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};
use weft_controlplane::{
    config::{Config, Options, Surroundings},
    run::{ControlPlane, RunError},
};

const EXAMPLES: &str = "\
Examples:
  weft up
  weft up --state /var/lib/weft -f policies/
  weft up --listen 192.0.2.7
  weft get readiness";

/// Arguments of `weft up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// What is logged: error, warn, info, debug, trace, or a filter such as weft_controlplane=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_level: String,
}

/// The network of this machine's workloads, as long as it is held.
struct Ground {
    uplink: Uplink,
    _network: Network,
    _owner: Owner,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let filter = args.log_level.parse::<tracing_subscriber::EnvFilter>();
    let filter = filter.map_err(|e| Failure::usage(format!("--log-level {}: {e}", args.log_level)))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let mut options = args.options.clone();
    let config = resolve(&options)?;
    let ground = match options.listen {
        Some(_) => None,
        None => ground(&config)?,
    };
    if let Some((ground, gateway)) = &ground {
        options.listen = Some(gateway.to_string());
        tracing::info!(network = %config.workload_network, changes = ?ground.uplink.changes(), "this machine's network of workloads");
    }
    let config = resolve(&options)?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        // Before anybody can know that it runs, and tell it to end.
        let terminated = terminated()?;
        let control_plane = ControlPlane::start(config.clone()).await.map_err(|e| refused(&e))?;
        anstream::eprint!("{}", ready(&control_plane, &config, ground.as_ref().map(|(ground, _)| ground)));
        control_plane.run_until(terminated).await.map_err(|e| refused(&e))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn resolve(options: &Options) -> Result<Config, Failure> {
    options.resolve("weft up", &Surroundings::read()).map_err(Failure::usage)
}

/// As root: a bridge for workloads, with this machine as its gateway, so that they and the control plane reach each other.
fn ground(config: &Config) -> Result<Option<(Ground, IpAddr)>, Failure> {
    let Privilege::Namespaces(Exempt::User(_)) = probe() else {
        tracing::warn!("not root: `weft run` cannot reach a control plane that listens on loopback only");
        return Ok(None);
    };
    let make = || -> Result<_, MachineError> {
        let base = own_runtime_directory(xdg_runtime_dir().as_deref());
        for line in sweep(&base)? {
            tracing::info!("{line}");
        }
        let layout = layout(&config.workload_network)?;
        let mut owner = Owner::claim(&base, "up")?;
        let network = Network::shared(&mut owner, layout)?;
        let uplink = Uplink::open(&mut owner, &network)?;
        Ok((Ground { uplink, _network: network, _owner: owner }, layout.gateway().into()))
    };
    let ground = make().context("could not make this machine's network of workloads");
    Ok(Some(ground.map_err(|e| {
        Failure::new(e).next("weft up --listen 127.0.0.1, which needs no network of its own")
    })?))
}

/// The network's layout.
pub(super) fn layout(network: &IpNet) -> Result<Layout, MachineError> {
    let layout = match network {
        IpNet::V4(net) => Layout::new(*net),
        IpNet::V6(_) => None,
    };
    let expected = "an IPv4 network between /8 and /28";
    layout.ok_or_else(|| MachineError::Address { address: expected.into(), network: network.to_string() })
}

/// Everything a person wants to know once it runs.
fn ready(control_plane: &ControlPlane, config: &Config, ground: Option<&Ground>) -> String {
    let bound = control_plane.bound();
    let at = |address: SocketAddr| SocketAddr::new(config.advertise, address.port());
    let mut text = format!(
        "weft up: ready\n  state        {}\n  destination  {}\n  policy       {}\n  identity     {}\n  names        {}\n  pages        http://{}/ready and /metrics\n",
        config.state.display(),
        at(bound.destination),
        at(bound.policy),
        at(bound.identity),
        at(bound.dns),
        at(bound.metrics),
    );
    // Writing to a string does not fail.
    if let Some(admin) = bound.admin {
        let _ = writeln!(text, "  admin API    https://{admin}/ and {}", bound.socket.display());
    }
    if let Some(ground) = ground {
        for change in ground.uplink.changes() {
            let _ = writeln!(text, "  changed      {change}, put back at the end");
        }
        let state = if is_default(&config.state) {
            String::new()
        } else {
            format!(" --state {}", config.state.display())
        };
        let _ = writeln!(text, "next: weft run{state} --name web --port 8080 -- python3 -m http.server 8080");
    }
    text
}

fn is_default(state: &Path) -> bool {
    super::default_state().is_ok_and(|default| default == state)
}

/// Every problem, a line each.
fn refused(error: &RunError) -> Failure {
    Failure::with_code(anyhow!(error.lines().join("\n      ")), error.exit_code())
}

/// Resolves at SIGTERM or SIGINT.
fn terminated() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
