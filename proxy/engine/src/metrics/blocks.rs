//! Groups of cells that share their labels. The families they become are named at each field.

use std::sync::OnceLock;

use super::cells::{Counter, Gauge, Histogram, Responses};
use super::labels::ErrorKind;
use weft_policy::FailureKind;

/// How many kinds of failures there are.
pub const FAILURES: usize = FailureKind::ALL.len();

const MS: u64 = 1_000_000;
const LATENCY: [u64; 25] = [
    MS,
    2 * MS,
    3 * MS,
    4 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    30 * MS,
    40 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    300 * MS,
    400 * MS,
    500 * MS,
    1_000 * MS,
    2_000 * MS,
    3_000 * MS,
    4_000 * MS,
    5_000 * MS,
    10_000 * MS,
    20_000 * MS,
    30_000 * MS,
    40_000 * MS,
    50_000 * MS,
];

macro_rules! blocks {
    ($($(#[$doc:meta])* $block:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $init:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $block { $($(#[$field_doc])* pub $field: $ty,)* }

        impl Default for $block {
            fn default() -> Self {
                Self { $($field: $init,)* }
            }
        }
    )*};
}

blocks! {
    /// HTTP towards one endpoint (outbound) or under one permit (inbound).
    Http {
        /// `request_total`.
        requests: Counter = Counter::default(),
        /// `response_total`.
        responses: Responses = Responses::default(),
        /// `response_latency_ms`: from the request's head to the first byte of the response's body, in nanoseconds.
        latency: Histogram<25> = Histogram::new(&LATENCY),
    }

    /// Connections of one kind.
    Transport {
        /// `tcp_open_total`.
        opened: Counter = Counter::default(),
        /// `tcp_open_connections`.
        open: Gauge = Gauge::default(),
        /// `tcp_read_bytes_total`.
        read: Counter = Counter::default(),
        /// `tcp_write_bytes_total`.
        written: Counter = Counter::default(),
        /// `tcp_close_total`, by `errno`.
        closed: Errnos = Errnos::default(),
    }

    /// One outbound route of one parent.
    OutboundRoute {
        /// `outbound_*_route_request_duration_seconds`, in nanoseconds.
        durations: Histogram<4> = Histogram::new(&[50 * MS, 500 * MS, 1_000 * MS, 10_000 * MS]),
        /// `outbound_*_route_request_statuses`.
        statuses: Responses = Responses::default(),
        /// `outbound_*_route_retry_requests`.
        retry_requests: Counter = Counter::default(),
        /// `outbound_*_route_retry_successes`.
        retry_successes: Counter = Counter::default(),
        /// `outbound_*_route_retry_limit_exceeded`.
        retry_limit_exceeded: Counter = Counter::default(),
        /// `outbound_*_route_retry_overflow`: no endpoint was ready for the retry, or its body was not kept.
        retry_overflow: Counter = Counter::default(),
    }

    /// One backend of an outbound route.
    RouteBackend {
        /// `outbound_*_route_backend_requests`.
        requests: Counter = Counter::default(),
        /// `outbound_*_route_backend_response_duration_seconds`, in nanoseconds.
        durations: Histogram<7> =
            Histogram::new(&[25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, 1_000 * MS, 10_000 * MS]),
        /// `outbound_*_route_backend_response_statuses`.
        statuses: Responses = Responses::default(),
    }

    /// One balancer of one worker.
    Balancer {
        /// `outbound_*_balancer_endpoints{endpoint_state="ready"}`.
        ready: Gauge = Gauge::default(),
        /// `outbound_*_balancer_endpoints{endpoint_state="pending"}`.
        pending: Gauge = Gauge::default(),
        /// `outbound_*_balancer_p2c_updates{op="Add"}`.
        added: Counter = Counter::default(),
        /// `outbound_*_balancer_p2c_updates{op="Remove"}`.
        removed: Counter = Counter::default(),
        /// `outbound_*_balancer_queue_length`.
        queue: Gauge = Gauge::default(),
        /// `outbound_*_balancer_queue_requests`.
        queued: Counter = Counter::default(),
        /// `outbound_*_balancer_queue_latency_seconds`, in nanoseconds.
        queue_latency: Histogram<6> =
            Histogram::new(&[MS / 2, 5 * MS, 50 * MS, 500 * MS, 1_000 * MS, 3_000 * MS]),
        /// `outbound_*_balancer_queue_gate_open`: how often it recovered.
        gate_opened: Counter = Counter::default(),
        /// `outbound_*_balancer_queue_gate_shut`: how often it went into failfast.
        gate_shut: Counter = Counter::default(),
    }

    /// Outbound connections to one parent.
    Parent {
        /// `outbound_tcp_protocol_connections{protocol="http/1"}`.
        http1: Counter = Counter::default(),
        /// `outbound_tcp_protocol_connections{protocol="http/2"}`.
        http2: Counter = Counter::default(),
        /// `outbound_tcp_protocol_connections{protocol="detect"}`.
        detect: Counter = Counter::default(),
        /// `outbound_tcp_protocol_connections{protocol="opaq"}`.
        opaque: Counter = Counter::default(),
        /// `outbound_tcp_protocol_connections{protocol="tls"}`.
        tls: Counter = Counter::default(),
        /// `outbound_tcp_detect_http_results`, `_duration_seconds`.
        detected: DetectResults = DetectResults::default(),
        /// `outbound_{tcp,tls}_route_open`.
        tcp_opened: Counter = Counter::default(),
        /// `outbound_{tcp,tls}_route_close` without an error.
        tcp_closed: Counter = Counter::default(),
        /// `outbound_{tcp,tls}_route_close` with an error.
        tcp_failed: Counter = Counter::default(),
    }

    /// Inbound connections and requests of one port's policy.
    Server {
        /// `inbound_tcp_detect_http_results`, `_duration_seconds`.
        detected: DetectResults = DetectResults::default(),
        /// `inbound_tcp_authz_allow_total`.
        tcp_allowed: Counter = Counter::default(),
        /// `inbound_tcp_authz_deny_total`.
        tcp_denied: Counter = Counter::default(),
        /// `inbound_tcp_authz_terminate_total`.
        tcp_terminated: Counter = Counter::default(),
        /// `inbound_http_authz_deny_total`.
        http_denied: Counter = Counter::default(),
        /// `inbound_http_route_not_found_total`.
        route_not_found: Counter = Counter::default(),
        /// `inbound_http_local_ratelimit_total`.
        rate_limited: Counter = Counter::default(),
    }

    /// Inbound requests of one route.
    InboundRoute {
        /// `inbound_*_requests`.
        requests: Counter = Counter::default(),
        /// `inbound_*_statuses`.
        statuses: Responses = Responses::default(),
        /// `inbound_*_response_duration_seconds`, in nanoseconds.
        durations: Histogram<4> = Histogram::new(&[50 * MS, 500 * MS, 1_000 * MS, 10_000 * MS]),
    }

    /// What one authorization allows one client on one route.
    Permit {
        /// `inbound_http_authz_allow_total`.
        allowed: Counter = Counter::default(),
        /// `request_total` and the like.
        http: Http = Http::default(),
    }

    /// `inbound_tcp_transport_header_connections`.
    TransportHeaders {
        /// How many.
        connections: Counter = Counter::default(),
    }

    /// What one worker holds now, and how often each of its bounds was met ([`crate::limits`]).
    WorkerGauges {
        /// Accepted connections.
        accepted: Gauge = Gauge::default(),
        /// Connections the worker made.
        dialed: Gauge = Gauge::default(),
        /// Exchanges under way.
        exchanges: Gauge = Gauge::default(),
        /// Connections waiting for discovery.
        discovering: Gauge = Gauge::default(),
        /// Exchanges and connections waiting for an endpoint, in all balancers.
        queued: Gauge = Gauge::default(),
        /// Connections idle in pools.
        idle_pooled: Gauge = Gauge::default(),
        /// Endpoints known.
        endpoints: Gauge = Gauge::default(),
        /// Bytes held in the buffers of connections and exchanges.
        buffered_bytes: Gauge = Gauge::default(),
        /// Buffers kept for reuse.
        spare_buffers: Gauge = Gauge::default(),
        /// Timers armed.
        timers: Gauge = Gauge::default(),
        /// Outbound targets and inbound ports with a policy.
        policies: Gauge = Gauge::default(),
        /// How often each bound was met, by [`crate::limits::Bound`] as index.
        bounds_met: [Counter; crate::limits::Bound::COUNT] = Default::default(),
        /// Requests the proxy answered itself, by [`FailureKind`] as index; `outbound_http_errors_total` are those whose
        /// row has an `error`.
        outbound_http_errors: [Counter; FAILURES] = Default::default(),
        /// `outbound_tcp_errors_total`, by [`ErrorKind`] as index.
        outbound_tcp_errors: [Counter; ErrorKind::COUNT] = Default::default(),
        /// `inbound_http_errors_total`.
        inbound_http_errors: [Counter; FAILURES] = Default::default(),
        /// `inbound_tcp_errors_total`.
        inbound_tcp_errors: [Counter; ErrorKind::COUNT] = Default::default(),
        /// Connections that the proxy closed because their head, handshake or preface did not come in time.
        slow_clients: Counter = Counter::default(),
        /// TLS handshakes with clients that ended well: full, resumed.
        handshakes_accepted: [Counter; 2] = Default::default(),
        /// The same with servers.
        handshakes_dialed: [Counter; 2] = Default::default(),
        /// Writes to sockets.
        writes: Counter = Counter::default(),
        /// Reads from sockets that brought bytes.
        reads: Counter = Counter::default(),
        /// `outbound_tcp_transfer_cost_bytes{op="send"}`: written to other zones, by `zone_locality`
        /// (unknown, local, remote).
        sent_by_zone: [Counter; 3] = Default::default(),
        /// `outbound_tcp_transfer_cost_bytes{op="recv"}`.
        received_by_zone: [Counter; 3] = Default::default(),
    }
}

/// What looking at the first bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detected {
    /// `http/1`
    Http1,
    /// `http/2`
    Http2,
    /// `not_http`
    NotHttp,
    /// `read_timeout`
    Timeout,
    /// `error`
    Error,
}

/// `*_tcp_detect_http_results` and `*_tcp_detect_http_duration_seconds`.
#[derive(Debug)]
pub struct DetectResults {
    /// `result="http/1"`.
    pub http1: Counter,
    /// `result="http/2"`.
    pub http2: Counter,
    /// `result="not_http"`.
    pub not_http: Counter,
    /// `result="read_timeout"`.
    pub timeout: Counter,
    /// `result="error"`.
    pub error: Counter,
    /// How long it took, in nanoseconds.
    pub durations: Histogram<2>,
}

impl Default for DetectResults {
    fn default() -> Self {
        Self {
            http1: Counter::default(),
            http2: Counter::default(),
            not_http: Counter::default(),
            timeout: Counter::default(),
            error: Counter::default(),
            durations: Histogram::new(&[MS, 100 * MS]),
        }
    }
}

impl DetectResults {
    /// Counts one.
    pub fn count(&self, detected: Detected, took: std::time::Duration) {
        match detected {
            Detected::Http1 => self.http1.count(),
            Detected::Http2 => self.http2.count(),
            Detected::NotHttp => self.not_http.count(),
            Detected::Timeout => self.timeout.count(),
            Detected::Error => self.error.count(),
        }
        self.durations.record_duration(took);
    }
}

/// Different `errno` values that one block tells apart.
pub const DIFFERENT_ERRNOS: usize = 8;

/// Counts connections by the error they ended with.
#[derive(Debug, Default)]
pub struct Errnos {
    /// Ended without an error.
    pub clean: Counter,
    seen: [OnceLock<(i32, Counter)>; DIFFERENT_ERRNOS],
    /// Ended with an error that has no number, or for which there was no room.
    pub other: Counter,
}

impl Errnos {
    /// Counts one.
    pub fn count(&self, errno: Option<i32>) {
        let Some(errno) = errno else { return self.other.count() };
        for cell in &self.seen {
            let (of, counter) = cell.get_or_init(|| (errno, Counter::default()));
            if *of == errno {
                return counter.count();
            }
        }
        self.other.count();
    }

    /// Each different `errno` and how often.
    pub fn counts(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.seen.iter().map_while(OnceLock::get).map(|(errno, counter)| (*errno, counter.get()))
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.clean.get() + self.counts().map(|c| c.1).sum::<u64>() + self.other.get()
    }
}
