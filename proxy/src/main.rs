//! `weft-proxy`: configured by `LINKERD2_PROXY_*` alone.

fn main() -> std::process::ExitCode {
    weft_proxy::run::main()
}
