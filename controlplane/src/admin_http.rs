//! The listeners of the admin API: a Unix socket in the state directory, and HTTPS.
//!
//! | listener | who may ask | how they are known |
//! |---|---|---|
//! | `admin.sock`, mode 0600 | the user that runs the control plane, root | the file's mode |
//! | HTTPS, loopback unless told otherwise | who has the token in `admin.token` (mode 0600) | `Authorization: Bearer` |
//!
//! HTTPS has a certificate of the mesh's own root, whose certificate is written to `trust-anchors.pem` for clients. What is
//! served is a router that others make; here are connections, their bounds ([`MAX_CONNECTIONS`],
//! [`HEAD_TIMEOUT`], [`HANDSHAKE_TIMEOUT`]) and their end.

mod tls;

#[cfg(test)]
mod tests;

pub use self::tls::{AdminTls, AdminTlsError, anchors_file};

use crate::mesh_tls::HANDSHAKE_TIMEOUT;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    fs::{self, Permissions},
    future::Future,
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

/// Most connections of one listener: 64. Further ones are closed at once.
pub const MAX_CONNECTIONS: usize = 64;

/// From the connection, or the answer before, to the end of the next request's head: 30 s.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest head of a request in bytes: 16 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// How long requests that are under way may take when the control plane stops: 2 s.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// After an error of the listener, such as no file descriptors left, it is tried again this much later: 100 ms.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Longest path of a Unix socket in bytes (`sun_path`, with its terminator).
const MAX_SOCKET_PATH: usize = 108;

/// Why the Unix socket cannot be made.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The system takes no path as long as this.
    #[error("the path {} of the admin socket has {} bytes, at most {} are possible: choose a state directory with a shorter path",
            path.display(), path.as_os_str().len(), MAX_SOCKET_PATH - 1)]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the admin socket {} cannot be made", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the socket, in place of one that a control plane left which was killed. The caller holds the state's lock, so
/// nobody else can be listening there.
pub fn bind_unix(path: &Path) -> Result<UnixListener, SocketError> {
    let refused = |source| SocketError::Bind { path: path.to_owned(), source };
    if path.as_os_str().as_bytes().len() >= MAX_SOCKET_PATH {
        return Err(SocketError::TooLong { path: path.to_owned() });
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    // The directory is closed to others as well, so there is no moment at which they could connect.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(listener)
}

/// Serves on the Unix socket until `stop` is done.
pub async fn serve_unix(listener: UnixListener, router: Router, stop: impl Future<Output = ()>) {
    let mut connections = Connections::new(router);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(connection) = connections.admit() {
                    connections.tasks.spawn(connection.serve(stream));
                }
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    connections.close().await;
}

/// Serves plain HTTP until `stop` is done: health and metrics, which anybody may read.
pub async fn serve_plain(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut connections = Connections::new(router);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(connection) = connections.admit() {
                    connections.tasks.spawn(connection.serve(stream));
                }
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    connections.close().await;
}

/// Serves HTTPS until `stop` is done. The router should ask for the token
/// ([`weft_admin_api::require_token`]).
pub async fn serve_https(
    listener: TcpListener,
    tls: Arc<AdminTls>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let mut connections = Connections::new(router);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(connection) = connections.admit() else { continue };
                let tls = Arc::clone(&tls);
                connections.tasks.spawn(async move {
                    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection.serve(stream).await,
                        Ok(Err(error)) => {
                            tracing::warn!(%address, %error, "admin HTTPS: the handshake failed")
                        }
                        Err(_) => tracing::warn!(%address, "admin HTTPS: the handshake took too long"),
                    }
                });
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    connections.close().await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "admin API: a connection could not be accepted");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

/// The connections of one listener.
struct Connections {
    router: Router,
    permits: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// The right to serve one connection.
struct Connection {
    router: Router,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    fn new(router: Router) -> Self {
        Self {
            router,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            stopping: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    /// Room for one more, or none: the caller closes it.
    fn admit(&mut self) -> Option<Connection> {
        while self.tasks.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!(limit = MAX_CONNECTIONS, "admin API: a connection was closed, there are too many");
            return None;
        };
        Some(Connection { router: self.router.clone(), stopping: self.stopping.subscribe(), _permit: permit })
    }

    /// Lets requests that are under way end, for a moment.
    async fn close(mut self) {
        self.stopping.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // What is left is ended with the set.
        let _ = timeout(CLOSING_GRACE, ended).await;
    }
}

impl Connection {
    async fn serve<S>(mut self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = TowerToHyperService::new(self.router);
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
        );
        let stopping = async {
            // Its sender going away is an end too.
            let _ = self.stopping.wait_for(|stopping| *stopping).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stopping => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "admin API: a connection broke");
        }
    }
}
