//! What workloads send to get a certificate: requests, join tokens, registrations. Refused with a reason, or what they should
//! be.
//!
//! Input: a byte that chooses the reader, then bytes.

use std::{sync::LazyLock, time::Duration};

use rcgen::{CertificateParams, DnType, KeyPair};
use weft_controlplane::{
    identity::{Csr, Token},
    registry::api::Registration,
};
use weft_names::IdentityName;

use crate::input::Input;

/// Whose certificate is asked for.
const NAME: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

static IDENTITY: LazyLock<IdentityName> = LazyLock::new(|| NAME.parse().expect("a name"));

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(3);
    let bytes = input.rest();
    match which {
        0 => match Csr::check(bytes, &IDENTITY) {
            Ok(csr) => assert_eq!(csr.identity(), &*IDENTITY),
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < 4_000, "a reason of {} bytes", text.len());
            }
        },
        1 => {
            if let Ok(token) = Token::parse(bytes) {
                let whole = token.reveal();
                assert_eq!(whole.as_bytes().to_ascii_lowercase(), bytes.trim_ascii().to_ascii_lowercase());
                assert_eq!(Token::parse(whole.as_bytes()).map(|t| t.reveal()).ok(), Some(whole.clone()));
                assert!(!format!("{token} {token:?}").contains(&whole), "the secret is not shown");
            }
        }
        _ => {
            let Ok(mut registration) = serde_json::from_slice::<Registration>(bytes) else { return };
            // More than an hour is refused later; a number of JSON says longer times only about.
            registration.ttl = registration.ttl.filter(|ttl| *ttl <= Duration::from_secs(3600));
            let text = serde_json::to_vec(&registration).expect("what was read");
            let again: Registration = serde_json::from_slice(&text).expect("what we wrote");
            assert_eq!(again, registration);
        }
    }
}

/// Requests for the right and for other names, a token, registrations.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let csr = |name: &str, common_name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    };
    let token = format!("weft_join_0123456789abcdef_{}\n", "0123456789abcdef".repeat(4));
    let mut seeds = vec![
        [&[0], &csr(NAME, "")[..]].concat(),
        [&[0], &csr(NAME, NAME)[..]].concat(),
        [&[0], &csr("other.example", "")[..]].concat(),
        [&[1], token.as_bytes()].concat(),
    ];
    for text in [
        "{}",
        r#"{"service":"web","ports":[{"port":8080,"name":"http","opaque":true,"appProtocol":"http"}],"ip":"10.0.0.1","labels":{"a":"b"},"ready":false,"ttlSeconds":15,"issueToken":true}"#,
        r#"{"ttlSeconds":1.5e300}"#,
        r#"{"ports":[{"port":70000}]}"#,
    ] {
        seeds.push([&[2], text.as_bytes()].concat());
    }
    seeds
}
