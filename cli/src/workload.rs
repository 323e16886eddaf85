//! Running programs meshed: what `weft run` and `weft demo` share.
//!
//! ```text
//!   Site      this machine's part: network, control plane, files
//!    └ Pod    a namespace with addresses, redirection and a proxy; registered, its lease renewed
//!       └ Program   what runs in it; it may take traffic once its ports are open
//! ```
//!
//! A pod is made in this order: registered (which gives it an address, an identity and a token), namespace, rules,
//! proxy, ready. It ends in this order: deregistered, so that nobody is sent to it any more; program; proxy, which lets
//! what is open finish.

pub mod environment;
pub mod http;
pub mod lease;
pub mod names;
pub mod place;
pub mod pod;
pub mod proxy;
pub mod publish;
pub mod registry;
pub mod site;
pub mod supervise;

pub use self::{
    place::Place,
    pod::{Pod, Spec},
    registry::Registry,
    site::Site,
};
