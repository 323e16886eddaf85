//! `AuthorizationPolicy` and `ServerAuthorization`.

use std::sync::Arc;

use super::{
    authn,
    meta::{self, Meta},
    reader::{At, Fields, Reader},
    reference::{self, Reference},
    selector,
};
use crate::{
    fact::{
        AuthorizationPolicy, Id, IdentityMatch, ServerAuthorization,
        authz::{AuthorizationTarget, ClientAuthentication, IdentityRef, RouteGroup, ServerSelection},
    },
    problem::nearest,
};

/// The most `requiredAuthenticationRefs`, identities or service accounts.
const MAX_ITEMS: usize = 1_000;

const POLICY: &str = "policy.linkerd.io";
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Reads `spec` of an `AuthorizationPolicy`.
pub(super) fn policy(meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<AuthorizationPolicy> {
    let target = spec
        .need(r, "targetRef", "what access is allowed to")
        .and_then(|at| target(&at, r, &meta.id.namespace));
    let required = spec.need(r, "requiredAuthenticationRefs", "a list, which may be empty");
    let mut identity = None;
    let mut network = None;
    let before = r.count();
    let refs = required.as_ref().map(|at| at.list(r)).unwrap_or_default();
    for at in refs.into_iter().take(MAX_ITEMS) {
        let Some(Reference { group, kind, namespace, name }) = reference::read(&at, r, "") else { continue };
        let id = Id { namespace: namespace.unwrap_or_else(|| meta.id.namespace.clone()), name };
        match (&*group, &*kind) {
            (POLICY, "MeshTLSAuthentication") => {
                set_identity(&mut identity, IdentityRef::MeshTls(id), &at, r)
            }
            ("" | "core", "ServiceAccount") => {
                set_identity(&mut identity, IdentityRef::ServiceAccount(id), &at, r)
            }
            (POLICY, "NetworkAuthentication") => {
                if network.replace(id).is_some() {
                    at.reject(r, "only a single NetworkAuthentication may be set");
                }
            }
            (group, kind) => {
                let kinds = ["MeshTLSAuthentication", "NetworkAuthentication", "ServiceAccount"];
                let suggestion = nearest(kind, kinds).filter(|near| *near != kind).map(str::to_owned);
                at.reject_with(
                    r,
                    format!(
                        "{} is not an authentication; expected {POLICY} MeshTLSAuthentication or NetworkAuthentication, or core ServiceAccount",
                        reference::show(group, kind)
                    ),
                    suggestion,
                );
            }
        }
    }
    if required.is_none() || r.count() > before {
        return None;
    }
    Some(AuthorizationPolicy { id: meta.id, target: target?, identity, network, source: meta.source })
}

fn set_identity(identity: &mut Option<IdentityRef>, new: IdentityRef, at: &At<'_>, r: &mut Reader) {
    match (&identity, &new) {
        (None, _) => *identity = Some(new),
        (Some(IdentityRef::MeshTls(_)), IdentityRef::MeshTls(_)) => {
            at.reject(r, "only a single MeshTLSAuthentication may be set");
        }
        (Some(IdentityRef::ServiceAccount(_)), IdentityRef::ServiceAccount(_)) => {
            at.reject(r, "only a single ServiceAccount may be set");
        }
        _ => at.reject(r, "a MeshTLSAuthentication and a ServiceAccount may not be set together"),
    }
}

fn target(at: &At<'_>, r: &mut Reader, own: &Arc<str>) -> Option<AuthorizationTarget> {
    let Reference { group, kind, namespace, name } = reference::read(at, r, "")?;
    let elsewhere = namespace.is_some_and(|namespace| namespace != *own);
    match (&*group, &*kind) {
        ("" | "core", "Namespace") if name != *own => {
            at.reject(r, "cannot target another namespace");
            None
        }
        _ if elsewhere => {
            at.reject(r, "cannot target another namespace");
            None
        }
        ("" | "core", "Namespace") => Some(AuthorizationTarget::Namespace),
        (POLICY, "Server") => Some(AuthorizationTarget::Server(name)),
        (POLICY, "HTTPRoute") => Some(AuthorizationTarget::HttpRoute(RouteGroup::Linkerd, name)),
        (GATEWAY, "HTTPRoute") => Some(AuthorizationTarget::HttpRoute(RouteGroup::Gateway, name)),
        (GATEWAY, "GRPCRoute") => Some(AuthorizationTarget::GrpcRoute(name)),
        (group, kind) => {
            let suggestion = nearest(kind, ["Server", "HTTPRoute", "GRPCRoute", "Namespace"])
                .filter(|near| *near != kind)
                .map(str::to_owned);
            at.reject_with(
                r,
                format!(
                    "{} cannot be a target; expected {POLICY} Server or HTTPRoute, {GATEWAY} HTTPRoute or GRPCRoute, or core Namespace",
                    reference::show(group, kind)
                ),
                suggestion,
            );
            None
        }
    }
}

/// Reads `spec` of a `ServerAuthorization`.
pub(super) fn server_authorization(
    meta: Meta<'_>,
    spec: &Fields<'_>,
    r: &mut Reader,
) -> Option<ServerAuthorization> {
    let servers = spec.need(r, "server", "which Server is meant").and_then(|at| {
        at.fields(r, |f, r| match (f.get("name"), f.get("selector")) {
            (Some(name), None) => {
                name.parse(r, "a Server's name", meta::subdomain).map(ServerSelection::Name)
            }
            (None, Some(at)) => selector::read(&at, r).map(ServerSelection::Selector),
            _ => {
                f.here().reject(r, "expected either name or selector");
                None
            }
        })
    });
    let client = spec.need(r, "client", "who may connect")?.fields(r, |f, r| {
        let networks = f.get("networks").map(|at| authn::networks(&at, r));
        let unauthenticated = f.get("unauthenticated").and_then(|at| at.flag(r)).unwrap_or(false);
        let authentication = match (f.get("meshTLS"), unauthenticated) {
            (Some(at), true) => {
                at.reject(r, "unauthenticated and meshTLS may not be set together");
                None
            }
            (Some(at), false) => mesh_tls(&at, r, &meta.id.namespace),
            (None, true) => Some(ClientAuthentication::Unauthenticated),
            (None, false) => {
                f.here().reject(r, "expected unauthenticated: true or meshTLS");
                None
            }
        };
        Some((networks, authentication?))
    });
    let (networks, client) = client?;
    Some(ServerAuthorization { id: meta.id, servers: servers?, networks, client, source: meta.source })
}

fn mesh_tls(at: &At<'_>, r: &mut Reader, own: &Arc<str>) -> Option<ClientAuthentication> {
    at.fields(r, |f, r| {
        let anyone = f.get("unauthenticatedTLS").and_then(|at| at.flag(r)).unwrap_or(false);
        let mut identities = match f.get("identities") {
            Some(at) => at.items(r, MAX_ITEMS, authn::identity),
            None => Vec::new(),
        };
        if let Some(list) = f.get("serviceAccounts") {
            identities.extend(list.items(r, MAX_ITEMS, |at, r| {
                at.fields(r, |f, r| {
                    let name = f
                        .need(r, "name", "a service account")
                        .and_then(|at| at.parse(r, "a service account's name", meta::subdomain));
                    let namespace = match f.get("namespace") {
                        Some(at) => at.parse(r, "a namespace", meta::label),
                        None => Some(own.clone()),
                    };
                    Some(IdentityMatch::ServiceAccount(Id { namespace: namespace?, name: name? }))
                })
            }));
        }
        match (anyone, identities.is_empty()) {
            (true, true) => Some(ClientAuthentication::TlsUnauthenticated),
            (true, false) => {
                f.here().reject(r, "unauthenticatedTLS and identities may not be set together");
                None
            }
            (false, true) => {
                f.here().reject(r, "expected unauthenticatedTLS: true, identities or serviceAccounts");
                None
            }
            (false, false) => Some(ClientAuthentication::Identities(identities)),
        }
    })
}
