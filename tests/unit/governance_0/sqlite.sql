-- The governance database as the version without migrations made it, on sqlite; one statement a paragraph.

CREATE TABLE lethe_registry_state (
    id INTEGER NOT NULL, 
    version BIGINT NOT NULL, 
    CONSTRAINT pk_lethe_registry_state PRIMARY KEY (id)
)

CREATE TABLE lethe_hold (
    id VARCHAR(40) NOT NULL, 
    kind VARCHAR(20) NOT NULL, 
    matter TEXT NOT NULL, 
    reason TEXT NOT NULL, 
    placed_by TEXT NOT NULL, 
    placed_at DATETIME NOT NULL, 
    version BIGINT NOT NULL, 
    categories JSON NOT NULL, 
    datasets JSON NOT NULL, 
    clock_first DATE, 
    clock_last DATE, 
    identifier_counts JSON NOT NULL, 
    in_force_at DATETIME, 
    release_proposed_by TEXT, 
    release_proposed_at DATETIME, 
    released_by TEXT, 
    released_at DATETIME, 
    release_version BIGINT, 
    CONSTRAINT pk_lethe_hold PRIMARY KEY (id)
)

CREATE TABLE lethe_lease (
    id VARCHAR(40) NOT NULL, 
    run_id VARCHAR(80) NOT NULL, 
    expires_at DATETIME NOT NULL, 
    CONSTRAINT pk_lethe_lease PRIMARY KEY (id)
)

CREATE TABLE lethe_run (
    id VARCHAR(80) NOT NULL, 
    category VARCHAR(63) NOT NULL, 
    as_of DATETIME NOT NULL, 
    policy_digest VARCHAR(64) NOT NULL, 
    policy JSON NOT NULL, 
    cutoff TEXT NOT NULL, 
    state VARCHAR(20) NOT NULL, 
    dry_run BOOLEAN NOT NULL, 
    expected_digest VARCHAR(64), 
    "trigger" TEXT NOT NULL, 
    requested_by TEXT, 
    started_at DATETIME NOT NULL, 
    active_at DATETIME NOT NULL, 
    finished_at DATETIME, 
    settling_until DATETIME, 
    superseded_by VARCHAR(80), 
    software TEXT NOT NULL, 
    CONSTRAINT pk_lethe_run PRIMARY KEY (id)
)

CREATE INDEX ix_lethe_run_category ON lethe_run (category)

CREATE TABLE lethe_ledger (
    seq INTEGER NOT NULL, 
    at TEXT NOT NULL, 
    kind VARCHAR(40) NOT NULL, 
    subject TEXT NOT NULL, 
    body TEXT NOT NULL, 
    previous VARCHAR(64) NOT NULL, 
    hash VARCHAR(64) NOT NULL, 
    CONSTRAINT pk_lethe_ledger PRIMARY KEY (seq), 
    CONSTRAINT uq_lethe_ledger_hash UNIQUE (hash)
)

CREATE INDEX ix_lethe_ledger_subject ON lethe_ledger (subject)

CREATE TRIGGER lethe_ledger_append BEFORE INSERT ON lethe_ledger WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM lethe_ledger) BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END

CREATE TRIGGER lethe_ledger_keep BEFORE UPDATE ON lethe_ledger BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END

CREATE TRIGGER lethe_ledger_keep_rows BEFORE DELETE ON lethe_ledger BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END

CREATE TABLE lethe_hold_identifiers (
    hold_id VARCHAR(40) NOT NULL, 
    n INTEGER NOT NULL, 
    type VARCHAR(20) NOT NULL, 
    count INTEGER NOT NULL, 
    ciphertext BLOB NOT NULL, 
    CONSTRAINT pk_lethe_hold_identifiers PRIMARY KEY (hold_id, n), 
    CONSTRAINT fk_lethe_hold_identifiers_hold_id_lethe_hold FOREIGN KEY(hold_id) REFERENCES lethe_hold (id)
)

CREATE TABLE lethe_hold_digest (
    hold_id VARCHAR(40) NOT NULL, 
    type VARCHAR(20) NOT NULL, 
    digest BLOB NOT NULL, 
    CONSTRAINT pk_lethe_hold_digest PRIMARY KEY (hold_id, type, digest), 
    CONSTRAINT fk_lethe_hold_digest_hold_id_lethe_hold FOREIGN KEY(hold_id) REFERENCES lethe_hold (id)
)

CREATE INDEX ix_lethe_hold_digest_digest ON lethe_hold_digest (digest)

CREATE TABLE lethe_run_dataset (
    run_id VARCHAR(80) NOT NULL, 
    dataset VARCHAR(63) NOT NULL, 
    candidates JSON, 
    validation JSON, 
    approval JSON, 
    tally JSON, 
    "left" JSON, 
    remainders JSON, 
    problem TEXT, 
    CONSTRAINT pk_lethe_run_dataset PRIMARY KEY (run_id, dataset), 
    CONSTRAINT fk_lethe_run_dataset_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

CREATE TABLE lethe_certificate (
    run_id VARCHAR(80) NOT NULL, 
    document TEXT NOT NULL, 
    issued_at DATETIME NOT NULL, 
    CONSTRAINT pk_lethe_certificate PRIMARY KEY (run_id), 
    CONSTRAINT fk_lethe_certificate_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

CREATE TABLE lethe_proof_leaves (
    run_id VARCHAR(80) NOT NULL, 
    dataset VARCHAR(63) NOT NULL, 
    n INTEGER NOT NULL, 
    first BLOB NOT NULL, 
    root BLOB NOT NULL, 
    leaves BLOB NOT NULL, 
    CONSTRAINT pk_lethe_proof_leaves PRIMARY KEY (run_id, dataset, n), 
    CONSTRAINT fk_lethe_proof_leaves_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

CREATE TABLE lethe_proof_tree (
    run_id VARCHAR(80) NOT NULL, 
    dataset VARCHAR(63) NOT NULL, 
    records BIGINT NOT NULL, 
    outcomes TEXT NOT NULL, 
    root VARCHAR(64) NOT NULL, 
    CONSTRAINT pk_lethe_proof_tree PRIMARY KEY (run_id, dataset), 
    CONSTRAINT fk_lethe_proof_tree_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

INSERT INTO lethe_registry_state (id, version) VALUES (1, 0)
