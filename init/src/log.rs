//! Lines on standard error, plain or JSON.

use serde_json::json;
use std::io::Write;

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The shape of a line.
    pub format: Format,
    /// The least important that is written.
    pub level: Level,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Words.
    #[default]
    Plain,
    /// One JSON object.
    Json,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It did not work.
    Error,
    /// It worked otherwise than asked for.
    Warn,
    /// What was done.
    #[default]
    Info,
    /// How.
    Debug,
}

impl Format {
    /// A format by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "plain" => Some(Self::Plain),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Level {
    /// A level by any of the names Linkerd's tools take. Of a filter ("info,module=debug") the first part counts.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.split(',').next()?.to_ascii_lowercase().as_str() {
            "panic" | "fatal" | "error" | "off" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" | "trace" => Some(Self::Debug),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl LogOptions {
    /// Writes a line if it is important enough.
    pub fn write(self, level: Level, message: &str) {
        if level <= self.level {
            // Nobody is left to tell when standard error is gone.
            let _ =
                writeln!(std::io::stderr().lock(), "{}", self.line(level, message, jiff::Timestamp::now()));
        }
    }

    fn line(self, level: Level, message: &str, now: jiff::Timestamp) -> String {
        let level = level.name();
        match self.format {
            Format::Plain => format!("time=\"{now:.0}\" level={level} msg={message:?}"),
            Format::Json => json!({"level": level, "msg": message, "time": format!("{now:.0}")}).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let now: jiff::Timestamp = "2026-11-23T01:02:03.456Z".parse().unwrap();
        let line = |format| LogOptions { format, level: Level::Info }.line(Level::Warn, "a \"b\"", now);
        assert_eq!(line(Format::Plain), r#"time="2026-11-23T01:02:03Z" level=warning msg="a \"b\"""#);
        assert_eq!(
            line(Format::Json),
            r#"{"level":"warning","msg":"a \"b\"","time":"2026-11-23T01:02:03Z"}"#
        );
    }

    #[test]
    fn levels() {
        for (name, level) in [
            ("fatal", Some(Level::Error)),
            ("WARNING", Some(Level::Warn)),
            ("info,weft=trace", Some(Level::Info)),
            ("trace", Some(Level::Debug)),
            ("loud", None),
            ("", None),
        ] {
            assert_eq!(Level::from_name(name), level, "{name}");
        }
        assert!(Level::Error < Level::Debug);
    }
}
