//! The router: routes, errors for everything else, and the token where one is asked for.

mod accept;
mod auth;
mod document;
mod list;
mod problem;
mod routes;

#[cfg(test)]
mod tests;

pub use self::{
    auth::{ADMIN_TOKEN_FILE, require_token},
    document::document,
};
pub use axum::Router;

use crate::types::{Proxy, Readiness, Service, Workload};
use axum::middleware;
use std::sync::Arc;
use weft_store::Store;

/// What the control plane shows. Called for each request, so it reads views that are in memory; order does not matter.
pub trait Views: Send + Sync + 'static {
    /// Every service.
    fn services(&self) -> Vec<Service>;

    /// Every workload.
    fn workloads(&self) -> Vec<Workload>;

    /// Every proxy with a stream open. `certificate` is filled in from the ledger and may be left out.
    fn proxies(&self) -> Vec<Proxy>;

    /// How the parts are, and what is wrong with the manifests.
    fn readiness(&self) -> Readiness;

    /// The mesh's trust domain.
    fn trust_domain(&self) -> String;
}

/// What the routes read.
pub(crate) struct Api {
    views: Arc<dyn Views>,
    store: Store,
}

/// The whole API, read-only, for a listener whose clients are known to be local administrators (the Unix socket); for
/// others see [`require_token`].
///
/// Paths it does not know are answered here too, so further routes are merged into it, not it into others.
pub fn router(views: Arc<dyn Views>, store: Store) -> Router {
    let (routes, _) = document::routes().split_for_parts();
    routes
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(middleware::from_fn(accept::json_only))
        .with_state(Arc::new(Api { views, store }))
}
