//! The shop front: HTTP/1.1 and HTTP/2 on one port. Prices come by gRPC, stock by plain TCP.
//!
//! | path | answer |
//! |---|---|
//! | `/` | what there is |
//! | `/price/ITEM` | JSON, from the price service |
//! | `/stock/ITEM` | JSON, from the store |
//! | `/whoami` | JSON: who the server was told is asking (`l5d-client-id`), and the request's fields |
//! | `/echo` | the request's body |
//! | `/wait/MS` | `waited MS ms`, as late as that |

use super::grpc::{self, QuoteReply, QuoteRequest, Unframe};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use serde_json::json;
use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Mutex,
};

/// Longest body echoed, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Longest `/wait`.
const MAX_WAIT_MS: u64 = 30_000;
/// How long another service may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest line of the store read, in bytes.
const MAX_LINE: u64 = 1_024;

/// How the shop front runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The price service
    #[arg(long, default_value = "prices:50051")]
    pub prices: String,
    /// The store
    #[arg(long, default_value = "stock:7000")]
    pub stock: String,
}

/// The shop and its open connections to others.
struct Shop {
    options: Options,
    prices: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

type Reply = Response<Full<Bytes>>;

/// Serves until the process ends.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let listen = options.listen;
    let shop = Arc::new(Shop { options, prices: Mutex::new(None) });
    super::serve("shop", listen, move |stream, _| {
        let shop = Arc::clone(&shop);
        async move {
            let service = service_fn(move |request| {
                let shop = Arc::clone(&shop);
                async move { Ok::<_, Infallible>(shop.answer(request).await) }
            });
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new());
            server.http2().timer(TokioTimer::new());
            // A connection that breaks is its client's business.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

impl Shop {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let path = path.trim_start_matches('/');
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match (first, rest) {
            ("", "") => text("a small shop: /price/tea /stock/tea /whoami /wait/100, and POST /echo\n"),
            ("price", item) if !item.is_empty() => answered("prices", self.price(item).await),
            ("stock", item) if !item.is_empty() => answered("stock", self.stock(item).await),
            ("whoami", "") => whoami(&request),
            ("echo", "") => echo(request).await,
            ("wait", ms) => match ms.parse::<u64>() {
                Ok(ms) if ms <= MAX_WAIT_MS => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    text(format!("waited {ms} ms\n"))
                }
                _ => plain(StatusCode::BAD_REQUEST, format!("expected /wait/MS with 0 to {MAX_WAIT_MS}\n")),
            },
            _ => plain(StatusCode::NOT_FOUND, "no such thing here; / says what there is\n"),
        }
    }

    /// One gRPC call, over a connection that is kept.
    async fn price(&self, item: &str) -> anyhow::Result<serde_json::Value> {
        let call = async {
            let mut prices = self.prices_connection().await?;
            let request = Request::post(format!("http://{}{}", self.options.prices, grpc::QUOTE))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(grpc::frame(&QuoteRequest { item: item.to_owned() })))?;
            let response = prices.send_request(request).await?;
            let head = response.headers().clone();
            let body = response.into_body().collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let mut unframe = Unframe::default();
            unframe.push(&body.to_bytes());
            match grpc::status(&trailers).or_else(|| grpc::status(&head)) {
                Some(grpc::OK) => {}
                Some(status) => bail!("gRPC status {status}: {}", message(&trailers, &head)),
                None => bail!("no gRPC status"),
            }
            let reply: QuoteReply = unframe.next()?.context("no message")?;
            Ok(json!({"item": reply.item, "cents": reply.cents, "replica": reply.replica}))
        };
        tokio::time::timeout(PATIENCE, call).await.context("no answer in time")?
    }

    async fn prices_connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let mut kept = self.prices.lock().await;
        if let Some(open) = kept.as_mut()
            && open.ready().await.is_ok()
        {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(&self.options.prices).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        *kept = Some(sender.clone());
        Ok(sender)
    }

    /// One question on a connection of its own.
    async fn stock(&self, item: &str) -> anyhow::Result<serde_json::Value> {
        let ask = async {
            let mut stream = TcpStream::connect(&self.options.stock).await?;
            stream.write_all(format!("GET {item}\nQUIT\n").as_bytes()).await?;
            let mut line = String::new();
            BufReader::new(stream).take(MAX_LINE).read_line(&mut line).await?;
            match line.trim_end().split_once(' ') {
                Some(("COUNT", count)) => Ok(json!({"item": item, "count": count.parse::<u64>()?})),
                None if line.trim_end() == "NONE" => Ok(json!({"item": item, "count": 0})),
                _ => bail!("an answer that is none: {line:?}"),
            }
        };
        tokio::time::timeout(PATIENCE, ask).await.context("no answer in time")?
    }
}

fn message<'a>(trailers: &'a HeaderMap, head: &'a HeaderMap) -> &'a str {
    let field = trailers.get("grpc-message").or_else(|| head.get("grpc-message"));
    field.and_then(|value| value.to_str().ok()).unwrap_or("no message")
}

fn whoami<B>(request: &Request<B>) -> Reply {
    let fields: BTreeMap<&str, &str> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let version = format!("{:?}", request.version());
    json_reply(&json!({"client": fields.get("l5d-client-id"), "version": version, "fields": fields}))
}

async fn echo(request: Request<Incoming>) -> Reply {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Response::new(Full::new(body.to_bytes())),
        Err(_) => plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("expected a whole body of at most {MAX_BODY} bytes\n"),
        ),
    }
}

fn answered(whom: &str, outcome: anyhow::Result<serde_json::Value>) -> Reply {
    match outcome {
        Ok(value) => json_reply(&value),
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("{whom}: {error:#}\n")),
    }
}

fn json_reply(value: &serde_json::Value) -> Reply {
    let mut reply = text(format!("{value}\n"));
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    reply
}

fn text(body: impl Into<Bytes>) -> Reply {
    plain(StatusCode::OK, body)
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}
