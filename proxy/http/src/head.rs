//! A message head as ranges of somebody's buffer, whatever protocol it came in.
//!
//! HTTP/1 heads are ranges of the connection's read buffer, HTTP/2 heads of an arena of the worker that HPACK decodes
//! into. Both fill the same [`Head`], which is cleared and filled again for every message: in the steady state
//! nothing is allocated. A head never owns bytes; every question about them takes the buffer as an argument.
//!
//! Life of a head: [`Head::begin`], [`Head::add`] for each field (which derives [`Facts`] and remembers the first
//! fault), then one of the `finish` functions of the protocol it came in (HTTP/1: in [`crate::h1`]; HTTP/2:
//! [`Head::finish_h2`]), which says whether the message is well formed. After that it is read, perhaps changed
//! ([`Head::remove`], [`Head::remove_named`]), and written by either codec through [`Outgoing`].

mod http2;
mod malformed;
mod outgoing;
pub mod syntax;
#[cfg(test)]
mod tests;

pub use malformed::Malformed;
pub use outgoing::{Extra, FieldRef, Outgoing};

use crate::fields::Kind;
use crate::limits;
use crate::orig_proto::OrigProto;

/// A part of a buffer, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Range {
    /// A range of a buffer of less than 4 GiB, as every buffer here is.
    #[inline]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Its bytes. A range that does not lie within `bytes` is empty.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        debug_assert!(self.end as usize <= bytes.len(), "a range is used with the buffer it was made for");
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// How many bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// True if it holds no bytes; so is a part of a head that is not there.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// A field line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name, in the letter case it came in.
    pub name: Range,
    /// Its value, without the white space around it.
    pub value: Range,
    /// What the name means.
    pub kind: Kind,
    /// It came as a never-indexed literal and must be sent on as one (RFC 7541 6.2.3).
    pub never_indexed: bool,
}

/// Protocol version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// Which kind of section a head is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Section {
    /// The head of a request.
    #[default]
    Request,
    /// The head of a response, interim ones included.
    Response,
    /// The fields after the content. They derive no [`Facts`], and those that may not be trailers are left out.
    Trailers,
}

/// The form of a request target (RFC 9112 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// The methods that change what a proxy does, and the frequent ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Connect,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of that name; names are case-sensitive (RFC 9110 9.1).
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"HEAD" => Self::Head,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// What the fields of a head say that a proxy acts upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The one valid `content-length`.
    pub content_length: Option<u64>,
    /// `transfer-encoding: chunked`.
    pub chunked: bool,
    /// `connection: close`.
    pub close: bool,
    /// `connection: keep-alive`; means something to HTTP/1.0 only.
    pub keep_alive: bool,
    /// The value of `upgrade` where it counts: listed in `connection`, of HTTP/1.1, and not `h2c`, which this proxy
    /// never upgrades to and does not pass on.
    pub upgrade: Option<Range>,
    /// `expect: 100-continue`, of HTTP/1.1 or later.
    pub expect_continue: bool,
    /// `te: trailers`.
    pub te_trailers: bool,
    /// `l5d-orig-proto`, when it can be understood.
    pub orig_proto: Option<OrigProto>,
    /// `l5d-proxy-connection: close`.
    pub l5d_close: bool,
    /// `content-type` begins with `application/grpc`.
    pub grpc: bool,
    /// There is a `date`.
    pub date: bool,
    /// How many `cookie` fields there are; HTTP/2 may split what HTTP/1 must send in one.
    pub cookies: u16,
    /// The value of `host`, last one seen.
    pub(crate) host: Option<Range>,
    pub(crate) repeated_host: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) connection_upgrade: bool,
    upgrade_field: Option<Range>,
    connection_options: u32,
    connection_names: bool,
}

/// The head of a message or its trailers, as ranges of a buffer.
///
/// Parts of the start line that a message does not have are empty ranges.
#[derive(Debug, Default)]
pub struct Head {
    /// Request, response or trailers.
    pub section: Section,
    /// The version it came in. Once [`OrigProto::restore`] was called: the version it had before it was carried
    /// over HTTP/2.
    pub version: Version,
    /// The method of a request.
    pub method: Method,
    /// The form of a request's target.
    pub target: Target,
    /// The status of a response, 100 to 999; 0 in requests and trailers.
    pub status: u16,
    /// The method's name.
    pub method_name: Range,
    /// Path and query as they came: begins with `/`, or is `*`. Empty for CONNECT, and for an absolute target
    /// without a path.
    pub path: Range,
    /// Scheme of an absolute target, or `:scheme`.
    pub scheme: Range,
    /// Host and port of an absolute or CONNECT target or `:authority`; failing these, `host`.
    pub authority: Range,
    /// The reason phrase of an HTTP/1 status line.
    pub reason: Range,
    /// `:protocol` of an extended CONNECT (RFC 8441 4).
    pub protocol: Range,
    /// The field lines in their order, hop-by-hop ones included.
    pub fields: Vec<Field>,
    /// What the fields say.
    pub facts: Facts,
    pub(crate) fault: Option<Malformed>,
    /// Field lines seen, kept or not.
    pub(crate) seen: u32,
    pub(crate) pseudos: u8,
}

impl Clone for Head {
    fn clone(&self) -> Self {
        let mut head = Self::default();
        head.clone_from(self);
        head
    }

    /// Uses what is allocated already: heads are copied for every request that may have to be sent again.
    fn clone_from(&mut self, source: &Self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clone_from(&source.fields);
        *self = Self {
            fields,
            section: source.section,
            version: source.version,
            method: source.method,
            target: source.target,
            status: source.status,
            method_name: source.method_name,
            path: source.path,
            scheme: source.scheme,
            authority: source.authority,
            reason: source.reason,
            protocol: source.protocol,
            facts: source.facts,
            fault: source.fault,
            seen: source.seen,
            pseudos: source.pseudos,
        };
    }
}

impl Head {
    /// Empties the head for another message. Capacity stays.
    pub fn begin(&mut self, section: Section, version: Version) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { section, version, fields, ..Self::default() };
    }

    /// A response without fields, for answers that the proxy makes itself. Its bytes are the empty slice.
    pub fn response(version: Version, status: u16) -> Self {
        Self { section: Section::Response, version, status, ..Self::default() }
    }

    /// Adds a field line whose bytes are known to be valid, and derives what it says.
    ///
    /// Never fails, so that an HPACK block can be decoded to its end: the first fault is kept and told by the
    /// `finish` function. Beyond the limits nothing is stored.
    pub fn add(&mut self, bytes: &[u8], field: Field, limits: &limits::Head) {
        self.seen = self.seen.saturating_add(1);
        if self.seen > limits.fields {
            return self.fault(Malformed::TooManyFields);
        }
        if field.name.len().saturating_add(field.value.len()) > limits.field_bytes as usize {
            return self.fault(Malformed::FieldTooLong);
        }
        if self.section == Section::Trailers {
            if field.kind.meaning().in_trailers {
                self.fields.push(field);
            }
            return;
        }
        self.fields.push(field);
        self.derive(bytes, field, limits);
    }

    /// The first fault so far.
    pub fn fault_so_far(&self) -> Option<Malformed> {
        self.fault
    }

    /// The values of all fields of a kind, in order.
    pub fn values<'a>(&'a self, bytes: &'a [u8], kind: Kind) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |f| f.kind == kind).map(move |f| f.value.of(bytes))
    }

    /// The first value of a kind.
    pub fn value<'a>(&'a self, bytes: &'a [u8], kind: Kind) -> Option<&'a [u8]> {
        self.values(bytes, kind).next()
    }

    /// The values of all fields of a name in any letter case, in order.
    pub fn values_named<'a>(&'a self, bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let kind = Kind::of(name);
        self.fields
            .iter()
            .filter(move |f| {
                f.kind == kind && (kind != Kind::Other || f.name.of(bytes).eq_ignore_ascii_case(name))
            })
            .map(move |f| f.value.of(bytes))
    }

    /// Removes all fields of a kind. Facts stay as they are.
    pub fn remove(&mut self, kind: Kind) {
        self.fields.retain(|f| f.kind != kind);
    }

    /// Removes all fields of a name in any letter case. Facts stay as they are.
    pub fn remove_named(&mut self, bytes: &[u8], name: &[u8]) {
        let kind = Kind::of(name);
        if kind == Kind::Other {
            self.fields.retain(|f| f.kind != Kind::Other || !f.name.of(bytes).eq_ignore_ascii_case(name));
        } else {
            self.remove(kind);
        }
    }

    /// Moves the ranges of all fields by `offset`: they become ranges of a buffer that has that much more in front.
    pub(crate) fn shift(&mut self, offset: usize) {
        let moved = |r: Range| Range::new(r.start as usize + offset, r.end as usize + offset);
        for field in &mut self.fields {
            field.name = moved(field.name);
            field.value = moved(field.value);
        }
    }

    pub(crate) fn fault(&mut self, fault: Malformed) {
        self.fault.get_or_insert(fault);
    }

    fn derive(&mut self, bytes: &[u8], field: Field, limits: &limits::Head) {
        let value = field.value.of(bytes);
        let facts = &mut self.facts;
        match field.kind {
            Kind::ContentLength => match syntax::content_length(value) {
                // Equal repetitions could be accepted (RFC 9110 8.6); nobody sends them who means well.
                _ if facts.content_length.is_some() => self.fault(Malformed::ContentLengthRepeated),
                Some(n) => facts.content_length = Some(n),
                None => self.fault(Malformed::ContentLength),
            },
            Kind::TransferEncoding => {
                let repeated = std::mem::replace(&mut facts.transfer_encoding, true);
                if repeated {
                    self.fault(Malformed::TransferEncodingRepeated);
                } else if value.eq_ignore_ascii_case(b"chunked") {
                    facts.chunked = true;
                } else {
                    self.fault(syntax::transfer_encoding_fault(value));
                }
            }
            Kind::Connection => {
                for option in syntax::list(value) {
                    facts.connection_options += 1;
                    if option.eq_ignore_ascii_case(b"close") {
                        facts.close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        facts.keep_alive = true;
                    } else if option.eq_ignore_ascii_case(b"upgrade") {
                        facts.connection_upgrade = true;
                    } else {
                        facts.connection_names = true;
                    }
                    if facts.connection_options > limits.connection_options {
                        return self.fault(Malformed::TooManyConnectionOptions);
                    }
                }
            }
            Kind::Upgrade => facts.upgrade_field = Some(field.value),
            Kind::Host => {
                facts.repeated_host |= facts.host.is_some();
                facts.host = Some(field.value);
            }
            Kind::Expect => facts.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            // Of requests only (RFC 9110 10.1.4): in a response it would be malformed over HTTP/2 (RFC 9113 8.2.2).
            Kind::Te if self.section == Section::Request => {
                facts.te_trailers |= syntax::list(value).any(|t| t.eq_ignore_ascii_case(b"trailers"));
            }
            Kind::OrigProto => facts.orig_proto = OrigProto::parse(value),
            Kind::ProxyConnectionL5d => facts.l5d_close |= value.eq_ignore_ascii_case(b"close"),
            Kind::ContentType => facts.grpc |= value.starts_with(b"application/grpc"),
            Kind::Date => facts.date = true,
            Kind::Cookie => facts.cookies = facts.cookies.saturating_add(1),
            _ => {}
        }
    }

    /// What only the whole of an HTTP/1 head says: the upgrade, and the fields that `connection` takes away
    /// (RFC 9110 7.6.1).
    pub(crate) fn settle_connection(&mut self, bytes: &[u8]) {
        let facts = &mut self.facts;
        if self.version == Version::Http11 && facts.connection_upgrade {
            // A list with h2c in it, or with what is no protocol, is declined whole: a server may ignore any `upgrade` (RFC 9110 7.8).
            facts.upgrade = facts.upgrade_field.filter(|value| {
                let mut some = false;
                let declined = syntax::list(value.of(bytes)).any(|protocol| {
                    some = true;
                    // With a version or without (RFC 9110 7.8).
                    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
                    name.eq_ignore_ascii_case(b"h2c") || !syntax::is_token(name)
                });
                some && !declined
            });
        }
        if self.version == Version::Http10 {
            facts.expect_continue = false;
        }
        if facts.connection_names {
            self.remove_listed(bytes);
        }
    }

    fn remove_listed(&mut self, bytes: &[u8]) {
        let mut nth = 0;
        while let Some(field) = self.fields.iter().filter(|f| f.kind == Kind::Connection).nth(nth).copied() {
            nth += 1;
            for option in syntax::list(field.value.of(bytes)) {
                // Hop-by-hop kinds are not sent on anyway. What an end-to-end field has decided (length, host) is
                // in the facts and stays.
                if !Kind::of(option).meaning().hop_by_hop() {
                    self.remove_named(bytes, option);
                }
            }
        }
    }
}
