//! Pages: complete, in order, right while the list changes.

use super::{WEB, serve, service};
use crate::types::{Certificate, CertificatePage, ProxyPage, ServicePage};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn pages_follow_each_other_while_the_list_changes() {
    let served = serve(0).await;
    *served.views.services.lock().unwrap() =
        ["e", "b", "d", "a", "c"].map(|name| service("default", name)).into();
    served.views.services.lock().unwrap().push(service("aaa", "z"));

    let mut seen = Vec::new();
    let mut path = "/v1/services?limit=2".to_owned();
    for page in 0.. {
        let (status, body) = served.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let ServicePage { items, next } = serde_json::from_value(body).unwrap();
        seen.extend(items.into_iter().map(|service| service.name));
        if page == 0 {
            // What was the last item of the page goes, another comes before it: neither shifts the next page.
            served.views.services.lock().unwrap().retain(|service| service.name != "a");
            served.views.services.lock().unwrap().push(service("aaa", "a"));
        }
        let Some(next) = next else { break };
        path = format!("/v1/services?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["z", "a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_list_that_just_fits_has_no_next_page() {
    let served = serve(0).await;
    *served.views.services.lock().unwrap() = ["a", "b"].map(|name| service("default", name)).into();
    let (_, body) = served.get("/v1/services?limit=2").await;
    assert_eq!(body["items"].as_array().unwrap().len(), 2);
    assert!(body.get("next").is_none());
    served.views.services.lock().unwrap().clear();
    assert_eq!(served.get("/v1/services").await.1, json!({ "items": [] }));
}

#[tokio::test]
async fn a_page_has_100_items_unless_asked_otherwise() {
    let served = serve(0).await;
    *served.views.services.lock().unwrap() =
        (0..600).map(|i| service("default", &format!("s{i:03}"))).collect();
    assert_eq!(served.get("/v1/services").await.1["items"].as_array().unwrap().len(), 100);
    assert_eq!(served.get("/v1/services?limit=500").await.1["items"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn a_namespace_narrows_the_list() {
    let served = serve(0).await;
    *served.views.services.lock().unwrap() =
        vec![service("shop", "web"), service("default", "web"), service("shop", "db")];
    let (_, body) = served.get("/v1/services?namespace=shop&limit=1").await;
    assert_eq!(body["items"][0]["name"], "db");
    let next = body["next"].as_str().unwrap();
    let (_, body) = served.get(&format!("/v1/services?namespace=shop&limit=1&cursor={next}")).await;
    assert_eq!(body["items"][0]["name"], "web");
    assert!(body.get("next").is_none());
}

#[tokio::test]
async fn certificates_are_listed_newest_first_with_their_state() {
    let served = serve(5).await;
    let mut seen: Vec<Certificate> = Vec::new();
    let mut path = "/v1/certificates?limit=2".to_owned();
    loop {
        let page: CertificatePage = serde_json::from_value(served.get(&path).await.1).unwrap();
        seen.extend(page.items);
        let Some(next) = page.next else { break };
        path = format!("/v1/certificates?limit=2&cursor={next}");
    }
    let told: Vec<_> = seen.iter().map(|row| (row.serial[31..].to_owned(), row.state.as_str())).collect();
    let expected = [("4", "valid"), ("3", "valid"), ("2", "valid"), ("1", "valid"), ("0", "expired")];
    assert_eq!(told, expected.map(|(serial, state)| (serial.to_owned(), state)));

    let (_, body) = served.get(&format!("/v1/certificates?identity={WEB}&limit=3")).await;
    let page: CertificatePage = serde_json::from_value(body).unwrap();
    assert_eq!(page.items.iter().map(|row| row.identity.as_str()).collect::<Vec<_>>(), [WEB; 3]);

    let (_, one) = served.get(&format!("/v1/certificates/{}", seen[1].serial.to_uppercase())).await;
    assert_eq!(serde_json::from_value::<Certificate>(one).unwrap(), seen[1]);
}

#[tokio::test]
async fn proxies_show_the_certificate_issued_last() {
    let served = serve(4).await;
    let page: ProxyPage = serde_json::from_value(served.get("/v1/proxies").await.1).unwrap();
    let told: Vec<_> = page
        .items
        .iter()
        .map(|proxy| {
            (proxy.name.as_str(), proxy.certificate.as_ref().map(|certificate| &certificate.serial[31..]))
        })
        .collect();
    assert_eq!(told, [("old", None), ("web-0", Some("2"))]);
    let (_, one) = served.get("/v1/proxies/default/web-0").await;
    assert_eq!(one["certificate"]["serial"], format!("{:032x}", 2));
}

#[tokio::test]
async fn readiness_has_the_status_of_what_it_says() {
    let served = serve(0).await;
    let (status, body) = served.get("/v1/readiness").await;
    assert_eq!(
        (status, &body["ready"], &body["problems"][0]["line"]),
        (StatusCode::OK, &json!(true), &json!(7))
    );
    *served.views.failed.lock().unwrap() = true;
    let (status, body) = served.get("/v1/readiness").await;
    assert_eq!((status, &body["checks"][0]["state"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("failed")));
}

#[tokio::test]
async fn the_version_is_this_programs() {
    let served = serve(0).await;
    let (_, body) = served.get("/v1/version").await;
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(body["schema"], weft_store::SCHEMA_VERSION);
}
