//! A query's bytes to an answer's bytes. Pure.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR, SOA},
    },
};
use weft_model::facts::Facts;

use super::zone::{Meaning, Zone};

/// How long an answer may be kept, in seconds: services come and go.
const TTL: u32 = 5;

/// The most bytes of a UDP answer to a client that does not say how much it takes (RFC 1035 section 4.2.1).
const DEFAULT_PAYLOAD: u16 = 512;

/// The most bytes of a UDP answer in any case; what is sent on paths of 1,500 bytes without fragments.
const MAX_PAYLOAD: u16 = 1232;

/// The bytes of a header (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;

/// What is done with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This is answered.
    Reply(Vec<u8>),
    /// It is passed on. When nobody takes it, this is answered.
    Forward(Vec<u8>),
    /// It is not a query: nothing is said, because two servers could go on saying things to each other.
    Drop,
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a packet: answers are small.
    Udp,
    /// In a stream.
    Tcp,
}

/// Decides what is done with a query.
#[must_use]
pub fn answer(query: &[u8], client: IpAddr, transport: Transport, zone: &Zone, facts: &Facts) -> Action {
    let Some((id, is_response)) = header(query) else { return Action::Drop };
    if is_response {
        return Action::Drop;
    }
    let Ok(request) = Message::from_vec(query) else {
        return Action::Reply(encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)));
    };
    let mut reply = Message::response(id, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = true;
    let code = match (request.metadata.op_code, request.queries.as_slice()) {
        (OpCode::Query, [query]) => {
            reply.add_query(query.clone());
            if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
                ResponseCode::BADVERS
            } else if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
                ResponseCode::Refused
            } else {
                match resolve(query, client, zone, facts) {
                    Resolved::Records(records) => {
                        reply.metadata.authoritative = true;
                        let empty = records.is_empty();
                        reply.add_answers(records);
                        if empty {
                            reply.add_authority(soa(zone));
                        }
                        ResponseCode::NoError
                    }
                    Resolved::Nothing => {
                        reply.metadata.authoritative = true;
                        reply.add_authority(soa(zone));
                        ResponseCode::NXDomain
                    }
                    Resolved::NotOurs => {
                        reply.metadata.response_code = ResponseCode::ServFail;
                        return Action::Forward(finish(reply, &request, transport));
                    }
                }
            }
        }
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    reply.metadata.response_code = code;
    Action::Reply(finish(reply, &request, transport))
}

/// A reply with another response code.
#[must_use]
pub fn with_code(reply: &[u8], code: ResponseCode) -> Vec<u8> {
    match Message::from_vec(reply) {
        Ok(mut message) => {
            message.metadata.response_code = code;
            encode(&message)
        }
        Err(_) => reply.to_vec(),
    }
}

/// The id of a message and whether it is a response. `None` if there is no whole header.
fn header(message: &[u8]) -> Option<(u16, bool)> {
    let header = message.get(..HEADER)?;
    let id = u16::from_be_bytes([*header.first()?, *header.get(1)?]);
    Some((id, header.get(2)? & 0x80 != 0))
}

enum Resolved {
    Records(Vec<Record>),
    Nothing,
    NotOurs,
}

fn resolve(query: &Query, client: IpAddr, zone: &Zone, facts: &Facts) -> Resolved {
    let name = query.name();
    let kind = query.query_type();
    let record = |data| Record::from_rdata(name.clone(), TTL, data);
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if let Ok(net) = absolute.parse_arpa_name() {
        let is_whole = net.prefix_len() == net.max_prefix_len();
        let known = zone.name_of(facts, net.addr()).filter(|_| is_whole);
        return match known.and_then(|name| Name::from_ascii(format!("{name}.")).ok()) {
            Some(target) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                Resolved::Records(vec![record(RData::PTR(PTR(target)))])
            }
            Some(_) => Resolved::Records(Vec::new()),
            None => Resolved::NotOurs,
        };
    }
    let text = name.to_lowercase().to_ascii();
    match zone.find(facts, text.strip_suffix('.').unwrap_or(&text), client) {
        Meaning::Addresses(addresses) => {
            let data = addresses.into_iter().filter_map(|address| match (address, kind) {
                (IpAddr::V4(ip), RecordType::A | RecordType::ANY) => Some(RData::A(A(ip))),
                (IpAddr::V6(ip), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(ip))),
                _ => None,
            });
            Resolved::Records(data.map(record).collect())
        }
        Meaning::Nothing => Resolved::Nothing,
        Meaning::NotOurs => Resolved::NotOurs,
    }
}

/// What says for how long there is no such name or record (RFC 2308).
fn soa(zone: &Zone) -> Record {
    let apex = Name::from_ascii(format!("{}.", zone.domain)).unwrap_or_else(|_| Name::root());
    let below = |label: &str| apex.prepend_label(label).unwrap_or_else(|_| apex.clone());
    let (server, person) = (below("ns"), below("hostmaster"));
    let ttl = i32::try_from(TTL).unwrap_or(i32::MAX);
    Record::from_rdata(apex, TTL, RData::SOA(SOA::new(server, person, 1, ttl, ttl, ttl, TTL)))
}

/// The reply's bytes: with EDNS if the query has it (RFC 6891 section 6.1.1), cut if the client takes less.
fn finish(mut reply: Message, request: &Message, transport: Transport) -> Vec<u8> {
    let mut most = DEFAULT_PAYLOAD;
    if let Some(edns) = &request.edns {
        let mut own = Edns::new();
        own.set_max_payload(MAX_PAYLOAD);
        reply.set_edns(own);
        most = edns.max_payload().clamp(DEFAULT_PAYLOAD, MAX_PAYLOAD);
    }
    let bytes = encode(&reply);
    match transport {
        Transport::Udp if bytes.len() > usize::from(most) => encode(&reply.truncate()),
        _ => bytes,
    }
}

fn encode(message: &Message) -> Vec<u8> {
    debug_assert_eq!(message.metadata.message_type, MessageType::Response);
    message.to_vec().unwrap_or_default()
}
