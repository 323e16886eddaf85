//! `weft exec`: another program where a workload of this machine runs.

use super::Failure;
use crate::machine::{MachineError, attach, owner::own_runtime_directory};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

const EXAMPLES: &str = "\
Examples:
  weft exec client -- curl -s http://shop:8080/whoami
  weft exec shop-0 -- curl -s http://127.0.0.1:4191/metrics
  weft exec web-0 -- sh";

/// Arguments of `weft exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The workload, as `weft demo` or `weft run` calls it
    workload: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Becomes the program: there must be one thread only.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let base = own_runtime_directory(xdg_runtime_dir().as_deref());
    let found = attach::find(&base, &args.workload).and_then(|found| found.exec(&args.command));
    found.map_err(|error| {
        let unknown = matches!(error, MachineError::Unknown { .. });
        let failure = Failure::new(error);
        if unknown { failure.next("weft demo, or weft run --name NAME -- CMD") } else { failure }
    })
}

/// The user's run-time directory.
pub(super) fn xdg_runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}
