//! What tests of several modules start with: a state directory, an authority, a registry, a mesh.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use weft_model::{Mesh, Settings, fact::Id};
use weft_store::{Pool, Retention, Store};

use crate::{
    identity::{Authority, Config as AuthorityConfig, Lifetime},
    registry::{
        Config, Moment, Registry,
        api::{Addresses, Endpoint, Networks, Port, Registration},
    },
};

/// A control plane's parts without its listeners.
pub(crate) struct Kit {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) authority: Arc<Authority>,
    pub(crate) mesh: Mesh,
    pub(crate) registry: Arc<Registry>,
    pub(crate) start: Moment,
}

impl Kit {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self::open(dir, Moment { date: Timestamp::now(), tick: Instant::now() }).await
    }

    /// Everything is dropped and opened again, as after `kill -9`.
    pub(crate) async fn restart(self, after: Duration) -> Self {
        let Self { dir, store, authority, mesh, registry, start } = self;
        drop((mesh, registry, authority));
        store.close().await;
        let date = start.date + SignedDuration::try_from(after).unwrap();
        Self::open(dir, Moment { date, tick: start.tick + after }).await
    }

    async fn open(dir: TempDir, start: Moment) -> Self {
        let store = Store::open(dir.path(), "test", start.date).await.unwrap();
        let config = AuthorityConfig {
            namespace: "linkerd".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            lifetime: Lifetime::default(),
            token_ttl: Duration::from_secs(24 * 3600),
            retention: Retention::default(),
        };
        let authority = Arc::new(Authority::open(store.clone(), config, start.date).await.unwrap());
        let mesh = Mesh::new(settings());
        let registry =
            Registry::open(registry_config(), store.clone(), authority.clone(), mesh.clone(), start)
                .await
                .unwrap();
        Self { dir, store, authority, mesh, registry: Arc::new(registry), start }
    }

    /// So long after the start.
    pub(crate) fn after(&self, seconds: f64) -> Moment {
        let after = Duration::from_secs_f64(seconds);
        let date = self.start.date + SignedDuration::try_from(after).unwrap();
        Moment { date, tick: self.start.tick + after }
    }

    /// Registers a workload of a service at an address.
    pub(crate) async fn register(&self, pod: &str, service: &str, ip: &str) -> crate::registry::api::Answer {
        let registration = Registration { ip: Some(ip.parse().unwrap()), ..registration(service) };
        self.registry.register(&Id::new("default", pod), &registration, self.start).await.unwrap()
    }
}

pub(crate) fn settings() -> Settings {
    Settings::new("cluster.local".parse().unwrap(), "cluster.local".parse().unwrap(), "linkerd")
}

pub(crate) fn registration(service: &str) -> Registration {
    let port = Port { port: 8080, name: Some("http".into()), ..Port::default() };
    Registration { service: Some(service.into()), ports: vec![port], ready: true, ..Registration::default() }
}

pub(crate) fn registry_config() -> Config {
    let endpoint = |port: u16| Endpoint { address: ([127, 0, 0, 1], port).into(), name: "x".into() };
    Config {
        workloads: Pool { name: "workloads", range: "10.8.0.0/16".parse().unwrap(), reserved: 1 },
        services: Pool { name: "services", range: "10.9.0.0/29".parse().unwrap(), reserved: 0 },
        ttl: Duration::from_secs(15),
        linger: Duration::from_secs(600),
        addresses: Addresses {
            destination: endpoint(8086),
            policy: endpoint(8090),
            identity: endpoint(8080),
            dns: ([127, 0, 0, 1], 53).into(),
        },
        networks: Networks {
            workloads: "10.8.0.0/16".into(),
            services: "10.9.0.0/29".into(),
            cluster: vec!["10.0.0.0/8".into()],
            cluster_domain: "cluster.local".into(),
            trust_domain: "cluster.local".into(),
            control_plane_namespace: "linkerd".into(),
        },
    }
}
