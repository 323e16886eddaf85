//! Everything an application may speak, with what its policy may say of it, with and without a second proxy: one function.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Version};
use hyper::body::Frame;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use weft_tests::{
    app::{HttpApp, tcp},
    ca::identity,
    client::{self, Client, connect, full, grpc, piecewise, read_exactly, read_to_end, read_until},
    metrics::Page,
    pair::{APP_PORT, Pair, Security},
    policy::Speaks,
    wait::soon,
};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http10,
    Http2,
    Grpc,
    WebSocket,
    Connect,
    Tcp,
    ServerFirst,
}

/// A row of the matrix.
async fn check(protocol: Protocol, speaks: Speaks, security: Security) {
    let pair = Pair::start(speaks, security).await;
    let scene = Scene { pair, security };
    match protocol {
        Protocol::Http1 => scene.http1().await,
        Protocol::Http10 => scene.http10().await,
        Protocol::Http2 => scene.http2().await,
        Protocol::Grpc => scene.grpc().await,
        Protocol::WebSocket => scene.websocket().await,
        Protocol::Connect => scene.connect().await,
        Protocol::Tcp => scene.tcp().await,
        Protocol::ServerFirst => scene.server_first().await,
    }
    let opaque = speaks == Speaks::Opaque || matches!(protocol, Protocol::Tcp | Protocol::ServerFirst);
    scene.check_security(opaque).await;
}

macro_rules! matrix {
    ($($name:ident: $protocol:ident $speaks:ident $security:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check(Protocol::$protocol, Speaks::$speaks, Security::$security).await;
        }
    )*};
}

matrix! {
    http1_detected_mutual: Http1 Detect Mutual;
    http1_detected_plain: Http1 Detect Plain;
    http1_told_mutual: Http1 Http1 Mutual;
    http1_told_plain: Http1 Http1 Plain;
    http1_opaque_mutual: Http1 Opaque Mutual;
    http1_opaque_plain: Http1 Opaque Plain;
    http10_detected_mutual: Http10 Detect Mutual;
    http10_detected_plain: Http10 Detect Plain;
    http2_detected_mutual: Http2 Detect Mutual;
    http2_detected_plain: Http2 Detect Plain;
    http2_told_mutual: Http2 Http2 Mutual;
    http2_told_plain: Http2 Http2 Plain;
    http2_opaque_mutual: Http2 Opaque Mutual;
    grpc_detected_mutual: Grpc Detect Mutual;
    grpc_detected_plain: Grpc Detect Plain;
    grpc_told_mutual: Grpc Grpc Mutual;
    grpc_told_plain: Grpc Grpc Plain;
    grpc_opaque_mutual: Grpc Opaque Mutual;
    websocket_detected_mutual: WebSocket Detect Mutual;
    websocket_detected_plain: WebSocket Detect Plain;
    websocket_told_mutual: WebSocket Http1 Mutual;
    websocket_opaque_mutual: WebSocket Opaque Mutual;
    connect_detected_mutual: Connect Detect Mutual;
    connect_detected_plain: Connect Detect Plain;
    tcp_detected_mutual: Tcp Detect Mutual;
    tcp_detected_plain: Tcp Detect Plain;
    tcp_opaque_mutual: Tcp Opaque Mutual;
    tcp_opaque_plain: Tcp Opaque Plain;
    server_first_opaque_mutual: ServerFirst Opaque Mutual;
    server_first_opaque_plain: ServerFirst Opaque Plain;
}

struct Scene {
    pair: Pair,
    security: Security,
}

const SERVER: &str = "http://server.default.svc.cluster.local";

fn uri(path: &str) -> String {
    format!("{SERVER}{path}")
}

impl Scene {
    async fn app(&self) -> HttpApp {
        HttpApp::start(self.pair.app_place(), APP_PORT, "server").await
    }

    async fn client(&self, version: Version) -> Client {
        let stream = connect(self.pair.client.place(), self.pair.entrance()).await;
        Client::over(stream, version).await
    }

    async fn http1(&self) {
        let app = self.app().await;
        let mut client = self.client(Version::HTTP_11).await;
        self.requests(&mut client, &app, Version::HTTP_11).await;

        // RFC 9110 9.3.2: the length of what GET would bring, and nothing after it.
        let head =
            Request::builder().method(Method::HEAD).uri(uri("/bytes/5")).body(client::empty()).unwrap();
        let reply = client.send(head).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
        assert_eq!(client.get(&uri("/name")).await.text(), "server");

        // RFC 9112 9.3.2: responses come in the order of the requests.
        let pipelined: String = (0..20)
            .map(|n| format!("GET /bytes/{n} HTTP/1.1\r\nhost: server\r\n\r\n"))
            .chain(["GET /name HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n".to_owned()])
            .collect();
        let answers = client::raw(self.pair.client.place(), self.pair.entrance(), pipelined.as_bytes()).await;
        let answers = String::from_utf8(answers).unwrap();
        let lengths: Vec<_> = answers
            .lines()
            .filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .collect();
        let expected: Vec<_> = (0..20).chain([6]).map(|n| n.to_string()).collect();
        assert_eq!(lengths, expected, "{answers}");
        assert!(answers.ends_with("server"), "{answers}");
    }

    /// What is the same for both versions.
    async fn requests(&self, client: &mut Client, app: &HttpApp, version: Version) {
        let reply = client.get(&uri("/name?a=%20b&c")).await;
        assert_eq!((reply.status.as_u16(), reply.version, reply.text().as_str()), (200, version, "server"));
        let seen = app.last();
        assert_eq!(seen.version, version);
        assert_eq!(seen.uri.path_and_query().unwrap(), "/name?a=%20b&c");
        let host = if version == Version::HTTP_11 {
            seen.header("host")
        } else {
            seen.uri.authority().unwrap().as_str()
        };
        assert_eq!(host, "server.default.svc.cluster.local");
        assert!(!seen.headers.keys().any(|name| name.as_str() == "l5d-orig-proto"), "{seen:?}");

        let body: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let reply = client.post(&uri("/echo"), body.clone()).await;
        assert!(reply.body == body, "{} of {} bytes came back", reply.body.len(), body.len());

        // Pieces of unknown length, and fields after them.
        let (pieces, body) = piecewise();
        let request = Request::post(uri("/echo"))
            .header("trailer", "x-after")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let sending = tokio::spawn(async move {
            for piece in 0..50 {
                pieces.send(Frame::data(format!("piece {piece} ").into())).await.unwrap();
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-after", "all".parse().unwrap());
            pieces.send(Frame::trailers(trailers)).await.unwrap();
        });
        let reply = client.send(request).await;
        sending.await.unwrap();
        assert!(reply.text().ends_with("piece 49 "), "{}", reply.text());
        assert_eq!(reply.trailers.as_ref().and_then(|trailers| trailers.get("x-after")).unwrap(), "all");

        for status in [201, 204, 304, 404, 500, 503] {
            assert_eq!(client.get(&uri(&format!("/status/{status}"))).await.status, status);
        }
        let reply = client.get(&uri("/drip/5/10")).await;
        assert_eq!(reply.text(), "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n");
        let reply = client.get(&uri("/bytes/1000000")).await;
        assert_eq!(reply.body.len(), 1_000_000);
    }

    /// RFC 1945: no host, no length; the connection's end is the content's.
    async fn http10(&self) {
        let app = self.app().await;
        let request = b"GET /name HTTP/1.0\r\nx-a: b\r\n\r\n";
        let answer = client::raw(self.pair.client.place(), self.pair.entrance(), request).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nserver"), "{answer}");
        assert_eq!(app.last().header("x-a"), "b");
    }

    async fn http2(&self) {
        let app = self.app().await;
        let mut client = self.client(Version::HTTP_2).await;
        self.requests(&mut client, &app, Version::HTTP_2).await;
        // Many at once, on one connection.
        let mut slow = self.client(Version::HTTP_2).await;
        let waiting = slow.start(client::get(&uri("/slow/300"))).await;
        assert_eq!(waiting.unwrap().status(), 200);
    }

    async fn grpc(&self) {
        let app = self.app().await;
        let mut client = self.client(Version::HTTP_2).await;
        let answer =
            grpc::call(&mut client, &uri("/test.Echo/Echo"), &[b"one", b"", &[7; 100_000]]).await.unwrap();
        assert_eq!(
            answer.messages,
            [Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 100_000])]
        );
        assert_eq!((answer.status, answer.in_head), (Some(0), false));
        assert_eq!(app.last().header("te"), "trailers");

        let answer = grpc::call(&mut client, &uri("/test.Echo/Fail"), &[b"one"]).await.unwrap();
        assert_eq!((answer.status, answer.message.as_str(), answer.in_head), (Some(5), "not here", true));
        let answer = grpc::call(&mut client, &uri("/test.Echo/Break"), &[b"one"]).await.unwrap();
        assert_eq!((answer.status, answer.messages.len()), (Some(13), 1));

        // Each message is answered before the next one is sent.
        let mut call = grpc::open(&mut client, &uri("/test.Echo/Echo")).await.unwrap();
        for n in 0..20 {
            let message = format!("message {n}");
            call.send(message.as_bytes()).await;
            assert_eq!(call.receive().await.unwrap().unwrap(), message);
        }
        call.end();
        assert!(call.receive().await.unwrap().is_none());
        assert_eq!(call.status(), Some(0));
    }

    async fn websocket(&self) {
        let app = self.app().await;
        let stream = connect(self.pair.client.place(), self.pair.entrance()).await;
        let request = "ws://server.default.svc.cluster.local/ws";
        let (mut socket, response) =
            soon("a handshake", tokio_tungstenite::client_async(request, stream)).await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(app.last().header("upgrade"), "websocket");
        for n in 0..20 {
            let message = Message::text(format!("message {n}").repeat(n * 50 + 1));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(soon("an echo", socket.next()).await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = soon("the end", socket.next()).await {}
    }

    async fn connect(&self) {
        let _app = self.app().await;
        let mut stream = connect(self.pair.client.place(), self.pair.entrance()).await;
        stream.write_all(b"CONNECT other.test:443 HTTP/1.1\r\nhost: other.test:443\r\n\r\n").await.unwrap();
        let head = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        stream.write_all(b"through").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 7).await, b"through");
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, b"");
    }

    async fn tcp(&self) {
        let _app = tcp::echo(self.pair.app_place(), APP_PORT).await;
        let mut stream = connect(self.pair.client.place(), self.pair.entrance()).await;
        stream.write_all(b"\x00\x01not a protocol\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 18).await, b"\x00\x01not a protocol\r\n");
        let body: Vec<u8> = (0..=255).cycle().take(2_000_000).collect();
        let (mut reader, mut writer) = stream.into_split();
        let sent = body.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            // Half of the connection ends; the other half still brings everything.
            writer.shutdown().await.unwrap();
        });
        let back = read_to_end(&mut reader).await;
        sending.await.unwrap();
        let end = back.len() - b"\n2000018 bytes\n".len();
        assert!(back[..end] == body[..], "{} bytes came back", back.len());
        assert_eq!(&back[end..], b"\n2000018 bytes\n");
    }

    async fn server_first(&self) {
        let _app = tcp::greeter(self.pair.app_place(), APP_PORT).await;
        let mut stream = connect(self.pair.client.place(), self.pair.entrance()).await;
        // Nothing is sent before the greeting is there.
        assert_eq!(read_exactly(&mut stream, tcp::GREETING.len()).await, tcp::GREETING);
        stream.write_all(b"EHLO\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 6).await, b"EHLO\r\n");
    }

    /// Who knew whom.
    async fn check_security(&self, opaque: bool) {
        let Pair { client, server, .. } = &self.pair;
        let (family, server_family) =
            if opaque { ("tcp_open_total", "tcp_open_total") } else { ("request_total", "request_total") };
        let peer: &[(&str, &str)] = if opaque { &[("peer", "dst")] } else { &[] };
        let count =
            |page: &Page, family: &str, labels: &[(&str, &str)]| page.sum(family, &[peer, labels].concat());
        let page = client.metrics().await;
        let (name, client_name) = (identity("server"), identity("client"));
        let mutual =
            count(&page, family, &[("direction", "outbound"), ("tls", "true"), ("server_id", &name)]);
        let all = count(&page, family, &[("direction", "outbound")]);
        match self.security {
            Security::Mutual => {
                assert!(mutual > 0.0 && mutual == all, "{}", page.describe(family));
                let page = server.metrics().await;
                let labels = [("direction", "inbound"), ("tls", "true"), ("client_id", &client_name)];
                let labels =
                    if opaque { [&labels[..], &[("peer", "src")]].concat() } else { labels.to_vec() };
                assert!(page.sum(server_family, &labels) > 0.0, "{}", page.describe(server_family));
            }
            Security::Plain => {
                assert!(mutual == 0.0 && all > 0.0, "{}", page.describe(family));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_told_who_its_client_is_and_clients_cannot_lie() {
    let pair = Pair::start(Speaks::Detect, Security::Mutual).await;
    let app = HttpApp::start(pair.app_place(), APP_PORT, "server").await;
    let mut client = Client::http1(pair.client.place(), pair.entrance()).await;
    let request = Request::post(uri("/echo"))
        .header("l5d-client-id", "somebody.else")
        .header("l5d-orig-proto", "HTTP/1.0")
        .header("connection", "x-hop")
        .header("x-hop", "one hop only")
        .body(full("x"))
        .unwrap();
    assert_eq!(client.send(request).await.status, 200);
    let seen = app.last();
    assert_eq!(seen.header("l5d-client-id"), identity("client"));
    assert_eq!(seen.version, Version::HTTP_11);
    assert!(!seen.headers.contains_key("x-hop"), "{seen:?}");
}
