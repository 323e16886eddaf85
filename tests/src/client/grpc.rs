//! gRPC by hand, over any HTTP/2 connection: the wire format is what is tested (gRPC over HTTP/2, "Requests", "Responses").

use super::{Body, Client, piecewise};
use crate::wait::soon;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Messages, in order.
    pub messages: Vec<Bytes>,
    /// `grpc-status`.
    pub status: Option<u32>,
    /// `grpc-message`.
    pub message: String,
    /// Whether the status was in the head: there was no body.
    pub in_head: bool,
}

/// A call that goes on.
pub struct Call {
    requests: Option<mpsc::Sender<Frame<Bytes>>>,
    response: Response<Incoming>,
    buffer: BytesMut,
    trailers: Option<HeaderMap>,
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("a short message"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Takes a whole message from the front of what has arrived.
pub fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(buffer.get(1..5)?.get_u32()).ok()?;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

fn request(uri: &str, body: Body) -> Request<Body> {
    Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

/// Sends these messages, ends, and reads the whole answer.
///
/// # Errors
/// When the stream is reset.
pub async fn call(client: &mut Client, uri: &str, messages: &[&[u8]]) -> Result<Answer, hyper::Error> {
    let all: BytesMut = messages.iter().flat_map(|message| framed(message)).collect();
    let reply = client.try_send(request(uri, super::full(all.freeze()))).await?;
    assert_eq!(reply.status, 200, "a gRPC answer is a 200: {reply:?}");
    let mut body = BytesMut::from(&reply.body[..]);
    let mut messages = Vec::new();
    while let Some(message) = take_message(&mut body) {
        messages.push(message);
    }
    assert!(body.is_empty(), "half a message at the end: {body:?}");
    let in_head = reply.headers.contains_key("grpc-status");
    let end = if in_head { Some(&reply.headers) } else { reply.trailers.as_ref() };
    Ok(Answer { messages, status: status(end), message: message(end), in_head })
}

/// Opens a call; messages go both ways.
///
/// # Errors
/// When the stream is reset.
pub async fn open(client: &mut Client, uri: &str) -> Result<Call, hyper::Error> {
    let (requests, body) = piecewise();
    let response = client.start(request(uri, body)).await?;
    Ok(Call { requests: Some(requests), response, buffer: BytesMut::new(), trailers: None })
}

impl Call {
    /// Sends a message.
    ///
    /// # Panics
    /// When the call has ended.
    pub async fn send(&mut self, message: &[u8]) {
        let requests = self.requests.as_ref().expect("not ended");
        soon("room for a message", requests.send(Frame::data(framed(message))))
            .await
            .expect("a call that goes on");
    }

    /// Ends the sending side.
    pub fn end(&mut self) {
        self.requests = None;
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// When the stream is reset.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            if let Some(message) = take_message(&mut self.buffer) {
                return Ok(Some(message));
            }
            match soon("a message", self.response.body_mut().frame()).await {
                None => return Ok(None),
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// `grpc-status`, after the end.
    pub fn status(&self) -> Option<u32> {
        status(self.trailers.as_ref()).or_else(|| status(Some(self.response.headers())))
    }
}

fn status(fields: Option<&HeaderMap>) -> Option<u32> {
    fields?.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn message(fields: Option<&HeaderMap>) -> String {
    let message = fields.and_then(|fields| fields.get("grpc-message"));
    message.map(|message| String::from_utf8_lossy(message.as_bytes()).into_owned()).unwrap_or_default()
}
