//! DNS over loopback, and its pure parts by example.

use std::{net::Ipv4Addr, str::FromStr};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::sync::watch;
use weft_model::{
    Event, Settings,
    fact::{Id, Service, Workload},
    facts::Facts,
};

use super::*;

fn mesh() -> Mesh {
    let mesh = Mesh::new(Settings::new(
        "cluster.local".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "linkerd",
    ));
    let service = |namespace: &str, name: &str, address: &str| {
        let mut service = Service::new(Id::new(namespace, name));
        service.addresses = Vec::from_iter(address.parse());
        Event::Service(service.into())
    };
    let workload = |name: &str, service: &str, address: &str, namespace: &str| {
        Event::Workload(
            Workload {
                id: Id::new(namespace, name),
                addresses: vec![address.parse().unwrap()],
                service: Some(service.into()),
                hostname: Some(name.into()),
                service_account: service.into(),
                labels: Default::default(),
                owner: None,
                ports: Vec::new(),
                ready: true,
                proxy: None,
                opaque_ports: None,
                default_policy: None,
            }
            .into(),
        )
    };
    mesh.apply([
        service("default", "web", "10.9.0.1"),
        service("shop", "web", "10.9.0.2"),
        service("default", "six", "fd00::1"),
        service("default", "headless", "none"),
        workload("web-0", "web", "10.8.0.1", "default"),
        workload("headless-0", "headless", "10.8.0.2", "default"),
        workload("headless-1", "headless", "10.8.0.3", "default"),
        workload("cart-0", "cart", "127.0.0.9", "shop"),
    ]);
    mesh
}

fn zone() -> Zone {
    Zone {
        domain: "cluster.local".parse().unwrap(),
        control_plane_namespace: "linkerd".into(),
        control_plane: "10.0.0.53".parse().unwrap(),
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

/// The response code and the records' data, sorted.
fn show(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!((message.metadata.id, message.metadata.message_type), (0x1234, MessageType::Response));
    let mut records: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    records.sort();
    format!("{:?} {}", message.metadata.response_code, records.join(" ")).trim_end().to_owned()
}

fn ask(facts: &Facts, name: &str, kind: RecordType, client: &str) -> String {
    let query = query(name, kind).to_vec().unwrap();
    match answer(&query, client.parse().unwrap(), Transport::Udp, &zone(), facts) {
        Action::Reply(reply) => show(&reply),
        Action::Forward(_) => "forward".to_owned(),
        Action::Drop => "drop".to_owned(),
    }
}

#[test]
fn names_mean_services_workloads_and_the_control_plane() {
    let mesh = mesh();
    for (name, expected) in [
        ("web.", "NoError 10.9.0.1"),
        ("web", "NoError 10.9.0.1"),
        ("WEB.Default.Svc.Cluster.Local.", "NoError 10.9.0.1"),
        ("web.default.", "NoError 10.9.0.1"),
        ("web.shop.", "NoError 10.9.0.2"),
        ("web.shop.svc.", "NoError 10.9.0.2"),
        ("web-0.web.default.svc.cluster.local.", "NoError 10.8.0.1"),
        ("web-0.web.default.", "NoError 10.8.0.1"),
        ("web-9.web.default.svc.cluster.local.", "NXDomain"),
        ("headless.", "NoError 10.8.0.2 10.8.0.3"),
        ("six.", "NoError"),
        ("linkerd-identity-headless.linkerd.svc.cluster.local.", "NoError 10.0.0.53"),
        ("linkerd-policy.linkerd.", "NoError 10.0.0.53"),
        ("none.default.svc.cluster.local.", "NXDomain"),
        ("example.com.default.svc.cluster.local.", "NXDomain"),
        ("a.cluster.local.", "NXDomain"),
        ("default.svc.cluster.local.", "NoError"),
        ("svc.cluster.local.", "NoError"),
        ("cluster.local.", "NoError"),
        ("none.", "forward"),
        ("example.com.", "forward"),
        ("xcluster.local.", "forward"),
        ("a.b.c.d.e.", "forward"),
        (".", "forward"),
    ] {
        assert_eq!(mesh.read(|mesh| ask(mesh.facts(), name, RecordType::A, "192.0.2.1")), expected, "{name}");
    }
}

#[test]
fn other_types_of_names_that_exist_are_empty() {
    let mesh = mesh();
    for (name, kind, expected) in [
        ("web.", RecordType::AAAA, "NoError"),
        ("web.", RecordType::MX, "NoError"),
        ("web.", RecordType::ANY, "NoError 10.9.0.1"),
        ("six.", RecordType::AAAA, "NoError fd00::1"),
        ("1.0.9.10.in-addr.arpa.", RecordType::PTR, "NoError web.default.svc.cluster.local."),
        ("1.0.8.10.in-addr.arpa.", RecordType::PTR, "NoError web-0.web.default.svc.cluster.local."),
        ("1.2.0.192.in-addr.arpa.", RecordType::PTR, "forward"),
        ("10.in-addr.arpa.", RecordType::PTR, "forward"),
    ] {
        assert_eq!(mesh.read(|mesh| ask(mesh.facts(), name, kind, "192.0.2.1")), expected, "{name} {kind}");
    }
}

#[test]
fn short_names_are_of_the_clients_namespace() {
    let mesh = mesh();
    assert_eq!(mesh.read(|mesh| ask(mesh.facts(), "web.", RecordType::A, "127.0.0.9")), "NoError 10.9.0.2");
}

#[test]
fn negative_answers_say_for_how_long() {
    let query = query("none.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let mesh = mesh();
    let action =
        mesh.read(|mesh| answer(&query, Ipv4Addr::LOCALHOST.into(), Transport::Udp, &zone(), mesh.facts()));
    let Action::Reply(reply) = action else { panic!("{action:?}") };
    let reply = Message::from_vec(&reply).unwrap();
    assert!(reply.metadata.authoritative);
    let RData::SOA(soa) = &reply.authorities[0].data else { panic!("{reply:?}") };
    assert_eq!((soa.minimum, reply.authorities[0].ttl), (5, 5));
}

#[test]
fn edns_is_answered_with_edns_and_cut_to_what_fits() {
    let mesh = mesh();
    let pods: Vec<Event> = (0..100)
        .map(|index| {
            let mut service = Service::new(Id::new("default", "many"));
            service.addresses = (0..=index).map(|last| Ipv4Addr::new(10, 7, 0, last).into()).collect();
            Event::Service(service.into())
        })
        .collect();
    mesh.apply(pods);
    let mut message = query("many.", RecordType::A);
    let ask = |message: &Message, transport| {
        let query = message.to_vec().unwrap();
        let action =
            mesh.read(|mesh| answer(&query, Ipv4Addr::LOCALHOST.into(), transport, &zone(), mesh.facts()));
        let Action::Reply(reply) = action else { panic!("{action:?}") };
        (reply.len(), Message::from_vec(&reply).unwrap())
    };
    let (length, reply) = ask(&message, Transport::Udp);
    assert!(length <= 512 && reply.metadata.truncation && reply.edns.is_none());
    let (_, reply) = ask(&message, Transport::Tcp);
    assert_eq!((reply.answers.len(), reply.metadata.truncation), (100, false));
    let mut edns = Edns::new();
    edns.set_max_payload(65_000);
    message.set_edns(edns);
    let (length, reply) = ask(&message, Transport::Udp);
    assert!(length <= 1232 && reply.edns.is_some());
}

#[test]
fn what_is_no_query_is_dropped_or_answered_with_an_error() {
    let mesh = mesh();
    let good = query("web.", RecordType::A).to_vec().unwrap();
    let act = |bytes: &[u8]| {
        mesh.read(|mesh| answer(bytes, Ipv4Addr::LOCALHOST.into(), Transport::Udp, &zone(), mesh.facts()))
    };
    assert_eq!(act(b""), Action::Drop);
    assert_eq!(act(&good[..11]), Action::Drop);
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(act(&response), Action::Drop, "a response is never answered");
    let code = |bytes: &[u8]| match act(bytes) {
        Action::Reply(reply) => Message::from_vec(&reply).unwrap().metadata.response_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&good[..good.len() - 1]), ResponseCode::FormErr);
    let mut two = query("web.", RecordType::A);
    two.add_query(Query::query(Name::from_str("web.").unwrap(), RecordType::A));
    assert_eq!(code(&two.to_vec().unwrap()), ResponseCode::FormErr);
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert_eq!(code(&update), ResponseCode::NotImp);
    // Whatever bytes come, there is an answer or none, and nothing worse.
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[position] ^= 1 << bit;
            let _ = act(&bytes);
            let _ = act(&bytes[..position]);
        }
    }
}

struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    _stop: watch::Sender<bool>,
}

async fn start(upstreams: Vec<SocketAddr>, patience: Duration) -> Running {
    let (udp, tcp, address) = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let server = Server {
        mesh: mesh(),
        zone: Arc::new(zone()),
        forwarder: Forwarder::new(upstreams, patience),
        metrics: metrics.clone(),
        stopping,
    };
    tokio::spawn(server.clone().run_udp(udp));
    tokio::spawn(server.run_tcp(tcp));
    Running { address, metrics, _stop: stop }
}

async fn ask_udp(server: SocketAddr, message: &Message) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
    show(&buffer[..length])
}

async fn ask_tcp(stream: &mut TcpStream, message: &Message) -> String {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    show(&timeout(Duration::from_secs(5), read(stream)).await.unwrap().unwrap())
}

/// An upstream resolver that knows one address for every name, and lies first.
async fn upstream() -> SocketAddr {
    let (udp, tcp, address) = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let reply = |query: &[u8]| {
        let mut message = Message::from_vec(query).unwrap().into_response();
        let name = message.queries[0].name().clone();
        message.add_answer(hickory_proto::rr::Record::from_rdata(
            name,
            60,
            RData::A(Ipv4Addr::new(192, 0, 2, 9).into()),
        ));
        message.to_vec().unwrap()
    };
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            let good = reply(&buffer[..length]);
            let mut forged = good.clone();
            forged[0] ^= 0xff;
            udp.send_to(&forged, client).await.unwrap();
            udp.send_to(&good, client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let good = reply(&read(&mut stream).await.unwrap());
            stream.write_u16(u16::try_from(good.len()).unwrap()).await.unwrap();
            stream.write_all(&good).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn packets_and_connections_are_answered() {
    let server = start(Vec::new(), Duration::from_secs(1)).await;
    assert_eq!(ask_udp(server.address, &query("web.", RecordType::A)).await, "NoError 10.9.0.1");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_tcp(&mut stream, &query("web.shop.", RecordType::A)).await, "NoError 10.9.0.2");
    assert_eq!(
        ask_tcp(&mut stream, &query("web.", RecordType::A)).await,
        "NoError 10.9.0.1",
        "again on the same"
    );
    assert_eq!(
        ask_udp(server.address, &query("example.com.", RecordType::A)).await,
        "NXDomain",
        "no upstream"
    );
    assert_eq!(server.metrics.dns.answered.value(), 4);
}

#[tokio::test]
async fn other_names_are_passed_on() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = dead.local_addr().unwrap();
    let server = start(vec![silent, upstream().await], Duration::from_millis(100)).await;
    assert_eq!(ask_udp(server.address, &query("example.com.", RecordType::A)).await, "NoError 192.0.2.9");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_tcp(&mut stream, &query("example.com.", RecordType::A)).await, "NoError 192.0.2.9");
    assert_eq!(server.metrics.dns.forwarded.value(), 2);
}

#[tokio::test]
async fn silent_upstreams_are_a_failure_in_time() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = start(vec![dead.local_addr().unwrap()], Duration::from_millis(50)).await;
    assert_eq!(ask_udp(server.address, &query("example.com.", RecordType::A)).await, "ServFail");
    assert_eq!(server.metrics.dns.upstream_failed.value(), 1);
}

#[tokio::test]
async fn the_number_of_waiting_queries_is_bounded() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let forwarder = Forwarder::new(vec![dead.local_addr().unwrap()], Duration::from_secs(60));
    let metrics = Arc::new(crate::metrics::DnsMetrics::default());
    let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
    let waiting: Vec<_> = (0..forward::MAX_FORWARDED)
        .map(|_| {
            let (forwarder, metrics, bytes) = (forwarder.clone(), metrics.clone(), bytes.clone());
            tokio::spawn(async move { forwarder.forward(&bytes, Transport::Udp, &metrics).await })
        })
        .collect();
    while metrics.waiting.value() < i64::try_from(forward::MAX_FORWARDED).unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(forwarder.forward(&bytes, Transport::Udp, &metrics).await, Err(NotForwarded::Failed));
    assert_eq!(metrics.refused.value(), 1);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
