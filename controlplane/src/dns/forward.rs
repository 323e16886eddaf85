//! Passing a query on to resolvers that know more.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use super::answer::{HEADER, Transport};
use crate::metrics::DnsMetrics;

/// The most queries that wait for an upstream resolver: 256. A further one is answered SERVFAIL at once.
pub const MAX_FORWARDED: usize = 256;

/// How long one upstream resolver has to answer: 2 s.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer taken from an upstream resolver in a packet.
const MAX_ANSWER: usize = 4096;

/// Passes queries on.
#[derive(Clone, Debug)]
pub struct Forwarder {
    upstreams: Arc<[SocketAddr]>,
    timeout: Duration,
    permits: Arc<Semaphore>,
}

/// Why a query was not answered by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForwarded {
    /// There is nobody to ask.
    NoUpstream,
    /// Too many wait already, or nobody answered in time.
    Failed,
}

impl Forwarder {
    /// Asks these resolvers, in order, until one answers.
    #[must_use]
    pub fn new(upstreams: Vec<SocketAddr>, timeout: Duration) -> Self {
        Self { upstreams: upstreams.into(), timeout, permits: Arc::new(Semaphore::new(MAX_FORWARDED)) }
    }

    /// Passes a query on and gives the answer, with the query's own id.
    ///
    /// # Errors
    /// See [`NotForwarded`].
    pub async fn forward(
        &self,
        query: &[u8],
        transport: Transport,
        metrics: &DnsMetrics,
    ) -> Result<Vec<u8>, NotForwarded> {
        if self.upstreams.is_empty() {
            return Err(NotForwarded::NoUpstream);
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            metrics.refused.increment();
            return Err(NotForwarded::Failed);
        };
        let _waiting = metrics.waiting.count();
        for upstream in &*self.upstreams {
            let asked = match transport {
                Transport::Udp => timeout(self.timeout, ask_udp(*upstream, query)).await,
                Transport::Tcp => timeout(self.timeout, ask_tcp(*upstream, query)).await,
            };
            match asked {
                Ok(Ok(answer)) => {
                    metrics.forwarded.increment();
                    return Ok(answer);
                }
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "an upstream resolver cannot be asked"),
                Err(_) => tracing::debug!(%upstream, "an upstream resolver does not answer"),
            }
        }
        metrics.upstream_failed.increment();
        Err(NotForwarded::Failed)
    }
}

/// Asks in a packet: from a port of its own, with a random id, and takes nothing but the answer to this question.
async fn ask_udp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let own: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(upstream).await?;
    let asked = with_id(query, random_id()?);
    socket.send(&asked).await?;
    let mut buffer = vec![0; MAX_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if is_answer(answer, &asked) {
            return Ok(restored(answer, query));
        }
    }
}

async fn ask_tcp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    match is_answer(&answer, query) {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question")),
    }
}

fn random_id() -> io::Result<[u8; 2]> {
    let mut id = [0; 2];
    getrandom::fill(&mut id)?;
    Ok(id)
}

fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(own) = message.get_mut(..2) {
        own.copy_from_slice(&id);
    }
    message
}

fn restored(answer: &[u8], query: &[u8]) -> Vec<u8> {
    match query.get(..2) {
        Some(&[high, low]) => with_id(answer, [high, low]),
        _ => answer.to_vec(),
    }
}

/// Whether a message answers this query: a response with its id and its question.
fn is_answer(answer: &[u8], query: &[u8]) -> bool {
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let question = question(query);
    is_response
        && answer.get(..2) == query.get(..2)
        && answer
            .get(HEADER..HEADER + question.len())
            .is_some_and(|theirs| theirs.eq_ignore_ascii_case(question))
}

/// The bytes of the first question (RFC 1035 section 4.1.2): labels, type, class.
fn question(query: &[u8]) -> &[u8] {
    let mut end = HEADER;
    while let Some(length) = query.get(end) {
        end += usize::from(*length) + 1;
        if *length == 0 {
            break;
        }
    }
    query.get(HEADER..end + 4).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let query =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01extra";
        let answer = |id: &[u8; 2], flags: u8, name: &[u8]| {
            [id.as_slice(), &[flags, 0], &[0, 1, 0, 0, 0, 0, 0, 0], name, b"\x00\x01\x00\x01rest"].concat()
        };
        for (answer, good) in [
            (answer(b"\x12\x34", 0x81, b"\x07example\x03com\x00"), true),
            (answer(b"\x12\x34", 0x81, b"\x07ExAmPle\x03com\x00"), true),
            (answer(b"\x12\x35", 0x81, b"\x07example\x03com\x00"), false),
            (answer(b"\x12\x34", 0x01, b"\x07example\x03com\x00"), false),
            (answer(b"\x12\x34", 0x81, b"\x07evil..!\x03com\x00"), false),
            (Vec::new(), false),
            (b"\x12\x34\x81".to_vec(), false),
        ] {
            assert_eq!(is_answer(&answer, query), good, "{answer:?}");
        }
    }
}
