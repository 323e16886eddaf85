//! Decisions on a request: which route, is it allowed, where does it go. All by pure functions of the policy; here
//! is only what they are asked with, what becomes of their answers, and what is counted.

use std::sync::Arc;

use weft_http::fields::Kind;
use weft_http::head::{Extra, Head, Version};
use weft_policy::filter::{self, HeaderEdit, Verdict};
use weft_policy::matching::{HttpMatch, Matches, PathRank};
use weft_policy::outbound::{Distribution, Overrides, Protocol, Retry, Routes, Timeouts};
use weft_policy::{FailureKind, Filter, HeaderLookup, RequestView, inbound};

use crate::accept::{Client, Governed};
use crate::balancer::Balancer;
use crate::conn::Conn;
use crate::counts::Counts;
use crate::exchange::Exchange;
use crate::io::{Io, Note, Side};
use crate::metrics::{self, Tls};
use crate::plan::{Dispatch, Table};
use crate::respond::RefusedRequest;
use crate::retry::Replay;
use crate::slab::Key;
use crate::worker::Worker;

/// What the policy says of an exchange beyond where it goes.
#[derive(Default)]
pub(crate) struct Chosen {
    pub(crate) timeouts: Timeouts,
    /// The balancer that chooses its endpoint, if one does.
    pub(crate) balancer: Option<Key<Balancer>>,
    pub(crate) balanced: bool,
    /// Whom the client wants its endpoint to be (`l5d-require-id`); rare.
    pub(crate) required: Option<Box<str>>,
    /// Changes of its fields; rare.
    edits: Option<Box<Edits>>,
    /// The counters of HTTP towards its endpoint.
    pub(crate) http: Option<Arc<metrics::Http>>,
}

struct Edits {
    request: Vec<HeaderEdit>,
    response: Vec<HeaderEdit>,
}

/// A head as decisions see its fields.
struct Fields<'a> {
    head: &'a Head,
    bytes: &'a [u8],
}

impl HeaderLookup for Fields<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.values_named(self.bytes, name.as_bytes()).any(test)
    }
}

impl Chosen {
    fn keep_edits<'a>(&mut self, filters: impl Iterator<Item = &'a [Filter]> + Clone) {
        let edited = filters
            .clone()
            .flatten()
            .any(|f| matches!(f, Filter::RequestHeaders(_) | Filter::ResponseHeaders(_)));
        if edited {
            self.edits = Some(Box::new(Edits {
                request: filters.clone().flat_map(filter::request_edits).cloned().collect(),
                response: filters.flat_map(filter::response_edits).cloned().collect(),
            }));
        }
    }

    /// Takes out of a request's head what is to be replaced or removed.
    fn edit_request(&self, head: &mut Head, bytes: &[u8]) {
        for edit in self.edits.iter().flat_map(|e| &e.request) {
            take_out(edit, head, bytes);
        }
    }

    /// The fields that are added to a request.
    pub(crate) fn extra_fields(&self, extra: &mut Extra) {
        for edit in self.edits.iter().flat_map(|e| &e.request) {
            put_in(edit, extra);
        }
    }

    /// Changes a response's head.
    pub(crate) fn edit_response(&self, head: &mut Head, bytes: &[u8], extra: &mut Extra) {
        for edit in self.edits.iter().flat_map(|e| &e.response) {
            take_out(edit, head, bytes);
            put_in(edit, extra);
        }
    }
}

fn take_out(edit: &HeaderEdit, head: &mut Head, bytes: &[u8]) {
    for name in edit.set.iter().map(|(name, _)| name).chain(&edit.remove) {
        head.remove_named(bytes, name.as_str().as_bytes());
    }
}

fn put_in(edit: &HeaderEdit, extra: &mut Extra) {
    let removed = |name: &weft_policy::HeaderName| edit.remove.contains(name);
    for (name, value) in
        edit.add.iter().filter(|(n, _)| !edit.set.iter().any(|(s, _)| s == n)).chain(&edit.set)
    {
        if !removed(name) {
            extra.add_named(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// Fields by which a client asks for other time-outs and retries, where a rule lets it.
const OVERRIDES: [Kind; 7] = [
    Kind::Timeout,
    Kind::RequestTimeout,
    Kind::ResponseTimeout,
    Kind::RetryHttp,
    Kind::RetryGrpc,
    Kind::RetryLimit,
    Kind::RetryTimeout,
];

/// What a rule of an outbound policy says, the kind of its routes left aside.
struct Rule<'a> {
    route: usize,
    rule: usize,
    filters: &'a [Filter],
    backends: &'a Distribution,
    timeouts: Timeouts,
    retry: Option<&'a Retry>,
    /// Clients may ask for other time-outs and retries.
    overridable: bool,
    path: PathRank,
}

impl Worker {
    /// Where a request goes, or why nowhere.
    pub(crate) fn route(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        head: &mut Head,
        bytes: &[u8],
    ) -> Result<Dispatch, RefusedRequest> {
        let Some(x) = self.exchanges.get(ex) else {
            return Err(RefusedRequest::new(FailureKind::Unexpected));
        };
        match x.side {
            Side::Outbound => self.route_outbound(io, ex, x.down.conn, head, bytes),
            Side::Inbound => self.authorize(io, ex, x.down.conn, head, bytes),
        }
    }

    // --- outbound: route, filters, backend

    fn route_outbound(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        client: Key<Conn>,
        head: &mut Head,
        bytes: &[u8],
    ) -> Result<Dispatch, RefusedRequest> {
        let Some(plan) = self.plan_of(client).map(Arc::clone) else {
            return Err(RefusedRequest::new(FailureKind::Unexpected));
        };
        let http2 = head.version == Version::Http2;
        let fields = Fields { head, bytes };
        let request = view(&fields);
        let (table, rule) = match &plan.policy.protocol {
            Protocol::Detect { http2: routes, .. } if http2 => (Table::Http2, find(routes, &request)),
            Protocol::Detect { http1: routes, .. } | Protocol::Http1(routes) => {
                (Table::Http1, find(routes, &request))
            }
            Protocol::Http2(routes) => (Table::Http2, find(routes, &request)),
            Protocol::Grpc(routes) => (Table::Http2, find_any_path(routes, &request)),
            // It was HTTP when the connection began, and what began as HTTP goes on as it.
            Protocol::Opaque(routes) => {
                (Table::Opaque, routes.routes.first().and_then(|r| r.rules.first()).map(opaque_rule))
            }
            Protocol::Tls(_) => (Table::Opaque, None),
        };
        let Some(rule) = rule else { return Err(RefusedRequest::new(FailureKind::RouteNotFound)) };
        refused(filter::decide(rule.filters, &request, "http", rule.path, &mut || io.random()))?;

        let Some(prepared) = plan.rule(table, rule.route, rule.rule) else {
            return Err(RefusedRequest::new(FailureKind::Unexpected));
        };
        let ready = |i: usize| match prepared.backends.get(i).map(|b| b.to) {
            Some(Dispatch::Balancer(balancer)) => self.balancer_is_ready(balancer),
            Some(Dispatch::Endpoint(_)) => true,
            Some(Dispatch::Fail) | None => false,
        };
        let random = io.random();
        // If none is ready, one that may become so; a backend that only fails is the answer only if it is drawn.
        let picked =
            rule.backends.pick(random, |i, _| ready(i)).or_else(|| rule.backends.pick(random, |_, _| true));
        let Some((backend, picked)) = picked else {
            return Err(RefusedRequest::because(FailureKind::LoadShed, "the route has no backend"));
        };
        refused(filter::decide(&picked.filters, &request, "http", rule.path, &mut || io.random()))?;
        let Some(to) = prepared.backends.get(backend).map(|b| b.to) else {
            return Err(RefusedRequest::new(FailureKind::Unexpected));
        };
        if let weft_policy::outbound::Dispatcher::Fail { message } = &picked.backend.dispatcher {
            return Err(RefusedRequest::because(FailureKind::BackendFailed, message.to_string()));
        }
        let mut chosen = Chosen { timeouts: rule.timeouts, ..Chosen::default() };
        let most = self.config.limits.replay_bytes;
        let mut replay = rule.retry.map(|retry| Box::new(Replay::new(retry, most)));
        if rule.overridable {
            let overrides = Overrides::from_headers(&fields);
            if !overrides.is_empty() {
                chosen.timeouts = overrides.timeouts(&rule.timeouts);
                let retry = overrides.retry(rule.retry);
                replay = retry.map(|retry| Box::new(Replay::new(&retry, most).under(retry.conditions)));
            }
        }
        if let Some(required) = head.value(bytes, Kind::RequireId) {
            chosen.required = Some(String::from_utf8_lossy(required).into());
        }
        if let Dispatch::Balancer(balancer) = to {
            chosen.balancer = Some(balancer);
            chosen.balanced = true;
        }
        chosen.keep_edits([rule.filters, &picked.filters].into_iter());
        chosen.edit_request(head, bytes);
        if rule.overridable {
            OVERRIDES.iter().for_each(|kind| head.remove(*kind));
        }
        let (route, rule) = (rule.route, rule.rule);
        if let Some(x) = self.exchanges.get_mut(ex) {
            x.replay = replay;
            x.chosen = chosen;
            x.counts = Counts::Outbound { plan: Arc::clone(&plan), table, route, rule, backend };
        }
        Ok(to)
    }

    // --- inbound: route, authorization, filters

    fn authorize(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        id: Key<Conn>,
        head: &mut Head,
        bytes: &[u8],
    ) -> Result<Dispatch, RefusedRequest> {
        let unexpected = || RefusedRequest::new(FailureKind::Unexpected);
        let Some(Governed::Inbound(port_key)) = self.client(id).and_then(|c| c.policy) else {
            return Err(unexpected());
        };
        let Some(port) = self.discovery.port(port_key) else { return Err(unexpected()) };
        let (policy, generation, block) =
            (Arc::clone(&port.policy), port.generation, Arc::clone(&port.block));
        let Some(client) = self.client(id) else { return Err(unexpected()) };
        let target = client.target;
        let fields = Fields { head, bytes };
        let request = view(&fields);
        let permit = match policy.authorize_http(&request, &as_client(client)) {
            Ok(permit) => permit,
            Err(refusal) => {
                match &refusal.reason {
                    inbound::RefusalReason::Unauthorized { .. } => block.http_denied.count(),
                    _ => block.route_not_found.count(),
                }
                return Err(RefusedRequest::because(refusal.failure(), refusal.to_string()));
            }
        };
        if permit.audit {
            io.note(&Note::Audited {
                client: client.peer,
                client_id: client.identity.as_ref().map(weft_names::IdentityName::as_str),
                target,
                protocol: "HTTP",
            });
        }
        let (counts, route) = self.permit_counts(id, generation, &permit, head.facts.grpc);
        counts.allowed.count();
        refused(filter::decide(permit.filters, &request, "http", permit.path, &mut || io.random()))?;
        if permit.rate_limit.is_some() && !self.within_rate_limit(id) {
            block.rate_limited.count();
            return Err(RefusedRequest::new(FailureKind::RateLimited));
        }
        let mut chosen = Chosen::default();
        chosen.keep_edits([permit.filters].into_iter());
        chosen.edit_request(head, bytes);
        let endpoint = self.local_endpoint(target);
        if let Some(x) = self.exchanges.get_mut(ex) {
            x.chosen = chosen;
            x.counts = Counts::Inbound { permit: counts, route };
        }
        Ok(Dispatch::Endpoint(endpoint))
    }

    /// The identity that the application is told of its client, if it has one (`l5d-client-id`).
    pub(crate) fn client_id_for(&self, ex: Key<Exchange>) -> Option<weft_names::IdentityName> {
        let x = self.exchanges.get(ex)?;
        match x.side {
            Side::Inbound => self.client(x.down.conn)?.identity.clone(),
            Side::Outbound => None,
        }
    }
}

/// A client as authorization sees it.
pub(crate) fn as_client(client: &Client) -> inbound::Client<'_> {
    let tls = match client.tls {
        Tls::Mutual(_) | Tls::NoIdentity => {
            inbound::ClientTls::Terminated { identity: client.identity.as_ref() }
        }
        Tls::Passthrough(_) | Tls::None(_) => inbound::ClientTls::None,
    };
    inbound::Client { addr: client.peer.ip(), tls }
}

fn view<'a>(fields: &'a Fields<'a>) -> RequestView<'a> {
    let Fields { head, bytes } = fields;
    RequestView {
        method: head.method_name.of(bytes),
        authority: head.authority.of(bytes),
        target: head.path.of(bytes),
        headers: fields,
    }
}

fn find<'a>(routes: &'a Routes<HttpMatch>, request: &RequestView<'_>) -> Option<Rule<'a>> {
    let found = routes.find(request).ok()?;
    Some(Rule { path: found.path(), ..rule(&found) })
}

fn find_any_path<'a, M: Matches>(routes: &'a Routes<M>, request: &RequestView<'_>) -> Option<Rule<'a>> {
    routes.find(request).ok().map(|found| rule(&found))
}

fn rule<'a, M: Matches>(found: &weft_policy::outbound::Matched<'a, M>) -> Rule<'a> {
    Rule {
        route: found.route_index,
        rule: found.rule_index,
        filters: &found.rule.filters,
        backends: &found.rule.backends,
        timeouts: found.rule.timeouts,
        retry: found.rule.retry.as_ref(),
        overridable: found.rule.allow_l5d_request_headers,
        path: HttpMatch::ANYTHING.path,
    }
}

fn opaque_rule(rule: &weft_policy::outbound::TcpRule) -> Rule<'_> {
    Rule {
        route: 0,
        rule: 0,
        filters: &rule.filters,
        backends: &rule.backends,
        timeouts: Timeouts::default(),
        retry: None,
        overridable: false,
        path: HttpMatch::ANYTHING.path,
    }
}

/// What filters answer instead of sending the request on.
fn refused(verdict: Verdict<'_>) -> Result<(), RefusedRequest> {
    let Some(kind) = verdict.failure() else { return Ok(()) };
    let refused = RefusedRequest::new(kind);
    Err(match verdict {
        Verdict::Forward => return Ok(()),
        Verdict::Redirect { status, location } => {
            RefusedRequest { status: Some(status), location: Some(location), ..refused }
        }
        Verdict::FailHttp(failure) => RefusedRequest {
            status: Some(failure.status),
            message: Some(failure.message.to_string().into()),
            ..refused
        },
        Verdict::FailGrpc(failure) => RefusedRequest {
            grpc_status: Some(failure.code),
            message: Some(failure.message.to_string().into()),
            ..refused
        },
        Verdict::InvalidRedirect(error) => {
            RefusedRequest { message: Some(error.to_string().into()), ..refused }
        }
        Verdict::Invalid { message } => {
            RefusedRequest { message: Some(message.to_owned().into()), ..refused }
        }
        Verdict::Forbidden => refused,
    })
}
