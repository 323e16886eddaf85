//! What a client asks for with `l5d-*` headers, where a rule lets it: other timeouts, other retries.

use super::{Backoff, GrpcCodes, Retry, RetryConditions, Timeouts};
use crate::HeaderLookup;
use std::time::Duration;

/// Headers that are read, and removed, where a rule allows them.
pub const OVERRIDE_HEADERS: [&str; 7] = [
    "l5d-timeout",
    "l5d-request-timeout",
    "l5d-response-timeout",
    "l5d-retry-http",
    "l5d-retry-grpc",
    "l5d-retry-limit",
    "l5d-retry-timeout",
];

/// What a request asks for. A value that cannot be understood is as if it were absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `l5d-request-timeout`, or `l5d-timeout`.
    pub request_timeout: Option<Duration>,
    /// `l5d-response-timeout`.
    pub response_timeout: Option<Duration>,
    /// `l5d-retry-http`: a comma list of `5xx`, `gateway-error` (502 to 504), `NNN` and `NNN-MMM`.
    pub retry_http: Option<Vec<(u16, u16)>>,
    /// `l5d-retry-grpc`: a comma list of `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`.
    pub retry_grpc: Option<GrpcCodes>,
    /// `l5d-retry-limit`.
    pub retry_limit: Option<u16>,
    /// `l5d-retry-timeout`, of each attempt.
    pub retry_timeout: Option<Duration>,
}

impl Overrides {
    /// What `headers` ask for. Allocates only for a list of statuses.
    pub fn from_headers(headers: &dyn HeaderLookup) -> Self {
        Self {
            request_timeout: value(headers, "l5d-request-timeout", parse_duration)
                .or_else(|| value(headers, "l5d-timeout", parse_duration)),
            response_timeout: value(headers, "l5d-response-timeout", parse_duration),
            retry_http: value(headers, "l5d-retry-http", parse_statuses),
            retry_grpc: value(headers, "l5d-retry-grpc", parse_grpc_codes),
            retry_limit: value(headers, "l5d-retry-limit", |text| text.trim().parse().ok()),
            retry_timeout: value(headers, "l5d-retry-timeout", parse_duration),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The timeouts of a rule, where the client asks for no others.
    pub fn timeouts(&self, rule: &Timeouts) -> Timeouts {
        Timeouts {
            request: self.request_timeout.or(rule.request),
            response: self.response_timeout.or(rule.response),
            idle: rule.idle,
        }
    }

    /// The retries of a rule, where the client asks for no others. Of a rule without retries the client has to say which
    /// responses call for one.
    pub fn retry(&self, rule: Option<&Retry>) -> Option<Retry> {
        let mut retry = match rule {
            Some(retry) => retry.clone(),
            None if self.retry_http.is_some() || self.retry_grpc.is_some() => Retry::asked_for(),
            None => return None,
        };
        if let Some(statuses) = &self.retry_http {
            retry.conditions.statuses.clone_from(statuses);
        }
        if let Some(codes) = self.retry_grpc {
            retry.conditions.grpc = codes;
        }
        if let Some(limit) = self.retry_limit {
            retry.max_retries = limit;
        }
        retry.timeout = self.retry_timeout.or(retry.timeout);
        Some(retry)
    }
}

impl Retry {
    /// Bytes of a request's body that are kept to be sent again, unless said otherwise.
    pub const DEFAULT_MAX_REQUEST_BYTES: u32 = 64 * 1024;

    /// A retry that only the client asks for: once, 64 KiB, after 25 ms to 250 ms.
    fn asked_for() -> Self {
        let backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 1.0);
        Self {
            max_retries: 1,
            max_request_bytes: Self::DEFAULT_MAX_REQUEST_BYTES,
            conditions: RetryConditions::default(),
            timeout: None,
            backoff: backoff.ok(),
        }
    }
}

/// `N` and a unit of `ms`, `s`, `m`, `h` or `d`; 0 needs none. Blanks around it do not matter. What Linkerd's environment,
/// headers and annotations use.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "" if number == 0 => Some(Duration::ZERO),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}

/// A comma list of `5xx`, `gateway-error`, `NNN` and `NNN-MMM` as ranges of statuses, 100 to 599.
pub fn parse_statuses(text: &str) -> Option<Vec<(u16, u16)>> {
    let status = |s: &str| s.parse().ok().filter(|s| (100..=599).contains(s));
    text.split(',')
        .map(|entry| match entry.trim() {
            "5xx" => Some((500, 599)),
            "gateway-error" => Some((502, 504)),
            entry => match entry.split_once('-') {
                Some((first, last)) => {
                    Some((status(first)?, status(last)?)).filter(|(first, last)| first <= last)
                }
                None => status(entry).map(|s| (s, s)),
            },
        })
        .collect()
}

/// A comma list of names of gRPC statuses.
pub fn parse_grpc_codes(text: &str) -> Option<GrpcCodes> {
    let mut codes = GrpcCodes::default();
    for entry in text.split(',') {
        match entry.trim() {
            "cancelled" => codes.cancelled = true,
            "deadline-exceeded" => codes.deadline_exceeded = true,
            "internal" => codes.internal = true,
            "resource-exhausted" => codes.resource_exhausted = true,
            "unavailable" => codes.unavailable = true,
            _ => return None,
        }
    }
    Some(codes)
}

/// The first value of a header, if it can be understood.
fn value<T>(headers: &dyn HeaderLookup, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut parsed = None;
    headers.any(name, &mut |bytes| {
        parsed = std::str::from_utf8(bytes).ok().and_then(&parse);
        true
    });
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn overrides(headers: &[(&str, &str)]) -> Overrides {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        Overrides::from_headers(&headers)
    }

    #[test]
    fn durations() {
        for (text, expect) in [
            ("100ms", Some(100 * MS)),
            (" 3s ", Some(3000 * MS)),
            ("2m", Some(120_000 * MS)),
            ("1h", Some(3_600_000 * MS)),
            ("1d", Some(86_400_000 * MS)),
            ("0", Some(Duration::ZERO)),
            ("10", None),
            ("", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1s2ms", None),
            ("1us", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(text), expect, "{text:?}");
        }
    }

    #[test]
    fn statuses() {
        for (text, expect) in [
            ("5xx", Some(vec![(500, 599)])),
            ("gateway-error, 429,500-502", Some(vec![(502, 504), (429, 429), (500, 502)])),
            ("", None),
            ("99", None),
            ("600", None),
            ("502-500", None),
            ("4xx", None),
            ("500,", None),
        ] {
            assert_eq!(parse_statuses(text), expect, "{text:?}");
        }
    }

    #[test]
    fn grpc_codes() {
        let codes = parse_grpc_codes("cancelled, unavailable").unwrap();
        let all: Vec<u32> = (0..17).filter(|c| codes.contains(*c)).collect();
        assert_eq!(all, [1, 14]);
        let codes = parse_grpc_codes("deadline-exceeded,internal,resource-exhausted").unwrap();
        assert_eq!((0..17).filter(|c| codes.contains(*c)).collect::<Vec<_>>(), [4, 8, 13]);
        assert_eq!((parse_grpc_codes("unknown"), parse_grpc_codes("")), (None, None));
    }

    #[test]
    fn timeouts_of_the_client_go_before_those_of_the_rule() {
        let rule = Timeouts { request: Some(9 * MS), response: Some(8 * MS), idle: Some(7 * MS) };
        let asked = overrides(&[("l5d-timeout", "1ms"), ("l5d-response-timeout", "2ms")]);
        assert_eq!(asked.timeouts(&rule), Timeouts { request: Some(MS), response: Some(2 * MS), ..rule });
        let asked = overrides(&[("l5d-timeout", "1ms"), ("l5d-request-timeout", "3ms")]);
        assert_eq!(asked.timeouts(&rule).request, Some(3 * MS));
        let asked = overrides(&[("l5d-request-timeout", "soon"), ("other", "1ms")]);
        assert!(asked.is_empty());
        assert_eq!(asked.timeouts(&rule), rule);
    }

    #[test]
    fn retries_the_client_asks_for() {
        let retry = overrides(&[("l5d-retry-http", "5xx")]).retry(None).unwrap();
        assert!(retry.conditions.status(503) && !retry.conditions.status(404));
        assert_eq!((retry.max_retries, retry.max_request_bytes), (1, 65_536));
        assert_eq!(retry.backoff.unwrap(), Backoff::new(25 * MS, 250 * MS, 1.0).unwrap());
        let retry = overrides(&[
            ("l5d-retry-grpc", "internal"),
            ("l5d-retry-limit", "3"),
            ("l5d-retry-timeout", "5ms"),
        ]);
        let retry = retry.retry(None).unwrap();
        assert_eq!((retry.max_retries, retry.timeout), (3, Some(5 * MS)));
        assert!(retry.conditions.grpc.internal);
        // Which responses is for the client to say.
        assert_eq!(overrides(&[("l5d-retry-limit", "3")]).retry(None), None);
    }

    #[test]
    fn retries_of_the_rule_are_changed() {
        let rule = overrides(&[("l5d-retry-http", "5xx"), ("l5d-retry-timeout", "9ms")]).retry(None).unwrap();
        let changed = overrides(&[("l5d-retry-limit", "7")]).retry(Some(&rule)).unwrap();
        assert_eq!(changed, Retry { max_retries: 7, ..rule.clone() });
        let changed = overrides(&[("l5d-retry-http", "404")]).retry(Some(&rule)).unwrap();
        assert_eq!(changed.conditions.statuses, [(404, 404)]);
        assert_eq!(overrides(&[]).retry(Some(&rule)), Some(rule));
    }
}
