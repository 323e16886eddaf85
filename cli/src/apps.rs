//! The demo's programs: an ordinary shop that knows nothing of the mesh.
//!
//! They listen on ordinary ports, call each other by name and never see a certificate. Each prints one line when it
//! listens. [`grpc`] is the wire format that the price service and its callers share.

pub mod feed;
pub mod greeter;
pub mod grpc;
pub mod prices;
pub mod shop;
pub mod stock;

use std::{io, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// Connections a program serves at once; further ones wait in the listen backlog.
const MAX_CONNECTIONS: usize = 4_096;

/// Which program to be, and how.
#[derive(Debug, clap::Subcommand)]
pub enum Kind {
    /// HTTP/1.1 and HTTP/2: the shop front, which asks the others.
    Shop(shop::Options),
    /// gRPC: prices, one at a time or as a stream.
    Prices(prices::Options),
    /// WebSocket: a feed of ticks, and an echo.
    Feed(feed::Options),
    /// Plain TCP with a protocol of its own: what is in stock.
    Stock(stock::Options),
    /// Plain TCP in which the server speaks first.
    Greeter(greeter::Options),
}

/// Runs the program until its process is ended.
///
/// # Errors
/// The address it should listen on cannot be had.
pub async fn run(kind: Kind) -> anyhow::Result<()> {
    match kind {
        Kind::Shop(options) => shop::run(options).await,
        Kind::Prices(options) => prices::run(options).await,
        Kind::Feed(options) => feed::run(options).await,
        Kind::Stock(options) => stock::run(options).await,
        Kind::Greeter(options) => greeter::run(options).await,
    }
}

/// Listens, says so, and serves each connection in a task of its own.
async fn serve<F>(
    name: &str,
    listen: SocketAddr,
    mut connection: impl FnMut(TcpStream, SocketAddr) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let failed = |e: io::Error| anyhow::anyhow!("{name} cannot listen on {listen} (--listen): {e}");
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    println!("{name}: listening on {}", listener.local_addr().map_err(failed)?);
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or a connection that is gone already: neither is worth ending for.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let work = connection(stream, peer);
        tokio::spawn(async move {
            work.await;
            drop(permit);
        });
    }
}
