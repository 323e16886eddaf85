//! Where workers get their blocks and the metrics page finds them. Locked at creation and at scrape only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::{
    Balancer, Http, InboundRoute, OutboundRoute, Parent, Permit, RouteBackend, Server, Transport,
    TransportHeaders, WorkerGauges,
};
use super::labels::{
    BalancerLabels, EndpointLabels, InboundRouteLabels, ParentLabels, PermitLabels, RouteBackendLabels,
    RouteLabels, ServerLabels, TransportHeaderLabels, TransportLabels, WorkerLabels,
};

/// Different label sets that one family holds, per process. A worker that asks for one more is given a block that counts
/// but is not shown, and [`Family::refused`] says so.
pub const LABEL_SETS: usize = 20_000;

/// All blocks of all workers.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the labels of each family say what it is")]
pub struct Registry {
    pub endpoints: Family<EndpointLabels, Http>,
    pub transports: Family<TransportLabels, Transport>,
    pub outbound_routes: Family<RouteLabels, OutboundRoute>,
    pub route_backends: Family<RouteBackendLabels, RouteBackend>,
    pub parents: Family<ParentLabels, Parent>,
    pub balancers: Family<BalancerLabels, Balancer>,
    pub servers: Family<ServerLabels, Server>,
    pub inbound_routes: Family<InboundRouteLabels, InboundRoute>,
    pub permits: Family<PermitLabels, Permit>,
    pub transport_headers: Family<TransportHeaderLabels, TransportHeaders>,
    pub workers: Family<WorkerLabels, WorkerGauges>,
}

/// The blocks of one kind, by labels.
#[derive(Debug)]
pub struct Family<L, B> {
    inner: Mutex<Inner<L, B>>,
}

#[derive(Debug)]
struct Inner<L, B> {
    /// One block for each worker that counts under these labels.
    blocks: HashMap<L, Vec<Arc<B>>>,
    refused: u64,
}

impl<L, B> Default for Family<L, B> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { blocks: HashMap::new(), refused: 0 }) }
    }
}

impl<L: Eq + Hash + Clone, B: Default> Family<L, B> {
    /// A block that nobody else writes to. One that its last owner has dropped is handed on with what it has counted.
    pub fn block(&self, labels: &L) -> Arc<B> {
        let mut inner = self.lock();
        if let Some(blocks) = inner.blocks.get_mut(labels) {
            if let Some(free) = blocks.iter().find(|b| Arc::strong_count(b) == 1) {
                return Arc::clone(free);
            }
            let block = Arc::new(B::default());
            blocks.push(Arc::clone(&block));
            return block;
        }
        let block = Arc::new(B::default());
        if inner.blocks.len() >= LABEL_SETS {
            inner.refused += 1;
        } else {
            inner.blocks.insert(labels.clone(), vec![Arc::clone(&block)]);
        }
        block
    }

    /// Calls `visit` with each label set and its blocks. `in_use` is false when no worker holds any of them.
    pub fn visit(&self, mut visit: impl FnMut(&L, &[Arc<B>], bool)) {
        for (labels, blocks) in &self.lock().blocks {
            visit(labels, blocks, blocks.iter().any(|b| Arc::strong_count(b) > 1));
        }
    }

    /// Forgets the label sets that no worker uses and that `expired` says to forget.
    pub fn forget_unused(&self, mut expired: impl FnMut(&L) -> bool) {
        self.lock()
            .blocks
            .retain(|labels, blocks| blocks.iter().any(|b| Arc::strong_count(b) > 1) || !expired(labels));
    }

    /// How often there was no room for another label set.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, Inner<L, B>> {
        // Nothing inside can be half done when a visitor panics: the data stays usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_a_block_and_a_dropped_one_is_handed_on() {
        let family = Family::<WorkerLabels, TransportHeaders>::default();
        let labels = WorkerLabels { worker: 0 };
        let (a, b) = (family.block(&labels), family.block(&labels));
        a.connections.count();
        b.connections.count();
        drop(a);
        let c = family.block(&labels);
        assert_eq!(c.connections.get(), 1);
        let mut total = 0;
        family.visit(|_, blocks, in_use| {
            assert!(in_use && blocks.len() == 2);
            total = blocks.iter().map(|b| b.connections.get()).sum();
        });
        assert_eq!(total, 2);
        family.forget_unused(|_| true);
        drop((b, c));
        family.forget_unused(|_| true);
        family.visit(|_, _, _| panic!("all forgotten"));
    }

    #[test]
    fn beyond_the_bound_blocks_count_but_are_not_shown() {
        let family = Family::<u32, TransportHeaders>::default();
        let mut kept: Vec<_> = (0..LABEL_SETS as u32).map(|n| family.block(&n)).collect();
        kept.push(family.block(&u32::MAX));
        let mut shown = 0;
        family.visit(|_, _, _| shown += 1);
        assert_eq!((shown, family.refused()), (LABEL_SETS, 1));
    }
}
