//! A workload's port on an address of this machine, for programs that are not meshed.
//!
//! Plain TCP, passed on byte by byte. The workload's proxy takes such a client for what it is: one without an identity.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// Connections through one published port at once; further ones wait in the listen backlog.
const MAX_CONNECTIONS: usize = 1_024;

/// `PORT`, `HERE:PORT` or `IP:HERE:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to listen on this machine.
    pub here: SocketAddr,
    /// The workload's port.
    pub port: u16,
}

/// A published port. Dropping it ends it.
#[derive(Debug)]
pub struct Published(JoinHandle<()>);

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected PORT, HERE:PORT or IP:HERE:PORT, such as 8080, 18080:8080 or 0.0.0.0:80:8080, found {text:?}"
            )
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let (here, inner) = text.rsplit_once(':').unwrap_or((text, text));
        let (ip, outer) = match here.rsplit_once(':') {
            Some((ip, outer)) => {
                let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (ip.parse().map_err(|_| wrong())?, outer)
            }
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), here),
        };
        Ok(Self { here: (ip, port(outer)?).into(), port: port(inner)? })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.here, self.port)
    }
}

impl Publish {
    /// Listens, and passes connections on to the workload at `ip`.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(self, ip: Ipv4Addr) -> io::Result<Published> {
        let listener = TcpListener::bind(self.here).await?;
        let target = SocketAddr::from((ip, self.port));
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Published(tokio::spawn(async move {
            loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                let Ok((client, _)) = listener.accept().await else {
                    // Out of descriptors, or a connection that is gone already.
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                };
                tokio::spawn(async move {
                    // A connection that breaks is the ends' business.
                    let _ = relay(client, target).await;
                    drop(permit);
                });
            }
        })))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn texts() {
        for (text, shown) in [
            ("8080", "127.0.0.1:8080:8080"),
            ("18080:8080", "127.0.0.1:18080:8080"),
            ("0.0.0.0:80:8080", "0.0.0.0:80:8080"),
            ("[::1]:80:8080", "[::1]:80:8080"),
        ] {
            assert_eq!(
                text.parse::<Publish>().map(|publish| publish.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for text in ["", "0", "http", "1:2:3", "70000", "localhost:80:8080", ":8080"] {
            assert!(text.parse::<Publish>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn bytes_pass_and_ends_of_file_too() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = free.local_addr().unwrap();
        drop(free);
        let _published = Publish { here, port }.start(Ipv4Addr::LOCALHOST).await.unwrap();
        let mut client = TcpStream::connect(here).await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        peer.write_all(b"answer").await.unwrap();
        drop(peer);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        let taken = Publish { here, port }.start(Ipv4Addr::LOCALHOST).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
