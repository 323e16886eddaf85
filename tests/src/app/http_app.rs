//! An HTTP/1 and HTTP/2 server that does what the path says and remembers what it was sent.

use super::{Listening, listen};
use crate::{client::grpc, place::Place};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, BoxError>;
type Reply = Response<Body>;

/// The server. Stops when dropped.
pub struct HttpApp {
    listening: Listening,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method.
    pub method: Method,
    /// Target as it was written.
    pub uri: http::Uri,
    /// Version.
    pub version: Version,
    /// Fields.
    pub headers: HeaderMap,
}

impl Seen {
    /// A field as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }
}

impl HttpApp {
    /// Starts one. Paths: `/echo` (content and trailers come back as they come), `/bytes/N`, `/status/N`, `/slow/MS` (so long
    /// until the head), `/flaky/N` (503 but for every Nth of them), `/drip/N/MS` (N pieces, so long between them), `/ws` (WebSocket, comes back), `/name` (its name);
    /// gRPC: `/test.Echo/Echo` (every message comes back), `/test.Echo/Fail` (status 5 in the head), `/test.Echo/Break` (one
    /// message, then status 13). CONNECT: what is sent comes back. Anything else: 200 with `ok`.
    pub async fn start(place: &Place, port: u16, name: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (log, name) = (Arc::clone(&seen), Arc::<str>::from(name));
        let listening = listen(place, port, move |stream| {
            let (log, name) = (Arc::clone(&log), Arc::clone(&name));
            async move {
                let service = service_fn(move |request| {
                    let (log, name) = (Arc::clone(&log), Arc::clone(&name));
                    async move { Ok::<_, Infallible>(answer(request, &log, &name).await) }
                });
                let mut server = auto::Builder::new(TokioExecutor::new());
                server.http1().half_close(true);
                server.http2().max_concurrent_streams(50_000);
                // A client that goes away is nothing to report.
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            }
        })
        .await;
        Self { listening, seen }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The latest request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.listening.open()
    }
}

async fn answer(mut request: Request<Incoming>, seen: &Mutex<Vec<Seen>>, name: &str) -> Reply {
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
        method: request.method().clone(),
        uri: request.uri().clone(),
        version: request.version(),
        headers: request.headers().clone(),
    });
    if request.method() == Method::CONNECT {
        return tunnel(request);
    }
    if request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    {
        return grpc_answer(request);
    }
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let what = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or_default();
    match what {
        "echo" => echo(request),
        "ws" => websocket(&mut request),
        "bytes" => text(vec![b'x'; usize::try_from(number()).unwrap_or_default()]),
        "status" => {
            let status = u16::try_from(number()).ok().and_then(|status| StatusCode::from_u16(status).ok());
            let status = status.unwrap_or(StatusCode::BAD_REQUEST);
            // RFC 9110 15.3.5, 15.4.5: these have no content.
            let mut reply = text(if [204, 304].contains(&status.as_u16()) { "" } else { "as you wish" });
            *reply.status_mut() = status;
            reply
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            text("at last")
        }
        "flaky" => {
            let all = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = all.iter().filter(|seen| seen.uri.path() == path).count();
            let fails = u64::try_from(nth).unwrap_or_default() % number().max(1) != 0;
            let mut reply = text(name.to_owned());
            if fails {
                *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            reply
        }
        "drip" => drip(number(), Duration::from_millis(number())),
        "name" => text(name.to_owned()),
        _ => {
            // Read to the end, as most applications do.
            let _ = request.into_body().collect().await;
            text("ok")
        }
    }
}

fn text(body: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed())
}

fn echo(request: Request<Incoming>) -> Reply {
    let mut reply = Response::builder();
    for name in ["content-type", "trailer"] {
        if let Some(value) = request.headers().get(name) {
            reply = reply.header(name, value);
        }
    }
    let length = request.headers().get("content-length").cloned();
    if let Some(length) = length {
        reply = reply.header("content-length", length);
    }
    reply.body(request.into_body().map_err(Into::into).boxed()).expect("a response")
}

/// So many pieces, with pauses between them.
fn drip(pieces: u64, pause: Duration) -> Reply {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in 0..pieces {
            if piece > 0 {
                tokio::time::sleep(pause).await;
            }
            if sender.send(Ok(Frame::data(format!("piece {piece}\n").into()))).await.is_err() {
                return;
            }
        }
    });
    stream(receiver)
}

fn stream(receiver: mpsc::Receiver<Result<Frame<Bytes>, BoxError>>) -> Reply {
    Response::new(BodyExt::boxed(StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver))))
}

/// CONNECT (RFC 9110 9.3.6): what is sent comes back.
fn tunnel(request: Request<Incoming>) -> Reply {
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
        }
    });
    text("")
}

/// RFC 6455: messages come back.
fn websocket(request: &mut Request<Incoming>) -> Reply {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        let mut reply = text("this path is for WebSocket");
        *reply.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return reply;
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut reply = text("");
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", HeaderValue::from_str(&accept).expect("base64"));
    reply
}

fn grpc_answer(request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let (sender, receiver) = mpsc::channel(16);
    let mut reply = stream(receiver);
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if path == "/test.Echo/Fail" {
        reply.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
        reply.headers_mut().insert("grpc-message", HeaderValue::from_static("not here"));
        return reply;
    }
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        let mut body = request.into_body();
        let mut status = "0";
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(message) = grpc::take_message(&mut buffer) {
                if sender.send(Ok(Frame::data(grpc::framed(&message)))).await.is_err() {
                    return;
                }
            }
            if path == "/test.Echo/Break" {
                status = "13";
                break;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        trailers.insert("x-trailer", HeaderValue::from_static("kept"));
        let _ = sender.send(Ok(Frame::trailers(trailers))).await;
    });
    reply
}
