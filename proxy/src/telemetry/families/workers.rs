//! Families of our own: what workers hold, and which bounds they meet.

use super::sums::{Sums, counters, gauges};
use crate::telemetry::text::{Labels, Page};
use weft_engine::limits::Bound;
use weft_engine::metrics::{Gauge, Registry, WorkerGauges};
use weft_policy::FailureKind;

/// Our own: what each worker holds and which bounds it met.
pub(super) fn workers(registry: &Registry, page: &mut Page) {
    type Pick = fn(&WorkerGauges) -> &Gauge;
    let holds: [(&str, Pick); 11] = [
        ("accepted_connections", |worker| &worker.accepted),
        ("dialed_connections", |worker| &worker.dialed),
        ("exchanges", |worker| &worker.exchanges),
        ("discovering", |worker| &worker.discovering),
        ("queued", |worker| &worker.queued),
        ("idle_pooled", |worker| &worker.idle_pooled),
        ("endpoints", |worker| &worker.endpoints),
        ("buffered_bytes", |worker| &worker.buffered_bytes),
        ("spare_buffers", |worker| &worker.spare_buffers),
        ("timers", |worker| &worker.timers),
        ("policies", |worker| &worker.policies),
    ];
    let (mut held, mut met, mut io) = (Sums::new(), Sums::new(), Sums::new());
    let (mut slow, mut failed, mut handshakes) = (Sums::new(), Sums::new(), Sums::new());
    registry.workers.visit(|of, blocks, _| {
        let worker = Labels::new().with("worker", &of.worker.to_string());
        for block in blocks {
            for (what, pick) in holds {
                *held.entry(worker.with("what", what)).or_default() += pick(block).get();
            }
            for (bound, counter) in Bound::ALL.iter().zip(&block.bounds_met) {
                *met.entry(worker.with("bound", bound.name())).or_default() += counter.get();
            }
            for (op, counter) in [("read", &block.reads), ("write", &block.writes)] {
                *io.entry(worker.with("op", op)).or_default() += counter.get();
            }
            for (direction, counters) in
                [("inbound", &block.handshakes_accepted), ("outbound", &block.handshakes_dialed)]
            {
                for (kind, counter) in ["full", "resumed"].into_iter().zip(counters) {
                    let labels = worker.with("direction", direction).with("kind", kind);
                    *handshakes.entry(labels).or_default() += counter.get();
                }
            }
            *slow.entry(worker.clone()).or_default() += block.slow_clients.get();
            for (direction, counters) in
                [("inbound", &block.inbound_http_errors), ("outbound", &block.outbound_http_errors)]
            {
                for (kind, counter) in FailureKind::ALL.iter().zip(counters) {
                    if counter.get() > 0 {
                        let labels = Labels::new().with("direction", direction).with("kind", kind.name());
                        *failed.entry(labels).or_default() += counter.get();
                    }
                }
            }
        }
    });
    gauges(page, "weft_worker_held", "What a worker holds now.", &held);
    counters(page, "weft_worker_bound_met_total", "How often a bound was met.", &met);
    counters(page, "weft_worker_socket_calls_total", "Reads that brought bytes, and writes.", &io);
    counters(
        page,
        "weft_tls_handshakes_total",
        "Mutual TLS handshakes that ended well: in full, or resuming a session.",
        &handshakes,
    );
    counters(
        page,
        "weft_http_failures_total",
        "Requests that the proxy answered itself, whatever the reason: refusals too.",
        &failed,
    );
    counters(
        page,
        "weft_worker_slow_clients_total",
        "Connections closed because a head or handshake did not come in time.",
        &slow,
    );
}
