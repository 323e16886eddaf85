//! Connections in masses: slow ones, silent ones, broken ones, ones that speak nothing.

use super::{DOORS, Door, MIB, Scene};
use std::{net::SocketAddr, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use weft_tests::{
    app::bad::{noise, reset},
    client::{Client, connect, mesh::Session, read_to_end, try_connect},
    place::Place,
    wait::soon,
};

/// So many connections, each after having sent `first`.
async fn masses(place: &Place, to: SocketAddr, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = connect(place, to).await;
        stream.write_all(first).await.unwrap();
        all.push(stream);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_heads_that_never_end_are_closed_in_time() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    let before = scene.proxy(Door::Outbound).metrics().await.held("accepted_connections");
    let first = b"GET /slow HTTP/1.1\r\nhost: h\r\nx-slow: ";
    let slow = masses(scene.pair.client.place(), scene.pair.entrance(), 5000, first).await;
    scene
        .proxy(Door::Outbound)
        .wait_for_metrics("weft_worker_held", |page| page.held("accepted_connections") >= before + 4990.0)
        .await;
    let grown = scene.grown(Door::Outbound);
    assert!(grown < 40 * MIB, "{} MiB more for 5,000 slow clients", grown / MIB);
    // Each of them sends another byte now and then, which does not help.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(45);
    let ending = slow.into_iter().map(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let drip = async {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
        tokio::select! {
            _ = reading => {}
            () = drip => {}
        }
        answer
    });
    let answers = tokio::time::timeout_at(deadline, futures_util::future::join_all(ending)).await;
    let answers = answers.expect("all are closed within 45 s: 30 s is the limit of a head");
    let told = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 408 ")).count();
    // Where a byte was on its way as the connection was closed, the kernel may have dropped the answer.
    assert!(told > 4000, "{told} of 5,000 were told");
    scene
        .proxy(Door::Outbound)
        .wait_for_metrics("weft_worker_slow_clients_total", |page| {
            page.sum("weft_worker_slow_clients_total", &[]) >= 5000.0
        })
        .await;
    assert!(scene.app.seen().iter().all(|seen| seen.uri.path() == "/name"));
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_silent_connections_cost_little() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    let silent = masses(scene.pair.client.place(), scene.pair.entrance(), 5000, b"").await;
    scene
        .proxy(Door::Outbound)
        .wait_for_metrics("weft_worker_held", |page| page.held("accepted_connections") >= 4990.0)
        .await;
    let grown = scene.grown(Door::Outbound);
    assert!(grown < 30 * MIB, "{} MiB more for 5,000 silent clients", grown / MIB);
    drop(silent);
    scene
        .proxy(Door::Outbound)
        .wait_for_metrics("weft_worker_held", |page| page.held("accepted_connections") < 10.0)
        .await;
    good.served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_hold_nothing_but_their_place() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    for door in DOORS {
        let mut slow = Vec::new();
        for _ in 0..300 {
            let mut stream = scene.attack(door, Session::Http1).await;
            stream
                .write_all(b"POST /held HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\nx")
                .await
                .unwrap();
            slow.push(stream);
        }
        scene.proxy(door).wait_for_metrics("weft_worker_held", |page| page.held("exchanges") >= 300.0).await;
        let grown = scene.grown(door);
        assert!(grown < 40 * MIB, "{door:?}: {} MiB more for 300 slow bodies", grown / MIB);
        drop(slow);
        scene.proxy(door).wait_for_metrics("weft_worker_held", |page| page.held("exchanges") < 10.0).await;
    }
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_no_protocol_to_every_port_do_no_harm() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    let place = scene.pair.client.place().clone();
    let ports = [
        scene.pair.entrance(),
        scene.pair.client.inbound(),
        scene.pair.client.admin(),
        scene.pair.server.inbound(),
    ];
    for port in ports {
        for seed in 0..150_u64 {
            let Ok(mut stream) = try_connect(&place, port).await else { continue };
            let mut bytes = noise(usize::try_from(1 + seed * 37 % 3000).unwrap(), seed + 1);
            match seed % 5 {
                // Something that begins like TLS, HTTP/1, HTTP/2, and then is none.
                0 => bytes.splice(..0, *b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").for_each(drop),
                1 => bytes.splice(..0, *b"GET / HTTP/1.1\r\n").for_each(drop),
                2 => bytes.splice(..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").for_each(drop),
                _ => {}
            }
            let _ = stream.write_all(&bytes).await;
            match seed % 3 {
                0 => reset(stream),
                1 => drop(stream),
                _ => {
                    let _ = stream.shutdown().await;
                    // What it makes of it, it ends with it.
                    soon("the end of nonsense", read_to_end(&mut stream)).await;
                }
            }
        }
    }
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_in_masses_leave_nothing_behind() {
    let scene = Scene::start().await;
    let good = scene.good_client();
    let place = scene.pair.client.place().clone();
    for round in 0..1500 {
        let mut stream = connect(&place, scene.pair.entrance()).await;
        let requests: [&[u8]; 4] = [
            b"",
            b"GET /slow/1000 HTTP/1.1\r\nhost: h\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf",
            b"\x00\x01\x02\x03 opaque bytes",
        ];
        stream.write_all(requests[round % 4]).await.unwrap();
        reset(stream);
    }
    good.served().await;
    scene.all_is_gone().await;
    for (proxy, family) in [(&scene.pair.client, "tcp_open_connections")] {
        proxy
            .wait_for_metrics(family, |page| {
                page.sum(family, &[("direction", "outbound"), ("peer", "src")]) == 0.0
            })
            .await;
    }
}

/// Half of a connection is closed and nothing is read any more: the answer has nowhere to go.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_reading_stop_the_server() {
    let mut scene = Scene::start().await;
    let good = scene.good_client();
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(scene.pair.client.place(), scene.pair.entrance()).await;
        stream.write_all(b"GET /bytes/20000000 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        deaf.push(stream);
    }
    scene
        .proxy(Door::Outbound)
        .wait_for_metrics("weft_worker_held", |page| page.held("exchanges") >= 50.0)
        .await;
    // A gigabyte was asked for.
    for door in DOORS {
        let grown = scene.grown(door);
        assert!(grown < 64 * MIB, "{door:?}: {} MiB more", grown / MIB);
    }
    drop(deaf);
    good.served().await;
    scene.all_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_however_many_wait_at_the_admin_port() {
    let scene = Scene::start().await;
    let proxy = &scene.pair.client;
    let silent = masses(proxy.place(), proxy.admin(), 400, b"").await;
    let mut client = Client::http1(proxy.place(), proxy.admin()).await;
    assert_eq!(client.get("http://proxy/live").await.text(), "live\n");
    drop(silent);
}
