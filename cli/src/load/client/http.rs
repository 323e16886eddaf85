//! HTTP/1.1 and HTTP/2 requests.

use super::Failure;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, error::Error as _};
use tokio::net::TcpStream;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An open connection.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(conn::http1::SendRequest<Body>),
    /// Many.
    Http2(conn::http2::SendRequest<Body>),
}

impl Sender {
    /// Speaks HTTP/1.1 on a connected stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn http1(stream: TcpStream) -> Result<Self, Failure> {
        let (sender, connection) =
            conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failure(&e))?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self::Http1(sender))
    }

    /// Speaks HTTP/2 with prior knowledge on a connected stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn http2(stream: TcpStream) -> Result<Self, Failure> {
        let handshake = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|e| failure(&e))?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    /// Waits until a request can be sent.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
        .map_err(|e| failure(&e))
    }

    /// Sends a request and waits for the response's head.
    ///
    /// # Errors
    /// The connection broke or the stream was reset.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        self.ready().await?;
        let response = match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        };
        response.map_err(|e| failure(&e))
    }

    /// The target of a request: a path with HTTP/1.1, a whole URI with HTTP/2.
    ///
    /// # Errors
    /// The path makes no URI.
    pub fn uri(&self, authority: &str, path: &str) -> Result<Uri, Failure> {
        let text = match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("http://{authority}{path}"),
        };
        text.parse().map_err(|_| Failure::unsent("the request's target is no URI"))
    }
}

/// A body of nothing.
pub fn empty() -> Body {
    Empty::new().boxed_unsync()
}

/// One GET and its whole answer.
///
/// # Errors
/// The connection broke, the stream was reset or the body cut off.
pub async fn get(sender: &mut Sender, authority: &str, path: &str) -> Result<Response<Bytes>, Failure> {
    let mut request = Request::get(sender.uri(authority, path)?);
    if matches!(sender, Sender::Http1(_)) {
        request = request.header("host", authority);
    }
    let request = request.body(empty()).map_err(|_| Failure::unsent("the request cannot be made"))?;
    whole(sender.send(request).await?).await
}

/// Reads a response's body.
///
/// # Errors
/// It was cut off.
pub async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, Failure> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| failure(&e))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// In few words: the kind of the IO error or the HTTP/2 reset's reason.
pub(super) fn failure(error: &hyper::Error) -> Failure {
    let mut reason = if error.is_canceled() {
        return Failure::unsent("connection closed before the request");
    } else if error.is_incomplete_message() {
        "connection closed before the response's end".to_owned()
    } else {
        error.to_string()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            reason = super::kind(io.kind());
        } else {
            reason = error.to_string();
        }
        cause = error.source();
    }
    Failure::sent(reason)
}
