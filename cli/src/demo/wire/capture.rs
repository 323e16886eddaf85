//! Reads frames from every link of the bridge's namespace: packet(7).

use super::flows::{Findings, Wire};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, Read},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use weft_init::NetNs;

/// Every protocol (ETH_P_ALL).
const ALL: u16 = 3;
/// Largest frame: the kernel passes on up to 64 KiB in one piece between namespaces.
const MAX_FRAME: usize = 128 << 10;
/// Bytes the kernel may hold for us; it gives what it allows.
const BUFFER: usize = 8 << 20;
/// How long a read may take, so that the thread sees that it should end.
const READ: Duration = Duration::from_millis(100);

/// A capture that runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Capture {
    wire: Arc<Mutex<Wire>>,
    stop: Arc<AtomicBool>,
}

impl Capture {
    /// Starts it in a namespace.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing, or no thread can be had.
    pub fn start(ns: &NetNs, wire: Wire) -> io::Result<Self> {
        // A packet socket of a protocol is bound to all links.
        let open = || Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL.to_be()))));
        let mut socket = ns.run(open).map_err(io::Error::other)??;
        // As much as there is: less means gaps that are counted.
        let _ = socket.set_recv_buffer_size(BUFFER);
        socket.set_read_timeout(Some(READ))?;
        let wire = Arc::new(Mutex::new(wire));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, ended) = (Arc::clone(&wire), Arc::clone(&stop));
        thread::Builder::new().name("capture".into()).spawn(move || {
            let mut buffer = vec![0; MAX_FRAME];
            while !ended.load(Ordering::Relaxed) {
                // Time-outs are how the end is noticed.
                if let Ok(length) = socket.read(&mut buffer)
                    && let Some(frame) = buffer.get(..length)
                {
                    theirs.lock().unwrap_or_else(PoisonError::into_inner).frame(frame);
                }
            }
        })?;
        Ok(Self { wire, stop })
    }

    /// Watches another workload too.
    pub fn add(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).add(addresses);
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).findings()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
