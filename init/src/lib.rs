//! The redirection of a pod's connections to its proxy: plan, render, apply, verify.
//!
//! Owns the rules ([`Plan`], pure), their texts and their nf_tables form ([`render`], [`nft`]), the ways to put them into
//! the kernel and to read them back ([`Backend`]), and what that needs: netlink ([`netlink`], which also makes links,
//! addresses and routes) and network namespaces ([`netns`]). Must not know: tokio, Kubernetes, the proxy.
//!
//! Read first: [`Redirection`], [`Plan`], [`Backend`].
//!
//! ```
//! use weft_init::{Backend, Plan, PortRange, Redirection};
//!
//! let plan = Plan::new(&Redirection {
//!     skip_inbound_ports: vec![PortRange::one(4190), PortRange::one(4191)],
//!     ..Redirection::standard()
//! });
//! assert!(Backend::Netlink.simulate(&plan).contains("redirect to :4143"));
//! // In a network namespace, as root: weft_init::apply(&plan)?;
//! ```

pub mod apply;
pub mod log;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod options;
pub mod plan;
pub mod program;
pub mod render;
pub mod validate;

pub use self::{
    apply::{ApplyError, Backend, Report, apply},
    netns::NetNs,
    plan::{Plan, PortRange, Redirection},
};
