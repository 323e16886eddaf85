//! Endpoints and sets of them.

use crate::{Meta, limits::MAX_ENDPOINTS};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use weft_names::{DnsName, IdentityName};

/// One address a request can be sent to, and what is known about it. Source: `destination.WeightedAddr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is.
    pub addr: SocketAddr,
    /// Labels for metrics, those of the set merged in.
    pub labels: Labels,
    /// How to secure connections; none is plaintext.
    pub tls: Option<EndpointTls>,
    /// What its proxy is known to speak.
    pub hint: Hint,
    /// The port of its proxy that takes connections with a transport header, 1 to 65534.
    pub opaque_transport_port: Option<u16>,
    /// The authority requests are given instead of their own. Checked to be one.
    pub authority_override: Option<Arc<str>>,
    /// HTTP/2 settings of connections to it.
    pub http2: Http2Params,
    /// Relative weight, which proxies ignore.
    pub weight: u32,
    /// The object it is, which proxies ignore.
    pub resource: Option<Arc<Meta>>,
    /// Whether it is this very workload: never TLS, never upgraded. Set by the proxy, not part of messages.
    pub local: bool,
}

/// How to secure connections to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointTls {
    /// Who it has to prove to be.
    pub server_id: IdentityName,
    /// The name to ask for (SNI).
    pub server_name: DnsName,
}

/// What an endpoint's proxy is known to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Nothing is known: the request's own protocol.
    #[default]
    Unknown,
    /// HTTP/2, also for HTTP/1 requests.
    H2,
    /// Bytes: protocol detection is off there.
    Opaque,
}

/// HTTP/2 settings of connections to an endpoint; what is absent keeps the proxy's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2Params {
    /// Windows.
    pub flow_control: Option<Http2FlowControl>,
    /// Pings.
    pub keep_alive: Option<Http2KeepAlive>,
    /// Limits.
    pub internals: Option<Http2Internals>,
}

/// Windows of a connection. Source: `Http2ClientParams.FlowControl`, where 0 is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2FlowControl {
    /// Bytes.
    pub initial_connection_window_size: Option<u32>,
    /// Bytes.
    pub initial_stream_window_size: Option<u32>,
    /// Whether windows follow the bandwidth-delay product.
    pub adaptive: bool,
}

/// Pings of a connection. Source: `Http2ClientParams.KeepAlive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2KeepAlive {
    /// How often.
    pub interval: Option<Duration>,
    /// How long to wait for the answer.
    pub timeout: Option<Duration>,
    /// Whether also while there are no streams.
    pub while_idle: bool,
}

/// Limits of a connection. Source: `Http2ClientParams.Internals`, where 0 is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2Internals {
    /// Streams that were reset and are still remembered.
    pub max_concurrent_reset_streams: Option<u32>,
    /// Bytes.
    pub max_frame_size: Option<u32>,
    /// Bytes.
    pub max_send_buf_size: Option<u32>,
}

/// Names and values, sorted by name, each name once.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

/// All endpoints of a destination, sorted by address: an immutable snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    exists: bool,
}

/// One change of a set. Source: `destination.Update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are there, in place of those with the same addresses.
    Add(Vec<Arc<Endpoint>>),
    /// These are gone.
    Remove(Vec<SocketAddr>),
    /// All are gone.
    NoEndpoints {
        /// Whether the destination itself exists.
        exists: bool,
    },
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint of which only the address is known.
    pub fn plain(addr: SocketAddr) -> Self {
        Self {
            addr,
            labels: Labels::default(),
            tls: None,
            hint: Hint::Unknown,
            opaque_transport_port: None,
            authority_override: None,
            http2: Http2Params::default(),
            weight: 1,
            resource: None,
            local: false,
        }
    }

    /// The endpoint as this very workload sees itself: without TLS, and without an upgrade to HTTP/2.
    #[must_use]
    pub fn into_local(self) -> Self {
        Self { tls: None, hint: Hint::Unknown, opaque_transport_port: None, local: true, ..self }
    }

    /// Why connections to it are not secured, in Linkerd's words (`no_tls_reason`).
    pub fn no_tls_reason(&self) -> Option<&'static str> {
        match &self.tls {
            Some(_) => None,
            None if self.local => Some("loopback"),
            None => Some("not_provided_by_service_discovery"),
        }
    }
}

// === impl Labels ===

impl Labels {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let i = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.0.get(i).map(|(_, value)| &**value)
    }

    /// All, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

/// Of several values of one name the last one stays.
impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut all: Vec<(Arc<str>, Arc<str>)> =
            labels.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        Self(all.into())
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

// === impl EndpointSet ===

impl EndpointSet {
    /// A set of these; of several with one address the last one stays. Those over [`MAX_ENDPOINTS`] are left out.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Self {
        Self { endpoints: sorted(endpoints.into_iter().collect()), exists: true }
    }

    /// An empty set: of a destination without endpoints, or of one that does not exist.
    pub fn empty(exists: bool) -> Self {
        Self { endpoints: Vec::new(), exists }
    }

    /// The endpoints, by address.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Whether the destination is known to exist.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// The endpoint at `addr`.
    pub fn get(&self, addr: SocketAddr) -> Option<&Arc<Endpoint>> {
        let i = self.endpoints.binary_search_by(|e| e.addr.cmp(&addr)).ok()?;
        self.endpoints.get(i)
    }

    /// The set after `change`.
    #[must_use]
    pub fn changed(&self, change: Change) -> Self {
        match change {
            Change::Add(added) => Self::new(self.endpoints.iter().cloned().chain(added)),
            Change::Remove(mut removed) => {
                removed.sort_unstable();
                let stays = |e: &&Arc<Endpoint>| removed.binary_search(&e.addr).is_err();
                Self {
                    endpoints: self.endpoints.iter().filter(stays).cloned().collect(),
                    exists: self.exists,
                }
            }
            Change::NoEndpoints { exists } => Self::empty(exists),
        }
    }

    /// The changes that make `newer` of this set; none if they are equal.
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        if newer.endpoints.is_empty() {
            let same = self.endpoints.is_empty() && self.exists == newer.exists;
            return if same { Vec::new() } else { vec![Change::NoEndpoints { exists: newer.exists }] };
        }
        let added: Vec<_> =
            newer.endpoints.iter().filter(|e| self.get(e.addr) != Some(*e)).cloned().collect();
        let removed: Vec<_> =
            self.endpoints.iter().map(|e| e.addr).filter(|addr| newer.get(*addr).is_none()).collect();
        let mut changes = Vec::new();
        if !removed.is_empty() {
            changes.push(Change::Remove(removed));
        }
        if !added.is_empty() {
            changes.push(Change::Add(added));
        }
        changes
    }
}

fn sorted(mut endpoints: Vec<Arc<Endpoint>>) -> Vec<Arc<Endpoint>> {
    endpoints.reverse();
    endpoints.sort_by_key(|e| e.addr);
    endpoints.dedup_by_key(|e| e.addr);
    endpoints.truncate(MAX_ENDPOINTS);
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80))
    }

    fn endpoint(n: u16, weight: u32) -> Arc<Endpoint> {
        Arc::new(Endpoint { weight, ..Endpoint::plain(addr(n)) })
    }

    #[test]
    fn labels() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((labels.get("b"), labels.get("c")), (Some("3"), None));
        assert!(Labels::default().is_empty());
    }

    #[test]
    fn changes_apply() {
        let set = EndpointSet::new([endpoint(2, 1), endpoint(1, 1), endpoint(2, 2)]);
        assert_eq!(set.endpoints(), [endpoint(1, 1), endpoint(2, 2)]);
        let set = set.changed(Change::Add(vec![endpoint(1, 7), endpoint(3, 1)]));
        assert_eq!(set.endpoints(), [endpoint(1, 7), endpoint(2, 2), endpoint(3, 1)]);
        let set = set.changed(Change::Remove(vec![addr(9), addr(2), addr(1)]));
        assert_eq!(set.endpoints(), [endpoint(3, 1)]);
        assert_eq!(set.get(addr(3)), Some(&endpoint(3, 1)));
        assert_eq!(set.changed(Change::NoEndpoints { exists: false }), EndpointSet::empty(false));
    }

    #[test]
    fn a_set_is_bounded() {
        let set = EndpointSet::new((0..=u16::MAX).map(|n| endpoint(n, 1)));
        assert_eq!(set.endpoints().len(), MAX_ENDPOINTS);
        let more = Arc::new(Endpoint::plain(SocketAddr::from(([11, 0, 0, 0], 80))));
        assert_eq!(set.changed(Change::Add(vec![more])).endpoints().len(), MAX_ENDPOINTS);
    }

    #[test]
    fn local_endpoints_are_plain() {
        let local = Endpoint {
            tls: Some(EndpointTls { server_id: "a.b".parse().unwrap(), server_name: "a.b".parse().unwrap() }),
            hint: Hint::H2,
            opaque_transport_port: Some(4143),
            ..Endpoint::plain(addr(1))
        };
        assert_eq!(local.no_tls_reason(), None);
        let local = local.into_local();
        assert_eq!((local.hint, local.opaque_transport_port), (Hint::Unknown, None));
        assert_eq!(local.no_tls_reason(), Some("loopback"));
        assert_eq!(Endpoint::plain(addr(1)).no_tls_reason(), Some("not_provided_by_service_discovery"));
    }

    fn any_set() -> impl Strategy<Value = EndpointSet> {
        (prop::collection::vec((0u16..8, 0u32..3), 0..8), any::<bool>()).prop_map(|(endpoints, exists)| {
            if endpoints.is_empty() {
                EndpointSet::empty(exists)
            } else {
                EndpointSet::new(endpoints.into_iter().map(|(n, w)| endpoint(n, w)))
            }
        })
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_set_to_the_other(old in any_set(), new in any_set()) {
            let changes = old.changes_to(&new);
            prop_assert_eq!(changes.is_empty(), old == new);
            let end = changes.into_iter().fold(old, |set, change| set.changed(change));
            prop_assert_eq!(end, new);
        }
    }
}
