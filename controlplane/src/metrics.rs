//! What the control plane counts, and the page that shows it.
//!
//! Counters are plain atomics in one struct that every part holds a reference to; the page is written
//! from them and from what the parts say of themselves when it is asked for. Names that Linkerd's users
//! have dashboards for keep Linkerd's names; ours begin with `weft_`.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

pub mod process;
pub mod text;

use self::text::Text;
use crate::grpc::Method;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one, for as long as what is returned lives.
    pub fn count(&self) -> Counted<'_> {
        self.add(1);
        Counted(self)
    }

    /// Adds `change`, which may be negative.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that a [`Gauge`] counts for as long as this lives.
#[derive(Debug)]
pub struct Counted<'a>(&'a Gauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Upper bounds of the buckets of `grpc_server_handling_seconds`, as Linkerd has them.
const HANDLING_BUCKETS: [f64; 4] = [0.1, 1.0, 300.0, 3600.0];
/// gRPC statuses there are, 0 to 16.
const CODES: usize = 17;

/// What is counted of one gRPC method.
#[derive(Debug, Default)]
pub struct MethodMetrics {
    /// Calls.
    pub started: Counter,
    /// Messages that came.
    pub received: Counter,
    /// Messages that went.
    pub sent: Counter,
    /// Calls that are going on.
    pub open: Gauge,
    handled: [Counter; CODES],
    buckets: [Counter; HANDLING_BUCKETS.len()],
    microseconds: AtomicU64,
}

impl MethodMetrics {
    /// A call ended with this status after this long.
    pub fn handled(&self, code: tonic::Code, after: Duration) {
        let code = usize::try_from(code as i32).unwrap_or_default();
        if let Some(counter) = self.handled.get(code) {
            counter.increment();
        }
        for (bound, bucket) in HANDLING_BUCKETS.iter().zip(&self.buckets) {
            if after.as_secs_f64() <= *bound {
                bucket.increment();
            }
        }
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(after, Ordering::Relaxed);
    }
}

/// What is counted of DNS.
#[derive(Debug, Default)]
pub struct DnsMetrics {
    /// Queries answered from what is known here.
    pub answered: Counter,
    /// Queries passed on to an upstream resolver that answered.
    pub forwarded: Counter,
    /// Queries no upstream resolver answered in time.
    pub upstream_failed: Counter,
    /// Queries refused because too many were being passed on.
    pub refused: Counter,
    /// Packets that are no queries.
    pub malformed: Counter,
    /// Queries that wait for an upstream resolver.
    pub waiting: Gauge,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    methods: [MethodMetrics; Method::ALL.len()],
    /// DNS.
    pub dns: DnsMetrics,
    /// gRPC connections that are open.
    pub connections: Gauge,
    /// gRPC connections that were refused because there were too many.
    pub connections_refused: Counter,
    /// Leases that ran out.
    pub leases_expired: Counter,
    /// Manifest files read again because they changed.
    pub manifest_reloads: Counter,
}

impl Metrics {
    /// What is counted of a method.
    #[must_use]
    pub fn method(&self, method: Method) -> &MethodMetrics {
        // `ALL` is in order of declaration, so the index is always in range.
        self.methods.get(method as usize).unwrap_or(&self.methods[0])
    }

    /// Writes all of it.
    pub fn write(&self, text: &mut Text) {
        self.write_grpc(text);
        let Self { dns, connections, connections_refused, .. } = self;
        text.gauge("weft_grpc_connections", "gRPC connections that are open.", connections.value());
        text.counter(
            "weft_grpc_connections_refused_total",
            "gRPC connections refused because there were too many.",
            connections_refused.value(),
        );
        text.family("weft_dns_queries_total", "counter", "DNS queries, by what became of them.");
        for (result, counter) in [
            ("answered", &dns.answered),
            ("forwarded", &dns.forwarded),
            ("upstream_failed", &dns.upstream_failed),
            ("refused", &dns.refused),
            ("malformed", &dns.malformed),
        ] {
            text.sample("weft_dns_queries_total", &[("result", result)], counter.value());
        }
        text.gauge(
            "weft_dns_waiting",
            "DNS queries that wait for an upstream resolver.",
            dns.waiting.value(),
        );
        text.counter(
            "weft_registry_leases_expired_total",
            "Workloads removed because their lease was not renewed.",
            self.leases_expired.value(),
        );
        text.counter(
            "weft_manifest_reloads_total",
            "Manifest files read again because they changed.",
            self.manifest_reloads.value(),
        );
    }

    fn write_grpc(&self, text: &mut Text) {
        let all = || Method::ALL.into_iter().map(|method| (method, self.method(method)));
        type Value = fn(&MethodMetrics) -> u64;
        let counters: [(&str, &str, Value); 3] = [
            ("grpc_server_started_total", "Calls started.", |m| m.started.value()),
            ("grpc_server_msg_received_total", "Messages received.", |m| m.received.value()),
            ("grpc_server_msg_sent_total", "Messages sent.", |m| m.sent.value()),
        ];
        for (name, help, value) in counters {
            text.family(name, "counter", help);
            for (method, metrics) in all() {
                text.sample(name, &labels(method), value(metrics));
            }
        }
        text.family("grpc_server_handled_total", "counter", "Calls ended, by status.");
        for (method, metrics) in all() {
            for (code, counter) in (0..).zip(&metrics.handled).filter(|(_, counter)| counter.value() > 0) {
                let code = format!("{:?}", tonic::Code::from_i32(code));
                let [service, name, kind] = labels(method);
                text.sample(
                    "grpc_server_handled_total",
                    &[service, name, kind, ("grpc_code", &code)],
                    counter.value(),
                );
            }
        }
        text.family("grpc_server_handling_seconds", "histogram", "How long calls took.");
        for (method, metrics) in all() {
            let [service, name, kind] = labels(method);
            let count: u64 = metrics.handled.iter().map(Counter::value).sum();
            for (bound, bucket) in HANDLING_BUCKETS.iter().zip(&metrics.buckets) {
                let bound = bound.to_string();
                let labels = [service, name, kind, ("le", &*bound)];
                text.sample("grpc_server_handling_seconds_bucket", &labels, bucket.value());
            }
            let labels = [service, name, kind, ("le", "+Inf")];
            text.sample("grpc_server_handling_seconds_bucket", &labels, count);
            let seconds = Duration::from_micros(metrics.microseconds.load(Ordering::Relaxed)).as_secs_f64();
            text.sample("grpc_server_handling_seconds_sum", &[service, name, kind], seconds);
            text.sample("grpc_server_handling_seconds_count", &[service, name, kind], count);
        }
        text.family("weft_grpc_open_calls", "gauge", "Calls that are going on.");
        for (method, metrics) in all() {
            text.sample("weft_grpc_open_calls", &labels(method), metrics.open.value());
        }
    }
}

fn labels(method: Method) -> [(&'static str, &'static str); 3] {
    [("grpc_service", method.service()), ("grpc_method", method.name()), ("grpc_type", method.kind())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_shows_on_the_page() {
        let metrics = Metrics::default();
        let watch = metrics.method(Method::WatchOutbound);
        watch.started.increment();
        watch.open.add(1);
        watch.handled(tonic::Code::NotFound, Duration::from_millis(500));
        let page = || {
            let mut text = Text::default();
            metrics.write(&mut text);
            text.finish()
        };
        let labels = r#"grpc_service="io.linkerd.proxy.outbound.OutboundPolicies",grpc_method="Watch",grpc_type="server_stream""#;
        for line in [
            format!("grpc_server_started_total{{{labels}}} 1"),
            format!(r#"grpc_server_handled_total{{{labels},grpc_code="NotFound"}} 1"#),
            format!(r#"grpc_server_handling_seconds_bucket{{{labels},le="0.1"}} 0"#),
            format!(r#"grpc_server_handling_seconds_bucket{{{labels},le="1"}} 1"#),
            format!(r#"grpc_server_handling_seconds_bucket{{{labels},le="+Inf"}} 1"#),
            format!("grpc_server_handling_seconds_sum{{{labels}}} 0.5"),
            format!("weft_grpc_open_calls{{{labels}}} 1"),
        ] {
            assert!(page().lines().any(|l| l == line), "{line} is not in\n{}", page());
        }
        watch.open.add(-1);
        assert!(page().contains(&format!("weft_grpc_open_calls{{{labels}}} 0")));
    }

    #[test]
    fn methods_have_distinct_counters() {
        let metrics = Metrics::default();
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            metrics.method(method).started.increment();
            assert_eq!(metrics.method(method).started.value(), 1);
        }
    }
}
