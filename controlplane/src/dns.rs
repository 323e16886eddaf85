//! DNS for services: the names of the mesh answered here, all others passed on.
//!
//! UDP and TCP on one address. [`zone`] says what a name means, [`mod@answer`] turns a query into an answer, both pure;
//! [`forward`] asks upstream resolvers; here are the sockets. Queries that can be answered are answered where they are
//! read; one that is passed on is a task of its own, of which there is a bounded number.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::{sleep, timeout},
};
use weft_model::Mesh;

pub mod answer;
pub mod forward;
pub mod zone;

#[cfg(test)]
mod tests;

use self::{
    answer::{Action, Transport, answer, with_code},
    forward::{Forwarder, NotForwarded},
    zone::Zone,
};
use crate::{
    grpc::watch::{Stopping, stopped},
    metrics::Metrics,
};

/// The largest query taken in a packet.
const MAX_QUERY: usize = 4096;

/// The most DNS connections: 64. A further one is closed at once.
pub const MAX_CONNECTIONS: usize = 64;

/// A DNS connection on which no query comes for this long is closed: 10 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// After an error of a socket it is tried again this much later: 100 ms.
const RETRY: Duration = Duration::from_millis(100);

/// How often a free port is looked for that both UDP and TCP can have.
const PORT_TRIES: usize = 16;

/// Both sockets on one address. With port 0, on a port that is free for both.
///
/// # Errors
/// The address cannot be had.
pub async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = 1..=PORT_TRIES;
    loop {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        match UdpSocket::bind(bound).await {
            Ok(socket) => return Ok((socket, listener, bound)),
            // A free port was asked for, and this one is free for TCP only.
            Err(_) if address.port() == 0 && tries.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers DNS.
#[derive(Clone)]
pub struct Server {
    /// Facts.
    pub mesh: Mesh,
    /// The names that are answered here.
    pub zone: Arc<Zone>,
    /// Who is asked for others.
    pub forwarder: Forwarder,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Becomes true when the control plane stops.
    pub stopping: Stopping,
}

impl Server {
    /// Answers packets until the control plane stops.
    pub async fn run_udp(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut stopping = self.stopping.clone();
        let mut buffer = vec![0; MAX_QUERY];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = stopped(&mut stopping) => return,
            };
            let (length, client) = match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "a DNS packet could not be received");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let query = buffer.get(..length).unwrap_or_default();
            match self.decide(query, client.ip(), Transport::Udp) {
                Action::Reply(reply) => send(&socket, &reply, client).await,
                Action::Forward(reply) => {
                    let (this, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    tokio::spawn(async move {
                        let reply = this.forward(&query, reply, Transport::Udp).await;
                        send(&socket, &reply, client).await;
                    });
                }
                Action::Drop => {}
            }
        }
    }

    /// Answers connections until the control plane stops.
    pub async fn run_tcp(self, listener: TcpListener) {
        let mut stopping = self.stopping.clone();
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stopping) => return,
            };
            match accepted {
                Ok((stream, client)) => {
                    let Ok(permit) = connections.clone().try_acquire_owned() else {
                        self.metrics.dns.refused.increment();
                        continue;
                    };
                    let this = self.clone();
                    tokio::spawn(async move {
                        let mut stopping = this.stopping.clone();
                        tokio::select! {
                            ended = this.connection(stream, client.ip()) => {
                                if let Err(error) = ended {
                                    tracing::debug!(%client, %error, "a DNS connection ended");
                                }
                            }
                            () = stopped(&mut stopping) => {}
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a DNS connection could not be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream, client: IpAddr) -> io::Result<()> {
        loop {
            let query = match timeout(IDLE_TIMEOUT, read(&mut stream)).await {
                Ok(Ok(query)) => query,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            let reply = match self.decide(&query, client, Transport::Tcp) {
                Action::Reply(reply) => reply,
                Action::Forward(reply) => self.forward(&query, reply, Transport::Tcp).await,
                Action::Drop => return Ok(()),
            };
            let length = u16::try_from(reply.len()).unwrap_or(0);
            let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
            timeout(IDLE_TIMEOUT, stream.write_all(&framed)).await??;
        }
    }

    fn decide(&self, query: &[u8], client: IpAddr, transport: Transport) -> Action {
        let client = client.to_canonical();
        let action = self.mesh.read(|mesh| answer(query, client, transport, &self.zone, mesh.facts()));
        match &action {
            Action::Reply(_) => self.metrics.dns.answered.increment(),
            Action::Drop => self.metrics.dns.malformed.increment(),
            // Counted by what becomes of it.
            Action::Forward(_) => {}
        }
        action
    }

    /// The upstream's answer, or `reply` when there is none.
    async fn forward(&self, query: &[u8], reply: Vec<u8>, transport: Transport) -> Vec<u8> {
        match self.forwarder.forward(query, transport, &self.metrics.dns).await {
            Ok(answer) => answer,
            Err(NotForwarded::NoUpstream) => {
                self.metrics.dns.answered.increment();
                with_code(&reply, ResponseCode::NXDomain)
            }
            Err(NotForwarded::Failed) => reply,
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut query = vec![0; usize::from(length)];
    stream.read_exact(&mut query).await?;
    Ok(query)
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%client, %error, "a DNS answer could not be sent");
    }
}
