//! HTTP/1.0 and HTTP/1.1 (RFC 9112): heads and bodies, both ways, without IO.
//!
//! Reading: [`Parser`] finds and reads the head at the start of a buffer; [`Body`] says how the content is
//! delimited; [`Decoder`] finds the content in what follows, as ranges. All are incremental: however the bytes are
//! split, the result is the same. None looks past the end of its message, so that pipelined messages are read one
//! after the other from one buffer. Writing: [`write_request`], [`write_response`], [`write_chunk`],
//! [`write_last_chunk`].
//!
//! Where RFC 9112 lets a recipient be lenient, this one is not: two parsers that repair the same message in
//! different ways are what request smuggling lives on. Refused, among others: bare LF and bare CR, folded lines,
//! white space before a colon, a repeated `content-length` even if equal, `transfer-encoding` together with
//! `content-length`, in HTTP/1.0, or other than `chunked`. A fault in a head ends the connection.
//!
//! The tokenizer is our own, not `httparse`: that one is lenient where we may not be (bare LF, empty lines), hides
//! what it skipped, and hands out slices where ranges are wanted; checking after it would cost what it saves.

mod body;
mod chunked;
mod date;
mod framing;
mod parse;
mod start_line;
mod write;

#[cfg(test)]
mod tests;

pub use body::{BodyError, Decoder, Event, Step};
pub use date::http_date;
pub use framing::{Body, Framing, is_persistent, is_reusable, request_framing, response_framing};
pub use parse::Parser;
pub use write::{
    CONTINUE, Connection, Options, write_chunk, write_last_chunk, write_request, write_response,
};
