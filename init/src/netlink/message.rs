//! Messages: a header of sixteen bytes, a fixed part of the protocol's own, attributes.

use super::attr::{self, Attrs, Malformed, align};

const HEADER: usize = 16;

/// Flag: this is a request.
pub const REQUEST: u16 = 0x01;
/// Flag: acknowledge, also when all went well.
pub const ACK: u16 = 0x04;
/// Flag: list everything.
pub const DUMP: u16 = 0x300;
/// Flag: make it if it is not there.
pub const CREATE: u16 = 0x400;
/// Flag: fail if it is there.
pub const EXCLUSIVE: u16 = 0x200;
/// Flag: put it at the end.
pub const APPEND: u16 = 0x800;

/// Type of an acknowledgement or a refusal.
const ERROR: u16 = 2;
/// Type of the end of a list.
const DONE: u16 = 3;
/// Flag on a list: it changed while it was sent.
const DUMP_INTERRUPTED: u16 = 0x10;
/// Flag on an acknowledgement: only the header of the request follows.
const CAPPED: u16 = 0x100;
/// Flag on an acknowledgement: attributes follow.
const ACK_ATTRS: u16 = 0x200;
/// Attribute of an acknowledgement: a sentence.
const ACK_MESSAGE: u16 = 1;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message type, the subsystem in the high byte for nfnetlink.
    pub kind: u16,
    /// `REQUEST` is added when it is encoded.
    pub flags: u16,
    /// The protocol's fixed part (nfgenmsg, ifinfomsg, …).
    pub header: Vec<u8>,
    /// What follows it.
    pub attrs: Attrs,
    /// What it asks for, for errors: "add chain inbound".
    pub action: String,
}

/// What the kernel sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The request of this sequence number was done.
    Done {
        /// The request's number.
        seq: u32,
    },
    /// It was refused.
    Refused {
        /// The request's number.
        seq: u32,
        /// Error number, positive.
        errno: i32,
        /// The kernel's sentence.
        kernel: Option<String>,
    },
    /// An object of a list or an answer.
    Object {
        /// The request's number.
        seq: u32,
        /// Message type.
        kind: u16,
        /// The list it belongs to is not consistent.
        interrupted: bool,
        /// The fixed part and the attributes.
        payload: &'a [u8],
    },
}

// === impl Message ===

impl Message {
    /// The message's bytes with this sequence number.
    pub fn encode(&self, seq: u32) -> Vec<u8> {
        let header = align(self.header.len());
        let length = HEADER + header + self.attrs.as_bytes().len();
        let mut out = Vec::with_capacity(length);
        // Longer than 4 GiB cannot be: the socket refuses requests far below.
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | REQUEST).to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.header);
        out.resize(HEADER + header, 0);
        out.extend_from_slice(self.attrs.as_bytes());
        out
    }
}

/// Splits a datagram of the kernel into messages.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<Received<'_>>, Malformed> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let wrong = |length| Malformed::Length { length, available: bytes.len() };
        let header = bytes.first_chunk::<HEADER>().ok_or_else(|| wrong(HEADER))?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let kind = u16::from_ne_bytes([k0, k1]);
        let flags = u16::from_ne_bytes([f0, f1]);
        let seq = u32::from_ne_bytes([s0, s1, s2, s3]);
        let payload = bytes.get(HEADER..length).ok_or_else(|| wrong(length))?;
        messages.push(match kind {
            ERROR => acknowledgement(seq, flags, payload)?,
            DONE => done(seq, payload),
            _ => Received::Object { seq, kind, interrupted: flags & DUMP_INTERRUPTED != 0, payload },
        });
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    Ok(messages)
}

fn acknowledgement(seq: u32, flags: u16, payload: &[u8]) -> Result<Received<'_>, Malformed> {
    let wrong = |length| Malformed::Length { length, available: payload.len() };
    let (code, request) = payload.split_first_chunk::<4>().ok_or_else(|| wrong(4))?;
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(Received::Done { seq });
    }
    let mut kernel = None;
    if flags & ACK_ATTRS != 0 {
        let quoted = match request.first_chunk::<4>() {
            Some(length) if flags & CAPPED == 0 => u32::from_ne_bytes(*length) as usize,
            _ => HEADER,
        };
        let attrs = request.get(align(quoted)..).ok_or_else(|| wrong(quoted))?;
        kernel =
            attr::find(&attr::parse(attrs)?, ACK_MESSAGE).and_then(|a| a.as_str().ok().map(str::to_owned));
    }
    Ok(Received::Refused { seq, errno: code.saturating_abs(), kernel })
}

/// The end of a list; it carries an error number when the list broke off.
fn done(seq: u32, payload: &[u8]) -> Received<'_> {
    match payload.first_chunk::<4>().map(|c| i32::from_ne_bytes(*c)) {
        Some(code) if code < 0 => Received::Refused { seq, errno: code.saturating_abs(), kernel: None },
        _ => Received::Done { seq },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(kind: u16, flags: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&flags.to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
        out.resize(align(out.len()), 0);
        out
    }

    #[test]
    fn acknowledgements() {
        let request = raw(0x0a06, 5, 3, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let with = |code: i32, rest: &[u8]| {
            let mut p = code.to_ne_bytes().to_vec();
            p.extend_from_slice(rest);
            p
        };
        let sentence = Attrs::new().str(ACK_MESSAGE, "No such thing");
        let refused =
            |kernel: Option<&str>| Received::Refused { seq: 3, errno: 2, kernel: kernel.map(Into::into) };
        for (flags, payload, expect) in [
            (0, with(0, &request), Received::Done { seq: 3 }),
            (0, with(-2, &request), refused(None)),
            (
                ACK_ATTRS,
                with(-2, &[&request[..], sentence.as_bytes()].concat()),
                refused(Some("No such thing")),
            ),
            (
                ACK_ATTRS | CAPPED,
                with(-2, &[&request[..HEADER], sentence.as_bytes()].concat()),
                refused(Some("No such thing")),
            ),
        ] {
            assert_eq!(parse(&raw(ERROR, flags, 3, &payload)), Ok(vec![expect]));
        }
        assert!(parse(&raw(ERROR, 0, 3, &[0, 0])).is_err());
        assert!(
            parse(&raw(ERROR, ACK_ATTRS, 3, &with(-2, &[200, 0, 0, 0]))).is_err(),
            "a request past the end"
        );
    }

    #[test]
    fn lists() {
        let mut bytes = raw(0x0a00, 2, 7, &[1, 0, 0, 0]);
        bytes.extend(raw(0x0a00, 2 | DUMP_INTERRUPTED, 7, &[]));
        bytes.extend(raw(DONE, 2, 7, &0i32.to_ne_bytes()));
        bytes.extend(raw(DONE, 2, 8, &(-4i32).to_ne_bytes()));
        assert_eq!(
            parse(&bytes).unwrap(),
            [
                Received::Object { seq: 7, kind: 0x0a00, interrupted: false, payload: &[1, 0, 0, 0] },
                Received::Object { seq: 7, kind: 0x0a00, interrupted: true, payload: &[] },
                Received::Done { seq: 7 },
                Received::Refused { seq: 8, errno: 4, kernel: None },
            ]
        );
    }

    #[test]
    fn encoding() {
        let m = Message {
            kind: 0x0a06,
            flags: ACK,
            header: vec![1, 0, 0, 0],
            attrs: Attrs::new().str(1, "t"),
            action: "test".into(),
        };
        let bytes = m.encode(5);
        assert_eq!(
            parse(&bytes).unwrap(),
            [Received::Object {
                seq: 5,
                kind: 0x0a06,
                interrupted: false,
                payload: &[1, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0]
            }]
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn parsing_an_acknowledgement_never_panics(flags in any::<u16>(), payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&raw(ERROR, flags, 1, &payload));
        }
    }
}
