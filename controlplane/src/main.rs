//! The control plane as a program of its own. `weft up` is the same inside the CLI.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weft_controlplane::{
    config::{Options, Surroundings},
    run::{run, usage_problems},
};

/// Exit code for options that make no sense (sysexits.h).
const USAGE: u8 = 64;

/// The control plane of a weft mesh on one machine.
#[derive(Parser)]
#[command(name = "weft-controlplane", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// What is logged: error, warn, info, debug, trace, or a filter such as weft_controlplane=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_level: String,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, and none to users.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    let filter = match cli.log_level.parse::<tracing_subscriber::EnvFilter>() {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, [format!("--log-level {}: {error}", cli.log_level)]),
    };
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let config = match cli.options.resolve("weft-controlplane", &Surroundings::read()) {
        Ok(config) => config,
        Err(problems) => return fail(USAGE, usage_problems(&cli.options, &problems)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, [format!("the runtime cannot be started: {error}")]),
    };
    match runtime.block_on(run(config, terminated())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), error.lines()),
    }
}

/// Resolves at SIGTERM or SIGINT.
async fn terminated() {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::error!("signals cannot be received; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn fail(code: u8, lines: impl IntoIterator<Item = String>) -> ExitCode {
    for line in lines {
        eprintln!("weft-controlplane: {line}");
    }
    code.into()
}
