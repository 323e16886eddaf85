//! Parsed names: what a proxy and its control plane call things.
//!
//! Owns the types every other crate compares, keys maps with and prints: identities ([`IdentityName`]), DNS
//! names ([`DnsName`]), authorities ([`Authority`]), ports ([`Port`], [`PortSet`]), networks ([`Cidr`]) and the
//! resources policy speaks of ([`Meta`], [`ResourceRef`]). A value that exists is valid: parsing happens once, at
//! the edge, and `Display` prints what parsing accepts again.
//!
//! Must not know: runtimes, protobufs, Kubernetes, serialisation formats.
//!
//! Read first: [`IdentityName`], [`Authority`], [`Meta`].
//!
//! Names are cheap to clone (shared text) and compare with bytes from the wire without allocating:
//!
//! ```
//! use weft_names::{Authority, DnsName, IdentityName, authority};
//!
//! let id: IdentityName = "Web.default.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
//! assert_eq!(id.as_str(), "web.default.serviceaccount.identity.linkerd.cluster.local");
//!
//! let (host, port) = authority::split(b"WEB.example.:8080").unwrap();
//! assert!("web.example".parse::<DnsName>().unwrap().matches(host));
//! assert_eq!(port.map(|p| p.get()), Some(8080));
//!
//! assert_eq!("[::1]:80".parse::<Authority>().unwrap().to_string(), "[::1]:80");
//! ```

pub mod authority;
pub mod cidr;
pub mod dns;
pub mod identity;
pub mod port;
pub mod resource;

pub use self::{
    authority::{Authority, Host},
    cidr::Cidr,
    dns::DnsName,
    identity::{IdentityName, IdentityPattern, IdentitySuffix, SpiffeId, TrustDomain},
    port::{Port, PortSet},
    resource::{Meta, ResourceRef},
};
