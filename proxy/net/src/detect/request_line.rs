//! Is this the beginning of an HTTP/1 request? (RFC 9112 section 3: `method SP request-target SP HTTP-version`.)

/// How much of a request line is looked at. A longer one that has been well formed up to here is taken for HTTP/1;
/// the codec then applies its own limits. The same as the read of Linkerd's detection.
pub const MAX_REQUEST_LINE_LEN: usize = 1024;

/// The longest method. The registered ones have at most 17 characters; text protocols that are not HTTP are told by
/// this when they begin with a long word.
const MAX_METHOD_LEN: usize = 32;

/// Empty lines before the request line, which a server should ignore (RFC 9112 section 2.2).
const MAX_EMPTY_LINES: usize = 4;

const VERSION_START: &[u8] = b"HTTP/1.";

pub(super) enum Line {
    NeedMore,
    Http1,
    NotHttp,
}

pub(super) fn parse(bytes: &[u8]) -> Line {
    let window = bytes.get(..MAX_REQUEST_LINE_LEN).unwrap_or(bytes);
    match scan(window) {
        Line::NeedMore if window.len() == MAX_REQUEST_LINE_LEN => Line::Http1,
        line => line,
    }
}

fn scan(bytes: &[u8]) -> Line {
    let mut rest = bytes;
    for _ in 0..MAX_EMPTY_LINES {
        match rest {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Line::NeedMore,
            _ => break,
        }
    }

    let method_len = rest.iter().position(|b| !is_token(*b)).unwrap_or(rest.len());
    if method_len > MAX_METHOD_LEN {
        return Line::NotHttp;
    }
    let rest = match rest.split_at(method_len) {
        (_, []) => return Line::NeedMore,
        ([_, ..], [b' ', after @ ..]) => after,
        _ => return Line::NotHttp,
    };

    let target_len = rest.iter().position(|b| !is_target(*b)).unwrap_or(rest.len());
    let rest = match rest.split_at(target_len) {
        (_, []) => return Line::NeedMore,
        ([_, ..], [b' ', after @ ..]) => after,
        _ => return Line::NotHttp,
    };

    let seen = rest.get(..VERSION_START.len()).unwrap_or(rest);
    if seen == VERSION_START {
        Line::Http1
    } else if VERSION_START.starts_with(seen) {
        Line::NeedMore
    } else {
        Line::NotHttp
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// No spaces and no controls; the codec is stricter.
fn is_target(b: u8) -> bool {
    b > b' ' && b != 0x7f
}
