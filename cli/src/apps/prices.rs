//! The price service: gRPC, in several replicas, of which one may be slow.

use super::grpc::{self, QuoteReply, QuoteRequest, Unframe};
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::sync::mpsc;

/// Messages of one stream that wait for the client to read.
const STREAM_QUEUE: usize = 16;

/// How the price service runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:50051")]
    pub listen: SocketAddr,
    /// The name that replies carry
    #[arg(long, default_value = "prices")]
    pub replica: String,
    /// Milliseconds to think before each quote
    #[arg(long, default_value_t = 0)]
    pub delay: u64,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Serves until the process ends.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let listen = options.listen;
    super::serve("prices", listen, move |stream, _| {
        let options = options.clone();
        async move {
            let service = service_fn(move |request| answer(options.clone(), request));
            // A connection that breaks is its client's business.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

async fn answer(options: Options, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let streaming = match request.uri().path() {
        grpc::QUOTE => false,
        grpc::WATCH => true,
        _ => return Ok(refuse(grpc::UNIMPLEMENTED, "no such method")),
    };
    if request.method() != Method::POST {
        return Ok(refuse(grpc::INVALID_ARGUMENT, "gRPC calls are POST requests"));
    }
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    tokio::spawn(quotes(options, request.into_body(), streaming, sender));
    Ok(response(tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok).boxed()))
}

/// Reads requests and answers each, then says how it went in trailers.
async fn quotes(options: Options, mut body: Incoming, streaming: bool, sender: mpsc::Sender<Frame<Bytes>>) {
    let mut unframe = Unframe::default();
    let mut count = 0u32;
    let status = loop {
        match unframe.next::<QuoteRequest>() {
            Ok(Some(request)) => {
                tokio::time::sleep(Duration::from_millis(options.delay)).await;
                if sender.send(Frame::data(grpc::frame(&quote(&options, request)))).await.is_err() {
                    return;
                }
                count += 1;
                if !streaming {
                    break grpc::OK;
                }
                continue;
            }
            Ok(None) => {}
            Err(_) => break grpc::INVALID_ARGUMENT,
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    unframe.push(bytes);
                }
            }
            Some(Err(_)) => return,
            None => break if unframe.end().is_ok() { grpc::OK } else { grpc::INVALID_ARGUMENT },
        }
    };
    let mut trailers = grpc::trailers(status);
    trailers.insert(grpc::QUOTES_TRAILER, HeaderValue::from(count));
    // Nobody reads them if the client is gone.
    let _ = sender.send(Frame::trailers(trailers)).await;
}

/// Prices are made from names, so that every replica says the same.
fn quote(options: &Options, request: QuoteRequest) -> QuoteReply {
    let sum: u32 = request.item.bytes().map(u32::from).sum();
    QuoteReply { cents: 100 + sum % 900, item: request.item, replica: options.replica.clone() }
}

fn response(frames: BoxStream<'static, Result<Frame<Bytes>, Infallible>>) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// A response of trailers only.
fn refuse(status: u32, message: &'static str) -> Response<Body> {
    let mut response = response(futures_util::stream::empty().boxed());
    response.headers_mut().extend(grpc::trailers(status));
    response.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    response
}
