//! What is counted by the route that a request took, by the route's backends, and by their balancers.

use super::labels::{backend_labels, balancer_labels, parent, route, route_labels};
use super::sums::{Buckets, Sums, Unit, counters, gauges, histograms};
use crate::telemetry::text::{Labels, Page};
use std::collections::BTreeMap;
use weft_engine::metrics::{Registry, Responses};

pub(super) fn outbound_routes(registry: &Registry, page: &mut Page) {
    for (grpc, protocol) in [(false, "http"), (true, "grpc")] {
        let mut durations: BTreeMap<Labels, Buckets> = BTreeMap::new();
        let mut statuses = Sums::new();
        let mut retries: [Sums; 4] = Default::default();
        registry.outbound_routes.visit(|of, blocks, _| {
            if of.grpc != grpc {
                return;
            }
            let labels = route_labels(of);
            for block in blocks {
                durations.entry(labels.clone()).or_default().add(&block.durations, Unit::Seconds);
                add_statuses(&mut statuses, &labels, grpc, &block.statuses);
                let counters = [
                    &block.retry_requests,
                    &block.retry_successes,
                    &block.retry_limit_exceeded,
                    &block.retry_overflow,
                ];
                for (sums, counter) in retries.iter_mut().zip(counters) {
                    *sums.entry(labels.clone()).or_default() += counter.get();
                }
            }
        });
        let name = |rest: &str| format!("outbound_{protocol}_route_{rest}");
        histograms(
            page,
            &name("request_duration_seconds"),
            "Time from a request's head to the end of its response.",
            &durations,
        );
        counters(page, &name("request_statuses_total"), "Completed requests by status.", &statuses);
        for (sums, (what, help)) in retries.iter().zip([
            ("retry_requests_total", "Retries made."),
            ("retry_successes_total", "Retries that succeeded."),
            ("retry_limit_exceeded_total", "Requests that failed with no retry left."),
            ("retry_overflow_total", "Retries not made for want of an endpoint or of the request's body."),
        ]) {
            counters(page, &name(what), help, sums);
        }
        route_backends(registry, page, grpc, protocol);
    }
}

fn route_backends(registry: &Registry, page: &mut Page, grpc: bool, protocol: &str) {
    let (mut requests, mut statuses) = (Sums::new(), Sums::new());
    let mut durations: BTreeMap<Labels, Buckets> = BTreeMap::new();
    registry.route_backends.visit(|of, blocks, _| {
        if of.route.grpc != grpc {
            return;
        }
        let labels = backend_labels(of);
        for block in blocks {
            *requests.entry(labels.clone()).or_default() += block.requests.get();
            add_statuses(&mut statuses, &labels, grpc, &block.statuses);
            durations.entry(labels.clone()).or_default().add(&block.durations, Unit::Seconds);
        }
    });
    let name = |rest: &str| format!("outbound_{protocol}_route_backend_{rest}");
    counters(page, &name("requests_total"), "Requests sent to the backend.", &requests);
    counters(page, &name("response_statuses_total"), "Responses of the backend by status.", &statuses);
    histograms(
        page,
        &name("response_duration_seconds"),
        "Time from a request's end to the end of its response.",
        &durations,
    );
}

pub(super) fn inbound_routes(registry: &Registry, page: &mut Page) {
    for (grpc, protocol) in [(false, "http"), (true, "grpc")] {
        let (mut requests, mut statuses) = (Sums::new(), Sums::new());
        let mut durations: BTreeMap<Labels, Buckets> = BTreeMap::new();
        registry.inbound_routes.visit(|of, blocks, _| {
            if of.grpc != grpc {
                return;
            }
            let mut labels = Labels::new();
            parent(&mut labels, &of.server);
            route(&mut labels, &of.route);
            for block in blocks {
                *requests.entry(labels.clone()).or_default() += block.requests.get();
                add_statuses(&mut statuses, &labels, grpc, &block.statuses);
                durations.entry(labels.clone()).or_default().add(&block.durations, Unit::Seconds);
            }
        });
        let name = |rest: &str| format!("inbound_{protocol}_{rest}");
        counters(page, &name("requests_total"), "Requests received.", &requests);
        counters(page, &name("statuses_total"), "Completed responses by status.", &statuses);
        histograms(
            page,
            &name("response_duration_seconds"),
            "Time from a request's end to the end of its response.",
            &durations,
        );
    }
}

pub(super) fn balancers(registry: &Registry, page: &mut Page) {
    for (http, prefix) in [(true, "outbound_http_balancer"), (false, "outbound_tcp_balancer")] {
        let (mut endpoints, mut updates, mut gate_open, mut gate_shut) =
            (Sums::new(), Sums::new(), Sums::new(), Sums::new());
        let (mut queue, mut queued) = (Sums::new(), Sums::new());
        let mut latency: BTreeMap<Labels, Buckets> = BTreeMap::new();
        registry.balancers.visit(|of, blocks, _| {
            if of.http != http {
                return;
            }
            let labels = balancer_labels(of);
            for block in blocks {
                for (state, gauge) in [("ready", &block.ready), ("pending", &block.pending)] {
                    *endpoints.entry(labels.with("endpoint_state", state)).or_default() += gauge.get();
                }
                for (op, counter) in [("Add", &block.added), ("Remove", &block.removed)] {
                    *updates.entry(labels.with("op", op)).or_default() += counter.get();
                }
                *queue.entry(labels.clone()).or_default() += block.queue.get();
                *queued.entry(labels.clone()).or_default() += block.queued.get();
                *gate_open.entry(labels.clone()).or_default() += block.gate_opened.get();
                *gate_shut.entry(labels.clone()).or_default() += block.gate_shut.get();
                latency.entry(labels.clone()).or_default().add(&block.queue_latency, Unit::Seconds);
            }
        });
        let name = |rest: &str| format!("{prefix}_{rest}");
        gauges(page, &name("endpoints"), "Endpoints by state.", &endpoints);
        counters(page, &name("p2c_updates_total"), "Endpoints added and removed.", &updates);
        gauges(page, &name("queue_length"), "Requests waiting for an endpoint.", &queue);
        counters(page, &name("queue_requests_total"), "Requests that waited for an endpoint.", &queued);
        histograms(
            page,
            &name("queue_latency_seconds"),
            "How long requests waited for an endpoint.",
            &latency,
        );
        counters(page, &name("queue_gate_open_total"), "Recoveries from failfast.", &gate_open);
        counters(page, &name("queue_gate_shut_total"), "Falls into failfast.", &gate_shut);
    }
}

fn add_statuses(sums: &mut Sums, labels: &Labels, grpc: bool, responses: &Responses) {
    for (response, count) in responses.counts() {
        let mut labels = labels.clone();
        if grpc {
            labels.add(
                "grpc_status",
                &response.grpc_status.map(|status| status.to_string()).unwrap_or_default(),
            );
        } else {
            labels.add(
                "http_status",
                &if response.status == 0 { String::new() } else { response.status.to_string() },
            );
        }
        labels.add("error", response.error);
        *sums.entry(labels).or_default() += count;
    }
    if responses.other() > 0 {
        *sums.entry(labels.with("error", "OTHER")).or_default() += responses.other();
    }
}
