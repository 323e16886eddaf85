//! HTTP/1 and HTTP/2 as pure codecs.
