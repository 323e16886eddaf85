//! What can be typed, and what comes of it: parsing, dispatch, errors, exit codes.

pub mod app;
pub mod completions;
pub mod demo;
pub mod embedded;
pub mod exec;
pub mod failure;
pub mod get;
pub mod run;
pub mod up;
pub mod version;

pub use failure::Failure;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Exit code of a command line that is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;

const EXIT_CODES: &str = "\
Exit codes:
  0   done; of a check: all holds
  1   failed; the reason is on standard error
  64  the command line, the environment or a file it names is wrong
  N   of `weft run`: the program's own (128 + N after signal N, 127 not found)";

const EXAMPLES: &str = "\
Examples:
  weft demo                                a whole mesh on this machine, with a live view
  weft demo --check                        proves that it works, in a table
  weft up                                  a control plane on this machine
  weft run --name web --port 8080 -- python3 -m http.server 8080
  weft run --name me -- curl -s http://web:8080/
  weft get workloads -o wide";

/// An independent, Linkerd-compatible service mesh.
#[derive(Debug, Parser)]
#[command(name = "weft", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(max_term_width = 110, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole mesh on this machine, to look at or to prove
    Demo(demo::Args),
    /// Run a control plane on this machine
    Up(Box<up::Args>),
    /// Run a program meshed
    Run(Box<run::Args>),
    /// Run a program where a workload of this machine runs
    Exec(exec::Args),
    /// Show what the control plane knows
    Get(get::Args),
    /// Say which version this is
    Version(version::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// The proxy, configured by LINKERD2_PROXY_* variables
    #[command(hide = true)]
    Proxy,
    /// Redirection rules
    #[command(hide = true, disable_help_flag = true)]
    Init(embedded::InitArgs),
    /// One of the demo's programs
    #[command(subcommand, hide = true)]
    App(crate::apps::Kind),
    /// The demo's load generator
    #[command(hide = true)]
    Load(app::LoadArgs),
}

/// The whole program.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help asked for goes to standard output and is no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Demo(args) => demo::run(&args),
            Self::Up(args) => up::run(&args),
            Self::Run(args) => run::run(&args),
            Self::Exec(args) => exec::run(&args),
            Self::Proxy => {
                // The kernel calls what is started through /proc/self/exe "exe".
                let _ = nix::sys::prctl::set_name(c"weft-proxy");
                Ok(weft_proxy::run::main())
            }
            Self::Init(args) => Ok(embedded::init(&args)),
            Self::Get(args) => get::run(&args),
            Self::Version(args) => version::run(&args),
            Self::Completions(args) => Ok(completions::run(&args, &mut Cli::command())),
            Self::App(kind) => app::run(kind),
            Self::Load(args) => app::load(&args),
        }
    }
}

/// The state directory of this user's control plane, unless one is named.
fn default_state() -> Result<PathBuf, Failure> {
    let defaults = weft_controlplane::config::Options::default();
    let config = defaults.resolve("weft", &weft_controlplane::config::Surroundings::read());
    Ok(config.map_err(Failure::usage)?.state)
}

/// A runtime of one thread, for short work.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("could not start the runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every verb that is shown has an example and says what it is.
    #[test]
    fn every_verb_has_an_example() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name}");
            let more = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(more.contains(&format!("weft {name}")), "{name} has no example");
        }
    }
}
