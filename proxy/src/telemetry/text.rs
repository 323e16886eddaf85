//! The text that Prometheus reads: families, samples, labels.
//!
//! One page has two parts, as Linkerd's has: families under their old names with `# HELP` and `# TYPE`, then an OpenMetrics
//! part that ends with `# EOF`. They differ only in how a counter's type line names it.

use std::fmt::Write as _;

/// Label names and values of one sample, already escaped: `a="b",c="d"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(String);

impl Labels {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a label. Backslash, quote and line feed of the value are escaped (Prometheus text format 0.0.4).
    pub fn add(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// The same with one more label.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut labels = self.clone();
        labels.add(name, value);
        labels
    }

    /// The labels' text, without braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What kind of numbers a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Always 1; the labels say it all.
    Info,
}

/// A page being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// Counters wrap at this, so that a float holds every value exactly.
const EXACT: u64 = 1 << 53;

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// The page so far.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Ends the page, as OpenMetrics wants it.
    pub fn end(&mut self) {
        self.text.push_str("# EOF\n");
    }

    /// Begins a family. `name` is as samples carry it, `_total` included.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    /// One whole number.
    pub fn sample(&mut self, name: &str, labels: &Labels, value: u64) {
        self.line(name, labels, format_args!("{}", value % EXACT));
    }

    /// One number with a fraction.
    pub fn decimal(&mut self, name: &str, labels: &Labels, value: f64) {
        self.line(name, labels, format_args!("{value}"));
    }

    /// The samples of one histogram: `buckets` are upper bounds as text with the count in each (not cumulative).
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        buckets: &[(String, u64)],
        above: u64,
        sum: f64,
    ) {
        let mut total = 0;
        let bucket = format!("{name}_bucket");
        for (bound, count) in buckets {
            total += count;
            self.sample(&bucket, &labels.with("le", bound), total);
        }
        total += above;
        self.sample(&bucket, &labels.with("le", "+Inf"), total);
        self.decimal(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, total);
    }

    fn line(&mut self, name: &str, labels: &Labels, value: std::fmt::Arguments<'_>) {
        let _ = match labels.as_str() {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut labels = Labels::new();
        labels.add("a", "plain").add("b", "quote\" slash\\ line\n");
        assert_eq!(labels.as_str(), r#"a="plain",b="quote\" slash\\ line\n""#);
    }

    #[test]
    fn histogram_buckets_are_cumulative() {
        let mut page = Page::new();
        page.histogram("x_ms", &Labels::new(), &[("1".into(), 2), ("5".into(), 1)], 4, 99.0);
        assert_eq!(
            page.into_text(),
            "x_ms_bucket{le=\"1\"} 2\nx_ms_bucket{le=\"5\"} 3\nx_ms_bucket{le=\"+Inf\"} 7\nx_ms_sum 99\nx_ms_count 7\n"
        );
    }
}
