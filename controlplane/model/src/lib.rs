//! Facts about a mesh, and the projection that turns them into what proxies are told.
//!
//! Owns: the normalised facts ([`fact`]), how people write them ([`manifest`]), the views made of them
//! ([`view`]), and the one place where facts change and views are published ([`Projection`]). All of it is
//! pure: events in, values out.
//!
//! Must not know: Kubernetes clients, gRPC, databases, clocks, files. It reads text it is given and has
//! views in the policy model's types; who watches, listens and stores is `weft-controlplane`.
//!
//! Read first: [`Event`] (what can happen), [`Projection`] (what follows from it), [`view::View`] (what
//! proxies see of it).
//!
//! ```
//! use weft_model::{Event, Projection, Settings, fact::{Id, Service}, view::endpoints::EndpointsKey};
//!
//! let settings = Settings::new("cluster.local".parse()?, "cluster.local".parse()?, "linkerd");
//! let mut projection = Projection::new(settings);
//! let web = Id::new("default", "web");
//! let mut endpoints =
//!     projection.endpoints(EndpointsKey { service: web.clone(), port: 80, instance: None })?;
//! assert!(endpoints.latest().view.is_err(), "there is no such service yet");
//!
//! let changes = projection.apply([Event::Service(Service::new(web).into())]);
//! assert_eq!((changes.generation, changes.views.len()), (1, 1));
//! assert_eq!(endpoints.latest().view.as_ref().map(|set| set.endpoints().len()), Ok(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod duration;
pub mod event;
pub mod fact;
pub mod facts;
pub mod manifest;
pub mod mesh;
pub mod problem;
pub mod projection;
pub mod settings;
pub mod view;

pub use self::{
    event::{Event, Kind, Object},
    mesh::Mesh,
    problem::{Position, Problem, Source},
    projection::{Changes, Projection, Published, SubscribeError, Subscription},
    settings::Settings,
};
