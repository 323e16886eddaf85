//! What connections turned out to be: by their first bytes, and by transport headers.

use super::labels::{parent, server_labels};
use super::sums::{Buckets, Sums, Unit, counters, histograms, sum};
use crate::telemetry::text::{Labels, Page};
use std::collections::BTreeMap;
use weft_engine::metrics::{DetectResults, Registry};

pub(super) fn protocols(registry: &Registry, page: &mut Page) {
    let mut protocols = Sums::new();
    let mut outbound = Detections::default();
    let (mut opened, mut closed) = (Sums::new(), Sums::new());
    registry.parents.visit(|of, blocks, _| {
        let mut labels = Labels::new();
        parent(&mut labels, &of.parent);
        for block in blocks {
            for (protocol, counter) in [
                ("http/1", &block.http1),
                ("http/2", &block.http2),
                ("detect", &block.detect),
                ("opaq", &block.opaque),
                ("tls", &block.tls),
            ] {
                if counter.get() > 0 {
                    *protocols.entry(labels.with("protocol", protocol)).or_default() += counter.get();
                }
            }
            outbound.add(&labels, &block.detected);
            *opened.entry(labels.clone()).or_default() += block.tcp_opened.get();
            *closed.entry(labels.with("error", "")).or_default() += block.tcp_closed.get();
            *closed.entry(labels.with("error", "IO")).or_default() += block.tcp_failed.get();
        }
    });
    let mut inbound = Detections::default();
    registry.servers.visit(|of, blocks, _| {
        let labels = server_labels(of);
        for block in blocks {
            inbound.add(&labels, &block.detected);
        }
    });
    counters(
        page,
        "outbound_tcp_protocol_connections_total",
        "Outbound connections by configured protocol.",
        &protocols,
    );
    outbound.write(page, "outbound");
    inbound.write(page, "inbound");
    counters(page, "outbound_tcp_route_open_total", "Opaque connections opened.", &opened);
    counters(page, "outbound_tcp_route_close_total", "Opaque connections closed.", &closed);
}

pub(super) fn transport_headers(registry: &Registry, page: &mut Page) {
    let mut sums = Sums::new();
    registry.transport_headers.visit(|of, blocks, _| {
        let mut labels = Labels::new();
        labels.add("session_protocol", of.session_protocol);
        labels.add("target_port", &of.target_port.to_string());
        labels.add("target_name", of.target_name.as_deref().unwrap_or(""));
        labels.add("client_id", &of.client_id);
        *sums.entry(labels).or_default() += sum(blocks.iter().map(|block| &block.connections));
    });
    counters(
        page,
        "inbound_tcp_transport_header_connections_total",
        "Connections that named their target in a transport header.",
        &sums,
    );
}

#[derive(Default)]
struct Detections {
    results: Sums,
    durations: BTreeMap<Labels, Buckets>,
}

impl Detections {
    fn add(&mut self, labels: &Labels, detected: &DetectResults) {
        let results = [
            ("http/1", &detected.http1),
            ("http/2", &detected.http2),
            ("not_http", &detected.not_http),
            ("read_timeout", &detected.timeout),
            ("error", &detected.error),
        ];
        for (result, counter) in results {
            if counter.get() > 0 {
                *self.results.entry(labels.with("result", result)).or_default() += counter.get();
            }
        }
        self.durations.entry(labels.clone()).or_default().add(&detected.durations, Unit::Seconds);
    }

    fn write(&self, page: &mut Page, direction: &str) {
        counters(
            page,
            &format!("{direction}_tcp_detect_http_results_total"),
            "What looking at a connection's first bytes found.",
            &self.results,
        );
        histograms(
            page,
            &format!("{direction}_tcp_detect_http_duration_seconds"),
            "How long finding the protocol took.",
            &self.durations,
        );
    }
}
