//! The one table that says what a field name means to a proxy.
//!
//! Everything weft does because of a field's *name* is a column here: whether the field is carried to the next
//! hop ([`Meaning::forwarded`]), how HPACK writes it ([`Meaning::indexing`], [`Meaning::static_index`]) and whether
//! it may come as a trailer ([`Meaning::in_trailers`]). Codecs and engine look at [`Kind`], never at spellings.
//!
//! [`Kind::of`] is on the path of every field of every message: one multiplication finds the only candidate, one
//! comparison confirms it. The build fails if two names ever fall on the same slot.

/// Which way a message crosses this proxy. Decides which `l5d-*` fields are dropped from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// From the local application to a peer.
    OutboundRequest,
    /// From a peer back to the local application.
    OutboundResponse,
    /// From a peer to the local application.
    InboundRequest,
    /// From the local application back to a peer.
    InboundResponse,
}

impl Leg {
    /// All of them, for tests and tables.
    pub const ALL: [Self; 4] =
        [Self::OutboundRequest, Self::OutboundResponse, Self::InboundRequest, Self::InboundResponse];

    const fn bit(self) -> u8 {
        match self {
            Self::OutboundRequest => OUT_REQ,
            Self::OutboundResponse => OUT_RSP,
            Self::InboundRequest => IN_REQ,
            Self::InboundResponse => IN_RSP,
        }
    }
}

// The column "dropped on": which legs do not carry the field onward.
const NONE: u8 = 0;
const OUT_REQ: u8 = 1;
const OUT_RSP: u8 = 2;
const IN_REQ: u8 = 4;
const IN_RSP: u8 = 8;
const REQ: u8 = OUT_REQ | IN_REQ;
const RSP: u8 = OUT_RSP | IN_RSP;
/// Hop-by-hop: this connection's business only (RFC 9110 7.6.1).
const HOP: u8 = REQ | RSP;

/// How HPACK may represent a field (RFC 7541 6.2, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indexing {
    /// Worth an entry of the dynamic table once it has been seen.
    Index,
    /// Rarely the same twice: a literal without indexing, so that it evicts nothing.
    Volatile,
    /// A secret: a never-indexed literal, here and on every hop after this one (RFC 7541 7.1.3).
    Never,
    /// A secret when short enough to be guessed, otherwise indexed (RFC 7541 7.1.3 on cookies).
    NeverIfShort,
}

/// Values of [`Indexing::NeverIfShort`] fields with fewer bytes than this are never indexed.
pub const SHORT_SECRET: usize = 20;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The name, in lower case.
    pub name: &'static str,
    /// First index of the name in HPACK's static table (RFC 7541 appendix A), 0 if it has none.
    pub static_index: u8,
    /// How HPACK may write it.
    pub indexing: Indexing,
    /// May be sent in a trailer section (RFC 9110 6.5.1). Unknown names may.
    pub in_trailers: bool,
    dropped_on: u8,
}

impl Meaning {
    /// True if a proxy carries the field to the next hop on this leg.
    pub const fn forwarded(&self, leg: Leg) -> bool {
        self.dropped_on & leg.bit() == 0
    }

    /// True for the fields that concern one connection only (RFC 9110 7.6.1).
    pub const fn hop_by_hop(&self) -> bool {
        self.dropped_on == HOP
    }
}

macro_rules! fields {
    ($($kind:ident $name:literal $index:literal $indexing:ident $dropped:ident $trailers:ident;)*) => {
        /// A field name as weft knows it. [`Kind::Other`] is every name that is not in the table.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            /// A name that means nothing to a proxy: carried onward as it is.
            #[default]
            Other,
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        const TABLE: &[(Kind, Meaning)] = &[
            (Kind::Other, Meaning {
                name: "", static_index: 0, indexing: Indexing::Index, in_trailers: true, dropped_on: NONE,
            }),
            $((Kind::$kind, Meaning {
                name: $name,
                static_index: $index,
                indexing: Indexing::$indexing,
                in_trailers: $trailers,
                dropped_on: $dropped,
            }),)*
        ];
    };
}

const YES: bool = true;
const NO: bool = false;

fields! {
    // Pseudo-header fields (RFC 9113 8.3, RFC 8441 4). Never a field of a message.
    PseudoAuthority ":authority" 1 Index HOP NO;
    PseudoMethod ":method" 2 Index HOP NO;
    PseudoPath ":path" 4 Index HOP NO;
    PseudoScheme ":scheme" 6 Index HOP NO;
    PseudoStatus ":status" 8 Index HOP NO;
    PseudoProtocol ":protocol" 0 Index HOP NO;

    // Hop-by-hop: they end here; the codecs write their own where the next hop needs one.
    Connection "connection" 0 Index HOP NO;
    KeepAlive "keep-alive" 0 Index HOP NO;
    ProxyConnection "proxy-connection" 0 Index HOP NO;
    TransferEncoding "transfer-encoding" 57 Index HOP NO;
    Te "te" 0 Index HOP NO;
    Upgrade "upgrade" 0 Index HOP NO;
    Http2Settings "http2-settings" 0 Index HOP NO;

    // Linkerd's own. What an application or a foreign peer says under these names is not believed: a field is
    // dropped wherever this proxy, or the proxy at the other end, is the one to say it. The `l5d-*-timeout` and
    // `l5d-retry-*` fields are the application's to say; who honours one removes it (`Head::remove`).
    OrigProto "l5d-orig-proto" 0 Index HOP NO;
    ProxyError "l5d-proxy-error" 0 Volatile RSP NO;
    ProxyConnectionL5d "l5d-proxy-connection" 0 Index RSP NO;
    DstCanonical "l5d-dst-canonical" 0 Index OUT_REQ NO;
    DstOverride "l5d-dst-override" 0 Index NONE NO;
    RequireId "l5d-require-id" 0 Index OUT_REQ NO;
    ClientId "l5d-client-id" 0 Index REQ NO;
    Timeout "l5d-timeout" 0 Index NONE NO;
    RequestTimeout "l5d-request-timeout" 0 Index NONE NO;
    ResponseTimeout "l5d-response-timeout" 0 Index NONE NO;
    RetryHttp "l5d-retry-http" 0 Index NONE NO;
    RetryGrpc "l5d-retry-grpc" 0 Index NONE NO;
    RetryLimit "l5d-retry-limit" 0 Index NONE NO;
    RetryTimeout "l5d-retry-timeout" 0 Index NONE NO;

    // Framing, routing and requests: end to end, but decided before the content, so not in trailers.
    ContentLength "content-length" 28 Index NONE NO;
    Host "host" 38 Index NONE NO;
    Expect "expect" 35 Index NONE NO;
    Trailer "trailer" 0 Index NONE NO;
    MaxForwards "max-forwards" 47 Index NONE NO;
    CacheControl "cache-control" 24 Index NONE NO;
    Range "range" 50 Volatile NONE NO;
    Authorization "authorization" 23 Never NONE NO;
    ProxyAuthorization "proxy-authorization" 49 Never NONE NO;
    ProxyAuthenticate "proxy-authenticate" 48 Volatile NONE NO;
    WwwAuthenticate "www-authenticate" 61 Volatile NONE NO;
    ApiKey "x-api-key" 0 Never NONE NO;
    Cookie "cookie" 32 NeverIfShort NONE NO;
    SetCookie "set-cookie" 55 Volatile NONE NO;
    ContentEncoding "content-encoding" 26 Index NONE NO;
    ContentType "content-type" 31 Index NONE NO;
    ContentRange "content-range" 30 Volatile NONE NO;
    IfMatch "if-match" 39 Volatile NONE NO;
    IfModifiedSince "if-modified-since" 40 Volatile NONE NO;
    IfNoneMatch "if-none-match" 41 Volatile NONE NO;
    IfRange "if-range" 42 Volatile NONE NO;
    IfUnmodifiedSince "if-unmodified-since" 43 Volatile NONE NO;
    Age "age" 21 Volatile NONE NO;
    Date "date" 33 Volatile NONE NO;
    Expires "expires" 36 Volatile NONE NO;
    Location "location" 46 Volatile NONE NO;
    RetryAfter "retry-after" 53 Index NONE NO;
    Vary "vary" 59 Index NONE NO;
    Forwarded "forwarded" 0 Index NONE NO;
    XForwardedFor "x-forwarded-for" 0 Volatile NONE NO;
    SecWebsocketKey "sec-websocket-key" 0 Volatile NONE NO;
    SecWebsocketAccept "sec-websocket-accept" 0 Volatile NONE NO;

    // The rest of HPACK's static table.
    AcceptCharset "accept-charset" 15 Index NONE NO;
    AcceptEncoding "accept-encoding" 16 Index NONE NO;
    AcceptLanguage "accept-language" 17 Index NONE NO;
    AcceptRanges "accept-ranges" 18 Index NONE NO;
    Accept "accept" 19 Index NONE NO;
    AccessControlAllowOrigin "access-control-allow-origin" 20 Index NONE NO;
    Allow "allow" 22 Index NONE NO;
    ContentDisposition "content-disposition" 25 Volatile NONE NO;
    ContentLanguage "content-language" 27 Index NONE NO;
    ContentLocation "content-location" 29 Volatile NONE NO;
    Etag "etag" 34 Volatile NONE YES;
    From "from" 37 Index NONE NO;
    LastModified "last-modified" 44 Volatile NONE YES;
    Link "link" 45 Index NONE NO;
    Referer "referer" 51 Index NONE NO;
    Refresh "refresh" 52 Index NONE NO;
    Server "server" 54 Index NONE YES;
    StrictTransportSecurity "strict-transport-security" 56 Index NONE NO;
    UserAgent "user-agent" 58 Index NONE NO;
    Via "via" 60 Index NONE NO;

    // gRPC.
    GrpcStatus "grpc-status" 0 Index NONE YES;
    GrpcMessage "grpc-message" 0 Volatile NONE YES;
    GrpcStatusDetails "grpc-status-details-bin" 0 Volatile NONE YES;
    GrpcTimeout "grpc-timeout" 0 Volatile NONE NO;
    GrpcEncoding "grpc-encoding" 0 Index NONE NO;
    GrpcAcceptEncoding "grpc-accept-encoding" 0 Index NONE NO;
    GrpcTrace "grpc-trace-bin" 0 Volatile NONE NO;

    // Tracing and request ids: different in every message.
    Traceparent "traceparent" 0 Volatile NONE NO;
    Tracestate "tracestate" 0 Volatile NONE NO;
    B3TraceId "x-b3-traceid" 0 Volatile NONE NO;
    B3SpanId "x-b3-spanid" 0 Volatile NONE NO;
    B3ParentSpanId "x-b3-parentspanid" 0 Volatile NONE NO;
    B3Sampled "x-b3-sampled" 0 Index NONE NO;
    RequestId "x-request-id" 0 Volatile NONE YES;
    AmznTraceId "x-amzn-trace-id" 0 Volatile NONE NO;
}

impl Kind {
    /// How many kinds there are: `kind as usize` is below this.
    pub const COUNT: usize = TABLE.len();

    /// The kind of a field name in any letter case.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let Some(slot) = slot(name) else { return Self::Other };
        let candidate = SLOTS[slot];
        if candidate != Self::Other && name.eq_ignore_ascii_case(candidate.name().as_bytes()) {
            candidate
        } else {
            Self::Other
        }
    }

    /// Its row of the table.
    #[inline]
    pub const fn meaning(self) -> &'static Meaning {
        &TABLE[self as usize].1
    }

    /// The name in lower case; empty for [`Kind::Other`].
    #[inline]
    pub const fn name(self) -> &'static str {
        self.meaning().name
    }

    /// True for names that begin with a colon (RFC 9113 8.3).
    #[inline]
    pub const fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::PseudoAuthority
                | Self::PseudoMethod
                | Self::PseudoPath
                | Self::PseudoScheme
                | Self::PseudoStatus
                | Self::PseudoProtocol
        )
    }

    /// Every kind but [`Kind::Other`].
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().skip(1).map(|row| row.0)
    }
}

// --- finding a kind: perfect hashing over length, first, middle and last byte

const SLOT_BITS: u32 = 9;
/// Found by trial: no two names of the table share a slot. [`build_slots`] checks that at build time; after adding a
/// name that collides, try other odd numbers.
const SEED: u32 = 0xfaae_7b0f;
static SLOTS: [Kind; 1 << SLOT_BITS] = build_slots();

#[inline]
const fn slot(name: &[u8]) -> Option<usize> {
    let n = name.len();
    if n == 0 || n > 64 {
        return None;
    }
    // Letter case is folded by setting bit 5; what that merges besides letters, the comparison tells apart.
    let key = n as u32
        | ((name[0] | 32) as u32) << 8
        | ((name[n / 2] | 32) as u32) << 16
        | ((name[n - 1] | 32) as u32) << 24;
    Some((key.wrapping_mul(SEED) >> (32 - SLOT_BITS)) as usize)
}

const fn build_slots() -> [Kind; 1 << SLOT_BITS] {
    let mut slots = [Kind::Other; 1 << SLOT_BITS];
    let mut i = 1;
    while i < TABLE.len() {
        let (kind, meaning) = TABLE[i];
        assert!(kind as usize == i, "rows and kinds are in the same order");
        if let Some(at) = slot(meaning.name.as_bytes()) {
            assert!(matches!(slots[at], Kind::Other), "two names on one slot: choose another SEED");
            slots[at] = kind;
        }
        i += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_kind_in_any_case() {
        for kind in Kind::all() {
            let name = kind.name();
            assert_eq!(Kind::of(name.as_bytes()), kind, "{name}");
            assert_eq!(Kind::of(name.to_ascii_uppercase().as_bytes()), kind, "{name}");
            assert_eq!(Kind::of(format!("{name}x").as_bytes()), Kind::Other, "{name}x");
            assert_eq!(kind.is_pseudo(), name.starts_with(':'), "{name}");
        }
        for other in ["", "x", "conn\u{e9}ction", "x-custom", "\u{1a}status", "CONTENT_LENGTH"] {
            assert_eq!(Kind::of(other.as_bytes()), Kind::Other, "{other}");
        }
    }

    #[test]
    fn folding_does_not_merge_different_names() {
        // '@' | 32 == '`', '\r' | 32 == '-': equal slots must not become equal names.
        assert_eq!(Kind::of(b"keep\ralive"), Kind::Other);
        assert_eq!(Kind::of(b"te\0"), Kind::Other);
    }

    #[test]
    fn rfc9110_7_6_1_hop_by_hop_fields_are_dropped_on_every_leg() {
        for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
            let meaning = Kind::of(name.as_bytes()).meaning();
            assert!(meaning.hop_by_hop(), "{name}");
            assert!(Leg::ALL.iter().all(|leg| !meaning.forwarded(*leg)), "{name}");
        }
    }

    /// One line per `l5d-*` name: on which legs an incoming one is dropped.
    #[test]
    fn linkerd_fields_by_leg() {
        use Leg::{InboundRequest, InboundResponse, OutboundRequest, OutboundResponse};
        let dropped: [(&str, &[Leg]); 14] = [
            ("l5d-orig-proto", &Leg::ALL),
            ("l5d-proxy-error", &[OutboundResponse, InboundResponse]),
            ("l5d-proxy-connection", &[OutboundResponse, InboundResponse]),
            ("l5d-dst-canonical", &[OutboundRequest]),
            ("l5d-require-id", &[OutboundRequest]),
            ("l5d-client-id", &[OutboundRequest, InboundRequest]),
            ("l5d-dst-override", &[]),
            ("l5d-timeout", &[]),
            ("l5d-request-timeout", &[]),
            ("l5d-response-timeout", &[]),
            ("l5d-retry-http", &[]),
            ("l5d-retry-grpc", &[]),
            ("l5d-retry-limit", &[]),
            ("l5d-something-new", &[]),
        ];
        for (name, legs) in dropped {
            for leg in Leg::ALL {
                let forwarded = Kind::of(name.as_bytes()).meaning().forwarded(leg);
                assert_eq!(forwarded, !legs.contains(&leg), "{name} on {leg:?}");
            }
        }
    }

    #[test]
    fn rfc9110_6_5_1_framing_routing_and_authentication_are_no_trailers() {
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "trailer",
            "te",
            "content-type",
            "content-encoding",
            "content-range",
            "authorization",
            "set-cookie",
            "cache-control",
            "expect",
            "max-forwards",
            "l5d-client-id",
        ] {
            assert!(!Kind::of(name.as_bytes()).meaning().in_trailers, "{name}");
        }
        for name in ["grpc-status", "grpc-message", "etag", "x-checksum"] {
            assert!(Kind::of(name.as_bytes()).meaning().in_trailers, "{name}");
        }
    }

    #[test]
    fn rfc7541_7_1_3_secrets_are_never_indexed() {
        for name in ["authorization", "proxy-authorization", "x-api-key"] {
            assert_eq!(Kind::of(name.as_bytes()).meaning().indexing, Indexing::Never, "{name}");
        }
        assert_eq!(Kind::Cookie.meaning().indexing, Indexing::NeverIfShort);
    }

    #[test]
    fn rfc7541_a_static_indices_are_distinct() {
        let mut indices: Vec<u8> = Kind::all().map(|k| k.meaning().static_index).filter(|i| *i > 0).collect();
        indices.sort_unstable();
        let expected: Vec<u8> = [1, 2, 4, 6, 8].into_iter().chain(15..=61).collect();
        assert_eq!(indices, expected);
    }
}
