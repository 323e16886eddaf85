//! What is done with connections that arrive at a workload's port (`InboundServerPolicies`).

use std::sync::Arc;

use weft_names::{IdentityPattern, IdentitySuffix, Meta};
use weft_policy::{
    Filter,
    inbound::{
        Authentication, Authorization, DEFAULT_DETECT_TIMEOUT, GrpcRoute, GrpcRoutes, HttpRoute, HttpRoutes,
        Network, Protocol, Rule,
    },
};

use super::{Absent, View, ViewKey, endpoint, routes::route_meta};
use crate::{
    fact::{
        AuthorizationPolicy, Id, IdentityMatch, Server, ServerAuthorization, ServerProtocol, Workload,
        authz::{AuthorizationTarget, ClientAuthentication, IdentityRef, ServerSelection},
    },
    facts::Lens,
    settings::Settings,
};

/// Which policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundKey {
    /// The workload.
    pub workload: Id,
    /// Its port.
    pub port: u16,
}

/// The view is the policy model's own policy.
pub type Inbound = weft_policy::inbound::ServerPolicy;

const GROUP: &str = "policy.linkerd.io";

impl View for Inbound {
    type Key = InboundKey;

    fn key(key: &InboundKey) -> ViewKey {
        ViewKey::Inbound(key.clone())
    }

    fn make(key: &InboundKey, lens: &Lens<'_>) -> Result<Self, Absent> {
        let workload = lens.workload(&key.workload).ok_or(Absent::NotFound)?;
        let Some(proxy) = &workload.proxy else { return Err(Absent::NotFound) };
        let is_meant = |server: &&Arc<Server>| {
            server.pods.as_ref().is_some_and(|selector| selector.matches(&workload.labels))
                && endpoint::port_of(workload, &server.port) == Some(key.port)
        };
        if let Some(server) = lens.servers(&workload.id.namespace).into_iter().find(is_meant) {
            return Ok(of_server(server, lens));
        }
        let policy = default_policy(workload, lens.settings());
        let policy = if proxy.identity_ports.contains(key.port) { policy.authenticated() } else { policy };
        let networks = &lens.settings().cluster_networks;
        Ok(policy.server(networks, workload.is_opaque(key.port), DEFAULT_DETECT_TIMEOUT))
    }
}

fn default_policy(workload: &Workload, settings: &Settings) -> weft_policy::inbound::DefaultPolicy {
    workload.default_policy.unwrap_or(settings.default_policy)
}

fn of_server(server: &Server, lens: &Lens<'_>) -> Inbound {
    let authorizations = server_authorizations(server, lens);
    let timeout = DEFAULT_DETECT_TIMEOUT;
    let protocol = match server.protocol {
        ServerProtocol::Unknown => {
            Protocol::Detect { timeout, routes: http_routes(server, lens), rate_limit: None }
        }
        ServerProtocol::Http1 => Protocol::Http1 { routes: http_routes(server, lens), rate_limit: None },
        ServerProtocol::Http2 => Protocol::Http2 { routes: http_routes(server, lens), rate_limit: None },
        ServerProtocol::Grpc => Protocol::Grpc { routes: grpc_routes(server, lens) },
        ServerProtocol::Opaque => Protocol::Opaque,
        ServerProtocol::Tls => Protocol::Tls,
    };
    Inbound::new(Arc::new(route_meta(GROUP, "server", &server.id)), protocol, authorizations)
}

/// Those of ServerAuthorizations, of AuthorizationPolicies for the Server or the namespace, and of the
/// Server's own `accessPolicy`.
fn server_authorizations(server: &Server, lens: &Lens<'_>) -> Vec<Authorization> {
    let namespace = &server.id.namespace;
    let older = lens
        .server_authorizations(namespace)
        .into_iter()
        .filter(|authorization| match &authorization.servers {
            ServerSelection::Name(name) => *name == server.id.name,
            ServerSelection::Selector(selector) => selector.matches(&server.labels),
        })
        .map(|authorization| of_server_authorization(authorization, lens.settings()));
    let policies = lens
        .authorization_policies(namespace)
        .into_iter()
        .filter(|policy| match &policy.target {
            AuthorizationTarget::Server(name) => *name == server.id.name,
            AuthorizationTarget::Namespace => true,
            AuthorizationTarget::HttpRoute(..) | AuthorizationTarget::GrpcRoute(_) => false,
        })
        .filter_map(|policy| of_policy(policy, lens));
    let own = server.access.authorizations(&lens.settings().cluster_networks);
    older.chain(policies).chain(own).collect()
}

fn http_routes(server: &Server, lens: &Lens<'_>) -> HttpRoutes {
    let routes: Vec<HttpRoute> = lens
        .http_routes_on(&server.id)
        .into_iter()
        .map(|route| HttpRoute {
            meta: Arc::new(route_meta(route.group.as_str(), "HTTPRoute", &route.id)),
            hosts: route.hosts.clone(),
            authorizations: route_authorizations(
                &server.id.namespace,
                &AuthorizationTarget::HttpRoute(route.group, route.id.name.clone()),
                lens,
            ),
            rules: route
                .rules
                .iter()
                .map(|rule| Rule { matches: rule.matches.clone(), filters: inbound_filters(&rule.filters) })
                .collect(),
        })
        .collect();
    match routes.is_empty() {
        true => HttpRoutes::anything(Arc::new(Meta::default_named("default"))),
        false => HttpRoutes { routes },
    }
}

fn grpc_routes(server: &Server, lens: &Lens<'_>) -> GrpcRoutes {
    let routes: Vec<GrpcRoute> = lens
        .grpc_routes_on(&server.id)
        .into_iter()
        .map(|route| GrpcRoute {
            meta: Arc::new(route_meta("gateway.networking.k8s.io", "GRPCRoute", &route.id)),
            hosts: route.hosts.clone(),
            authorizations: route_authorizations(
                &server.id.namespace,
                &AuthorizationTarget::GrpcRoute(route.id.name.clone()),
                lens,
            ),
            rules: route
                .rules
                .iter()
                .map(|rule| Rule { matches: rule.matches.clone(), filters: inbound_filters(&rule.filters) })
                .collect(),
        })
        .collect();
    match routes.is_empty() {
        true => GrpcRoutes::anything(Arc::new(Meta::default_named("default"))),
        false => GrpcRoutes { routes },
    }
}

fn route_authorizations(
    namespace: &Arc<str>,
    target: &AuthorizationTarget,
    lens: &Lens<'_>,
) -> Vec<Authorization> {
    let policies = lens.authorization_policies(namespace);
    policies
        .into_iter()
        .filter(|policy| policy.target == *target)
        .filter_map(|policy| of_policy(policy, lens))
        .collect()
}

/// The API has no changes of response headers here.
fn inbound_filters(filters: &[Filter]) -> Vec<Filter> {
    filters.iter().filter(|filter| !matches!(filter, Filter::ResponseHeaders(_))).cloned().collect()
}

/// An AuthorizationPolicy, unless it refers to something that does not exist: then it allows nobody.
fn of_policy(policy: &AuthorizationPolicy, lens: &Lens<'_>) -> Option<Authorization> {
    let networks = match &policy.network {
        Some(id) => lens.network(id)?.networks.clone(),
        None => Network::anywhere(),
    };
    let authentication = match &policy.identity {
        Some(IdentityRef::MeshTls(id)) => identities(&lens.mesh_tls(id)?.identities, lens.settings()),
        Some(IdentityRef::ServiceAccount(id)) => {
            identities(&[IdentityMatch::ServiceAccount(id.clone())], lens.settings())
        }
        None => Authentication::Unauthenticated,
    };
    let meta = Arc::new(route_meta(GROUP, "authorizationpolicy", &policy.id));
    Some(Authorization { networks, authentication, meta })
}

fn of_server_authorization(authorization: &ServerAuthorization, settings: &Settings) -> Authorization {
    let networks = match &authorization.networks {
        Some(networks) => networks.clone(),
        None => settings.cluster_networks.iter().copied().map(Network::all_of).collect(),
    };
    let authentication = match &authorization.client {
        ClientAuthentication::Unauthenticated => Authentication::Unauthenticated,
        ClientAuthentication::TlsUnauthenticated => Authentication::TlsUnauthenticated,
        ClientAuthentication::Identities(matches) => identities(matches, settings),
    };
    let meta = Arc::new(route_meta(GROUP, "serverauthorization", &authorization.id));
    Authorization { networks, authentication, meta }
}

fn identities(matches: &[IdentityMatch], settings: &Settings) -> Authentication {
    let mut exact = Vec::new();
    let mut suffixes = Vec::new();
    for identity in matches {
        match identity {
            IdentityMatch::Pattern(IdentityPattern::Exact(name)) => exact.push(name.clone()),
            IdentityMatch::Pattern(IdentityPattern::Suffix(suffix)) => suffixes.push(suffix.clone()),
            IdentityMatch::ServiceAccount(id) => exact.extend(settings.identity(id)),
            IdentityMatch::Namespace(name) => {
                suffixes.extend(settings.identities_of(name).map(|suffix| IdentitySuffix::below(&suffix)));
            }
        }
    }
    Authentication::TlsAuthenticated { identities: exact, suffixes }
}
