//! The admin server: probes, metrics, log level, shutdown. HTTP/1 and HTTP/2, in plaintext or, for meshed scrapers, over
//! mesh TLS.

mod routes;

use crate::{log::LogHandle, readiness::Readiness, telemetry::Telemetry};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

/// Open connections; one more waits in the listen backlog until another ends.
pub const MAX_CONNECTIONS: usize = 256;
/// For a client's first byte, TLS handshake, or request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// First byte of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What the admin server shows and does.
pub struct Admin {
    /// For `/ready`.
    pub readiness: Arc<Readiness>,
    /// For `/metrics`.
    pub telemetry: Arc<Telemetry>,
    /// For `/proxy-log-level`.
    pub log: LogHandle,
    /// Whether `/shutdown` is answered.
    pub shutdown_enabled: bool,
    /// Told when it was.
    pub shutdown: mpsc::Sender<()>,
    /// Set once there is a certificate.
    pub tls: watch::Receiver<Option<Arc<rustls::ServerConfig>>>,
}

/// Serves until dropped.
pub async fn serve(admin: Arc<Admin>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, client)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    connection(admin, tcp, client).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin: accepting failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(admin: Arc<Admin>, tcp: TcpStream, client: SocketAddr) {
    let _ = tcp.set_nodelay(true);
    let mut first = [0];
    match timeout(HEAD_TIMEOUT, tcp.peek(&mut first)).await {
        Ok(Ok(1)) if first == [TLS_HANDSHAKE] => {
            let config = admin.tls.borrow().clone();
            let Some(config) = config else {
                return tracing::debug!(%client, "admin: TLS before there is a certificate");
            };
            match timeout(HEAD_TIMEOUT, tokio_rustls::TlsAcceptor::from(config).accept(tcp)).await {
                Ok(Ok(tls)) => http(admin, tls, client).await,
                Ok(Err(error)) => tracing::debug!(%client, %error, "admin: TLS handshake failed"),
                Err(_) => tracing::debug!(%client, "admin: TLS handshake took too long"),
            }
        }
        Ok(Ok(1)) => http(admin, tcp, client).await,
        _ => {}
    }
}

async fn http(
    admin: Arc<Admin>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: SocketAddr,
) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(client, request).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT));
    if let Err(error) = server.serve_connection(TokioIo::new(io), service).await {
        tracing::debug!(%client, %error, "admin: connection ended");
    }
}
