//! Endpoints and changes of their sets.

use super::{At, Invalid, Problem, required, shared};
use crate::{
    limits::MAX_ENDPOINTS,
    outbound::{
        Change, Endpoint, EndpointTls, Hint, Http2FlowControl, Http2Internals, Http2KeepAlive, Http2Params,
        Labels,
    },
};
use linkerd2_proxy_api::destination as pb;
use std::{collections::HashMap, sync::Arc};
use weft_names::{Authority, IdentityName};

/// The change a message makes, and what is wrong with the endpoints that are left out. An endpoint whose identity cannot
/// be understood is left out too: it would be connected to without TLS. `None` if the message is of a kind that is not known.
pub fn update(message: &pb::Update) -> (Option<Change>, Vec<Problem>) {
    use pb::update::Update;
    let mut problems = Vec::new();
    let change = match &message.update {
        None => return (None, vec![Problem::new("update", Invalid::UnknownKind)]),
        Some(Update::Add(set)) => {
            if set.addrs.len() > MAX_ENDPOINTS {
                problems.push(Problem::new("add.addrs", Invalid::TooMany(MAX_ENDPOINTS)));
            }
            let mut added = Vec::with_capacity(set.addrs.len().min(MAX_ENDPOINTS));
            for (i, addr) in set.addrs.iter().take(MAX_ENDPOINTS).enumerate() {
                match endpoint(addr, &set.metric_labels).at_item("add.addrs", i) {
                    Ok(endpoint) => added.push(Arc::new(endpoint)),
                    Err(problem) => problems.push(problem),
                }
            }
            Change::Add(added)
        }
        Some(Update::Remove(set)) => {
            let mut removed = Vec::with_capacity(set.addrs.len());
            for (i, addr) in set.addrs.iter().enumerate() {
                match shared::socket_addr(addr).at_item("remove.addrs", i) {
                    Ok(addr) => removed.push(addr),
                    Err(problem) => problems.push(problem),
                }
            }
            Change::Remove(removed)
        }
        Some(Update::NoEndpoints(none)) => Change::NoEndpoints { exists: none.exists },
    };
    (Some(change), problems)
}

/// One endpoint; the labels of its set are overridden by its own.
pub(super) fn endpoint(
    addr: &pb::WeightedAddr,
    set_labels: &HashMap<String, String>,
) -> Result<Endpoint, Problem> {
    use pb::protocol_hint::Protocol;
    let hint = addr.protocol_hint.as_ref();
    let all_labels = set_labels.iter().chain(&addr.metric_labels);
    let authority =
        addr.authority_override.as_ref().and_then(|o| o.authority_override.parse::<Authority>().ok());
    Ok(Endpoint {
        addr: shared::socket_addr(required(&addr.addr, "addr")?).at("addr")?,
        labels: all_labels.map(|(name, value)| (name.as_str(), value.as_str())).collect::<Labels>(),
        tls: addr.tls_identity.as_ref().map(tls).transpose().at("tls_identity")?,
        hint: match hint.and_then(|h| h.protocol) {
            None => Hint::Unknown,
            Some(Protocol::H2(_)) => Hint::H2,
            Some(Protocol::Opaque(_)) => Hint::Opaque,
        },
        opaque_transport_port: hint
            .and_then(|h| u16::try_from(h.opaque_transport?.inbound_port).ok())
            .filter(|port| (1..u16::MAX).contains(port)),
        authority_override: authority.map(|a| Arc::from(a.to_string())),
        http2: addr.http2.as_ref().map(http2).transpose().at("http2")?.unwrap_or_default(),
        weight: addr.weight,
        resource: addr.resource_ref.as_ref().and_then(|meta| shared::meta(meta).ok()),
        local: false,
    })
}

fn tls(identity: &pb::TlsIdentity) -> Result<EndpointTls, Problem> {
    use pb::tls_identity::Strategy;
    let (server_id, named) = match identity.strategy.as_ref().ok_or(Invalid::UnknownKind)? {
        Strategy::DnsLikeIdentity(id) => (id.name.as_str(), Some(id.name.as_str())),
        Strategy::UriLikeIdentity(id) => (id.uri.as_str(), None),
    };
    let server_id: IdentityName = server_id.parse().map_err(Invalid::Identity).at("strategy")?;
    let name = identity.server_name.as_ref().map(|n| n.name.as_str()).or(named);
    let name = name.ok_or_else(|| Problem::new("server_name", Invalid::Missing))?;
    let server_name = name.parse().map_err(Invalid::Name).at("server_name")?;
    Ok(EndpointTls { server_id, server_name })
}

fn http2(params: &pb::Http2ClientParams) -> Result<Http2Params, Problem> {
    let set = |n: u32| (n > 0).then_some(n);
    let keep_alive = match &params.keep_alive {
        None => None,
        Some(k) => Some(Http2KeepAlive {
            interval: shared::maybe(&k.interval, "keep_alive.interval")?,
            timeout: shared::maybe(&k.timeout, "keep_alive.timeout")?,
            while_idle: k.while_idle,
        }),
    };
    Ok(Http2Params {
        flow_control: params.flow_control.as_ref().map(|f| Http2FlowControl {
            initial_connection_window_size: set(f.initial_connection_window_size),
            initial_stream_window_size: set(f.initial_stream_window_size),
            adaptive: f.adaptive_flow_control,
        }),
        keep_alive,
        internals: params.internals.as_ref().map(|i| Http2Internals {
            max_concurrent_reset_streams: set(i.max_concurrent_reset_streams),
            max_frame_size: set(i.max_frame_size),
            max_send_buf_size: set(i.max_send_buf_size),
        }),
    })
}
