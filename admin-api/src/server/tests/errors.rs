//! Every refusal is problem+json that says what, where, what was expected and what to do.

use super::{json, serve};
use crate::{Problem, server::require_token};
use axum::body::Body;
use http::{Request, StatusCode, header};
use tower::ServiceExt;

#[tokio::test]
async fn bad_queries_are_told_fault_by_fault() {
    let served = serve(0).await;
    let long = "x".repeat(300);
    for (path, faults) in [
        ("/v1/services?limit=0", vec!["query.limit 0: a whole number from 1 to 500"]),
        ("/v1/services?limit=501", vec!["query.limit 501: a whole number from 1 to 500"]),
        ("/v1/services?limit=ten", vec!["query.limit ten: a whole number from 1 to 500"]),
        ("/v1/services?limit=", vec!["query.limit : a value, or leave it out"]),
        ("/v1/services?limt=5", vec!["query limt: one of limit, cursor, namespace"]),
        ("/v1/services?limit=5&limit=6", vec!["query.limit given twice: one value"]),
        (
            "/v1/certificates?limit=-1&namespace=a",
            vec![
                "query namespace: one of limit, cursor, identity",
                "query.limit -1: a whole number from 1 to 500",
            ],
        ),
        (
            "/v1/services?cursor=workloads:default/web",
            vec![
                "query.cursor workloads:default/web: `next` of an earlier page of this list, or no cursor to begin at the start",
            ],
        ),
        (
            "/v1/certificates?cursor=certificates:x",
            vec![
                "query.cursor certificates:x: `next` of an earlier page of this list, or no cursor to begin at the start",
            ],
        ),
        (
            &format!("/v1/services?limit={long}"),
            vec![&format!("query.limit {}...: a whole number from 1 to 500", &long[..100])],
        ),
        ("/v1/certificates/xyz", vec!["path.serial xyz: 32 hex digits"]),
        ("/v1/services/default/%ff", vec!["path /v1/services/default/%ff: percent-encoded UTF-8"]),
    ] {
        let (status, body) = served.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        let problem: Problem = serde_json::from_value(body).unwrap();
        assert_eq!((problem.status, problem.kind.as_str()), (400, "urn:weft:problem:bad-request"));
        assert_eq!(problem.instance.as_deref(), path.split('?').next());
        let told: Vec<_> = problem
            .faults
            .iter()
            .map(|fault| {
                format!("{} {}: {}", fault.location, fault.found.as_deref().unwrap_or("-"), fault.expected)
            })
            .collect();
        assert_eq!(told, faults, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_not_to_be() {
    let served = serve(0).await;
    let serial = "0".repeat(32);
    for (path, kind, detail) in [
        ("/", "unknown-path", "there is nothing at this path"),
        ("/v1/service", "unknown-path", "there is nothing at this path"),
        ("/v1/services/", "unknown-path", "there is nothing at this path"),
        ("/v1/services/default/none", "not-found", "there is no service default/none"),
        ("/v1/workloads/other/web-0", "not-found", "there is no workload other/web-0"),
        ("/v1/proxies/default/none", "not-found", "there is no proxy connected for workload default/none"),
        (
            &format!("/v1/certificates/{serial}"),
            "not-found",
            &format!("there is no certificate with serial number {serial}"),
        ),
    ] {
        let (status, body) = served.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body["type"], format!("urn:weft:problem:{kind}"), "{path}");
        assert_eq!(body["detail"], detail, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_head_is_not() {
    let served = serve(0).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
        let request = Request::builder().method(method).uri("/v1/services").body(Body::empty()).unwrap();
        let response = served.send(request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD", "{method}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem = json(response).await;
        assert_eq!(problem["faults"][0]["found"], method);
    }
    let response = served.send(Request::head("/v1/services").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn json_must_be_acceptable() {
    let served = serve(0).await;
    for (accept, status) in [
        (None, 200),
        (Some(""), 200),
        (Some("*/*"), 200),
        (Some("application/json"), 200),
        (Some("Application/*;q=0.1"), 200),
        (Some("text/html, application/json;q=0.5"), 200),
        (Some("text/html"), 406),
        (Some("text/html;q=0.9, application/yaml"), 406),
        (Some("application/json;q=0"), 406),
        (Some("application/json; q=0.000, text/*"), 406),
    ] {
        for path in ["/v1/services", "/v1/version"] {
            let mut request = Request::get(path);
            if let Some(accept) = accept {
                request = request.header(header::ACCEPT, accept);
            }
            let response = served.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status().as_u16(), status, "{accept:?}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            if status == 406 {
                assert_eq!(json(response).await["faults"][0]["found"], accept.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn the_token_opens_every_path_and_nothing_else_does() {
    let served = serve(0).await;
    let guarded = require_token(served.router.clone(), "secret");
    for (authorization, status) in [
        (Some("Bearer secret"), 200),
        (Some("bearer  secret"), 200),
        (None, 401),
        (Some("Bearer"), 401),
        (Some("Bearer secre"), 401),
        (Some("Bearer secret2"), 401),
        (Some("Basic secret"), 401),
        (Some("secret"), 401),
    ] {
        for path in ["/v1/services", "/openapi.json", "/nowhere"] {
            let mut request = Request::get(path);
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = guarded.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let expected = if status == 200 && path == "/nowhere" { 404 } else { status };
            assert_eq!(response.status().as_u16(), expected, "{authorization:?} {path}");
            if status == 401 {
                assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"weft\"");
                let problem = json(response).await;
                assert!(problem["advice"].as_str().unwrap().contains("admin.token"), "{problem}");
            }
        }
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_a_problem_with_advice() {
    let served = serve(2).await;
    served.store.clone().close().await;
    for path in ["/v1/certificates", "/v1/proxies"] {
        let (status, body) = served.get(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {body}");
        assert_eq!(body["type"], "urn:weft:problem:state");
        assert!(body["advice"].is_string(), "{body}");
    }
    assert_eq!(served.get("/v1/services").await.0, StatusCode::OK, "what needs no state goes on");
}

#[test]
fn problems_read_as_a_line() {
    let problem = Problem {
        kind: "urn:weft:problem:bad-request".into(),
        title: "Bad request".into(),
        status: 400,
        detail: Some("no".into()),
        instance: None,
        advice: Some("mend it".into()),
        faults: vec![crate::types::Fault {
            location: "query.limit".into(),
            found: Some("x".into()),
            expected: "a number".into(),
        }],
    };
    assert_eq!(problem.to_string(), "Bad request: no; query.limit is \"x\", expected a number; mend it");
}
