//! Request lines with their four forms of target, and status lines (RFC 9112 3, 4).

use super::parse::{Fault, line_end};
use crate::head::{Head, Malformed, Method, Range, Target, Version, syntax};

/// Reads the request line at `at`. Returns the offset after it.
pub(super) fn request(bytes: &[u8], at: usize, head: Option<&mut Head>) -> Result<((), usize), Fault> {
    let rest = bytes.get(at..).unwrap_or_default();
    let method_len = rest.iter().position(|b| !syntax::is_token_byte(*b)).unwrap_or(rest.len());
    let method = Range::new(at, at + method_len);
    match rest.get(method_len) {
        Some(b' ') if method_len > 0 => {}
        Some(b'\r' | b'\n') => return Err(Fault::new(at + method_len, Malformed::StartLine)),
        _ => return Err(Fault::new(at + method_len, Malformed::Method)),
    }
    let from = at + method_len + 1;
    let rest = bytes.get(from..).unwrap_or_default();
    let target_len = rest.iter().position(|b| !syntax::is_target(&[*b])).unwrap_or(rest.len());
    let target = Range::new(from, from + target_len);
    let after = from + target_len;
    match rest.get(target_len) {
        Some(b' ') if target_len > 0 => {}
        Some(b' ' | b'\r' | b'\n') => return Err(Fault::new(after, Malformed::StartLine)),
        _ => return Err(Fault::new(after, Malformed::Target)),
    }
    let (version, end) = version(bytes, after + 1)?;
    let next = line_end(bytes, end, Malformed::StartLine)?;
    let parts = parts(bytes, Method::of(method.of(bytes)), target).map_err(|kind| Fault::new(after, kind))?;
    if let Some(head) = head {
        head.version = version;
        head.method = parts.method;
        head.method_name = method;
        head.target = parts.target;
        head.scheme = parts.scheme;
        head.authority = parts.authority;
        head.path = parts.path;
    }
    Ok(((), next))
}

/// Reads the status line at `at`. Returns the offset after it.
pub(super) fn response(bytes: &[u8], at: usize, head: Option<&mut Head>) -> Result<((), usize), Fault> {
    let (version, end) = version(bytes, at)?;
    if bytes.get(end) != Some(&b' ') {
        return Err(Fault::new(end, Malformed::StartLine));
    }
    let digits = Range::new(end + 1, end + 4);
    let value = bytes.get(end + 1..end + 4).and_then(syntax::digits);
    let Some(status @ 100..=999) = value else { return Err(Fault::new(end + 1, Malformed::Status)) };
    let after = digits.end as usize;
    // The space before an empty reason phrase is left out by some servers.
    let reason = match bytes.get(after) {
        Some(b' ') => after + 1,
        Some(b'\r' | b'\n') => after,
        _ => return Err(Fault::new(after, Malformed::Status)),
    };
    let stop = syntax::find_control(bytes, reason);
    let next = line_end(bytes, stop, Malformed::StartLine)?;
    if let Some(head) = head {
        head.version = version;
        head.status = status as u16;
        head.reason = Range::new(reason, stop);
    }
    Ok(((), next))
}

/// `HTTP/1.0` or `HTTP/1.1` at `at`. Returns the offset after it.
fn version(bytes: &[u8], at: usize) -> Result<(Version, usize), Fault> {
    match bytes.get(at..at + 8) {
        Some(b"HTTP/1.1") => Ok((Version::Http11, at + 8)),
        Some(b"HTTP/1.0") => Ok((Version::Http10, at + 8)),
        Some([b'H', b'T', b'T', b'P', b'/', a, b'.', b]) if a.is_ascii_digit() && b.is_ascii_digit() => {
            Err(Fault::new(at + 8, Malformed::Version))
        }
        _ => Err(Fault::new(at, Malformed::StartLine)),
    }
}

struct Parts {
    method: Method,
    target: Target,
    scheme: Range,
    authority: Range,
    path: Range,
}

/// Takes a request target apart (RFC 9112 3.2). Its bytes are known to be of a target.
fn parts(bytes: &[u8], method: Method, whole: Range) -> Result<Parts, Malformed> {
    let nothing = Range::default();
    let parts = |target, scheme, authority, path| Parts { method, target, scheme, authority, path };
    let target = whole.of(bytes);
    if method == Method::Connect {
        return if syntax::is_connect_authority(target) {
            Ok(parts(Target::Authority, nothing, whole, nothing))
        } else {
            Err(Malformed::TargetForm)
        };
    }
    if target.first() == Some(&b'/') {
        return Ok(parts(Target::Origin, nothing, nothing, whole));
    }
    if target == b"*" {
        return if method == Method::Options {
            Ok(parts(Target::Asterisk, nothing, nothing, whole))
        } else {
            Err(Malformed::TargetForm)
        };
    }
    let Some(scheme_len) = target.windows(3).position(|w| w == b"://") else {
        return Err(Malformed::TargetForm);
    };
    let (scheme, rest) = target.split_at(scheme_len);
    if !syntax::is_scheme(scheme) {
        return Err(Malformed::Target);
    }
    let rest = rest.get(3..).unwrap_or_default();
    let authority_len = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    // A query without a path would have to be given one before anything can be matched with it; no client is known
    // that sends this.
    if !syntax::is_authority(authority) || path.first() == Some(&b'?') {
        return Err(Malformed::Target);
    }
    let start = whole.start as usize;
    let authority_start = start + scheme_len + 3;
    let path_start = authority_start + authority_len;
    Ok(parts(
        Target::Absolute,
        Range::new(start, start + scheme_len),
        Range::new(authority_start, path_start),
        Range::new(path_start, whole.end as usize),
    ))
}
