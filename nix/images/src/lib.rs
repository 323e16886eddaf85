//! The assembler of weft's OCI images.

pub mod crates;
pub mod digest;
pub mod image;
pub mod layer;
pub mod recipe;
pub mod sources;
pub mod tar;
