//! SETTINGS (RFC 9113, section 6.5): ours to the peer and the peer's to us.

use super::ConnectionError;
use crate::limits;

mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(super) const ENABLE_PUSH: u16 = 0x2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// The window of a stream until SETTINGS say otherwise, and of a connection (section 6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window (section 6.9.1).
pub(super) const MAX_WINDOW: u32 = 0x7fff_ffff;
const MIN_FRAME_SIZE: u32 = 16_384;
const MAX_FRAME_SIZE: u32 = 0x00ff_ffff;

/// What the peer has said, or the initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// SETTINGS_HEADER_TABLE_SIZE.
    pub header_table_size: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS. Unlimited, if the peer does not say; 100 before it had the chance to.
    pub max_concurrent_streams: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub initial_window_size: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub max_frame_size: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE. Advice: what is longer may be refused.
    pub max_header_list_size: u32,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441): extended CONNECT may be sent to it.
    pub connect_protocol: bool,
}

impl PeerSettings {
    pub(super) fn initial() -> Self {
        PeerSettings {
            header_table_size: 4096,
            max_concurrent_streams: 100,
            initial_window_size: DEFAULT_WINDOW,
            max_frame_size: MIN_FRAME_SIZE,
            max_header_list_size: u32::MAX,
            connect_protocol: false,
        }
    }

    /// What a SETTINGS payload, whole parameters, makes of them. The last of equal parameters counts: they take effect
    /// together.
    pub(super) fn updated(mut self, payload: &[u8], peer_is_server: bool) -> Result<Self, ConnectionError> {
        for p in payload.as_chunks::<6>().0 {
            let value = u32::from_be_bytes([p[2], p[3], p[4], p[5]]);
            match u16::from_be_bytes([p[0], p[1]]) {
                id::HEADER_TABLE_SIZE => self.header_table_size = value,
                id::ENABLE_PUSH if value > 1 || peer_is_server && value != 0 => {
                    return Err(ConnectionError::Protocol("ENABLE_PUSH out of range"));
                }
                id::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = value,
                id::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return Err(ConnectionError::FlowControl("INITIAL_WINDOW_SIZE above 2^31-1"));
                }
                id::INITIAL_WINDOW_SIZE => self.initial_window_size = value,
                id::MAX_FRAME_SIZE if !(MIN_FRAME_SIZE..=MAX_FRAME_SIZE).contains(&value) => {
                    return Err(ConnectionError::Protocol("MAX_FRAME_SIZE out of range"));
                }
                id::MAX_FRAME_SIZE => self.max_frame_size = value,
                id::MAX_HEADER_LIST_SIZE => self.max_header_list_size = value,
                // RFC 8441, section 3: 0 or 1, and never back to 0.
                id::ENABLE_CONNECT_PROTOCOL if value > 1 || value == 0 && self.connect_protocol => {
                    return Err(ConnectionError::Protocol("ENABLE_CONNECT_PROTOCOL out of range"));
                }
                id::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
                _ => {}
            }
        }
        Ok(self)
    }
}

/// The parameters that we send: those that differ from the initial values.
pub(super) fn ours(
    limits: &limits::Http2,
    server: bool,
    connect_protocol: bool,
) -> impl Iterator<Item = (u16, u32)> {
    [
        (limits.hpack_table_bytes != 4096).then_some((id::HEADER_TABLE_SIZE, limits.hpack_table_bytes)),
        (!server).then_some((id::ENABLE_PUSH, 0)),
        server.then_some((id::MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams)),
        (limits.stream_window_bytes != DEFAULT_WINDOW)
            .then_some((id::INITIAL_WINDOW_SIZE, limits.stream_window_bytes)),
        (limits.frame_bytes != MIN_FRAME_SIZE).then_some((id::MAX_FRAME_SIZE, limits.frame_bytes)),
        Some((id::MAX_HEADER_LIST_SIZE, limits.header_list_bytes)),
        (server && connect_protocol).then_some((id::ENABLE_CONNECT_PROTOCOL, 1)),
    ]
    .into_iter()
    .flatten()
}

/// The same, with values that a configuration may hold and the protocol may not brought into its ranges.
pub(super) fn in_range(mut limits: limits::Http2) -> limits::Http2 {
    limits.frame_bytes = limits.frame_bytes.clamp(MIN_FRAME_SIZE, MAX_FRAME_SIZE);
    limits.stream_window_bytes = limits.stream_window_bytes.min(MAX_WINDOW);
    limits.connection_window_bytes = limits.connection_window_bytes.clamp(DEFAULT_WINDOW, MAX_WINDOW);
    limits.hpack_table_bytes = limits.hpack_table_bytes.min(MAX_TABLE);
    limits
}

/// More table than this would only be memory.
const MAX_TABLE: u32 = 64 * 1024;
