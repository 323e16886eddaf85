//! TCP sockets as a proxy needs them: options, listeners, connecting, where a client meant to go.
//!
//! Everything here makes system calls but never waits.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// How many connections may wait in the kernel to be accepted, if nothing else is configured. The kernel lowers it to
/// `net.core.somaxconn`, by default 4096.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// Options of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How many connections may wait in the kernel; default [`DEFAULT_BACKLOG`].
    pub backlog: u32,
    /// Whether several listeners share the address, the kernel giving each connection to one of them; default yes,
    /// which is how several workers share a port.
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: DEFAULT_BACKLOG, reuse_port: true }
    }
}

/// Options of a connected socket, accepted or connecting. `TCP_NODELAY` is always on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Idle time after which the kernel probes the peer (`SO_KEEPALIVE`, `TCP_KEEPIDLE`); default off.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay without acknowledgement before the connection fails (`TCP_USER_TIMEOUT`);
    /// default the kernel's.
    pub user_timeout: Option<Duration>,
    /// The mark of the packets (`SO_MARK`): exempts the proxy's own connections from redirection where rules cannot
    /// tell it by its user id; default none. Needs `CAP_NET_ADMIN`; only used to connect.
    pub mark: Option<u32>,
}

/// Where a redirected client meant to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address; IPv4 is always written as such, never mapped into IPv6.
    pub address: SocketAddr,
    /// Whether the kernel's connection table knew it, which it does wherever a rule redirects anything. If not, the
    /// address is the one the socket itself has: the client connected to the proxy, or redirection left the address
    /// alone (TPROXY).
    pub tracked: bool,
}

/// Opens a listener that does not block. An IPv6 wildcard address takes IPv4 as well.
///
/// # Errors
/// Those of `socket`, `setsockopt`, `bind` and `listen`; an address in use is [`io::ErrorKind::AddrInUse`].
pub fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if let IpAddr::V6(ip) = address.ip() {
        // Only the wildcard is dual: "::1" next to "127.0.0.1" are two listeners.
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Accepts one connection, not blocking and with the options of the listener ([`set_options`] on the listener is what
/// every connection accepted afterwards starts with), and the client's address.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if none waits; [`AcceptFailure::of`] tells what to do about the others.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket.into(), canonical(peer)))
}

/// What a failed [`accept`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// Nothing waits: go back to polling.
    Nothing,
    /// This connection is gone; the next one may be well.
    Connection,
    /// The process or the machine is out of descriptors or memory: pause, the connections wait in the kernel.
    Exhausted,
    /// The listener is of no use any more.
    Listener,
}

impl AcceptFailure {
    /// Sorts an error of `accept` (the list is that of accept(2)).
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let Some(errno) = Errno::from_io_error(error) else {
            return if error.kind() == io::ErrorKind::WouldBlock { Self::Nothing } else { Self::Connection };
        };
        match errno {
            Errno::AGAIN => Self::Nothing,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Self::Exhausted,
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT => Self::Listener,
            // Linux also reports errors that already wait on the new connection: network down, protocol errors.
            _ => Self::Connection,
        }
    }
}

/// Begins to connect; the socket becomes writable when that has ended, and [`connect_result`] tells how.
///
/// # Errors
/// What is known at once: no route, no descriptors, no permission for the mark.
pub fn connect(target: SocketAddr, options: &StreamOptions) -> io::Result<TcpStream> {
    let socket =
        Socket::new(Domain::for_address(target), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    set_options(&socket, options)?;
    match socket.connect(&target.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// How connecting ended, asked once the socket is writable.
///
/// # Errors
/// Why the connection could not be made; [`io::ErrorKind::NotConnected`] if that is not known yet.
pub fn connect_result(socket: &TcpStream) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.peer_addr().map(drop)
}

/// Sets the options of a listener (for what it accepts) or of a connection, except the mark.
///
/// # Errors
/// Those of `setsockopt`.
pub fn set_options(socket: &impl AsFd, options: &StreamOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

/// Where the client of an accepted connection meant to connect to.
///
/// The kernel keeps that in its connection table: `SO_ORIGINAL_DST` for IPv4, also on an IPv6 socket that carries
/// IPv4, and `IP6T_SO_ORIGINAL_DST` for IPv6. Where nothing redirects (no rule in the namespace, or an entry
/// flushed from the table) there is no such entry; then the socket's own address is the answer, marked as not
/// tracked. With rules in place a connection that was not redirected reports its own address, too.
///
/// # Errors
/// Those of `getsockopt` other than "no entry" and "not known here".
pub fn original_destination(socket: &TcpStream, peer: SocketAddr) -> io::Result<Destination> {
    let asked = match canonical(peer) {
        SocketAddr::V4(_) => SockRef::from(socket).original_dst_v4(),
        SocketAddr::V6(_) => SockRef::from(socket).original_dst_v6(),
    };
    match asked {
        Ok(address) => {
            let address = address.as_socket().ok_or(io::ErrorKind::Unsupported)?;
            Ok(Destination { address: canonical(address), tracked: true })
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP) => {
                Ok(Destination { address: canonical(socket.local_addr()?), tracked: false })
            }
            _ => Err(error),
        },
    }
}

/// Whether a connection to `destination` would come back to the listener at `listener`, so that a proxy forwarding
/// to it would talk to itself without end.
///
/// `own` are the addresses of this workload, as far as they are known; loopback always counts as own.
#[must_use]
pub fn leads_back(destination: SocketAddr, listener: SocketAddr, own: &[IpAddr]) -> bool {
    if destination.port() != listener.port() {
        return false;
    }
    let (ip, bound) = (destination.ip().to_canonical(), listener.ip().to_canonical());
    if ip == bound || ip.is_unspecified() {
        return true;
    }
    bound.is_unspecified() && (ip.is_loopback() || own.iter().any(|own| own.to_canonical() == ip))
}

/// Closes with a reset: what was not sent is dropped, and the peer learns that the stream was cut.
pub fn reset(socket: TcpStream) {
    // If this fails the peer sees a plain end; there is nothing else to do for a socket that is given up.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// An IPv4 address that travelled as IPv6 (`::ffff:10.0.0.1`), as IPv4.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}
