//! How results are shown: tables for people, JSON and YAML for programs.

mod table;

pub use table::Table;

use serde::Serialize;
use std::io::{self, Write as _};

/// How to show a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// Columns, all of them
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Writes a result to standard output. A reader that has gone away is no error.
///
/// # Errors
/// Standard output cannot be written, or the value not serialised.
pub fn print(format: Format, value: &impl Serialize, table: &Table) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table.render(false),
        Format::Wide => table.render(true),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    write(&text)
}

/// Writes text to standard output, with colours only where they are wanted.
///
/// # Errors
/// Standard output cannot be written.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
