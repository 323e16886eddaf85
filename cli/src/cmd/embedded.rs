//! The mesh's other programs, carried in this one: hidden, because they are started by weft or by whoever knows them.

use std::{ffi::OsString, process::ExitCode};

/// Arguments of `weft init`, read by weft-init itself.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// As weft-init takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(super) fn init(args: &InitArgs) -> ExitCode {
    weft_init::program::main(std::iter::once("weft-init".into()).chain(args.args.iter().cloned()))
}
