//! The applications behind the proxies: cheap answers, one thread, one port for each kind.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::frames::{self, Credit, Frames, INITIAL_WINDOW, flag, frame, keep, keep_indexed, kind};

/// HTTP/1.1 with answers of [`SMALL`] bytes.
pub const HTTP1: u16 = 8080;
/// gRPC, unary.
pub const GRPC: u16 = 8081;
/// gRPC, each message answered by one.
pub const STREAM: u16 = 8082;
/// Bytes: the first one says what is wanted, see [`tcp_wish`].
pub const TCP: u16 = 8083;
/// HTTP/1.1 with answers of [`LARGE`] bytes.
pub const HTTP1_LARGE: u16 = 8084;
/// All ports.
pub const PORTS: [u16; 5] = [HTTP1, GRPC, STREAM, TCP, HTTP1_LARGE];

/// Bytes of a small answer.
pub const SMALL: usize = 256;
/// Bytes of a large answer.
pub const LARGE: usize = 64 * 1024;
/// Bytes of a gRPC message.
pub const MESSAGE: usize = 64;

/// Serves all ports of an address for ever.
///
/// # Errors
/// A port cannot be listened on.
pub async fn serve(ip: IpAddr) -> io::Result<()> {
    let local = tokio::task::LocalSet::new();
    for port in PORTS {
        let listener = listen((ip, port).into())?;
        local.spawn_local(accept(listener, port));
    }
    local.run_until(std::future::pending::<()>()).await;
    Ok(())
}

/// A listener whose queue is as long as the system allows.
///
/// # Errors
/// The address is taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn accept(listener: TcpListener, port: u16) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Answers are whole when they are written.
        let _ = stream.set_nodelay(true);
        match port {
            HTTP1 => spawn(http1(stream, SMALL)),
            HTTP1_LARGE => spawn(http1(stream, LARGE)),
            GRPC => spawn(grpc(stream, Kind::Unary)),
            STREAM => spawn(grpc(stream, Kind::Stream)),
            _ => spawn(tcp(stream)),
        }
    }
}

fn spawn(life: impl Future<Output = io::Result<()>> + 'static) {
    // A connection that breaks is the generator's to count.
    drop(tokio::task::spawn_local(life));
}

/// The answer to every HTTP/1.1 request, with a body of that size.
#[must_use]
pub fn http1_response(body: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 08:49:37 GMT\r\nserver: bench\r\ncontent-type: text/plain; \
         charset=utf-8\r\ncache-control: no-cache\r\ncontent-length: {body}\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + body, b'x');
    response
}

async fn http1(mut stream: TcpStream, body: usize) -> io::Result<()> {
    let response = http1_response(body);
    let mut held = Vec::new();
    loop {
        if read(&stream, |bytes| held.extend_from_slice(bytes)).await? == 0 {
            return Ok(());
        }
        let mut answers = Vec::new();
        let mut taken = 0;
        // Requests have no bodies.
        while let Some(end) = held[taken..].windows(4).position(|w| w == b"\r\n\r\n") {
            taken += end + 4;
            answers.extend_from_slice(&response);
        }
        held.drain(..taken);
        stream.write_all(&answers).await?;
    }
}

/// Reads into a buffer that all connections share; 0 is the end.
///
/// # Errors
/// The connection broke.
pub async fn read(stream: &TcpStream, mut then: impl FnMut(&[u8])) -> io::Result<usize> {
    thread_local!(static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]));
    loop {
        stream.readable().await?;
        let read = SHARED.with_borrow_mut(|shared| {
            let n = stream.try_read(shared)?;
            then(&shared[..n]);
            Ok(n)
        });
        match read {
            Err(e) if io::Error::kind(&e) == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// What the first byte of a connection to [`TCP`] asks for.
pub mod tcp_wish {
    /// Every byte is sent back, this one too.
    pub const ECHO: u8 = b'E';
    /// Bytes, until the connection is closed.
    pub const SEND: u8 = b'D';
    /// Whatever comes is taken.
    pub const TAKE: u8 = b'U';
}

async fn tcp(mut stream: TcpStream) -> io::Result<()> {
    let mut wish = None;
    let mut echo = Vec::new();
    loop {
        let taken = read(&stream, |bytes| {
            if wish.is_none() {
                wish = bytes.first().copied();
            }
            if wish == Some(tcp_wish::ECHO) {
                echo.extend_from_slice(bytes);
            }
        });
        if taken.await? == 0 {
            return Ok(());
        }
        if wish == Some(tcp_wish::SEND) {
            let chunk = vec![b'x'; 256 * 1024];
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        stream.write_all(&echo).await?;
        echo.clear();
    }
}

/// How calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// When the request has ended, by one message and trailers.
    Unary,
    /// Each message by one, until the request ends.
    Stream,
}

async fn grpc(mut stream: TcpStream, kind: Kind) -> io::Result<()> {
    let mut server = GrpcServer::new(kind);
    let mut out = Vec::new();
    server.start(&mut out);
    loop {
        stream.write_all(&out).await?;
        out.clear();
        if read(&stream, |bytes| server.receive(bytes, &mut out)).await? == 0 {
            return Ok(());
        }
    }
}

/// The server's end of one HTTP/2 connection.
#[derive(Debug)]
pub struct GrpcServer {
    kind: Kind,
    frames: Frames,
    greeted: bool,
    credit: Credit,
    /// What may still be sent on the connection.
    window: i64,
    stream_window: i64,
    /// Streams of [`Kind::Stream`], by id.
    streams: HashMap<u32, Stream>,
    /// Unary calls whose answers wait for credit.
    waiting: Vec<u32>,
    response_head: Vec<u8>,
    trailers: Vec<u8>,
    message: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    window: i64,
    credit: Credit,
    /// To be sent back.
    pending: Vec<u8>,
}

impl GrpcServer {
    /// A connection to be.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let (mut response_head, mut trailers) = (vec![0x88], Vec::new());
        keep_indexed(&mut response_head, 31, "application/grpc");
        keep(&mut trailers, "grpc-status", "0");
        Self {
            kind,
            frames: Frames::default(),
            greeted: false,
            credit: Credit::default(),
            window: INITIAL_WINDOW,
            stream_window: INITIAL_WINDOW,
            streams: HashMap::new(),
            waiting: Vec::new(),
            response_head,
            trailers,
            message: frames::message(MESSAGE),
        }
    }

    /// Writes what a server begins with.
    pub fn start(&self, out: &mut Vec<u8>) {
        // MAX_CONCURRENT_STREAMS
        frames::settings(out, 3, 10_000);
    }

    /// Takes what a client sent and writes answers.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.frames.push(bytes);
        if !self.greeted {
            self.greeted = self.frames.take(frames::PREFACE);
            if !self.greeted {
                return;
            }
        }
        let mut frames = std::mem::take(&mut self.frames);
        while let Some(f) = frames.next_frame() {
            match f.kind {
                kind::HEADERS if self.kind == Kind::Stream => self.opened(f.stream, out),
                kind::HEADERS if f.flags & flag::END_STREAM != 0 => self.answer(f.stream, out),
                kind::DATA => {
                    self.credit.taken(out, 0, f.payload.len());
                    if self.kind == Kind::Stream {
                        self.echo(f.stream, f.payload, f.flags & flag::END_STREAM != 0, out);
                    } else if f.flags & flag::END_STREAM != 0 {
                        self.answer(f.stream, out);
                    }
                }
                kind::SETTINGS if f.flags & flag::ACK == 0 => {
                    if let Some(window) = frames::initial_window(f.payload) {
                        self.streams.values_mut().for_each(|s| s.window += window - self.stream_window);
                        self.stream_window = window;
                    }
                    frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
                }
                kind::PING if f.flags & flag::ACK == 0 => frame(out, kind::PING, flag::ACK, 0, f.payload),
                kind::WINDOW_UPDATE => {
                    let more = i64::from(frames::number(f.payload, 0));
                    if f.stream == 0 {
                        self.window += more;
                    } else if let Some(s) = self.streams.get_mut(&f.stream) {
                        s.window += more;
                    }
                    self.resume(out);
                }
                kind::RESET => drop(self.streams.remove(&f.stream)),
                _ => {}
            }
        }
        self.frames = frames;
    }

    fn answer(&mut self, stream: u32, out: &mut Vec<u8>) {
        let length = self.message.len() as i64;
        if self.window < length || self.stream_window < length {
            self.waiting.push(stream);
            return;
        }
        self.window -= length;
        frame(out, kind::HEADERS, flag::END_HEADERS, stream, &self.response_head);
        frame(out, kind::DATA, 0, stream, &self.message);
        self.end(stream, out);
        // What was to be kept is kept: content-type first, so it is the older of the two entries.
        self.response_head = vec![0x88, 0x80 | 63];
        self.trailers = vec![0x80 | 62];
    }

    fn end(&self, stream: u32, out: &mut Vec<u8>) {
        frame(out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &self.trailers);
    }

    fn opened(&mut self, id: u32, out: &mut Vec<u8>) {
        let stream = Stream { window: self.stream_window, credit: Credit::default(), pending: Vec::new() };
        self.streams.insert(id, stream);
        // Not kept: streams begin in any order, and each has one head only.
        frame(
            out,
            kind::HEADERS,
            flag::END_HEADERS,
            id,
            &[&[0x88, 0x0f, 0x10, 16], &b"application/grpc"[..]].concat(),
        );
    }

    fn echo(&mut self, id: u32, bytes: &[u8], end: bool, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.credit.taken(out, id, bytes.len());
        stream.pending.extend_from_slice(bytes);
        self.resume_stream(id, out);
        if end {
            frame(out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, b"\x00\x0bgrpc-status\x010");
            self.streams.remove(&id);
        }
    }

    fn resume_stream(&mut self, id: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let may = self.window.min(stream.window).clamp(0, 16_384) as usize;
        let n = stream.pending.len().min(may);
        if n > 0 {
            frame(out, kind::DATA, 0, id, &stream.pending[..n]);
            stream.pending.drain(..n);
            stream.window -= n as i64;
            self.window -= n as i64;
        }
    }

    fn resume(&mut self, out: &mut Vec<u8>) {
        for stream in std::mem::take(&mut self.waiting) {
            self.answer(stream, out);
        }
        let blocked: Vec<u32> =
            self.streams.iter().filter(|(_, s)| !s.pending.is_empty()).map(|(id, _)| *id).collect();
        blocked.into_iter().for_each(|id| self.resume_stream(id, out));
    }
}
