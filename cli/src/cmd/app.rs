//! `weft app` and `weft load`: the demo's programs, hidden because only the demo starts them.

use super::Failure;
use crate::{apps, load};
use std::process::ExitCode;

/// Arguments of `weft load`.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// What to do, as JSON
    plan: String,
}

pub(super) fn run(kind: apps::Kind) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(apps::run(kind))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn load(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let plan = serde_json::from_str(&args.plan).map_err(|e| Failure::usage(format!("the plan: {e}")))?;
    let runtime = super::runtime()?;
    runtime.block_on(load::run(plan))?;
    // A thread that still reads standard input is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
