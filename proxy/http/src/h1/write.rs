//! Messages on their way out (RFC 9112 3, 4, 5, 7).

use super::framing::Framing;
use crate::fields::Kind;
use crate::head::{Malformed, Method, Outgoing, Section, Target, Version, syntax};

/// The interim response that a client that sent `expect: 100-continue` waits for (RFC 9110 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What this hop says about its own connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Nothing.
    #[default]
    Unsaid,
    /// `connection: close`.
    Close,
    /// `connection: keep-alive`, which an HTTP/1.0 client waits for.
    KeepAlive,
    /// `connection: upgrade` and the `upgrade` that the message came with.
    Upgrade,
}

/// How to write a head.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The version on the start line: [`Version::Http10`], otherwise HTTP/1.1 is written.
    pub version: Version,
    /// How the content is announced.
    pub framing: Framing,
    /// What is said about the connection.
    pub connection: Connection,
    /// Requests: the target in absolute form.
    pub absolute_form: bool,
    /// Responses: a `date` for those without one.
    pub date: Option<&'a [u8]>,
}

impl Options<'_> {
    /// HTTP/1.1 and that framing; nothing else.
    pub const fn new(framing: Framing) -> Self {
        Self {
            version: Version::Http11,
            framing,
            connection: Connection::Unsaid,
            absolute_form: false,
            date: None,
        }
    }
}

/// Appends a request head to `out`.
///
/// Every part is checked as it is written: nothing can end its line or be taken for another part (RFC 9113 10.3).
/// Heads that our codecs read always pass; for what came over HTTP/2 this is the second lock, for what the
/// configuration adds the first. On an error `out` is as it was.
pub fn write_request(
    out: &mut Vec<u8>,
    message: &Outgoing<'_>,
    options: &Options<'_>,
) -> Result<(), Malformed> {
    checked(out, |out| {
        request_line(out, message, options)?;
        let authority = message.authority();
        // HTTP/1.1 requires a host, empty if there is nothing to say (RFC 9112 3.2).
        if !authority.is_empty() || options.version != Version::Http10 {
            line(out, b"host", authority)?;
        }
        fields(out, message, options)
    })
}

/// Appends a response head, interim or final, to `out`. Checks as [`write_request`] does.
pub fn write_response(
    out: &mut Vec<u8>,
    message: &Outgoing<'_>,
    options: &Options<'_>,
) -> Result<(), Malformed> {
    checked(out, |out| {
        let status = message.head.status;
        if !(100..=999).contains(&status) {
            return Err(Malformed::Status);
        }
        out.extend_from_slice(version_name(options.version));
        out.push(b' ');
        decimal(out, u64::from(status));
        out.push(b' ');
        let reason = match message.head.reason.of(message.bytes) {
            b"" => canonical_reason(status),
            reason if syntax::is_value(reason) => reason,
            _ => return Err(Malformed::StartLine),
        };
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        if let Some(date) = options.date.filter(|_| !message.head.facts.date) {
            line(out, b"date", date)?;
        }
        fields(out, message, options)
    })
}

/// Appends a chunk (RFC 9112 7.1). Nothing for no data: an empty chunk would be the last one.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let mut digits = [0u8; 16];
    let mut n = data.len();
    let mut first = digits.len();
    while n > 0 {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = hex_digit(n & 15);
        }
        n >>= 4;
    }
    out.reserve(data.len() + 20);
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

const fn hex_digit(n: usize) -> u8 {
    if n < 10 { b'0' + n as u8 } else { b'a' + (n as u8 - 10) }
}

/// Appends the last chunk and the trailer section, which ends the message. Checks as [`write_request`] does.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Outgoing<'_>>) -> Result<(), Malformed> {
    checked(out, |out| {
        out.extend_from_slice(b"0\r\n");
        for field in trailers.iter().flat_map(|t| t.fields()).filter(|f| f.kind.meaning().in_trailers) {
            checked_line(out, field.kind, field.name, field.value)?;
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    })
}

/// Takes back what was written if it failed.
fn checked(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let before = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn request_line(out: &mut Vec<u8>, message: &Outgoing<'_>, options: &Options<'_>) -> Result<(), Malformed> {
    let method = message.method();
    if !syntax::is_token(method) {
        return Err(Malformed::Method);
    }
    out.extend_from_slice(method);
    out.push(b' ');
    let authority = message.authority();
    if !authority.is_empty() && !syntax::is_authority(authority) {
        return Err(Malformed::Authority);
    }
    if message.head.method == Method::Connect {
        // An extended CONNECT (RFC 8441) is something else in HTTP/1.
        if message.head.target != Target::Authority || !syntax::is_connect_authority(authority) {
            return Err(Malformed::TargetForm);
        }
        out.extend_from_slice(authority);
    } else {
        let path = message.path();
        if options.absolute_form {
            if !syntax::is_scheme(message.scheme()) {
                return Err(Malformed::Scheme);
            }
            if authority.is_empty() {
                return Err(Malformed::Authority);
            }
            out.extend_from_slice(message.scheme());
            out.extend_from_slice(b"://");
            out.extend_from_slice(authority);
        }
        match path.first() {
            Some(b'/') if syntax::is_target(path) => out.extend_from_slice(path),
            Some(b'*') if path.len() == 1 && message.head.method == Method::Options => {
                // In absolute form a server as a whole has no path (RFC 9112 3.2.4).
                if !options.absolute_form {
                    out.push(b'*');
                }
            }
            _ => return Err(Malformed::Target),
        }
    }
    out.push(b' ');
    out.extend_from_slice(version_name(options.version));
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn fields(out: &mut Vec<u8>, message: &Outgoing<'_>, options: &Options<'_>) -> Result<(), Malformed> {
    let mut cookies = message.head.facts.cookies;
    let mut te = false;
    for field in message.fields() {
        match field.kind {
            // Written below as the framing wants it.
            Kind::ContentLength | Kind::TransferEncoding => {}
            Kind::Te => te = message.head.section == Section::Request && options.version == Version::Http11,
            // HTTP/2 splits what HTTP/1 must have in one line (RFC 9113 8.2.3).
            Kind::Cookie if message.head.facts.cookies > 1 => {
                if cookies == message.head.facts.cookies {
                    joined_cookies(out, message)?;
                }
                cookies = cookies.saturating_sub(1);
            }
            kind => checked_line(out, kind, field.name, field.value)?,
        }
    }
    match options.framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(n) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, n);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked if options.version == Version::Http10 => {
            return Err(Malformed::TransferEncodingVersion);
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    match options.connection {
        // We pass trailers on, so a server may be told that they are welcome (RFC 9110 10.1.4).
        Connection::Unsaid if te => out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n"),
        Connection::Unsaid => {}
        Connection::Close => out.extend_from_slice(b"connection: close\r\n"),
        Connection::KeepAlive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Connection::Upgrade => {
            if let Some(protocol) = message.head.facts.upgrade {
                out.extend_from_slice(b"connection: upgrade\r\n");
                line(out, b"upgrade", protocol.of(message.bytes))?;
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn joined_cookies(out: &mut Vec<u8>, message: &Outgoing<'_>) -> Result<(), Malformed> {
    let line = out.len();
    let mut separator: &[u8] = b"cookie: ";
    for crumb in message.fields().filter(|f| f.kind == Kind::Cookie) {
        out.extend_from_slice(separator);
        out.extend_from_slice(crumb.value);
        separator = b"; ";
    }
    end_line(out, line)
}

/// A field line. The names of known kinds are known to be tokens.
fn checked_line(out: &mut Vec<u8>, kind: Kind, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    if kind == Kind::Other && !syntax::is_token(name) {
        return Err(Malformed::FieldName);
    }
    line(out, name, value)
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let start = out.len();
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    end_line(out, start)
}

/// Ends the line that begins at `start`, if nothing in it ends it before.
fn end_line(out: &mut Vec<u8>, start: usize) -> Result<(), Malformed> {
    if syntax::find_control(out, start) < out.len() {
        return Err(Malformed::FieldValue);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

const fn version_name(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 | Version::Http2 => b"HTTP/1.1",
    }
}

fn decimal(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0u8; 20];
    let mut rest = n;
    let mut first = digits.len();
    loop {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// The reason phrase of a status (RFC 9110 15 and the registry); empty for unknown ones, which is valid.
const fn canonical_reason(status: u16) -> &'static [u8] {
    match status {
        100 => b"Continue",
        101 => b"Switching Protocols",
        103 => b"Early Hints",
        200 => b"OK",
        201 => b"Created",
        202 => b"Accepted",
        203 => b"Non-Authoritative Information",
        204 => b"No Content",
        205 => b"Reset Content",
        206 => b"Partial Content",
        300 => b"Multiple Choices",
        301 => b"Moved Permanently",
        302 => b"Found",
        303 => b"See Other",
        304 => b"Not Modified",
        307 => b"Temporary Redirect",
        308 => b"Permanent Redirect",
        400 => b"Bad Request",
        401 => b"Unauthorized",
        402 => b"Payment Required",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        406 => b"Not Acceptable",
        407 => b"Proxy Authentication Required",
        408 => b"Request Timeout",
        409 => b"Conflict",
        410 => b"Gone",
        411 => b"Length Required",
        412 => b"Precondition Failed",
        413 => b"Content Too Large",
        414 => b"URI Too Long",
        415 => b"Unsupported Media Type",
        416 => b"Range Not Satisfiable",
        417 => b"Expectation Failed",
        421 => b"Misdirected Request",
        422 => b"Unprocessable Content",
        425 => b"Too Early",
        426 => b"Upgrade Required",
        428 => b"Precondition Required",
        429 => b"Too Many Requests",
        431 => b"Request Header Fields Too Large",
        451 => b"Unavailable For Legal Reasons",
        500 => b"Internal Server Error",
        501 => b"Not Implemented",
        502 => b"Bad Gateway",
        503 => b"Service Unavailable",
        504 => b"Gateway Timeout",
        505 => b"HTTP Version Not Supported",
        508 => b"Loop Detected",
        511 => b"Network Authentication Required",
        _ => b"",
    }
}
