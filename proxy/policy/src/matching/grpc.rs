//! Matches of gRPC routes.

use super::{HeaderMatch, Matches};
use crate::RequestView;
use std::sync::Arc;

/// What a rule of a gRPC route asks: all of its parts have to hold. Source: `grpc_route.GrpcRouteMatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcMatch {
    /// The call; none is any.
    pub rpc: Option<RpcMatch>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
}

/// Which call. Source: `grpc_route.GrpcRpcMatch`, where empty is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcMatch {
    /// The service with its package; none is any.
    pub service: Option<Arc<str>>,
    /// The method; none is any.
    pub method: Option<Arc<str>>,
}

/// How well a [`GrpcMatch`] matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcRank {
    /// Length of the service name, if it was asked for.
    pub service: usize,
    /// Length of the method name, if it was asked for.
    pub method: usize,
    /// Header matches.
    pub headers: usize,
}

/// Service and method of a gRPC call: a `POST` to `/service/method`.
pub fn split_rpc<'a>(request: &RequestView<'a>) -> Option<(&'a [u8], &'a [u8])> {
    if request.method != b"POST" {
        return None;
    }
    let path = request.path().strip_prefix(b"/")?;
    let slash = path.iter().position(|&b| b == b'/')?;
    let (service, method) = (path.get(..slash)?, path.get(slash + 1..)?);
    (!service.is_empty() && !method.is_empty() && !method.contains(&b'/')).then_some((service, method))
}

impl Matches for GrpcMatch {
    type Rank = GrpcRank;

    const ANYTHING: GrpcRank = GrpcRank { service: 0, method: 0, headers: 0 };

    fn rank(&self, request: &RequestView<'_>) -> Option<GrpcRank> {
        let (service, method) = split_rpc(request)?;
        let rpc = self.rpc.as_ref();
        let part = |asked: Option<&Arc<str>>, is: &[u8]| match asked {
            Some(asked) => (asked.as_bytes() == is).then_some(is.len()),
            None => Some(0),
        };
        let service = part(rpc.and_then(|r| r.service.as_ref()), service)?;
        let method = part(rpc.and_then(|r| r.method.as_ref()), method)?;
        self.headers.iter().all(|h| h.matches(request.headers)).then_some(GrpcRank {
            service,
            method,
            headers: self.headers.len(),
        })
    }

    fn anything(request: &RequestView<'_>) -> Option<GrpcRank> {
        split_rpc(request).map(|_| Self::ANYTHING)
    }
}
