//! The registry with time as an argument, and over HTTP.

use std::time::Duration;

use ::http::{Request, StatusCode};
use axum::body::Body;
use tower::ServiceExt as _;
use weft_model::view::endpoints::EndpointsKey;

use super::{
    api::{Port, Registration},
    *,
};
use crate::testkit::{Kit, registration};

fn id(pod: &str) -> Id {
    Id::new("default", pod)
}

/// Addresses of a service's endpoints.
fn endpoints(kit: &Kit, service: &str) -> Vec<String> {
    let key = EndpointsKey { service: id(service), port: 8080, instance: None };
    match &kit.mesh.endpoints(key).unwrap().latest().view {
        Ok(set) => set.endpoints().iter().map(|endpoint| endpoint.addr.to_string()).collect(),
        Err(absent) => vec![absent.to_string()],
    }
}

/// How many workloads and services there are.
fn counts(kit: &Kit) -> (usize, usize) {
    (kit.registry.workloads(), kit.mesh.read(|mesh| mesh.facts().services().count()))
}

#[tokio::test]
async fn a_workload_gets_what_it_needs() {
    let kit = Kit::new().await;
    let answer = kit.registry.register(&id("web-0"), &registration("web"), kit.start).await.unwrap();
    assert_eq!(answer.identity, "web.default.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(
        (answer.ip.to_string(), answer.service_ip.unwrap().to_string()),
        ("10.8.0.2".into(), "10.9.0.1".into())
    );
    assert!(
        answer.created && answer.join_token.is_some() && answer.trust_anchors.contains("BEGIN CERTIFICATE")
    );
    assert_eq!(endpoints(&kit, "web"), ["10.8.0.2:8080"]);

    let again = kit.registry.register(&id("web-0"), &registration("web"), kit.after(5.0)).await.unwrap();
    assert_eq!((again.created, again.join_token), (false, None), "a renewal");
    assert_eq!((again.ip, again.service_ip), (answer.ip, answer.service_ip));

    let asked = Registration { issue_token: true, ..registration("web") };
    let token = kit.registry.register(&id("web-0"), &asked, kit.after(6.0)).await.unwrap().join_token;
    assert!(token.is_some() && token != answer.join_token, "whoever lost its token asks for another");
}

#[tokio::test]
async fn a_client_needs_no_service() {
    let kit = Kit::new().await;
    let client = Registration { ready: true, ..Registration::default() };
    let answer = kit.registry.register(&id("curl"), &client, kit.start).await.unwrap();
    assert_eq!((answer.service, answer.service_ip, &*answer.service_account), (None, None, "curl"));
    assert_eq!(counts(&kit), (1, 0));
}

#[tokio::test]
async fn ports_of_a_service_are_those_of_its_workloads() {
    let kit = Kit::new().await;
    let with = |ports: &[(u16, bool)]| Registration {
        ports: ports
            .iter()
            .map(|(port, opaque)| Port { port: *port, opaque: *opaque, ..Port::default() })
            .collect(),
        ..registration("web")
    };
    kit.registry.register(&id("a"), &with(&[(80, false), (81, false)]), kit.start).await.unwrap();
    kit.registry.register(&id("b"), &with(&[(81, true), (82, false)]), kit.start).await.unwrap();
    let service = kit.mesh.read(|mesh| mesh.facts().service(&id("web")).cloned()).unwrap();
    assert_eq!(service.ports.keys().copied().collect::<Vec<_>>(), [80, 81, 82]);
    assert!(service.is_opaque(81) && service.is_opaque(5432) && !service.is_opaque(80));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_runs_out() {
    let kit = Kit::new().await;
    kit.registry.register(&id("a"), &registration("web"), kit.start).await.unwrap();
    let long = Registration { ttl: Some(Duration::from_secs(60)), ..registration("web") };
    kit.registry.register(&id("b"), &long, kit.start).await.unwrap();
    for second in 1..=14 {
        assert_eq!(kit.registry.expire(kit.after(f64::from(second))).await, []);
    }
    kit.registry.register(&id("b"), &long, kit.after(14.5)).await.unwrap();
    assert_eq!(kit.registry.expire(kit.after(15.0)).await, [id("a")]);
    assert_eq!(endpoints(&kit, "web"), ["10.8.0.3:8080"]);
    assert_eq!(kit.registry.leases(kit.after(15.0))[&id("b")].remaining, Duration::from_secs_f64(59.5));
    assert!(kit.store.workload("default", "a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_process_that_stood_still_takes_nobody_away() {
    let kit = Kit::new().await;
    kit.registry.register(&id("a"), &registration("web"), kit.start).await.unwrap();
    kit.registry.expire(kit.after(1.0)).await;
    assert_eq!(kit.registry.expire(kit.after(101.0)).await, [], "stopped for 100 s");
    assert_eq!(kit.registry.expire(kit.after(102.0)).await, []);
    let mut now = 102.0;
    while now < 114.0 {
        now += 1.0;
        assert_eq!(kit.registry.expire(kit.after(now)).await, [], "at {now}");
    }
    assert_eq!(kit.registry.expire(kit.after(115.0)).await, [id("a")], "and its 15 s after that");
}

#[tokio::test]
async fn a_restart_keeps_everything_and_grants_new_leases() {
    let kit = Kit::new().await;
    let before = kit.registry.register(&id("web-0"), &registration("web"), kit.start).await.unwrap();
    let kit = kit.restart(Duration::from_secs(3600)).await;
    assert_eq!(endpoints(&kit, "web"), ["10.8.0.2:8080"], "before anybody renewed");
    assert_eq!(kit.registry.expire(kit.after(1.0)).await, []);
    let after = kit.registry.register(&id("web-0"), &registration("web"), kit.after(2.0)).await.unwrap();
    assert_eq!((after.ip, after.service_ip, after.created), (before.ip, before.service_ip, false));
    assert_eq!(after.trust_anchors, before.trust_anchors);
    assert_eq!(after.join_token, None, "its token is still good");
}

#[tokio::test]
async fn a_service_lingers_and_keeps_its_address() {
    let kit = Kit::new().await;
    let first = kit.registry.register(&id("web-0"), &registration("web"), kit.start).await.unwrap();
    assert!(kit.registry.remove(&id("web-0"), kit.after(1.0)).await.unwrap());
    assert!(!kit.registry.remove(&id("web-0"), kit.after(1.0)).await.unwrap(), "once is enough");
    assert_eq!(endpoints(&kit, "web"), Vec::<String>::new(), "no endpoints, but a service");
    kit.registry.expire(kit.after(600.0)).await;
    assert_eq!(endpoints(&kit, "web"), Vec::<String>::new());
    let again = kit.registry.register(&id("web-1"), &registration("web"), kit.after(600.5)).await.unwrap();
    assert_eq!(again.service_ip, first.service_ip);
    kit.registry.remove(&id("web-1"), kit.after(600.6)).await.unwrap();
    kit.registry.expire(kit.after(1200.7)).await;
    assert_eq!(endpoints(&kit, "web"), ["not found"]);
    assert_eq!(counts(&kit), (0, 0));
}

#[tokio::test]
async fn a_service_in_a_manifest_stays() {
    let kit = Kit::new().await;
    kit.registry.keep_service(&id("written"), kit.start).await.unwrap();
    kit.registry.expire(kit.after(10_000.0)).await;
    assert_eq!(endpoints(&kit, "written"), Vec::<String>::new());
    kit.registry.release_service(&id("written")).await;
    kit.registry.expire(kit.after(10_000.5)).await;
    assert_eq!(endpoints(&kit, "written"), ["not found"]);
}

#[tokio::test]
async fn an_address_is_for_one() {
    let kit = Kit::new().await;
    kit.register("a", "web", "10.8.7.7").await;
    let same = Registration { ip: Some("10.8.7.7".parse().unwrap()), ..registration("web") };
    let error = kit.registry.register(&id("b"), &same, kit.start).await.unwrap_err();
    assert_eq!(error.to_string(), "the address 10.8.7.7 belongs to workload default/a");
    let service = Registration { ip: Some("10.9.0.1".parse().unwrap()), ..registration("web") };
    let error = kit.registry.register(&id("b"), &service, kit.start).await.unwrap_err();
    assert_eq!(error.to_string(), "the address 10.9.0.1 belongs to service default/web");
    assert_eq!(counts(&kit), (1, 1), "nothing is left of what was refused");
}

#[tokio::test]
async fn a_range_that_is_used_up_says_so() {
    let kit = Kit::new().await;
    // 10.9.0.0/29 has addresses .1 to .6.
    for service in 0..6 {
        let name = format!("s{service}");
        kit.registry.register(&id(&name), &registration(&name), kit.start).await.unwrap();
    }
    let error = kit.registry.register(&id("s6"), &registration("s6"), kit.start).await.unwrap_err();
    let RegistryError::Store(StoreError::Full { limit, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(*limit, 6);
    assert_eq!(counts(&kit), (6, 6));
}

#[tokio::test]
async fn moving_to_another_service_leaves_the_first() {
    let kit = Kit::new().await;
    kit.registry.register(&id("a"), &registration("one"), kit.start).await.unwrap();
    kit.registry.register(&id("a"), &registration("two"), kit.after(1.0)).await.unwrap();
    assert_eq!((endpoints(&kit, "one").len(), endpoints(&kit, "two").len()), (0, 1));
    kit.registry.expire(kit.after(1.5)).await;
    kit.registry.register(&id("a"), &registration("two"), kit.after(600.9)).await.unwrap();
    kit.registry.expire(kit.after(601.5)).await;
    assert_eq!(endpoints(&kit, "one"), ["not found"]);
}

async fn send(kit: &Kit, method: &str, path: &str, body: &str) -> (StatusCode, serde_json::Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/registry/v1/workloads{path}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = http::router(kit.registry.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(serde_json::Value::Null))
}

#[tokio::test]
async fn over_http_registering_is_idempotent() {
    let kit = Kit::new().await;
    let body = r#"{"service": "web", "ports": [{"port": 8080, "appProtocol": "http"}], "labels": {"tier": "front"}, "ttlSeconds": 2.5}"#;
    let (status, answer) = send(&kit, "PUT", "/shop/web-0", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["identity"], "web.shop.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!((&answer["ttlSeconds"], &answer["addresses"]["dns"]), (&2.5.into(), &"127.0.0.1:53".into()));
    let (status, answer) = send(&kit, "PUT", "/shop/web-0", body).await;
    assert_eq!((status, answer.get("joinToken")), (StatusCode::OK, None));
    let (status, list) = send(&kit, "GET", "", "").await;
    assert_eq!((status, &list["workloads"][0]["pod"]), (StatusCode::OK, &"web-0".into()));
    assert_eq!(send(&kit, "GET", "/shop/web-0", "").await.1["pod"], "web-0");
    for _ in 0..2 {
        assert_eq!(send(&kit, "DELETE", "/shop/web-0", "").await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(send(&kit, "GET", "", "").await.1["workloads"], serde_json::json!([]));
    assert_eq!(send(&kit, "GET", "/shop/web-0", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn over_http_all_faults_are_told_at_once() {
    let kit = Kit::new().await;
    let body = r#"{"service": "Web", "serviceAccount": "-a", "ports": [{"port": 0}, {"port": 80, "name": "A"}, {"port": 80, "appProtocol": "a b"}], "ip": "0.0.0.0", "labels": {"": "x"}, "ttlSeconds": 0}"#;
    let (status, problem) = send(&kit, "PUT", "/shop/web_0", body).await;
    assert_eq!((status, &problem["type"]), (StatusCode::BAD_REQUEST, &"urn:weft:problem:bad-request".into()));
    let faults: Vec<&str> =
        problem["faults"].as_array().unwrap().iter().map(|fault| fault["where"].as_str().unwrap()).collect();
    assert_eq!(
        faults,
        [
            "path.pod",
            "body.service",
            "body.serviceAccount",
            "body.ports[0].port",
            "body.ports[1].name",
            "body.ports[2].port",
            "body.ports[2].appProtocol",
            "body.ip",
            "body.labels",
            "body.ttlSeconds",
        ]
    );
    for body in ["", "{", r#"{"colour": 1}"#, r#"{"ttlSeconds": -1}"#, r#"{"ports": [{"port": 70000}]}"#] {
        let (status, problem) = send(&kit, "PUT", "/shop/web-0", body).await;
        assert!(status.is_client_error() && problem["detail"].is_string(), "{body} {status} {problem}");
    }
    let large = format!(r#"{{"labels": {{"a": "{}"}}}}"#, "x".repeat(100_000));
    assert_eq!(send(&kit, "PUT", "/shop/web-0", &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(counts(&kit), (0, 0));
}

#[tokio::test]
async fn over_http_a_conflict_says_with_what() {
    let kit = Kit::new().await;
    kit.register("a", "web", "10.8.7.7").await;
    let (status, problem) = send(&kit, "PUT", "/default/b", r#"{"ip": "10.8.7.7"}"#).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "the address 10.8.7.7 belongs to workload default/a");
    assert!(problem["advice"].is_string());
}
