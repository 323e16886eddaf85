//! A service whose server speaks first, as mail and many databases do.

use std::net::SocketAddr;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longest line, in bytes.
const MAX_LINE: u64 = 1_024;

/// How the greeter runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:2525")]
    pub listen: SocketAddr,
}

/// Serves until the process ends.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    super::serve("greeter", options.listen, |stream, peer| async move {
        // A connection that breaks is its client's business.
        let _ = greet(stream, peer).await;
    })
    .await
}

async fn greet(mut stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    write.write_all(format!("220 welcome, {}\r\n", peer.ip()).as_bytes()).await?;
    let mut lines = BufReader::new(read);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut lines).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return write.shutdown().await;
        }
        match line.trim_end().split_once(' ') {
            Some(("HELO", name)) => write.write_all(format!("250 hello, {name}\r\n").as_bytes()).await?,
            None if line.trim_end() == "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return write.shutdown().await;
            }
            _ => write.write_all(b"500 expected HELO name or QUIT\r\n").await?,
        }
    }
}
