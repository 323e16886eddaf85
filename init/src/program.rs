//! The program: what a command line does, from reading it to the exit code.

use crate::{
    NetNs, Plan,
    log::{Level, LogOptions},
    options::{self, Command, Mode, Options, Usage},
    validate,
};
use std::{error::Error, ffi::OsString, fs, io::Write, process::ExitCode};

const USAGE: u8 = 64;
const CLOSE_WAIT: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";

/// Does what the command line says, the program's name first, and gives the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::parse(args) {
        Ok(Command::Redirect(options)) => {
            let log = options.log;
            match redirect(&options, &std::env::var_os("PATH").unwrap_or_default()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => failed(log, &*e, 1),
            }
        }
        Ok(Command::Validate(options)) => {
            options.log.write(Level::Info, &format!("connecting to {}", options.connect));
            match validate::validate(&options) {
                Ok(()) => {
                    options.log.write(Level::Info, "validated: outbound connections are redirected");
                    ExitCode::SUCCESS
                }
                Err(e) => failed(options.log, &e, validate::EXIT_CODE),
            }
        }
        Err(Usage::Clap(e)) => {
            let _ = e.print();
            if e.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
        Err(Usage::Problems(problems)) => {
            let mut stderr = std::io::stderr().lock();
            for problem in problems {
                let _ = writeln!(stderr, "weft-init: {problem}");
            }
            ExitCode::from(USAGE)
        }
    }
}

fn redirect(options: &Options, path: &OsString) -> Result<(), Box<dyn Error>> {
    let log = options.log;
    let (backend, warning) = options.means.backend(path, options)?;
    if let Some(warning) = warning {
        log.write(Level::Warn, &warning);
    }
    let wanted = &options.redirection;
    let plan = Plan::new(wanted);
    if options.mode == Mode::Simulate {
        std::io::stdout().lock().write_all(backend.simulate(&plan).as_bytes())?;
        return Ok(());
    }
    if let Some(path) = &options.netns {
        NetNs::open(path)?.enter()?;
    }
    if options.mode == Mode::Cleanup {
        backend.cleanup()?.changes.iter().for_each(|c| log.write(Level::Info, c));
        return Ok(());
    }
    if wanted.exempt_uid.or(wanted.exempt_gid).or(wanted.exempt_mark).is_none() {
        log.write(Level::Warn, "neither --proxy-uid nor --proxy-gid nor --proxy-mark: the proxy's own connections come back to it");
    }
    if let Some(secs) = options.close_wait_secs {
        fs::write(CLOSE_WAIT, secs.to_string()).map_err(|e| {
            format!("could not set {CLOSE_WAIT} to {secs} (a privileged container is needed): {e}")
        })?;
        log.write(Level::Info, &format!("set {CLOSE_WAIT} to {secs}"));
    }
    backend.simulate(&plan).lines().for_each(|l| log.write(Level::Debug, l));
    let report = backend.apply(&plan)?;
    report.changes.iter().for_each(|c| log.write(Level::Info, c));
    log.write(
        Level::Info,
        &format!("{} rules in force by {}, read back and compared", report.rules, report.backend),
    );
    Ok(())
}

fn failed(log: LogOptions, error: &dyn Error, code: u8) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    log.write(Level::Error, &text);
    ExitCode::from(code)
}
