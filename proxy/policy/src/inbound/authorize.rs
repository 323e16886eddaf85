//! Who may do what: the decision, with the rule and the layer that made it.

use super::{Authentication, Authorization, Protocol, RateLimit, Route, Routes, Rule, ServerPolicy};
use crate::{
    FailureKind, Filter, Meta, RequestView,
    matching::{self, HttpMatch, Matches, PathRank},
};
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, LazyLock},
};
use weft_names::IdentityName;

/// A client as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Where it connects from.
    pub addr: IpAddr,
    /// How the connection is secured.
    pub tls: ClientTls<'a>,
}

/// How a client's connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTls<'a> {
    /// Not, or by TLS that is not for this proxy.
    None,
    /// By TLS that this proxy terminates.
    Terminated {
        /// Whom the client proved to be, if it did.
        identity: Option<&'a IdentityName>,
    },
}

/// Leave to go on, and who gave it. Borrows from the policy.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'a> {
    /// The server (`srv_*`).
    pub server: &'a Arc<Meta>,
    /// The authorization that allows it (`authz_*`).
    pub authorization: &'a Arc<Meta>,
    /// Where that authorization is attached.
    pub layer: Layer,
    /// Whether it would be refused without `audit`, and is to be noted.
    pub audit: bool,
    /// The route (`route_*`); none for connections.
    pub route: Option<&'a Arc<Meta>>,
    /// Index of the route, and of the rule in it; zeros for connections.
    pub indices: (usize, usize),
    /// What to do with the request before it goes on.
    pub filters: &'a [Filter],
    /// What matched the path, for [`crate::filter::decide`].
    pub path: PathRank,
    /// Limits on requests, to be asked after the filters.
    pub rate_limit: Option<&'a Arc<RateLimit>>,
}

/// Where an authorization is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// To the route.
    Route,
    /// To the server.
    Server,
    /// To loopback: applications may always talk to themselves.
    Localhost,
}

/// A refusal, and everything there is to say about it. Owns what it says, so that it can be logged later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The server.
    pub server: Arc<Meta>,
    /// Where the client connects from.
    pub client: IpAddr,
    /// Whom the client proved to be.
    pub identity: Option<IdentityName>,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a client is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// No route matches the request.
    NoRoute,
    /// None of the authorizations covers the client.
    Unauthorized {
        /// The route; none for connections.
        route: Option<Arc<Meta>>,
        /// How many authorizations were considered, those for loopback left aside.
        considered: usize,
    },
    /// The server's protocol is another one.
    WrongProtocol(WrongProtocol),
}

/// How the protocol does not fit the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongProtocol {
    /// Bytes to a server of HTTP only.
    NotHttp,
    /// A request to a server that is not one of HTTP (any more).
    Http,
}

static LOCALHOST: LazyLock<Arc<Meta>> = LazyLock::new(|| Arc::new(Meta::default_named("localhost")));

impl ServerPolicy {
    /// Whether `client` may have a connection whose bytes are not looked at. To be asked again whenever the policy
    /// changes.
    ///
    /// # Errors
    /// The refusal: the connection is to be closed.
    pub fn authorize_tcp(&self, client: &Client<'_>) -> Result<Permit<'_>, Refusal> {
        match self.protocol {
            Protocol::Detect { .. } | Protocol::Opaque | Protocol::Tls => {}
            Protocol::Http1 { .. } | Protocol::Http2 { .. } | Protocol::Grpc { .. } => {
                return Err(self.refusal(client, RefusalReason::WrongProtocol(WrongProtocol::NotHttp)));
            }
        }
        let (authorization, layer) = self.authorization(&[], client).ok_or_else(|| {
            self.refusal(
                client,
                RefusalReason::Unauthorized { route: None, considered: self.authorizations.len() },
            )
        })?;
        Ok(Permit {
            server: &self.meta,
            authorization,
            layer,
            audit: is_audit(authorization),
            route: None,
            indices: (0, 0),
            filters: &[],
            path: HttpMatch::ANYTHING.path,
            rate_limit: None,
        })
    }

    /// Whether `client` may have `request` answered: the route is found, then an authorization of the route or of the
    /// server. Filters and rate limits are for the caller to apply, in this order.
    ///
    /// # Errors
    /// The refusal: [`Refusal::failure`] says how to answer.
    pub fn authorize_http(
        &self,
        request: &RequestView<'_>,
        client: &Client<'_>,
    ) -> Result<Permit<'_>, Refusal> {
        match &self.protocol {
            Protocol::Detect { routes, .. }
            | Protocol::Http1 { routes, .. }
            | Protocol::Http2 { routes, .. } => {
                self.authorize_route(routes, request, client, |rank| rank.path)
            }
            Protocol::Grpc { routes } => {
                self.authorize_route(routes, request, client, |_| PathRank::Exact(request.path().len()))
            }
            Protocol::Opaque | Protocol::Tls => {
                Err(self.refusal(client, RefusalReason::WrongProtocol(WrongProtocol::Http)))
            }
        }
    }

    fn authorize_route<'a, M: Matches>(
        &'a self,
        routes: &'a Routes<M>,
        request: &RequestView<'_>,
        client: &Client<'_>,
        path: impl Fn(M::Rank) -> PathRank,
    ) -> Result<Permit<'a>, Refusal> {
        let Some(found) = matching::find::<Route<M>>(&routes.routes, request) else {
            return Err(self.refusal(client, RefusalReason::NoRoute));
        };
        let (route, rule): (&Route<M>, &Rule<M>) = (found.route, found.rule);
        let Some((authorization, layer)) = self.authorization(&route.authorizations, client) else {
            let considered = route.authorizations.len() + self.authorizations.len();
            let route = Some(Arc::clone(&route.meta));
            return Err(self.refusal(client, RefusalReason::Unauthorized { route, considered }));
        };
        Ok(Permit {
            server: &self.meta,
            authorization,
            layer,
            audit: is_audit(authorization),
            route: Some(&route.meta),
            indices: (found.route_index, found.rule_index),
            filters: &rule.filters,
            path: path(found.rank),
            rate_limit: self.rate_limit(),
        })
    }

    /// The first authorization that covers `client`: of the route, of the server, then for loopback.
    fn authorization<'a>(
        &'a self,
        route: &'a [Authorization],
        client: &Client<'_>,
    ) -> Option<(&'a Arc<Meta>, Layer)> {
        let first = |all: &'a [Authorization]| all.iter().find(|a| a.covers(client)).map(|a| &a.meta);
        if let Some(meta) = first(route) {
            return Some((meta, Layer::Route));
        }
        if let Some(meta) = first(&self.authorizations) {
            return Some((meta, Layer::Server));
        }
        client.is_localhost().then(|| (&*LOCALHOST, Layer::Localhost))
    }

    fn refusal(&self, client: &Client<'_>, reason: RefusalReason) -> Refusal {
        Refusal {
            server: Arc::clone(&self.meta),
            client: client.addr.to_canonical(),
            identity: client.identity().cloned(),
            reason,
        }
    }
}

impl Authorization {
    /// Whether `client` comes from one of the networks and has proved enough.
    pub fn covers(&self, client: &Client<'_>) -> bool {
        self.networks.iter().any(|n| n.contains(client.addr)) && self.authentication.accepts(client.tls)
    }
}

impl Authentication {
    /// Whether this is proof enough.
    pub fn accepts(&self, tls: ClientTls<'_>) -> bool {
        match (self, tls) {
            (Self::Unauthenticated, _) | (Self::TlsUnauthenticated, ClientTls::Terminated { .. }) => true,
            (
                Self::TlsAuthenticated { identities, suffixes },
                ClientTls::Terminated { identity: Some(id) },
            ) => identities.contains(id) || suffixes.iter().any(|s| s.contains(id)),
            _ => false,
        }
    }
}

impl Client<'_> {
    /// Whom the client proved to be.
    pub fn identity(&self) -> Option<&IdentityName> {
        match self.tls {
            ClientTls::None => None,
            ClientTls::Terminated { identity } => identity,
        }
    }

    /// 127.0.0.1 or ::1.
    fn is_localhost(&self) -> bool {
        match self.addr.to_canonical() {
            IpAddr::V4(ip) => ip == std::net::Ipv4Addr::LOCALHOST,
            IpAddr::V6(ip) => ip == std::net::Ipv6Addr::LOCALHOST,
        }
    }
}

fn is_audit(meta: &Meta) -> bool {
    matches!(meta, Meta::Default { name } if &**name == "audit")
}

impl Refusal {
    /// Which answer of the table it is. A connection is closed whichever it is.
    pub fn failure(&self) -> FailureKind {
        match &self.reason {
            RefusalReason::NoRoute | RefusalReason::WrongProtocol(WrongProtocol::Http) => {
                FailureKind::RouteNotFound
            }
            RefusalReason::Unauthorized { .. } | RefusalReason::WrongProtocol(WrongProtocol::NotHttp) => {
                FailureKind::Unauthorized
            }
        }
    }

    /// The route, if one was found.
    pub fn route(&self) -> Option<&Arc<Meta>> {
        match &self.reason {
            RefusalReason::Unauthorized { route, .. } => route.as_ref(),
            _ => None,
        }
    }
}

/// One line that says who was refused, by which rule, and what would change it. Fits a header.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        match &self.reason {
            RefusalReason::NoRoute => {
                return write!(f, "no route found for request: no rule of server {server} matches it");
            }
            RefusalReason::WrongProtocol(WrongProtocol::NotHttp) => {
                return write!(f, "unauthorized connection: server {server} is for HTTP only");
            }
            RefusalReason::WrongProtocol(WrongProtocol::Http) => {
                return write!(f, "no route found for request: server {server} is not for HTTP");
            }
            RefusalReason::Unauthorized { route: Some(route), .. } => {
                write!(
                    f,
                    "unauthorized request on route {route} of server {server}: client {}",
                    self.client
                )?;
            }
            RefusalReason::Unauthorized { route: None, .. } => {
                write!(f, "unauthorized connection on server {server}: client {}", self.client)?;
            }
        }
        match &self.identity {
            Some(identity) => write!(f, " with identity {identity}")?,
            None => f.write_str(" without identity")?,
        }
        match &self.reason {
            RefusalReason::Unauthorized { considered: 0, .. } => f.write_str(", and nobody is authorized"),
            RefusalReason::Unauthorized { considered, .. } => {
                write!(f, " is covered by none of {considered} authorizations")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
