//! Which cryptography is used: what Linkerd's proxies use, and nothing else.

use std::sync::{Arc, OnceLock};

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use webpki::aws_lc_rs as algorithm;

/// TLS 1.3 suites and groups in order of preference, and the signatures accepted in certificates and handshakes.
///
/// Made once for the process; anything of the process that speaks to the mesh with another TLS shell builds its
/// configuration from this.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            // The hybrid first: a recorded connection stays closed even to someone who later breaks X25519.
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
                kx_group::SECP384R1,
            ],
            signature_verification_algorithms: SIGNATURES,
            ..default_provider()
        })
    }))
}

/// `all` counts for signatures in certificates, `mapping` for those that peers make in the handshake. RSA is there for
/// issuers: TLS 1.3 has no PKCS#1 signatures in handshakes.
pub(super) const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithm::ECDSA_P256_SHA256,
        algorithm::ECDSA_P256_SHA384,
        algorithm::ECDSA_P256_SHA512,
        algorithm::ECDSA_P384_SHA256,
        algorithm::ECDSA_P384_SHA384,
        algorithm::ECDSA_P384_SHA512,
        algorithm::ECDSA_P521_SHA256,
        algorithm::ECDSA_P521_SHA384,
        algorithm::ECDSA_P521_SHA512,
        algorithm::ED25519,
        algorithm::RSA_PKCS1_2048_8192_SHA256,
        algorithm::RSA_PKCS1_2048_8192_SHA384,
        algorithm::RSA_PKCS1_2048_8192_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithm::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithm::ECDSA_P384_SHA384]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[algorithm::ECDSA_P521_SHA512]),
        (SignatureScheme::ED25519, &[algorithm::ED25519]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[algorithm::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[algorithm::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[algorithm::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

/// Between proxies there is only one.
pub(super) const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
