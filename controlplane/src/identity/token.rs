//! Join tokens as a workload holds them: `weft_join_<id>_<secret>`.
//!
//! The id (64 random bits) finds the row; the secret (256 random bits) is compared by its BLAKE3 hash, in constant
//! time. The secret has full entropy, so a slow password hash would add nothing. Pure: randomness and time are
//! arguments.

use super::x509::{hex, unhex};
use blake3::Hash;
use jiff::Timestamp;
use std::fmt;
use thiserror::Error;
use weft_names::IdentityName;
use weft_store::TokenRow;

const PREFIX: &str = "weft_join_";

/// Random bytes a new token is made of.
pub(super) const RANDOM_LEN: usize = ID_LEN + SECRET_LEN;
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 32;

/// A join token in plain text. `Debug` and `Display` show only its id; [`Token::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: [u8; ID_LEN],
    secret: [u8; SECRET_LEN],
}

/// Why a token admits nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not of the form of a token.
    #[error("this is not a join token of this control plane (weft_join_...)")]
    Malformed,
    /// No such token, or another secret. Which of both is not told.
    #[error("the join token {id} is not known here")]
    Unknown {
        /// The public part.
        id: String,
    },
    /// It was taken back: the workload was removed, or newer tokens took its place.
    #[error("the join token {id} was revoked at {at:.0}")]
    Revoked {
        /// The public part.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// Its time is over.
    #[error("the join token {id} expired at {at:.0}: the registration of its workload was not renewed")]
    Expired {
        /// The public part.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// It belongs to another identity.
    #[error("the join token {id} is for {theirs}, not for {asked}")]
    OtherIdentity {
        /// The public part.
        id: String,
        /// Whose it is.
        theirs: String,
        /// What was asked for.
        asked: String,
    },
}

impl Token {
    /// Makes a token of random bytes.
    pub(super) fn from_random(random: [u8; RANDOM_LEN]) -> Self {
        let mut token = Self { id: [0; ID_LEN], secret: [0; SECRET_LEN] };
        let (id, secret) = random.split_at(ID_LEN);
        token.id.copy_from_slice(id);
        token.secret.copy_from_slice(secret);
        token
    }

    /// Reads a token; white space around it (a line end of a file) does not matter.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let parse = || {
            let (id, secret) =
                std::str::from_utf8(bytes.trim_ascii()).ok()?.strip_prefix(PREFIX)?.split_once('_')?;
            Some(Self { id: unhex(id)?, secret: unhex(secret)? })
        };
        parse().ok_or(TokenError::Malformed)
    }

    /// The public part.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// The whole token, secret included.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id(), hex(&self.secret))
    }

    /// What is kept of the secret.
    pub(super) fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }

    /// Whether this token, kept as `row`, is good at all, and then whether it is for `identity`.
    pub fn admits(
        &self,
        row: Option<&TokenRow>,
        identity: &IdentityName,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let id = self.id();
        let Some(row) = row else { return Err(TokenError::Unknown { id }) };
        // `Hash` compares in constant time.
        if Hash::from_bytes(row.token.secret_hash) != Hash::from_bytes(self.secret_hash()) {
            return Err(TokenError::Unknown { id });
        }
        if let Some(at) = row.revoked_at {
            return Err(TokenError::Revoked { id, at });
        }
        if now >= row.token.expires_at {
            return Err(TokenError::Expired { id, at: row.token.expires_at });
        }
        if row.token.identity != identity.as_str() {
            return Err(TokenError::OtherIdentity {
                id,
                theirs: row.token.identity.clone(),
                asked: identity.to_string(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, ..)", self.id())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_...", self.id())
    }
}
