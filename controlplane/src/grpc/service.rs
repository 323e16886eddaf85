//! Who answers a method.

use std::sync::Arc;

use http::{HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use linkerd2_proxy_api::{destination::GetDestination, inbound::PortSpec, outbound::TrafficSpec};
use tonic::{Status, codegen::Service as _};
use weft_model::Mesh;
use weft_names::DnsName;

use super::{
    Method,
    reply::{self, Call, Message, Messages, ReplyBody},
    request,
    watch::Stopping,
};
use crate::{
    destination,
    mesh_tls::Peer,
    metrics::Metrics,
    policy,
    proxies::{Proxies, Purpose},
    target::Context,
};

/// The gRPC services, on one listener or several.
#[derive(Clone)]
pub struct Services {
    /// Facts and views.
    pub mesh: Mesh,
    /// The domain of service names.
    pub domain: DnsName,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The proxies that have calls open.
    pub proxies: Proxies,
    /// Who answers `Certify`.
    pub identity: Option<Identity>,
    /// Becomes true when the control plane stops.
    pub stopping: Stopping,
}

/// The generated server of the identity service.
pub type Identity =
    linkerd2_proxy_api::identity::identity_server::IdentityServer<crate::identity::IdentityService>;

impl Services {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        if let Some(refused) = not_grpc(&request) {
            return refused;
        }
        let Some(method) = Method::of(request.uri().path()) else {
            let status = Status::unimplemented(format!("there is no {}", request.uri().path()));
            return reply::failed(&status, None);
        };
        let call = Call::start(self.metrics.clone(), method);
        let (mesh, domain, stopping) = (&self.mesh, &self.domain, self.stopping.clone());
        match method {
            Method::Get => {
                let answer = |spec: &GetDestination| destination::get(mesh, domain, spec, stopping);
                self.stream(call, request, Purpose::Destination, |spec| &spec.context_token, answer).await
            }
            Method::GetProfile => {
                let answer = |spec: &GetDestination| destination::get_profile(mesh, domain, spec, stopping);
                self.stream(call, request, Purpose::Destination, |spec| &spec.context_token, answer).await
            }
            Method::WatchOutbound => {
                let answer = |spec: &TrafficSpec| policy::watch_outbound(mesh, domain, spec, stopping);
                self.stream(call, request, Purpose::Policy, |spec| &spec.source_workload, answer).await
            }
            Method::WatchPort => {
                let answer = |spec: &PortSpec| policy::watch_port(mesh, spec, stopping);
                self.stream(call, request, Purpose::Policy, |spec| &spec.workload, answer).await
            }
            Method::GetOutbound => {
                self.single(call, request, |spec| policy::get_outbound(mesh, domain, spec)).await
            }
            Method::GetPort => self.single(call, request, |spec| policy::get_port(mesh, spec)).await,
            Method::Certify => self.certify(call, request).await,
        }
    }

    /// A call that streams. `token` is where the request says who asks.
    async fn stream<M: prost::Message + Default>(
        &self,
        mut call: Call,
        request: Request<Incoming>,
        purpose: Purpose,
        token: impl Fn(&M) -> &str,
        answer: impl FnOnce(&M) -> Result<Messages, Status>,
    ) -> Response<ReplyBody> {
        let peer = request.extensions().get::<Peer>().cloned();
        let message: M = match request::message(request.into_body()).await {
            Ok(message) => message,
            Err(status) => return reply::failed(&status, Some(call)),
        };
        call.received();
        match answer(&message) {
            Ok(messages) => {
                let context = Context::parse(token(&message));
                call.hold(self.proxies.opened(&context, peer.as_ref(), purpose, Timestamp::now()));
                reply::streaming(messages, call)
            }
            Err(status) => reply::failed(&status, Some(call)),
        }
    }

    async fn single<M: prost::Message + Default>(
        &self,
        call: Call,
        request: Request<Incoming>,
        answer: impl FnOnce(&M) -> Result<Message, Status>,
    ) -> Response<ReplyBody> {
        let message = match request::message(request.into_body()).await {
            Ok(message) => message,
            Err(status) => return reply::failed(&status, Some(call)),
        };
        call.received();
        match answer(&message) {
            Ok(message) => reply::unary(message, call),
            Err(status) => reply::failed(&status, Some(call)),
        }
    }

    async fn certify(&self, call: Call, request: Request<Incoming>) -> Response<ReplyBody> {
        let Some(mut identity) = self.identity.clone() else {
            return reply::failed(&Status::unavailable("cert issuer not ready yet"), Some(call));
        };
        call.received();
        match identity.call(request).await {
            Ok(response) => reply::generated(response, call),
            Err(never) => match never {},
        }
    }
}

/// What is answered to a request that is not gRPC.
fn not_grpc(request: &Request<Incoming>) -> Option<Response<ReplyBody>> {
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let status = if request.method() != HttpMethod::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = reply::failed(&Status::internal("not a gRPC request"), None);
    *response.status_mut() = status;
    Some(response)
}
