//! What can be wrong with a message head.

use thiserror::Error;

/// Why a message head is refused. Every variant closes an HTTP/1 connection and resets an HTTP/2 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    /// RFC 9112 3, 4: the start line does not have its parts.
    #[error("start line is malformed")]
    StartLine,
    /// RFC 9112 2.2: a line does not end in CR LF, or has a CR or LF inside.
    #[error("line does not end in CR LF")]
    LineEnding,
    /// RFC 9110 9.1: the method is not a token.
    #[error("method is malformed")]
    Method,
    /// RFC 9112 3.2, RFC 9113 8.3.1: the request target holds what a URI cannot, or is not one of the four forms.
    #[error("request target is malformed")]
    Target,
    /// RFC 9112 3.2: the form of the target does not go with the method.
    #[error("form of the request target does not go with the method")]
    TargetForm,
    /// RFC 9110 2.5: neither HTTP/1.0 nor HTTP/1.1.
    #[error("HTTP version is not supported")]
    Version,
    /// RFC 9112 4, RFC 9113 8.3.2: the status is not three digits from 100 on, or 101 in HTTP/2.
    #[error("status is malformed")]
    Status,
    /// RFC 9110 5.1, RFC 9113 8.2.1: a field name is not a token, or not in lower case in HTTP/2.
    #[error("field name is malformed")]
    FieldName,
    /// RFC 9112 5.1: white space between a field name and its colon.
    #[error("white space before a field's colon")]
    SpaceBeforeColon,
    /// RFC 9112 5.2: a field is folded over several lines, or the first one begins with white space.
    #[error("folded field line")]
    Folded,
    /// RFC 9110 5.5, RFC 9113 8.2.1: a field value holds a control byte, or white space around it in HTTP/2.
    #[error("field value is malformed")]
    FieldValue,
    /// RFC 9112 3.2: HTTP/1.1 without `host`.
    #[error("host is missing")]
    HostMissing,
    /// RFC 9112 3.2: more than one `host`.
    #[error("host is repeated")]
    HostRepeated,
    /// RFC 9112 3.2, RFC 9113 8.3.1: a host, an authority or its port is malformed.
    #[error("host or authority is malformed")]
    Authority,
    /// RFC 9113 8.3.1: `host` names another authority than `:authority`.
    #[error("host and :authority differ")]
    HostDiffers,
    /// RFC 9110 8.6: `content-length` is not a number.
    #[error("content-length is malformed")]
    ContentLength,
    /// RFC 9110 8.6: more than one `content-length`.
    #[error("content-length is repeated")]
    ContentLengthRepeated,
    /// RFC 9112 6.3: `transfer-encoding` and `content-length` together.
    #[error("transfer-encoding and content-length together")]
    LengthAndTransferEncoding,
    /// RFC 9112 6.3: `chunked` is not the last transfer coding, or is there twice.
    #[error("transfer-encoding does not end in chunked")]
    TransferEncoding,
    /// RFC 9112 6.1: more than one `transfer-encoding`.
    #[error("transfer-encoding is repeated")]
    TransferEncodingRepeated,
    /// RFC 9112 6.1: a transfer coding other than `chunked`.
    #[error("transfer coding is not supported")]
    TransferCoding,
    /// RFC 9112 6.1: `transfer-encoding` in HTTP/1.0.
    #[error("transfer-encoding in HTTP/1.0")]
    TransferEncodingVersion,
    /// RFC 9110 9.3.6: CONNECT with content.
    #[error("CONNECT with content")]
    ConnectContent,
    /// `limits::Http1::start_line_bytes`.
    #[error("start line is too long")]
    StartLineTooLong,
    /// `limits::Http1::head_bytes`, or `limits::Http2::header_list_bytes`.
    #[error("head is too long")]
    HeadTooLong,
    /// `limits::Head::field_bytes`.
    #[error("field is too long")]
    FieldTooLong,
    /// `limits::Head::fields`.
    #[error("too many fields")]
    TooManyFields,
    /// `limits::Head::connection_options`.
    #[error("too many connection options")]
    TooManyConnectionOptions,
    /// RFC 9113 8.3: a pseudo-header field that is not defined for this section.
    #[error("pseudo-header field does not belong here")]
    PseudoUnexpected,
    /// RFC 9113 8.3: a pseudo-header field after a field, or twice.
    #[error("pseudo-header field out of place or repeated")]
    PseudoMisplaced,
    /// RFC 9113 8.3.1, 8.3.2: a pseudo-header field is missing.
    #[error("pseudo-header field is missing")]
    PseudoMissing,
    /// RFC 9110 4.2: the scheme is malformed.
    #[error("scheme is malformed")]
    Scheme,
    /// RFC 9113 8.2.2: a connection-specific field in HTTP/2, or `te` with more than `trailers`.
    #[error("connection-specific field in HTTP/2")]
    ConnectionSpecific,
}

impl Malformed {
    /// The status a request with this fault is answered with. In a response the fault is the upstream's: 502.
    pub const fn status(self) -> u16 {
        match self {
            Self::StartLineTooLong => 414,
            Self::HeadTooLong | Self::FieldTooLong | Self::TooManyFields => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}
