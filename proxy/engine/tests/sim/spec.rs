//! What one request asks for, and how it is to go wrong: the client writes it into the request, the server does it.

use crate::rng::Rng;
use crate::services::{Service, Speaks};

/// One request, or one raw connection. Travels in the field `x-spec`, or in the first line of a raw connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) id: u32,
    pub(crate) method: u8,
    pub(crate) path: u8,
    pub(crate) request: usize,
    pub(crate) response: usize,
    pub(crate) status: u16,
    /// Milliseconds.
    pub(crate) delay: u64,
    pub(crate) flags: u32,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $flag:ident)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts the flags")]
        enum Place { $($flag,)* }
        $($(#[$doc])* pub(crate) const $flag: u32 = 1 << Place::$flag as u32;)*
    };
}

flags! {
    CHUNKED_REQUEST
    CHUNKED_RESPONSE
    TRAILERS
    UNTIL_CLOSE
    /// The server answers before the request has come.
    EARLY
    INTERIM
    /// The server cuts the response in the middle.
    ABORT
    UPGRADE
    GRPC
    /// The server ends the connection after the response; gracefully, where there are streams.
    CLOSE
    /// The client goes away in the middle of the response.
    LEAVE
    /// The server fails the first two times that it is asked.
    FLAKY
    /// The server refuses the stream the first time, unseen.
    REFUSE
    /// The client waits to be told to go on before it sends content.
    EXPECT
    /// The server takes too long the first time.
    SLOW_FIRST
    /// The delay is in the middle of the response, not before it.
    HALF_WAY
    /// The server takes nothing of the request's content.
    HOLD
    /// The client goes away in the middle of the request.
    LEAVE_EARLY
    /// The client takes nothing of the response's content.
    MISER
    /// The server says that the call failed.
    FAILS
    /// The server waits for the client's end before it sends (raw connections).
    POLITE
    /// The request may be sent more than once, by its route.
    REPEATABLE
    /// The server breaks HTTP/2, one way or another, instead of an answer, and may take nothing more.
    BREAK
    /// The server takes no more streams: the first time not even this one, or none behind it.
    AWAY
    /// The server's settings change, and change back a little later.
    NARROW
}

/// What an application does to itself, and to nobody else.
pub(crate) const MISBEHAVIOUR: u32 = ABORT | LEAVE | EARLY | LEAVE_EARLY | HOLD | MISER;

/// What it does to its connection is that connection's affair only.
pub(crate) const OF_STREAMS: u32 = BREAK | AWAY | NARROW;

/// Longer than any time-out.
pub(crate) const TOO_LONG: u64 = 60_000;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "HEAD", "DELETE"];
const POST: u8 = 1;

impl Spec {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn method(&self) -> &'static str {
        METHODS[self.method as usize]
    }

    pub(crate) fn path(&self) -> String {
        match self.path {
            0 => format!("/sim/{}", self.id),
            1 => "/sim.Echo/Call".to_owned(),
            _ => "/sim.Echo/Other".to_owned(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { id, method, path, request, response, status, delay, flags } = self;
        format!("{id}/{method}/{path}/{request}/{response}/{status}/{delay}/{flags}")
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('/').map(|p| p.parse::<u64>().ok());
        let mut next = || parts.next().flatten();
        Some(Self {
            id: next()? as u32,
            method: next()? as u8,
            path: next()? as u8,
            request: next()? as usize,
            response: next()? as usize,
            status: next()? as u16,
            delay: next()?,
            flags: next()? as u32,
        })
    }

    /// Whether the connection (or stream) is one of bytes once the server agrees.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.has(UPGRADE)
    }

    pub(crate) fn is_bodyless(&self) -> bool {
        self.method() == "HEAD" || matches!(self.status, 204 | 304)
    }

    /// Bytes of the response's content that a client should see.
    pub(crate) fn expected(&self) -> usize {
        if self.is_bodyless() { 0 } else { self.response }
    }

    /// Whether the request has content that is announced.
    pub(crate) fn has_content(&self) -> bool {
        self.request > 0 || self.has(CHUNKED_REQUEST) || self.is_tunnel()
    }

    /// Whether it is a request of the same kind without one of its flags.
    pub(crate) fn is_simpler_without(&self, flag: u32) -> bool {
        flag & (TRAILERS
            | UNTIL_CLOSE
            | INTERIM
            | CLOSE
            | EXPECT
            | CHUNKED_RESPONSE
            | REFUSE
            | FAILS
            | OF_STREAMS)
            != 0
            && !(flag == CHUNKED_RESPONSE && self.has(TRAILERS))
    }

    /// Gives up all of this.
    fn without(&mut self, flags: u32) {
        self.flags &= !flags;
    }
}

/// Who a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Http1,
    Http10,
    Pipelined,
    Http2,
    Raw,
    /// The server speaks first.
    Banner,
    /// Bytes after a ClientHello for a name that TLS routes know; or do not.
    Tls,
    TlsUnknown,
}

impl Kind {
    pub(crate) fn any(rng: &mut Rng, service: &Service) -> Self {
        rng.pick(match service.speaks {
            Speaks::Http => {
                &[Self::Http1, Self::Http1, Self::Http10, Self::Pipelined, Self::Http2, Self::Http2][..]
            }
            Speaks::Http1 => &[Self::Http1, Self::Http10, Self::Pipelined],
            Speaks::Http2 | Speaks::Grpc => &[Self::Http2],
            Speaks::Raw => &[Self::Raw],
            Speaks::Banner => &[Self::Banner],
            Speaks::Tls => &[Self::Tls, Self::Tls, Self::TlsUnknown],
        })
    }

    pub(crate) fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::Banner | Self::Tls | Self::TlsUnknown)
    }
}

/// Something to ask `service` for. `rough`: things may go wrong on purpose.
pub(crate) fn spec(rng: &mut Rng, id: u32, kind: Kind, service: &Service, rough: bool) -> Spec {
    let mut spec = Spec {
        id,
        method: rng.pick(&[0, 0, 0, 1, 1, 2, 3, 4]),
        path: 0,
        request: 0,
        response: rng.size(100_000),
        status: rng.pick(&[200, 200, 200, 200, 204, 304, 404, 500]),
        delay: rng.pick(&[0, 0, 0, 1, 30, 400]),
        flags: 0,
    };
    if kind.is_raw() {
        spec.request = rng.size(100_000);
        spec.flags = rng.pick(&[0, POLITE]);
        return spec;
    }
    if matches!(spec.method, 1 | 2) {
        spec.request = rng.size(80_000);
    }
    let mut flag = |spec: &mut Spec, flag: u32, n: usize| {
        if rng.one_in(n) {
            spec.flags |= flag;
        }
    };
    if matches!(spec.method, 1 | 2) && kind != Kind::Http10 {
        flag(&mut spec, CHUNKED_REQUEST, 2);
    }
    flag(&mut spec, CHUNKED_RESPONSE, 2);
    flag(&mut spec, TRAILERS, 4);
    if !spec.has(CHUNKED_RESPONSE) {
        spec.without(TRAILERS);
        flag(&mut spec, UNTIL_CLOSE, 6);
    }
    flag(&mut spec, INTERIM, 8);
    flag(&mut spec, CLOSE, 8);
    flag(&mut spec, HALF_WAY, 6);
    if spec.request > 0 && kind != Kind::Http10 {
        flag(&mut spec, EXPECT, 5);
    }
    if kind == Kind::Http2 {
        flag(&mut spec, GRPC, if service.speaks == Speaks::Grpc { 1 } else { 3 });
        if spec.has(GRPC) {
            flag(&mut spec, FAILS, 5);
            spec.without(UNTIL_CLOSE | CHUNKED_RESPONSE);
            (spec.status, spec.method) = (200, POST);
        }
        if spec.request == 0 && !spec.has(CHUNKED_REQUEST) {
            flag(&mut spec, REFUSE, 6);
        }
    }
    if service.speaks == Speaks::Grpc {
        spec.path = if id.is_multiple_of(4) { 2 } else { 1 };
    }
    if service.is_plain() {
        tunnel(rng, &mut spec, kind);
    }
    if rough && !spec.is_tunnel() {
        misbehave(rng, &mut spec);
    }
    if kind == Kind::Http2 && service.is_plain() {
        let all = [(BREAK, if rough { 12 } else { 0 }), (AWAY, 10), (NARROW, 10)];
        for (flag, n) in all.into_iter().filter(|(_, n)| *n > 0) {
            if rng.one_in(n) {
                spec.flags |= flag;
            }
        }
        if spec.has(BREAK) {
            spec.without(AWAY | NARROW | REFUSE | HOLD);
        }
    }
    service.shape(rng, &mut spec, kind);
    spec
}

fn tunnel(rng: &mut Rng, spec: &mut Spec, kind: Kind) {
    if kind == Kind::Http1 && spec.method == 0 && rng.one_in(6) {
        *spec = Spec { status: 101, flags: UPGRADE, request: rng.size(6_000), ..*spec };
    }
}

fn misbehave(rng: &mut Rng, spec: &mut Spec) {
    for (flag, n) in [(ABORT, 10), (LEAVE, 10), (EARLY, 8), (LEAVE_EARLY, 12), (HOLD, 40), (MISER, 40)] {
        if rng.one_in(n) {
            spec.flags |= flag;
        }
    }
    if spec.response < 4 {
        spec.without(EARLY);
    }
    if spec.expected() < 4 {
        spec.without(ABORT | LEAVE | MISER);
    }
    if spec.request < 4 {
        spec.without(LEAVE_EARLY | HOLD);
    }
}
