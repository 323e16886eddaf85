//! A netlink socket: requests out, acknowledgements and lists in.

use super::{
    Error,
    message::{self, ACK, DUMP, Message, Received},
};
use netlink_sys::{SocketAddr, protocols};
use std::{io, time::Duration};

/// How long the kernel may take to answer. It answers inside the system call that asks, or hardly later.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Send and receive buffers asked for, bytes: the largest an unprivileged process gets on a stock kernel. It counts
/// twice, for the kernel's own bookkeeping.
const BUFFER: usize = 212_992;
/// The longest request, bytes. A batch is one datagram, so this bounds the rules of one table.
pub(super) const MAX_REQUEST: usize = 384 << 10;
/// The longest answer, bytes.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// How often a list that changed under our hands is read again.
const LIST_ATTEMPTS: usize = 5;

const ENOBUFS: i32 = 105;

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// rtnetlink: links, addresses, routes.
    Route,
    /// nfnetlink: nf_tables.
    Netfilter,
}

/// A netlink socket in the network namespace its thread was in when it was opened.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    seq: u32,
}

/// An object of a list: its message type, and its fixed part with its attributes.
pub(crate) type Object = (u16, Vec<u8>);

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        let protocol = match protocol {
            Protocol::Route => protocols::NETLINK_ROUTE,
            Protocol::Netfilter => protocols::NETLINK_NETFILTER,
        };
        let mut inner = netlink_sys::Socket::new(protocol).map_err(Error::Open)?;
        inner.bind_auto().map_err(Error::Open)?;
        // Kernels before 4.12 lack it: errors are then numbers only.
        let _ = inner.set_ext_ack(true);
        let _ = inner.set_cap_ack(true);
        let options = socket2::SockRef::from(&inner);
        options.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(Error::Open)?;
        options.set_send_buffer_size(BUFFER).map_err(Error::Open)?;
        options.set_recv_buffer_size(BUFFER).map_err(Error::Open)?;
        Ok(Self { inner, seq: 0 })
    }

    /// Sends one request and waits until it is done. Objects sent back with it are returned.
    pub fn request(&mut self, message: &Message) -> Result<Vec<Object>, Error> {
        let message = Message { flags: message.flags | ACK, ..message.clone() };
        let first = self.send(std::slice::from_ref(&message))?;
        self.collect(first, &message.action).map(|(objects, _)| objects)
    }

    /// Lists what `message` asks for, from a consistent state of the kernel's tables.
    pub fn list(&mut self, message: &Message) -> Result<Vec<Object>, Error> {
        let message = Message { flags: message.flags | DUMP, ..message.clone() };
        for _ in 0..LIST_ATTEMPTS {
            let first = self.send(std::slice::from_ref(&message))?;
            if let (objects, false) = self.collect(first, &message.action)? {
                return Ok(objects);
            }
        }
        Err(Error::Changing { action: message.action })
    }

    /// Sends several messages in one datagram and waits until the last is done or one is refused.
    ///
    /// Only the last one asks for an acknowledgement: nfnetlink reports refusals without being asked, and a thousand
    /// acknowledgements would not fit the receive buffer. `skip` is how many messages at the end stay silent (the
    /// end mark of a batch).
    pub fn batch(&mut self, messages: &[Message], skip: usize) -> Result<(), Error> {
        let mut messages = messages.to_vec();
        let Some(last) = messages.len().checked_sub(skip + 1) else { return Ok(()) };
        let mut action = String::new();
        if let Some(message) = messages.get_mut(last) {
            message.flags |= ACK;
            action.clone_from(&message.action);
        }
        let first = self.send(&messages)?;
        let last = first.wrapping_add(u32::try_from(last).unwrap_or(u32::MAX));
        loop {
            let bytes = self.receive(&action)?;
            for received in
                message::parse(&bytes).map_err(|source| Error::Answer { action: action.clone(), source })?
            {
                match received {
                    Received::Refused { seq, errno, kernel } => {
                        let at = usize::try_from(seq.wrapping_sub(first)).unwrap_or(usize::MAX);
                        // An answer to an older request on this socket says nothing about this one.
                        if let Some(message) = messages.get(at) {
                            return Err(refused(&message.action, errno, kernel));
                        }
                    }
                    Received::Done { seq } if seq == last => return Ok(()),
                    Received::Done { .. } | Received::Object { .. } => {}
                }
            }
        }
    }

    fn send(&mut self, messages: &[Message]) -> Result<u32, Error> {
        let first = self.seq.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.seq = self.seq.wrapping_add(1);
            bytes.extend(message.encode(self.seq));
            if message.attrs.overflowed() || bytes.len() > MAX_REQUEST {
                let action = message.action.clone();
                return Err(Error::TooLarge { what: "request", action, limit: MAX_REQUEST });
            }
        }
        self.inner.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(|source| {
            let action = messages.last().map(|m| m.action.clone()).unwrap_or_default();
            Error::Send { action, source }
        })?;
        Ok(first)
    }

    /// Reads until the request is done. The second value says whether the list is torn.
    fn collect(&mut self, wanted: u32, action: &str) -> Result<(Vec<Object>, bool), Error> {
        let (mut objects, mut torn, mut size) = (Vec::new(), false, 0);
        loop {
            let bytes = self.receive(action)?;
            size += bytes.len();
            if size > MAX_ANSWER {
                return Err(Error::TooLarge { what: "answer", action: action.into(), limit: MAX_ANSWER });
            }
            for received in
                message::parse(&bytes).map_err(|source| Error::Answer { action: action.into(), source })?
            {
                match received {
                    Received::Done { seq } if seq == wanted => return Ok((objects, torn)),
                    Received::Refused { seq, errno, kernel } if seq == wanted => {
                        return Err(refused(action, errno, kernel));
                    }
                    Received::Object { seq, kind, interrupted, payload } if seq == wanted => {
                        torn |= interrupted;
                        objects.push((kind, payload.to_vec()));
                    }
                    // Left over from a request that was given up.
                    _ => {}
                }
            }
        }
    }

    fn receive(&self, action: &str) -> Result<Vec<u8>, Error> {
        loop {
            match self.inner.recv_from_full() {
                Ok((bytes, from)) if from.port_number() == 0 => return Ok(bytes),
                // Another process may send to this socket: only the kernel's word counts.
                Ok(_) => {}
                // Some refusals did not fit; those that did are still in the queue, the first one among them.
                Err(e) if e.raw_os_error() == Some(ENOBUFS) || e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Receive { action: action.to_owned(), source }),
            }
        }
    }
}

fn refused(action: &str, errno: i32, kernel: Option<String>) -> Error {
    Error::Refused { action: action.to_owned(), kernel, source: io::Error::from_raw_os_error(errno) }
}
