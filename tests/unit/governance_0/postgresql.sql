-- The governance database as the version without migrations made it, on postgresql; one statement a paragraph.

CREATE TABLE lethe_registry_state (
    id SERIAL NOT NULL, 
    version BIGINT NOT NULL, 
    CONSTRAINT pk_lethe_registry_state PRIMARY KEY (id)
)

COMMENT ON COLUMN lethe_registry_state.version IS 'Counts every change of the registry.'

CREATE TABLE lethe_hold (
    id VARCHAR(40) NOT NULL, 
    kind VARCHAR(20) NOT NULL, 
    matter TEXT NOT NULL, 
    reason TEXT NOT NULL, 
    placed_by TEXT NOT NULL, 
    placed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    version BIGINT NOT NULL, 
    categories JSON NOT NULL, 
    datasets JSON NOT NULL, 
    clock_first DATE, 
    clock_last DATE, 
    identifier_counts JSON NOT NULL, 
    in_force_at TIMESTAMP WITH TIME ZONE, 
    release_proposed_by TEXT, 
    release_proposed_at TIMESTAMP WITH TIME ZONE, 
    released_by TEXT, 
    released_at TIMESTAMP WITH TIME ZONE, 
    release_version BIGINT, 
    CONSTRAINT pk_lethe_hold PRIMARY KEY (id)
)

COMMENT ON COLUMN lethe_hold.matter IS 'The reference of the matter, such as a file number.'

COMMENT ON COLUMN lethe_hold.version IS 'Version of the registry at which it was placed.'

COMMENT ON COLUMN lethe_hold.categories IS 'Empty: all.'

COMMENT ON COLUMN lethe_hold.datasets IS 'Empty: all. Written category.dataset.'

COMMENT ON COLUMN lethe_hold.identifier_counts IS 'Number of identifiers by type; empty: none named.'

COMMENT ON COLUMN lethe_hold.in_force_at IS 'When nothing that started before it was under way any more.'

CREATE TABLE lethe_lease (
    id VARCHAR(40) NOT NULL, 
    run_id VARCHAR(80) NOT NULL, 
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_lethe_lease PRIMARY KEY (id)
)

CREATE TABLE lethe_run (
    id VARCHAR(80) NOT NULL, 
    category VARCHAR(63) NOT NULL, 
    as_of TIMESTAMP WITH TIME ZONE NOT NULL, 
    policy_digest VARCHAR(64) NOT NULL, 
    policy JSON NOT NULL, 
    cutoff TEXT NOT NULL, 
    state VARCHAR(20) NOT NULL, 
    dry_run BOOLEAN NOT NULL, 
    expected_digest VARCHAR(64), 
    trigger TEXT NOT NULL, 
    requested_by TEXT, 
    started_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    active_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    finished_at TIMESTAMP WITH TIME ZONE, 
    settling_until TIMESTAMP WITH TIME ZONE, 
    superseded_by VARCHAR(80), 
    software TEXT NOT NULL, 
    CONSTRAINT pk_lethe_run PRIMARY KEY (id)
)

CREATE INDEX ix_lethe_run_category ON lethe_run (category)

COMMENT ON COLUMN lethe_run.policy IS 'The policy as it was.'

COMMENT ON COLUMN lethe_run.state IS 'open, closing, succeeded, failed, dry or superseded.'

COMMENT ON COLUMN lethe_run.trigger IS 'What started it: the DAG run, or the command line.'

COMMENT ON COLUMN lethe_run.requested_by IS 'The person who asked for it; none where a schedule did.'

COMMENT ON COLUMN lethe_run.active_at IS 'When a stage of it last began or ended.'

COMMENT ON COLUMN lethe_run.finished_at IS 'When its record was complete and its staging could go.'

COMMENT ON COLUMN lethe_run.settling_until IS 'Until when one process completes its record.'

CREATE TABLE lethe_ledger (
    seq BIGINT NOT NULL, 
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

COMMENT ON COLUMN lethe_ledger.at IS 'UTC, ISO 8601; as text, because it is hashed.'

COMMENT ON COLUMN lethe_ledger.subject IS 'The run, hold or policy that it is about.'

COMMENT ON COLUMN lethe_ledger.body IS 'Canonical JSON (RFC 8785).'

CREATE OR REPLACE FUNCTION lethe_ledger_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'INSERT' THEN IF NEW.seq = (SELECT coalesce(max(seq), 0) + 1 FROM lethe_ledger) THEN RETURN NEW; END IF; END IF; RAISE EXCEPTION 'lethe_ledger is append-only'; END $$

CREATE TRIGGER lethe_ledger_append BEFORE INSERT ON lethe_ledger FOR EACH ROW EXECUTE FUNCTION lethe_ledger_guard()

CREATE TRIGGER lethe_ledger_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON lethe_ledger FOR EACH STATEMENT EXECUTE FUNCTION lethe_ledger_guard()

ALTER TABLE lethe_ledger ENABLE ALWAYS TRIGGER lethe_ledger_append

ALTER TABLE lethe_ledger ENABLE ALWAYS TRIGGER lethe_ledger_keep

CREATE TABLE lethe_hold_identifiers (
    hold_id VARCHAR(40) NOT NULL, 
    n INTEGER NOT NULL, 
    type VARCHAR(20) NOT NULL, 
    count INTEGER NOT NULL, 
    ciphertext BYTEA NOT NULL, 
    CONSTRAINT pk_lethe_hold_identifiers PRIMARY KEY (hold_id, n), 
    CONSTRAINT fk_lethe_hold_identifiers_hold_id_lethe_hold FOREIGN KEY(hold_id) REFERENCES lethe_hold (id)
)

COMMENT ON COLUMN lethe_hold_identifiers.ciphertext IS 'Normalised identifiers, encrypted (AES-GCM).'

CREATE TABLE lethe_hold_digest (
    hold_id VARCHAR(40) NOT NULL, 
    type VARCHAR(20) NOT NULL, 
    digest BYTEA NOT NULL, 
    CONSTRAINT pk_lethe_hold_digest PRIMARY KEY (hold_id, type, digest), 
    CONSTRAINT fk_lethe_hold_digest_hold_id_lethe_hold FOREIGN KEY(hold_id) REFERENCES lethe_hold (id)
)

CREATE INDEX ix_lethe_hold_digest_digest ON lethe_hold_digest (digest)

COMMENT ON COLUMN lethe_hold_digest.digest IS 'Keyed digest to find an identifier by.'

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

COMMENT ON COLUMN lethe_run_dataset.candidates IS 'What was found (stores.base.Candidates).'

COMMENT ON COLUMN lethe_run_dataset.validation IS 'Results of the expectations before and after.'

COMMENT ON COLUMN lethe_run_dataset.approval IS 'Who decided, when and what, or that it was within the limits.'

COMMENT ON COLUMN lethe_run_dataset.tally IS 'What became of the candidates (stores.base.Tally).'

COMMENT ON COLUMN lethe_run_dataset."left" IS 'What the dataset held afterwards (stores.base.Survey).'

COMMENT ON COLUMN lethe_run_dataset.remainders IS 'What is not yet physically gone.'

COMMENT ON COLUMN lethe_run_dataset.problem IS 'Why it is not done, in one message.'

CREATE TABLE lethe_certificate (
    run_id VARCHAR(80) NOT NULL, 
    document TEXT NOT NULL, 
    issued_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_lethe_certificate PRIMARY KEY (run_id), 
    CONSTRAINT fk_lethe_certificate_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

COMMENT ON COLUMN lethe_certificate.document IS 'The signed certificate, as JSON.'

CREATE TABLE lethe_proof_leaves (
    run_id VARCHAR(80) NOT NULL, 
    dataset VARCHAR(63) NOT NULL, 
    n INTEGER NOT NULL, 
    first BYTEA NOT NULL, 
    root BYTEA NOT NULL, 
    leaves BYTEA NOT NULL, 
    CONSTRAINT pk_lethe_proof_leaves PRIMARY KEY (run_id, dataset, n), 
    CONSTRAINT fk_lethe_proof_leaves_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

COMMENT ON COLUMN lethe_proof_leaves.first IS 'The smallest digest of the chunk.'

COMMENT ON COLUMN lethe_proof_leaves.root IS 'Merkle root of the chunk''s leaves.'

COMMENT ON COLUMN lethe_proof_leaves.leaves IS 'Sorted keyed digests of records, with outcomes.'

CREATE TABLE lethe_proof_tree (
    run_id VARCHAR(80) NOT NULL, 
    dataset VARCHAR(63) NOT NULL, 
    records BIGINT NOT NULL, 
    outcomes TEXT NOT NULL, 
    root VARCHAR(64) NOT NULL, 
    CONSTRAINT pk_lethe_proof_tree PRIMARY KEY (run_id, dataset), 
    CONSTRAINT fk_lethe_proof_tree_run_id_lethe_run FOREIGN KEY(run_id) REFERENCES lethe_run (id)
)

COMMENT ON COLUMN lethe_proof_tree.records IS 'Number of leaves.'

COMMENT ON COLUMN lethe_proof_tree.outcomes IS 'Number of leaves by outcome, as JSON.'

COMMENT ON COLUMN lethe_proof_tree.root IS 'Merkle root (RFC 6962), in hexadecimal.'

INSERT INTO lethe_registry_state (id, version) VALUES (1, 0)
