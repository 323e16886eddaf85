//! The pure parts first, then the authority over a real store.

mod authority;
mod csr;
mod service;

use super::{Authority, Config, Lifetime};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::{path::Path, time::Duration};
use weft_names::IdentityName;
use weft_store::{Retention, Store};

const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
const DB: &str = "db.default.serviceaccount.identity.linkerd.cluster.local";

fn identity(name: &str) -> IdentityName {
    name.parse().unwrap()
}

/// Seconds after some moment.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn config() -> Config {
    Config {
        namespace: "linkerd".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        lifetime: Lifetime::default(),
        token_ttl: Duration::from_secs(24 * 3600),
        retention: Retention::default(),
    }
}

async fn open(dir: &Path, now: Timestamp) -> (Authority, Store) {
    let store = Store::open(dir, "test", now).await.unwrap();
    (Authority::open(store.clone(), config(), now).await.unwrap(), store)
}

/// What a proxy asks with: its identity as only name.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn csr(name: &str) -> Vec<u8> {
    params(name).serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}
