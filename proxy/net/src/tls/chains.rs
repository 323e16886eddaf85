//! Chains that have been verified lately, by their exact bytes.
//!
//! Verifying a peer's chain costs two signature verifications of the three in a handshake, and the same few peers
//! come again and again. A cache belongs to one verifier, that is to one set of roots and one use (server or
//! client): it is never asked about anything else, and a new identity starts with an empty one. What it saves is the
//! chain only; the peer's proof that it has the key, and its name, are checked each time.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

/// How long a chain is remembered, unless one of its certificates expires earlier.
pub const MAX_CHAIN_AGE: Duration = Duration::from_secs(60);

/// How many chains are remembered. When it is full and none has expired, a new one is not remembered: its peer pays the
/// full verification, which is what everyone pays without a cache.
pub const MAX_CACHED_CHAINS: usize = 1024;

/// The longest chain, all certificates together, that is remembered, so that the cache stays below 8 MiB whatever
/// trusted peers send. Two P-256 certificates have about 1,200 bytes.
pub const MAX_CACHED_CHAIN_LEN: usize = 8 * 1024;

#[derive(Debug, Default)]
pub(super) struct Chains {
    hasher: RandomState,
    // A verifier is shared by type, not in fact: each worker has an identity, and so a cache, of its own.
    by_hash: Mutex<HashMap<u64, Verified>>,
}

#[derive(Debug)]
struct Verified {
    chain: Box<[CertificateDer<'static>]>,
    /// Seconds since 1970, exclusive.
    until: u64,
}

impl Chains {
    /// If this very chain was verified less than [`MAX_CHAIN_AGE`] ago and none of it has expired since: until when, in
    /// seconds since 1970, that will be so.
    pub(super) fn knows(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<u64> {
        let key = self.key(leaf, rest);
        let by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = by_hash.get(&key)?;
        let (first, others) = verified.chain.split_first()?;
        let same = first == leaf && others.iter().eq(rest);
        (same && now.as_secs() < verified.until).then_some(verified.until)
    }

    /// Remembers a chain that has just been verified, if that is possible; says until when.
    pub(super) fn remember(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<u64> {
        let chain = || std::iter::once(leaf).chain(rest);
        if chain().map(|certificate| certificate.len()).sum::<usize>() > MAX_CACHED_CHAIN_LEN {
            return None;
        }
        let until = chain().map(not_after).try_fold(u64::MAX, |least, end| Some(least.min(end?)))?;
        let until = until.min(now.as_secs().saturating_add(MAX_CHAIN_AGE.as_secs()));
        let key = self.key(leaf, rest);
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if by_hash.len() >= MAX_CACHED_CHAINS && !by_hash.contains_key(&key) {
            by_hash.retain(|_, verified| now.as_secs() < verified.until);
            if by_hash.len() >= MAX_CACHED_CHAINS {
                return None;
            }
        }
        let chain = chain().map(|certificate| certificate.clone().into_owned()).collect();
        by_hash.insert(key, Verified { chain, until });
        Some(until)
    }

    /// How many chains are remembered, expired ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn key(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> u64 {
        self.hasher.hash_one((leaf.as_ref(), rest.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>()))
    }
}

/// When a certificate stops being valid, in seconds since 1970.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}
