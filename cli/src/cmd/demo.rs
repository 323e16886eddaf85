//! `weft demo`: finds out what is possible here, then runs or checks the demo.

use super::{Failure, exec::xdg_runtime_dir};
use crate::{
    demo::{self, mesh::Options, session::Ending},
    machine::{Privilege, privilege::Exempt, probe, userns},
    output::{self, Format},
};
use anyhow::Context as _;
use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

const EXAMPLES: &str = "\
Examples:
  weft demo                    until Ctrl-C, with a live view
  weft demo --for 30s          half a minute, plain lines, a summary
  weft demo --check            every promise put to the test, in a table
  weft demo --check -o json    the same for programs";

/// How long certificates are valid in the demo: long enough to look at, short enough to see one renewed.
const LIFETIME: Duration = Duration::from_secs(600);
/// The same while checking: one must be renewed within the check.
const CHECK_LIFETIME: Duration = Duration::from_secs(30);

/// Arguments of `weft demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// End by itself after this time, such as 30s or 2m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Lines instead of a live view
    #[arg(long)]
    plain: bool,
    /// Put every promise to the test instead of showing
    #[arg(long, conflicts_with_all = ["time", "plain"])]
    check: bool,
    /// How to show the checks
    #[arg(short, long, value_enum, default_value_t = Format::Table, requires = "check")]
    output: Format,
    /// Use the loopback network, even where namespaces could be used
    #[arg(long)]
    loopback: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let exempt = if args.loopback { Err(Vec::new()) } else { privilege()? };
    let options = Options {
        exempt: exempt.as_ref().ok().copied(),
        certificate_lifetime: if args.check { CHECK_LIFETIME } else { LIFETIME },
        xdg_runtime_dir: xdg_runtime_dir(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("could not start the runtime")?;
    let ground = ground(exempt);
    if args.check {
        let outcome = runtime.block_on(demo::check::run(&options, &ground, args.output == Format::Table))?;
        match args.output {
            // Told line by line.
            Format::Table => {}
            format => output::print(format, &outcome, &outcome.table())?,
        }
        return Ok(if outcome.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let live = !args.plain && args.time.is_none() && std::io::stdout().is_terminal();
    let ending = if live { Ending::Told } else { Ending::After(args.time) };
    let well = runtime.block_on(demo::session::run(&options, &ground, live, &ending))?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How namespaces can be used here, or why they cannot. In a user namespace this program starts again.
fn privilege() -> Result<Result<Exempt, Vec<String>>, Failure> {
    match probe() {
        Privilege::Namespaces(exempt) => Ok(Ok(exempt)),
        Privilege::UserNamespace => {
            let error = userns::reexec(std::env::args_os().skip(1));
            Err(Failure::new(anyhow::Error::new(error).context("could not enter a user namespace")))
        }
        Privilege::None(reasons) => Ok(Err(reasons)),
    }
}

/// What the mesh stands on, in words; and what is then not shown.
fn ground(exempt: Result<Exempt, Vec<String>>) -> demo::Ground {
    match exempt {
        Ok(Exempt::User(_)) => demo::Ground { name: "network namespaces", missing: Vec::new() },
        Ok(Exempt::Mark(_)) => demo::Ground {
            name: "a user namespace with network namespaces",
            missing: vec![
                "proxies have no user of their own: redirection knows them by a socket mark".into(),
            ],
        },
        Err(reasons) => {
            let mut missing: Vec<_> =
                reasons.into_iter().map(|reason| format!("no namespaces {reason}")).collect();
            missing
                .push("redirection is not shown: programs are told the addresses of proxies' ports".into());
            missing.push("names are not shown: there is no port 53 and no resolv.conf of ours".into());
            missing
                .push("that nothing goes around the proxies cannot be shown: all share one network".into());
            demo::Ground { name: "the loopback network", missing }
        }
    }
}

/// A duration such as `30s`, `2m` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as 30s, 2m or 1m30s, found {text:?}");
    let (mut rest, mut sum) = (text, Duration::ZERO);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest.get(..digits).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        rest = rest.get(digits..).unwrap_or_default();
        let (unit, length) = match rest.as_bytes() {
            [b'm', b's', ..] => (Duration::from_millis(1), 2),
            [b's', ..] => (Duration::from_secs(1), 1),
            [b'm', ..] => (Duration::from_secs(60), 1),
            [b'h', ..] => (Duration::from_secs(3600), 1),
            _ => return Err(wrong()),
        };
        sum = unit.checked_mul(number).and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30.0), ("1m30s", 90.0), ("2h", 7200.0), ("250ms", 0.25), ("0s", 0.0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "30", "s", "1d", "-1s", "1.5s", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
