//! hyper's reading of a connection.

use crate::{Message, Seen, Side};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_http::fields::Kind;

/// More than any message here: nothing blocks on a full pipe.
const PIPE: usize = 1 << 20;

/// A runtime to drive hyper with.
pub(crate) struct Oracle {
    runtime: tokio::runtime::Runtime,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without IO");
        Self { runtime }
    }

    /// Lets hyper read all bytes, then the end of the connection.
    pub(crate) fn read(&self, side: Side, bytes: &[u8]) -> Seen {
        match side {
            Side::Server => self.runtime.block_on(server(bytes)),
            Side::Client { head } => self.runtime.block_on(client(bytes, head)),
        }
    }

    /// What hyper's client writes for this request, until we have read a whole one.
    pub(crate) fn client_writes(&self, request: Request<Chunks>) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(PIPE);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(far)).await.expect("no IO in a handshake");
            let exchange = async move {
                let response = sender.send_request(request).await;
                drop(sender);
                response
            };
            let answer = async move {
                let mut got = Vec::new();
                while crate::ours::read(Side::Server, &got).messages.is_empty() {
                    if near.read_buf(&mut got).await.expect("a pipe") == 0 {
                        break;
                    }
                }
                got
            };
            let (_, got, _) = tokio::join!(exchange, answer, connection);
            got
        })
    }

    /// What hyper's server writes for this response to a GET that accepts trailers.
    pub(crate) fn server_writes(&self, response: Response<Chunks>) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(PIPE);
            let request = b"GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
            near.write_all(request).await.expect("the pipe is large enough");
            let response = RefCell::new(Some(response));
            let service = service_fn(|_| {
                let response = response.take().expect("one request");
                async { Ok::<_, Infallible>(response) }
            });
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
            served.expect("a response that hyper can write");
            let mut got = Vec::new();
            near.read_to_end(&mut got).await.expect("a pipe");
            got
        })
    }
}

/// Content of unknown length, then trailers.
pub(crate) struct Chunks(pub(crate) VecDeque<Frame<Bytes>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

async fn server(bytes: &[u8]) -> Seen {
    let (mut near, far) = tokio::io::duplex(PIPE);
    near.write_all(bytes).await.expect("the pipe is large enough");
    near.shutdown().await.expect("a pipe can be shut down");
    let seen = Rc::new(RefCell::new(Seen::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let is_connect = head.method == Method::CONNECT;
            let start = format!("{} {} {}", head.method, target(&head.uri), version(head.version));
            if let Some(message) = whole(start, &head.headers, body).await {
                seen.borrow_mut().messages.push(message);
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            if is_connect {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let result = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(far), service)
        .await;
    let mut seen = seen.take();
    seen.fault = result.err().map(|e| e.to_string());
    seen
}

async fn client(bytes: &[u8], head: bool) -> Seen {
    let (mut near, far) = tokio::io::duplex(PIPE);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(far)).await.expect("no IO in a handshake");
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = if head { Method::HEAD } else { Method::GET };
    let exchange = async move {
        let mut seen = Seen::default();
        match sender.send_request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let start = format!("{} {}", version(head.version), head.status.as_u16());
                if let Some(message) = whole(start, &head.headers, body).await {
                    seen.messages.push(message);
                }
            }
            Err(e) => seen.fault = Some(e.to_string()),
        }
        seen
    };
    let answer = async move {
        let mut buffer = [0; 1024];
        let _ = near.read(&mut buffer).await;
        near.write_all(bytes).await.expect("the pipe is large enough");
        near.shutdown().await.expect("a pipe can be shut down");
        // Kept open for reading until hyper has gone.
        while near.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    let (seen, (), _) = tokio::join!(exchange, answer, connection);
    seen
}

/// The message, if its content comes whole.
async fn whole(start: String, headers: &HeaderMap, body: Incoming) -> Option<Message> {
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().map(|t| fields(t, true)).unwrap_or_default();
    Some(Message { start, fields: fields(headers, false), content: body.to_bytes().to_vec(), trailers })
}

/// Less what `connection` takes away, and what may not be a trailer: hyper leaves that to others.
fn fields(headers: &HeaderMap, trailers: bool) -> Vec<(String, Vec<u8>)> {
    let listed: Vec<String> = headers
        .get_all("connection")
        .iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .map(|o| String::from_utf8_lossy(o).trim_matches([' ', '\t']).to_ascii_lowercase())
        .collect();
    let mut fields: Vec<_> = headers
        .iter()
        .filter(|(name, _)| {
            let meaning = Kind::of(name.as_str().as_bytes()).meaning();
            let removed = listed.iter().any(|l| l == name.as_str()) && !meaning.hop_by_hop();
            if trailers { meaning.in_trailers } else { !removed }
        })
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    fields
}

fn target(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority(), uri.path_and_query()) {
        (Some(scheme), Some(authority), path) => {
            format!("{}://{authority}{}", scheme.to_ascii_lowercase(), path.map_or("/", |p| p.as_str()))
        }
        (None, Some(authority), _) => authority.to_string(),
        (_, None, path) => path.map_or_else(String::new, |p| p.as_str().to_owned()),
    }
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}
