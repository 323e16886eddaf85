//! Starting: what is wrong with an environment is said all at once; what a proxy waits for is said while it waits.

use http::Version;
use std::{fs, net::TcpListener};
use tonic::Status;
use weft_tests::{
    app::HttpApp,
    ca::identity,
    client::{Client, connect, get},
    control::{ControlPlane, Service},
    pair::{APP_PORT, Pair, Security},
    place::Place,
    policy::Speaks,
    proxy::Builder,
    wait::{soon, until},
};

async fn control() -> ControlPlane {
    ControlPlane::start(&Place::loopback()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_an_environment_is_told_at_once() {
    let control = control().await;
    let proxy = Builder::new(&Place::loopback(), &control, "web")
        .set("INBOUND_LISTEN_ADDR", "everywhere:4143")
        .set("OUTBOUND_CONNECT_TIMEOUT", "10 parsecs")
        .set("SHUTDOWN_ENDPOINT_ENABLED", "yes")
        .set("CORES", "none")
        .set("INBOUND_IPS", "10.0.0.1,10.0.0.256")
        .set("INBOUND_PORTS", "80,90000")
        .set("IDENTITY_TRUST_ANCHORS", "not a certificate")
        .set("CONTROL_STREAM_LIFETIME", "1s")
        .unset("POLICY_WORKLOAD")
        .unset("IDENTITY_TOKEN_FILE")
        .start();
    let ended = proxy.ended().await;
    let text = ended.text();
    assert_eq!(ended.code(), 64, "{text}");
    for (variable, value) in [
        ("INBOUND_LISTEN_ADDR", "everywhere:4143"),
        ("OUTBOUND_CONNECT_TIMEOUT", "10 parsecs"),
        ("SHUTDOWN_ENDPOINT_ENABLED", "yes"),
        ("CORES", "none"),
        ("INBOUND_IPS", "10.0.0.256"),
        ("INBOUND_PORTS", "90000"),
        ("IDENTITY_TRUST_ANCHORS", "not a certificate"),
        ("CONTROL_STREAM_LIFETIME", "1s"),
        ("POLICY_WORKLOAD", ""),
        ("IDENTITY_TOKEN_FILE", ""),
    ] {
        let variable = format!("LINKERD2_PROXY_{variable}");
        let line = ended.lines.iter().find(|line| line.contains(&variable));
        assert!(
            line.is_some_and(|line| line.contains(value)),
            "{variable} with {value:?} is not told:\n{text}"
        );
    }
    assert!(text.contains("10 variables are wrong"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_filter_that_makes_no_sense_is_an_environment_that_makes_none() {
    let control = control().await;
    let ended =
        Builder::new(&Place::loopback(), &control, "web").set("LOG", "linkerd=loud").start().ended().await;
    assert_eq!(ended.code(), 64, "{}", ended.text());
    assert!(ended.text().contains("LINKERD2_PROXY_LOG"), "{}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_its_variable() {
    let control = control().await;
    for (variable, port) in [
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", 4143),
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", 4140),
        ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", 4191),
    ] {
        let place = Place::loopback();
        let _taken = TcpListener::bind(place.at(port)).unwrap();
        let ended = Builder::new(&place, &control, "web").start().ended().await;
        let text = ended.text();
        assert_eq!(ended.code(), 1, "{text}");
        assert!(text.contains(variable) && text.contains(&place.at(port).to_string()), "{variable}:\n{text}");
        assert!(text.contains("in use"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_nobody_knows_is_a_warning() {
    let control = control().await;
    let mut proxy =
        Builder::new(&Place::loopback(), &control, "web").set("INBOUND_CONECT_TIMEOUT", "1s").ready().await;
    proxy.wait_for_line(&["WARN", "LINKERD2_PROXY_INBOUND_CONECT_TIMEOUT"]).await;
    let linkerds = proxy.process().line(&["WARN", "is not a variable"]).unwrap();
    assert!(linkerds.contains("CONECT"), "nothing that a stock injector sets is unknown: {linkerds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_not_there_yet_is_waited_for() {
    let control = ControlPlane::stopped(&Place::loopback());
    let mut proxy = Builder::new(&Place::loopback(), &control, "web").start();
    let reply = until("an answer that says what for", async || {
        let reply = proxy.ask("/ready").await?;
        reply.text().contains("last attempt").then_some(reply)
    })
    .await;
    assert_eq!(reply.status, 503);
    let text = reply.text();
    assert!(
        text.starts_with("not ready\n") && text.contains("certificate from the identity service"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert_eq!(proxy.ask("/live").await.unwrap().status, 200);
    control.restart().await;
    proxy.wait_until_ready().await;
    let text = proxy.ask("/ready").await.unwrap().text();
    assert_eq!(text, "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_before_the_certificate_are_served_when_it_is_there() {
    let control = control().await;
    control.script(|script| {
        script.refusals.insert(Service::Identity, Status::unavailable("not yet"));
    });
    let target = weft_tests::pair::virtual_address();
    let place = Place::loopback();
    let app = HttpApp::start(&place, APP_PORT, "early").await;
    control.script(|script| {
        let backend = weft_tests::policy::forward(weft_tests::policy::plain(place.at(APP_PORT)));
        script.outbound.insert(target, weft_tests::policy::service("early", Speaks::Detect, backend));
    });
    let mut proxy = Builder::new(&Place::loopback(), &control, "web").target(target).start();
    proxy.wait_for_line(&["not certified", "not yet"]).await;
    let stream = connect(proxy.place(), proxy.to(target)).await;
    let waiting =
        tokio::spawn(
            async move { Client::over(stream, Version::HTTP_11).await.get("http://early/name").await },
        );
    // It is in the kernel's queue: nothing is read of it until there is a certificate.
    proxy.wait_for_line(&["not certified", "retry_in"]).await;
    assert_eq!(app.count(), 0);
    assert!(!waiting.is_finished());
    control.script(|script| script.refusals.clear());
    assert_eq!(soon("an answer", waiting).await.unwrap().text(), "early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_keeps_the_proxy_from_being_ready_and_it_says_why() {
    let control = control().await;
    control.script(|script| {
        script.tokens.insert(identity("web"), "another token".into());
    });
    let mut proxy = Builder::new(&Place::loopback(), &control, "web").start();
    proxy
        .wait_for_line(&["not certified", "FailedPrecondition", "this is not the token of web.default"])
        .await;
    let reply = proxy.ask("/ready").await.unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("this is not the token of web.default"), "{}", reply.text());
    proxy
        .wait_for_metrics("control_identity_cert_refreshes_total", |page| {
            page.sum("control_identity_cert_refreshes_total", &[("result", "error")]) >= 2.0
        })
        .await;
    // A token renewed in place is read again.
    fs::write(proxy.token_file(), "another token\n").unwrap();
    proxy.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_gone_is_named() {
    let control = control().await;
    let mut proxy = Builder::new(&Place::loopback(), &control, "web")
        .set("IDENTITY_TOKEN_FILE", "/no/such/token")
        .start();
    proxy.wait_for_line(&["not certified", "/no/such/token", "No such file"]).await;
    let text = proxy.ask("/ready").await.unwrap().text();
    assert!(text.contains("/no/such/token"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_identity_directory_is_refused() {
    let control = control().await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key.p8"), "half").unwrap();
    let ended = Builder::new(&Place::loopback(), &control, "web")
        .set("IDENTITY_DIR", directory.path().display())
        .start()
        .ended()
        .await;
    assert_eq!(ended.code(), 1);
    assert!(ended.text().contains("only one of key.p8 and csr.der"), "{}", ended.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_pages() {
    let control = control().await;
    let proxy = Builder::new(&Place::loopback(), &control, "web").ready().await;
    let mut client = Client::http1(proxy.place(), proxy.admin()).await;
    let uri = |path: &str| format!("http://{}{path}", proxy.admin());
    for (path, status, body) in
        [("/live", 200, "live\n"), ("/ready", 200, "ready\n"), ("/nothing", 404, ""), ("/", 404, "")]
    {
        let reply = client.get(&uri(path)).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (status, body), "{path}");
    }
    let reply = client.post(&uri("/shutdown"), "").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED"), "{}", reply.text());

    let reply = client.get(&uri("/proxy-log-level")).await;
    assert!(reply.text().contains("linkerd=info"), "{}", reply.text());
    let put = |filter: &str| {
        let body = weft_tests::client::full(filter.to_owned());
        http::Request::put(uri("/proxy-log-level")).body(body).unwrap()
    };
    assert_eq!(client.send(put("weft=debug,linkerd=debug,warn")).await.status, 204);
    assert!(client.get(&uri("/proxy-log-level")).await.text().contains("weft=debug"));
    assert_eq!(client.send(put("linkerd=loud")).await.status, 400);

    let mut request = get(&uri("/env.json?LINKERD2_PROXY_CORES&LINKERD2_PROXY_NOT_THERE"));
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let reply = client.send(request).await;
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(json, serde_json::json!({"LINKERD2_PROXY_CORES": "1", "LINKERD2_PROXY_NOT_THERE": null}));
    assert_eq!(client.get(&uri("/env.json?A=b")).await.status, 400);

    // HTTP/2 on the same port.
    let mut client = Client::http2(proxy.place(), proxy.admin()).await;
    assert_eq!(client.get(&uri("/live")).await.text(), "live\n");
    let page = proxy.metrics().await;
    for family in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(page.sum(family, &[]) > 0.0, "{family}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_server_speaks_mesh_tls_to_those_who_want_it() {
    let control = control().await;
    let proxy = Builder::new(&Place::loopback(), &control, "web").ready().await;
    let config = control.ca().client(None, &[]);
    let stream = connect(proxy.place(), proxy.admin()).await;
    let name = identity("web").try_into().unwrap();
    let stream =
        soon("a handshake", tokio_rustls::TlsConnector::from(config).connect(name, stream)).await.unwrap();
    let mut client = Client::over(stream, Version::HTTP_11).await;
    assert_eq!(client.get("http://web/live").await.text(), "live\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_goes_away_breaks_nothing() {
    let pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let mut before = Client::http1(pair.client.place(), pair.entrance()).await;
    assert_eq!(before.get("http://server/name").await.text(), "server");
    pair.control.stop();
    let mut proxy = pair.client;
    proxy
        .wait_for_metrics("weft_control_streams_failed_total", |page| {
            page.sum("weft_control_streams_failed_total", &[]) > 0.0
        })
        .await;
    for _ in 0..10 {
        assert_eq!(before.get("http://server/name").await.text(), "server");
        let mut after = Client::http1(proxy.place(), proxy.to(pair.target)).await;
        assert_eq!(after.get("http://server/name").await.text(), "server");
    }
    assert_eq!(app.count(), 21);
    assert_eq!(proxy.ask("/ready").await.unwrap().status, 200);

    // It comes back with another endpoint, and the proxy learns of it.
    let other = Place::loopback();
    let _other = HttpApp::start(&other, APP_PORT, "other").await;
    pair.control.script(|script| {
        let endpoint = weft_tests::policy::plain(other.at(APP_PORT));
        script.endpoints.insert(weft_tests::policy::path("server"), vec![endpoint]);
    });
    pair.control.restart().await;
    until("the new endpoint", async || {
        let mut client = Client::http1(proxy.place(), proxy.to(pair.target)).await;
        (client.get("http://server/name").await.text() == "other").then_some(())
    })
    .await;
    proxy.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_back_with_backoff() {
    let pair = Pair::with(
        Speaks::Detect,
        Security::Mutual,
        |client| {
            client
                .set("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "200ms")
                .set("OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "400ms")
        },
        |server| server,
    )
    .await;
    let _app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
    assert_eq!(client.get("http://server/name").await.text(), "server");
    let opened = pair.control.counts().opened.get(Service::Endpoints);
    pair.control.script(|script| {
        script.refusals.insert(Service::Endpoints, Status::unavailable("busy"));
    });
    let start = std::time::Instant::now();
    until("three more attempts", async || {
        (pair.control.counts().opened.get(Service::Endpoints) >= opened + 3).then_some(())
    })
    .await;
    let took = start.elapsed();
    // 200, 400, 400 ms and up to a tenth more; not a storm.
    assert!(took >= std::time::Duration::from_millis(900), "{took:?}");
    assert_eq!(client.get("http://server/name").await.text(), "server", "what was known stays in force");
    pair.control.script(|script| script.refusals.clear());
    until("one open stream", async || {
        (pair.control.counts().open.get(Service::Endpoints) == 1).then_some(())
    })
    .await;
}
