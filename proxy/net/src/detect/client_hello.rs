//! Reads a TLS ClientHello without a TLS implementation: enough to route by, nothing that is trusted.
//!
//! RFC 8446 section 4.1.2 (ClientHello) and 5.1 (records), RFC 6066 section 3 (SNI), RFC 7301 (ALPN).

/// The longest input, record headers included, in which a ClientHello is looked for. A longer one is not TLS for us,
/// as in Linkerd. One with a post-quantum key share has about 1,700 bytes.
pub const MAX_CLIENT_HELLO_LEN: usize = 8192;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const RECORD_HEADER_LEN: usize = 5;
const HANDSHAKE_HEADER_LEN: usize = 4;
/// RFC 8446 section 5.1.
const MAX_RECORD_LEN: usize = 1 << 14;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;
const NAME_TYPE_HOST: u8 = 0;
const VERSION_TLS13: u16 = 0x0304;

/// What a client says about itself before anything is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHelloFacts {
    /// The server's name that the client asks for, in lower case; at most 255 bytes of printable ASCII. `None` if it
    /// names none or something that cannot be a host name.
    pub sni: Option<Box<str>>,
    /// The protocols that it offers by ALPN, most wanted first.
    pub alpn: Vec<Box<[u8]>>,
    /// Whether it offers TLS 1.3.
    pub tls13: bool,
}

impl ClientHelloFacts {
    /// Whether the client offers `protocol`.
    #[must_use]
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|p| **p == *protocol)
    }
}

pub(super) enum Hello {
    NeedMore,
    Whole(ClientHelloFacts),
    NotTls,
}

/// Why reading stopped.
enum Stop {
    /// The input ends before the ClientHello does.
    Short,
    /// It is something else.
    Wrong,
}

pub(super) fn parse(bytes: &[u8]) -> Hello {
    let window = bytes.get(..MAX_CLIENT_HELLO_LEN).unwrap_or(bytes);
    match message(window) {
        Err(Stop::Short) if window.len() < MAX_CLIENT_HELLO_LEN => Hello::NeedMore,
        Err(_) => Hello::NotTls,
        Ok(body) => facts(&body).map_or(Hello::NotTls, Hello::Whole),
    }
}

/// The body of the first handshake message, put together from its records.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut rest = bytes;
    // The message so far, its header included. Usually one record has it all.
    let mut message = Vec::new();
    loop {
        let (payload, complete, after) = record(rest)?;
        message.extend_from_slice(payload);
        match message.get(..HANDSHAKE_HEADER_LEN) {
            Some(&[kind, a, b, c]) => {
                let len = u32::from_be_bytes([0, a, b, c]) as usize;
                let whole = HANDSHAKE_HEADER_LEN + len;
                if kind != HANDSHAKE_CLIENT_HELLO || RECORD_HEADER_LEN + whole > MAX_CLIENT_HELLO_LEN {
                    return Err(Stop::Wrong);
                }
                if let Some(body) = message.get(HANDSHAKE_HEADER_LEN..whole) {
                    return Ok(body.to_vec());
                }
            }
            _ => {
                if message.first().is_some_and(|kind| *kind != HANDSHAKE_CLIENT_HELLO) {
                    return Err(Stop::Wrong);
                }
            }
        }
        if !complete {
            return Err(Stop::Short);
        }
        rest = after;
    }
}

/// The payload of the record that `bytes` starts with as far as it is there, whether that is all of it, and the rest.
fn record(bytes: &[u8]) -> Result<(&[u8], bool, &[u8]), Stop> {
    if bytes.first().is_some_and(|kind| *kind != RECORD_HANDSHAKE)
        || bytes.get(1).is_some_and(|major| *major != 3)
        || bytes.get(2).is_some_and(|minor| *minor > 4)
    {
        return Err(Stop::Wrong);
    }
    let Some((&[_, _, _, hi, lo], rest)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>() else {
        return Err(Stop::Short);
    };
    let len = usize::from(u16::from_be_bytes([hi, lo]));
    if len == 0 || len > MAX_RECORD_LEN {
        return Err(Stop::Wrong);
    }
    Ok(match rest.split_at_checked(len) {
        Some((payload, after)) => (payload, true, after),
        None => (rest, false, &[]),
    })
}

/// The interesting parts of a ClientHello's body; `None` if its lengths contradict each other.
fn facts(body: &[u8]) -> Option<ClientHelloFacts> {
    let mut body = Cursor(body);
    body.take(2 + 32)?; // legacy version, random
    body.vec8()?; // legacy session id
    body.vec16()?; // cipher suites
    body.vec8()?; // legacy compression methods

    let mut facts = ClientHelloFacts::default();
    if body.0.is_empty() {
        return Some(facts); // TLS 1.2 and older allow no extensions at all
    }
    let mut extensions = Cursor(body.vec16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut data = Cursor(extensions.vec16()?);
        match kind {
            EXTENSION_SERVER_NAME => facts.sni = server_name(Cursor(data.vec16()?))?,
            EXTENSION_ALPN => facts.alpn = protocols(Cursor(data.vec16()?))?,
            EXTENSION_SUPPORTED_VERSIONS => facts.tls13 = offers_tls13(Cursor(data.vec8()?))?,
            _ => {}
        }
    }
    body.0.is_empty().then_some(facts)
}

/// The outer `Option`: well formed; the inner: a host name is there.
#[expect(clippy::option_option, reason = "the two mean different things and live for one call")]
fn server_name(mut list: Cursor<'_>) -> Option<Option<Box<str>>> {
    let mut host = None;
    while !list.0.is_empty() {
        if list.take(1)? != [NAME_TYPE_HOST] {
            // No other type was ever defined: how long its names are nobody knows, so the rest is not looked at, as by
            // the TLS library.
            break;
        }
        let name = list.vec16()?;
        host.get_or_insert(name);
    }
    Some(host.and_then(host_name))
}

fn host_name(name: &[u8]) -> Option<Box<str>> {
    // RFC 6066 section 3 has no trailing dot; some clients send one, which the TLS library takes off too.
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > 255 || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase().into_boxed_str())
}

fn protocols(mut list: Cursor<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(Box::from(list.vec8()?));
    }
    Some(protocols)
}

fn offers_tls13(mut list: Cursor<'_>) -> Option<bool> {
    let mut found = false;
    while !list.0.is_empty() {
        found |= list.u16()? == VERSION_TLS13;
    }
    Some(found)
}

/// A byte slice read from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}
