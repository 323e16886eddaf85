//! `weft-images`: assembles weft's OCI images.

fn main() -> std::process::ExitCode {
    weft_images::program::main(std::env::args_os())
}
