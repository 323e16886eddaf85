//! `weft-init`: redirects a pod's connections to its proxy, or checks that they are redirected.

fn main() -> std::process::ExitCode {
    weft_init::program::main(std::env::args_os())
}
