//! Small HTTP requests to admin pages.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest page read, in bytes: 16 MiB.
const MAX_PAGE: usize = 16 << 20;

/// Gets a page as text over a connection that is used for nothing else.
///
/// # Errors
/// The connection broke, or the page is late, too long or no text.
pub async fn get(stream: TcpStream, path: &str) -> io::Result<(StatusCode, String)> {
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
        let response =
            sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_PAGE).collect().await.map_err(io::Error::other)?;
        connection.abort();
        let text = String::from_utf8(body.to_bytes().to_vec()).map_err(io::Error::other)?;
        Ok((status, text))
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no whole answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, exchange).await.map_err(late)?
}
