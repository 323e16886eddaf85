//! Every bound of a worker: name, default, what happens when it is met.
//!
//! Each is counted when met ([`crate::metrics::WorkerGauges::bounds_met`]), and what it bounds has a gauge beside it. Where
//! the answer is "load shed", a request gets 503 (gRPC 14) and its connection ends; where there is no request to
//! answer, the connection is reset.
//!
//! The bounds of heads, chunks, HTTP/2 streams, resets and floods are the codecs' own: [`weft_http::limits`].

/// Streams of one HTTP/2 connection with another proxy or a server: between two proxies one connection carries the requests of all
/// clients, so it has to take as many as they have under way.
pub const STREAMS: u32 = 10_000;

/// Streams of one HTTP/2 connection with a client that is no proxy.
pub const CLIENT_STREAMS: u32 = 2_000;

/// Streams that another proxy may open in a while and reset before they are answered, instead of
/// [`weft_http::limits::Http2::resets`], which is a client's: a client may have used that up, then go, which resets all its
/// streams at once ([`CLIENT_STREAMS`]), and that must not end the connection for the other clients.
pub const PEER_RESETS: u32 = 2 * CLIENT_STREAMS;

fn http() -> weft_http::limits::Limits {
    let mut http = weft_http::limits::Limits::default();
    http.http2.max_concurrent_streams = STREAMS;
    http.http2.outgoing_streams = STREAMS;
    http
}

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident $bound:ident: $ty:ty = $default:expr;)*) => {
        /// The bounds of one worker.
        #[derive(Clone, Debug)]
        pub struct Limits {
            $($(#[$doc])* #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")] pub $field: $ty,)*
            /// Bounds of heads, of HTTP/1 messages, and of HTTP/2 connections. The codecs' own defaults, but for
            /// [`STREAMS`].
            pub http: weft_http::limits::Limits,
        }

        impl Default for Limits {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    http: http(),
                }
            }
        }

        /// Names a bound, for counting how often it was met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bound {
            $(#[doc = concat!("[`Limits::", stringify!($field), "`]")] $bound,)*
        }

        impl Bound {
            /// All of them, in order of `bound as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$bound),*];
            /// How many.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name, as in [`Limits`].
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bound => stringify!($field),)* }
            }
        }
    };
}

limits! {
    // --- how many there may be

    /// Connections accepted, both sides. One more is reset at once.
    accepted_connections AcceptedConnections: usize = 50_000;
    /// Connections that wait for the discovery of their target, not yet read from. One more is reset.
    discovering DiscoveringConnections: usize = 4_096;
    /// Outbound targets and inbound ports whose policy is held. A connection to one more is reset; unused ones are
    /// forgotten after [`crate::Outbound::discovery_idle`].
    policies Policies: usize = 10_000;
    /// Exchanges under way (`*_MAX_IN_FLIGHT`). One more is load shed.
    exchanges Exchanges: usize = 100_000;
    /// Exchanges and connections waiting for one balancer (`OUTBOUND_*_QUEUE_CAPACITY`). One more is load shed.
    queue Queue: usize = 10_000;
    /// Endpoints of one balancer. Further ones of the set are not used.
    endpoints Endpoints: usize = 10_000;
    /// HTTP/2 connections to one endpoint: another is made only when the peer's limit of streams is used up on all.
    /// At the bound exchanges wait in the endpoint's queue.
    http2_connections Http2Connections: usize = 4;
    /// HTTP/1 connections to one endpoint, busy ones included. At the bound exchanges wait in the endpoint's queue.
    http1_connections Http1Connections: usize = 10_000;
    /// Exchanges waiting for a connection to one endpoint. One more is load shed.
    endpoint_queue EndpointQueue: usize = 10_000;
    /// HTTP/1 connections kept idle for one endpoint (`*_MAX_IDLE_CONNS_PER_ENDPOINT`). One more is closed.
    idle_connections IdleConnections: usize = 10_000;
    /// Endpoints that one exchange tries to connect to before it is told that connecting failed.
    connect_attempts ConnectAttempts: u32 = 3;

    // --- how many bytes may be held

    /// Output that a connection holds before those who write to it are stopped. A client's HTTP/2 connection that holds four
    /// times as much, in heads and answers that no window stops, is not read from until all of it is sent.
    output_bytes OutputBytes: usize = 128 * 1024;
    /// Bytes in all buffers of the worker before nothing more is read, until three quarters are left. HTTP/2 connections
    /// of clients are read up to one and a half times as many, those of servers and those being made up to twice: what waits in
    /// the buffers may wait for what they say. So are opaque ones whose other side has taken all it was given.
    buffered_bytes BufferedBytes: usize = 256 * 1024 * 1024;
    /// Buffers kept for reuse; further ones are given back to the allocator.
    spare_buffers SpareBuffers: usize = 64;
    /// Bytes looked at to tell which protocol a client speaks; a client that has sent more without deciding it is taken
    /// as opaque.
    detect_bytes DetectBytes: usize = 16 * 1024;
    /// Bytes of a request's rest that are read and dropped after the response is made, so that the client can read the
    /// response. More: the connection is closed with what is unread.
    discard_bytes DiscardBytes: usize = 256 * 1024;
    /// Bytes of a request kept for retrying it, whatever the policy says. Of larger ones no copy is kept, and they are
    /// not retried.
    replay_bytes ReplayBytes: usize = 64 * 1024;
    /// Bytes of a request's head kept while it is unanswered, for sending it to another server if the one that has it is lost. Of
    /// larger ones no copy is kept, and they are not sent again: a few bytes of HPACK may make a large one.
    replay_head_bytes ReplayHeadBytes: usize = 8 * 1024;

    // --- how much work one event may be

    /// Bytes of one read: what is shared between the cache and the number of system calls.
    read_bytes ReadBytes: usize = 32 * 1024;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_has_a_place_and_a_name() {
        for (i, bound) in Bound::ALL.iter().enumerate() {
            assert_eq!(*bound as usize, i);
            assert!(!bound.name().is_empty());
        }
        assert_eq!(Bound::ReadBytes.name(), "read_bytes");
    }
}
