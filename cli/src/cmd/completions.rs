//! `weft completions`.

use clap_complete::Shell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  source <(weft completions bash)
  weft completions fish > ~/.config/fish/completions/weft.fish";

/// Arguments of `weft completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command) -> ExitCode {
    clap_complete::generate(args.shell, command, "weft", &mut std::io::stdout());
    ExitCode::SUCCESS
}
