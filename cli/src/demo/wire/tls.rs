//! Enough of TLS to tell 1.3 from anything else: records, and the two hellos (RFC 8446 sections 4.1 and 5.1).

use std::fmt;

/// Longest record on the wire: 2^14 bytes, 256 for encryption (RFC 8446 section 5.2), 5 of head.
const MAX_RECORD: usize = (1 << 14) + 256 + HEAD;
const HEAD: usize = 5;
/// Content types.
const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
/// Handshake types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Extensions.
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const TLS13: u16 = 0x0304;

/// Which end of a connection sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who opened it.
    Client,
    /// Who accepted it.
    Server,
}

/// One direction of a connection, checked as it comes.
#[derive(Debug)]
pub struct Records {
    role: Role,
    buffer: Vec<u8>,
    /// The group of the key share in the server's hello.
    pub group: Option<u16>,
    hello: bool,
    /// Bytes of application data records.
    pub encrypted: u64,
}

/// Why bytes are not TLS 1.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTls13 {
    /// Not even a TLS record.
    NoRecord([u8; HEAD]),
    /// The first message is no hello.
    NoHello,
    /// A hello of an older version.
    Version,
    /// A record in plaintext after the hello.
    Plaintext(u8),
}

impl fmt::Display for NotTls13 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord(head) => {
                write!(f, "bytes that are no TLS record: {:?}", String::from_utf8_lossy(head))
            }
            Self::NoHello => f.write_str("a TLS record before the hello"),
            Self::Version => f.write_str("a hello without TLS 1.3"),
            Self::Plaintext(kind) => write!(f, "a plaintext record of type {kind} after the hello"),
        }
    }
}

impl Records {
    /// Nothing seen yet.
    pub fn new(role: Role) -> Self {
        Self { role, buffer: Vec::new(), group: None, hello: false, encrypted: 0 }
    }

    /// Whether the hello was there.
    pub fn greeted(&self) -> bool {
        self.hello
    }

    /// The next bytes.
    ///
    /// # Errors
    /// They are not TLS 1.3.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NotTls13> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(()) };
            let [kind, major, minor, high, low] = *head;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let known = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind);
            if !known || major != 3 || !(1..=3).contains(&minor) || length + HEAD > MAX_RECORD {
                return Err(NotTls13::NoRecord(*head));
            }
            let Some(content) = rest.get(..length) else { return Ok(()) };
            match (self.hello, kind) {
                (false, HANDSHAKE) => {
                    self.group = hello(self.role, content)?;
                    self.hello = true;
                }
                // A second hello is asked for in plaintext (section 4.1.4), and the old change of ciphers is faked.
                (true, HANDSHAKE) if matches!(content.first(), Some(&(CLIENT_HELLO | SERVER_HELLO))) => {}
                (_, CHANGE_CIPHER_SPEC) if content == [1] => {}
                (true, APPLICATION_DATA) => self.encrypted += length as u64,
                // An alert instead of a hello says why there is none.
                (_, ALERT) if length == 2 => {}
                (true, kind) => return Err(NotTls13::Plaintext(kind)),
                (false, _) => return Err(NotTls13::NoHello),
            }
            self.buffer.drain(..HEAD + length);
        }
    }
}

/// The group of the key share in a server's hello. A hello that needs a second record is none to this observer.
fn hello(role: Role, message: &[u8]) -> Result<Option<u16>, NotTls13> {
    let mut message = Reader(message);
    let expected = if role == Role::Client { CLIENT_HELLO } else { SERVER_HELLO };
    if message.u8() != Some(expected) {
        return Err(NotTls13::NoHello);
    }
    let body = message.u24().and_then(|length| message.take(length)).ok_or(NotTls13::NoHello)?;
    let extensions = || {
        let mut body = Reader(body);
        body.take(2 + 32)?;
        let session = body.u8()?;
        body.take(session.into())?;
        if role == Role::Client {
            let suites = body.u16()?;
            body.take(suites.into())?;
            let compression = body.u8()?;
            body.take(compression.into())?;
        } else {
            body.take(2 + 1)?;
        }
        let length = body.u16()?;
        body.take(length.into())
    };
    let mut extensions = Reader(extensions().ok_or(NotTls13::Version)?);
    let (mut version, mut group) = (false, None);
    while let (Some(kind), Some(length)) = (extensions.u16(), extensions.u16()) {
        let Some(value) = extensions.take(length.into()) else { break };
        let mut value = Reader(value);
        match (kind, role) {
            (SUPPORTED_VERSIONS, Role::Client) => {
                let list = value.u8().and_then(|length| value.take(length.into())).unwrap_or_default();
                version = list.chunks_exact(2).any(|version| version == TLS13.to_be_bytes());
            }
            (SUPPORTED_VERSIONS, Role::Server) => version = value.u16() == Some(TLS13),
            (KEY_SHARE, Role::Server) => group = value.u16(),
            _ => {}
        }
    }
    if version { Ok(group) } else { Err(NotTls13::Version) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u24(&mut self) -> Option<usize> {
        let (high, low) = (self.u8()?, self.u16()?);
        Some(usize::from(high) << 16 | usize::from(low))
    }
}

/// The name of a group (IANA "TLS Supported Groups").
pub fn group_name(group: u16) -> String {
    match group {
        0x11ec => "X25519MLKEM768".into(),
        0x11eb => "SecP256r1MLKEM768".into(),
        0x001d => "x25519".into(),
        0x0017 => "secp256r1".into(),
        0x0018 => "secp384r1".into(),
        other => format!("group {other:#06x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs, version};
    use std::sync::Arc;

    fn client_hello() -> Vec<u8> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]).unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), "shop".try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3, length[0], length[1]], content].concat()
    }

    /// A hello of the server with one supported version and a key share.
    fn server_hello(selected: u16) -> Vec<u8> {
        let extensions = [
            &SUPPORTED_VERSIONS.to_be_bytes()[..],
            &[0, 2],
            &selected.to_be_bytes(),
            &KEY_SHARE.to_be_bytes(),
            &[0, 5, 0x11, 0xec, 0, 1, 9],
        ]
        .concat();
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0x13, 0x01, 0]);
        body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&extensions);
        let mut message = vec![SERVER_HELLO, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend_from_slice(&body);
        record(HANDSHAKE, &message)
    }

    fn push(role: Role, bytes: &[u8], pieces: usize) -> Result<Records, NotTls13> {
        let mut records = Records::new(role);
        bytes.chunks(pieces).try_for_each(|piece| records.push(piece))?;
        Ok(records)
    }

    #[test]
    fn tls_1_3_is_known_however_it_is_cut() {
        let data = record(APPLICATION_DATA, b"secret");
        let client = [client_hello(), record(CHANGE_CIPHER_SPEC, &[1]), data.clone()].concat();
        let server = [server_hello(TLS13), record(CHANGE_CIPHER_SPEC, &[1]), data].concat();
        for pieces in [1, 3, 100, 10_000] {
            let seen = push(Role::Client, &client, pieces).unwrap();
            assert!(seen.greeted() && seen.encrypted == 6);
            let seen = push(Role::Server, &server, pieces).unwrap();
            assert_eq!((seen.group, seen.encrypted), (Some(0x11ec), 6));
        }
        assert_eq!(group_name(0x11ec), "X25519MLKEM768");
    }

    #[test]
    fn anything_else_is_not() {
        let wrong = |role, bytes: &[u8]| push(role, bytes, 1000).unwrap_err();
        assert_eq!(wrong(Role::Client, b"GET / HTTP/1.1\r\n"), NotTls13::NoRecord(*b"GET /"));
        let only_13 = [0, 43, 0, 3, 2, 3, 4];
        let mut older = client_hello();
        let at = older.windows(only_13.len()).position(|part| part == only_13).unwrap();
        older[at + 6] = 3;
        assert_eq!(wrong(Role::Client, &older), NotTls13::Version);
        assert_eq!(wrong(Role::Server, &server_hello(0x0303)), NotTls13::Version);
        assert_eq!(wrong(Role::Server, &client_hello()), NotTls13::NoHello);
        assert_eq!(wrong(Role::Client, &record(APPLICATION_DATA, b"early")), NotTls13::NoHello);
        let plain = [client_hello(), record(HANDSHAKE, &[11, 0, 0, 0])].concat();
        assert_eq!(wrong(Role::Client, &plain), NotTls13::Plaintext(HANDSHAKE));
    }
}
