//! Applications without HTTP.

use super::{Listening, listen};
use crate::place::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What [`greeter`] says first.
pub const GREETING: &[u8] = b"220 here I am\r\n";

/// Sends back what it gets; when the client has ended, says how much that was, and ends.
pub async fn echo(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let copied = tokio::io::copy(&mut reader, &mut writer).await;
        if let Ok(bytes) = copied {
            let _ = writer.write_all(format!("\n{bytes} bytes\n").as_bytes()).await;
            let _ = writer.shutdown().await;
        }
    })
    .await
}

/// Speaks first; then sends back what it gets.
pub async fn greeter(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        if stream.write_all(GREETING).await.is_ok() {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    })
    .await
}

/// Ends its own half at once, then counts what comes and never answers.
pub async fn half_closer(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        let _ = stream.write_all(b"all I have to say").await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await
}
