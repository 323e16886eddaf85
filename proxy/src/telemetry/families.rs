//! From the workers' blocks to Linkerd's families: names, labels, units.
//!
//! Blocks with the same labels belong to different workers and are added up here. Nothing is computed between scrapes.
//! A family is in the file of what it tells about; `sums` adds up and writes, `labels` names.

mod labels;
mod protocols;
mod routes;
mod sums;
mod traffic;
mod workers;

use super::text::Page;
use weft_engine::metrics::Registry;

/// Writes the families that Linkerd has had from the beginning.
pub fn legacy(registry: &Registry, page: &mut Page) {
    traffic::http(registry, page);
    traffic::tcp(registry, page);
    traffic::authorization(registry, page);
    traffic::errors(registry, page);
}

/// Writes the families of policy routes, balancers and our own workers.
pub fn open(registry: &Registry, page: &mut Page) {
    routes::outbound_routes(registry, page);
    routes::balancers(registry, page);
    protocols::protocols(registry, page);
    routes::inbound_routes(registry, page);
    protocols::transport_headers(registry, page);
    workers::workers(registry, page);
}
