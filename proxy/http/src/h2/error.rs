//! What goes wrong: on the connection, on one stream, and for who uses them.

use thiserror::Error;

use super::code::Code;
use super::flood::Flood;
use crate::head::Malformed;
use crate::hpack;

/// The connection is over. GOAWAY with [`ConnectionError::code`] has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectionError {
    /// The client did not begin as RFC 9113 3.4 says.
    #[error("the preface is not HTTP/2")]
    Preface,
    /// The first frame was not SETTINGS (section 3.4).
    #[error("the first frame is not SETTINGS")]
    NoSettings,
    /// A rule was broken that every endpoint must end the connection for.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A frame is larger than allowed, or not of the size of its type (section 4.2).
    #[error("a frame has a wrong size")]
    FrameSize,
    /// More was sent than the window allowed, or a window is too large (section 6.9).
    #[error("flow control: {0}")]
    FlowControl(&'static str),
    /// HEADERS for a stream that the peer had ended (section 5.1).
    #[error("a frame for a stream that is closed")]
    StreamClosed,
    /// A field block cannot be decoded, and none after it (section 4.3).
    #[error("field compression")]
    Compression(#[from] hpack::DecodeError),
    /// A bound was exceeded that only abuse exceeds.
    #[error("too much of: {0}")]
    Flood(Flood),
    /// SETTINGS were not acknowledged within `settings_ack_ms`.
    #[error("SETTINGS were not acknowledged in time")]
    SettingsTimeout,
    /// A frame, or a field block of several, was begun and not ended within `frame_ms`.
    #[error("a frame or field block did not come to its end in time")]
    SlowFrame,
    /// The peer gave no sign of life after a PING.
    #[error("no answer to PING")]
    KeepaliveTimeout,
}

impl ConnectionError {
    /// The code in GOAWAY.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Preface | Self::NoSettings | Self::Protocol(_) => Code::PROTOCOL_ERROR,
            Self::FrameSize => Code::FRAME_SIZE_ERROR,
            Self::FlowControl(_) => Code::FLOW_CONTROL_ERROR,
            Self::StreamClosed => Code::STREAM_CLOSED,
            Self::Compression(_) => Code::COMPRESSION_ERROR,
            Self::Flood(_) | Self::SlowFrame => Code::ENHANCE_YOUR_CALM,
            Self::SettingsTimeout => Code::SETTINGS_TIMEOUT,
            Self::KeepaliveTimeout => Code::NO_ERROR,
        }
    }
}

impl From<Flood> for ConnectionError {
    fn from(flood: Flood) -> Self {
        Self::Flood(flood)
    }
}

/// A stream is over because of what the peer sent. RST_STREAM with [`StreamError::code`] has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// A head or trailers break a rule (section 8.1.1).
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// A response head or trailers are larger than allowed.
    #[error("too large: {0}")]
    TooLarge(Malformed),
    /// Content is not as long as `content-length` says (section 8.1.1).
    #[error("content-length and content differ")]
    ContentLength,
    /// A frame that cannot come in the stream's state (section 5.1, 8.1).
    #[error("a frame out of order")]
    Order,
    /// A frame after END_STREAM (section 5.1).
    #[error("a frame after the end of the stream")]
    AfterEnd,
    /// More was sent than the window allowed, or the window is too large (section 6.9).
    #[error("flow control")]
    FlowControl,
    /// WINDOW_UPDATE by nothing (section 6.9).
    #[error("window update by zero")]
    ZeroIncrement,
    /// More interim responses than `interim_heads`.
    #[error("too many interim responses")]
    InterimHeads,
    /// More streams than `max_concurrent_streams`, or after our GOAWAY.
    #[error("refused")]
    Refused,
}

impl StreamError {
    /// The code in RST_STREAM.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Malformed(_) | Self::ContentLength | Self::Order | Self::ZeroIncrement => {
                Code::PROTOCOL_ERROR
            }
            Self::TooLarge(_) | Self::InterimHeads => Code::ENHANCE_YOUR_CALM,
            Self::AfterEnd => Code::STREAM_CLOSED,
            Self::FlowControl => Code::FLOW_CONTROL_ERROR,
            Self::Refused => Code::REFUSED_STREAM,
        }
    }
}

/// The stream is closed, or this side has ended it: nothing can be sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stream is closed")]
pub struct Closed;

/// Why no stream can be opened on a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// As many are open as the peer or `outgoing_streams` allow: later.
    #[error("as many streams are open as are allowed")]
    Full,
    /// The connection ends, or has used up its identifiers: on another connection.
    #[error("the connection takes no new streams")]
    Ending,
}
