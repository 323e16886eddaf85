//! `MeshTLSAuthentication` and `NetworkAuthentication`, and what `ServerAuthorization` shares with them.

use std::sync::Arc;

use weft_names::{Cidr, IdentityPattern};
use weft_policy::inbound::Network;

use super::{
    meta::Meta,
    reader::{At, Fields, Reader},
    reference,
};
use crate::fact::{Id, IdentityMatch, MeshTlsAuthentication, NetworkAuthentication};

/// The most identities, references or networks in one object.
const MAX_ITEMS: usize = 1_000;

/// Reads `spec` of a `MeshTLSAuthentication`.
pub(super) fn mesh_tls(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<MeshTlsAuthentication> {
    let named = spec.get("identities");
    let referred = spec.get("identityRefs");
    let identities = match (&named, &referred) {
        (Some(named), None) => named.items(r, MAX_ITEMS, |at, r| identity(at, r)),
        (None, Some(referred)) => {
            referred.items(r, MAX_ITEMS, |at, r| identity_ref(at, r, &meta.id.namespace))
        }
        (Some(_), Some(second)) => {
            second.reject(r, "expected either identities or identityRefs, not both");
            return None;
        }
        (None, None) => {
            spec.here().reject(r, "expected identities or identityRefs");
            return None;
        }
    };
    if let Some(list) = named.or(referred)
        && list.list(r).is_empty()
    {
        list.reject(r, "expected at least one");
    }
    Some(MeshTlsAuthentication { id: meta.id, identities, source: meta.source })
}

/// Reads `spec` of a `NetworkAuthentication`.
pub(super) fn network(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<NetworkAuthentication> {
    let list = spec.need(r, "networks", "a list of networks")?;
    let networks = networks(&list, r);
    if list.list(r).is_empty() {
        list.reject(r, "expected at least one network");
    }
    Some(NetworkAuthentication { id: meta.id, networks, source: meta.source })
}

/// An identity as users write it: `*`, `*.SUFFIX`, a DNS-like name, or `spiffe://DOMAIN/PATH`.
pub(super) fn identity(at: &At<'_>, r: &mut Reader) -> Option<IdentityMatch> {
    at.parse(r, "*, *.SUFFIX, a DNS-like identity or spiffe://DOMAIN/PATH", str::parse::<IdentityPattern>)
        .map(IdentityMatch::Pattern)
}

/// `{group, kind, name, namespace}` that stands for identities.
fn identity_ref(at: &At<'_>, r: &mut Reader, namespace: &Arc<str>) -> Option<IdentityMatch> {
    let target = reference::read(at, r, "")?;
    match (&*target.group, &*target.kind) {
        ("" | "core", "ServiceAccount") => {
            let namespace = target.namespace.unwrap_or_else(|| namespace.clone());
            Some(IdentityMatch::ServiceAccount(Id { namespace, name: target.name }))
        }
        ("" | "core", "Namespace") if target.namespace.is_none() => {
            Some(IdentityMatch::Namespace(target.name))
        }
        ("" | "core", "Namespace") => {
            at.reject(r, "a Namespace is not in a namespace; leave `namespace` out");
            None
        }
        (group, kind) => {
            at.reject(
                r,
                format!(
                    "{} is not an identity; expected ServiceAccount or Namespace",
                    reference::show(group, kind)
                ),
            );
            None
        }
    }
}

/// A list of `{cidr, except}`.
pub(super) fn networks(list: &At<'_>, r: &mut Reader) -> Vec<Network> {
    list.items(r, MAX_ITEMS, |at, r| {
        at.fields(r, |f, r| {
            let net = f.need(r, "cidr", "a network such as 10.0.0.0/8").and_then(|at| cidr(&at, r));
            let except = f.get("except").map(|at| except(&at, r, net)).unwrap_or_default();
            let net = net?;
            if except.contains(&net) {
                f.here().reject(r, format!("{net} is completely negated by its exceptions"));
                return None;
            }
            Some(Network { net, except })
        })
    })
}

fn except(list: &At<'_>, r: &mut Reader, net: Option<Cidr>) -> Vec<Cidr> {
    list.items(r, MAX_ITEMS, |at, r| {
        let except = cidr(at, r)?;
        if net.is_some_and(|net| !net.net().contains(&except.net())) {
            at.reject(r, "the network does not include this exception");
            return None;
        }
        Some(except)
    })
}

fn cidr(at: &At<'_>, r: &mut Reader) -> Option<Cidr> {
    at.parse(r, "a network such as 10.0.0.0/8, or an address", |text| text.parse::<Cidr>().map_err(|_| ""))
}
