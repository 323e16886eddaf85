//! Following manifests while the control plane runs.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use weft_model::{Event, Mesh, fact::Id};

use super::{Manifests, look, read};
use crate::{
    grpc::watch::{Stopping, stopped},
    metrics::Metrics,
    registry::{Moment, Registry},
};

/// How often files are looked at: 250 ms. A change is in force at the second look after it.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// Follows the manifests at these paths until the control plane stops.
pub async fn follow(
    mut manifests: Manifests,
    paths: Vec<PathBuf>,
    mesh: Mesh,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    mut stopping: Stopping,
) {
    let mut looks = interval(INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut services = written(&manifests);
    keep(&registry, services.iter()).await;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stopped(&mut stopping) => return,
        }
        let (due, mut events) = manifests.seen(&look(&paths), false);
        if !due.is_empty() {
            metrics.manifest_reloads.increment();
            // Reading a large file takes longer than streams should wait.
            let files =
                tokio::task::spawn_blocking(move || due.iter().map(|path| read(path)).collect()).await;
            match files {
                Ok(files) => events.extend(manifests.replace(files)),
                Err(error) => tracing::error!(%error, "manifests could not be read"),
            }
        }
        apply(&mesh, &registry, &manifests, events, &mut services).await;
    }
}

/// Puts events in force: addresses of new services first, so that a route never meets one without.
async fn apply(
    mesh: &Mesh,
    registry: &Registry,
    manifests: &Manifests,
    events: Vec<Event>,
    services: &mut BTreeSet<Id>,
) {
    if events.is_empty() {
        return;
    }
    log(&events);
    let now = written(manifests);
    keep(registry, now.difference(services)).await;
    mesh.apply(events);
    for id in services.difference(&now) {
        registry.release_service(id).await;
    }
    *services = now;
}

/// Says what happens: what is wrong as errors, what comes and goes as one line.
fn log(events: &[Event]) {
    let mut objects = [0u32; 2];
    for event in events {
        match event {
            Event::Written(_) => objects[0] += 1,
            Event::Erased(..) => objects[1] += 1,
            Event::Problems(_, problems) => {
                for problem in problems.iter() {
                    tracing::error!("{problem}; what was last good stays in force");
                }
            }
            _ => {}
        }
    }
    let [written, erased] = objects;
    if written + erased > 0 {
        tracing::info!(written, erased, "manifests changed");
    }
}

async fn keep(registry: &Registry, services: impl Iterator<Item = &Id>) {
    for id in services {
        if let Err(error) = registry.keep_service(id, Moment::now()).await {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(service = %id, %error, source, "a service in a manifest has no address");
        }
    }
}

fn written(manifests: &Manifests) -> BTreeSet<Id> {
    manifests.services().cloned().collect()
}
