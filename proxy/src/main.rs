//! `weft-proxy`: configured by `LINKERD2_PROXY_*` alone.

use std::process::ExitCode;

const USAGE: &str = "usage: weft-proxy [--help | --version]\nIt takes no other arguments: it is configured by variables, LINKERD2_PROXY_*.";

fn main() -> ExitCode {
    let Some(argument) = std::env::args_os().nth(1) else { return weft_proxy::run::main() };
    match argument.to_str() {
        Some("--version" | "-V") => println!("weft-proxy {}", env!("CARGO_PKG_VERSION")),
        Some("--help" | "-h") => println!("{USAGE}"),
        _ => {
            eprintln!("weft-proxy: unknown argument {argument:?}\n{USAGE}");
            return ExitCode::from(weft_proxy::run::EXIT_USAGE);
        }
    }
    ExitCode::SUCCESS
}
