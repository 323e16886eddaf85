//! Requests, connections, authorizations and errors: the families that Linkerd has had from the beginning.

use super::labels::{endpoint_labels, permit_labels, server_labels, transport_labels};
use super::sums::{Buckets, Sums, Unit, counters, gauges, histograms, sum};
use crate::telemetry::text::{Labels, Page};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_engine::metrics::{Counter, ErrorKind, Http, Registry, Response, Responses, WorkerGauges};
use weft_policy::FailureKind;

pub(super) fn http(registry: &Registry, page: &mut Page) {
    let mut requests = Sums::new();
    let mut responses = Sums::new();
    let mut latencies: BTreeMap<Labels, Buckets> = BTreeMap::new();
    let mut add = |labels: &Labels, blocks: &mut dyn Iterator<Item = &Http>| {
        for block in blocks {
            *requests.entry(labels.clone()).or_default() += block.requests.get();
            add_responses(&mut responses, labels, &block.responses);
            latencies.entry(labels.clone()).or_default().add(&block.latency, Unit::Milliseconds);
        }
    };
    registry
        .endpoints
        .visit(|labels, blocks, _| add(&endpoint_labels(labels), &mut blocks.iter().map(Arc::as_ref)));
    registry
        .permits
        .visit(|labels, blocks, _| add(&permit_labels(labels), &mut blocks.iter().map(|block| &block.http)));
    counters(page, "request_total", "Total count of HTTP requests.", &requests);
    counters(page, "response_total", "Total count of HTTP responses.", &responses);
    histograms(
        page,
        "response_latency_ms",
        "Time from a request's head to the first byte of the response's body.",
        &latencies,
    );
}

pub(super) fn tcp(registry: &Registry, page: &mut Page) {
    let (mut opened, mut open, mut read, mut written, mut closed) =
        (Sums::new(), Sums::new(), Sums::new(), Sums::new(), Sums::new());
    registry.transports.visit(|labels, blocks, _| {
        let labels = transport_labels(labels);
        for block in blocks {
            *opened.entry(labels.clone()).or_default() += block.opened.get();
            *open.entry(labels.clone()).or_default() += block.open.get();
            *read.entry(labels.clone()).or_default() += block.read.get();
            *written.entry(labels.clone()).or_default() += block.written.get();
            let mut close = |errno: &str, count: u64| {
                if count > 0 {
                    *closed.entry(labels.with("errno", errno)).or_default() += count;
                }
            };
            close("", block.closed.clean.get());
            for (errno, count) in block.closed.counts() {
                close(&errno_name(errno), count);
            }
            close("UNKNOWN", block.closed.other.get());
        }
    });
    counters(page, "tcp_open_total", "Total count of opened connections.", &opened);
    gauges(page, "tcp_open_connections", "Number of currently-open connections.", &open);
    counters(page, "tcp_read_bytes_total", "Total count of bytes read from peers.", &read);
    counters(page, "tcp_write_bytes_total", "Total count of bytes written to peers.", &written);
    counters(page, "tcp_close_total", "Total count of closed connections.", &closed);
}

pub(super) fn authorization(registry: &Registry, page: &mut Page) {
    let mut allowed = Sums::new();
    registry.permits.visit(|labels, blocks, _| {
        let labels = permit_labels(labels);
        *allowed.entry(labels).or_default() += sum(blocks.iter().map(|block| &block.allowed));
    });
    counters(page, "inbound_http_authz_allow_total", "Requests that an authorization allowed.", &allowed);
    type Pick = fn(&weft_engine::metrics::Server) -> &Counter;
    let per_server: [(&str, &str, Pick); 6] = [
        ("inbound_http_authz_deny_total", "Requests that no authorization allowed.", |server| {
            &server.http_denied
        }),
        ("inbound_http_route_not_found_total", "Requests that no route of the server matched.", |server| {
            &server.route_not_found
        }),
        ("inbound_http_local_ratelimit_total", "Requests over the server's rate limit.", |server| {
            &server.rate_limited
        }),
        ("inbound_tcp_authz_allow_total", "Connections that an authorization allowed.", |server| {
            &server.tcp_allowed
        }),
        ("inbound_tcp_authz_deny_total", "Connections that no authorization allowed.", |server| {
            &server.tcp_denied
        }),
        (
            "inbound_tcp_authz_terminate_total",
            "Connections ended because a new policy no longer allows them.",
            |server| &server.tcp_terminated,
        ),
    ];
    for (name, help, pick) in per_server {
        let mut sums = Sums::new();
        registry.servers.visit(|labels, blocks, _| {
            *sums.entry(server_labels(labels)).or_default() += sum(blocks.iter().map(|block| pick(block)));
        });
        counters(page, name, help, &sums);
    }
}

pub(super) fn errors(registry: &Registry, page: &mut Page) {
    type Http = fn(&WorkerGauges) -> &[Counter; FailureKind::ALL.len()];
    type Tcp = fn(&WorkerGauges) -> &[Counter; ErrorKind::COUNT];
    let http: [(&str, &str, Http); 2] = [
        ("inbound_http_errors_total", "Inbound requests that the proxy failed.", |worker| {
            &worker.inbound_http_errors
        }),
        ("outbound_http_errors_total", "Outbound requests that the proxy failed.", |worker| {
            &worker.outbound_http_errors
        }),
    ];
    let tcp: [(&str, &str, Tcp); 2] = [
        ("inbound_tcp_errors_total", "Inbound connections that the proxy failed.", |worker| {
            &worker.inbound_tcp_errors
        }),
        ("outbound_tcp_errors_total", "Outbound connections that the proxy failed.", |worker| {
            &worker.outbound_tcp_errors
        }),
    ];
    let add = |sums: &mut Sums, error: Option<&str>, counter: &Counter| {
        if let (Some(error), 1..) = (error, counter.get()) {
            *sums.entry(Labels::new().with("error", error)).or_default() += counter.get();
        }
    };
    for (name, help, pick) in http {
        let mut sums = Sums::new();
        registry.workers.visit(|_, blocks, _| {
            for block in blocks {
                for (kind, counter) in FailureKind::ALL.iter().zip(pick(block)) {
                    add(&mut sums, kind.answer().error, counter);
                }
            }
        });
        counters(page, name, help, &sums);
    }
    for (name, help, pick) in tcp {
        let mut sums = Sums::new();
        registry.workers.visit(|_, blocks, _| {
            for block in blocks {
                for (kind, counter) in ErrorKind::ALL.iter().zip(pick(block)) {
                    add(&mut sums, Some(kind.label()), counter);
                }
            }
        });
        counters(page, name, help, &sums);
    }
}

fn add_responses(sums: &mut Sums, labels: &Labels, responses: &Responses) {
    for (response, count) in responses.counts() {
        *sums.entry(response_labels(labels, response)).or_default() += count;
    }
    if responses.other() > 0 {
        *sums.entry(labels.with("classification", "other")).or_default() += responses.other();
    }
}

fn response_labels(labels: &Labels, response: Response) -> Labels {
    let mut labels = labels.clone();
    if response.status != 0 {
        labels.add("status_code", &response.status.to_string());
    }
    labels.add("classification", if response.success { "success" } else { "failure" });
    labels.add("grpc_status", &response.grpc_status.map(|status| status.to_string()).unwrap_or_default());
    labels.add("error", response.error);
    labels
}

/// The symbolic name of those a socket commonly ends with, else the number.
fn errno_name(errno: i32) -> String {
    let names = [
        (32, "EPIPE"),
        (103, "ECONNABORTED"),
        (104, "ECONNRESET"),
        (110, "ETIMEDOUT"),
        (111, "ECONNREFUSED"),
        (113, "EHOSTUNREACH"),
    ];
    names
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| errno.to_string(), |(_, name)| (*name).to_owned())
}
