//! Sockets, protocol detection, TLS without IO, transport header.
