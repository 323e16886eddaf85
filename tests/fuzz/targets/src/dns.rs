//! DNS queries: an answer belongs to its query, fits in its packet and can be read.
//!
//! Input: a byte of choices, then a packet.

use std::{net::IpAddr, sync::LazyLock};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use weft_controlplane::dns::{
    answer::{Action, Transport, answer, with_code},
    zone::Zone,
};
use weft_model::Projection;

use crate::{input::Input, mesh};

static MESH: LazyLock<(Projection, Zone)> = LazyLock::new(|| {
    let zone = Zone {
        domain: "cluster.local".parse().unwrap(),
        control_plane_namespace: "linkerd".into(),
        control_plane: [10, 0, 0, 53].into(),
    };
    (mesh::mesh(), zone)
});

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let (mesh, zone) = &*MESH;
    let facts = mesh.facts();
    let mut input = Input::new(data);
    let choices = input.u8();
    let transport = if choices & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let client: IpAddr = if choices & 2 == 0 { [10, 8, 0, 3].into() } else { [192, 0, 2, 1].into() };
    let query = input.rest();
    let action = answer(query, client, transport, zone, facts);
    assert_eq!(action, answer(query, client, transport, zone, facts), "the same query, the same answer");
    let (reply, forwarded) = match action {
        Action::Drop => {
            assert!(query.len() < 12 || query[2] & 0x80 != 0, "only what is no query is dropped");
            return;
        }
        Action::Reply(reply) => (reply, false),
        Action::Forward(reply) => (reply, true),
    };
    check(query, &reply, transport);
    if forwarded {
        let other = with_code(&reply, ResponseCode::NXDomain);
        check(query, &other, transport);
        let code = Message::from_vec(&other).expect("our own answer").metadata.response_code;
        assert_eq!(code, ResponseCode::NXDomain);
    }
}

fn check(query: &[u8], reply: &[u8], transport: Transport) {
    let most = match transport {
        Transport::Udp => 1232,
        Transport::Tcp => usize::from(u16::MAX),
    };
    assert!(reply.len() <= most, "{} bytes", reply.len());
    let message = Message::from_vec(reply).unwrap_or_else(|e| panic!("{e}: {reply:x?}"));
    assert_eq!(&reply[..2], &query[..2], "the query's id");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    if let Ok(asked) = Message::from_vec(query)
        && let [question] = asked.queries.as_slice()
        && asked.metadata.op_code == OpCode::Query
    {
        assert_eq!(message.queries.as_slice(), std::slice::from_ref(question));
        assert_eq!(message.edns.is_some(), asked.edns.is_some());
        for record in &message.answers {
            assert_eq!(&record.name, question.name());
            assert!(record.ttl <= 5);
        }
    }
}

/// Queries.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let query = |name: &str, kind| {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    };
    let mut messages = vec![
        query("web", RecordType::A),
        query("web.shop.svc.cluster.local.", RecordType::A),
        query("WEB.default.", RecordType::AAAA),
        query("headless-0.headless.default.svc", RecordType::ANY),
        query("headless.default", RecordType::MX),
        query("nothing.default.svc.cluster.local.", RecordType::A),
        query("example.org.", RecordType::TXT),
        query("1.0.9.10.in-addr.arpa.", RecordType::PTR),
        query("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", RecordType::PTR),
        query("linkerd-dst-headless.linkerd.svc.cluster.local.", RecordType::A),
        query("cluster.local.", RecordType::SOA),
        query(".", RecordType::NS),
    ];
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_version(0);
    messages[1].set_edns(edns);
    let mut many = query("a", RecordType::A);
    many.add_query(many.queries[0].clone());
    messages.push(many);
    let mut update = query("a", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    messages.push(update);
    let mut response = query("a", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    messages.push(response);
    let mut seeds: Vec<Vec<u8>> = messages
        .iter()
        .enumerate()
        .map(|(n, m)| [&[n as u8 & 3], &m.to_vec().unwrap()[..]].concat())
        .collect();
    // A name that points to itself, and one cut short.
    seeds.push(b"\x00\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01".to_vec());
    seeds.push(b"\x00\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03we".to_vec());
    seeds
}
