#![doc = include_str!("limits.md")]

macro_rules! limits {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")] pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Every bound as name and value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), u64::from(self.$field)),)*].into_iter()
            }
        }
    };
}

limits! {
    /// Bounds of a message head, the same for HTTP/1 and HTTP/2.
    Head {
        /// Fields of one head or trailer section, in lines. One more: 431.
        fields: u32 = 128,
        /// Bytes of one field, name and value together. More: 431.
        field_bytes: u32 = 32 * 1024,
        /// Names listed in `connection`. More: 400.
        connection_options: u32 = 32,
    }
}

limits! {
    /// Bounds of HTTP/1.
    Http1 {
        /// Bytes of a head from its first byte to its empty line. More: 431.
        head_bytes: u32 = 64 * 1024,
        /// Bytes of a request line or status line. More: 414.
        start_line_bytes: u32 = 32 * 1024,
        /// Bytes of chunk extensions in one message, all chunks together. More: the body is malformed.
        chunk_extension_bytes: u32 = 16 * 1024,
        /// Bytes of a trailer section. More: the body is malformed.
        trailer_bytes: u32 = 16 * 1024,
        /// Interim responses (1xx) to one request. One more: the response is malformed.
        interim_heads: u32 = 16,
    }
}

limits! {
    /// Bounds of one HTTP/2 connection.
    ///
    /// Those that say "in a while" are counted over `flood_window_ms`: that many at once, and as many again while
    /// the window passes. What honest peers send more of when there is more to do is given back as they do it.
    Http2 {
        /// Streams the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS). One more: REFUSED_STREAM.
        max_concurrent_streams: u32 = 1024,
        /// Streams this side opens at once, however many the peer allows. One more: not opened, the caller is told.
        outgoing_streams: u32 = 1024,
        /// Decoded size of a field section, as RFC 9113 6.5.2 counts it, names and values and 32 for each field
        /// (SETTINGS_MAX_HEADER_LIST_SIZE). More: 431 on that stream, or a reset for trailers and responses.
        header_list_bytes: u32 = 64 * 1024,
        /// Payload of a frame the peer may send (SETTINGS_MAX_FRAME_SIZE). More: FRAME_SIZE_ERROR.
        frame_bytes: u32 = 16 * 1024,
        /// Encoded bytes of a field block in HEADERS and its CONTINUATION frames. More: ENHANCE_YOUR_CALM.
        block_bytes: u32 = 128 * 1024,
        /// CONTINUATION frames after one HEADERS. One more: ENHANCE_YOUR_CALM.
        continuation_frames: u32 = 16,
        /// Parameters in one SETTINGS frame. One more: ENHANCE_YOUR_CALM.
        settings_entries: u32 = 32,
        /// Interim responses (1xx) to one request. One more: the stream is reset.
        interim_heads: u32 = 16,
        /// Streams the peer may open in a while and reset before they are answered (rapid reset). A stream that
        /// runs to its end gives one back. One more: ENHANCE_YOUR_CALM.
        resets: u32 = 1000,
        /// Streams in a while that are reset or refused because of what the peer did wrong. One more:
        /// ENHANCE_YOUR_CALM.
        stream_errors: u32 = 200,
        /// PING frames in a while. A frame with a head or content gives one back. One more: ENHANCE_YOUR_CALM.
        pings: u32 = 1000,
        /// SETTINGS frames in a while. One more: ENHANCE_YOUR_CALM.
        settings: u32 = 100,
        /// WINDOW_UPDATE frames in a while. Every DATA frame sent and every head received gives two back. One more:
        /// ENHANCE_YOUR_CALM.
        window_updates: u32 = 10_000,
        /// Frames in a while that carry nothing: empty DATA without END_STREAM, PRIORITY, GOAWAY again, frames for
        /// closed streams, unknown types. A frame with a head or content gives one back. One more:
        /// ENHANCE_YOUR_CALM.
        idle_frames: u32 = 1000,
        /// Milliseconds that "a while" is.
        flood_window_ms: u32 = 10_000,
        /// Bytes of frames written in answer to the peer's (acknowledgements, resets, refusals) that the peer has not
        /// read. More: ENHANCE_YOUR_CALM.
        queued_control_bytes: u32 = 64 * 1024,
        /// Streams this side has reset, of which frames may still arrive and are ignored. One more: the oldest is
        /// forgotten, and frames for it are stream errors.
        remembered_resets: u32 = 1024,
        /// Bytes the peer may send on a stream before more credit is given (SETTINGS_INITIAL_WINDOW_SIZE).
        stream_window_bytes: u32 = 64 * 1024 - 1,
        /// Bytes the peer may send on the connection before more credit is given.
        connection_window_bytes: u32 = 1024 * 1024,
        /// HPACK dynamic table the peer's encoder may use (SETTINGS_HEADER_TABLE_SIZE), and at most what our
        /// encoder uses of what the peer offers.
        hpack_table_bytes: u32 = 4096,
        /// Milliseconds within which the peer must acknowledge our SETTINGS. Later: SETTINGS_TIMEOUT.
        settings_ack_ms: u32 = 10_000,
        /// Milliseconds within which a frame other than DATA, or a field block in several frames, must be complete once it has
        /// begun. Later: ENHANCE_YOUR_CALM.
        frame_ms: u32 = 30_000,
        /// Milliseconds after the announcement of a graceful shutdown until it takes effect, if the peer does not
        /// show earlier that it has seen it.
        drain_notice_ms: u32 = 1000,
    }
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Heads of either protocol.
    pub head: Head,
    /// HTTP/1.
    pub http1: Http1,
    /// HTTP/2.
    pub http2: Http2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_listed_by_name() {
        let names: Vec<_> = Http1::default().each().collect();
        assert_eq!(names.first(), Some(&("head_bytes", 65_536)));
        assert!(Http2::default().each().all(|(_, value)| value > 0));
        assert!(Head::default().each().any(|bound| bound == ("fields", 128)));
    }

    /// The table says what is in force.
    #[test]
    fn every_bound_is_in_the_table() {
        let limits = Limits::default();
        let bounds: Vec<String> = (limits.head.each().chain(limits.http1.each()).chain(limits.http2.each()))
            .map(|(name, value)| format!("| `{name}` | {value} |"))
            .collect();
        let rows: Vec<&str> =
            include_str!("limits.md").lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), bounds.len());
        for (row, bound) in rows.iter().zip(&bounds) {
            assert!(row.starts_with(bound.as_str()), "{row}: {bound}");
        }
    }

    #[test]
    fn rfc9113_6_5_2_defaults_are_values_the_settings_may_have() {
        let limits = Http2::default();
        assert!((16_384..=16_777_215).contains(&limits.frame_bytes));
        assert!(limits.stream_window_bytes <= i32::MAX as u32);
        assert!((65_535..=i32::MAX as u32).contains(&limits.connection_window_bytes));
    }
}
