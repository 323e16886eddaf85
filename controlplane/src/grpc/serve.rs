//! Connections: accepted, made safe, served, closed when the control plane stops.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{service::Services, watch::stopped};
use crate::mesh_tls::{MeshStream, MeshTls};

/// The most gRPC connections of all listeners together: 10,000. A proxy has three.
pub const MAX_CONNECTIONS: usize = 10_000;

/// The most calls on one connection: 20,000. A proxy has a few for each service it talks to; Linkerd sets no limit.
const MAX_CALLS: u32 = 20_000;

/// The most bytes of header fields of a request: 16 KiB.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// The most bytes that wait to be sent on one stream: 64 KiB. A message is asked for when there is room, so this
/// is how far ahead of the proxy a stream can be.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// A connection on which nothing happens is asked for a sign of life this often: 10 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// It is closed when there is none for this long: 20 s.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long connections may take to close when the control plane stops: 2 s.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// After an error of the listener, such as no file descriptors left, it is tried again this much later: 100 ms.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listener of gRPC.
#[derive(Clone)]
pub struct Server {
    /// What is served.
    pub services: Arc<Services>,
    /// How connections are made safe.
    pub tls: Arc<MeshTls>,
    /// A permit for each connection; shared by all listeners.
    pub connections: Arc<Semaphore>,
}

impl Server {
    /// Serves until the control plane stops, then closes what is open.
    pub async fn run(self, listener: TcpListener) {
        let mut stopping = self.services.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stopping) => break,
            };
            match accepted {
                Ok((stream, address)) => self.accept(stream, address),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        // Every connection gives its permit back when it is closed.
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = timeout(CLOSING_GRACE, self.connections.acquire_many(all)).await;
    }

    fn accept(&self, stream: TcpStream, address: SocketAddr) {
        let metrics = &self.services.metrics;
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            metrics.connections_refused.increment();
            tracing::warn!(%address, limit = MAX_CONNECTIONS, "a connection was refused: there are too many");
            return;
        };
        tokio::spawn(self.clone().connection(stream, address, permit));
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        // Not being able to set it costs latency and nothing else.
        let _ = stream.set_nodelay(true);
        let stream = match self.tls.accept(stream, address).await {
            Ok(stream) => stream,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, source, "a connection was not accepted");
                return;
            }
        };
        let metrics = self.services.metrics.clone();
        metrics.connections.add(1);
        if let Err(error) = self.http2(stream).await {
            tracing::debug!(%address, %error, "a connection ended");
        }
        metrics.connections.add(-1);
        drop(permit);
    }

    async fn http2(self, stream: MeshStream) -> Result<(), hyper::Error> {
        let peer = stream.peer().clone();
        let services = self.services.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let services = services.clone();
            request.extensions_mut().insert(peer.clone());
            async move { Ok::<_, Infallible>(services.answer(request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CALLS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = self.services.stopping.clone();
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stopped(&mut stopping) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(CLOSING_GRACE, connection).await.unwrap_or(Ok(()))
    }
}

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot listen on {address} ({option})")]
pub struct ListenError {
    /// Whose port it is.
    pub what: &'static str,
    /// Which address.
    pub address: SocketAddr,
    /// The option that says so.
    pub option: &'static str,
    /// Why not.
    #[source]
    pub source: io::Error,
}
