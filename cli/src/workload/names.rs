//! A pod's own name server: passes questions to the control plane's, and remembers answers for when that is away.
//!
//! Programs look names up for every connection they make, so names must go on to work while a control plane is started
//! again (RFC 8767, "Serving Stale Data to Improve DNS Resiliency"). It listens on an address of the pod's own loopback,
//! runs in the process that holds the pod, and ends with it. [`memory`] decides, here are the sockets.

mod memory;

use self::memory::{Action, Memory};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as BlockingListener, UdpSocket as BlockingUdp},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinHandle,
};
use weft_init::NetNs;

/// Where it listens in its pod: where systemd-resolved does on machines.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const PORT: u16 = 53;
/// Largest message over UDP.
const MAX_MESSAGE: usize = 4096;
/// Connections at once; a further one waits.
const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// After an error of a socket it is tried again so much later.
const RETRY: Duration = Duration::from_millis(20);

/// A name server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Names {
    tasks: [JoinHandle<()>; 2],
}

impl Names {
    /// Starts it in a namespace, in front of `upstream`.
    ///
    /// # Errors
    /// Its port is taken there.
    pub fn start(ns: &NetNs, upstream: SocketAddr) -> io::Result<Self> {
        let bind = || -> io::Result<_> {
            let sockets = (
                BlockingUdp::bind((ADDRESS, PORT))?,
                BlockingUdp::bind((Ipv4Addr::UNSPECIFIED, 0))?,
                BlockingListener::bind((ADDRESS, PORT))?,
            );
            // A server that is gone is noticed at once where it is the only one that may answer.
            sockets.1.connect(upstream)?;
            Ok(sockets)
        };
        let (clients, server, listener) = ns.run(bind).map_err(io::Error::other)??;
        for socket in [&clients, &server] {
            socket.set_nonblocking(true)?;
        }
        listener.set_nonblocking(true)?;
        let udp = packets(UdpSocket::from_std(clients)?, UdpSocket::from_std(server)?);
        let tcp = connections(TcpListener::from_std(listener)?, ns.try_clone()?, upstream);
        Ok(Self { tasks: [tokio::spawn(udp), tokio::spawn(tcp)] })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Carries questions and answers.
async fn packets(clients: UdpSocket, server: UdpSocket) {
    let mut memory = Memory::default();
    let (mut question, mut answer) = (vec![0; MAX_MESSAGE], vec![0; MAX_MESSAGE]);
    loop {
        let deadline = memory.next_deadline();
        let actions = tokio::select! {
            received = clients.recv_from(&mut question) => match received {
                Ok((length, client)) => {
                    memory.asked(question.get(..length).unwrap_or_default(), client, Instant::now())
                }
                Err(_) => pause().await,
            },
            received = server.recv(&mut answer) => match received {
                Ok(length) => memory.answered(answer.get(..length).unwrap_or_default()).into_iter().collect(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => memory.refused(),
                Err(_) => pause().await,
            },
            () = at(deadline) => memory.expired(Instant::now()),
        };
        for action in actions {
            // A packet that is not sent is one that is lost: whoever asked asks again.
            let _ = match action {
                Action::Ask(message) => server.send(&message).await,
                Action::Tell(message, client) => clients.send_to(&message, client).await,
            };
        }
    }
}

async fn pause() -> Vec<Action> {
    tokio::time::sleep(RETRY).await;
    Vec::new()
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Long answers come over TCP, which is passed on as it is.
async fn connections(listener: TcpListener, ns: NetNs, upstream: SocketAddr) {
    let (ns, room) = (Arc::new(ns), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let ns = Arc::clone(&ns);
        tokio::spawn(async move {
            // Whoever asked sees its connection end and asks again.
            let _ = tokio::time::timeout(CONNECTION_TIME, relay(client, &ns, upstream)).await;
            drop(permit);
        });
    }
}

async fn relay(mut client: TcpStream, ns: &NetNs, upstream: SocketAddr) -> io::Result<()> {
    let mut server = super::place::connect_in(ns, upstream).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
