//! Certificates: peers that must be refused are, with a metric, and a line that names both; renewal does not disturb anybody.

use crate::tls_error;
use http::Version;
use rustls::pki_types::CertificateDer;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, client::TlsStream};
use weft_tests::{
    app::{HttpApp, Listening, listen, tcp},
    ca::{Ca, Leaf, TRANSPORT_ALPN, Validity, identity},
    client::{
        Client, connect,
        mesh::{Peer, Session, header},
        read_exactly, read_to_end,
    },
    control::ControlPlane,
    pair::{APP_PORT, virtual_address},
    place::Place,
    policy::{self, Speaks},
    proxy::{Builder, INBOUND, Proxy},
    wait::{soon, until},
};

/// A proxy with an echoing application behind it.
struct Server {
    control: ControlPlane,
    proxy: Proxy,
    _app: Listening,
}

impl Server {
    async fn start() -> Self {
        let control = ControlPlane::start(&Place::loopback()).await;
        let proxy = Builder::new(&Place::loopback(), &control, "server").ready().await;
        let app = tcp::echo(proxy.place(), APP_PORT).await;
        Self { control, proxy, _app: app }
    }

    fn leaf(&self, name: &str) -> Leaf {
        self.control.ca().leaf(&identity(name), Validity::DAY)
    }

    /// Connects as `peer` and sends a line; what comes back.
    async fn ask(&self, peer: &Peer<'_>) -> Vec<u8> {
        let stream = peer.open(&Place::loopback(), self.proxy.inbound(), APP_PORT, Session::Opaque).await;
        let Ok(mut stream) = stream else { return Vec::new() };
        if stream.write_all(b"hello").await.is_err() {
            return Vec::new();
        }
        let _ = stream.shutdown().await;
        read_to_end(&mut stream).await
    }

    async fn errors(&self) -> f64 {
        self.proxy.metrics().await.sum("inbound_tcp_errors_total", &[])
    }

    /// Waits until one more connection was refused, with a line that says these things.
    async fn refused(&mut self, before: f64, parts: &[&str]) {
        let line = self.proxy.wait_for_line(parts).await;
        assert!(line.contains("inbound"), "{line}");
        self.proxy
            .wait_for_metrics("inbound_tcp_errors_total", |page| {
                page.sum("inbound_tcp_errors_total", &[]) >= before + 1.0
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_this_root_is_served() {
    let server = Server::start().await;
    let (leaf, name) = (server.leaf("friend"), identity("server"));
    let peer = Peer::good(server.control.ca(), &leaf, &name);
    assert_eq!(server.ask(&peer).await, b"hello\n5 bytes\n");
    assert_eq!(server.errors().await, 0.0);
    let page = server.proxy.metrics().await;
    let friend = identity("friend");
    let labels = [("client_id", friend.as_str()), ("target_port", "8080")];
    assert_eq!(page.sum("inbound_tcp_transport_header_connections_total", &labels), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_certificates_that_prove_nothing_are_refused() {
    let mut server = Server::start().await;
    let stranger = Ca::new();
    let name = identity("server");
    let expired = server.control.ca().leaf(&identity("late"), Validity::EXPIRED);
    let early = server.control.ca().leaf(&identity("early"), Validity { from: 3600, to: 7200 });
    let foreign = stranger.leaf(&identity("foreign"), Validity::DAY);
    let mut torn = server.leaf("torn");
    torn.chain.truncate(1);
    for (leaf, who, why) in [
        (&expired, "late", "has expired"),
        (&early, "early", "is not valid yet"),
        (&foreign, "foreign", "was not issued under our trust anchors"),
        (&torn, "torn", "was not issued under our trust anchors"),
    ] {
        let before = server.errors().await;
        let peer = Peer::good(server.control.ca(), leaf, &name);
        assert_eq!(server.ask(&peer).await, b"", "{who}");
        server.refused(before, &[why, &identity(who), &name]).await;
    }
    // And a client in order is served as before.
    let leaf = server.leaf("friend");
    assert_eq!(server.ask(&Peer::good(server.control.ca(), &leaf, &name)).await, b"hello\n5 bytes\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_no_mesh_peers_are_refused_on_the_direct_port() {
    let mut server = Server::start().await;
    let name = identity("server");
    let leaf = server.leaf("friend");
    let ca = Arc::new(Ca::new());
    let good = |shows, alpn| Peer { trusts: server.control.ca(), shows, alpn, asks_for: &name };
    let other_name = identity("other");
    let cases: [(&str, Peer<'_>); 3] = [
        ("no certificate", good(None, &[TRANSPORT_ALPN])),
        ("no protocol", good(Some(&leaf), &[])),
        ("another protocol", good(Some(&leaf), &[b"h2"])),
    ];
    for (what, peer) in cases {
        let before = server.errors().await;
        assert_eq!(server.ask(&peer).await, b"", "{what}");
        server
            .proxy
            .wait_for_metrics("inbound_tcp_errors_total", |page| {
                page.sum("inbound_tcp_errors_total", &[]) >= before + 1.0
            })
            .await;
    }
    // Somebody else's name is not ours to terminate, and on this port there is nowhere to pass it on to.
    let before = server.errors().await;
    let peer = Peer { trusts: &ca, shows: Some(&leaf), alpn: &[TRANSPORT_ALPN], asks_for: &other_name };
    assert!(peer.connect(&Place::loopback(), server.proxy.inbound()).await.is_err());
    server.refused(before, &["connection failed"]).await;
    // Nor is what is no TLS at all.
    let before = server.errors().await;
    let answer =
        weft_tests::client::raw(&Place::loopback(), server.proxy.inbound(), b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer, b"");
    server.refused(before, &["connection failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_handshake_must_be_a_transport_header() {
    let mut server = Server::start().await;
    let (leaf, name) = (server.leaf("friend"), identity("server"));
    let mut no_port = header(1, Session::Opaque);
    no_port.truncate(no_port.len() - 2);
    let mut long = header(APP_PORT, Session::Opaque);
    long[23..27].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    let cases: [(&str, &[u8]); 4] = [
        ("HTTP", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("noise", &weft_tests::app::bad::noise(200, 3)),
        ("a header that is longer than any", &long),
        ("port 0", b"transport.l5d.io/v1\r\n\r\n\0\0\0\x02\x08\x00"),
    ];
    for (what, bytes) in cases {
        let before = server.errors().await;
        let peer = Peer::good(server.control.ca(), &leaf, &name);
        let mut stream = peer.connect(&Place::loopback(), server.proxy.inbound()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, b"", "{what}");
        server.refused(before, &["connection failed", "header"]).await;
    }
    // Its own port would go round for ever.
    let before = server.errors().await;
    let peer = Peer::good(server.control.ca(), &leaf, &name);
    let mut stream =
        peer.open(&Place::loopback(), server.proxy.inbound(), INBOUND, Session::Opaque).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"");
    server.refused(before, &["connection failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_tls_in_the_middle_of_tls_end_the_connection() {
    let server = Server::start().await;
    let (leaf, name) = (server.leaf("friend"), identity("server"));
    let peer = Peer::good(server.control.ca(), &leaf, &name);
    let mut stream =
        peer.open(&Place::loopback(), server.proxy.inbound(), APP_PORT, Session::Opaque).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 5).await, b"hello");
    let (mut tcp, _) = stream.into_inner();
    tcp.write_all(&weft_tests::app::bad::noise(100, 7)).await.unwrap();
    read_to_end(&mut tcp).await;
    cut(&server.proxy, 1.0).await;
}

/// Waits until so many mesh connections have ended with what is no end.
async fn cut(proxy: &Proxy, times: f64) {
    let labels = [("direction", "inbound"), ("peer", "src"), ("tls", "true"), ("errno", "UNKNOWN")];
    proxy.wait_for_metrics("tcp_close_total", |page| page.sum("tcp_close_total", &labels) == times).await;
}

/// Says how its connection ended.
async fn ending(place: &Place, port: u16) -> (Listening, tokio::sync::mpsc::Receiver<(Vec<u8>, bool)>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let listening = listen(place, port, move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut all = Vec::new();
            let clean = stream.read_to_end(&mut all).await.is_ok();
            let _ = sender.send((all, clean)).await;
        }
    })
    .await;
    (listening, receiver)
}

/// RFC 8446 6.1: an end without `close_notify` may be an attacker's.
#[tokio::test(flavor = "multi_thread")]
async fn rfc8446_6_1_a_stream_that_is_cut_is_not_taken_for_one_that_ended() {
    let control = ControlPlane::start(&Place::loopback()).await;
    let proxy = Builder::new(&Place::loopback(), &control, "server").ready().await;
    let (_app, mut endings) = ending(proxy.place(), APP_PORT).await;
    let (leaf, name) = (control.ca().leaf(&identity("friend"), Validity::DAY), identity("server"));
    let peer = Peer::good(control.ca(), &leaf, &name);
    for told in [true, false] {
        let mut stream =
            peer.open(&Place::loopback(), proxy.inbound(), APP_PORT, Session::Opaque).await.unwrap();
        stream.write_all(b"half of it").await.unwrap();
        stream.flush().await.unwrap();
        if told {
            stream.shutdown().await.unwrap();
        } else {
            let (mut tcp, _) = stream.into_inner();
            tcp.shutdown().await.unwrap();
            read_to_end(&mut tcp).await;
        }
        let (bytes, clean) = soon("the end", endings.recv()).await.unwrap();
        assert_eq!(clean, told, "{}", String::from_utf8_lossy(&bytes));
        if told {
            assert_eq!(bytes, b"half of it");
        }
    }
    cut(&proxy, 1.0).await;
}

fn serial(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_while_connections_stay_open() {
    let control = ControlPlane::start(&Place::loopback()).await;
    control.script(|script| script.lifetime = Some(Duration::from_secs(3)));
    let proxy = Builder::new(&Place::loopback(), &control, "server")
        .set("IDENTITY_MIN_REFRESH", "100ms")
        .ready()
        .await;
    let _app = tcp::echo(proxy.place(), APP_PORT).await;
    let (leaf, name) = (control.ca().leaf(&identity("friend"), Validity::DAY), identity("server"));
    let peer = Peer::good(control.ca(), &leaf, &name);
    let mut old = peer.open(&Place::loopback(), proxy.inbound(), APP_PORT, Session::Opaque).await.unwrap();
    old.write_all(b"before").await.unwrap();
    assert_eq!(read_exactly(&mut old, 6).await, b"before");
    let renewed = control.counts().certified.load(std::sync::atomic::Ordering::Relaxed);
    // By the second renewal the first certificate has expired.
    until("two renewals", async || {
        let now = control.counts().certified.load(std::sync::atomic::Ordering::Relaxed);
        (now >= renewed + 2).then_some(())
    })
    .await;
    old.write_all(b"after").await.unwrap();
    assert_eq!(read_exactly(&mut old, 5).await, b"after");
    let other = until("another certificate", async || {
        let mut stream =
            peer.open(&Place::loopback(), proxy.inbound(), APP_PORT, Session::Opaque).await.unwrap();
        stream.write_all(b"new").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 3).await, b"new");
        (serial(&stream) != serial(&old)).then_some(stream)
    })
    .await;
    assert_eq!(other.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let page = proxy.metrics().await;
    assert!(page.sum("control_identity_cert_refreshes_total", &[("result", "success")]) >= 3.0);
    let expires = page.sum("control_identity_cert_expiration_timestamp_seconds", &[]);
    assert!(expires > page.sum("control_identity_cert_refresh_timestamp_seconds", &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_is_tried_again_and_the_old_certificate_goes_on() {
    let control = ControlPlane::start(&Place::loopback()).await;
    control.script(|script| script.lifetime = Some(Duration::from_secs(30)));
    let mut proxy = Builder::new(&Place::loopback(), &control, "server")
        .set("IDENTITY_MIN_REFRESH", "100ms")
        .set("IDENTITY_MAX_REFRESH", "300ms")
        .ready()
        .await;
    let _app = tcp::echo(proxy.place(), APP_PORT).await;
    control.script(|script| {
        let busy = tonic::Status::unavailable("busy signing");
        script.refusals.insert(weft_tests::control::Service::Identity, busy);
    });
    proxy.wait_for_line(&["not certified", "busy signing"]).await;
    assert_eq!(proxy.ask("/ready").await.unwrap().status, 200, "ready once is ready");
    let (leaf, name) = (control.ca().leaf(&identity("friend"), Validity::DAY), identity("server"));
    let peer = Peer::good(control.ca(), &leaf, &name);
    let mut stream = peer.open(&Place::loopback(), proxy.inbound(), APP_PORT, Session::Opaque).await.unwrap();
    stream.write_all(b"still").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 5).await, b"still");
    let failed = proxy.metrics().await.sum("control_identity_cert_refreshes_total", &[("result", "error")]);
    assert!(failed >= 1.0);
    control.script(|script| script.refusals.clear());
    let before = control.counts().certified.load(std::sync::atomic::Ordering::Relaxed);
    until("a renewal", async || {
        (control.counts().certified.load(std::sync::atomic::Ordering::Relaxed) > before).then_some(())
    })
    .await;
}

/// A certificate that does not fit is not installed: the proxy would be of no use to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_root_is_not_taken() {
    let control = ControlPlane::start(&Place::loopback()).await;
    let mut proxy = Builder::new(&Place::loopback(), &control, "server")
        .set("IDENTITY_TRUST_ANCHORS", Ca::new().anchors())
        .start();
    proxy.wait_for_line(&["not certified", "cannot be used", "trust anchors"]).await;
    assert_eq!(proxy.ask("/ready").await.unwrap().status, 503);
}

/// A server that shows `leaf`, whoever asks.
async fn pretender(ca: &Ca, leaf: &Leaf) -> (Place, Listening) {
    let place = Place::loopback();
    let acceptor = TlsAcceptor::from(ca.server(leaf, &[TRANSPORT_ALPN]));
    let listening = listen(&place, INBOUND, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    })
    .await;
    (place, listening)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_prove_who_they_should_be_get_nothing() {
    let control = ControlPlane::start(&Place::loopback()).await;
    let stranger = Ca::new();
    let name = identity("server");
    let cases = [
        (
            stranger.leaf(&name, Validity::DAY),
            &stranger,
            "was not issued under our trust anchors",
            name.clone(),
        ),
        (control.ca().leaf(&name, Validity::EXPIRED), control.ca(), "has expired", name.clone()),
        (
            control.ca().leaf(&identity("thief"), Validity::DAY),
            control.ca(),
            "does not match the expected identity",
            identity("thief"),
        ),
    ];
    for (leaf, ca, why, who) in cases {
        let (place, _server) = pretender(ca, &leaf).await;
        let target = virtual_address();
        for speaks in [Speaks::Http1, Speaks::Opaque] {
            control.script(|script| {
                script.outbound.insert(target, policy::service("server", speaks, policy::balancer("server")));
                let endpoint = policy::meshed(place.at(APP_PORT), &name, INBOUND, speaks == Speaks::Opaque);
                script.endpoints.insert(policy::path("server"), vec![endpoint]);
            });
            let mut proxy = Builder::new(&Place::loopback(), &control, "client").target(target).ready().await;
            let mut stream = connect(proxy.place(), proxy.to(target)).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n").await.unwrap();
            let answer = String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned();
            if speaks == Speaks::Http1 {
                assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
                assert!(answer.contains("l5d-proxy-error: "), "{answer}");
            } else {
                assert_eq!(answer, "");
            }
            let line = proxy.wait_for_line(&[why, &who, &identity("client")]).await;
            assert!(line.contains("outbound"), "{line}");
            let (family, page) = (tls_error(speaks), proxy.metrics().await);
            assert!(page.sum(family, &[]) >= 1.0, "{family}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meshed_endpoint_is_never_spoken_to_without_tls() {
    let control = ControlPlane::start(&Place::loopback()).await;
    let target = virtual_address();
    // Where TLS should be, there is a server that would answer in the clear.
    let place = Place::loopback();
    let app = HttpApp::start(&place, INBOUND, "in the clear").await;
    control.script(|script| {
        script.outbound.insert(target, policy::service("server", Speaks::Detect, policy::balancer("server")));
        let endpoint = policy::meshed(place.at(APP_PORT), &identity("server"), INBOUND, false);
        script.endpoints.insert(policy::path("server"), vec![endpoint]);
    });
    let proxy = Builder::new(&Place::loopback(), &control, "client").target(target).ready().await;
    let mut client = Client::over(connect(proxy.place(), proxy.to(target)).await, Version::HTTP_11).await;
    let reply = client.get("http://server/").await;
    assert!(reply.status.is_server_error(), "{reply:?}");
    assert_eq!(app.count(), 0);
}
