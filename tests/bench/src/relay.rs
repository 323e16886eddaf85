//! The floor: a proxy that copies bytes and does nothing else.
//!
//! It goes where the connection was going, so the same redirect rules serve it as serve ours. One thread, one buffer for all
//! connections; what the other side does not take is waited for before more is read.

use socket2::SockRef;
use std::{io, net::SocketAddr};
use tokio::net::TcpStream;

use crate::backend::{listen, read};

/// Relays what is accepted at `address` to where it was going.
///
/// # Errors
/// The address cannot be listened on.
pub async fn run(address: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    let local = tokio::task::LocalSet::new();
    let accept = async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // A connection that breaks is the generator's to count.
            drop(tokio::task::spawn_local(relay(stream)));
        }
    };
    local.run_until(accept).await
}

async fn relay(client: TcpStream) -> io::Result<()> {
    let to = SockRef::from(&client).original_dst_v4()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::select! {
        done = copy(&client, &server) => done,
        done = copy(&server, &client) => done,
    }
}

async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        let mut rest = Vec::new();
        let taken = read(from, |bytes| match to.try_write(bytes) {
            Ok(n) => rest.extend_from_slice(&bytes[n..]),
            Err(_) => rest.extend_from_slice(bytes),
        });
        if taken.await? == 0 {
            return Ok(());
        }
        let mut rest = rest.as_slice();
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}
