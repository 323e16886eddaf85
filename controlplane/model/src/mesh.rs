//! The projection shared between the tasks of one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    event::Event,
    projection::{Changes, Projection, SubscribeError, Subscription},
    settings::Settings,
    view::{
        endpoints::{Endpoints, EndpointsKey},
        inbound::{Inbound, InboundKey},
        outbound::{Outbound, OutboundKey},
        profile::{Profile, ProfileKey},
    },
};

/// A handle on the one [`Projection`] of a process. Cheap to clone.
///
/// The lock is held while an event is applied, a subscription is made or facts are read, which takes
/// microseconds; never while anything waits. Subscribers read their views without it.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Mutex<Projection>>);

impl Mesh {
    /// An empty mesh.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(Projection::new(settings))))
    }

    /// See [`Projection::apply`].
    pub fn apply(&self, events: impl IntoIterator<Item = Event>) -> Changes {
        // Whoever makes the events may read facts for them, so they are made before the lock is taken.
        let events: Vec<Event> = events.into_iter().collect();
        self.lock().apply(events)
    }

    /// Reads facts. `read` must not block.
    pub fn read<T>(&self, read: impl FnOnce(&Projection) -> T) -> T {
        read(&self.lock())
    }

    /// See [`Projection::endpoints`].
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`], as for the others.
    pub fn endpoints(&self, key: EndpointsKey) -> Result<Subscription<Endpoints>, SubscribeError> {
        self.lock().endpoints(key)
    }

    /// See [`Projection::profile`].
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn profile(&self, key: ProfileKey) -> Result<Subscription<Profile>, SubscribeError> {
        self.lock().profile(key)
    }

    /// See [`Projection::outbound`].
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn outbound(&self, key: OutboundKey) -> Result<Subscription<Outbound>, SubscribeError> {
        self.lock().outbound(key)
    }

    /// See [`Projection::inbound`].
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`]
    pub fn inbound(&self, key: InboundKey) -> Result<Subscription<Inbound>, SubscribeError> {
        self.lock().inbound(key)
    }

    fn lock(&self) -> MutexGuard<'_, Projection> {
        // A panic while applying leaves facts and views that are each whole; going on beats taking
        // discovery down with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
