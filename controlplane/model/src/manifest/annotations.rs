//! What annotations of a Service or a route say of its traffic.
//!
//! Annotations of Linkerd's own prefixes that nobody knows are problems: a mistyped one would otherwise
//! silently do nothing.

use std::{ops::RangeInclusive, time::Duration};

use weft_names::{Port, PortSet};
use weft_policy::outbound::{Accrual, Backoff, GrpcCodes, Load, Penalty, Timeouts};

use super::reader::{At, Reader};
use crate::{
    duration,
    fact::{
        ServicePort,
        traffic::{Retries, RouteTraffic, ServiceTraffic},
    },
    problem::nearest,
};

const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";

const TIMEOUTS: [&str; 3] =
    ["timeout.linkerd.io/request", "timeout.linkerd.io/response", "timeout.linkerd.io/idle"];

const RETRIES: [&str; 4] =
    ["retry.linkerd.io/http", "retry.linkerd.io/grpc", "retry.linkerd.io/limit", "retry.linkerd.io/timeout"];

const BALANCER: [&str; 12] = [
    "balancer.linkerd.io/failure-accrual",
    "balancer.linkerd.io/failure-accrual-consecutive-max-failures",
    "balancer.linkerd.io/failure-accrual-consecutive-min-penalty",
    "balancer.linkerd.io/failure-accrual-consecutive-max-penalty",
    "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio",
    "balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold",
    "balancer.alpha.linkerd.io/failure-accrual-success-rate-window",
    "balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests",
    "balancer.alpha.linkerd.io/failure-accrual-honor-retry-after",
    "balancer.alpha.linkerd.io/penalize-failures",
    "balancer.alpha.linkerd.io/load-biaser-penalty",
    "balancer.alpha.linkerd.io/load-biaser-max-retry-after",
];

/// Prefixes of which every annotation is known.
const OWN_PREFIXES: [&str; 4] =
    ["timeout.linkerd.io/", "retry.linkerd.io/", "balancer.linkerd.io/", "balancer.alpha.linkerd.io/"];

/// Annotations of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Annotations<'m, 'a>(pub &'m [(&'a str, At<'a>)]);

impl<'a> Annotations<'_, 'a> {
    fn get(&self, key: &str) -> Option<&At<'a>> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    fn any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.get(key).is_some())
    }

    fn parse<T>(
        &self,
        r: &mut Reader,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Result<T, &'static str>,
    ) -> Option<T> {
        self.get(key)?.parse(r, expected, parse)
    }

    fn duration(&self, r: &mut Reader, key: &str) -> Option<Duration> {
        self.parse(r, key, "a duration such as 10s", duration::annotation)
    }

    fn number<T: std::str::FromStr>(&self, r: &mut Reader, key: &str, expected: &str) -> Option<T> {
        self.parse(r, key, expected, |text| text.parse().map_err(|_| ""))
    }

    fn within<T: std::str::FromStr + PartialOrd>(
        &self,
        r: &mut Reader,
        key: &str,
        expected: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        self.parse(r, key, expected, |text| match text.parse() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(""),
        })
    }

    fn flag(&self, r: &mut Reader, key: &str) -> bool {
        self.parse(r, key, "true or false", |text| match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(""),
        })
        .unwrap_or(false)
    }

    /// Reads those of a Service.
    pub(super) fn service(&self, r: &mut Reader) -> ServiceTraffic {
        self.report_unknown(r, &[&TIMEOUTS[..], &RETRIES[..], &BALANCER[..]].concat());
        ServiceTraffic { route: self.traffic(r), accrual: self.accrual(r), load: self.load(r) }
    }

    /// Reads those of a route.
    pub(super) fn route(&self, r: &mut Reader) -> RouteTraffic {
        self.report_unknown(r, &[&TIMEOUTS[..], &RETRIES[..]].concat());
        self.traffic(r)
    }

    /// The opaque ports of a Service, in which names of its ports may stand too.
    pub(super) fn opaque_ports<'p>(
        &self,
        r: &mut Reader,
        ports: impl Iterator<Item = (&'p u16, &'p ServicePort)> + Clone,
    ) -> Option<PortSet> {
        let at = self.get(OPAQUE_PORTS)?;
        let mut set = PortSet::new();
        for entry in at.text(r)?.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let named = ports.clone().find(|(_, port)| port.name.as_deref() == Some(entry));
            let added = match (named.and_then(|(port, _)| Port::new(*port)), entry.split_once('-')) {
                (Some(port), _) => {
                    set.insert(port);
                    true
                }
                (None, None) => entry.parse().map(|port| set.insert(port)).is_ok(),
                (None, Some((low, high))) => match (low.trim().parse(), high.trim().parse()) {
                    (Ok(low), Ok(high)) => set.insert_range(low, high).is_ok(),
                    _ => false,
                },
            };
            if !added {
                at.reject(
                    r,
                    format!("{entry:?} is neither a port, a range of ports nor the name of a port here"),
                );
            }
        }
        Some(set)
    }

    fn report_unknown(&self, r: &mut Reader, known: &[&'static str]) {
        for (name, at) in self.0 {
            if OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !known.contains(name) {
                let suggestion = nearest(name, known.iter().copied()).map(str::to_owned);
                at.reject_with(r, "unknown annotation", suggestion);
            }
        }
    }

    fn traffic(&self, r: &mut Reader) -> RouteTraffic {
        let [request, response, idle] = TIMEOUTS.map(|key| self.duration(r, key));
        let timeouts = self.any(&TIMEOUTS).then_some(Timeouts { request, response, idle });
        let [http, grpc, limit, timeout] = RETRIES;
        let retries = self.any(&RETRIES).then(|| Retries {
            statuses: self
                .parse(r, http, "a list of 5xx, gateway-error, 503 or 500-504", statuses)
                .unwrap_or_default(),
            codes: self.parse(
                r,
                grpc,
                "a list of cancelled, deadline-exceeded, internal, resource-exhausted, unavailable",
                grpc_codes,
            ),
            limit: self.number(r, limit, "a whole number up to 65535").unwrap_or(1),
            timeout: self.duration(r, timeout),
        });
        RouteTraffic { timeouts, retries }
    }

    fn accrual(&self, r: &mut Reader) -> Option<Accrual> {
        let [
            mode,
            max_failures,
            min_penalty,
            max_penalty,
            jitter,
            threshold,
            window,
            min_requests,
            honor,
            ..,
        ] = BALANCER;
        let mode = self.parse(r, mode, "consecutive or unified", |text| match text {
            "consecutive" => Ok(false),
            "unified" => Ok(true),
            _ => Err(""),
        });
        let max_failures = self.number(r, max_failures, "a whole number").unwrap_or(7);
        let min = self.duration(r, min_penalty).unwrap_or(Duration::from_secs(1));
        let max = self.duration(r, max_penalty).unwrap_or(Duration::from_secs(60));
        let jitter_ratio = self.within(r, jitter, "a number from 0 to 100", 0.0..=100.0).unwrap_or(0.5);
        // Proxies do not read the hint, so there is nothing to do with it but to check it.
        self.flag(r, honor);
        let threshold = self.within(r, threshold, "a number from 0 to 1", 0.0..=1.0).unwrap_or(0.8);
        let window = self.parse(r, window, "a duration of 10ms or more", |text| {
            let window = duration::annotation(text)?;
            if window < Duration::from_millis(10) { Err("") } else { Ok(window) }
        });
        let min_requests =
            self.within(r, min_requests, "a whole number up to 1000000", 0..=1_000_000).unwrap_or(5);
        let backoff = match Backoff::new(min, max, jitter_ratio) {
            Ok(backoff) => backoff,
            Err(error) => {
                if let Some(at) = self.get(min_penalty).or_else(|| self.get(max_penalty)) {
                    at.reject(r, error.to_string());
                }
                return None;
            }
        };
        Some(match mode? {
            false => Accrual::Consecutive { max_failures, backoff },
            true => Accrual::Unified {
                success_rate_threshold: threshold,
                window: window.unwrap_or(Duration::from_secs(10)),
                min_requests,
                max_consecutive_failures: max_failures,
                backoff,
            },
        })
    }

    fn load(&self, r: &mut Reader) -> Load {
        let [.., penalize, penalty, max_retry_after] = BALANCER;
        let default = Penalty::default();
        let penalty = Penalty {
            penalty: self.duration(r, penalty).unwrap_or(default.penalty),
            max_retry_after: self.duration(r, max_retry_after).unwrap_or(default.max_retry_after),
        };
        Load { penalty: self.flag(r, penalize).then_some(penalty), ..Load::default() }
    }
}

fn statuses(text: &str) -> Result<Vec<(u16, u16)>, &'static str> {
    let status = |text: &str| match text.trim().parse::<u16>() {
        Ok(status) if (100..=599).contains(&status) => Ok(status),
        _ => Err(""),
    };
    let range = |entry: &str| match (entry.trim(), entry.split_once('-')) {
        ("5xx", _) => Ok((500, 599)),
        ("gateway-error", _) => Ok((502, 504)),
        (_, Some((low, high))) => match (status(low)?, status(high)?) {
            (low, high) if low <= high => Ok((low, high)),
            _ => Err("the range is empty"),
        },
        (entry, None) => status(entry).map(|status| (status, status)),
    };
    text.split(',').map(range).collect()
}

fn grpc_codes(text: &str) -> Result<GrpcCodes, &'static str> {
    let mut codes = GrpcCodes::default();
    for entry in text.split(',') {
        match entry.trim() {
            "cancelled" => codes.cancelled = true,
            "deadline-exceeded" => codes.deadline_exceeded = true,
            "resource-exhausted" => codes.resource_exhausted = true,
            "internal" => codes.internal = true,
            "unavailable" => codes.unavailable = true,
            _ => return Err(""),
        }
    }
    Ok(codes)
}
