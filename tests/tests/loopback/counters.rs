//! The metrics page says exactly what was sent, on both proxies.

use http::Version;
use tokio::io::AsyncWriteExt;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::identity,
    client::{Client, connect, grpc, read_to_end},
    metrics::Page,
    pair::{APP_PORT, Pair, Security},
    policy::Speaks,
    proxy::Proxy,
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_responses_are_counted_to_the_last_one() {
    let pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let _app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut client = Client::over(connect(pair.client.place(), pair.entrance()).await, version).await;
        for (path, times) in [("/name", 30), ("/status/404", 20), ("/status/500", 10), ("/status/503", 5)] {
            for _ in 0..times {
                client.get(&format!("http://server{path}")).await;
            }
        }
    }
    let mut client = Client::http2(pair.client.place(), pair.entrance()).await;
    for (method, times) in [("Echo", 7), ("Fail", 5), ("Break", 3)] {
        for _ in 0..times {
            grpc::call(&mut client, &format!("http://server/test.Echo/{method}"), &[b"m"]).await.unwrap();
        }
    }
    let (server_id, client_id) = (identity("server"), identity("client"));
    let sides: [(&Proxy, &[(&str, &str)]); 2] = [
        (&pair.client, &[("direction", "outbound"), ("tls", "true"), ("server_id", &server_id)]),
        (
            &pair.server,
            &[
                ("direction", "inbound"),
                ("tls", "true"),
                ("client_id", &client_id),
                ("srv_name", "all-unauthenticated"),
            ],
        ),
    ];
    let total = 2.0 * 65.0 + 15.0;
    for (proxy, labels) in sides {
        let with = |more: &[(&'static str, &'static str)]| [labels, more].concat();
        // The last response's end may still be on its way when its last byte has arrived.
        let page = proxy
            .wait_for_metrics("response_total", |page| page.sum("response_total", labels) >= total)
            .await;
        let count = |more: &[(&'static str, &'static str)]| page.sum("response_total", &with(more));
        assert_eq!(page.sum("request_total", labels), total, "{}", page.describe("request_total"));
        for (status, class, times) in
            [("404", "success", 40.0), ("500", "failure", 20.0), ("503", "failure", 10.0)]
        {
            let found = count(&[("status_code", status), ("classification", class)]);
            assert_eq!(found, times, "{status}:\n{}", page.describe("response_total"));
        }
        assert_eq!(count(&[("status_code", "200"), ("grpc_status", "")]), 60.0);
        for (status, class, times) in [("0", "success", 7.0), ("5", "success", 5.0), ("13", "failure", 3.0)] {
            let found = count(&[("grpc_status", status), ("classification", class)]);
            assert_eq!(found, times, "gRPC {status}:\n{}", page.describe("response_total"));
        }
        assert_eq!(page.sum("response_total", labels), total);
        assert_eq!(page.sum("response_latency_ms_count", labels), total);
        assert_eq!(page.held("exchanges"), 0.0, "{}", page.describe("weft_worker_held"));
    }
    let page = pair.client.metrics().await;
    let statuses =
        |family: &str, status: &str| page.sum(family, &[("parent_name", "server"), ("http_status", status)]);
    assert_eq!(statuses("outbound_http_route_request_statuses_total", "500"), 20.0);
    assert_eq!(statuses("outbound_http_route_backend_response_statuses_total", "404"), 40.0);
    let labels = [("backend_name", "server"), ("route_name", "http")];
    assert_eq!(page.sum("outbound_http_route_backend_requests_total", &labels), total);
    let page = pair.server.metrics().await;
    let labels = [("authz_name", "all"), ("route_name", "default"), ("client_id", client_id.as_str())];
    assert_eq!(page.sum("inbound_http_authz_allow_total", &labels), total);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_connections_are_counted() {
    let pair = Pair::start(Speaks::Opaque, Security::Mutual).await;
    let _app = tcp::echo(pair.app_place(), APP_PORT).await;
    let (connections, bytes) = (20_u32, 10_000_u32);
    let end = format!("\n{bytes} bytes\n").len();
    for _ in 0..connections {
        let mut stream = connect(pair.client.place(), pair.entrance()).await;
        stream.write_all(&vec![7; usize::try_from(bytes).unwrap()]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.len(), usize::try_from(bytes).unwrap() + end);
    }
    let there = f64::from(connections * bytes);
    let back = there + f64::from(connections) * f64::from(u32::try_from(end).unwrap());
    for proxy in [&pair.client, &pair.server] {
        let direction = if std::ptr::eq(proxy, &pair.client) { "outbound" } else { "inbound" };
        let sum = |page: &Page, family: &str, peer: &str| {
            page.sum(family, &[("direction", direction), ("peer", peer)])
        };
        let page = proxy
            .wait_for_metrics("tcp_close_total", |page| {
                sum(page, "tcp_close_total", "src") == f64::from(connections)
                    && sum(page, "tcp_close_total", "dst") == f64::from(connections)
            })
            .await;
        for peer in ["src", "dst"] {
            assert_eq!(sum(&page, "tcp_open_total", peer), f64::from(connections), "{direction} {peer}");
            assert_eq!(sum(&page, "tcp_open_connections", peer), 0.0, "{direction} {peer}");
        }
        // Mutual TLS adds to what is read and written on the mesh's side; the application's side is exact.
        let app_side = if direction == "outbound" { "src" } else { "dst" };
        let (read, written) = if direction == "outbound" { (there, back) } else { (back, there) };
        assert_eq!(
            sum(&page, "tcp_read_bytes_total", app_side),
            read,
            "{}",
            page.describe("tcp_read_bytes_total")
        );
        assert_eq!(
            sum(&page, "tcp_write_bytes_total", app_side),
            written,
            "{}",
            page.describe("tcp_write_bytes_total")
        );
        assert_eq!(page.held("accepted_connections"), 0.0, "{}", page.describe("weft_worker_held"));
        assert_eq!(page.held("buffered_bytes"), 0.0, "{}", page.describe("weft_worker_held"));
    }
    let page = pair.client.metrics().await;
    assert_eq!(
        page.sum("outbound_tcp_route_open_total", &[("parent_name", "server")]),
        f64::from(connections)
    );
    let page = pair.server.metrics().await;
    let labels = [("session_protocol", ""), ("target_port", "8080")];
    assert_eq!(page.sum("inbound_tcp_transport_header_connections_total", &labels), f64::from(connections));
    assert_eq!(
        page.sum("inbound_tcp_authz_allow_total", &[("srv_name", "all-unauthenticated")]),
        f64::from(connections)
    );
}
