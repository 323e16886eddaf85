//! The projection: facts in, views out.
//!
//! ```text
//!   source ──Event──▶ Projection::apply ──▶ Facts ──(Lens)──▶ View ──▶ subscribers
//!                      one writer, gen N             │ what it read
//!                            ▲                       ▼
//!                            └── topics touched ◀── readers of a topic
//! ```
//!
//! - **One writer.** `apply` takes `&mut self`; a generation is one call that changed a fact.
//! - **A view depends on exactly what it read.** Views see facts only through a [`Lens`], which
//!   remembers the topics asked for. An event touches topics, and the views that read one of them are
//!   made again. There is no second place that has to know what depends on what.
//! - **Latest value.** A subscription holds one value, the newest. A slow subscriber misses values in
//!   between and never makes anything grow.
//! - **Equal views are not published again.** A view made again and found equal keeps its generation.
//! - **Batches are atomic.** Views are made after all events of a call are applied.
//! - Views nobody subscribes to are dropped: when they would be made again, and when there are many.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    event::Event,
    facts::{Facts, Lens, Topic},
    settings::Settings,
    view::{
        Absent, View, ViewKey,
        endpoints::{Endpoints, EndpointsKey},
        inbound::{Inbound, InboundKey},
        outbound::{Outbound, OutboundKey},
        profile::{Profile, ProfileKey},
    },
};

mod published;
#[cfg(test)]
mod tests;

pub use self::published::Published;

/// The most views that exist at once, and so the most different things subscribed to.
pub const MAX_VIEWS: usize = 50_000;

/// Views without subscribers are looked for when this many more exist than after the last search.
const SWEEP_EVERY: usize = 1_024;

/// Facts and the views made of them. See the module's text.
#[derive(Debug)]
pub struct Projection {
    facts: Facts,
    settings: Settings,
    generation: u64,
    max_views: usize,
    sweep_at: usize,
    readers: BTreeMap<Topic, BTreeSet<ViewKey>>,
    read: BTreeMap<ViewKey, BTreeSet<Topic>>,
    endpoints: Table<Endpoints>,
    profiles: Table<Profile>,
    outbound: Table<Outbound>,
    inbound: Table<Inbound>,
}

/// What one [`Projection::apply`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The generation after it.
    pub generation: u64,
    /// The views that are different now, in order.
    pub views: Vec<ViewKey>,
}

/// A subscription to one view: its newest value, and a wait for the next.
///
/// Cheap to clone; the clone sees the same values on its own.
#[derive(Debug)]
pub struct Subscription<V> {
    values: watch::Receiver<Arc<Published<V>>>,
}

/// Why there can be no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// [`MAX_VIEWS`] are subscribed to.
    #[error("{0} different views are subscribed to, which is the most there can be")]
    TooMany(usize),
}

type Table<V> = BTreeMap<<V as View>::Key, watch::Sender<Arc<Published<V>>>>;

impl Projection {
    /// An empty projection.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_max_views(settings, MAX_VIEWS)
    }

    /// An empty projection of at most `max_views` views.
    #[must_use]
    pub fn with_max_views(settings: Settings, max_views: usize) -> Self {
        Self {
            facts: Facts::default(),
            settings,
            generation: 0,
            max_views,
            sweep_at: SWEEP_EVERY.min(max_views),
            readers: BTreeMap::new(),
            read: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            profiles: BTreeMap::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
        }
    }

    /// The facts as they are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What does not change while the process runs.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many calls of [`Self::apply`] changed a fact.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many views exist.
    #[must_use]
    pub fn views(&self) -> usize {
        self.read.len()
    }

    /// Applies events as one change and publishes the views that are different after it.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Changes {
        let mut touched = BTreeSet::new();
        let mut changed = false;
        for event in events {
            changed |= self.facts.apply(event, &mut touched);
        }
        if !changed {
            return Changes { generation: self.generation, views: Vec::new() };
        }
        self.generation += 1;
        let dirty: BTreeSet<ViewKey> =
            touched.iter().filter_map(|topic| self.readers.get(topic)).flatten().cloned().collect();
        let views = dirty.into_iter().filter(|key| self.make_again(key)).collect();
        Changes { generation: self.generation, views }
    }

    /// The endpoints of a service's port.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]; the other subscriptions fail the same way.
    pub fn endpoints(&mut self, key: EndpointsKey) -> Result<Subscription<Endpoints>, SubscribeError> {
        self.subscribe(key)
    }

    /// The profile of a service or an address.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn profile(&mut self, key: ProfileKey) -> Result<Subscription<Profile>, SubscribeError> {
        self.subscribe(key)
    }

    /// The outbound policy for a target.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn outbound(&mut self, key: OutboundKey) -> Result<Subscription<Outbound>, SubscribeError> {
        self.subscribe(key)
    }

    /// The inbound policy of a workload's port.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn inbound(&mut self, key: InboundKey) -> Result<Subscription<Inbound>, SubscribeError> {
        self.subscribe(key)
    }

    fn subscribe<V: Tabled>(&mut self, key: V::Key) -> Result<Subscription<V>, SubscribeError> {
        if let Some(sender) = V::table(self).get(&key) {
            return Ok(Subscription { values: sender.subscribe() });
        }
        if self.views() >= self.sweep_at {
            self.sweep();
        }
        if self.views() >= self.max_views {
            return Err(SubscribeError::TooMany(self.max_views));
        }
        let (view, topics) = self.make::<V>(&key);
        self.remember(V::key(&key), topics);
        let (sender, values) = watch::channel(Arc::new(Published::new(self.generation, view)));
        V::table(self).insert(key, sender);
        Ok(Subscription { values })
    }

    fn make<V: View>(&self, key: &V::Key) -> (Result<V, Absent>, BTreeSet<Topic>) {
        let lens = Lens::new(&self.facts, &self.settings);
        let view = V::make(key, &lens);
        (view, lens.into_topics())
    }

    /// Makes a view again; whether it is different now. One without subscribers is dropped instead.
    fn make_again(&mut self, key: &ViewKey) -> bool {
        match key {
            ViewKey::Endpoints(key) => self.remake::<Endpoints>(key),
            ViewKey::Profile(key) => self.remake::<Profile>(key),
            ViewKey::Outbound(key) => self.remake::<Outbound>(key),
            ViewKey::Inbound(key) => self.remake::<Inbound>(key),
        }
    }

    fn remake<V: Tabled>(&mut self, key: &V::Key) -> bool {
        let Some(sender) = V::table(self).get(key) else { return false };
        if sender.receiver_count() == 0 {
            V::table(self).remove(key);
            self.forget(&V::key(key));
            return false;
        }
        let (view, topics) = self.make::<V>(key);
        self.remember(V::key(key), topics);
        let generation = self.generation;
        V::table(self).get(key).is_some_and(|sender| {
            sender.send_if_modified(|published| {
                let different = published.view != view;
                if different {
                    *published = Arc::new(Published::new(generation, view));
                }
                different
            })
        })
    }

    fn remember(&mut self, key: ViewKey, topics: BTreeSet<Topic>) {
        let before = self.read.get(&key).cloned().unwrap_or_default();
        for topic in before.difference(&topics) {
            self.unread(topic, &key);
        }
        for topic in topics.difference(&before) {
            self.readers.entry(topic.clone()).or_default().insert(key.clone());
        }
        self.read.insert(key, topics);
    }

    fn forget(&mut self, key: &ViewKey) {
        for topic in self.read.remove(key).unwrap_or_default() {
            self.unread(&topic, key);
        }
    }

    fn unread(&mut self, topic: &Topic, key: &ViewKey) {
        if let Some(readers) = self.readers.get_mut(topic) {
            readers.remove(key);
            if readers.is_empty() {
                self.readers.remove(topic);
            }
        }
    }

    /// Drops every view without subscribers.
    fn sweep(&mut self) {
        self.sweep_of::<Endpoints>();
        self.sweep_of::<Profile>();
        self.sweep_of::<Outbound>();
        self.sweep_of::<Inbound>();
        self.sweep_at = (self.views() + SWEEP_EVERY).min(self.max_views);
    }

    fn sweep_of<V: Tabled>(&mut self) {
        let unused =
            |(key, sender): (&V::Key, &watch::Sender<_>)| (sender.receiver_count() == 0).then(|| key.clone());
        let unused: Vec<V::Key> = V::table(self).iter().filter_map(unused).collect();
        for key in unused {
            V::table(self).remove(&key);
            self.forget(&V::key(&key));
        }
    }

    /// Panics when an invariant does not hold. For tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let tables = self.endpoints.len() + self.profiles.len() + self.outbound.len() + self.inbound.len();
        assert_eq!(tables, self.read.len(), "every view has its topics remembered");
        for (key, topics) in &self.read {
            for topic in topics {
                assert!(
                    self.readers.get(topic).is_some_and(|keys| keys.contains(key)),
                    "{key:?} reads {topic:?}"
                );
            }
        }
        let links: usize = self.readers.values().map(BTreeSet::len).sum();
        assert_eq!(links, self.read.values().map(BTreeSet::len).sum::<usize>());
    }
}

/// A view that has a table of its own in the projection.
trait Tabled: View {
    fn table(projection: &mut Projection) -> &mut Table<Self>;
}

impl Tabled for Endpoints {
    fn table(projection: &mut Projection) -> &mut Table<Self> {
        &mut projection.endpoints
    }
}

impl Tabled for Profile {
    fn table(projection: &mut Projection) -> &mut Table<Self> {
        &mut projection.profiles
    }
}

impl Tabled for Outbound {
    fn table(projection: &mut Projection) -> &mut Table<Self> {
        &mut projection.outbound
    }
}

impl Tabled for Inbound {
    fn table(projection: &mut Projection) -> &mut Table<Self> {
        &mut projection.inbound
    }
}

impl<V> Subscription<V> {
    /// The newest value, which counts as seen from now on.
    pub fn latest(&mut self) -> Arc<Published<V>> {
        self.values.borrow_and_update().clone()
    }

    /// Waits for a value newer than the last one seen. Never resolves once the projection is gone.
    pub async fn changed(&mut self) -> Arc<Published<V>> {
        match self.values.changed().await {
            Ok(()) => self.latest(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl<V> Clone for Subscription<V> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone() }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, {} views changed", self.generation, self.views.len())
    }
}
