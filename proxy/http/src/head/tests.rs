//! Heads from HTTP/2 field sections, and what goes out of a head.
