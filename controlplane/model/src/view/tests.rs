//! Views of facts, written the way users write them, and asked the way proxies ask.

use std::{net::SocketAddr, sync::Arc};

use weft_names::IdentityName;
use weft_policy::{
    NoHeaders, RequestView,
    inbound::{Client, ClientTls},
    outbound::{Dispatcher, Distribution, Hint, Protocol},
};

use super::{
    Absent,
    endpoints::EndpointsKey,
    inbound::InboundKey,
    outbound::{self, OutboundKey},
    profile::{self, ProfileKey},
};
use crate::{
    Event, Projection, Settings,
    fact::{Id, Proxy, Service, ServicePort, Workload, WorkloadPort},
    manifest,
};

pub(crate) fn settings() -> Settings {
    Settings::new("cluster.local".parse().unwrap(), "cluster.local".parse().unwrap(), "linkerd")
}

/// A service as the registry has it.
pub(crate) fn service(name: &str, address: &str, ports: &[u16]) -> Service {
    let mut service = Service::new(Id::new("default", name));
    service.addresses = vec![address.parse().unwrap()];
    service.ports = ports.iter().map(|port| (*port, ServicePort::default())).collect();
    service
}

/// A meshed workload that belongs to a service and is ready.
pub(crate) fn workload(name: &str, service: &str, address: &str) -> Workload {
    Workload {
        id: Id::new("default", name),
        addresses: vec![address.parse().unwrap()],
        service: Some(service.into()),
        hostname: Some(name.into()),
        service_account: service.into(),
        labels: [("app".into(), service.into())].into(),
        owner: Some(("deployment".into(), service.into())),
        ports: vec![WorkloadPort { name: Some("http".into()), port: 8080 }],
        ready: true,
        proxy: Some(Proxy::default()),
        opaque_ports: None,
        default_policy: None,
    }
}

struct Mesh(Projection);

impl Mesh {
    /// Services `web` (10.9.0.1, ports 80 and 5432) with workloads `web-0` and `web-1`, and `api` (10.9.0.2, port 80).
    fn new() -> Self {
        let mut projection = Projection::new(settings());
        projection.apply([
            Event::Service(service("web", "10.9.0.1", &[80, 5432]).into()),
            Event::Service(service("api", "10.9.0.2", &[80]).into()),
            Event::Workload(workload("web-0", "web", "10.8.0.1").into()),
            Event::Workload(workload("web-1", "web", "10.8.0.2").into()),
        ]);
        Self(projection)
    }

    fn with(mut self, manifest: &str) -> Self {
        let objects =
            manifest::read(&"t.yaml".into(), manifest).unwrap_or_else(|problems| panic!("{problems:#?}"));
        self.0.apply(objects.into_iter().map(Event::Written));
        self
    }

    fn endpoints(&mut self, service: &str, port: u16, instance: Option<&str>) -> Result<Vec<String>, Absent> {
        let key =
            EndpointsKey { service: Id::new("default", service), port, instance: instance.map(Into::into) };
        let view = self.0.endpoints(key).unwrap().latest();
        let show = |endpoint: &Arc<weft_policy::outbound::Endpoint>| {
            format!(
                "{} {} {:?} {:?} {}",
                endpoint.addr,
                endpoint.labels.get("pod").unwrap_or("-"),
                endpoint.hint,
                endpoint.opaque_transport_port,
                endpoint.tls.as_ref().map_or_else(|| "-".to_owned(), |tls| tls.server_id.to_string()),
            )
        };
        view.view.clone().map(|set| set.endpoints().iter().map(show).collect())
    }

    fn outbound(
        &mut self,
        target: outbound::Target,
        client: &str,
    ) -> Result<weft_policy::outbound::Policy, Absent> {
        self.0.outbound(OutboundKey { target, client: client.into() }).unwrap().latest().view.clone()
    }

    /// The route and backends for `GET path` to `service:80`.
    fn route(&mut self, service: &str, client: &str, path: &str) -> String {
        let policy =
            self.outbound(outbound::Target::Service(Id::new("default", service), 80), client).unwrap();
        let routes = match policy.protocol {
            Protocol::Detect { http1, .. } | Protocol::Http1(http1) | Protocol::Http2(http1) => http1,
            other => return other.name().to_owned(),
        };
        match routes.find(&get(path)) {
            Ok(found) => {
                format!(
                    "{} -> {} {:?}",
                    found.route.meta,
                    show(&found.rule.backends),
                    found.rule.timeouts.request
                )
            }
            Err(none) => none.to_string(),
        }
    }

    fn inbound(&mut self, workload: &str, port: u16) -> weft_policy::inbound::ServerPolicy {
        let key = InboundKey { workload: Id::new("default", workload), port };
        self.0.inbound(key).unwrap().latest().view.clone().unwrap()
    }

    /// Who lets `GET path` to `web-0:8080` pass, and on which route; `-` is nobody.
    fn permit(&mut self, from: &str, identity: Option<&str>, path: &str) -> String {
        let identity: Option<IdentityName> = identity.map(|account| {
            format!("{account}.serviceaccount.identity.linkerd.cluster.local").parse().unwrap()
        });
        let tls = match &identity {
            Some(identity) => ClientTls::Terminated { identity: Some(identity) },
            None => ClientTls::None,
        };
        let client = Client { addr: from.parse().unwrap(), tls };
        let policy = self.inbound("web-0", 8080);
        match policy.authorize_http(&get(path), &client) {
            Ok(permit) => format!("{} on {}", permit.authorization, permit.route.unwrap()),
            Err(_) => "-".to_owned(),
        }
    }

    fn profile(
        &mut self,
        target: profile::Target,
        client: &str,
    ) -> Result<weft_policy::outbound::Profile, Absent> {
        self.0.profile(ProfileKey { target, client: client.into() }).unwrap().latest().view.clone()
    }
}

fn get(path: &str) -> RequestView<'_> {
    RequestView { method: b"GET", target: path.as_bytes(), authority: b"web", headers: &NoHeaders }
}

fn show(backends: &Distribution) -> String {
    let name = |backend: &weft_policy::outbound::RouteBackend| match &backend.backend.dispatcher {
        Dispatcher::Balance { path, .. } => path.to_string(),
        Dispatcher::Fail { message } => format!("!{message}"),
        Dispatcher::Forward(endpoint) => endpoint.addr.to_string(),
    };
    match backends {
        Distribution::Empty => "nothing".to_owned(),
        Distribution::FirstAvailable(all) => all.iter().map(name).collect::<Vec<_>>().join(","),
        Distribution::RandomAvailable(all) => all
            .iter()
            .map(|(backend, weight)| format!("{weight}*{}", name(backend)))
            .collect::<Vec<_>>()
            .join(","),
    }
}

const WEB_0: &str =
    "10.8.0.1:80 web-0 H2 Some(4143) web.default.serviceaccount.identity.linkerd.cluster.local";
const WEB_1: &str =
    "10.8.0.2:80 web-1 H2 Some(4143) web.default.serviceaccount.identity.linkerd.cluster.local";

#[test]
fn endpoints_are_the_ready_members() {
    let mut mesh = Mesh::new();
    assert_eq!(mesh.endpoints("web", 80, None).unwrap(), [WEB_0, WEB_1]);
    assert_eq!(mesh.endpoints("web", 80, Some("web-1")).unwrap(), [WEB_1]);
    assert_eq!(mesh.endpoints("api", 80, None), Ok(Vec::new()), "a service without workloads exists");
    assert_eq!(mesh.endpoints("none", 80, None), Err(Absent::NotFound));
    let not_ready = Workload { ready: false, ..workload("web-0", "web", "10.8.0.1") };
    mesh.0.apply([Event::Workload(not_ready.into())]);
    assert_eq!(mesh.endpoints("web", 80, None).unwrap(), [WEB_1]);
}

#[test]
fn service_ports_are_mapped_to_workload_ports() {
    let mut mesh = Mesh::new().with(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, targetPort: http}, {port: 81, targetPort: 9999}, {port: 82, targetPort: none}]}}",
    );
    let address = |found: Vec<String>| found.first().and_then(|e| e.split(' ').next().map(str::to_owned));
    assert_eq!(address(mesh.endpoints("web", 80, None).unwrap()).as_deref(), Some("10.8.0.1:8080"));
    assert_eq!(address(mesh.endpoints("web", 81, None).unwrap()).as_deref(), Some("10.8.0.1:9999"));
    assert_eq!(
        address(mesh.endpoints("web", 82, None).unwrap()),
        None,
        "no workload has a port of that name"
    );
    assert_eq!(
        address(mesh.endpoints("web", 83, None).unwrap()).as_deref(),
        Some("10.8.0.1:83"),
        "not defined: as it is"
    );
}

#[test]
fn opaque_ports_and_unmeshed_workloads_have_other_hints() {
    let mut mesh = Mesh::new();
    let unmeshed = Workload { proxy: None, ..workload("web-1", "web", "10.8.0.2") };
    mesh.0.apply([Event::Workload(unmeshed.into())]);
    let found = mesh.endpoints("web", 80, None).unwrap();
    assert_eq!(found[1], "10.8.0.2:80 web-1 Unknown None -");
    let found = mesh.endpoints("web", 5432, None).unwrap();
    assert!(found[0].starts_with("10.8.0.1:5432 web-0 Opaque Some(4143) web."), "{found:?}");
    assert_eq!(found[1], "10.8.0.2:5432 web-1 Opaque None -");
    let mut mesh = mesh.with(
        "{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: a}, spec: {port: 80, podSelector: {}, proxyProtocol: opaque}}",
    );
    assert!(mesh.endpoints("web", 80, None).unwrap()[0].contains("Opaque"), "a Server flips the hint");
    assert_eq!(
        mesh.endpoints("web", 4191, None).unwrap()[0].split(' ').nth(3),
        Some("None"),
        "the proxy's own port"
    );
}

#[test]
fn a_selector_makes_members() {
    let mut mesh = Mesh::new().with(
        "{apiVersion: v1, kind: Service, metadata: {name: all}, spec: {selector: {app: web}, ports: [{port: 80}]}}",
    );
    assert_eq!(mesh.endpoints("all", 80, None).unwrap(), [WEB_0, WEB_1]);
}

#[test]
fn outbound_policy_follows_the_kind_of_target() {
    let address = |text: &str| outbound::Target::Address(text.parse().unwrap());
    let mut mesh = Mesh::new();
    let by_name = mesh.outbound(outbound::Target::Service(Id::new("default", "web"), 80), "default").unwrap();
    assert_eq!(mesh.outbound(address("10.9.0.1:80"), "default").unwrap(), by_name);
    assert_eq!(by_name.parent.to_string(), "core/Service/default/web:80");
    let Protocol::Detect { http1, http2, opaque, .. } = &by_name.protocol else { panic!("{by_name:?}") };
    assert_eq!(http1, http2);
    assert_eq!(show(&opaque.find().unwrap().rule.backends), "web.default.svc.cluster.local:80");
    assert_eq!(mesh.route("web", "default", "/"), "default/http -> web.default.svc.cluster.local:80 None");

    let undefined = mesh.outbound(address("10.9.0.1:81"), "default").unwrap();
    let Protocol::Opaque(routes) = &undefined.protocol else { panic!("{undefined:?}") };
    assert_eq!(routes.find().unwrap().meta.to_string(), "default/undefined-port");
    assert!(routes.find().unwrap().rule.refusal().is_some());

    assert!(matches!(
        mesh.outbound(address("10.9.0.1:5432"), "default").unwrap().protocol,
        Protocol::Opaque(_)
    ));
    assert_eq!(
        mesh.outbound(address("10.8.0.1:80"), "default"),
        Err(Absent::NotFound),
        "a workload's own address"
    );
    mesh.0.apply([Event::Workload(workload("odd-0", "odd", "127.7.7.7").into())]);
    assert_eq!(
        mesh.outbound(address("127.7.7.7:80"), "default"),
        Err(Absent::NotFound),
        "of whatever network"
    );
    let outside = mesh.outbound(address("192.0.2.1:443"), "default").unwrap();
    assert_eq!(outside.parent.to_string(), "default/egress-fallback");
}

#[test]
fn app_protocol_decides_the_protocol() {
    for (protocol, name) in [
        ("http", "http/1"),
        ("kubernetes.io/h2c", "http/2"),
        ("linkerd.io/opaque", "opaq"),
        ("linkerd.io/tcp", "opaq"),
        ("https", "opaq"),
    ] {
        let mut mesh = Mesh::new().with(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{ports: [{{port: 80, appProtocol: {protocol}}}]}}}}",
        ));
        let policy =
            mesh.outbound(outbound::Target::Service(Id::new("default", "web"), 80), "default").unwrap();
        assert_eq!(policy.protocol.name(), name, "{protocol}");
    }
}

#[test]
fn routes_replace_the_default_one() {
    let mut mesh = Mesh::new().with(
        r"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: b-young, creationTimestamp: 2026-01-02T00:00:00Z}
spec:
  parentRefs: [{group: core, kind: Service, name: web}]
  rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: none, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: c-old, creationTimestamp: 2026-01-01T00:00:00Z, annotations: {timeout.linkerd.io/idle: 1s}}
spec:
  parentRefs: [{group: core, kind: Service, name: web, port: 80}]
  rules:
  - {matches: [{path: {value: /a}}], backendRefs: [{name: api, port: 80, weight: 3}, {name: web, port: 80}, {name: x, port: 80, kind: Other}], timeouts: {request: 5s}}
  - {matches: [{path: {value: /zero}}], backendRefs: [{name: api, port: 80, weight: 0}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other-port}
spec: {parentRefs: [{group: core, kind: Service, name: web, port: 81}], rules: [{matches: [{path: {value: /other}}]}]}
",
    );
    assert_eq!(
        mesh.route("web", "default", "/a/b"),
        "gateway.networking.k8s.io/HTTPRoute/default/c-old -> 3*api.default.svc.cluster.local:80,1*web.default.svc.cluster.local:80,1*!unsupported backend type  Other x Some(5s)",
        "the older route wins"
    );
    assert!(mesh.route("web", "default", "/zero").contains("-> nothing"));
    assert_eq!(mesh.route("web", "default", "/other"), "no route found for request");
    assert_eq!(mesh.route("api", "default", "/"), "default/http -> api.default.svc.cluster.local:80 None");
}

#[test]
fn consumer_routes_are_for_their_namespace_only() {
    let mut mesh = Mesh::new().with(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: mine, namespace: shop}, spec: {parentRefs: [{group: core, kind: Service, name: web, namespace: default}], rules: [{}]}}",
    );
    assert!(mesh.route("web", "shop", "/").starts_with("gateway.networking.k8s.io/HTTPRoute/shop/mine ->"));
    assert!(mesh.route("web", "default", "/").starts_with("default/http ->"));
}

#[test]
fn annotations_of_a_service_are_for_routes_that_have_none() {
    let mut mesh = Mesh::new().with(
        r#"
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {timeout.linkerd.io/request: 9s, retry.linkerd.io/http: 5xx, balancer.linkerd.io/failure-accrual: consecutive}}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: own, annotations: {timeout.linkerd.io/response: 1s, retry.linkerd.io/limit: "2"}}
spec:
  parentRefs: [{group: core, kind: Service, name: web}]
  rules: [{}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: inherits}
spec:
  parentRefs: [{group: core, kind: Service, name: web}]
  rules: [{matches: [{path: {value: /a}}]}]
"#,
    );
    let policy = mesh.outbound(outbound::Target::Service(Id::new("default", "web"), 80), "default").unwrap();
    let Protocol::Detect { http1, .. } = &policy.protocol else { panic!("{policy:?}") };
    assert!(http1.accrual.is_some());
    let inherits = http1.find(&get("/a")).unwrap().rule;
    assert_eq!(inherits.timeouts.request.map(|d| d.as_secs()), Some(9));
    assert!(inherits.retry.as_ref().unwrap().conditions.status(503));
    let own = http1.find(&get("/")).unwrap().rule;
    assert_eq!((own.timeouts.request, own.timeouts.response.map(|d| d.as_secs())), (None, Some(1)));
    assert_eq!(own.retry, None, "its own annotations name no status");
}

#[test]
fn grpc_routes_make_the_protocol_grpc() {
    let mut mesh = Mesh::new().with(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}, spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: gone, port: 1}]}]}}",
    );
    let policy = mesh.outbound(outbound::Target::Service(Id::new("default", "web"), 80), "default").unwrap();
    let Protocol::Grpc(routes) = &policy.protocol else { panic!("{policy:?}") };
    let request = RequestView { method: b"POST", target: b"/a.B/C", authority: b"web", headers: &NoHeaders };
    assert_eq!(show(&routes.find(&request).unwrap().rule.backends), "1*!Service not found gone");
}

#[test]
fn without_servers_the_default_policy_is_in_force() {
    let mut mesh = Mesh::new();
    assert_eq!(mesh.permit("192.0.2.1", None, "/"), "default/all-unauthenticated on default/default");
    let mut own = workload("web-0", "web", "10.8.0.1");
    own.default_policy = Some(weft_policy::inbound::DefaultPolicy::ClusterAuthenticated);
    mesh.0.apply([Event::Workload(own.into())]);
    assert_eq!(mesh.permit("10.1.1.1", None, "/"), "-");
    assert_eq!(mesh.permit("192.0.2.1", Some("a.default"), "/"), "-", "not from the cluster");
    assert_eq!(
        mesh.permit("10.1.1.1", Some("a.default"), "/"),
        "default/cluster-authenticated on default/default"
    );
    let identity = Proxy { identity_ports: "8080".parse().unwrap(), ..Proxy::default() };
    let required = Workload { proxy: Some(identity), ..workload("web-0", "web", "10.8.0.1") };
    mesh.0.apply([Event::Workload(required.into())]);
    assert_eq!(mesh.permit("192.0.2.1", None, "/"), "-");
    assert_eq!(mesh.inbound("web-0", 5432).protocol, weft_policy::inbound::Protocol::Opaque);
    let unmeshed = Workload { proxy: None, ..workload("web-0", "web", "10.8.0.1") };
    mesh.0.apply([Event::Workload(unmeshed.into())]);
    let key = InboundKey { workload: Id::new("default", "web-0"), port: 8080 };
    assert_eq!(mesh.0.inbound(key).unwrap().latest().view, Err(Absent::NotFound));
}

const SERVER: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web}
spec: {port: http, podSelector: {matchLabels: {app: web}}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: front}
spec: {identityRefs: [{kind: ServiceAccount, name: front}, {kind: Namespace, name: ops}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: inside}
spec: {networks: [{cidr: 10.0.0.0/8, except: [10.66.0.0/16]}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: front-inside}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: web}
  requiredAuthenticationRefs:
  - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: front}
  - {group: policy.linkerd.io, kind: NetworkAuthentication, name: inside}
";

#[test]
fn an_authorization_needs_both_identity_and_network() {
    let allowed = "policy.linkerd.io/authorizationpolicy/default/front-inside on default/default";
    for (from, identity, expected) in [
        ("10.1.1.1", Some("front.default"), allowed),
        ("10.1.1.1", Some("anyone.ops"), allowed),
        ("10.1.1.1", Some("front.ops2"), "-"),
        ("10.1.1.1", Some("back.default"), "-"),
        ("10.66.1.1", Some("front.default"), "-"),
        ("192.0.2.1", Some("front.default"), "-"),
        ("10.1.1.1", None, "-"),
    ] {
        assert_eq!(Mesh::new().with(SERVER).permit(from, identity, "/"), expected, "{from} {identity:?}");
    }
}

#[test]
fn a_reference_to_nothing_allows_nobody() {
    let mut mesh = Mesh::new().with(SERVER);
    mesh.0.apply([Event::Erased(crate::Kind::NetworkAuthentication, Id::new("default", "inside"))]);
    assert_eq!(mesh.permit("10.1.1.1", Some("front.default"), "/"), "-");
    let mut mesh = mesh.with("{apiVersion: policy.linkerd.io/v1alpha1, kind: NetworkAuthentication, metadata: {name: inside}, spec: {networks: [{cidr: 0.0.0.0/0}]}}");
    assert_ne!(mesh.permit("192.0.2.1", Some("front.default"), "/"), "-", "it is there again");
}

#[test]
fn every_kind_of_authorization_counts() {
    let mut mesh = Mesh::new().with(SERVER).with(
        r"
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: old}
spec: {server: {name: web}, client: {meshTLS: {unauthenticatedTLS: true}, networks: [{cidr: 198.51.100.0/24}]}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: everywhere}
spec: {targetRef: {kind: Namespace, name: default}, requiredAuthenticationRefs: [{kind: ServiceAccount, name: admin}]}
",
    );
    assert_eq!(
        mesh.permit("192.0.2.1", Some("admin.default"), "/"),
        "policy.linkerd.io/authorizationpolicy/default/everywhere on default/default"
    );
    assert_eq!(
        mesh.permit("198.51.100.9", Some("x.y"), "/"),
        "policy.linkerd.io/serverauthorization/default/old on default/default"
    );
    let mut mesh = mesh.with("{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web}, spec: {port: http, podSelector: {}, accessPolicy: all-unauthenticated}}");
    assert_eq!(mesh.permit("192.0.2.1", None, "/"), "default/all-unauthenticated on default/default");
}

#[test]
fn routes_of_a_server_are_authorized_on_their_own() {
    let mut mesh = Mesh::new().with(SERVER).with(
        r"
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: health}
spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: web}], rules: [{matches: [{path: {type: Exact, value: /health}}]}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: rest}
spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: web}], rules: [{matches: [{path: {value: /api}}]}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: anyone-health}
spec: {targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: health}, requiredAuthenticationRefs: []}
",
    );
    assert_eq!(
        mesh.permit("192.0.2.1", None, "/health"),
        "policy.linkerd.io/authorizationpolicy/default/anyone-health on policy.linkerd.io/HTTPRoute/default/health"
    );
    assert_eq!(mesh.permit("192.0.2.1", None, "/api/x"), "-");
    assert_eq!(
        mesh.permit("10.1.1.1", Some("front.default"), "/api/x"),
        "policy.linkerd.io/authorizationpolicy/default/front-inside on policy.linkerd.io/HTTPRoute/default/rest"
    );
    assert_eq!(mesh.permit("10.1.1.1", Some("front.default"), "/other"), "-", "no route");
}

#[test]
fn of_two_servers_for_a_port_the_older_wins() {
    let server = |name: &str, created: &str, access: &str| {
        format!(
            "---\napiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}, creationTimestamp: \"{created}\"}}\nspec: {{port: 8080, podSelector: {{}}, accessPolicy: {access}}}\n"
        )
    };
    let both =
        server("a-young", "2026-01-02T00:00:00Z", "deny") + &server("b-old", "2026-01-01T00:00:00Z", "audit");
    assert_eq!(Mesh::new().with(&both).inbound("web-0", 8080).meta.name(), "b-old");
    let undated = both.replace("2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z");
    assert_eq!(Mesh::new().with(&undated).inbound("web-0", 8080).meta.name(), "a-young");
}

#[test]
fn profiles_are_of_services_workloads_or_anything() {
    let address = |text: &str| profile::Target::Address(text.parse::<SocketAddr>().unwrap());
    let mut mesh = Mesh::new();
    let web = mesh.profile(address("10.9.0.1:80"), "default").unwrap();
    assert_eq!(web.name.as_ref().map(|name| name.as_str()), Some("web.default.svc.cluster.local"));
    assert_eq!(web.parent.as_ref().map(ToString::to_string).as_deref(), Some("core/Service/default/web:80"));
    assert!(!web.opaque && web.endpoint.is_none() && web.retry_budget.is_some());
    assert_eq!(mesh.profile(profile::Target::Service(Id::new("default", "web"), 80), "x").unwrap(), web);
    assert!(mesh.profile(address("10.9.0.1:5432"), "default").unwrap().opaque);
    assert_eq!(
        mesh.profile(address("10.9.0.1:81"), "default").unwrap(),
        Default::default(),
        "not a port it has"
    );

    let pod = mesh.profile(address("10.8.0.1:8080"), "default").unwrap();
    let endpoint = pod.endpoint.as_ref().unwrap();
    assert_eq!(
        (endpoint.hint, endpoint.labels.get("namespace"), endpoint.labels.get("service")),
        (Hint::H2, Some("default"), None)
    );
    assert_eq!(pod.name, None);
    let by_name = profile::Target::Instance(Id::new("default", "web"), "web-0".into(), 8080);
    assert_eq!(mesh.profile(by_name, "default").unwrap(), pod);
    let gone = profile::Target::Instance(Id::new("default", "web"), "web-9".into(), 8080);
    assert_eq!(mesh.profile(gone, "default"), Err(Absent::NotFound));

    let outside = mesh.profile(address("192.0.2.1:3306"), "default").unwrap();
    assert!(outside.opaque && outside.endpoint.as_ref().unwrap().tls.is_none());
}

#[test]
fn a_clients_own_profile_wins() {
    let mut mesh = Mesh::new().with(
        r"
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: web.default.svc.cluster.local, namespace: default}
spec: {routes: [{name: servers, condition: {method: GET}}], dstOverrides: [{authority: api.default.svc.cluster.local, weight: 1}]}
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: web.default.svc.cluster.local, namespace: shop}
spec: {routes: [{name: clients, condition: {method: GET}}]}
",
    );
    let mut route = |client: &str| {
        let profile = mesh.profile(profile::Target::Service(Id::new("default", "web"), 80), client).unwrap();
        let targets: Vec<String> =
            profile.targets.iter().map(|target| target.authority.to_string()).collect();
        (profile.routes[0].labels.get("route").unwrap().to_owned(), targets)
    };
    assert_eq!(route("shop"), ("clients".to_owned(), Vec::new()));
    assert_eq!(route("other"), ("servers".to_owned(), vec!["api.default.svc.cluster.local:80".to_owned()]));
}

#[test]
fn two_services_with_one_address_are_a_conflict() {
    let mut mesh = Mesh::new();
    mesh.0.apply([Event::Service(service("twin", "10.9.0.1", &[80]).into())]);
    let error =
        mesh.outbound(outbound::Target::Address("10.9.0.1:80".parse().unwrap()), "default").unwrap_err();
    assert_eq!(error.to_string(), "found 2 services with conflicting cluster IP 10.9.0.1");
}
