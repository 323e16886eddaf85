//! What happens with a damaged, newer, foreign, locked, full or exposed state: a clear answer, nothing overwritten.

use super::{at, authority, certificate, open, with_issuer, workload};
use crate::{OpenError, SCHEMA_VERSION, Store, StoreError, WriteState, store::Durability};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use std::{
    fs::{self, Permissions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

async fn raw(dir: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(dir.join("weft.db")).connect().await.unwrap()
}

async fn refusal(dir: &Path) -> OpenError {
    let error = Store::open(dir, "weft up", at(0)).await.unwrap_err();
    assert!(!error.advice().is_empty());
    error
}

/// A state that was used and closed, with everything in the one file.
async fn closed_state() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    for i in 0..200 {
        store.record_certificate(&certificate(&format!("{i:032x}"), issuer), at(i)).await.unwrap();
    }
    store.close().await;
    assert!(!dir.path().join("weft.db-wal").exists(), "the log is merged when the state is closed");
    dir
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let store = open(&dir).await;
    store.set_setting("k", "v", at(0)).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    for file in ["weft.db", "weft.db-wal", "weft.db-shm", "lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }

    let secret = store.directory().secret("admin.token").unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(mode(&dir.join("admin.token")), 0o600);
    assert_eq!(store.directory().secret("admin.token").unwrap(), secret);
    fs::write(dir.join("admin.token"), "cut o").unwrap();
    assert_ne!(store.directory().secret("admin.token").unwrap(), secret, "a broken one is replaced");
}

#[tokio::test]
async fn an_empty_directory_is_tightened() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o775)).unwrap();
    open(dir.path()).await;
    assert_eq!(mode(dir.path()), 0o700);
}

#[tokio::test]
async fn exposed_files_are_refused_with_the_command_that_mends_them() {
    let dir = closed_state().await;
    for (path, bits, want) in
        [(dir.path().join("weft.db"), 0o640, 0o600), (dir.path().to_owned(), 0o777, 0o700)]
    {
        let good = mode(&path);
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let error = refusal(dir.path()).await;
        assert!(matches!(&error, OpenError::Exposed { mode, .. } if *mode == bits), "{error}");
        assert_eq!(error.advice(), format!("chmod {want:04o} {}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(good)).unwrap();
    }
    open(dir.path()).await;
}

#[tokio::test]
async fn a_second_control_plane_is_told_who_has_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let error = refusal(dir.path()).await;
    let text = error.to_string();
    let pid = std::process::id();
    assert!(text.contains(&format!("weft up, process {pid}, since 2027-01-15T08:00:00Z")), "{text}");

    drop(first);
    open(dir.path()).await;
}

#[tokio::test]
async fn a_path_that_cannot_be_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "hello").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path).await;
        assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"hello");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let dir = closed_state().await;
    let path = dir.path().join("weft.db");
    let whole = fs::read(&path).unwrap();
    let (page, pages) = (4096, whole.len() / 4096);
    assert!(pages > 10, "{pages}");

    let mut cases = vec![
        ("not a database", b"hello, I am no database and never was".repeat(200)),
        ("half of it", whole[..whole.len() / 2].to_vec()),
        ("cut inside a page", whole[..page * 5 + 100].to_vec()),
        ("no header", [&[0u8; 100], &whole[100..]].concat()),
    ];
    for number in [1, 4, pages / 2, pages - 1] {
        let mut scribbled = whole.clone();
        scribbled[number * page..(number + 1) * page].fill(0xa5);
        cases.push(("a page scribbled over", scribbled));
    }
    for (what, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = refusal(dir.path()).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error:?}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: changed");
    }

    fs::write(&path, &whole).unwrap();
    assert!(open(dir.path()).await.certificate(&format!("{:032x}", 7)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = closed_state().await;
    let mut conn = raw(dir.path()).await;
    sqlx::query("UPDATE meta SET schema_version = 99, written_by = '7.1.0'")
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    let before = fs::read(dir.path().join("weft.db")).unwrap();

    let error = refusal(dir.path()).await;
    assert_eq!(
        error.to_string(),
        format!(
            "{} was written by weft 7.1.0 (schema 99); this program knows schemas up to {SCHEMA_VERSION}",
            dir.path().join("weft.db").display()
        )
    );
    assert!(fs::read(dir.path().join("weft.db")).unwrap() == before);
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weft.db");
    let mut conn =
        SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE recipes (name TEXT)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let before = fs::read(&path).unwrap();

    let error = refusal(dir.path()).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("weft.db"), "").unwrap();
    fs::set_permissions(dir.path().join("weft.db"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    open(dir.path()).await.set_setting("k", "v", at(0)).await.unwrap();
}

#[tokio::test]
async fn a_lock_held_by_another_program_fails_the_write_and_not_the_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.set_setting("k", "v", at(0)).await.unwrap();
    shorten_busy_timeout(&store).await;

    let mut other = raw(dir.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = store.set_setting("k", "w", at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert_eq!(store.write_state(), WriteState::Locked);
    assert_eq!(store.setting("k").await.unwrap().as_deref(), Some("v"));

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.set_setting("k", "w", at(2)).await.unwrap();
    assert_eq!(store.write_state(), WriteState::Writable);
}

#[tokio::test]
async fn a_full_disk_fails_writes_whole_and_lets_reads_go_on_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    on_writer(&store, "PRAGMA max_page_count = 30").await;

    let mut written = 0;
    let error = loop {
        match store.record_certificate(&certificate(&format!("{written:032x}"), issuer), at(0)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}");
    assert!(error.advice().contains("make room"), "{}", error.advice());
    assert_eq!(store.write_state(), WriteState::DiskFull);
    assert!(store.write_state().advice().is_some());
    let last = format!("{:032x}", written - 1);
    assert!(store.certificate(&last).await.unwrap().is_some());
    assert!(store.certificate(&format!("{written:032x}")).await.unwrap().is_none());

    // The connection that failed is gone, and with it the limit that stood for a full disk.
    store.record_certificate(&certificate(&format!("{written:032x}"), issuer), at(0)).await.unwrap();
    assert_eq!(store.write_state(), WriteState::Writable);
}

/// What SQLite does by itself when a real disk is full.
#[tokio::test]
async fn a_transaction_the_database_gave_up_does_not_block_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    on_writer(
        &store,
        "CREATE TRIGGER boom BEFORE INSERT ON settings WHEN NEW.key = 'boom' \
         BEGIN SELECT RAISE(ROLLBACK, 'gave up'); END",
    )
    .await;
    let error = store.set_setting("boom", "v", at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
    store.set_setting("k", "v", at(0)).await.unwrap();
    assert_eq!(store.setting("boom").await.unwrap(), None);
}

#[tokio::test]
async fn a_write_that_is_not_permitted_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    on_writer(&store, "PRAGMA query_only = ON").await;
    let error = store.set_setting("k", "v", at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    assert_eq!(store.write_state(), WriteState::NotWritable);
    store.set_setting("k", "v", at(0)).await.unwrap();
}

#[tokio::test]
async fn damage_found_while_running_stops_writes_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    for i in 0..500 {
        store.record_certificate(&certificate(&format!("{i:032x}"), issuer), at(0)).await.unwrap();
    }
    on_writer(&store, "PRAGMA wal_checkpoint(TRUNCATE)").await;

    let path = dir.path().join("weft.db");
    let length = fs::metadata(&path).unwrap().len();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length).unwrap() - 4096]).unwrap();
    drop(file);

    let error =
        store.certificates(&crate::CertificateQuery { limit: 500, ..Default::default() }).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(store.write_state(), WriteState::Damaged);
    let error = store.set_setting("k", "v", at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (store, issuer) = with_issuer(dir.path()).await;
    store.record_certificate(&certificate("aa", issuer), at(0)).await.unwrap();
    store.upsert_workload(&workload("web-0"), at(60), at(0)).await.unwrap();

    // What a kill leaves: the files as they are now, log not merged.
    let copy = tempfile::tempdir().unwrap();
    for file in ["weft.db", "weft.db-wal"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
        fs::set_permissions(copy.path().join(file), Permissions::from_mode(0o600)).unwrap();
    }
    let store = open(copy.path()).await;
    assert!(store.certificate("aa").await.unwrap().is_some());
    assert_eq!(store.workloads().await.unwrap().len(), 1);
    assert_eq!(store.trust_roots().await.unwrap()[0].authority, authority("root"));
}

#[tokio::test]
async fn a_dropped_write_leaves_nothing_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for _ in 0..20 {
        let mut tx = store.begin("test", Durability::Full).await.unwrap();
        sqlx::query("INSERT INTO settings VALUES ('half', 'done', 0)").execute(&mut *tx).await.unwrap();
        drop(tx);
        let write = store.set_setting("k", "v", at(0));
        let _ = tokio::time::timeout(Duration::from_micros(50), write).await;
    }
    store.set_setting("k", "last", at(0)).await.unwrap();
    assert_eq!(store.setting("half").await.unwrap(), None);
    assert_eq!(store.setting("k").await.unwrap().as_deref(), Some("last"));
}

async fn on_writer(store: &Store, sql: &'static str) {
    let mut conn = store.writer().acquire().await.unwrap();
    sqlx::query(sql).fetch_all(&mut *conn).await.unwrap();
}

async fn shorten_busy_timeout(store: &Store) {
    on_writer(store, "PRAGMA busy_timeout = 20").await;
}
