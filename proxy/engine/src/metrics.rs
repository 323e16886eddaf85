//! Counters that one worker writes and the admin thread reads.
//!
//! A *block* is a group of counters with one set of labels: an endpoint, a route, a worker. The worker gets it from the
//! [`Registry`] when it first sees the snapshot, endpoint or client that it counts for, keeps the `Arc`, and from
//! then on counts with a relaxed load and a relaxed store: no lock, no read-modify-write, no label. The page of metrics
//! visits the registry and adds up the blocks of all workers that have the same labels.
//!
//! Labels are structures here; telemetry turns them into Linkerd's names. Where a label's value comes from the network
//! (client identities, statuses) the number of different ones is bounded: see [`Responses`] and [`Family`].
//!
//! Read first: [`Registry`], [`Counter`], [`blocks`].

pub mod blocks;
mod cells;
mod interned;
pub mod labels;
mod registry;

pub use blocks::{
    Balancer, DetectResults, Detected, Http, InboundRoute, OutboundRoute, Parent, Permit, RouteBackend,
    Server, Transport, TransportHeaders, WorkerGauges,
};
pub use cells::{Counter, DIFFERENT_RESPONSES, Gauge, Histogram, Response, Responses};
pub(crate) use interned::Blocks;
pub use labels::{
    BalancerLabels, EndpointLabels, ErrorKind, InboundRouteLabels, ParentLabels, Peer, PermitLabels,
    RouteBackendLabels, RouteLabels, ServerLabels, Tls, TransportHeaderLabels, TransportLabels, WorkerLabels,
};
pub use registry::{Family, LABEL_SETS, Registry};
