//! Error codes (RFC 9113, section 7) and what ends a connection.

use std::fmt;

/// An error code of RST_STREAM and GOAWAY. Unknown codes are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $konst:ident = $value:literal $name:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $konst: Code = Code($value);)*

            /// The name that RFC 9113 gives it; unknown codes have none.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Not an error: graceful shutdown, or a response that needs no more of the request.
    NO_ERROR = 0x0 "NO_ERROR";
    /// The peer broke the protocol in a way that has no code of its own.
    PROTOCOL_ERROR = 0x1 "PROTOCOL_ERROR";
    /// The endpoint that says it has failed.
    INTERNAL_ERROR = 0x2 "INTERNAL_ERROR";
    /// More data than the window allowed, or a window beyond 2^31-1.
    FLOW_CONTROL_ERROR = 0x3 "FLOW_CONTROL_ERROR";
    /// SETTINGS were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4 "SETTINGS_TIMEOUT";
    /// A frame for a stream that is closed.
    STREAM_CLOSED = 0x5 "STREAM_CLOSED";
    /// A frame of a size its type does not have.
    FRAME_SIZE_ERROR = 0x6 "FRAME_SIZE_ERROR";
    /// Nothing was done for this stream: it may be tried again.
    REFUSED_STREAM = 0x7 "REFUSED_STREAM";
    /// The stream is not needed any more.
    CANCEL = 0x8 "CANCEL";
    /// The field compression context is lost.
    COMPRESSION_ERROR = 0x9 "COMPRESSION_ERROR";
    /// The connection made by CONNECT broke.
    CONNECT_ERROR = 0xa "CONNECT_ERROR";
    /// The peer is generating excessive load.
    ENHANCE_YOUR_CALM = 0xb "ENHANCE_YOUR_CALM";
    /// The transport is not secure enough.
    INADEQUATE_SECURITY = 0xc "INADEQUATE_SECURITY";
    /// The resource needs HTTP/1.1.
    HTTP_1_1_REQUIRED = 0xd "HTTP_1_1_REQUIRED";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
