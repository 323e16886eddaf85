//! Log set-up: Linkerd's filter syntax, plain lines or JSON on stdout, changeable while running.

use std::sync::Arc;
use tracing_subscriber::{
    EnvFilter, Registry, filter::Directive, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

/// Reads and changes the filter of the running log.
#[derive(Clone)]
pub struct LogHandle(Arc<dyn Filter>);

trait Filter: Send + Sync {
    fn get(&self) -> String;
    fn set(&self, filter: EnvFilter) -> Result<(), String>;
}

impl Filter for reload::Handle<EnvFilter, Registry> {
    fn get(&self) -> String {
        self.with_current(ToString::to_string).unwrap_or_default()
    }
    fn set(&self, filter: EnvFilter) -> Result<(), String> {
        self.reload(filter).map_err(|error| error.to_string())
    }
}

impl LogHandle {
    /// The directives in force.
    pub fn filter(&self) -> String {
        self.0.get()
    }

    /// Puts other directives in force.
    ///
    /// # Errors
    /// Which directive was not understood; nothing is changed then.
    pub fn set_filter(&self, directives: &str) -> Result<(), String> {
        self.0.set(parse(directives)?)
    }
}

/// Parses directives. Linkerd's chart appends ones on span fields such as `[{headers}]=off`; they parse here as well.
///
/// # Errors
/// Which directive was not understood.
pub fn parse(directives: &str) -> Result<EnvFilter, String> {
    let mut filter = EnvFilter::default();
    for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let parsed: Directive = directive.parse().map_err(|error| {
            format!("log directive {directive:?}: {error}; expected TARGET=LEVEL or LEVEL")
        })?;
        filter = filter.add_directive(parsed);
        // Filters written for Linkerd's own targets apply to ours.
        if let Some(level) = directive.strip_prefix("linkerd=")
            && let Ok(ours) = format!("weft={level}").parse()
        {
            filter = filter.add_directive(ours);
            for target in ["weft_proxy", "weft_engine", "weft_net"] {
                if let Ok(ours) = format!("{target}={level}").parse() {
                    filter = filter.add_directive(ours);
                }
            }
        }
    }
    Ok(filter)
}

/// Starts logging for the whole process.
///
/// # Errors
/// A filter that is not understood, or a log that is already started.
pub fn start(filter: &str, json: bool) -> Result<LogHandle, String> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(fmt::layer().json().with_ansi(false)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(false)).try_init()
    };
    started.map_err(|error| format!("starting the log: {error}"))?;
    Ok(LogHandle(Arc::new(handle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charts_filter_is_understood() {
        assert!(parse("warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off").is_ok());
        assert!(parse("off").is_ok());
        assert!(parse("weft=loud").is_err_and(|error| error.contains("weft=loud")));
    }
}
