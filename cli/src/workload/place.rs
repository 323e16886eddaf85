//! Where a workload is: a namespace of its own, or an address of this machine's loopback.

use crate::machine::{MachineError, Member, Program, Running};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as Blocking},
    time::Duration,
};
use tokio::net::TcpStream;
use weft_init::NetNs;

/// How long a connection inside this machine may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a workload is.
#[derive(Debug)]
pub enum Place {
    /// A namespace.
    Namespace(Member),
    /// An address of the loopback network, shared with everything else here.
    Loopback(Ipv4Addr),
}

impl Place {
    /// Its addresses.
    pub fn ips(&self, ipv6: bool) -> Vec<IpAddr> {
        match self {
            Self::Namespace(member) if ipv6 => vec![member.v4.into(), member.v6.into()],
            Self::Namespace(member) => vec![member.v4.into()],
            Self::Loopback(ip) => vec![(*ip).into()],
        }
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> Ipv4Addr {
        match self {
            Self::Namespace(member) => member.v4,
            Self::Loopback(ip) => *ip,
        }
    }

    /// The address by which it is reached from inside.
    pub fn own(&self) -> Ipv4Addr {
        match self {
            Self::Namespace(_) => Ipv4Addr::LOCALHOST,
            Self::Loopback(ip) => *ip,
        }
    }

    /// Starts a program there.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn spawn(&self, program: Program) -> Result<Running, MachineError> {
        match self {
            Self::Namespace(member) => member.spawn(program),
            Self::Loopback(_) => program.spawn(None),
        }
    }

    /// Whether something listens on a port there, on the address that a proxy connects to.
    pub async fn is_open(&self, port: u16) -> bool {
        self.connect((self.ip(), port).into()).await.is_ok()
    }

    /// Connects from there.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        match self {
            Self::Namespace(member) => connect_in(member.namespace(), address).await,
            Self::Loopback(_) => connect(address).await,
        }
    }
}

/// Connects from a network namespace. The socket stays there, wherever it is used.
///
/// # Errors
/// The connection cannot be made.
pub async fn connect_in(ns: &NetNs, address: SocketAddr) -> io::Result<TcpStream> {
    let ns = ns.try_clone()?;
    let connected = tokio::task::spawn_blocking(move || {
        ns.run(|| Blocking::connect_timeout(&address, CONNECT_TIMEOUT)).map_err(io::Error::other)?
    });
    let stream = connected.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
