//! The assembler of weft's OCI images: the same bytes from the same files, on any machine, with Nix or without.
//!
//! Owns what is in the images ([`catalogue`]) and how they are written ([`tar`], [`layer`], [`image`]), what is said of the
//! programs in them ([`crates`], [`sbom`], [`notices`], [`sources`]), the build without Nix ([`build`], by the same
//! [`recipe`] that Nix reads), and the comparison of builds ([`digests`]). Must not know: weft's own crates.
//!
//! Read first: [`catalogue::Product`], [`image::Image`], [`digests::Digests`].
//!
//! ```text
//!  sources ── describe ─▶ SBOMs, licences, digest of the sources ─┐
//!     └─ cargo build (Nix' sandbox | build) ─▶ programs ──────────┴─ assemble ─▶ NAME.oci.tar, digests.json
//! ```

pub mod assemble;
pub mod build;
pub mod catalogue;
pub mod crates;
pub mod digest;
pub mod digests;
pub mod elf;
pub mod image;
pub mod layer;
pub mod notices;
pub mod pack;
pub mod program;
pub mod recipe;
pub mod sbom;
pub mod sources;
pub mod tar;
