//! The smuggling corpus through both proxies: HTTP/1, which becomes HTTP/2, which becomes HTTP/1. Of each case either nothing reaches
//! the server, or one request does, with one reading left; behind each comes a request that must not be taken for anything else.

use crate::mesh::Mesh;

/// What is behind every case, and must never be seen in front of its time.
const EVIL: &str = "GET /evil HTTP/1.1\r\nhost: web\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sections of RFC 9110 and 9112, the status, the request.
#[rustfmt::skip]
const REFUSED: &[(&str, u16, &[u8])] = &[
    // --- TE.CL, CL.TE
    ("9112 6.1 CL.TE", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG"),
    ("9112 6.1 TE.CL", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 CL.0 and TE", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 CL named in connection, and TE", 400, b"POST / HTTP/1.1\r\nhost: web\r\nconnection: content-length\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 TE named in connection, and CL", 400, b"POST / HTTP/1.1\r\nhost: web\r\nconnection: transfer-encoding\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    // --- TE.TE
    ("9112 6.1 TE.TE", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 TE.TE, the other way", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 TE.TE, an empty one", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding:\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 empty", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: \r\n\r\n0\r\n\r\n"),
    ("9112 6.1 a comma behind", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked,\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 a comma before", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 twice in a list", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 quoted", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 quoted singly", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: 'chunked'\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 with a parameter", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked; x=y\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 chunked first", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 a coding that nobody knows", 501, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: cow, chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 x-chunked", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: x-chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 chunked cut short", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunke\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 with NUL", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 with a form feed", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: \x0cchunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 with NBSP", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 with a bare CR", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\rx: y\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 in HTTP/1.0", 400, b"POST / HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 in HTTP/1.0, kept alive", 400, b"POST / HTTP/1.0\r\nhost: web\r\nconnection: keep-alive\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 5.1 a space before the colon", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("9112 5.1 a tab before the colon", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 5.2 folded, a line of its own", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nx: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 5.2 folded with a tab", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n"),
    ("9112 5.2 folded at the first line", 400, b"GET / HTTP/1.1\r\n x: y\r\nhost: web\r\n\r\n"),
    ("9112 2.2 white space behind the request line", 400, b"GET / HTTP/1.1\r\n \r\nhost: web\r\n\r\n"),
    ("9110 5.1 a name with NUL", 400, b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding\0: chunked\r\n\r\n0\r\n\r\n"),
    ("9110 5.1 a name of eight bits", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx\xff: y\r\n\r\n"),
    ("9110 5.1 a name with a slash", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx/y: z\r\n\r\n"),
    ("9110 5.1 a name in quotes", 400, b"GET / HTTP/1.1\r\nhost: web\r\n\"x\": z\r\n\r\n"),
    ("9110 5.1 no name", 400, b"GET / HTTP/1.1\r\nhost: web\r\n: x\r\n\r\n"),
    ("9112 5 no colon", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx y\r\n\r\n"),
    ("9110 5.5 a value with NUL", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx: a\0b\r\n\r\n"),
    ("9110 5.5 a value with DEL", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx: a\x7fb\r\n\r\n"),
    ("9110 5.5 a value with ESC", 400, b"GET / HTTP/1.1\r\nhost: web\r\nx: \x1b[2J\r\n\r\n"),
    ("9112 2.2 LF ends a line", 400, b"GET / HTTP/1.1\r\nhost: web\nx: y\r\n\r\n"),
    ("9112 2.2 LF ends the head", 400, b"GET / HTTP/1.1\r\nhost: web\r\n\n"),
    ("9112 2.2 CR ends a line", 400, b"GET / HTTP/1.1\r\nhost: web\rx: y\r\n\r\n"),
    ("9112 2.2 CR CR LF", 400, b"GET / HTTP/1.1\r\nhost: web\r\r\n\r\n"),
    // --- lengths
    ("9110 8.6 twice", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    ("9110 8.6 twice the same", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("9110 8.6 a list", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("9110 8.6 a list with an empty member", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5,\r\n\r\nhello"),
    ("9110 8.6 with a sign", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +5\r\n\r\nhello"),
    ("9110 8.6 negative", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -1\r\n\r\nhello"),
    ("9110 8.6 minus zero", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -0\r\n\r\n"),
    ("9110 8.6 hexadecimal", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0x5\r\n\r\nhello"),
    ("9110 8.6 with a point", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5.0\r\n\r\nhello"),
    ("9110 8.6 with an exponent", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5e0\r\n\r\nhello"),
    ("9110 8.6 with an underscore", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 1_0\r\n\r\nhellohello"),
    ("9110 8.6 quoted", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: \"5\"\r\n\r\nhello"),
    ("9110 8.6 a space within", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 1 0\r\n\r\nhello"),
    ("9110 8.6 empty", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: \r\n\r\nhello"),
    ("9110 8.6 digits of another script", 400, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: \u{665}\r\n\r\nhello".as_bytes()),
    ("9110 8.6 2^63", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 9223372036854775808\r\n\r\nhello"),
    ("9110 8.6 2^64 + 5", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 18446744073709551621\r\n\r\nhello"),
    ("9110 8.6 2^32 + 5 of 40 digits", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 9999999999999999999999999999999999999999\r\n\r\nhello"),
    ("9112 5.1 a space before its colon", 400, b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length : 5\r\n\r\nhello"),
    // --- hosts
    ("9112 3.2 none", 400, b"GET / HTTP/1.1\r\n\r\n"),
    ("9112 3.2 two", 400, b"GET / HTTP/1.1\r\nhost: web\r\nhost: evil\r\n\r\n"),
    ("9112 3.2 two, the same", 400, b"GET / HTTP/1.1\r\nhost: web\r\nHOST: web\r\n\r\n"),
    ("9112 3.2 two and an absolute target", 400, b"GET http://web/ HTTP/1.1\r\nhost: web\r\nhost: evil\r\n\r\n"),
    ("9112 3.2 none and an absolute target", 400, b"GET http://web/ HTTP/1.1\r\n\r\n"),
    ("9112 3.2 with a space", 400, b"GET / HTTP/1.1\r\nhost: web evil\r\n\r\n"),
    ("9112 3.2 with user information", 400, b"GET / HTTP/1.1\r\nhost: web@evil\r\n\r\n"),
    ("9112 3.2 with a path", 400, b"GET / HTTP/1.1\r\nhost: web/evil\r\n\r\n"),
    ("9112 3.2 with a query", 400, b"GET / HTTP/1.1\r\nhost: web?evil\r\n\r\n"),
    ("9112 3.2 with a fragment", 400, b"GET / HTTP/1.1\r\nhost: web#evil\r\n\r\n"),
    ("9112 3.2 with a backslash", 400, b"GET / HTTP/1.1\r\nhost: web\\evil\r\n\r\n"),
    ("9112 3.2 percent-encoded", 400, b"GET / HTTP/1.1\r\nhost: web%00evil\r\n\r\n"),
    ("9112 3.2 a port of letters", 400, b"GET / HTTP/1.1\r\nhost: web:http\r\n\r\n"),
    ("9112 3.2 a port with a sign", 400, b"GET / HTTP/1.1\r\nhost: web:+80\r\n\r\n"),
    ("9112 3.2 a port above 65535", 400, b"GET / HTTP/1.1\r\nhost: web:65536\r\n\r\n"),
    ("9112 3.2 a bracket alone", 400, b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n"),
    ("9112 3.2 letters behind a bracket", 400, b"GET / HTTP/1.1\r\nhost: [::1]evil\r\n\r\n"),
    // --- targets
    ("9112 3.2 a space", 400, b"GET /a b HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3 two spaces", 400, b"GET  / HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3 a tab", 400, b"GET\t/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3 a space before the line's end", 400, b"GET / HTTP/1.1 \r\nhost: web\r\n\r\n"),
    ("9112 3 no target", 400, b"GET HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2 a fragment", 400, b"GET /#x HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2 NUL", 400, b"GET /\0 HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2 a vertical tab", 400, b"GET /\x0b HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2 CR", 400, b"GET /\rX HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.1 no slash", 400, b"GET evil HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.2 no authority", 400, b"GET http:///evil HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.2 user information", 400, b"GET http://web@evil/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.2 a backslash in the authority", 400, b"GET http://web\\@evil/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.2 a scheme that is none", 400, b"GET 1http://web/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.3 CONNECT to a path", 400, b"CONNECT /evil HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.3 CONNECT without a port", 400, b"CONNECT web HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.3 CONNECT to a URI", 400, b"CONNECT http://web:80/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9110 9.3.6 CONNECT with content", 400, b"CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\ncontent-length: 5\r\n\r\nhello"),
    ("9112 3.2.4 a star and GET", 400, b"GET * HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9112 3.2.3 an authority and GET", 400, b"GET web:80 HTTP/1.1\r\nhost: web:80\r\n\r\n"),
    // --- versions
    ("9112 2.3 HTTP/0.9", 400, b"GET /\r\n"),
    ("9112 2.3 HTTP/1.2", 505, b"GET / HTTP/1.2\r\nhost: web\r\n\r\n"),
    ("9112 2.3 HTTP/2.0", 505, b"GET / HTTP/2.0\r\nhost: web\r\n\r\n"),
    ("9112 2.3 HTTP/3.0", 505, b"GET / HTTP/3.0\r\nhost: web\r\n\r\n"),
    ("9112 2.3 HTTP/1", 400, b"GET / HTTP/1\r\nhost: web\r\n\r\n"),
    ("9112 2.3 HTTP/1.10", 400, b"GET / HTTP/1.10\r\nhost: web\r\n\r\n"),
    ("9112 2.3 HTTP/01.1", 400, b"GET / HTTP/01.1\r\nhost: web\r\n\r\n"),
    ("9112 2.3 in lower case", 400, b"GET / http/1.1\r\nhost: web\r\n\r\n"),
    ("9112 2.3 of another protocol", 400, b"GET / ICY/1.1\r\nhost: web\r\n\r\n"),
    ("9113 3.4 the preface of HTTP/2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("9110 9.1 a method that is none", 400, b"G(T / HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("9110 9.1 a method of eight bits", 400, b"G\xc3\x84T / HTTP/1.1\r\nhost: web\r\n\r\n"),
];

#[test]
fn rfc9112_11_2_what_is_refused_reaches_nobody_behind_two_proxies() {
    for (name, status, request) in REFUSED {
        let mut m = Mesh::new();
        m.client_sends([request, EVIL.as_bytes()].concat());
        let answer = m.client_got();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        assert_eq!(m.servers_got(), "", "{name}: it reaches the server");
        m.outbound.ends(m.client);
        assert!(m.outbound.is_closed(m.client), "{name}");
    }
}

/// Cases of [`REFUSED`] whose first bytes are no line of HTTP/1 with a version, or are HTTP/2's.
const IS_SOMETHING_ELSE: [&str; 5] = [
    "9112 2.3 HTTP/0.9",
    "9112 2.3 of another protocol",
    "9113 3.4 the preface of HTTP/2",
    "9110 9.1 a method of eight bits",
    "9110 9.1 a method that is none",
];

/// The same as the first thing that a client says, when its protocol is not known yet: what was meant as HTTP is not carried past all
/// rules as opaque bytes for being malformed. (What bears no version may be anything, as `GET key` of Redis.)
#[test]
fn rfc9112_3_a_malformed_first_request_is_not_taken_for_another_protocol() {
    for (name, status, request) in REFUSED.iter().filter(|case| !IS_SOMETHING_ELSE.contains(&case.0)) {
        let mut m = Mesh::silent();
        m.client_sends([request, EVIL.as_bytes()].concat());
        let answer = m.client_got();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(m.servers_got(), "", "{name}: it reaches the server");
    }
}

/// What the client says, and what the server reads of it: every byte.
#[rustfmt::skip]
const PASSED_ON: &[(&str, &str, &str)] = &[
    ("9112 6.1 letter case", "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: ChUnKeD\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("9110 5.6.3 white space around a value", "POST / HTTP/1.1\r\nhost:\ta \r\nTransfer-Encoding:\t chunked\t\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("9110 8.6 zeros before", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 00002\r\n\r\nhi", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"),
    ("9110 9.3.1 GET with content", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"),
    ("9112 7.1 zeros before a chunk's size", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0000002\r\nhi\r\n000\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("9112 7.1.1 extensions", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2 ;a=\"b;c\" ; d\r\nhi\r\n0;\u{e9}\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("9110 6.5.1 trailers that mean something before the content",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\nhost: evil\r\nconnection: x\r\nauthorization: x\r\ncookie: x\r\nl5d-client-id: root\r\nl5d-orig-proto: HTTP/1.0\r\nx-forwarded-for: x\r\nte: trailers\r\nexpect: 100-continue\r\nx-sum: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"),
    ("9112 3.2.2 the target wins", "GET http://a/x?y HTTP/1.1\r\nhost: evil\r\n\r\n", "GET http://a/x?y HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 3.2.2 a target without a path", "GET http://a HTTP/1.1\r\nhost: a\r\n\r\n", "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 3.2.4 a star", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 3.2.1 what looks like an authority", "GET //evil/x HTTP/1.1\r\nhost: a\r\n\r\n", "GET //evil/x HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 3.2.1 dots are the server's", "GET /a/../b/%2e%2E/c HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a/../b/%2e%2E/c HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 9.1 a method in lower case is another", "get / HTTP/1.1\r\nhost: a\r\n\r\n", "get / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 2.3 HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", "GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
    ("9112 3.2 an empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", "GET / HTTP/1.1\r\nhost: \r\n\r\n"),
    ("9112 2.2 an empty line before", "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.6.1 what connection names", "GET / HTTP/1.1\r\nhost: a\r\nConnection: X-A , x-b\r\nx-a: 1\r\nX-B: 2\r\nx-c: 3\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx-c: 3\r\n\r\n"),
    ("9110 7.6.1 host is not taken out", "GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.6.1 nor what decides the framing", "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length, transfer-encoding\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("9110 7.6.1 nor what the proxy says", "GET / HTTP/1.1\r\nhost: a\r\nconnection: l5d-orig-proto, l5d-client-id, te, :authority, :path\r\nl5d-orig-proto: HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 10.1.4 te", "GET / HTTP/1.1\r\nhost: a\r\nconnection: te\r\nte: gzip;q=1, Trailers\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n"),
    ("9110 7.8 h2c", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.8 H2C with a version", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: H2C/2\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.8 h2c in a list", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.8 what is no protocol", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: \"h2c\"\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.8 not named in connection", "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9110 7.8 in HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
    ("9110 10.1.1 an expectation of another kind is the server's", "GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n"),
    ("9110 5.2 lines of a list stay apart", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n\r\n"),
    ("9113 8.2.3 cookies are one line", "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=b\r\nx: y\r\ncookie: c=d\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=b; c=d\r\nx: y\r\n\r\n"),
    ("9110 5.5 eight bits of a value", "GET / HTTP/1.1\r\nhost: a\r\nx: \u{e4}\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx: \u{e4}\r\n\r\n"),
    ("9110 5.5 an empty value", "GET / HTTP/1.1\r\nhost: a\r\nx:\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n"),
    ("Linkerd's own fields are not the client's to say", "GET / HTTP/1.1\r\nhost: a\r\nl5d-client-id: root\r\nL5d-Orig-Proto: HTTP/1.0\r\nl5d-dst-canonical: x\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("9112 7.1 content that looks like the end", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
];

#[test]
fn rfc9112_what_is_passed_on_has_one_reading_behind_two_proxies() {
    for (name, request, expected) in PASSED_ON {
        for pieces in [1, 5] {
            let mut m = Mesh::new();
            let bytes = [request.as_bytes(), EVIL.as_bytes()].concat();
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                m.client_sends(piece);
            }
            let got = m.servers_got();
            if pieces == 1 || !expected.contains("chunked") {
                assert_eq!(got, *expected, "{name}");
            } else {
                // Chunks are as content comes; head and end are not.
                let (head, _) = expected.split_once("2\r\nhi\r\n").unwrap();
                let end = expected.rsplit("hi\r\n").next().unwrap();
                assert!(
                    got.starts_with(head) && got.ends_with(end) && !got.contains("evil"),
                    "{name}: {got}"
                );
            }
            // Answered, it is followed by the next, unless it was the last.
            let server = m.server().unwrap();
            m.server_sends(server, OK);
            let answer = m.client_got();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
                "{name}: {answer}"
            );
            let last = request.contains("/ HTTP/1.0\r\n");
            assert_eq!(m.servers_got(), if last { "" } else { EVIL }, "{name}");
        }
    }
}

/// Content that goes wrong behind a good head: what was passed on is cut, never ended, and nothing behind it is a request.
#[test]
fn rfc9112_7_1_malformed_chunks_are_cut_behind_two_proxies() {
    for chunk in [
        &b"+2\r\nhi\r\n"[..],
        b"-2\r\nhi\r\n",
        b" 2\r\nhi\r\n",
        b"2 \r\nhi\r\n",
        b"\t2\r\nhi\r\n",
        b"0x2\r\nhi\r\n",
        b"2h\r\nhi\r\n",
        b"g\r\nhi\r\n",
        b"\r\nhi\r\n",
        b";x\r\nhi\r\n",
        b"2\nhi\r\n",
        b"2\rhi\r\n",
        b"2\r\nhi\n",
        b"2\r\nhi\r",
        b"2\r\nhi!\r\n",
        b"2\r\nhiEE\r\n",
        b"3\r\nhi\r\n0\r\n\r\n",
        b"2;a\nb\r\nhi\r\n",
        b"2;a\rb\r\nhi\r\n",
        b"2;\0\r\nhi\r\n",
        b"2;a=\"\n\"\r\nhi\r\n",
        b"2,2\r\nhi\r\n",
        b"2_\r\nhi\r\n",
        b"\xef\xbc\x92\r\nhi\r\n",
        b"8000000000000000\r\nhi\r\n",
        b"ffffffffffffffff\r\nhi\r\n",
        b"10000000000000002\r\nhi\r\n",
        b"00000000000000002\r\nhi\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\n\rX",
        b"0\r\n x: y\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
        b"0\r\nx: y\r\n z\r\n\r\n",
        b"0\r\nx: \0\r\n\r\n",
        b"0\r\nx\r\n\r\n",
        b"0\r\n: x\r\n\r\n",
        b"0\r\nx: y\nz: a\r\n\r\n",
        b"0\r\nGET /evil HTTP/1.1\r\n\r\n",
        b"00 \r\n\r\n",
        b"0;\x7f\r\n\r\n",
    ] {
        let name = String::from_utf8_lossy(chunk).into_owned();
        let mut m = Mesh::new();
        m.client_sends("POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
        let server = m.server().unwrap();
        m.client_sends([chunk, EVIL.as_bytes()].concat());
        // Whatever comes after is no more of it.
        m.client_sends(EVIL);
        let passed = m.servers_got();
        assert!(!passed.contains("\r\n0\r\n") && !passed.contains("evil"), "{name:?}: {passed}");
        assert!(m.inbound.is_reset(server), "{name:?}: the server is not to take it for the whole");
        let answer = m.client_got();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name:?}: {answer}");
    }
}

/// What a server says that is no response, or two: the client is told 502 and nothing of it, and the connection is not used again.
#[test]
fn rfc9112_11_1_servers_that_mean_two_things_behind_two_proxies() {
    let interim = "HTTP/1.1 103 x\r\n\r\n".repeat(17);
    let large = format!("HTTP/1.1 200 x\r\nx: {}\r\n\r\n", "a".repeat(33_000));
    for response in [
        "HTTP/1.1 200 x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: -2\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: 2 \0\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ncontent-length: 99999999999999999999\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\ntransfer-encoding: gzip\r\n\r\nhi",
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 x\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 x\r\n x: y\r\n\r\n",
        "HTTP/1.1 200 x\r\nx: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 x\nx: y\r\n\r\n",
        "HTTP/1.1 200 x\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 x\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 x\ry\r\n\r\n",
        "HTTP/1.1  200 x\r\n\r\n",
        "HTTP/1.1 +20 x\r\n\r\n",
        "HTTP/1.1 2000 x\r\n\r\n",
        "HTTP/1.1 000 x\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/0.9 200 x\r\n\r\n",
        "HTTP/2.0 200 x\r\n\r\n",
        "http/1.1 200 x\r\n\r\n",
        "\r\nHTTP/1.1 200 x\r\n\r\n",
        "<html>an error</html>\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 x\r\n\r\n",
        &interim,
        &large,
    ] {
        let mut m = Mesh::new();
        m.client_sends("GET /x HTTP/1.1\r\nhost: web\r\n\r\n");
        let server = m.server().unwrap();
        m.server_sends(server, response);
        let answer = m.client_got();
        let last = answer.rsplit("HTTP/1.1 103").next().unwrap();
        assert!(last.contains("502 "), "{response:?}: {answer}");
        assert!(m.inbound.is_closed(server), "{response:?}");
        assert_eq!(m.servers_got().matches("GET /x ").count(), 1, "{response:?}: it is not asked for again");
    }
}

/// Responses with a content that they cannot have, and what comes behind one: none of it is the next response.
#[test]
fn rfc9112_6_3_content_that_cannot_be_is_for_nobody_behind_two_proxies() {
    let poison = "HTTP/1.1 200 poison\r\ncontent-length: 6\r\n\r\npoison";
    for (method, response) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 x\r\n\r\n"),
        ("GET", "HTTP/1.1 204 x\r\ncontent-length: 49\r\n\r\n"),
        ("GET", "HTTP/1.1 204 x\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 304 x\r\ncontent-length: 49\r\n\r\n"),
        ("GET", "HTTP/1.1 304 x\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 49\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 404 x\r\n\r\n"),
    ] {
        let mut m = Mesh::new();
        m.client_sends(format!("{method} /x HTTP/1.1\r\nhost: web\r\n\r\n"));
        let server = m.server().unwrap();
        m.server_sends(server, format!("{response}{poison}"));
        let answer = m.client_got();
        assert!(!answer.contains("poison"), "{method} {response:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{method} {response:?}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 204 ") || !answer.contains("content-length"), "{answer}");
        assert!(m.inbound.is_closed(server), "{method} {response:?}");
        m.servers_got();
        m.client_sends(EVIL);
        assert_eq!(m.servers_got(), EVIL, "{method} {response:?}");
        let next = m.server().unwrap();
        assert_ne!(next, server);
        m.server_sends(next, OK);
        assert!(m.client_got().ends_with("\r\n\r\nok"), "{method} {response:?}");
    }
}

/// A response that ends before its end: the client is not to take it for the whole.
#[test]
fn rfc9112_8_a_response_cut_short_is_cut_behind_two_proxies() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nx\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nx: a\rb\r\n\r\n",
    ] {
        let mut m = Mesh::new();
        m.client_sends("GET /x HTTP/1.1\r\nhost: web\r\n\r\n");
        let server = m.server().unwrap();
        let (whole, rest) = response.split_at(response.find("hel").unwrap() + 3);
        m.server_sends(server, whole);
        m.server_sends(server, rest);
        m.server_ends(server);
        let answer = m.client_got();
        assert!(!answer.contains("\r\n0\r\n") && answer.contains("hel"), "{response:?}: {answer}");
        assert!(m.outbound.is_reset(m.client), "{response:?}: {answer}");
        assert_eq!(m.servers_got().matches("GET /x ").count(), 1, "{response:?}");
    }
}
