//! Identity: who gets a certificate, what is in it, who signs it, and how it is remembered.
//!
//! ```text
//!  Certify(identity, token, CSR)                     service.rs    gRPC in, status out
//!    └─ Authority::certify                           authority.rs  the order of checks, the ledger
//!         ├─ Csr::check        pure                  csr.rs        what is taken from a request: key, one name
//!         ├─ Token::parse, Token::admits   pure      token.rs      what a join token is good for
//!         └─ issue             pure                  issue.rs      what stands in a certificate
//!    └─ Store::record_certificate, then the answer leaves
//! ```
//!
//! Roots and issuers are made in `issuer.rs` and kept in the store. Behaviour (names, statuses, validity, key usages) is
//! Linkerd's, so that a stock proxy can be certified here; where this is stricter it says so.
//!
//! Invariants: nothing of a CSR but its public key reaches a certificate, and the name in it was compared with the
//! token's; a certificate is in the ledger before anyone sees it; serials are random, so a restart repeats none;
//! a token's secret is not stored.

mod authority;
mod csr;
mod issue;
mod issuer;
mod renewal;
mod service;
mod token;
mod x509;

#[cfg(test)]
mod tests;

pub use self::{
    authority::{Authority, AuthorityError, Certified, CertifyError, Config, OwnCertificate, Request},
    csr::{Csr, CsrError, MAX_CSR_LEN},
    issue::{Issued, Lifetime, Serial, issue},
    issuer::{Issuer, IssuerError},
    renewal::{Renew, keep_renewed, renew_at},
    service::{IdentityService, MAX_CERTIFY_AT_ONCE, Outcome, Outcomes},
    token::{Token, TokenError},
    x509::{fingerprint, pem},
};
