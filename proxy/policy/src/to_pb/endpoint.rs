//! Endpoints and changes of their sets.

use super::shared;
use crate::outbound::{Change, Endpoint, EndpointTls, Hint, Http2Params};
use linkerd2_proxy_api::destination as pb;
use std::collections::HashMap;
use weft_names::IdentityName;

/// The message of a change. Labels are told with each endpoint, none with the set.
pub fn update(change: &Change) -> pb::Update {
    use pb::update::Update;
    let update = match change {
        Change::Add(endpoints) => Update::Add(pb::WeightedAddrSet {
            addrs: endpoints.iter().map(|e| endpoint(e)).collect(),
            metric_labels: HashMap::new(),
        }),
        Change::Remove(addrs) => {
            Update::Remove(pb::AddrSet { addrs: addrs.iter().copied().map(shared::socket_addr).collect() })
        }
        Change::NoEndpoints { exists } => Update::NoEndpoints(pb::NoEndpoints { exists: *exists }),
    };
    pb::Update { update: Some(update) }
}

/// The message of an endpoint.
pub fn endpoint(endpoint: &Endpoint) -> pb::WeightedAddr {
    use pb::protocol_hint::{H2, Opaque, OpaqueTransport, Protocol};
    let protocol = match endpoint.hint {
        Hint::Unknown => None,
        Hint::H2 => Some(Protocol::H2(H2 {})),
        Hint::Opaque => Some(Protocol::Opaque(Opaque {})),
    };
    let opaque_transport =
        endpoint.opaque_transport_port.map(|port| OpaqueTransport { inbound_port: port.into() });
    let hinted = protocol.is_some() || opaque_transport.is_some();
    pb::WeightedAddr {
        addr: Some(shared::socket_addr(endpoint.addr)),
        weight: endpoint.weight,
        metric_labels: endpoint.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        tls_identity: endpoint.tls.as_ref().map(tls),
        protocol_hint: hinted.then_some(pb::ProtocolHint { opaque_transport, protocol }),
        authority_override: endpoint
            .authority_override
            .as_ref()
            .map(|authority| pb::AuthorityOverride { authority_override: authority.to_string() }),
        http2: (endpoint.http2 != Http2Params::default()).then(|| http2(&endpoint.http2)),
        resource_ref: endpoint.resource.as_deref().map(shared::meta),
    }
}

fn tls(tls: &EndpointTls) -> pb::TlsIdentity {
    use pb::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
    let strategy = match &tls.server_id {
        IdentityName::Dns(name) => Strategy::DnsLikeIdentity(DnsLikeIdentity { name: name.to_string() }),
        IdentityName::Spiffe(id) => Strategy::UriLikeIdentity(UriLikeIdentity { uri: id.to_string() }),
    };
    let server_name = DnsLikeIdentity { name: tls.server_name.to_string() };
    pb::TlsIdentity { server_name: Some(server_name), strategy: Some(strategy) }
}

fn http2(params: &Http2Params) -> pb::Http2ClientParams {
    use pb::http2_client_params::{FlowControl, Internals, KeepAlive};
    pb::Http2ClientParams {
        flow_control: params.flow_control.map(|f| FlowControl {
            initial_connection_window_size: f.initial_connection_window_size.unwrap_or(0),
            initial_stream_window_size: f.initial_stream_window_size.unwrap_or(0),
            adaptive_flow_control: f.adaptive,
        }),
        keep_alive: params.keep_alive.map(|k| KeepAlive {
            interval: k.interval.map(shared::duration),
            timeout: k.timeout.map(shared::duration),
            while_idle: k.while_idle,
        }),
        internals: params.internals.map(|i| Internals {
            max_concurrent_reset_streams: i.max_concurrent_reset_streams.unwrap_or(0),
            max_frame_size: i.max_frame_size.unwrap_or(0),
            max_send_buf_size: i.max_send_buf_size.unwrap_or(0),
        }),
    }
}
