//! As much of the protobuf wire format as the header needs.

use super::TransportHeaderError;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// Reads the fields of one message in order.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's value.
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width, which no field of ours has.
    Fixed,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, TransportHeaderError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| *number != 0)
            .ok_or(TransportHeaderError::Malformed("field number"))?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Varint(self.varint()?),
            LEN => {
                let len =
                    usize::try_from(self.varint()?).map_err(|_| TransportHeaderError::Malformed("length"))?;
                Value::Bytes(self.take(len)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            // Groups (3, 4) are long gone from protobuf; 6 and 7 never were.
            _ => return Err(TransportHeaderError::Malformed("wire type")),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TransportHeaderError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(TransportHeaderError::Malformed("length passes the end"))?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, TransportHeaderError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) =
                self.rest.split_first().ok_or(TransportHeaderError::Malformed("number cut short"))?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TransportHeaderError::Malformed("number too long"))
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    put_number(out, u64::from(number) << 3 | u64::from(VARINT));
    put_number(out, value);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_number(out, u64::from(number) << 3 | u64::from(LEN));
    put_number(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
