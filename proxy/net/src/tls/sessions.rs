//! Sessions between our own proxies that are resumed: what a peer has proved counts for its next connections too.
//!
//! A resumed handshake makes new keys as a full one does (`psk_dhe_ke`, RFC 8446 section 2.2), but nobody signs and
//! nobody verifies, which is most of the cost that is left where the chain is remembered. What holds:
//!
//! - **Who resumes**: only who asks. Our clients ask for one ticket with each connection (RFC 9149) and our servers
//!   give tickets to nobody else, so a stock Linkerd proxy never sees one. A server that gives more tickets than it
//!   was asked for has not listened, so it is none of ours: its tickets are not kept.
//! - **How long**: a session ends with the memory of the chain that it began with, [`super::MAX_CHAIN_AGE`] after
//!   that chain was verified or when the first of its certificates expires. Resuming prolongs nothing: each ticket of
//!   the same session ends at the same time, on both sides, so everybody proves the possession of its key once a minute.
//! - **With what**: a server's tickets are sealed by keys of one [`super::Identity`], and a client keeps tickets in one,
//!   for one [`super::Target`]. Another certificate, other roots, another expected identity, server name or offer: the
//!   session is unknown and the handshake full. A client that showed no certificate gets no ticket, so a resumed
//!   client is always somebody. Policy is asked for each connection, resumed or not.
//! - **Where it is held**: in the ticket, sealed, not in the server. A server then holds nothing per client however many
//!   there are, any of its workers can resume what another began, and there is no table to fill. The price is that the
//!   client's chain, of which the identity is read again, travels in each ClientHello, some 1,300 bytes. That a
//!   ticket could be shown twice does no harm without early data, which is not allowed.
//! - **Bounds**: [`MAX_KEPT_TICKETS`], [`MAX_KEPT_TICKETS_PER_TARGET`], [`MAX_TICKET_LEN`].

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{
    ClientSessionStore, Resumption, TicketRequest, Tls12ClientSessionValue, Tls12Resumption,
    Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, Error, HandshakeKind, NamedGroup, ServerConfig};
use rustls_pki_types::ServerName;

use super::chains::MAX_CHAIN_AGE;
use super::identity::WallClock;

/// The most tickets that a worker's clients keep, for all servers together, each some 3 KiB with the server's chain.
/// The oldest goes first: its server will do a full handshake.
pub const MAX_KEPT_TICKETS: usize = 256;

/// The most tickets kept for one server: so many of its connections can begin at once and be resumed.
pub const MAX_KEPT_TICKETS_PER_TARGET: usize = 16;

/// The longest session that a server makes a ticket of, in bytes. It comes back in a ClientHello, which has to stay
/// below [`crate::detect::MAX_CLIENT_HELLO_LEN`]; nearly all of it is the client's chain.
pub const MAX_TICKET_LEN: usize = 4 * 1024;

/// What our clients ask for with each connection: one ticket, for the next one.
const ASKED_FOR: u8 = 1;

/// What is known of the session of one connection. The library calls the verifier, the ticketer and the store in the
/// middle of processing records and does not say for which connection: each connection lends this to its thread while
/// the library works for it.
#[derive(Clone, Copy, Default)]
pub(super) struct Session {
    /// Until when what the peer has proved may be relied on, in seconds since 1970, exclusive.
    proved: Option<u64>,
    /// The same of a session that one side would like to resume.
    offered: Option<u64>,
    /// Tickets that have come.
    tickets: u8,
}

thread_local! {
    static CURRENT: Cell<Session> = const {
        Cell::new(Session { proved: None, offered: None, tickets: 0 })
    };
}

impl Session {
    /// Lets the library work for the connection whose session this is.
    pub(super) fn with<T>(&mut self, work: impl FnOnce() -> T) -> T {
        CURRENT.set(*self);
        let result = work();
        *self = CURRENT.take();
        result
    }

    /// How the handshake goes on is known: an offer counts only if it was accepted.
    pub(super) fn settle(&mut self, kind: Option<HandshakeKind>) {
        if kind.is_some()
            && let Some(offered) = self.offered.take()
            && kind == Some(HandshakeKind::Resumed)
        {
            self.proved = Some(offered);
        }
    }
}

fn change(change: impl FnOnce(&mut Session)) {
    let mut session = CURRENT.get();
    change(&mut session);
    CURRENT.set(session);
}

/// The peer of the current connection has shown a chain that is good until then. That it has the key is
/// verified before the handshake ends, and before any ticket.
pub(super) fn proved(until: Option<u64>) {
    change(|session| session.proved = until);
}

// === servers ===

/// Seals sessions into tickets and opens them again, with keys that belong to one identity of the process.
#[derive(Debug)]
pub(super) struct Tickets {
    cipher: Arc<dyn ProducesTickets>,
    clock: WallClock,
}

impl Tickets {
    pub(super) fn new(clock: &WallClock) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { cipher: Ticketer::new()?, clock: clock.clone() }))
    }

    /// Lets the clients of a server have them, those that ask.
    pub(super) fn offer(self: &Arc<Self>, config: &mut ServerConfig) {
        config.ticketer = Arc::clone(self) as _;
        config.max_tls13_tickets = ASKED_FOR.into();
        debug_assert_eq!(config.send_tls13_tickets, 0, "none to who does not ask");
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(MAX_CHAIN_AGE.as_secs()).unwrap_or(u32::MAX)
    }

    /// The end of the session, then what the library wants to have again.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let until = CURRENT.get().proved?;
        if session.len() > MAX_TICKET_LEN {
            return None;
        }
        self.cipher.encrypt(&[&until.to_be_bytes(), session].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.cipher.decrypt(ticket)?;
        let until = u64::from_be_bytes(*plain.first_chunk()?);
        if self.clock.now().as_secs() >= until {
            return None;
        }
        change(|session| session.offered = Some(until));
        plain.drain(..size_of::<u64>());
        Some(plain)
    }
}

// === clients ===

/// The tickets that a worker's clients keep, in the order in which they came.
pub(super) struct Kept {
    clock: WallClock,
    next_target: AtomicU64,
    tickets: Mutex<VecDeque<KeptTicket>>,
}

struct KeptTicket {
    target: u64,
    until: u64,
    value: Tls13ClientSessionValue,
}

/// One target's part of them.
struct OfTarget {
    id: u64,
    kept: Arc<Kept>,
    /// It gave tickets that nobody asked for: no proxy of ours.
    stranger: AtomicBool,
}

impl Kept {
    pub(super) fn new(clock: &WallClock) -> Arc<Self> {
        Arc::new(Self { clock: clock.clone(), next_target: AtomicU64::new(0), tickets: Mutex::default() })
    }

    /// Lets connections with this configuration resume one another's sessions, and no others.
    pub(super) fn lend(self: &Arc<Self>, config: &mut ClientConfig) {
        let id = self.next_target.fetch_add(1, Ordering::Relaxed);
        let store = OfTarget { id, kept: Arc::clone(self), stranger: AtomicBool::new(false) };
        config.resumption = Resumption::store(Arc::new(store)).tls12_resumption(Tls12Resumption::Disabled);
        config.send_ticket_request =
            Some(TicketRequest { new_session_count: ASKED_FOR, resumption_count: ASKED_FOR });
    }

    /// How many there are, expired ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn change<T>(&self, change: impl FnOnce(&mut VecDeque<KeptTicket>) -> T) -> T {
        change(&mut self.tickets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sessions are not kept any longer: for clients that another shell drives.
pub(super) fn forgo(config: &mut ClientConfig) {
    config.resumption = Resumption::disabled();
    config.send_ticket_request = None;
}

impl OfTarget {
    fn keep(&self, until: u64, value: Tls13ClientSessionValue) {
        let now = self.kept.clock.now().as_secs();
        self.kept.change(|tickets| {
            tickets.retain(|ticket| now < ticket.until);
            let ours = |ticket: &KeptTicket| ticket.target == self.id;
            if tickets.iter().filter(|ticket| ours(ticket)).count() >= MAX_KEPT_TICKETS_PER_TARGET {
                let oldest = tickets.iter().position(ours);
                oldest.and_then(|at| tickets.remove(at));
            } else if tickets.len() >= MAX_KEPT_TICKETS {
                tickets.pop_front();
            }
            tickets.push_back(KeptTicket { target: self.id, until, value });
        });
    }
}

impl ClientSessionStore for OfTarget {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        change(|session| session.tickets = session.tickets.saturating_add(1));
        let session = CURRENT.get();
        if session.tickets > ASKED_FOR {
            self.stranger.store(true, Ordering::Relaxed);
            self.kept.change(|tickets| tickets.retain(|ticket| ticket.target != self.id));
        }
        if let Some(until) = session.proved
            && !self.stranger.load(Ordering::Relaxed)
        {
            self.keep(until, value);
        }
    }

    /// The newest, once: a ticket that is shown twice would tell an observer that two connections belong together.
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let now = self.kept.clock.now().as_secs();
        let ticket = self.kept.change(|tickets| {
            let at = tickets.iter().rposition(|ticket| ticket.target == self.id && now < ticket.until)?;
            tickets.remove(at)
        })?;
        change(|session| session.offered = Some(ticket.until));
        Some(ticket.value)
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

impl Drop for OfTarget {
    fn drop(&mut self) {
        self.kept.change(|tickets| tickets.retain(|ticket| ticket.target != self.id));
    }
}

impl fmt::Debug for OfTarget {
    /// Without the tickets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfTarget").field("id", &self.id).finish_non_exhaustive()
    }
}
