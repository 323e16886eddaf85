//! Calls of the price service.

use super::{
    Failure,
    http::{Body, Sender, failure},
};
use crate::apps::grpc::{self, QuoteReply, QuoteRequest, Unframe};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

/// What came of a stream.
#[derive(Debug)]
pub struct Watched {
    /// One for each request, in order.
    pub replies: Vec<QuoteReply>,
    /// What ended it.
    pub trailers: HeaderMap,
}

/// One unary call.
///
/// # Errors
/// It failed, or its answer is not the right one.
pub async fn quote(sender: &mut Sender, authority: &str, item: &str) -> Result<QuoteReply, Failure> {
    let message = grpc::frame(&QuoteRequest { item: item.to_owned() });
    let request = request(sender, authority, grpc::QUOTE, Full::new(message).boxed_unsync())?;
    let mut answer = Answer::new(sender.send(request).await?);
    let reply = answer.message().await?.ok_or_else(|| Failure::sent("no message"));
    answer.end().await?;
    let reply = reply?;
    if reply.item == item { Ok(reply) } else { Err(Failure::wrong("another item's quote")) }
}

/// A stream of `messages` requests, each sent when the one before is answered.
///
/// # Errors
/// It failed, or its answers or trailers are not the right ones.
pub async fn watch(sender: &mut Sender, authority: &str, messages: u32) -> Result<Watched, Failure> {
    let (messages_out, receiver) = mpsc::channel::<Frame<Bytes>>(1);
    let body = StreamBody::new(ReceiverStream::new(receiver).map(Ok::<_, Infallible>)).boxed_unsync();
    let request = request(sender, authority, grpc::WATCH, body)?;
    let gone = || Failure::sent("the stream ended early");
    let ask = |number: u32| Frame::data(grpc::frame(&QuoteRequest { item: format!("item {number}") }));
    if messages > 0 {
        messages_out.send(ask(0)).await.map_err(|_| gone())?;
    }
    let mut answer = Answer::new(sender.send(request).await?);
    let mut replies = Vec::new();
    for number in 0..messages {
        let reply = answer.message().await?.ok_or_else(gone)?;
        if reply.item != format!("item {number}") {
            return Err(Failure::wrong("another item's quote"));
        }
        replies.push(reply);
        if number + 1 < messages {
            messages_out.send(ask(number + 1)).await.map_err(|_| gone())?;
        }
    }
    drop(messages_out);
    if answer.message().await?.is_some() {
        return Err(Failure::wrong("more replies than requests"));
    }
    let trailers = answer.end().await?;
    let told = trailers.get(grpc::QUOTES_TRAILER).and_then(|value| value.to_str().ok());
    if told != Some(messages.to_string().as_str()) {
        return Err(Failure::wrong(format!("trailer {} is {told:?}", grpc::QUOTES_TRAILER)));
    }
    Ok(Watched { replies, trailers })
}

fn request(sender: &Sender, authority: &str, path: &str, body: Body) -> Result<Request<Body>, Failure> {
    let request = Request::post(sender.uri(authority, path)?)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    request.body(body).map_err(|_| Failure::unsent("the request cannot be made"))
}

/// A response that is being read.
struct Answer {
    head: HeaderMap,
    body: Incoming,
    unframe: Unframe,
    trailers: HeaderMap,
}

impl Answer {
    fn new(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: head.headers, body, unframe: Unframe::default(), trailers: HeaderMap::new() }
    }

    /// The next message, none at the end.
    async fn message(&mut self) -> Result<Option<QuoteReply>, Failure> {
        loop {
            if let Some(reply) = self.unframe.next().map_err(Failure::wrong)? {
                return Ok(Some(reply));
            }
            match self.body.frame().await.transpose().map_err(|e| failure(&e))? {
                Some(frame) => match frame.into_data() {
                    Ok(bytes) => self.unframe.push(&bytes),
                    Err(frame) => self.trailers.extend(frame.into_trailers().unwrap_or_default()),
                },
                None => return Ok(None),
            }
        }
    }

    /// What the server, or a proxy, says about a status.
    fn explanation(&self) -> &str {
        let field = self.trailers.get("grpc-message").or_else(|| self.head.get("grpc-message"));
        field.and_then(|value| value.to_str().ok()).unwrap_or("no grpc-message")
    }

    /// Reads to the end, and gives the trailers of a call that went well.
    async fn end(&mut self) -> Result<HeaderMap, Failure> {
        while self.message().await?.is_some() {}
        match grpc::status(&self.trailers).or_else(|| grpc::status(&self.head)) {
            Some(grpc::OK) => Ok(std::mem::take(&mut self.trailers)),
            Some(status) => Err(Failure::sent(format!("grpc-status {status}: {}", self.explanation()))),
            None => Err(Failure::sent("no grpc-status")),
        }
    }
}
