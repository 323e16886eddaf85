//! The listening sockets: bound before anything else, one set for each worker.

use std::io;
use std::net::{SocketAddr, TcpListener};

use weft_engine::io::Side;
use weft_net::socket::{self, DEFAULT_BACKLOG, ListenOptions};

use super::Config;

/// Bound sockets of all workers.
#[derive(Debug)]
pub struct Listeners {
    outbound: Vec<SocketAddr>,
    inbound: Vec<SocketAddr>,
    workers: Vec<Vec<Listener>>,
}

/// One bound socket of one worker.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) side: Side,
    /// Where all its connections are going, if that is not the kernel's to tell.
    pub(super) target: Option<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {} connections", if *.outbound { "outbound" } else { "inbound" })]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// For the application's connections, or for the mesh's.
    pub outbound: bool,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Listeners {
    /// Binds every address for every worker. With port 0 all workers share the port that the first one got.
    ///
    /// # Errors
    /// The first address that the system refuses.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let mut listeners = Self { outbound: Vec::new(), inbound: Vec::new(), workers: Vec::new() };
        listeners.workers.resize_with(config.workers.get(), Vec::new);
        for (side, settings) in [(Side::Outbound, &config.outbound), (Side::Inbound, &config.inbound)] {
            let options = ListenOptions {
                backlog: settings.backlog.unwrap_or(DEFAULT_BACKLOG),
                ..ListenOptions::default()
            };
            let redirected = settings.listen.iter().map(|address| (*address, None));
            let fixed = settings.fixed.iter().map(|(address, target)| (*address, Some(*target)));
            for (wanted, target) in redirected.chain(fixed) {
                let mut address = wanted;
                for worker in &mut listeners.workers {
                    let socket = bind(address, options, settings).map_err(|source| BindError {
                        address,
                        outbound: side == Side::Outbound,
                        source,
                    })?;
                    address = socket.local_addr().unwrap_or(address);
                    worker.push(Listener { socket, side, target });
                }
                match side {
                    Side::Outbound => listeners.outbound.push(address),
                    Side::Inbound => listeners.inbound.push(address),
                }
            }
        }
        Ok(listeners)
    }

    /// Where the application's connections come in.
    #[must_use]
    pub fn outbound(&self) -> &[SocketAddr] {
        &self.outbound
    }

    /// Where the mesh's connections come in.
    #[must_use]
    pub fn inbound(&self) -> &[SocketAddr] {
        &self.inbound
    }

    pub(super) fn into_workers(self) -> Vec<Vec<Listener>> {
        self.workers
    }
}

fn bind(address: SocketAddr, options: ListenOptions, side: &super::Side) -> io::Result<TcpListener> {
    let socket = socket::listen(address, options)?;
    socket::set_options(&socket, &side.accept)?;
    Ok(socket)
}
