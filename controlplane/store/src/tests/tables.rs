//! Each table: what goes in comes out, and what its rules are.

use super::{at, authority, certificate, open, with_issuer, workload};
use crate::{
    CertificateQuery, Change, MAX_TOKENS_PER_WORKLOAD, NewToken, Pool, PortRow, Retention, Store, StoreError,
};
use jiff::SignedDuration;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

#[tokio::test]
async fn trust_survives_and_issuers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(store.trust_roots().await.unwrap().is_empty());
    assert!(store.current_issuer().await.unwrap().is_none());

    let root = store.add_trust_root(&authority("root"), at(0)).await.unwrap();
    let first = store.replace_issuer(root.generation, &authority("issuer 1"), at(1)).await.unwrap();
    let second = store.replace_issuer(root.generation, &authority("issuer 2"), at(2)).await.unwrap();
    assert!(second.generation > first.generation);
    store.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.trust_roots().await.unwrap(), [root]);
    assert_eq!(store.current_issuer().await.unwrap(), Some(second));
    let error = store.replace_issuer(77, &authority("orphan"), at(3)).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
    assert!(store.current_issuer().await.unwrap().is_some(), "a failed replacement retires nothing");
    assert!(!format!("{:?}", authority("root")).contains("key of root"), "keys are not printed");
}

#[tokio::test]
async fn the_ledger_is_paged_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    for i in 0..7 {
        let mut new = certificate(&format!("{i:02x}"), issuer);
        if i % 2 == 0 {
            new.identity = "other".into();
        }
        store.record_certificate(&new, at(i)).await.unwrap();
    }

    let mut serials = Vec::new();
    let mut query = CertificateQuery { limit: 3, ..CertificateQuery::default() };
    loop {
        let page = store.certificates(&query).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        query.before = Some(last.seq);
        serials.extend(page.into_iter().map(|row| row.certificate.serial));
    }
    assert_eq!(serials, ["06", "05", "04", "03", "02", "01", "00"]);

    let query = CertificateQuery { identity: Some("other".into()), limit: u32::MAX, before: None };
    let page = store.certificates(&query).await.unwrap();
    assert_eq!(page.iter().map(|row| row.issued_at).collect::<Vec<_>>(), [at(6), at(4), at(2), at(0)]);
    assert_eq!(store.certificate("03").await.unwrap().unwrap().certificate, certificate("03", issuer));
    assert!(store.certificate("77").await.unwrap().is_none());
}

#[tokio::test]
async fn the_ledger_takes_a_serial_once_and_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    store.record_certificate(&certificate("aa", issuer), at(0)).await.unwrap();
    let mut again = certificate("aa", issuer);
    again.fingerprint = "another".into();
    let error = store.record_certificate(&again, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");

    for sql in ["UPDATE certificates SET identity = 'mallory'", "DELETE FROM certificates"] {
        let error = sqlx::query(sql).execute(store.writer()).await.unwrap_err();
        assert!(error.to_string().contains("the certificate ledger"), "{error}");
    }
    assert_eq!(store.certificate("aa").await.unwrap().unwrap().certificate, certificate("aa", issuer));
}

#[tokio::test]
async fn retention_removes_expired_certificates_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    // Long expired by the real clock too: the database itself keeps rows of valid certificates.
    let old = |days: i64| at(0) - SignedDuration::from_hours(24 * (2_000 + days));
    for day in 0..20 {
        let mut new = certificate(&format!("{day:02x}"), issuer);
        (new.not_before, new.not_after) = (old(day + 1), old(day));
        store.record_certificate(&new, old(day)).await.unwrap();
    }
    store.record_certificate(&certificate("ff", issuer), at(0)).await.unwrap();

    let keep = Retention { expired_for: SignedDuration::from_hours(24 * 10), rows: 1_000 };
    assert_eq!(store.prune_certificates(keep, old(0)).await.unwrap(), 9);
    let keep = Retention { expired_for: SignedDuration::from_hours(24 * 9_000), rows: 5 };
    assert_eq!(store.prune_certificates(keep, at(0)).await.unwrap(), 7);
    assert_eq!(store.prune_certificates(keep, at(0)).await.unwrap(), 0);
    let keep = Retention { expired_for: SignedDuration::ZERO, rows: 0 };
    assert_eq!(store.prune_certificates(keep, at(0)).await.unwrap(), 4);
    assert!(store.certificate("ff").await.unwrap().is_some(), "still valid");
}

fn token(id: &str) -> NewToken {
    NewToken {
        id: id.into(),
        secret_hash: [7; 32],
        identity: workload("web-0").identity,
        namespace: "default".into(),
        workload: "web-0".into(),
        expires_at: at(100),
    }
}

#[tokio::test]
async fn tokens_last_as_long_as_the_registration_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    assert_eq!(store.upsert_workload(&workload("web-0"), at(100), at(0)).await.unwrap().live_tokens, 0);
    store.add_token(&token("a"), at(0)).await.unwrap();

    assert_eq!(store.upsert_workload(&workload("web-0"), at(150), at(50)).await.unwrap().live_tokens, 1);
    assert_eq!(store.token("a").await.unwrap().unwrap().token.expires_at, at(150));
    store.upsert_workload(&workload("web-0"), at(120), at(60)).await.unwrap();
    assert_eq!(store.token("a").await.unwrap().unwrap().token.expires_at, at(150), "never shortened");

    let mut new = certificate("aa", issuer);
    new.token_id = Some("a".into());
    store.record_certificate(&new, at(70)).await.unwrap();
    let row = store.token("a").await.unwrap().unwrap();
    assert_eq!((row.uses, row.last_used_at, row.created_at), (1, Some(at(70)), at(0)));

    let late = store.upsert_workload(&workload("web-0"), at(900), at(150)).await.unwrap();
    assert_eq!(late.live_tokens, 0, "what has expired stays expired");
    assert_eq!(store.token("a").await.unwrap().unwrap().token.expires_at, at(150));
    assert!(store.token("unknown").await.unwrap().is_none());
}

#[tokio::test]
async fn another_identity_does_not_keep_a_token_alive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.add_token(&token("a"), at(0)).await.unwrap();
    let mut other = workload("web-0");
    other.identity = "db.default.serviceaccount.identity.linkerd.cluster.local".into();
    assert_eq!(store.upsert_workload(&other, at(500), at(50)).await.unwrap().live_tokens, 0);
    assert_eq!(store.token("a").await.unwrap().unwrap().token.expires_at, at(100));
}

#[tokio::test]
async fn a_workload_has_a_bounded_number_of_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let total = i64::from(MAX_TOKENS_PER_WORKLOAD) + 2;
    for i in 0..total {
        store.add_token(&token(&i.to_string()), at(i)).await.unwrap();
    }
    let mut live = Vec::new();
    for i in 0..total {
        if store.token(&i.to_string()).await.unwrap().unwrap().revoked_at.is_none() {
            live.push(i);
        }
    }
    assert_eq!(live, [2, 3, 4, 5], "the oldest go first");
    assert!(matches!(store.add_token(&token("5"), at(9)).await, Err(StoreError::Exists { .. })));

    assert_eq!(store.revoke_tokens("default", "web-0", at(20)).await.unwrap(), 4);
    assert_eq!(store.prune_tokens(at(5)).await.unwrap(), 1);
    assert_eq!(store.prune_tokens(at(21)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_workload_registers_renews_changes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = store.upsert_workload(&workload("web-0"), at(0), at(0)).await.unwrap();
    assert_eq!((first.change, first.row.lease_until), (Change::Created, at(15)));
    let renewed = store.upsert_workload(&workload("web-0"), at(0), at(10)).await.unwrap();
    assert_eq!((renewed.change, renewed.row.lease_until), (Change::Unchanged, at(25)));
    assert_eq!(renewed.row.updated_at, at(0));
    let changed = crate::NewWorkload { ready: false, ..workload("web-0") };
    let changed = store.upsert_workload(&changed, at(0), at(20)).await.unwrap();
    assert_eq!(
        (changed.change, changed.row.created_at, changed.row.updated_at),
        (Change::Updated, at(0), at(20))
    );
    store.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.workloads().await.unwrap(), std::slice::from_ref(&changed.row));
    store.add_token(&token("a"), at(20)).await.unwrap();
    assert_eq!(store.delete_workload("default", "web-0", at(30)).await.unwrap(), Some(changed.row));
    assert_eq!(store.delete_workload("default", "web-0", at(30)).await.unwrap(), None);
    assert_eq!(store.token("a").await.unwrap().unwrap().revoked_at, Some(at(30)));
}

#[tokio::test]
async fn leases_that_end_take_their_workload_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.upsert_workload(&workload("web-0"), at(0), at(0)).await.unwrap();
    store.upsert_workload(&workload("web-1"), at(0), at(5)).await.unwrap();
    store.add_token(&token("a"), at(0)).await.unwrap();
    assert!(store.expire_workloads(at(15)).await.unwrap().is_empty(), "the lease includes its last moment");
    let gone = store.expire_workloads(at(16)).await.unwrap();
    assert_eq!(gone.iter().map(|row| row.workload.name.as_str()).collect::<Vec<_>>(), ["web-0"]);
    assert_eq!(store.workloads().await.unwrap().len(), 1);
    assert!(store.token("a").await.unwrap().unwrap().revoked_at.is_some());
}

#[tokio::test]
async fn services_keep_their_facts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let vip: IpAddr = "10.2.0.1".parse().unwrap();
    let ports =
        [PortRow { port: 80, opaque: true, app_protocol: Some("kubernetes.io/h2c".into()), name: None }];
    let (row, change) = store.upsert_service("default", "web", vip, &ports, at(0)).await.unwrap();
    assert_eq!(change, Change::Created);
    assert_eq!(
        store.upsert_service("default", "web", vip, &ports, at(1)).await.unwrap(),
        (row.clone(), Change::Unchanged)
    );
    let (_, change) = store.upsert_service("default", "web", vip, &[], at(2)).await.unwrap();
    assert_eq!(change, Change::Updated);
    let rows = store.services().await.unwrap();
    assert_eq!((rows[0].created_at, rows[0].updated_at, rows[0].ports.len()), (at(0), at(2), 0));
    assert!(store.delete_service("default", "web").await.unwrap());
    assert!(!store.delete_service("default", "web").await.unwrap());
}

#[tokio::test]
async fn a_row_changed_by_hand_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.upsert_workload(&workload("web-0"), at(0), at(0)).await.unwrap();
    sqlx::query("UPDATE workloads SET labels = '{\"a\":'").execute(store.writer()).await.unwrap();
    let error = store.workloads().await.unwrap_err();
    assert_eq!(error.to_string(), "list workloads: workloads.labels does not hold a valid value");
}

fn pool(range: &str, reserved: u32) -> Pool {
    Pool { name: "services", range: range.parse().unwrap(), reserved }
}

async fn allocate(store: &Store, pool: &Pool, owner: &str, second: i64) -> String {
    store.allocate(pool, owner, at(second)).await.unwrap().to_string()
}

#[tokio::test]
async fn an_owner_keeps_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pool = pool("10.96.0.0/24", 1);
    assert_eq!(allocate(&store, &pool, "web", 0).await, "10.96.0.2");
    assert_eq!(allocate(&store, &pool, "db", 0).await, "10.96.0.3");
    assert_eq!(allocate(&store, &pool, "web", 1).await, "10.96.0.2");
    assert!(store.release(&pool, "web", at(2)).await.unwrap());
    assert!(!store.release(&pool, "web", at(2)).await.unwrap());
    store.close().await;

    let store = open(dir.path()).await;
    assert_eq!(
        allocate(&store, &pool, "feed", 3).await,
        "10.96.0.4",
        "released ones are kept while others are free"
    );
    assert_eq!(allocate(&store, &pool, "web", 4).await, "10.96.0.2");
}

#[tokio::test]
async fn a_full_pool_reuses_what_was_released_first_and_then_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pool = pool("10.96.0.0/29", 0);
    assert_eq!(pool.capacity(), 6);
    for i in 0..6 {
        assert_eq!(allocate(&store, &pool, &format!("s{i}"), 0).await, format!("10.96.0.{}", i + 1));
    }
    let error = store.allocate(&pool, "s6", at(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "addresses of 10.96.0.0/29: the limit of 6 is reached");

    store.release(&pool, "s4", at(2)).await.unwrap();
    store.release(&pool, "s1", at(3)).await.unwrap();
    assert_eq!(allocate(&store, &pool, "s6", 4).await, "10.96.0.5");
    assert_eq!(allocate(&store, &pool, "s7", 4).await, "10.96.0.2");
    assert!(matches!(store.allocate(&pool, "s4", at(5)).await, Err(StoreError::Full { .. })));
}

#[tokio::test]
async fn a_changed_range_gives_addresses_inside_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let large = pool("10.96.0.0/24", 0);
    for i in 0..10 {
        allocate(&store, &large, &format!("s{i}"), 0).await;
    }
    let small = pool("10.97.0.0/29", 2);
    assert_eq!(allocate(&store, &small, "s4", 1).await, "10.97.0.5");
    let error = store.allocate(&small, "s9", at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { limit: 4, .. }), "{error:?}");
    let v6 = pool("fd00:96::/64", 0);
    assert_eq!(allocate(&store, &v6, "s4", 2).await, "fd00:96::5");
    assert_eq!(v6.capacity(), crate::MAX_POSITIONS - 1);
    assert_eq!(pool("10.96.0.0/31", 0).capacity(), 0);
}

#[tokio::test]
async fn concurrent_allocations_are_distinct() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let owner = format!("s{}", i % 20);
                (owner.clone(), store.allocate(&pool("10.96.0.0/24", 0), &owner, at(0)).await.unwrap())
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for task in tasks {
        seen.insert(task.await.unwrap());
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
    assert_eq!(seen.iter().map(|(_, address)| address).collect::<BTreeSet<_>>().len(), 20);
}

/// The same operations on a map: whoever holds an address holds it alone, keeps it, and it is in the range.
#[tokio::test]
async fn allocation_agrees_with_a_map_of_owners() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let pool = pool("10.96.0.0/28", 2);
    let (mut held, mut last) = (BTreeMap::new(), BTreeMap::new());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for step in 0..400 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let owner = format!("s{}", state % 17);
        if (state >> 32).is_multiple_of(3) {
            let released = store.release(&pool, &owner, at(step)).await.unwrap();
            assert_eq!(released, held.remove(&owner).is_some(), "step {step}");
            continue;
        }
        match store.allocate(&pool, &owner, at(step)).await {
            Ok(address) => {
                assert!(pool.range.contains(&address) && address >= "10.96.0.3".parse::<IpAddr>().unwrap());
                assert!(
                    held.iter().all(|(other, theirs)| *other == owner || *theirs != address),
                    "step {step}"
                );
                if let Some(before) = held.insert(owner.clone(), address) {
                    assert_eq!(before, address, "step {step}");
                }
                // It gets its old one back unless someone else has had it since.
                if let Some(old) = last.get(&owner) {
                    let taken = last.iter().any(|(other, theirs)| *other != owner && theirs == old);
                    assert!(*old == address || taken, "step {step}");
                }
                last.retain(|_, theirs| *theirs != address);
                last.insert(owner, address);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Full { limit: 12, .. }), "{error:?}");
                assert_eq!(held.len(), 12, "step {step}");
            }
        }
    }
}

#[tokio::test]
async fn the_registry_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for sql in [
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
         INSERT INTO services SELECT 'full', 's' || i, '10.0.0.1', '[]', 0, 0 FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
         INSERT INTO workloads \
         SELECT 'full', 'w' || i, NULL, 'a', 'a', '10.0.0.1', '[]', '{}', 1, 1, 0, 0, 0 FROM n",
    ] {
        sqlx::query(sql).execute(store.writer()).await.unwrap();
    }
    let vip: IpAddr = "10.0.0.2".parse().unwrap();
    let error = store.upsert_service("default", "web", vip, &[], at(0)).await.unwrap_err();
    assert_eq!(error.to_string(), "services: the limit of 2000 is reached");
    assert!(store.service("default", "web").await.unwrap().is_none());
    let error = store.upsert_workload(&workload("web-0"), at(0), at(0)).await.unwrap_err();
    assert_eq!(error.to_string(), "workloads: the limit of 10000 is reached");
    assert!(store.workload("default", "web-0").await.unwrap().is_none());

    store.upsert_service("full", "s1", vip, &[], at(0)).await.unwrap();
    assert!(store.delete_service("full", "s2").await.unwrap());
    store.upsert_service("default", "web", vip, &[], at(0)).await.unwrap();
}

#[tokio::test]
async fn a_page_of_the_ledger_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700) \
         INSERT INTO certificates SELECT i, i, 'web', 0, 0, 0, $1, 'test', NULL, i FROM n",
    )
    .bind(issuer)
    .execute(store.writer())
    .await
    .unwrap();
    let page = store.certificates(&CertificateQuery { limit: u32::MAX, ..Default::default() }).await.unwrap();
    assert_eq!(page.len(), crate::MAX_PAGE as usize);
}
