-- Schema 1. Times are milliseconds since 1970 (UTC); certificates and keys are DER; fingerprints are the lower-case
-- hex SHA-256 of a certificate's DER.

PRAGMA application_id = 0x77656674;

CREATE TABLE meta (
    singleton      INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    schema_version INTEGER NOT NULL,
    written_by     TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    upgraded_at    INTEGER NOT NULL
) STRICT;

-- Roots and issuers are never deleted: an old chain can be explained years later. Those in force have no retired_at.
CREATE TABLE trust_roots (
    generation  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    certificate BLOB    NOT NULL,
    private_key BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL UNIQUE,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    retired_at  INTEGER
) STRICT;

CREATE TABLE issuers (
    generation      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    root_generation INTEGER NOT NULL REFERENCES trust_roots (generation),
    name            TEXT    NOT NULL,
    certificate     BLOB    NOT NULL,
    private_key     BLOB    NOT NULL,
    fingerprint     TEXT    NOT NULL UNIQUE,
    not_before      INTEGER NOT NULL,
    not_after       INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    retired_at      INTEGER
) STRICT;

-- The ledger: one row per certificate, written before the certificate leaves the control plane.
CREATE TABLE certificates (
    seq               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    serial            TEXT    NOT NULL UNIQUE,
    identity          TEXT    NOT NULL,
    not_before        INTEGER NOT NULL,
    not_after         INTEGER NOT NULL,
    issued_at         INTEGER NOT NULL,
    issuer_generation INTEGER NOT NULL REFERENCES issuers (generation),
    requester         TEXT    NOT NULL,
    token_id          TEXT,
    fingerprint       TEXT    NOT NULL UNIQUE
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (identity, seq);
CREATE INDEX certificates_by_expiry ON certificates (not_after);

-- Append only: a row never changes, and goes only when its certificate has expired (retention).
CREATE TRIGGER certificates_never_change BEFORE UPDATE ON certificates
BEGIN
    SELECT RAISE(ABORT, 'the certificate ledger is append-only');
END;
CREATE TRIGGER certificates_stay_while_valid BEFORE DELETE ON certificates
WHEN OLD.not_after >= unixepoch('now') * 1000
BEGIN
    SELECT RAISE(ABORT, 'the certificate ledger keeps certificates that are valid');
END;

-- Join tokens. The secret itself is never stored, only its BLAKE3 hash.
CREATE TABLE join_tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    secret_hash  BLOB    NOT NULL CHECK (length(secret_hash) = 32),
    identity     TEXT    NOT NULL,
    namespace    TEXT    NOT NULL,
    workload     TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    uses         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX join_tokens_by_workload ON join_tokens (namespace, workload);
CREATE INDEX join_tokens_by_expiry ON join_tokens (expires_at);

-- The standalone registry.
CREATE TABLE services (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    vip        TEXT    NOT NULL,
    ports      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;

CREATE TABLE workloads (
    namespace       TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    service         TEXT,
    service_account TEXT    NOT NULL,
    identity        TEXT    NOT NULL,
    ip              TEXT    NOT NULL,
    ports           TEXT    NOT NULL,
    labels          TEXT    NOT NULL,
    ready           INTEGER NOT NULL CHECK (ready IN (0, 1)),
    lease_ttl       INTEGER NOT NULL CHECK (lease_ttl > 0),
    lease_until     INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
CREATE INDEX workloads_by_lease ON workloads (lease_until);

-- Addresses handed out from a range, counted from its first address. A released one stays with its owner's name
-- until the range runs out, so that the same name gets the same address again.
CREATE TABLE addresses (
    pool         TEXT    NOT NULL,
    position     INTEGER NOT NULL,
    owner        TEXT    NOT NULL,
    allocated_at INTEGER NOT NULL,
    released_at  INTEGER,
    PRIMARY KEY (pool, position),
    UNIQUE (pool, owner)
) STRICT;
CREATE INDEX addresses_by_release ON addresses (pool, released_at);

CREATE TABLE settings (
    key        TEXT    NOT NULL PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
