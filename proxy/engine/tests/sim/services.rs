//! Everything that clients can connect to: what its policy is, where it leads, and what is to be expected of it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weft_names::Meta;
use weft_policy::filter::{HttpFailure, Ratio, Redirect};
use weft_policy::inbound::{self, Authentication, Authorization, Network, RateLimit, ServerPolicy};
use weft_policy::matching::{GrpcMatch, RpcMatch};
use weft_policy::outbound::{
    Accrual, Backend, Backoff, Distribution, Endpoint, EndpointSet, EndpointTls, GrpcCodes, GrpcRoutes, Hint,
    HttpRoutes, HttpRule, Load, OpaqueRoutes, Policy, Protocol, Retry, RetryConditions, RouteBackend, Rule,
    TcpRule, Timeouts, TlsRoute, TlsRoutes,
};
use weft_policy::{FailureKind, Filter};

use crate::impostor::IMPOSTORS;
use crate::pki::KNOWN;
use crate::rng::Rng;
use crate::spec::{
    BREAK, CLOSE, EXPECT, FAILS, FLAKY, GRPC, HALF_WAY, INTERIM, Kind, MISBEHAVIOUR, REFUSE, REPEATABLE,
    SLOW_FIRST, Spec, TOO_LONG, TRAILERS,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    /// Any HTTP.
    Http,
    Http1,
    Http2,
    Grpc,
    Raw,
    /// Raw, and the server begins.
    Banner,
    /// Raw after a ClientHello.
    Tls,
}

/// A target.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) at: &'static str,
    pub(crate) speaks: Speaks,
    /// How often clients choose it.
    weight: usize,
}

const fn service(name: &'static str, at: &'static str, speaks: Speaks, weight: usize) -> Service {
    Service { name, at, speaks, weight }
}

pub(crate) const SERVICES: &[Service] = &[
    service("web", "10.0.0.1:80", Speaks::Http, 12),
    service("web6", "[fd00::80]:80", Speaks::Http, 3),
    service("plain", "10.0.0.2:80", Speaks::Http, 5),
    service("pods", "10.0.0.3:80", Speaks::Http, 3),
    service("http1", "10.0.0.4:80", Speaks::Http1, 2),
    service("http2", "10.0.0.5:80", Speaks::Http2, 2),
    service("grpc", "10.0.0.6:80", Speaks::Grpc, 3),
    service("retried", "10.0.0.7:80", Speaks::Http, 4),
    service("attempts", "10.0.0.8:80", Speaks::Http, 2),
    service("split", "10.0.0.9:80", Speaks::Http, 3),
    service("failover", "10.0.0.10:80", Speaks::Http, 2),
    service("injected", "10.0.0.11:80", Speaks::Http, 2),
    service("redirected", "10.0.0.12:80", Speaks::Http, 1),
    service("timed-request", "10.0.0.13:80", Speaks::Http, 2),
    service("timed-response", "10.0.0.14:80", Speaks::Http, 2),
    service("timed-idle", "10.0.0.15:80", Speaks::Http, 2),
    service("denied", "10.0.0.16:80", Speaks::Http, 2),
    service("known", "10.0.0.17:80", Speaks::Http, 2),
    service("limited", "10.0.0.18:80", Speaks::Http, 2),
    service("shaky", "10.0.0.19:80", Speaks::Http, 2),
    service("nobody", "10.0.0.20:80", Speaks::Http, 1),
    service("empty", "10.0.0.21:80", Speaks::Http, 1),
    service("unknown", "10.0.0.22:80", Speaks::Http, 1),
    service("impostors", "10.0.0.23:80", Speaks::Http, 2),
    service("impostor", "10.0.0.24:80", Speaks::Http, 1),
    service("mixed", "10.0.0.25:80", Speaks::Http, 2),
    service("local-grpc", "10.0.0.26:80", Speaks::Http2, 1),
    service("raw", "10.0.1.1:9000", Speaks::Raw, 4),
    service("raw-detect", "10.0.1.2:9000", Speaks::Raw, 3),
    service("raw-denied", "10.0.1.3:9000", Speaks::Raw, 1),
    service("raw-mixed", "10.0.1.4:9000", Speaks::Raw, 1),
    service("banner", "10.0.1.5:9001", Speaks::Banner, 2),
    service("banner-detect", "10.0.1.6:9001", Speaks::Banner, 2),
    service("tls", "10.0.1.7:9003", Speaks::Tls, 2),
    service("tls-meshed", "10.0.1.8:9003", Speaks::Tls, 1),
    // From outside the mesh straight to a workload in it.
    service("direct", "10.3.0.1:8080", Speaks::Http, 3),
    service("direct-known", "10.3.0.1:8082", Speaks::Http, 1),
    service("direct-raw", "10.3.0.1:9000", Speaks::Raw, 1),
    service("direct-banner", "10.3.0.1:9001", Speaks::Banner, 1),
    service("direct-tls", "10.3.0.1:9003", Speaks::Tls, 1),
];

/// Inbound ports with a policy of their own.
pub(crate) const PORTS: &[u16] = &[8080, 8081, 8082, 8083, 8084, 9000, 9001, 9002, 9003];

/// Those of them that a worker knows from the start.
pub(crate) const FIXED_PORTS: &[u16] = &[8081, 8082, 8083, 8084, 9002];

/// Where workloads are: meshed ones, others, and one whose inbound proxy clients reach without the mesh.
pub(crate) const MESHED: &[&str] = &["10.1.0.1", "10.1.0.2", "10.1.0.3", "fd00::1:1"];
pub(crate) const UNMESHED: &[&str] = &["10.2.0.1", "10.2.0.2"];
pub(crate) const DIRECT: &str = "10.3.0.1";

/// What has to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The server's response.
    Served,
    /// One of these answers, without a server having seen the request.
    Answered(&'static [FailureKind]),
    /// Either.
    ServedOr(&'static [FailureKind]),
    /// The response begins, and is then given up.
    Broken,
    /// The connection is cut, without a server having seen anything.
    Refused,
}

impl Service {
    pub(crate) fn any(rng: &mut Rng) -> &'static Self {
        let all: usize = SERVICES.iter().map(|s| s.weight).sum();
        let mut at = rng.below(all);
        for service in SERVICES {
            match at.checked_sub(service.weight) {
                Some(rest) => at = rest,
                None => return service,
            }
        }
        &SERVICES[0]
    }

    pub(crate) fn at(at: SocketAddr) -> Option<&'static Self> {
        SERVICES.iter().find(|s| s.addr() == at)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        addr(self.at)
    }

    /// Nothing special is done with its requests: any kind of them may be sent.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.name, "web" | "web6" | "plain" | "pods" | "http1" | "direct" | "known" | "mixed")
    }

    /// Whether a request may be seen more than once.
    pub(crate) fn most_attempts(&self) -> u32 {
        if matches!(self.name, "retried" | "attempts") { 3 } else { 1 }
    }

    /// Makes a request fit for the service.
    pub(crate) fn shape(&self, rng: &mut Rng, spec: &mut Spec, kind: Kind) {
        if !self.is_plain() {
            // What misses half of a message is told apart from what a policy does only where that does nothing.
            spec.flags &= !(MISBEHAVIOUR | BREAK);
        }
        match self.name {
            "retried" | "attempts" => {
                // What is small enough to be kept, and without trailers, is asked for until it succeeds.
                spec.flags &= !(TRAILERS | EXPECT | HALF_WAY | FAILS | REFUSE);
                spec.request = spec.request.min(9_000);
                spec.status = if spec.status >= 500 { 200 } else { spec.status };
                if rng.one_in(2) {
                    spec.flags |= REPEATABLE | if self.name == "retried" { FLAKY } else { SLOW_FIRST };
                }
            }
            "timed-request" | "timed-response" | "timed-idle" => {
                spec.flags &= !(INTERIM | CLOSE | REFUSE | EXPECT);
                if rng.one_in(2) {
                    spec.delay = TOO_LONG;
                }
                if spec.expected() == 0 || kind == Kind::Http10 {
                    spec.flags &= !HALF_WAY;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn expect(&self, spec: &Spec, kind: Kind) -> Expect {
        use FailureKind::{
            BackendFailed, Connect, ConnectTimeout, FailFast, IdleTimeout, InjectedHttp, RateLimited,
            Redirect, RequestTimeout, ResponseTimeout, RouteNotFound, Unauthorized,
        };
        let timed = |answer| match (spec.delay >= TOO_LONG, spec.has(HALF_WAY)) {
            (false, _) => Expect::Served,
            (true, true) => Expect::Broken,
            (true, false) => Expect::Answered(answer),
        };
        match self.name {
            "grpc" if spec.path != 1 => Expect::Answered(&[RouteNotFound]),
            "split" => Expect::ServedOr(&[BackendFailed]),
            // At the first request nobody is ready, and the one that never will be is waited for.
            "failover" => Expect::ServedOr(&[FailFast]),
            "injected" => Expect::ServedOr(&[InjectedHttp]),
            "redirected" => Expect::Answered(&[Redirect]),
            "timed-request" => timed(&[RequestTimeout]),
            "timed-response" => timed(&[ResponseTimeout]),
            "timed-idle" => timed(&[IdleTimeout]),
            "denied" | "direct-known" => Expect::Answered(&[Unauthorized]),
            "limited" => Expect::ServedOr(&[RateLimited]),
            "shaky" => Expect::ServedOr(&[FailFast]),
            // Between two tries to connect it waits, ever longer: in the end longer than requests do.
            "nobody" => Expect::Answered(&[Connect, FailFast]),
            "empty" => Expect::Answered(&[FailFast]),
            "impostors" => Expect::Answered(&[FailFast, Connect, ConnectTimeout]),
            "impostor" => Expect::Answered(&[Connect, ConnectTimeout, FailFast]),
            "unknown" | "raw-denied" => Expect::Refused,
            "tls" if kind == Kind::TlsUnknown => Expect::Refused,
            _ => Expect::Served,
        }
    }
}

// --- policies

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::default_named(name.to_owned()))
}

fn balance(path: &str) -> Arc<Backend> {
    Arc::new(Backend::balance(meta(path), path, Load::default()))
}

fn plain(at: &str) -> Arc<Backend> {
    Arc::new(Backend::forward(meta(at), Arc::new(Endpoint::plain(addr(at)))))
}

fn to(backend: Arc<Backend>) -> HttpRoutes {
    HttpRoutes::to_backend(meta("route"), backend)
}

fn ruled(rule: HttpRule) -> HttpRoutes {
    HttpRoutes::from_rule(meta("ruled"), rule)
}

fn rule(backend: Arc<Backend>) -> HttpRule {
    Rule::new(Distribution::only(RouteBackend::new(backend)))
}

fn filtered(filter: Filter) -> HttpRoutes {
    ruled(Rule { filters: vec![filter], ..rule(balance("web")) })
}

fn timed(timeouts: Timeouts) -> HttpRoutes {
    ruled(Rule { timeouts, ..rule(balance("web")) })
}

fn retried(timeout: Option<Duration>) -> HttpRoutes {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50), 0.5).unwrap();
    let retry = Retry {
        max_retries: 2,
        max_request_bytes: 10_000,
        conditions: RetryConditions { statuses: vec![(502, 599)], grpc: GrpcCodes::default() },
        timeout,
        backoff: Some(backoff),
    };
    ruled(Rule { retry: Some(retry), ..rule(balance("web")) })
}

fn shaky() -> HttpRoutes {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), 0.5).unwrap();
    HttpRoutes { accrual: Some(Accrual::Consecutive { max_failures: 2, backoff }), ..to(balance("web")) }
}

fn grpc() -> GrpcRoutes {
    let rpc = RpcMatch { service: Some("sim.Echo".into()), method: Some("Call".into()) };
    let found = GrpcMatch { rpc: Some(rpc), headers: Vec::new() };
    GrpcRoutes::from_rule(
        meta("grpc"),
        Rule { matches: vec![found], ..Rule::new(Distribution::only(RouteBackend::new(balance("web")))) },
    )
}

fn detect_with(routes: HttpRoutes, opaque: Arc<Backend>) -> Protocol {
    Protocol::Detect {
        timeout: Duration::from_secs(10),
        http1: routes.clone(),
        http2: routes,
        opaque: OpaqueRoutes::to_backend(meta("opaque"), opaque),
    }
}

fn detect(backend: Arc<Backend>) -> Protocol {
    detect_with(to(Arc::clone(&backend)), backend)
}

fn opaque(path: &str) -> Protocol {
    Protocol::Opaque(OpaqueRoutes::to_backend(meta("opaque"), balance(path)))
}

/// The policy of an outbound target; a later one may be another `variant`, by which everything is served too.
pub(crate) fn policy(target: SocketAddr, variant: bool) -> Option<Arc<Policy>> {
    let seconds = |n| Some(Duration::from_secs(n));
    let all = |weights: &[(Arc<Backend>, u32)]| {
        let all = weights.iter().map(|(b, weight)| (RouteBackend::new(Arc::clone(b)), *weight));
        Distribution::RandomAvailable(all.collect())
    };
    let web = || balance("web");
    let routes = match Service::at(target)?.name {
        "web" if variant => to(balance("web-b")),
        "web" => to(web()),
        "web6" => to(balance("web6")),
        "plain" if variant => to(balance("pods")),
        "plain" => to(plain("10.2.0.1:8080")),
        "pods" => to(balance("pods")),
        "http1" => return made(Protocol::Http1(to(web()))),
        "http2" => return made(Protocol::Http2(to(web()))),
        "grpc" => return made(Protocol::Grpc(grpc())),
        "retried" => retried(None),
        "attempts" => retried(seconds(2)),
        "split" => {
            let fail = Arc::new(Backend::fail(meta("fail"), "not today"));
            ruled(Rule::new(all(&[(web(), 2), (balance("pods"), 1), (fail, 1)])))
        }
        "failover" => {
            let both = [balance("none"), web()].map(RouteBackend::new);
            ruled(Rule::new(Distribution::FirstAvailable(both.into())))
        }
        "injected" => {
            let ratio = Ratio::new(1, 2);
            filtered(Filter::FailHttp(HttpFailure { status: 418, message: "tea".into(), ratio }))
        }
        "redirected" => {
            let host = "elsewhere.sim".parse().ok();
            filtered(Filter::Redirect(Redirect { host, ..Redirect::default() }))
        }
        "timed-request" => timed(Timeouts { request: seconds(20), ..Timeouts::default() }),
        "timed-response" => timed(Timeouts { response: seconds(15), ..Timeouts::default() }),
        "timed-idle" => timed(Timeouts { idle: seconds(10), ..Timeouts::default() }),
        "denied" => to(balance("denied")),
        "known" => to(balance("known")),
        "limited" => to(balance("limited")),
        "local-grpc" => to(balance("local-grpc")),
        "shaky" => shaky(),
        "nobody" => to(plain("10.2.0.9:8080")),
        "empty" => to(balance("none")),
        "impostors" => to(balance("impostors")),
        "impostor" => {
            let one = meshed("10.6.0.1", 8080, Hint::H2);
            to(Arc::new(Backend::forward(meta("impostor"), one)))
        }
        "mixed" => to(balance("mixed")),
        "raw" => return made(opaque("raw")),
        "raw-detect" => return made(detect(balance("raw"))),
        "raw-denied" => return made(opaque("raw-denied")),
        "raw-mixed" => return made(opaque("raw-mixed")),
        "banner" => return made(opaque("banner")),
        "banner-detect" => return made(detect(balance("banner"))),
        "tls" => {
            let rules = vec![TcpRule::new(Distribution::only(RouteBackend::new(plain("10.2.0.1:9003"))))];
            let route = TlsRoute { meta: meta("tls"), snis: vec![KNOWN.parse().unwrap()], rules };
            return made(Protocol::Tls(TlsRoutes { routes: vec![route] }));
        }
        "tls-meshed" => return made(detect(balance("tls"))),
        _ => return None,
    };
    made(detect_with(routes, web()))
}

fn made(protocol: Protocol) -> Option<Arc<Policy>> {
    Some(Arc::new(Policy::new(meta("service"), protocol)))
}

// --- endpoints

fn meshed(ip: &str, port: u16, hint: Hint) -> Arc<Endpoint> {
    let server: weft_names::IdentityName = crate::SERVER.parse().unwrap();
    Arc::new(Endpoint {
        tls: Some(EndpointTls { server_id: server, server_name: crate::SERVER.parse().unwrap() }),
        hint,
        opaque_transport_port: Some(4143),
        ..Endpoint::plain(SocketAddr::new(ip.parse().unwrap(), port))
    })
}

/// What is behind a path; of those that come and go, what `mask` says. Never nothing.
pub(crate) fn endpoints(path: &str, mask: u8) -> Arc<EndpointSet> {
    let some = |ips: &[&str], port: u16, hint: Hint| -> Vec<Arc<Endpoint>> {
        let mask = if mask.trailing_zeros() < ips.len() as u32 { mask } else { !0 };
        let there = ips.iter().enumerate().filter(|(i, _)| mask & 1 << i != 0);
        there.map(|(_, ip)| meshed(ip, port, hint)).collect()
    };
    let v4 = &MESHED[..3];
    let set = match path {
        "web" => some(v4, 8080, if mask & 0x80 == 0 { Hint::H2 } else { Hint::Unknown }),
        "web-b" => some(&v4[1..], 8080, Hint::H2),
        "web6" => some(&MESHED[3..], 8080, Hint::H2),
        "raw" => some(v4, 9000, Hint::Opaque),
        "banner" => some(v4, 9001, Hint::Opaque),
        "tls" => some(v4, 9003, Hint::Opaque),
        "denied" => some(v4, 8081, Hint::H2),
        "known" => some(v4, 8082, Hint::H2),
        "limited" => some(v4, 8083, Hint::H2),
        "local-grpc" => some(v4, 8084, Hint::H2),
        "raw-denied" => some(v4, 9002, Hint::Opaque),
        "pods" => {
            let pod = |ip: &&str| Arc::new(Endpoint::plain(addr(&format!("{ip}:8080"))));
            let all = UNMESHED.iter().map(pod);
            all.enumerate().filter(|(i, _)| mask & 3 != 1 || *i == 0).map(|(_, e)| e).collect()
        }
        "impostors" => (1..=IMPOSTORS).map(|n| meshed(&format!("10.6.0.{n}"), 8080, Hint::H2)).collect(),
        "mixed" => vec![
            meshed("10.6.0.1", 8080, Hint::H2),
            meshed(MESHED[0], 8080, Hint::H2),
            meshed("10.6.0.4", 8080, Hint::H2),
        ],
        "raw-mixed" => vec![meshed("10.6.0.2", 9000, Hint::Opaque), meshed(MESHED[0], 9000, Hint::Opaque)],
        _ => Vec::new(),
    };
    Arc::new(EndpointSet::new(set))
}

// --- inbound

/// The policy of an inbound port, or the one that forbids it.
pub(crate) fn port_policy(port: u16, deny: bool) -> Arc<ServerPolicy> {
    let authentication = match port {
        8082 => Authentication::TlsAuthenticated {
            identities: vec![crate::CLIENT.parse().unwrap()],
            suffixes: Vec::new(),
        },
        _ => Authentication::Unauthenticated,
    };
    let anybody = Authorization { networks: Network::anywhere(), authentication, meta: meta("allowed") };
    let denied = deny || matches!(port, 8081 | 9002);
    let authorizations = if denied { Vec::new() } else { vec![anybody] };
    let routes = inbound::Routes::anything(meta("inbound"));
    let detect = |rate_limit| inbound::Protocol::Detect {
        timeout: Duration::from_secs(10),
        routes: routes.clone(),
        rate_limit,
    };
    let protocol = match port {
        8083 => {
            let total = NonZeroU32::new(3);
            detect(Some(Arc::new(RateLimit {
                meta: meta("limit"),
                total,
                identity: None,
                overrides: vec![],
            })))
        }
        8084 => inbound::Protocol::Http2 { routes, rate_limit: None },
        9000..=9002 => inbound::Protocol::Opaque,
        9003 => inbound::Protocol::Tls,
        _ => detect(None),
    };
    Arc::new(ServerPolicy::new(meta("server"), protocol, authorizations))
}

/// Whom an application is told that its clients are.
pub(crate) fn client_of(at: IpAddr) -> Option<&'static str> {
    MESHED.iter().any(|ip| ip.parse() == Ok(at)).then_some(crate::CLIENT)
}

/// What an answer of the proxy's looks like.
pub(crate) fn is_answer(kind: FailureKind, spec: &Spec, h2: bool, status: u16, grpc: Option<u8>) -> bool {
    let answer = kind.answer();
    if h2 && spec.has(GRPC) {
        return status == 200
            && match answer.grpc {
                weft_policy::failure::GrpcStatus::Code(code) => grpc == Some(code),
                _ => grpc.is_some(),
            };
    }
    let chosen = if kind == FailureKind::Redirect { 301 } else { 418 };
    status == answer.http.unwrap_or(chosen)
}
