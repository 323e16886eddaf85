//! What stands in a certificate. Pure: the random serial and the time are arguments.

use super::{
    csr::Csr,
    issuer::Issuer,
    x509::{Validity, fingerprint, hex},
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use std::time::Duration;
use weft_names::IdentityName;

/// How long certificates are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From the moment of issue. Default: 24 h (`identity.issuer.issuanceLifetime`).
    pub validity: Duration,
    /// Added at both ends for clocks that differ. Default: 20 s (`identity.issuer.clockSkewAllowance`).
    pub clock_skew: Duration,
}

/// A serial number: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial([u8; 16]);

/// A certificate that was signed, not yet in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, DER.
    pub leaf: Vec<u8>,
    /// Its serial number.
    pub serial: Serial,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Lower-case hex SHA-256 of the DER.
    pub fingerprint: String,
}

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`): a longer identity stands in the subject
/// alternative name alone.
const MAX_COMMON_NAME: usize = 64;

/// Signs a certificate for a checked request.
///
/// Contents as Linkerd's: the identity as only DNS name, `digitalSignature | keyEncipherment`, `serverAuth` and
/// `clientAuth`, valid from `now − skew` to `now + validity + skew`, never longer than the issuer's chain.
/// The subject is set here and not copied from the request.
pub fn issue(
    csr: &Csr,
    issuer: &Issuer,
    lifetime: Lifetime,
    serial: Serial,
    now: Timestamp,
) -> Result<Issued, rcgen::Error> {
    sign(csr.identity(), &[], csr.key(), issuer, lifetime, serial, now)
}

/// The same for a key that needs no request because it is our own. `also` are further DNS names and IP addresses, for
/// clients that are no proxies.
pub(super) fn sign(
    identity: &IdentityName,
    also: &[String],
    key: &impl rcgen::PublicKeyData,
    issuer: &Issuer,
    lifetime: Lifetime,
    serial: Serial,
    now: Timestamp,
) -> Result<Issued, rcgen::Error> {
    let skew = signed(lifetime.clock_skew);
    let not_before = now.saturating_sub(skew).unwrap_or(Timestamp::MIN);
    let not_after = now
        .saturating_add(signed(lifetime.validity))
        .and_then(|time| time.saturating_add(skew))
        .unwrap_or(Timestamp::MAX)
        .min(issuer.not_after());
    let validity = Validity::new(not_before, not_after);

    let names: Vec<String> = std::iter::once(identity.as_str())
        .chain(also.iter().map(String::as_str))
        .map(str::to_owned)
        .collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    if identity.as_str().len() <= MAX_COMMON_NAME {
        params.distinguished_name.push(DnType::CommonName, identity.as_str());
    }
    validity.apply(&mut params);
    params.serial_number = Some(serial.0.to_vec().into());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;

    let leaf = params.signed_by(key, issuer.signer())?.der().to_vec();
    Ok(Issued {
        fingerprint: fingerprint(&leaf),
        leaf,
        serial,
        not_before: validity.not_before,
        not_after: validity.not_after,
    })
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { validity: Duration::from_secs(24 * 3600), clock_skew: Duration::from_secs(20) }
    }
}

impl Serial {
    /// Takes 128 bits, which should be random.
    pub fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// 32 lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
