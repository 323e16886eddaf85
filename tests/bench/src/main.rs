//! `weft-bench`: the bench, and the parts of it that run as processes of their own.

use clap::{Parser, Subcommand};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};
use weft_bench::{backend, load, mesh, relay, suite};

#[derive(Parser)]
#[command(about = "Speed and memory of weft beside its peers; started by tests/bench/run", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything, side by side
    Run(suite::Options),
    /// Measure what a mesh takes to start, to issue certificates, to tell proxies of a change
    Mesh(mesh::Options),
    /// The applications behind the proxies
    Backend {
        /// Address to listen on
        ip: IpAddr,
    },
    /// A proxy that only copies bytes
    Relay {
        /// Address to listen on
        address: SocketAddr,
    },
    /// Make load; prints what came of it
    Load {
        /// A job, as JSON
        job: String,
    },
    /// Start one peer and do what standard input says, a line each: WORKLOAD SECONDS. For profilers
    Up(suite::Up),
    /// Make tables and chart of a run's JSON
    Report {
        /// The JSON
        file: PathBuf,
        /// Where the chart goes
        #[arg(long)]
        chart: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(options) => suite::run(&options),
        Command::Mesh(options) => mesh::run(&options),
        Command::Backend { ip } => on_one_thread(backend::serve(ip)),
        Command::Relay { address } => on_one_thread(relay::run(address)),
        Command::Load { job } => {
            let job: load::Job = serde_json::from_str(&job)?;
            println!("{}", serde_json::to_string(&job.run()?)?);
            Ok(())
        }
        Command::Up(options) => suite::up(&options),
        Command::Report { file, chart } => suite::report(&file, chart.as_deref()),
    }
}

fn on_one_thread(life: impl Future<Output = std::io::Result<()>>) -> anyhow::Result<()> {
    load::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(life)?)
}
