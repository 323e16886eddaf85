//! What clients say and how they know that they were answered: bytes in, bytes out.

use crate::{
    backend::{MESSAGE, http1_response},
    frames::{self, Credit, Frames, INITIAL_WINDOW, flag, frame, keep, keep_indexed, kind},
};

/// One connection's end of a conversation.
pub trait Client {
    /// Writes what comes before the first request.
    fn start(&mut self, out: &mut Vec<u8>);
    /// Writes a request.
    fn request(&mut self, out: &mut Vec<u8>);
    /// Takes what came, writes what has to be answered below requests, and says how many answers are complete.
    ///
    /// # Errors
    /// What came is not what was to come.
    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Wrong>;
}

/// The answer is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl std::error::Error for Wrong {}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// HTTP/1.1, a request at a time.
#[derive(Debug)]
pub struct Http1 {
    request: Vec<u8>,
    body: usize,
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is there.
    left: Option<usize>,
}

impl Http1 {
    /// To a server on this port, whose answers have bodies of that size.
    #[must_use]
    pub fn new(port: u16, body: usize) -> Self {
        let request = format!(
            "GET /api/items/42?page=1&size=20 HTTP/1.1\r\nhost: server.default.svc.cluster.local:{port}\r\n\
             user-agent: weft-bench/1\r\naccept: application/json\r\naccept-encoding: gzip\r\n\
             x-request-id: 4e1c6b8a-6d0c-4b1e-9d7f-0a3c5e7b9d21\r\n\r\n"
        );
        debug_assert!(http1_response(body).len() > body);
        Self { request: request.into_bytes(), body, head: Vec::new(), left: None }
    }

    fn head_is_there(&mut self, bytes: &[u8]) -> Result<Option<usize>, Wrong> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        let end = from + end + 4;
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let expected = format!("content-length: {}\r\n", self.body);
        if !head.starts_with("http/1.1 200 ") || !head.contains(&expected) {
            return Err(Wrong(head));
        }
        self.head.clear();
        Ok(Some(end - before))
    }
}

impl Client for Http1 {
    fn start(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
    }

    fn receive(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<usize, Wrong> {
        let mut rest = bytes;
        if self.left.is_none() {
            let Some(taken) = self.head_is_there(rest)? else { return Ok(0) };
            rest = &rest[taken..];
            self.left = Some(self.body);
        }
        let left = self.left.unwrap_or(0);
        if rest.len() > left {
            return Err(Wrong(format!("{} bytes after the answer", rest.len() - left)));
        }
        self.left = Some(left - rest.len()).filter(|left| *left > 0);
        Ok(usize::from(self.left.is_none()))
    }
}

/// What every HTTP/2 client has.
#[derive(Debug)]
struct Connection {
    frames: Frames,
    credit: Credit,
    window: i64,
    stream_window: i64,
    next: u32,
    head: Vec<u8>,
}

impl Connection {
    fn new(path: &str) -> Self {
        let mut head = vec![0x83, 0x86];
        keep_indexed(&mut head, 4, path);
        keep_indexed(&mut head, 1, "server.default.svc.cluster.local");
        keep_indexed(&mut head, 31, "application/grpc");
        keep(&mut head, "te", "trailers");
        keep_indexed(&mut head, 58, "grpc-bench/1.0");
        keep(&mut head, "grpc-accept-encoding", "identity,deflate,gzip");
        let window = INITIAL_WINDOW;
        Self {
            frames: Frames::default(),
            credit: Credit::default(),
            window,
            stream_window: window,
            next: 1,
            head,
        }
    }

    fn start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(frames::PREFACE);
        // ENABLE_PUSH 0
        frames::settings(out, 2, 0);
    }

    /// Opens a stream; everything about it was said with the first one, and is kept.
    fn open(&mut self, out: &mut Vec<u8>) -> u32 {
        let stream = self.next;
        self.next += 2;
        frame(out, kind::HEADERS, flag::END_HEADERS, stream, &self.head);
        if stream == 1 {
            // The newest of the six kept fields has index 62.
            self.head = vec![0x83, 0x86, 0x80 | 67, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62];
        }
        stream
    }

    /// Frames about the connection itself.
    fn control(&mut self, f: &frames::Frame<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        match f.kind {
            kind::SETTINGS if f.flags & flag::ACK == 0 => {
                if let Some(window) = frames::initial_window(f.payload) {
                    self.stream_window = window;
                }
                frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if f.flags & flag::ACK == 0 => frame(out, kind::PING, flag::ACK, 0, f.payload),
            kind::WINDOW_UPDATE if f.stream == 0 => self.window += i64::from(frames::number(f.payload, 0)),
            kind::RESET | kind::GOAWAY => return Err(Wrong(format!("{f:?}"))),
            _ => {}
        }
        Ok(())
    }
}

/// gRPC, unary calls.
#[derive(Debug)]
pub struct Grpc {
    connection: Connection,
    message: Vec<u8>,
    /// Open calls and the bytes of their answers so far.
    calls: Vec<(u32, usize)>,
    /// Calls that wait for credit.
    waiting: usize,
}

impl Grpc {
    /// A connection to be.
    #[must_use]
    pub fn new() -> Self {
        let connection = Connection::new("/bench.v1.Bench/Call");
        Self { connection, message: frames::message(MESSAGE), calls: Vec::new(), waiting: 0 }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self::new()
    }
}

impl Client for Grpc {
    fn start(&mut self, out: &mut Vec<u8>) {
        self.connection.start(out);
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let length = self.message.len() as i64;
        if self.connection.window.min(self.connection.stream_window) < length {
            self.waiting += 1;
            return;
        }
        self.connection.window -= length;
        let stream = self.connection.open(out);
        frame(out, kind::DATA, flag::END_STREAM, stream, &self.message);
        self.calls.push((stream, 0));
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Wrong> {
        let mut done = 0;
        let mut frames = std::mem::take(&mut self.connection.frames);
        frames.push(bytes);
        while let Some(f) = frames.next_frame() {
            self.connection.control(&f, out)?;
            let call = self.calls.iter().position(|(stream, _)| *stream == f.stream);
            if f.kind == kind::DATA {
                self.connection.credit.taken(out, 0, f.payload.len());
                if let Some(call) = call {
                    self.calls[call].1 += f.payload.len();
                }
            }
            if matches!(f.kind, kind::DATA | kind::HEADERS) && f.flags & flag::END_STREAM != 0 {
                let (_, bytes) =
                    self.calls.swap_remove(call.ok_or_else(|| Wrong(format!("unasked: {f:?}")))?);
                if bytes != self.message.len() || f.kind != kind::HEADERS {
                    return Err(Wrong(format!("an answer of {bytes} bytes, ended by {f:?}")));
                }
                done += 1;
            }
        }
        self.connection.frames = frames;
        for _ in 0..std::mem::take(&mut self.waiting) {
            self.request(out);
        }
        Ok(done)
    }
}

/// gRPC, one call of many messages.
#[derive(Debug)]
pub struct GrpcStream {
    connection: Connection,
    message: Vec<u8>,
    opened: bool,
    window: i64,
    credit: Credit,
    /// Bytes of the next answer that are there.
    partial: usize,
    waiting: bool,
}

impl GrpcStream {
    /// A connection to be.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connection: Connection::new("/bench.v1.Bench/Talk"),
            message: frames::message(MESSAGE),
            opened: false,
            window: INITIAL_WINDOW,
            credit: Credit::default(),
            partial: 0,
            waiting: false,
        }
    }
}

impl Default for GrpcStream {
    fn default() -> Self {
        Self::new()
    }
}

impl Client for GrpcStream {
    fn start(&mut self, out: &mut Vec<u8>) {
        self.connection.start(out);
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.opened, true) {
            self.connection.open(out);
        }
        let length = self.message.len() as i64;
        self.waiting = self.connection.window.min(self.window) < length;
        if !self.waiting {
            self.connection.window -= length;
            self.window -= length;
            frame(out, kind::DATA, 0, 1, &self.message);
        }
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Wrong> {
        let mut done = 0;
        let mut frames = std::mem::take(&mut self.connection.frames);
        frames.push(bytes);
        while let Some(f) = frames.next_frame() {
            let before = self.connection.stream_window;
            self.connection.control(&f, out)?;
            self.window += self.connection.stream_window - before;
            match f.kind {
                kind::DATA => {
                    self.connection.credit.taken(out, 0, f.payload.len());
                    self.credit.taken(out, 1, f.payload.len());
                    self.partial += f.payload.len();
                    done += self.partial / self.message.len();
                    self.partial %= self.message.len();
                }
                kind::WINDOW_UPDATE if f.stream == 1 => {
                    self.window += i64::from(frames::number(f.payload, 0))
                }
                kind::HEADERS if f.flags & flag::END_STREAM != 0 => {
                    return Err(Wrong(format!("ended: {f:?}")));
                }
                _ => {}
            }
        }
        self.connection.frames = frames;
        if self.waiting {
            self.request(out);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{GrpcServer, Kind};

    fn talk(mut client: impl Client, kind: Kind, requests: usize) -> usize {
        let mut server = GrpcServer::new(kind);
        let (mut up, mut down, mut done) = (Vec::new(), Vec::new(), 0);
        server.start(&mut down);
        client.start(&mut up);
        client.request(&mut up);
        while done < requests {
            server.receive(&std::mem::take(&mut up), &mut down);
            let complete = client.receive(&std::mem::take(&mut down), &mut up).unwrap();
            done += complete;
            (0..complete).for_each(|_| client.request(&mut up));
            assert!(!up.is_empty(), "stuck after {done}");
        }
        done
    }

    /// More than the initial credit of connection and stream lasts for.
    #[test]
    fn client_and_server_understand_each_other_for_long() {
        assert_eq!(talk(Grpc::new(), Kind::Unary, 5_000), 5_000);
        assert_eq!(talk(GrpcStream::new(), Kind::Stream, 5_000), 5_000);
    }

    #[test]
    fn http1_answers_are_recognised_however_they_are_cut() {
        let answer = http1_response(100);
        for cut in 1..answer.len() {
            let mut client = Http1::new(80, 100);
            let first = client.receive(&answer[..cut], &mut Vec::new()).unwrap();
            let second = client.receive(&answer[cut..], &mut Vec::new()).unwrap();
            assert_eq!((first, second), (0, 1), "cut at {cut}");
        }
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert!(Http1::new(80, 100).receive(refusal, &mut Vec::new()).is_err());
    }
}
