//! Replies: encoded messages, the status at their end, and the body that carries both.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body, Frame};
use tonic::{Code, Status};

use super::{Method, request::PREFIX};
use crate::{metrics::Metrics, proxies::Open};

/// An encoded message with its prefix, ready to be sent any number of times.
pub type Message = Bytes;

/// The messages of one call; ends with an error or by itself.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

/// Encodes a message.
#[must_use]
pub fn encode(message: &impl prost::Message) -> Message {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    buffer.put_u8(0);
    // A message of 4 GiB does not fit into memory long before it does not fit here.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer has room for all of it.
    let _ = message.encode(&mut buffer);
    buffer.freeze()
}

/// A call as it is counted: from when it started until it is dropped.
#[derive(Debug)]
pub struct Call {
    metrics: Arc<Metrics>,
    method: Method,
    started: Instant,
    ended: Option<Code>,
    proxy: Option<Open>,
}

impl Call {
    /// A call that starts now.
    #[must_use]
    pub fn start(metrics: Arc<Metrics>, method: Method) -> Self {
        let counted = metrics.method(method);
        counted.started.increment();
        counted.open.add(1);
        Self { metrics, method, started: Instant::now(), ended: None, proxy: None }
    }

    /// The request's message came.
    pub fn received(&self) {
        self.metrics.method(self.method).received.increment();
    }

    /// The call counts as one of a proxy's for as long as it goes on.
    pub fn hold(&mut self, proxy: Option<Open>) {
        self.proxy = proxy;
    }

    fn sent(&self) {
        self.metrics.method(self.method).sent.increment();
    }

    fn end(&mut self, code: Code) {
        self.ended.get_or_insert(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let counted = self.metrics.method(self.method);
        counted.open.add(-1);
        // A call that is dropped before its end was given up by the client or cut off.
        counted.handled(self.ended.unwrap_or(Code::Cancelled), self.started.elapsed());
    }
}

/// The body of a response.
pub struct ReplyBody(State);

enum State {
    Messages { messages: Messages, call: Call },
    Other { body: tonic::body::Body, call: Call },
    Done,
}

/// A response that streams messages.
#[must_use]
pub fn streaming(messages: Messages, call: Call) -> Response<ReplyBody> {
    response(ReplyBody(State::Messages { messages, call }))
}

/// A response of one message.
#[must_use]
pub fn unary(message: Message, call: Call) -> Response<ReplyBody> {
    streaming(Box::pin(futures_util::stream::iter([Ok(message)])), call)
}

/// A response that is a status and nothing else ("Trailers-Only").
#[must_use]
pub fn failed(status: &Status, call: Option<Call>) -> Response<ReplyBody> {
    if let Some(mut call) = call {
        call.end(status.code());
    }
    let mut response = response(ReplyBody(State::Done));
    response.headers_mut().extend(trailers(status));
    response
}

/// A response of a generated server.
#[must_use]
pub fn generated(response: Response<tonic::body::Body>, mut call: Call) -> Response<ReplyBody> {
    if let Some(status) = Status::from_header_map(response.headers()) {
        call.end(status.code());
    }
    response.map(|body| ReplyBody(State::Other { body, call }))
}

fn response(body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from(Code::Internal as i32));
    }
    trailers
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let status = match &mut self.0 {
            State::Messages { messages, call } => match ready!(messages.as_mut().poll_next(cx)) {
                Some(Ok(message)) => {
                    call.sent();
                    return Poll::Ready(Some(Ok(Frame::data(message))));
                }
                Some(Err(status)) => {
                    call.end(status.code());
                    status
                }
                None => {
                    call.end(Code::Ok);
                    Status::ok("")
                }
            },
            State::Other { body, call } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    match frame.trailers_ref().and_then(Status::from_header_map) {
                        Some(status) => call.end(status.code()),
                        None => call.sent(),
                    }
                }
                return Poll::Ready(frame);
            }
            State::Done => return Poll::Ready(None),
        };
        self.0 = State::Done;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Messages { .. } => false,
            State::Other { body, .. } => body.is_end_stream(),
            State::Done => true,
        }
    }
}
