//! A workload's registration, kept alive.

use super::registry::{Registry, RegistryError};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};
use weft_controlplane::registry::api::Registration;

/// Between two attempts while the control plane is away.
const RETRY: Duration = Duration::from_millis(500);

/// Renews a registration until it is ended. The control plane being away is no reason to stop: it keeps what it knew.
#[derive(Debug)]
pub struct Lease {
    registry: Registry,
    namespace: String,
    pod: String,
    wanted: watch::Sender<Wish>,
    trouble: watch::Receiver<Option<String>>,
    told: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// What is to be registered, numbered.
#[derive(Clone, Debug)]
struct Wish {
    number: u64,
    registration: Registration,
}

impl Lease {
    /// Keeps a registration that was made for `ttl`.
    pub fn keep(
        registry: Registry,
        namespace: &str,
        pod: &str,
        registration: Registration,
        ttl: Duration,
    ) -> Self {
        let (wanted, wish) = watch::channel(Wish { number: 0, registration });
        let (worry, trouble) = watch::channel(None);
        let (say, told) = watch::channel(0);
        let renewal = Renewal {
            registry: registry.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            every: ttl / 3,
            wish,
            worry,
            say,
        };
        let task = tokio::spawn(renewal.run());
        Self { registry, namespace: namespace.to_owned(), pod: pod.to_owned(), wanted, trouble, told, task }
    }

    /// Changes what is registered, and waits until the control plane knows.
    pub async fn change(&self, change: impl FnOnce(&mut Registration)) {
        let mut number = 0;
        self.wanted.send_modify(|wish| {
            change(&mut wish.registration);
            wish.number += 1;
            number = wish.number;
        });
        // Ends only with the task, which outlives this borrow.
        let _ = self.told.clone().wait_for(|told| *told >= number).await;
    }

    /// Why the last renewal failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Deregisters.
    ///
    /// # Errors
    /// The control plane is away: the lease will run out.
    pub async fn end(self) -> Result<(), RegistryError> {
        self.task.abort();
        self.registry.remove(&self.namespace, &self.pod).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Renewal {
    registry: Registry,
    namespace: String,
    pod: String,
    every: Duration,
    wish: watch::Receiver<Wish>,
    worry: watch::Sender<Option<String>>,
    say: watch::Sender<u64>,
}

impl Renewal {
    async fn run(mut self) {
        // The registration that this lease keeps was made just now.
        self.wish.mark_unchanged();
        let mut wait = self.every;
        loop {
            tokio::select! {
                changed = self.wish.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            let Wish { number, registration } = self.wish.borrow_and_update().clone();
            match self.registry.register(&self.namespace, &self.pod, &registration).await {
                Ok(_) => {
                    wait = self.every;
                    self.worry.send_replace(None);
                    self.say.send_replace(number);
                }
                Err(error) => {
                    wait = RETRY.min(self.every);
                    self.worry.send_replace(Some(weft_proxy::error_chain(&error)));
                }
            }
        }
    }
}
