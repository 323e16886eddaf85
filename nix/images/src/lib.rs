//! The assembler of weft's OCI images.

pub mod digest;
pub mod tar;
