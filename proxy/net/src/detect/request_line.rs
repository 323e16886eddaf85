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

/// What a version begins with, in any letter case.
const NAME: &[u8] = b"HTTP/";

/// RFC 9110 section 9.3, RFC 5789.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

pub(super) enum Line {
    NeedMore,
    Http1,
    NotHttp,
}

pub(super) fn parse(bytes: &[u8]) -> Line {
    let window = bytes.get(..MAX_REQUEST_LINE_LEN).unwrap_or(bytes);
    let whole = window.len() == MAX_REQUEST_LINE_LEN;
    match scan(window) {
        Scan::NeedMore if whole => Line::Http1,
        Scan::Doubtful if whole => Line::NotHttp,
        Scan::NeedMore | Scan::Doubtful => Line::NeedMore,
        Scan::Http1 => Line::Http1,
        Scan::NotHttp => Line::NotHttp,
    }
}

enum Scan {
    /// The beginning of a request line.
    NeedMore,
    /// The beginning of a line that is no request line, but may turn out to have been meant as one.
    Doubtful,
    Http1,
    NotHttp,
}

fn scan(bytes: &[u8]) -> Scan {
    let mut rest = bytes;
    for _ in 0..MAX_EMPTY_LINES {
        match rest {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Scan::NeedMore,
            _ => break,
        }
    }

    let method_len = rest.iter().position(|b| !is_token(*b)).unwrap_or(rest.len());
    if method_len > MAX_METHOD_LEN {
        return Scan::NotHttp;
    }
    let (method, rest) = match rest.split_at(method_len) {
        (_, []) => return Scan::NeedMore,
        (method @ [_, ..], [b' ', after @ ..]) => (method, after),
        (method @ [_, ..], [b'\t', after @ ..]) => return meant(method, after),
        _ => return Scan::NotHttp,
    };

    let target_len = rest.iter().position(|b| !is_target(*b)).unwrap_or(rest.len());
    let version = match rest.split_at(target_len) {
        (_, []) => return Scan::NeedMore,
        ([_, ..], [b' ', after @ ..]) => after,
        _ => return meant(method, rest),
    };

    let seen = version.get(..VERSION_START.len()).unwrap_or(version);
    if seen == VERSION_START {
        Scan::Http1
    } else if VERSION_START.starts_with(seen) {
        Scan::NeedMore
    } else {
        meant(method, rest)
    }
}

/// A line that is no request line though its end says that it was meant as one (`GET /a b HTTP/1.1`, `GET / HTTP/2.0`) is HTTP/1 all the
/// same: the codec refuses it. Carried as opaque bytes it would get past every rule for requests, to a server that may be less strict.
///
/// Text protocols end their lines, so waiting for the end costs them nothing; one with a control byte in it is taken for HTTP only if it
/// begins with a method in use.
fn meant(method: &[u8], rest: &[u8]) -> Scan {
    let known = METHODS.contains(&method);
    let is_end = |b: &u8| *b == b'\n' || !known && (*b < b' ' || *b == 0x7f) && !matches!(b, b'\t' | b'\r');
    let Some(end) = rest.iter().position(is_end) else { return Scan::Doubtful };
    let (line, end) = rest.split_at(end);
    if end.first() != Some(&b'\n') {
        return Scan::NotHttp;
    }
    let last = line.trim_ascii_end().rsplit(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default();
    match last.get(..NAME.len()) {
        Some(name) if name.eq_ignore_ascii_case(NAME) => Scan::Http1,
        _ => Scan::NotHttp,
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
