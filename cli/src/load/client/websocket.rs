//! WebSocket messages.

use super::Failure;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message},
};

/// An open WebSocket.
pub type Socket = WebSocketStream<TcpStream>;

/// Upgrades a connected stream.
///
/// # Errors
/// The server did not switch protocols.
pub async fn open(stream: TcpStream, authority: &str) -> Result<Socket, Failure> {
    let upgraded = tokio_tungstenite::client_async(format!("ws://{authority}/"), stream).await;
    upgraded.map(|(socket, _)| socket).map_err(|e| failure(&e))
}

/// Sends a text and waits for the same text.
///
/// # Errors
/// The connection broke, or something else came.
pub async fn echo(socket: &mut Socket, text: &str) -> Result<(), Failure> {
    say(socket, text).await?;
    let answer = next(socket).await?;
    if answer == text { Ok(()) } else { Err(Failure::wrong("another text")) }
}

/// Sends a text.
///
/// # Errors
/// The connection broke.
pub async fn say(socket: &mut Socket, text: &str) -> Result<(), Failure> {
    socket.send(Message::text(text)).await.map_err(|e| failure(&e))
}

/// The next text.
///
/// # Errors
/// The connection broke or was closed.
pub async fn next(socket: &mut Socket) -> Result<String, Failure> {
    loop {
        match socket.next().await.transpose().map_err(|e| failure(&e))? {
            Some(Message::Text(text)) => return Ok(text.as_str().to_owned()),
            Some(Message::Close(_)) | None => return Err(Failure::sent("the WebSocket was closed")),
            Some(_) => {}
        }
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Io(e) => Failure::sent(super::kind(e.kind())),
        Error::Http(response) => Failure::sent(format!("status {}", response.status().as_u16())),
        other => Failure::sent(other.to_string()),
    }
}
