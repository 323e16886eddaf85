//! Policies from messages: understood or refused with a reason; what was understood is told again as the same; and deciding
//! by it names a rule that is there.
//!
//! Input: a byte for the kind of message, a request (method, authority, target and a field's value, each with its length), a
//! number, then the message.

use std::{net::IpAddr, time::Duration};

use linkerd2_proxy_api::{destination, inbound as inbound_pb, outbound as outbound_pb};
use prost::Message;
use weft_names::IdentityName;
use weft_policy::{
    Filter, RequestView,
    filter::decide,
    from_pb,
    inbound::{self, Client, ClientTls, ServerPolicy},
    matching::{Matches, PathRank},
    outbound::{
        Change, Distribution, Overrides, Policy, PolicyLookup, Profile, Protocol, Routes, parse_duration,
        parse_grpc_codes, parse_statuses,
    },
    to_pb,
};

use crate::{
    input::{Input, Rng},
    mesh,
};

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(6);
    let (method, authority, target, value) = (input.short(), input.short(), input.short(), input.short());
    let headers =
        [("x-beta", value), ("l5d-timeout", value), ("l5d-retry-http", value), ("content-type", value)];
    let request = RequestView { method, authority, target, headers: &headers };
    let random = input.u32();
    let message = input.rest();
    match which {
        0 => outbound(message, &request, random),
        1 => server(message, &request, random),
        2 => profile(message, &request, random),
        3 => update(message),
        4 => both(message, &request, random),
        _ => texts(&String::from_utf8_lossy(message), &request),
    }
}

fn outbound(message: &[u8], request: &RequestView<'_>, random: u32) {
    let Ok(message) = outbound_pb::OutboundPolicy::decode(message) else { return };
    let policy = Policy::from_pb(&message);
    match &policy.problem {
        Some(problem) => {
            assert!(problem.starts_with("invalid "), "{problem}");
            let again = from_pb::outbound(&message).map_err(|p| p.text());
            assert_eq!(again.err().as_deref(), Some(&**problem));
        }
        None => {
            // Failing backends are told as a filter, which is then there; after that nothing changes.
            let once = Policy::from_pb(&to_pb::outbound(&policy));
            assert_eq!(once.problem, None);
            assert_eq!(Policy::from_pb(&to_pb::outbound(&once)), once);
        }
    }
    decided(&policy, request, random);
}

/// Every decision on a policy names something of it.
fn decided(policy: &Policy, request: &RequestView<'_>, random: u32) {
    match &policy.protocol {
        Protocol::Detect { http1, http2, opaque, .. } => {
            routed(http1, request, random);
            routed(http2, request, random);
            if let Ok(found) = opaque.find() {
                pick(&found.rule.backends, random);
            }
        }
        Protocol::Http1(routes) | Protocol::Http2(routes) => routed(routes, request, random),
        Protocol::Grpc(routes) => routed(routes, request, random),
        Protocol::Opaque(routes) => {
            if let Ok(found) = routes.find() {
                assert_eq!(&routes.routes[found.route_index].rules[0], found.rule);
                pick(&found.rule.backends, random);
            }
        }
        Protocol::Tls(routes) => {
            if let Ok(found) = routes.find(request.authority) {
                assert_eq!(&routes.routes[found.route_index].rules[0], found.rule);
                pick(&found.rule.backends, random);
            }
        }
    }
}

fn routed<M: Matches + PartialEq + std::fmt::Debug>(
    routes: &Routes<M>,
    request: &RequestView<'_>,
    random: u32,
) {
    let Ok(found) = routes.find(request) else { return };
    assert_eq!(&routes.routes[found.route_index].rules[found.rule_index], found.rule);
    filtered(&found.rule.filters, request, random);
    pick(&found.rule.backends, random);
    for backend in found.rule.backends.backends() {
        filtered(&backend.filters, request, random);
    }
    if found.rule.allow_l5d_request_headers {
        let overrides = Overrides::from_headers(request.headers);
        overrides.timeouts(&found.rule.timeouts);
        overrides.retry(found.rule.retry.as_ref());
    }
}

fn filtered(filters: &[Filter], request: &RequestView<'_>, random: u32) {
    let mut rng = Rng::new(u64::from(random));
    let ranks = [PathRank::Exact(request.path().len()), PathRank::Prefix(1)];
    for rank in ranks {
        let verdict = decide(filters, request, "http", rank, &mut || rng.number());
        assert_eq!(verdict.failure().is_none(), verdict == weft_policy::filter::Verdict::Forward);
    }
}

fn pick(backends: &Distribution, random: u32) {
    let readiness = |i: usize| random >> (i % 32) & 1 == 1;
    if let Some((index, backend)) = backends.pick(u64::from(random), |i, _| readiness(i)) {
        assert!(readiness(index), "one that is ready");
        assert!(backends.backends().nth(index) == Some(backend));
        if let Distribution::RandomAvailable(all) = backends {
            assert_ne!(all[index].1, 0, "weight 0 is never drawn");
        }
    }
}

fn server(message: &[u8], request: &RequestView<'_>, random: u32) {
    let Ok(message) = inbound_pb::Server::decode(message) else { return };
    let policy = ServerPolicy::from_pb(&message);
    if policy.problem.is_none() {
        assert_eq!(ServerPolicy::from_pb(&to_pb::server(&policy)), policy);
    } else {
        assert!(from_pb::server(&message).is_err());
    }
    let id: Option<IdentityName> = str::from_utf8(request.authority).ok().and_then(|text| text.parse().ok());
    let addr: IpAddr = match random & 3 {
        0 => [127, 0, 0, 1].into(),
        1 => [10, 0, (random >> 8) as u8, 1].into(),
        2 => [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
        _ => random.to_be_bytes().into(),
    };
    for tls in [
        ClientTls::None,
        ClientTls::Terminated { identity: None },
        ClientTls::Terminated { identity: id.as_ref() },
    ] {
        let client = Client { addr, tls };
        if let Ok(permit) = policy.authorize_tcp(&client) {
            assert_eq!(permit.server, &policy.meta);
        }
        match policy.authorize_http(request, &client) {
            Ok(permit) => {
                filtered(permit.filters, request, random);
                assert_eq!(permit.server, &policy.meta);
            }
            Err(refusal) => {
                assert_eq!((&refusal.server, refusal.client), (&policy.meta, addr.to_canonical()));
                assert!(!refusal.to_string().is_empty());
                refusal.failure();
            }
        }
    }
}

fn profile(message: &[u8], request: &RequestView<'_>, random: u32) {
    let Ok(message) = destination::DestinationProfile::decode(message) else { return };
    let (profile, problems) = from_pb::profile(&message);
    assert!(profile.routes.len() <= message.routes.len());
    assert!(problems.iter().all(|p| p.text().starts_with("invalid ")));
    assert_eq!(Profile::from_pb(&to_pb::profile(&profile)), profile);
    let policy = Policy::resolve(([10, 0, 0, 1], 80).into(), Some(&profile), PolicyLookup::Absent);
    decided(&policy, request, random);
}

fn update(message: &[u8]) {
    let Ok(message) = destination::Update::decode(message) else { return };
    let (change, _) = from_pb::update(&message);
    let Some(change) = change else { return };
    assert_eq!(Change::from_pb(&to_pb::update(&change)).as_ref(), Some(&change));
    // A change that is made twice changes nothing the second time.
    let set = weft_policy::outbound::EndpointSet::empty(true).changed(change.clone());
    let again = set.changed(change);
    assert_eq!(again, set);
    assert!(set.changes_to(&again).is_empty());
    assert!(set.endpoints().iter().is_sorted_by(|a, b| a.addr < b.addr));
}

/// A profile, its length before it, and a policy, together.
fn both(messages: &[u8], request: &RequestView<'_>, random: u32) {
    let mut input = Input::new(messages);
    let (first, second) = (input.long(), input.rest());
    let (Ok(profile), Ok(policy)) =
        (destination::DestinationProfile::decode(first), outbound_pb::OutboundPolicy::decode(second))
    else {
        return;
    };
    let (profile, policy) = (Profile::from_pb(&profile), std::sync::Arc::new(Policy::from_pb(&policy)));
    let target = ([10, 0, 0, 1], 80).into();
    let resolved = Policy::resolve(target, Some(&profile), PolicyLookup::Found(&policy));
    assert_eq!(resolved.problem, policy.problem, "a policy that is not understood stays so");
    decided(&resolved, request, random);
}

/// What headers and annotations say in words.
fn texts(text: &str, request: &RequestView<'_>) {
    if let Some(duration) = parse_duration(text) {
        assert!(duration <= Duration::from_secs(u64::MAX));
    }
    for (from, to) in parse_statuses(text).unwrap_or_default() {
        assert!(from <= to && (100..=999).contains(&from) && to <= 999, "{from}-{to}");
    }
    let _ = parse_grpc_codes(text);
    let overrides = Overrides::from_headers(request.headers);
    assert_eq!(overrides.is_empty(), overrides == Overrides::default());
    if let Ok(policy) = text.parse::<inbound::DefaultPolicy>() {
        assert_eq!(policy.to_string().parse::<inbound::DefaultPolicy>().ok(), Some(policy));
    }
}

/// What a control plane tells of a mesh.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let told = mesh::told(&mut mesh::mesh());
    let seed = |which: u8, message: &[u8]| {
        let mut seed = vec![which];
        for part in ["GET", "web.example:80", "/v1/x?q=aa", "1"] {
            seed.push(part.len() as u8);
            seed.extend_from_slice(part.as_bytes());
        }
        seed.extend_from_slice(&[7, 1, 2, 3]);
        seed.extend_from_slice(message);
        seed
    };
    let mut seeds = Vec::new();
    for policy in &told.outbound {
        seeds.push(seed(0, &to_pb::outbound(policy).encode_to_vec()));
    }
    for policy in &told.inbound {
        seeds.push(seed(1, &to_pb::server(policy).encode_to_vec()));
    }
    for profile in &told.profiles {
        seeds.push(seed(2, &to_pb::profile(profile).encode_to_vec()));
    }
    for set in &told.endpoints {
        let endpoints: Vec<_> = set.endpoints().to_vec();
        for change in [
            Change::Add(endpoints.clone()),
            Change::Remove(endpoints.iter().map(|e| e.addr).collect()),
            Change::NoEndpoints { exists: true },
        ] {
            seeds.push(seed(3, &to_pb::update(&change).encode_to_vec()));
        }
    }
    if let (Some(profile), Some(policy)) = (told.profiles.first(), told.outbound.first()) {
        let (profile, policy) =
            (to_pb::profile(profile).encode_to_vec(), to_pb::outbound(policy).encode_to_vec());
        let length = u16::try_from(profile.len()).unwrap().to_le_bytes();
        seeds.push(seed(4, &[&length[..], &profile, &policy].concat()));
    }
    for text in [
        "10s",
        "1h30m",
        "300ms",
        "5xx,429,500-502",
        "gateway-error",
        "cancelled,unavailable",
        "all-unauthenticated",
        "cluster-authenticated",
    ] {
        seeds.push(seed(5, text.as_bytes()));
    }
    seeds.sort();
    seeds.dedup();
    seeds
}
