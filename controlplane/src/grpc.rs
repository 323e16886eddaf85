//! gRPC, as much of it as the proxy API needs: one request message, one or many replies.
//!
//! The API's generated servers encode every reply for every stream. Here most streams carry the same
//! replies: 200 proxies that watch one service get one endpoint change. So a reply is encoded once, frame
//! header included, and the same bytes go to every stream ([`reply::Message`]); a stream holds a
//! subscription and nothing else. A stream is asked for its next message when the transport has room for
//! it, and then gives the newest there is: a slow proxy costs nothing and is never disconnected for it.
//!
//! | file | what |
//! |---|---|
//! | `method` | which method a path is |
//! | `request` | the one message of a request |
//! | `reply` | messages, status, and the response body |
//! | `service` | who answers a method |
//! | `watch` | a subscription as messages |
//! | `serve` | connections |

pub mod method;
pub mod reply;
pub mod request;
pub mod serve;
pub mod service;
pub mod watch;

#[cfg(test)]
mod tests;

pub use self::method::Method;
