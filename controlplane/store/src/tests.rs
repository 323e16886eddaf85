//! Faults first, then each table.

mod faults;
mod tables;

use crate::{NewAuthority, NewCertificate, NewWorkload, PortRow, PrivateKey, Store};
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Some moment; tests count seconds from it.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

async fn open(dir: &Path) -> Store {
    Store::open(dir, "weft up", at(0)).await.unwrap()
}

fn authority(name: &str) -> NewAuthority {
    NewAuthority {
        name: name.into(),
        certificate: format!("certificate of {name}").into_bytes(),
        private_key: PrivateKey::new(format!("key of {name}").into_bytes()),
        fingerprint: format!("fingerprint of {name}"),
        not_before: at(-20),
        not_after: at(3600),
    }
}

/// A store with a root and an issuer, and the issuer's generation.
async fn with_issuer(dir: &Path) -> (Store, i64) {
    let store = open(dir).await;
    let root = store.add_trust_root(&authority("root"), at(0)).await.unwrap();
    let issuer = store.replace_issuer(root.generation, &authority("issuer"), at(0)).await.unwrap();
    (store, issuer.generation)
}

fn certificate(serial: &str, issuer: i64) -> NewCertificate {
    NewCertificate {
        serial: serial.into(),
        identity: "web.default.serviceaccount.identity.linkerd.cluster.local".into(),
        not_before: at(-20),
        not_after: at(86_400),
        issuer_generation: issuer,
        requester: "127.0.0.1:5000".into(),
        token_id: None,
        fingerprint: format!("fingerprint of {serial}"),
    }
}

fn workload(name: &str) -> NewWorkload {
    NewWorkload {
        namespace: "default".into(),
        name: name.into(),
        service: Some("web".into()),
        service_account: "web".into(),
        identity: "web.default.serviceaccount.identity.linkerd.cluster.local".into(),
        ip: "10.1.0.5".parse().unwrap(),
        ports: vec![PortRow { port: 8080, name: Some("http".into()), ..PortRow::default() }],
        labels: BTreeMap::from([("app".into(), "web".into())]),
        ready: true,
        lease_ttl: Duration::from_secs(15),
    }
}
