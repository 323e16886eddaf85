//! From the workers' blocks to Linkerd's families: names, labels, units.
//!
//! Blocks with the same labels belong to different workers and are added up here. Nothing is computed between scrapes.

use super::text::{Kind, Labels, Page};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use weft_engine::io::Side;
use weft_engine::limits::Bound;
use weft_engine::metrics::{
    BalancerLabels, Counter, EndpointLabels, ErrorKind, Gauge, Histogram, Http, Peer, PermitLabels, Registry,
    Response, Responses, RouteBackendLabels, RouteLabels, ServerLabels, Tls, TransportLabels, WorkerGauges,
};
use weft_policy::{FailureKind, Meta, outbound::Endpoint};

/// How the values of a histogram, kept in nanoseconds, are shown.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Seconds,
}

impl Unit {
    fn show(self, nanoseconds: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bucket bounds are exact, sums are approximate by nature"
        )]
        let value = nanoseconds as f64;
        match self {
            Self::Milliseconds => value / 1e6,
            Self::Seconds => value / 1e9,
        }
    }
}

/// Samples of one family, in label order, added up over workers.
type Sums = BTreeMap<Labels, u64>;

/// Writes the families that Linkerd has had from the beginning.
pub fn legacy(registry: &Registry, page: &mut Page) {
    http(registry, page);
    tcp(registry, page);
    authorization(registry, page);
    errors(registry, page);
}

/// Writes the families of policy routes, balancers and our own workers.
pub fn open(registry: &Registry, page: &mut Page) {
    outbound_routes(registry, page);
    balancers(registry, page);
    protocols(registry, page);
    inbound_routes(registry, page);
    transport_headers(registry, page);
    workers(registry, page);
}

fn http(registry: &Registry, page: &mut Page) {
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

fn tcp(registry: &Registry, page: &mut Page) {
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

fn authorization(registry: &Registry, page: &mut Page) {
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

fn errors(registry: &Registry, page: &mut Page) {
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

fn outbound_routes(registry: &Registry, page: &mut Page) {
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

fn balancers(registry: &Registry, page: &mut Page) {
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

fn protocols(registry: &Registry, page: &mut Page) {
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

fn inbound_routes(registry: &Registry, page: &mut Page) {
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

fn transport_headers(registry: &Registry, page: &mut Page) {
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

/// Our own: what each worker holds and which bounds it met.
fn workers(registry: &Registry, page: &mut Page) {
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

// === labels ===

fn side(labels: &mut Labels, side: Side) {
    labels.add(
        "direction",
        match side {
            Side::Inbound => "inbound",
            Side::Outbound => "outbound",
        },
    );
}

fn target(labels: &mut Labels, addr: SocketAddr) {
    labels.add("target_addr", &addr.to_string());
    labels.add("target_ip", &addr.ip().to_string());
    labels.add("target_port", &addr.port().to_string());
}

/// `peer_id` is `client_id` for those who connect to us, `server_id` for those we connect to.
fn tls(labels: &mut Labels, tls: &Tls, peer_id: &str) {
    match tls {
        Tls::Mutual(id) => labels.add("tls", "true").add(peer_id, id),
        Tls::NoIdentity => labels.add("tls", "true").add(peer_id, ""),
        Tls::Passthrough(sni) => labels.add("tls", "opaque").add("sni", sni.as_deref().unwrap_or("")),
        Tls::None(reason) => labels.add("tls", "no_identity").add("no_tls_reason", reason),
    };
}

fn endpoint(labels: &mut Labels, endpoint: &Endpoint) {
    for (name, value) in endpoint.labels.iter() {
        labels.add(&format!("dst_{name}"), value);
    }
}

fn server(labels: &mut Labels, server: &Meta) {
    labels.add("srv_group", server.group()).add("srv_kind", server.kind()).add("srv_name", server.name());
}

fn route(labels: &mut Labels, route: &Meta) {
    labels.add("route_group", route.group()).add("route_kind", route.kind());
    labels.add("route_namespace", route.namespace()).add("route_name", route.name());
}

fn parent(labels: &mut Labels, of: &Meta) {
    resource(labels, "parent", of);
}

fn resource(labels: &mut Labels, role: &str, of: &Meta) {
    let mut add = |part: &str, value: &str| {
        labels.add(&format!("{role}_{part}"), value);
    };
    add("group", of.group());
    add("kind", of.kind());
    add("namespace", of.namespace());
    add("name", of.name());
    add("port", &of.port().map(|port| port.to_string()).unwrap_or_default());
    add("section_name", of.section());
}

fn endpoint_labels(of: &EndpointLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, Side::Outbound);
    target(&mut labels, of.endpoint.addr);
    tls(&mut labels, &of.tls, "server_id");
    endpoint(&mut labels, &of.endpoint);
    labels
}

fn permit_labels(of: &PermitLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, Side::Inbound);
    target(&mut labels, of.target);
    tls(&mut labels, &of.tls, "client_id");
    server(&mut labels, &of.server);
    labels.add("srv_port", &of.target.port().to_string());
    labels
        .add("route_group", of.route.group())
        .add("route_kind", of.route.kind())
        .add("route_name", of.route.name());
    labels.add("authz_group", of.authorization.group()).add("authz_kind", of.authorization.kind());
    labels.add("authz_name", of.authorization.name());
    labels
}

fn transport_labels(of: &TransportLabels) -> Labels {
    let mut labels = Labels::new();
    side(&mut labels, of.side);
    let (peer, peer_id) = match of.peer {
        Peer::Source => ("src", "client_id"),
        Peer::Destination => ("dst", "server_id"),
    };
    labels.add("peer", peer);
    target(&mut labels, of.target);
    tls(&mut labels, &of.tls, peer_id);
    if let Some(of) = &of.server {
        server(&mut labels, of);
    }
    if let Some(of) = &of.endpoint {
        endpoint(&mut labels, of);
    }
    labels
}

fn server_labels(of: &ServerLabels) -> Labels {
    let mut labels = Labels::new();
    labels.add("target_port", &of.port.to_string());
    server(&mut labels, &of.server);
    labels.add("srv_port", &of.port.to_string());
    labels
}

fn route_labels(of: &RouteLabels) -> Labels {
    let mut labels = Labels::new();
    parent(&mut labels, &of.parent);
    route(&mut labels, &of.route);
    labels
}

fn backend_labels(of: &RouteBackendLabels) -> Labels {
    let mut labels = route_labels(&of.route);
    resource(&mut labels, "backend", &of.backend);
    labels
}

fn balancer_labels(of: &BalancerLabels) -> Labels {
    let mut labels = Labels::new();
    resource(&mut labels, "backend", &of.backend);
    labels.add("concrete", &of.path);
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

// === samples ===

fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::get).sum()
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

fn add_responses(sums: &mut Sums, labels: &Labels, responses: &Responses) {
    for (response, count) in responses.counts() {
        *sums.entry(response_labels(labels, response)).or_default() += count;
    }
    if responses.other() > 0 {
        *sums.entry(labels.with("classification", "other")).or_default() += responses.other();
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

/// A histogram added up over workers.
#[derive(Default)]
struct Buckets {
    buckets: Vec<(String, u64)>,
    above: u64,
    sum: f64,
}

impl Buckets {
    fn add<const N: usize>(&mut self, histogram: &Histogram<N>, unit: Unit) {
        for (index, (bound, count)) in histogram.buckets().enumerate() {
            match self.buckets.get_mut(index) {
                Some((_, total)) => *total += count,
                None => self.buckets.push((unit.show(bound).to_string(), count)),
            }
        }
        self.above += histogram.above();
        self.sum += unit.show(histogram.sum());
    }
}

#[derive(Default)]
struct Detections {
    results: Sums,
    durations: BTreeMap<Labels, Buckets>,
}

impl Detections {
    fn add(&mut self, labels: &Labels, detected: &weft_engine::metrics::DetectResults) {
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

fn counters(page: &mut Page, name: &str, help: &str, sums: &Sums) {
    samples(page, name, Kind::Counter, help, sums);
}

fn gauges(page: &mut Page, name: &str, help: &str, sums: &Sums) {
    samples(page, name, Kind::Gauge, help, sums);
}

fn samples(page: &mut Page, name: &str, kind: Kind, help: &str, sums: &Sums) {
    if sums.is_empty() {
        return;
    }
    page.family(name, kind, help);
    for (labels, value) in sums {
        page.sample(name, labels, *value);
    }
}

fn histograms(page: &mut Page, name: &str, help: &str, all: &BTreeMap<Labels, Buckets>) {
    if all.is_empty() {
        return;
    }
    page.family(name, Kind::Histogram, help);
    for (labels, of) in all {
        page.histogram(name, labels, &of.buckets, of.above, of.sum);
    }
}
