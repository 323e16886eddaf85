//! gRPC as the price service speaks it: messages, their framing, statuses in trailers.
//!
//! Written on plain HTTP/2 so that the mesh meets a peer with another implementation than its own. Framing is that of the
//! gRPC protocol description ("Length-Prefixed-Message"): one byte for compression, four for the length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prost::Message;

/// Path of the unary call.
pub const QUOTE: &str = "/weft.demo.Prices/Quote";
/// Path of the bidirectional stream.
pub const WATCH: &str = "/weft.demo.Prices/Watch";
/// Trailer with the number of quotes a stream carried.
pub const QUOTES_TRAILER: &str = "x-quotes";
/// Longest message taken, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

const PREFIX: usize = 5;

/// Status 0: it worked.
pub const OK: u32 = 0;
/// Status 3: the request makes no sense.
pub const INVALID_ARGUMENT: u32 = 3;
/// Status 12: no such method.
pub const UNIMPLEMENTED: u32 = 12;

/// Asks for the price of one thing.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct QuoteRequest {
    /// What.
    #[prost(string, tag = "1")]
    pub item: String,
}

/// A price.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct QuoteReply {
    /// Of what.
    #[prost(string, tag = "1")]
    pub item: String,
    /// In cents.
    #[prost(uint32, tag = "2")]
    pub cents: u32,
    /// Which replica says so.
    #[prost(string, tag = "3")]
    pub replica: String,
}

/// Cuts a body's bytes into messages, whatever the pieces they come in.
#[derive(Debug, Default)]
pub struct Unframe(BytesMut);

/// Bytes that are no gRPC messages.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Nobody agreed on a compression.
    #[error("the message is compressed")]
    Compressed,
    /// Too long.
    #[error("the message has {0} bytes, over {MAX_MESSAGE}")]
    TooLong(usize),
    /// Not the message that was expected.
    #[error("the message cannot be decoded")]
    Undecodable,
    /// The body ended inside a message.
    #[error("the body ended inside a message")]
    CutOff,
}

/// One message with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Only a full buffer is an error, and this one grows.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

impl Unframe {
    /// Adds bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FramingError> {
        let mut prefix = &self.0[..];
        if prefix.len() < PREFIX {
            return Ok(None);
        }
        if prefix.get_u8() != 0 {
            return Err(FramingError::Compressed);
        }
        let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(FramingError::TooLong(length));
        }
        if prefix.len() < length {
            return Ok(None);
        }
        let message = self.0.split_to(PREFIX + length).freeze().slice(PREFIX..);
        M::decode(message).map(Some).map_err(|_| FramingError::Undecodable)
    }

    /// The body is over.
    ///
    /// # Errors
    /// It ended inside a message.
    pub fn end(&self) -> Result<(), FramingError> {
        if self.0.is_empty() { Ok(()) } else { Err(FramingError::CutOff) }
    }
}

/// Trailers that end a call.
pub fn trailers(status: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    trailers
}

/// The status in trailers or, of a response without a body, in its head.
pub fn status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(item: &str) -> QuoteReply {
        QuoteReply { item: item.into(), cents: 350, replica: "prices-1".into() }
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let bytes = [frame(&reply("tea")), frame(&reply("")), frame(&reply("coffee"))].concat();
        for size in 1..bytes.len() {
            let mut unframe = Unframe::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                unframe.push(piece);
                while let Some(message) = unframe.next::<QuoteReply>().unwrap() {
                    found.push(message.item);
                }
            }
            assert_eq!(found, ["tea", "", "coffee"]);
            assert_eq!(unframe.end(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_message_is_said() {
        let next = |bytes: &[u8]| {
            let mut unframe = Unframe::default();
            unframe.push(bytes);
            unframe.next::<QuoteReply>()
        };
        assert_eq!(next(&[1, 0, 0, 0, 0]), Err(FramingError::Compressed));
        assert_eq!(next(&[0, 1, 0, 0, 0]), Err(FramingError::TooLong(1 << 24)));
        assert_eq!(next(&[0, 0, 0, 0, 1, 0xff]), Err(FramingError::Undecodable));
        let mut cut = Unframe::default();
        cut.push(&[0, 0, 0]);
        assert_eq!(cut.next::<QuoteReply>(), Ok(None));
        assert_eq!(cut.end(), Err(FramingError::CutOff));
    }

    #[test]
    fn statuses_are_read_back() {
        assert_eq!(status(&trailers(INVALID_ARGUMENT)), Some(3));
        assert_eq!(status(&HeaderMap::new()), None);
    }
}
