//! HPACK: field compression for HTTP/2 (RFC 7541).
//!
//! [`Decoder`] turns a field block into [`Field`](crate::head::Field)s that are ranges of an arena; [`Encoder`] appends fields to a
//! buffer. Neither allocates in the steady state, and both hold nothing before their first entry.
//!
//! What an encoder may choose, ours chooses so (measured, see the encoder): a field enters the dynamic table the
//! second time it is seen, strings are not Huffman coded, what came never-indexed goes on never-indexed.

mod decode;
mod encode;
mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder};
pub use encode::Encoder;
