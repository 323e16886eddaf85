//! A worker in words: what lives in it and what each waits for. For whoever looks at one that is stuck.

use std::fmt;

use crate::conn::{Conn, Security, Stage};
use crate::exchange::Exchange;
use crate::pool::Endpoint;
use crate::worker::Worker;

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "worker at {:?}, {} bytes buffered, draining: {:?}",
            self.now, self.buffered, self.draining
        )?;
        for (id, conn) in self.conns.iter() {
            writeln!(f, "  connection {id:?}: {conn:?}")?;
        }
        for (id, exchange) in self.exchanges.iter() {
            writeln!(f, "  exchange {id:?}: {exchange:?}")?;
        }
        for (id, endpoint) in self.endpoints.iter() {
            writeln!(f, "  endpoint {id:?}: {endpoint:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = matches!(self.security, Security::Tls(_));
        let socket = self.socket.0;
        write!(f, "socket {socket} {:?} tls={tls} {:?}", self.side, self.stage)?;
        write!(f, " input={} output={} paused={}", self.input.len(), self.pending(), self.paused)?;
        write!(f, " ended={} after={:?} interest={:?}", self.ended, self.after, self.told())?;
        write!(f, " deadline={:?}", self.deadline)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(accept) => write!(f, "accept {accept:?}"),
            Self::Dial(dial) => write!(f, "dial for {:?}, connecting={}", dial.purpose, dial.connecting),
            Self::Http1Server(s) => {
                write!(
                    f,
                    "http/1 client, exchange={:?} content={} keep={}",
                    s.exchange,
                    s.in_content(),
                    s.keep
                )
            }
            Self::Http1Client(c) => {
                write!(f, "http/1 server, exchange={:?} content={}", c.exchange, c.in_content())
            }
            Self::Http2(h) => {
                let (role, streams) = (h.connection.role(), h.connection.open_streams());
                write!(f, "http/2 as {role:?}, {streams} streams, {} stalled", h.stalled.len())
            }
            Self::Relay(relay) => write!(f, "relay to {:?}", relay.peer),
            Self::Discard(left) => write!(f, "discard up to {left}"),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} from {:?} to {:?}", self.side, self.method, self.down, self.up)?;
        write!(f, " by {:?}, request {:?}, response {:?}", self.endpoint, self.request, self.response)?;
        write!(f, " head sent={} deadline={:?}", self.head_sent, self.next_deadline())
    }
}

impl fmt::Debug for crate::content::Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(held={} ended={} sent={})", self.held(), self.ended, self.sent)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} connections={}", self.side, self.target, self.connections)?;
        write!(f, " waiting={} retired={}", self.waiting.len(), self.retired)
    }
}
