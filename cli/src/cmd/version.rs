//! `weft version`.

use super::Failure;
use crate::output::{self, Format, Table};
use serde::Serialize;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  weft version
  weft version -o json";

/// Arguments of `weft version`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    target: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let version = Version { version: env!("CARGO_PKG_VERSION"), target };
    let mut table = Table::new(["VERSION", "TARGET"]);
    table.row([version.version, &version.target]);
    output::print(args.output, &version, &table)?;
    Ok(ExitCode::SUCCESS)
}
