//! Applications: an HTTP server that shows what it was sent, gRPC, WebSocket, plain TCP; and some that behave badly.

pub mod bad;
mod http_app;
pub mod tcp;

pub use http_app::{HttpApp, Seen};

use crate::place::Place;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

/// Something that listens at a place. Stops, connections and all, when dropped.
pub struct Listening {
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Listens at all addresses of `place` and gives every connection to `serve`.
///
/// # Panics
/// When the port is taken.
pub async fn listen<F: Future<Output = ()> + Send + 'static>(
    place: &Place,
    port: u16,
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> Listening {
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    // On loopback the port is that of one address only; in a namespace programs listen on all.
    let address = if place.is_namespace() { ([0_u16; 8], port).into() } else { place.at(port) };
    let listener = place
        .run("a listener", async move { bound(address).unwrap_or_else(|error| panic!("{address}: {error}")) })
        .await;
    let connections = Arc::downgrade(&tasks);
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let Some(tasks) = connections.upgrade() else { return };
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(serve(stream));
        }
    };
    place.spawn_on(&mut tasks.lock().unwrap_or_else(PoisonError::into_inner), accept);
    Listening { tasks }
}

/// With room for more connections than any test makes at once, however slowly they are accepted.
fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

impl Listening {
    /// Connections that are open now.
    pub fn open(&self) -> usize {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        // One task accepts.
        tasks.len().saturating_sub(1)
    }
}
