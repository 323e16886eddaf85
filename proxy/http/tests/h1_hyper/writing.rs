//! What one writes, the other reads as meant.

use crate::oracle::{Chunks, Oracle};
use crate::{Message, Side, ours};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Frame;
use proptest::collection::vec;
use proptest::prelude::*;
use weft_http::fields::Leg;
use weft_http::h1::{Framing, Options, write_chunk, write_last_chunk, write_request, write_response};
use weft_http::head::{Extra, Head, Method, Outgoing, Range, Section, Version};

type Fields = Vec<(String, String)>;

#[derive(Clone, Debug)]
struct Meant {
    method: String,
    path: String,
    status: u16,
    fields: Fields,
    chunks: Vec<Vec<u8>>,
    trailers: Fields,
    chunked: bool,
}

fn meant() -> impl Strategy<Value = Meant> {
    (
        "(GET|POST|PUT|DELETE|x-y)",
        "/[!\"$-;=@-_a-~]{0,20}(\\?[!$-;=?-_a-z|~]{0,10})?",
        prop_oneof![200u16..=203, 206u16..=303, 305u16..=599],
        vec(("x-[a-z0-9!#$%&'*+.^_`|~-]{1,12}", "([!-~\u{e0}-\u{ff}]([ -~]{0,20}[!-~])?)?"), 0..8),
        vec(vec(any::<u8>(), 1..60), 0..5),
        vec(("x-[a-z]{1,8}", "[!-~]{1,10}"), 0..3),
        any::<bool>(),
    )
        .prop_map(|(method, path, status, fields, chunks, trailers, chunked)| Meant {
            method,
            path,
            status,
            fields,
            chunks,
            trailers,
            chunked,
        })
}

impl Meant {
    fn request_line(&self) -> String {
        format!("{} {} HTTP/1.1", self.method, self.path)
    }

    fn status_line(&self) -> String {
        format!("HTTP/1.1 {}", self.status)
    }

    /// Chunked, or with its length.
    fn framing(&self) -> Framing {
        if self.chunked { Framing::Chunked } else { Framing::Length(self.chunks.concat().len() as u64) }
    }

    /// After our head: our content.
    fn write_content(&self, out: &mut Vec<u8>) {
        if !self.chunked {
            return out.extend_from_slice(&self.chunks.concat());
        }
        for chunk in &self.chunks {
            write_chunk(out, chunk);
        }
        let (mut head, trailers) = (Head::default(), extra(&self.trailers));
        head.begin(Section::Trailers, Version::Http11);
        let section = Outgoing::new(&head, &[], Leg::OutboundRequest).with(&trailers);
        write_last_chunk(out, Some(&section)).expect("trailers that can be written");
    }

    /// hyper's content: always chunked.
    fn chunks(&self) -> Chunks {
        let data = self.chunks.iter().map(|c| Frame::data(Bytes::from(c.clone())));
        let trailers = (!self.trailers.is_empty()).then(|| Frame::trailers(headers(&self.trailers)));
        Chunks(data.chain(trailers).collect())
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = headers(&self.fields);
        if !self.trailers.is_empty() {
            // hyper sends those trailers only that are announced.
            let names: Vec<_> = self.trailers.iter().map(|t| t.0.as_str()).collect();
            headers.insert("trailer", HeaderValue::from_str(&names.join(", ")).expect("names are values"));
        }
        headers
    }

    /// Says what in the message that was read is not what was meant.
    fn check(&self, start: &str, read: Option<&Message>, trailers: bool) -> Result<(), String> {
        let Some(read) = read else { return Err("nothing was read".to_owned()) };
        let fields: Vec<_> = read.fields.iter().filter(|f| f.0.starts_with("x-")).cloned().collect();
        let expected = Message {
            start: start.to_owned(),
            fields: sorted(&self.fields),
            content: self.chunks.concat(),
            trailers: if trailers { sorted(&self.trailers) } else { Vec::new() },
        };
        let read = Message { fields, ..read.clone() };
        if read == expected { Ok(()) } else { Err(format!("read {read:?}, meant {expected:?}")) }
    }
}

fn extra(fields: &Fields) -> Extra {
    let mut extra = Extra::default();
    for (name, value) in fields {
        extra.add_named(name.as_bytes(), value.as_bytes());
    }
    extra
}

fn headers(fields: &Fields) -> HeaderMap {
    let name = |n: &str| HeaderName::from_bytes(n.as_bytes()).expect("a name");
    let value = |v: &str| HeaderValue::from_bytes(v.as_bytes()).expect("a value");
    let mut headers = HeaderMap::new();
    for (n, v) in fields {
        headers.append(name(n), value(v));
    }
    headers
}

fn sorted(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.iter().map(|(n, v)| (n.clone(), v.clone().into_bytes())).collect();
    fields.sort();
    fields
}

thread_local!(static ORACLE: Oracle = Oracle::new());

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_the_requests_that_we_write(meant in meant()) {
        let bytes = [&meant.method, meant.path.as_str(), "a.b:80"].map(str::as_bytes).concat();
        let (m, p) = (meant.method.len(), meant.method.len() + meant.path.len());
        let mut head = Head::default();
        head.method = Method::of(meant.method.as_bytes());
        head.method_name = Range::new(0, m);
        head.path = Range::new(m, p);
        head.authority = Range::new(p, bytes.len());
        let (mut out, extra) = (Vec::new(), extra(&meant.fields));
        let outgoing = Outgoing::new(&head, &bytes, Leg::OutboundRequest).with(&extra);
        write_request(&mut out, &outgoing, &Options::new(meant.framing())).unwrap();
        meant.write_content(&mut out);
        let seen = ORACLE.with(|oracle| oracle.read(Side::Server, &out));
        let result = meant.check(&meant.request_line(), seen.messages.first(), meant.chunked);
        prop_assert!(result.is_ok(), "{} {:?}", result.unwrap_err(), seen.fault);
        let host = ("host".to_owned(), b"a.b:80".to_vec());
        prop_assert!(seen.messages.iter().all(|message| message.fields.contains(&host)));
    }

    #[test]
    fn hyper_reads_the_responses_that_we_write(meant in meant()) {
        let head = Head::response(Version::Http11, meant.status);
        let (mut out, extra) = (Vec::new(), extra(&meant.fields));
        let outgoing = Outgoing::new(&head, &[], Leg::OutboundResponse).with(&extra);
        write_response(&mut out, &outgoing, &Options::new(meant.framing())).unwrap();
        meant.write_content(&mut out);
        let seen = ORACLE.with(|oracle| oracle.read(Side::Client { head: false }, &out));
        let result = meant.check(&meant.status_line(), seen.messages.first(), meant.chunked);
        prop_assert!(result.is_ok(), "{} {:?}", result.unwrap_err(), seen.fault);
    }

    #[test]
    fn we_read_the_requests_that_hyper_writes(meant in meant()) {
        // To other methods hyper gives no content of unknown length.
        let meant = Meant { method: "POST".to_owned(), ..meant };
        let mut request = Request::new(meant.chunks());
        *request.method_mut() = meant.method.parse().unwrap();
        *request.uri_mut() = meant.path.parse().unwrap();
        *request.headers_mut() = meant.headers();
        request.headers_mut().insert("host", HeaderValue::from_static("h"));
        let out = ORACLE.with(|oracle| oracle.client_writes(request));
        let seen = ours::read(Side::Server, &out);
        let chunked = !meant.chunks.is_empty() || !meant.trailers.is_empty();
        let result = meant.check(&meant.request_line(), seen.messages.first(), chunked);
        prop_assert!(result.is_ok(), "{} {:?} {}", result.unwrap_err(), seen.fault, out.escape_ascii());
    }

    #[test]
    fn we_read_the_responses_that_hyper_writes(meant in meant()) {
        let mut response = Response::new(meant.chunks());
        *response.status_mut() = meant.status.try_into().unwrap();
        *response.headers_mut() = meant.headers();
        let out = ORACLE.with(|oracle| oracle.server_writes(response));
        let seen = ours::read(Side::Client { head: false }, &out);
        let result = meant.check(&meant.status_line(), seen.messages.first(), true);
        prop_assert!(result.is_ok(), "{} {:?} {}", result.unwrap_err(), seen.fault, out.escape_ascii());
    }
}
