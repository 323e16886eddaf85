//! Why a command failed, what to do next, and the exit code.

use super::USAGE;
use anstyle::{AnsiColor, Style};
use std::{fmt, io::Write as _, process::ExitCode};

/// A command that failed: what and why, what can be typed next.
#[derive(Debug)]
pub struct Failure {
    error: anyhow::Error,
    next: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something that was typed, or a file that was named, is wrong.
    pub fn usage(problem: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{problem}"), next: Vec::new(), code: USAGE }
    }

    /// Something did not work.
    pub fn new(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), next: Vec::new(), code: 1 }
    }

    /// Something did not work, with an exit code of its own.
    pub fn with_code(error: impl Into<anyhow::Error>, code: u8) -> Self {
        Self { code, ..Self::new(error) }
    }

    /// What can be typed next: a command, or a short sentence.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// Writes it to standard error; the exit code.
    pub(super) fn report(&self) -> ExitCode {
        // With standard error closed there is nobody to tell.
        let _ = write!(anstream::stderr().lock(), "{self}");
        ExitCode::from(self.code)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let red: Style = AnsiColor::Red.on_default().bold();
        let bold = Style::new().bold();
        writeln!(f, "{red}weft:{red:#} {:#}", self.error)?;
        for next in &self.next {
            writeln!(f, "  {bold}next:{bold:#} {next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn says_what_and_what_next() {
        let error =
            Err::<(), _>(anyhow::anyhow!("connection refused")).context("no control plane").unwrap_err();
        let text = Failure::new(error).next("weft up").to_string();
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "weft: no control plane: connection refused\n  next: weft up\n");
    }
}
