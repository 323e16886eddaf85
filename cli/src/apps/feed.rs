//! A WebSocket service: `subscribe` starts a tick every 200 ms, everything else comes back as it was sent.

use futures_util::{SinkExt, StreamExt};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

const TICK: Duration = Duration::from_millis(200);
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// How the feed runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
}

/// Serves until the process ends.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    super::serve("feed", options.listen, |stream, _| async move {
        // A connection that breaks is its client's business.
        let _ = feed(stream).await;
    })
    .await
}

async fn feed(stream: TcpStream) -> Result<(), Error> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    let mut ticks = tokio::time::interval(TICK);
    let mut subscribed = false;
    let mut number = 0u64;
    loop {
        tokio::select! {
            _ = ticks.tick(), if subscribed => {
                number += 1;
                socket.send(Message::text(format!("tick {number}"))).await?;
            }
            message = socket.next() => match message.transpose()? {
                Some(Message::Text(text)) if text.as_str() == "subscribe" => subscribed = true,
                Some(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).await?,
                // Pings are answered and closings completed by the library.
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }
}
