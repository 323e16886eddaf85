//! One worker's blocks: one for each label set, however many connections count under it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::registry::{Family, Registry};
use super::{
    Balancer, BalancerLabels, EndpointLabels, Http, InboundRoute, InboundRouteLabels, OutboundRoute, Parent,
    ParentLabels, Permit, PermitLabels, RouteBackend, RouteBackendLabels, RouteLabels, Server, ServerLabels,
    Transport, TransportHeaderLabels, TransportHeaders, TransportLabels,
};
use crate::time::Instant;

/// Label sets kept before those that nobody counts under any more are given up.
const KEPT: usize = 1_024;

/// How often they are given up in any case, so that the registry sees them unused.
const SWEEP: Duration = Duration::from_secs(60);

/// The blocks of one worker, by labels. It owns them: what it gave up may be another worker's.
struct Interned<L, B> {
    blocks: HashMap<L, Arc<B>>,
    sweep_at: usize,
}

impl<L, B> Default for Interned<L, B> {
    fn default() -> Self {
        Self { blocks: HashMap::new(), sweep_at: KEPT }
    }
}

impl<L: Eq + Hash + Clone, B: Default> Interned<L, B> {
    fn block(&mut self, family: &Family<L, B>, labels: &L) -> Arc<B> {
        if let Some(block) = self.blocks.get(labels) {
            return Arc::clone(block);
        }
        if self.blocks.len() >= self.sweep_at {
            self.sweep();
        }
        let block = family.block(labels);
        self.blocks.insert(labels.clone(), Arc::clone(&block));
        block
    }

    /// Gives up what only this and the registry hold.
    fn sweep(&mut self) {
        self.blocks.retain(|_, b| Arc::strong_count(b) > 2);
        self.sweep_at = KEPT.max(self.blocks.len() * 2);
    }
}

macro_rules! families {
    ($($family:ident: $labels:ty => $block:ty;)*) => {
        /// Where one worker gets its blocks: from the registry the first time, then its own again.
        pub(crate) struct Blocks {
            registry: Arc<Registry>,
            swept: Instant,
            $($family: Interned<$labels, $block>,)*
        }

        impl Blocks {
            pub(crate) fn new(registry: Arc<Registry>) -> Self {
                Self { registry, swept: Instant::START, $($family: Interned::default(),)* }
            }

            /// Gives up, now and then, what nobody counts under any more.
            pub(crate) fn sweep(&mut self, now: Instant) {
                if now - self.swept >= SWEEP {
                    self.swept = now;
                    $(self.$family.sweep();)*
                }
            }

            $(pub(crate) fn $family(&mut self, labels: &$labels) -> Arc<$block> {
                self.$family.block(&self.registry.$family, labels)
            })*
        }
    };
}

families! {
    endpoints: EndpointLabels => Http;
    transports: TransportLabels => Transport;
    outbound_routes: RouteLabels => OutboundRoute;
    route_backends: RouteBackendLabels => RouteBackend;
    parents: ParentLabels => Parent;
    balancers: BalancerLabels => Balancer;
    servers: ServerLabels => Server;
    inbound_routes: InboundRouteLabels => InboundRoute;
    permits: PermitLabels => Permit;
    transport_headers: TransportHeaderLabels => TransportHeaders;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_has_one_block_for_one_label_set() {
        let family = Family::<u32, Http>::default();
        let mut interned = Interned::default();
        let all: Vec<_> = (0..100).map(|_| interned.block(&family, &7)).collect();
        all.iter().for_each(|b| b.requests.count());
        drop(all);
        assert_eq!(interned.block(&family, &7).requests.get(), 100);
        for labels in 0..5_000 {
            interned.block(&family, &labels);
        }
        assert!(interned.blocks.len() <= KEPT);
        let mut blocks = 0;
        family.visit(|_, of_one, _| blocks += of_one.len());
        assert_eq!(blocks, 5_000);
    }
}
