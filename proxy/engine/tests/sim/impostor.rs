//! Peers that say to be a proxy of the mesh, and are not, or behave as if they were not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_net::tls::{Identity, Offer, TlsConn};

use crate::book::Book;
use crate::net::{Net, Read};
use crate::pki::pki;

/// How many there are: `10.6.0.1` and so on.
pub(crate) const IMPOSTORS: u8 = 8;

/// A server that is not whom clients ask for.
pub(crate) struct Impostor {
    sock: usize,
    tls: Option<TlsConn>,
    /// Says this instead of a handshake.
    says: Option<&'static [u8]>,
    output: Vec<u8>,
    leaves: bool,
    pub(crate) gone: bool,
}

/// Its number, if an address is an impostor's.
pub(crate) fn number(at: SocketAddr) -> Option<u8> {
    match at.ip() {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 6, 0] => Some(ip.octets()[3]),
        _ => None,
    }
}

impl Impostor {
    pub(crate) fn new(sock: usize, number: u8) -> Self {
        let server = |identity: &Arc<Identity>| TlsConn::server(identity, Offer::Tagged).ok();
        let (tls, says, leaves): (_, Option<&'static [u8]>, _) = match number {
            1 => (server(&pki().forged), None, false),
            2 => (server(&pki().expired), None, false),
            3 => (server(&pki().stranger), None, false),
            // Takes everything and says nothing.
            4 => (None, None, false),
            5 => (None, Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), false),
            6 => (None, None, true),
            // The beginning of a record, and no more.
            _ => (None, Some(b"\x16\x03\x03\x40\x00\x02"), false),
        };
        Self { sock, tls, says, output: Vec::new(), leaves, gone: false }
    }

    pub(crate) fn step(&mut self, net: &mut Net, book: &mut Book) -> bool {
        if self.gone {
            return false;
        }
        if self.leaves {
            return self.leave(net);
        }
        if let Some(says) = self.says.take() {
            self.output.extend_from_slice(says);
        }
        let mut moved = false;
        if net.readable(self.sock) {
            let mut buf = [0; 8_000];
            match net.read(self.sock, &mut buf) {
                Read::Data(n) => {
                    moved = true;
                    self.receive(&buf[..n], book);
                }
                Read::End | Read::Reset => return self.leave(net),
                Read::Nothing => {}
            }
        }
        while !self.output.is_empty() {
            match net.write(self.sock, &self.output) {
                None => return self.leave(net),
                Some(0) => return moved,
                Some(n) => {
                    self.output.drain(..n);
                    moved = true;
                }
            }
        }
        moved
    }

    fn receive(&mut self, bytes: &[u8], book: &mut Book) {
        let Some(tls) = &mut self.tls else { return };
        let mut plain = Vec::new();
        let failed = tls.receive(bytes, &mut plain).is_err();
        tls.take_ciphertext(&mut self.output);
        if !plain.is_empty() {
            book.wrong(format!("an impostor was told {} bytes", plain.len()));
        }
        if failed {
            self.tls = None;
        }
    }

    fn leave(&mut self, net: &mut Net) -> bool {
        self.gone = true;
        net.close(self.sock);
        true
    }
}
