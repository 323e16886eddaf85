//! What a service's or a route's annotations say of its traffic: time-outs, retries, circuit breaking
//! and load.

use std::time::Duration;

use weft_policy::outbound::{Accrual, GrpcCodes, Load, Timeouts};

/// Annotations of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTraffic {
    /// What routes have that say nothing themselves.
    pub route: RouteTraffic,
    /// When an endpoint is left alone for a while. `None`: never.
    pub accrual: Option<Accrual>,
    /// How endpoints are compared.
    pub load: Load,
}

/// Annotations of a Service or a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTraffic {
    /// `timeout.linkerd.io/…`. `None`: not one of them is there.
    pub timeouts: Option<Timeouts>,
    /// `retry.linkerd.io/…`. `None`: not one of them is there.
    pub retries: Option<Retries>,
}

/// Which requests are sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `retry.linkerd.io/http`: these statuses, from first to last. None: HTTP requests are not.
    pub statuses: Vec<(u16, u16)>,
    /// `retry.linkerd.io/grpc`: these statuses. `None`: gRPC calls are not.
    pub codes: Option<GrpcCodes>,
    /// `retry.linkerd.io/limit`: how often at most. Default 1.
    pub limit: u16,
    /// `retry.linkerd.io/timeout`: how long an attempt may wait for response headers.
    pub timeout: Option<Duration>,
}
