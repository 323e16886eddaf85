//! HTTP/2 (RFC 9113): one connection, either side, without IO.
//!
//! Octets that were received go into [`Connection::next`], which hands out one [`Event`] after the other and borrows
//! content from its input; what is to be sent is appended to a buffer by `next` itself (acknowledgements, window
//! updates, resets) and by [`Connection::open`], [`Connection::send_head`], [`Connection::send_data`],
//! [`Connection::send_trailers`], [`Connection::reset`]. Nothing is queued here:
//! [`Connection::send_data`] says how much the windows took, the caller keeps the rest until [`Event::Writable`]; and
//! the peer is given window only as the caller gives [`Connection::credit`]. So back-pressure goes from end to end, and a
//! connection is a few hundred octets, its streams and the tables of HPACK.
//!
//! ```text
//! received ─▶ next ─▶ frame ─▶ stream state, windows, floods ─▶ Event ─▶ caller
//!               └──────────▶ out ◀── open, send_*, reset, credit ◀───────┘
//! now ─▶ next_deadline, expired: keep-alive, SETTINGS acknowledgement, slow frames, graceful shutdown
//! ```
//!
//! What a peer may do wrong has one of three answers: a [`ConnectionError`] (GOAWAY has been written, the connection is
//! over), a stream error (RST_STREAM has been written, the caller is told by [`Event::Reset`] or
//! [`Event::Rejected`]), or nothing, up to a bound in [`limits::Http2`]. Every bound is there.
//!
//! Output is appended, and of what is there only the DATA frame at the very end may still grow: between two calls, take all
//! of the output or none of it.
//!
//! Times are a [`Duration`] since any fixed moment; they must not go back.

mod code;
mod config;
mod error;
mod flood;
mod flow;
mod frame;
mod receive;
mod resets;
mod send;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::Arc;
use std::time::Duration;

pub use code::Code;
pub use config::{Config, Keepalive};
pub use error::{Closed, ConnectionError, OpenError, StreamError};
pub use flood::Flood;
pub use frame::PREFACE;
pub use settings::PeerSettings;
pub use streams::StreamKey;

use crate::head::Malformed;
use crate::hpack;
#[cfg(doc)]
use crate::limits;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads requests and sends responses.
    Server,
    /// Sends requests and reads responses.
    Client,
}

/// What happened on a connection. Content is borrowed from the input of [`Connection::next`].
///
/// `owner` is what the user of the connection calls the stream: what was given to [`Connection::open`] or
/// [`Connection::set_owner`], [`NO_OWNER`] before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A request (server), or a response, which is interim if its status is below 200 (client). The head is in the
    /// `head` given to [`Connection::next`].
    Head {
        /// The stream; a new one on a server.
        stream: StreamKey,
        /// See [`Event`].
        owner: u32,
        /// There is neither content nor trailers.
        end: bool,
    },
    /// A request that keeps a bound rather than a rule of the protocol: its head is too large, and not complete in
    /// `head`. The stream is open and waits for a response with [`Malformed::status`]; content may follow.
    Oversized {
        /// The new stream.
        stream: StreamKey,
        /// There is neither content nor trailers.
        end: bool,
        /// Which bound.
        fault: Malformed,
    },
    /// Content, or a part of it. The peer may send as much again when [`Connection::credit`] is given.
    Data {
        /// The stream.
        stream: StreamKey,
        /// See [`Event`].
        owner: u32,
        /// The octets; none only at the end.
        data: &'i [u8],
        /// There is neither more content nor trailers.
        end: bool,
    },
    /// Trailers, which end the message. They are in the `head` given to [`Connection::next`].
    Trailers {
        /// The stream.
        stream: StreamKey,
        /// See [`Event`].
        owner: u32,
    },
    /// The stream is gone. It is not known any more.
    ///
    /// After the end of the peer's message this only says that it wants nothing more: a server sends
    /// [`Code::NO_ERROR`] after a response that it could give without the whole request (section 8.1).
    Reset {
        /// The stream that was.
        stream: StreamKey,
        /// See [`Event`].
        owner: u32,
        /// The code that was received or sent.
        code: Code,
        /// Who ended it.
        cause: Cause,
    },
    /// A stream of the peer was answered with RST_STREAM without ever being told of.
    Rejected {
        /// The identifier.
        id: u32,
        /// Why.
        error: StreamError,
    },
    /// [`Connection::send_data`] took less than all on this stream, and would take more now.
    Writable {
        /// The stream.
        stream: StreamKey,
        /// See [`Event`].
        owner: u32,
    },
    /// The peer's settings are other than before: see [`Connection::peer`].
    Settings,
    /// The peer will not take new streams. Those opened by this side with a higher identifier than `last` were not
    /// processed and may be tried elsewhere: a [`Event::Reset`] for each follows. The others go on.
    GoAway {
        /// The last stream of this side that the peer may have processed.
        last: u32,
        /// Why.
        code: Code,
    },
    /// The acknowledgement of a [`Connection::send_ping`].
    Pong {
        /// As it was sent.
        payload: [u8; 8],
    },
}

/// Who ended a stream before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sent RST_STREAM.
    Peer,
    /// The peer's GOAWAY says that it was not processed: it may be tried again.
    GoAway,
    /// The peer broke a rule on it, and RST_STREAM was sent.
    Error(StreamError),
}

/// The owner of a stream that nobody has claimed.
pub const NO_OWNER: u32 = u32::MAX;

/// One HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Arc<Config>,
    phase: Phase,
    reading: receive::Reading,
    /// A field block that CONTINUATION frames go on with.
    block: Option<Box<receive::Block>>,
    decoder: hpack::Decoder,
    encoder: hpack::Encoder,
    streams: streams::Streams,
    /// The last stream that the peer opened (server).
    last_peer_id: u32,
    /// The next stream to open (client).
    next_id: u32,
    peer: PeerSettings,
    /// The peer has acknowledged our SETTINGS.
    settings_acked: bool,
    /// What the peer may send on the connection.
    receive_window: flow::ReceiveWindow,
    /// What may be sent on the connection.
    send_window: i32,
    /// Identifiers and windows of the streams that this side has reset.
    remembered: resets::Resets,
    tail: Option<send::Tail>,
    floods: flood::Floods,
    /// Octets written in answer to frames that the socket has not taken.
    queued_control: usize,
    /// The last stream in the GOAWAY received; above all streams before there was one.
    goaway_last: u32,
    goaway_received: bool,
    /// Where to go on telling of streams that GOAWAY left out.
    sweep: Option<u32>,
    shutdown: timers::Shutdown,
    settings_sent_at: Duration,
    last_received: Duration,
    /// Since when a frame other than DATA, or a field block, is not complete.
    partial_since: Option<Duration>,
    ping_sent_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The client's preface is not complete.
    Preface,
    /// The peer's SETTINGS have not come.
    Settings,
    Open,
    Over(ConnectionError),
}

impl Connection {
    /// A connection at its beginning: the preface (section 3.4) with our SETTINGS is written to `out`.
    #[must_use]
    pub fn new(role: Role, config: Arc<Config>, out: &mut Vec<u8>, now: Duration) -> Self {
        let limits = config.limits;
        let receive_window = flow::ReceiveWindow::new(limits.connection_window_bytes);
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        frame::write_settings(out, settings::ours(&limits, role == Role::Server, config.connect_protocol));
        receive_window.announce_initial(out);
        Connection {
            role,
            phase: match role {
                Role::Server => Phase::Preface,
                Role::Client => Phase::Settings,
            },
            reading: receive::Reading::Frame,
            block: None,
            decoder: hpack::Decoder::new(limits.hpack_table_bytes as usize),
            encoder: hpack::Encoder::new(limits.hpack_table_bytes as usize),
            streams: streams::Streams::new(),
            last_peer_id: 0,
            next_id: 1,
            peer: PeerSettings::initial(),
            settings_acked: false,
            receive_window,
            send_window: settings::DEFAULT_WINDOW as i32,
            remembered: resets::Resets::default(),
            tail: None,
            floods: flood::Floods::new(&limits, now),
            queued_control: 0,
            goaway_last: settings::MAX_WINDOW,
            goaway_received: false,
            sweep: None,
            shutdown: timers::Shutdown::No,
            settings_sent_at: now,
            last_received: now,
            partial_since: None,
            ping_sent_at: None,
            config,
        }
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the peer has set.
    #[must_use]
    pub fn peer(&self) -> &PeerSettings {
        &self.peer
    }

    /// Whether an extended CONNECT may be sent (RFC 8441 3). Not refused before the peer has said anything: it may be about
    /// to allow it.
    #[must_use]
    pub fn takes_extended_connect(&self) -> bool {
        self.peer.connect_protocol || !matches!(self.phase, Phase::Open)
    }

    /// Octets that it holds of a field block that is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.held())
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> u32 {
        self.streams.len()
    }

    /// The user's name of a stream, while it is open.
    #[must_use]
    pub fn owner(&self, stream: StreamKey) -> Option<u32> {
        self.streams.get(stream).map(|s| s.owner)
    }

    /// Names a stream; its events bear the name.
    pub fn set_owner(&mut self, stream: StreamKey, owner: u32) {
        if let Some(s) = self.streams.get_mut(stream) {
            s.owner = owner;
        }
    }

    /// Names and keys of all open streams, for whoever ends a connection.
    pub fn streams(&self) -> impl Iterator<Item = (StreamKey, u32)> {
        self.streams.iter().map(|(key, s)| (key, s.owner))
    }

    /// The streams that wait for the peer to open a window, and since when.
    ///
    /// How long that may last is not for the protocol to say (a subscriber may be slow on purpose); who wants a bound looks here
    /// and resets.
    pub fn blocked(&self) -> impl Iterator<Item = (StreamKey, Duration)> {
        let blocked = self.streams.iter().filter(|(_, s)| s.blocked);
        blocked.map(|(stream, s)| (stream, Duration::from_nanos(s.blocked_since)))
    }

    /// True when nothing more will happen on this connection than its end: no new streams, and none open.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let no_new = self.goaway_received && self.role == Role::Client
            || matches!(self.shutdown, timers::Shutdown::Final(_))
            || matches!(self.phase, Phase::Over(_));
        no_new && (self.streams.len() == 0 || matches!(self.phase, Phase::Over(_)))
    }

    /// To be called when the socket has taken `octets` of what was written: the peer is reading its answers. A
    /// few more for encryption do not matter.
    pub fn written(&mut self, octets: usize) {
        self.queued_control = self.queued_control.saturating_sub(octets);
    }

    /// To be called when the socket has taken everything that was written.
    pub fn flushed(&mut self) {
        self.queued_control = 0;
    }
}
