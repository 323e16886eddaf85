//! Proxies in network namespaces, redirected to by weft-init as in a pod, IPv4 and IPv6. Needs root, and Debian's iptables and iproute2.

#![expect(clippy::unwrap_used, reason = "a test")]

mod faults;
mod protocols;
mod redirection;
mod scene;
