//! Clients that behave: HTTP/1, HTTP/2, gRPC, WebSocket and plain TCP, from any place.

pub mod frames;
pub mod grpc;
pub mod mesh;

use crate::{
    place::Place,
    wait::{PATIENCE, soon},
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header::HOST};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, io, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// The body of a request.
pub type Body = BoxBody<Bytes, Infallible>;

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that is written piece by piece, and its writing end.
pub fn piecewise() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let frames = futures_util::StreamExt::map(frames, Ok::<_, Infallible>);
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Version.
    pub version: Version,
    /// Fields.
    pub headers: HeaderMap,
    /// Content.
    pub body: Bytes,
    /// Trailer fields, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    /// A field as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An HTTP connection.
pub struct Client {
    sender: Sender,
    connection: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Body>),
    Http2(hyper::client::conn::http2::SendRequest<Body>),
}

/// Connects from a place.
///
/// # Panics
/// When it cannot.
pub async fn connect(place: &Place, address: SocketAddr) -> TcpStream {
    try_connect(place, address).await.unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
}

/// Connects from a place.
///
/// # Errors
/// When it cannot.
pub async fn try_connect(place: &Place, address: SocketAddr) -> io::Result<TcpStream> {
    let connecting = async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let what = format!("a connection to {address}");
    // On loopback every place is everywhere, and the connection may outlive the place.
    if place.is_namespace() { place.run(what, connecting).await } else { soon(what, connecting).await }
}

impl Client {
    /// HTTP/1.1 to an address.
    pub async fn http1(place: &Place, address: SocketAddr) -> Self {
        Self::over(connect(place, address).await, Version::HTTP_11).await
    }

    /// HTTP/2 with prior knowledge.
    pub async fn http2(place: &Place, address: SocketAddr) -> Self {
        Self::over(connect(place, address).await, Version::HTTP_2).await
    }

    /// Over a connection that is there.
    ///
    /// # Panics
    /// When the peer hangs up at once.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
    ) -> Self {
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) =
                soon("HTTP/2", hyper::client::conn::http2::handshake(TokioExecutor::new(), io))
                    .await
                    .expect("HTTP/2");
            Self { sender: Sender::Http2(sender), connection: tokio::spawn(connection) }
        } else {
            let (sender, connection) =
                soon("HTTP/1", hyper::client::conn::http1::handshake(io)).await.expect("HTTP/1");
            Self { sender: Sender::Http1(sender), connection: tokio::spawn(connection.with_upgrades()) }
        }
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// When the connection breaks or the stream is reset.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub async fn start(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let what = format!("a response to {} {}", request.method(), request.uri());
        let response = match &mut self.sender {
            Sender::Http2(sender) => {
                soon(&what, sender.ready()).await?;
                tokio::time::timeout(PATIENCE, sender.send_request(request)).await
            }
            Sender::Http1(sender) => {
                // Of an absolute URI only the path is sent, and the authority as host.
                if let (Some(authority), false) =
                    (request.uri().authority(), request.method() == http::Method::CONNECT)
                {
                    let host = authority.as_str().parse().expect("an authority is a field value");
                    request.headers_mut().entry(HOST).or_insert(host);
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                    *request.uri_mut() = path.parse().expect("a path");
                }
                soon(&what, sender.ready()).await?;
                tokio::time::timeout(PATIENCE, sender.send_request(request)).await
            }
        };
        response.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When either breaks off.
    pub async fn try_send(&mut self, request: Request<Body>) -> Result<Reply, hyper::Error> {
        let what = format!("the content of {}", request.uri());
        let (head, body) = self.start(request).await?.into_parts();
        let body = soon(what, body.collect()).await?;
        let trailers = body.trailers().cloned();
        Ok(Reply {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Panics
    /// When either breaks off.
    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        let what = format!("{} {}", request.method(), request.uri());
        self.try_send(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// GET.
    pub async fn get(&mut self, uri: &str) -> Reply {
        self.send(get(uri)).await
    }

    /// POST with a body.
    pub async fn post(&mut self, uri: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Request::post(uri).body(full(body)).expect("a request")).await
    }

    /// Waits until the peer has closed the connection.
    pub async fn closed(self) {
        // An error is an end too.
        let _ = soon("the end of the connection", self.connection).await;
    }

    /// Whether the peer has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

/// A GET request.
///
/// # Panics
/// When the URI is none.
pub fn get(uri: &str) -> Request<Body> {
    Request::get(uri.parse::<Uri>().expect("a URI")).body(empty()).expect("a request")
}

/// One GET on a connection of its own.
pub async fn get_once(place: &Place, address: SocketAddr, uri: &str) -> Reply {
    Client::http1(place, address).await.get(uri).await
}

/// Sends bytes as they are and reads what comes until the peer closes, resets, or is silent for a while.
pub async fn raw(place: &Place, address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(place, address).await;
    if stream.write_all(bytes).await.is_err() {
        return Vec::new();
    }
    read_to_end(&mut stream).await
}

/// Reads until the peer closes or resets.
///
/// # Panics
/// When it does neither for too long.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset after an answer loses nothing that has been read.
    let _ = soon(format!("the end of a connection, after {} bytes", all.len()), stream.read_to_end(&mut all))
        .await;
    all
}

/// Reads exactly so many bytes.
///
/// # Panics
/// When the connection ends before, or nothing comes for too long.
pub async fn read_exactly(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(format!("{length} bytes"), stream.read_exact(&mut bytes)).await.expect("so many bytes");
    bytes
}

/// Reads until what has come ends with `end`.
///
/// # Panics
/// When the connection ends before, or nothing comes for too long.
pub async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = soon(format!("{:?}", String::from_utf8_lossy(end)), stream.read_u8()).await;
        bytes.push(byte.unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
        }));
    }
    bytes
}
