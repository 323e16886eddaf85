//! placeholder
#[derive(clap::Args, Debug)]
/// x
pub struct Options {}
/// x
/// # Errors
/// x
pub fn run(_: &Options) -> anyhow::Result<()> {
    Ok(())
}
