//! A proxy's metrics page, read: samples with their labels, sums over them, and what a workload's row shows.

use crate::load::Histogram;
use std::{collections::BTreeMap, time::Duration};

/// Most samples of a page that are looked at.
const MAX_SAMPLES: usize = 200_000;

/// A metrics page (Prometheus text format 0.0.4, OpenMetrics).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family, with `_bucket`, `_sum`, `_count` and `_total` as they stand.
    pub name: String,
    /// Labels and their values.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}: {text:?}")]
pub struct Malformed {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
    /// The line.
    pub text: String,
}

/// What a workload's proxy says about it, at one moment. All counts are since the proxy's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// HTTP requests that came in.
    pub requests: u64,
    /// Responses that were successes.
    pub successes: u64,
    /// Responses in all.
    pub responses: u64,
    /// Connections that came in.
    pub connections: u64,
    /// Of requests (of connections, where there are no requests), how many came over mutual TLS.
    pub mutual: u64,
    /// Connections open now, in and out.
    pub open: u64,
    /// When the certificate expires, seconds since 1970; 0 without one.
    pub expires: u64,
    /// Latencies of responses.
    pub latency: Histogram,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| Malformed { line: index + 1, what, text: line.to_owned() };
            if samples.len() >= MAX_SAMPLES {
                return Err(wrong("too many samples"));
            }
            samples.push(sample(line).map_err(wrong)?);
        }
        Ok(Self { samples })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The samples of a family that have all these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }

    /// Their sum, as a whole number.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum: f64 = self.find(name, labels).map(|sample| sample.value).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and counts are whole"
        )]
        let whole = sum.max(0.0) as u64;
        whole
    }

    /// What it says about its workload.
    pub fn figures(&self) -> Figures {
        let inbound = ("direction", "inbound");
        let requests = self.sum("request_total", &[inbound]);
        let connections = self.sum("tcp_open_total", &[inbound, ("peer", "src")]);
        let of = if requests > 0 { "request_total" } else { "tcp_open_total" };
        let peer: &[_] = if requests > 0 { &[inbound] } else { &[inbound, ("peer", "src")] };
        let mutual =
            self.find(of, peer).filter(|sample| is_mutual(sample)).map(|sample| sample.value).sum::<f64>();
        Figures {
            requests,
            successes: self.sum("response_total", &[inbound, ("classification", "success")]),
            responses: self.sum("response_total", &[inbound]),
            connections,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
            mutual: mutual.max(0.0) as u64,
            open: self.sum("tcp_open_connections", &[("peer", "src")]),
            expires: self.sum("control_identity_cert_expiration_timestamp_seconds", &[]),
            latency: self.latency(),
        }
    }

    /// The inbound latency histogram, each bucket's values counted at its upper end.
    fn latency(&self) -> Histogram {
        let mut cumulative: BTreeMap<u64, u64> = BTreeMap::new();
        for sample in self.find("response_latency_ms_bucket", &[("direction", "inbound")]) {
            let Some(end) = sample.labels.get("le").and_then(|le| le.parse::<f64>().ok()) else { continue };
            if end.is_finite() {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "ends are 1 to 50,000 ms"
                )]
                let (micros, count) = ((end * 1000.0) as u64, sample.value as u64);
                *cumulative.entry(micros).or_default() += count;
            }
        }
        let mut histogram = Histogram::default();
        let mut before = 0;
        for (micros, count) in cumulative {
            histogram.record_many(Duration::from_micros(micros), count.saturating_sub(before));
            before = count;
        }
        histogram
    }
}

impl Figures {
    /// What was counted after `earlier`; what holds now stays as it is. A proxy that was started again counts from zero.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests || self.connections < earlier.connections {
            return self.clone();
        }
        Self {
            requests: self.requests - earlier.requests,
            successes: self.successes.saturating_sub(earlier.successes),
            responses: self.responses.saturating_sub(earlier.responses),
            connections: self.connections - earlier.connections,
            mutual: self.mutual.saturating_sub(earlier.mutual),
            open: self.open,
            expires: self.expires,
            latency: self.latency.since(&earlier.latency),
        }
    }

    /// The part of requests, or of connections, that came over mutual TLS. None if there were none.
    pub fn mutual_share(&self) -> Option<f64> {
        let all = if self.requests > 0 { self.requests } else { self.connections };
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        (all > 0).then(|| self.mutual as f64 / all as f64)
    }
}

/// Mutual TLS says who the peer is.
fn is_mutual(sample: &Sample) -> bool {
    let has = |key: &str| sample.labels.get(key).is_some_and(|id| !id.is_empty());
    sample.labels.get("tls").is_some_and(|tls| tls == "true") && (has("client_id") || has("server_id"))
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b':') {
        return Err("no name of a metric");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = match words.next().ok_or("no value")? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        word => word.parse().map_err(|_| "the value is no number")?,
    };
    // A timestamp may follow.
    if words.next().is_some_and(|word| word.parse::<f64>().is_err()) || words.next().is_some() {
        return Err("more than a value and a timestamp");
    }
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (key, after) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label's value without an end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().ok_or("a label's value without an end")?.1 {
                    'n' => value.push('\n'),
                    c @ ('"' | '\\') => value.push(c),
                    _ => return Err("an escape that is none"),
                },
                (_, c) => value.push(c),
            }
        };
        if labels.insert(key.to_owned(), value).is_some() {
            return Err("a label twice");
        }
        rest = after.get(end + 1..).unwrap_or_default();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP request_total Total count of HTTP requests.
# TYPE request_total counter
request_total{direction="inbound",tls="true",client_id="a.b"} 7
request_total{direction="inbound",tls="no_identity",no_tls_reason="no_tls_from_remote"} 3
request_total{direction="outbound",tls="true",server_id="x"} 100
response_total{direction="inbound",classification="success"} 9
response_total{direction="inbound",classification="failure"} 1
response_latency_ms_bucket{direction="inbound",le="1"} 4
response_latency_ms_bucket{direction="inbound",le="5"} 9
response_latency_ms_bucket{direction="inbound",le="100"} 10
response_latency_ms_bucket{direction="inbound",le="+Inf"} 10
tcp_open_total{direction="inbound",peer="src",tls="true",client_id="a.b"} 2
tcp_open_connections{direction="inbound",peer="src"} 1
tcp_open_connections{direction="outbound",peer="dst"} 5
tcp_open_connections{direction="outbound",peer="src"} 4
control_identity_cert_expiration_timestamp_seconds 1800000000
strange{label="a \"quoted\" \\ {brace},\nline"} +Inf 123
# EOF
"#;

    #[test]
    fn a_page_is_read() {
        let page = Page::parse(PAGE).unwrap();
        assert_eq!(page.len(), 15);
        let figures = page.figures();
        assert_eq!((figures.requests, figures.responses, figures.successes), (10, 10, 9));
        assert_eq!((figures.connections, figures.mutual, figures.open), (2, 7, 5));
        assert_eq!(figures.expires, 1_800_000_000);
        assert_eq!(figures.mutual_share(), Some(0.7));
        assert_eq!(figures.latency.count(), 10);
        let strange = page.find("strange", &[]).next().unwrap();
        assert_eq!(strange.labels.get("label").unwrap(), "a \"quoted\" \\ {brace},\nline");
        assert!(strange.value.is_infinite());
    }

    #[test]
    fn lines_that_are_none_are_told() {
        for (line, what) in [
            ("a{b=\"c\"}", "no value"),
            ("a", "no value"),
            ("a x", "the value is no number"),
            ("a{b=c} 1", "a label without a quoted value"),
            ("a{b=\"c} 1", "a label's value without an end"),
            ("a{b=\"\\c\"} 1", "an escape that is none"),
            ("a{b=\"c\",b=\"c\"} 1", "a label twice"),
            ("a 1 2 3", "more than a value and a timestamp"),
            ("ä 1", "no name of a metric"),
        ] {
            let error = Page::parse(&format!("ok 1\n{line}\n")).unwrap_err();
            assert_eq!((error.line, error.what), (2, what), "{line}");
        }
    }

    #[test]
    fn a_proxy_that_was_started_again_counts_from_zero() {
        let new = Figures { requests: 3, connections: 1, ..Figures::default() };
        let old = Figures { requests: 10, connections: 1, ..Figures::default() };
        assert_eq!(new.since(&old), new);
        assert_eq!(old.since(&new).requests, 7);
    }
}
