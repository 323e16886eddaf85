//! What the control plane answers, and what applications say, by number.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, LazyLock},
    time::Duration,
};

use weft_engine::io::DiscoverError;
use weft_names::Meta;
use weft_net::tls::Identity;
use weft_policy::{
    Filter, HeaderValue,
    filter::{HeaderEdit, HttpFailure},
    inbound::{DefaultPolicy, ServerPolicy},
    outbound::{
        Backend, Backoff, Distribution, Endpoint, EndpointSet, EndpointTls, GrpcCodes, Hint, HttpRoutes,
        HttpRule, Load, OpaqueRoutes, Policy, Protocol, Retry, RetryConditions, RouteBackend, Rule, TcpRule,
        Timeouts, TlsRoutes,
    },
};

use crate::{
    h2::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame},
    mesh,
    pki::{CLIENT, PKI},
};

const fn addr(a: u8, b: u8, c: u8, d: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// Where the proxy itself listens.
pub(super) const OUTBOUND: SocketAddr = addr(127, 0, 0, 1, 4140);

/// Where clients want to go; the policy of each is in [`policies`].
pub(super) const TARGETS: [SocketAddr; 8] = [
    addr(10, 0, 0, 1, 80),
    addr(10, 0, 0, 2, 81),
    addr(10, 0, 0, 3, 82),
    addr(10, 0, 0, 4, 83),
    addr(10, 0, 0, 5, 84),
    addr(10, 0, 0, 6, 85),
    addr(127, 0, 0, 1, 86),
    OUTBOUND,
];

/// Endpoints in this network have proxies.
pub(super) fn is_meshed(target: SocketAddr) -> bool {
    matches!(target, SocketAddr::V4(v4) if v4.ip().octets()[..2] == [10, 1])
}

/// The worker's certificate.
pub(super) static IDENTITY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(PKI.server.for_worker().expect("an identity")));

static OUTBOUND_POLICIES: LazyLock<Vec<Vec<Arc<Policy>>>> = LazyLock::new(|| {
    let told = mesh::told(&mut mesh::mesh());
    let told: Vec<Arc<Policy>> = told.outbound.into_iter().map(Arc::new).collect();
    (0..TARGETS.len())
        .map(|n| policies(n).into_iter().map(Arc::new).chain(told.iter().cloned()).collect())
        .collect()
});

static INBOUND_POLICIES: LazyLock<Vec<Arc<ServerPolicy>>> = LazyLock::new(|| {
    let defaults = [
        DefaultPolicy::Deny,
        DefaultPolicy::AllUnauthenticated,
        DefaultPolicy::AllAuthenticated,
        DefaultPolicy::Audit,
    ];
    let timeout = Duration::from_secs(10);
    let detect = defaults.map(|policy| policy.server(&[], false, timeout));
    let opaque = defaults.map(|policy| policy.server(&[], true, timeout));
    let told = mesh::told(&mut mesh::mesh()).inbound;
    detect.into_iter().chain(opaque).chain(told).chain([ServerPolicy::invalid("x")]).map(Arc::new).collect()
});

fn meta(name: &'static str) -> Arc<Meta> {
    Arc::new(Meta::default_named(name))
}

fn policies(target: usize) -> Vec<Policy> {
    let plain =
        || Arc::new(Backend::forward(meta("plain"), Arc::new(Endpoint::plain(addr(10, 2, 0, 1, 8080)))));
    let balance = || Arc::new(Backend::balance(meta("web"), "web", Load::default()));
    let backend = if target.is_multiple_of(2) { balance() } else { plain() };
    let opaque = |backend: &Arc<Backend>| {
        OpaqueRoutes::from_rule(
            meta("opaque"),
            TcpRule::new(Distribution::only(RouteBackend::new(Arc::clone(backend)))),
        )
    };
    let detect = |rule: HttpRule| Protocol::Detect {
        timeout: Duration::from_secs(10),
        http1: HttpRoutes::from_rule(meta("route"), rule.clone()),
        http2: HttpRoutes::from_rule(meta("route"), rule),
        opaque: opaque(&backend),
    };
    let rule: HttpRule = Rule::new(Distribution::only(RouteBackend::new(Arc::clone(&backend))));
    let mut retried = rule.clone();
    retried.timeouts = Timeouts {
        request: Some(Duration::from_secs(5)),
        response: Some(Duration::from_secs(3)),
        idle: Some(Duration::from_secs(2)),
    };
    retried.allow_l5d_request_headers = true;
    retried.retry = Some(Retry {
        max_retries: 2,
        max_request_bytes: 100,
        conditions: RetryConditions {
            statuses: vec![(500, 599)],
            grpc: GrpcCodes { unavailable: true, ..GrpcCodes::default() },
        },
        timeout: Some(Duration::from_secs(1)),
        backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50), 0.5).ok(),
    });
    let mut split = rule.clone();
    split.backends = Distribution::RandomAvailable(vec![
        (RouteBackend::new(plain()), 1),
        (RouteBackend::new(balance()), 2),
        (RouteBackend::new(Arc::new(Backend::fail(meta("fail"), "no"))), 1),
    ]);
    let mut filtered = rule.clone();
    let edit = HeaderEdit {
        add: vec![("x-added".parse().unwrap(), HeaderValue::new(b"1").unwrap())],
        set: vec![("x-set".parse().unwrap(), HeaderValue::new(b"2").unwrap())],
        remove: vec!["x-a".parse().unwrap()],
    };
    filtered.filters = vec![
        Filter::RequestHeaders(edit.clone()),
        Filter::ResponseHeaders(edit),
        Filter::FailHttp(HttpFailure {
            status: 418,
            message: "x".into(),
            ratio: weft_policy::filter::Ratio::new(1, 2),
        }),
    ];
    let protocols = vec![
        detect(rule.clone()),
        Protocol::Opaque(opaque(&backend)),
        detect(retried),
        Protocol::Http2(HttpRoutes::from_rule(meta("route"), rule.clone())),
        detect(split),
        detect(filtered),
        Protocol::Http1(HttpRoutes::from_rule(meta("route"), rule)),
        Protocol::Tls(TlsRoutes::default()),
        Protocol::Opaque(OpaqueRoutes::default()),
    ];
    let policies = protocols.into_iter().map(|protocol| Policy::new(meta("service"), protocol));
    policies.chain([Policy::invalid("x")]).collect()
}

/// The policy for a target; 0: it cannot be discovered.
pub(super) fn outbound(target: SocketAddr, how: u8) -> Result<Arc<Policy>, DiscoverError> {
    let at = TARGETS.iter().position(|t| *t == target).unwrap_or(0);
    let policies = &OUTBOUND_POLICIES[at];
    let how = usize::from(how & 0x7f);
    match how.checked_sub(1) {
        None => Err(DiscoverError { reason: "nobody knows".into() }),
        Some(how) => Ok(Arc::clone(&policies[how % policies.len()])),
    }
}

/// The policy of a port.
pub(super) fn inbound(how: u8) -> Arc<ServerPolicy> {
    Arc::clone(&INBOUND_POLICIES[usize::from(how & 0x7f) % INBOUND_POLICIES.len()])
}

/// Endpoints; 0: none.
pub(super) fn endpoints(how: u8, meshed: bool) -> Arc<EndpointSet> {
    let plain = |n: u8, hint| Arc::new(Endpoint { hint, ..Endpoint::plain(addr(10, 2, 0, n, 8080)) });
    let secured = |n: u8, hint, port| {
        let tls = EndpointTls { server_id: CLIENT.parse().unwrap(), server_name: CLIENT.parse().unwrap() };
        Arc::new(Endpoint {
            tls: Some(tls),
            hint,
            opaque_transport_port: port,
            authority_override: (n == 3).then(|| "other.example:80".into()),
            ..Endpoint::plain(addr(10, 1, 0, n, 8080))
        })
    };
    let all = match how & 7 {
        0 => return Arc::new(EndpointSet::empty(how & 8 != 0)),
        1 => vec![plain(1, Hint::Unknown)],
        2 => vec![plain(1, Hint::Unknown), plain(2, Hint::Unknown)],
        3 => vec![plain(1, Hint::H2), plain(2, Hint::H2), plain(3, Hint::Unknown)],
        _ if !meshed => vec![plain(4, Hint::Opaque)],
        4 => vec![secured(1, Hint::H2, None), secured(2, Hint::H2, Some(4143))],
        5 => vec![secured(1, Hint::Unknown, None), plain(1, Hint::Unknown)],
        6 => vec![secured(3, Hint::Opaque, Some(4143))],
        _ => vec![secured(3, Hint::H2, Some(4143))],
    };
    Arc::new(EndpointSet::new(all))
}

/// Parts of HTTP/1 messages, and other beginnings.
pub(super) fn fragment(n: u8) -> &'static [u8] {
    const FRAGMENTS: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nhost: a\r\n",
        b"\r\n",
        b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx-sum: 1\r\n\r\n",
        b"content-length: 10\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"expect: 100-continue\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"l5d-client-id: x\r\nl5d-proxy-error: y\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x00\x01\x02\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"x-a: b\r\ncookie: a\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    ];
    FRAGMENTS[usize::from(n) % FRAGMENTS.len()]
}

/// Whole HTTP/1 requests.
pub(super) fn request(n: u8) -> &'static [u8] {
    const REQUESTS: &[&[u8]] = &[
        b"GET /v1/x HTTP/1.1\r\nhost: web.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nt: u\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nhost: web\r\nl5d-timeout: 1s\r\nl5d-retry-limit: 1\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        b"GET http://web.example/x HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n",
        b"POST /a.B/C HTTP/1.1\r\nhost: web\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: web\r\n\r\nGET / HTTP/1.1\r\nhost: web\r\n\r\nGET / HTTP/1.1\r\nhost: web\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    ];
    REQUESTS[usize::from(n) % REQUESTS.len()]
}

/// HTTP/1 responses.
pub(super) fn response(n: u8) -> &'static [u8] {
    const RESPONSES: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nt: u\r\n\r\n",
        b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil it ends",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbytes",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all of it",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ];
    RESPONSES[usize::from(n) % RESPONSES.len()]
}

/// The streams that a client's frames open, as far as these are whole.
pub(super) fn streams(mut bytes: &[u8]) -> Vec<u32> {
    let mut streams = Vec::new();
    while let Some((h, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, h[0], h[1], h[2]]) as usize;
        let Some(rest) = rest.get(length..) else { break };
        if h[3] == HEADERS {
            streams.push(u32::from_be_bytes([h[5], h[6], h[7], h[8]]));
        }
        bytes = rest;
    }
    streams
}

/// A response over HTTP/2.
pub(super) fn h2_response(stream: u32, n: u8) -> Vec<u8> {
    let head = |end, fields: &[(&str, &str)]| {
        frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block(fields))
    };
    match n % 8 {
        0 => head(true, &[(":status", "200"), ("content-length", "0")]),
        1 => [head(false, &[(":status", "200")]), frame(DATA, END_STREAM, stream, b"hello")].concat(),
        2 => [
            head(false, &[(":status", "200"), ("content-type", "application/grpc")]),
            frame(DATA, 0, stream, b"\0\0\0\0\x01x"),
            head(true, &[("grpc-status", "14")]),
        ]
        .concat(),
        3 => head(true, &[(":status", "503"), ("l5d-orig-proto", "HTTP/1.1")]),
        4 => frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]),
        5 => [head(false, &[(":status", "103")]), head(false, &[(":status", "200")])].concat(),
        6 => [head(false, &[(":status", "200")]), frame(DATA, 0, stream, &[b'x'; 9000])].concat(),
        _ => [
            head(true, &[(":status", "200"), ("grpc-status", "0"), ("content-type", "application/grpc")]),
            frame(7, 0, 0, &[0; 8]),
        ]
        .concat(),
    }
}
