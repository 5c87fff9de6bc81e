"""The schema of the governance database: its tables, what guards the ledger, and its versions.

Everything that others need to be able to read without Lethe is plain: text, numbers, JSON and UTC timestamps.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Timezone-aware timestamps, kept in UTC; SQLite would drop the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC."""
        del dialect
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """From UTC."""
        del dialect
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

registry_state = sa.Table(
    "lethe_registry_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Counts every change of the registry."),
    sa.Column("secret_check", sa.String(64), comment="Tells the master secret from another, without revealing it."),
)

hold = sa.Table(
    "lethe_hold",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("matter", sa.Text, nullable=False, comment="The reference of the matter, such as a file number."),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("placed_at", UtcDateTime, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Version of the registry at which it was placed."),
    sa.Column("categories", sa.JSON, nullable=False, comment="Empty: all."),
    sa.Column("datasets", sa.JSON, nullable=False, comment="Empty: all. Written category.dataset."),
    sa.Column("clock_first", sa.Date),
    sa.Column("clock_last", sa.Date),
    sa.Column(
        "identifier_counts",
        sa.JSON,
        nullable=False,
        comment="Number of identifiers by type; empty: none named.",
    ),
    sa.Column("in_force_at", UtcDateTime, comment="When nothing that started before it was under way any more."),
    sa.Column("release_proposed_by", sa.Text),
    sa.Column("release_proposed_at", UtcDateTime),
    sa.Column("released_by", sa.Text),
    sa.Column("released_at", UtcDateTime),
    sa.Column("release_version", sa.BigInteger),
)

hold_identifiers = sa.Table(
    "lethe_hold_identifiers",
    metadata,
    sa.Column("hold_id", sa.ForeignKey(hold.c.id), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False, comment="Normalised identifiers, encrypted (AES-GCM)."),
)

hold_digest = sa.Table(
    "lethe_hold_digest",
    metadata,
    sa.Column("hold_id", sa.ForeignKey(hold.c.id), primary_key=True),
    sa.Column("type", sa.String(20), primary_key=True),
    sa.Column("digest", sa.LargeBinary(16), primary_key=True, comment="Keyed digest to find an identifier by."),
    sa.Index(None, "digest"),
)

retention_event = sa.Table(
    "lethe_retention_event",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, comment="What policies call it."),
    sa.Column("digest", sa.LargeBinary(16), nullable=False, comment="Keyed digest to find the reference by."),
    sa.Column("reference", sa.LargeBinary, nullable=False, comment="Whose event it is, encrypted (AES-GCM)."),
    sa.Column("day", sa.Date, nullable=False, comment="The local day on which it happened."),
    sa.Column("recorded_by", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("recorded_version", sa.BigInteger, nullable=False, comment="Version of the registry since which it is."),
    sa.Column("confirmed_by", sa.Text, comment="A second person."),
    sa.Column("confirmed_at", UtcDateTime),
    sa.Column("confirmed_version", sa.BigInteger),
    sa.Column("withdrawn_by", sa.Text),
    sa.Column("withdrawn_at", UtcDateTime),
    sa.Column("withdrawn_version", sa.BigInteger),
    sa.Column("withdrawal_binds_at", UtcDateTime, comment="When nothing that started before was under way any more."),
    sa.Index("ix_lethe_retention_event_name_digest", "name", "digest"),
)

subject_request = sa.Table(
    "lethe_subject_request",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("reference", sa.Text, nullable=False, comment="Of the request's file."),
    sa.Column("received", sa.Date, nullable=False, comment="The local day on which it came in."),
    sa.Column("identifiers", sa.LargeBinary, nullable=False, comment="Whose request it is, encrypted (AES-GCM)."),
    sa.Column("identifier_counts", sa.JSON, nullable=False, comment="Number of identifiers by type."),
    sa.Column("recorded_by", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("recorded_version", sa.BigInteger, nullable=False, comment="Version of the registry since which it is."),
    sa.Column("confirmed_by", sa.Text, comment="A second person, where records may go by it."),
    sa.Column("confirmed_at", UtcDateTime),
    sa.Column("confirmed_version", sa.BigInteger),
    sa.Column("extension", sa.Text, comment="Why the period was extended by two months."),
    sa.Column("extended_by", sa.Text),
    sa.Column("extended_at", UtcDateTime),
    sa.Column("answer", sa.Text, comment="What the person was told, in a few words."),
    sa.Column("answered_by", sa.Text),
    sa.Column("answered_at", UtcDateTime),
    sa.Column("cancelled_because", sa.Text),
    sa.Column("cancelled_by", sa.Text),
    sa.Column("cancelled_at", UtcDateTime),
    sa.Column("cancellation_binds_at", UtcDateTime, comment="When nothing that started before was under way any more."),
    sa.Column("ended_version", sa.BigInteger, comment="Version of the registry since which nothing goes by it."),
)

lease = sa.Table(
    "lethe_lease",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("run_id", sa.String(80), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

run = sa.Table(
    "lethe_run",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("category", sa.String(63), nullable=False, index=True),
    sa.Column("as_of", UtcDateTime, nullable=False),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("policy", sa.JSON, nullable=False, comment="The policy as it was."),
    sa.Column("cutoff", sa.Text, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, comment="open, closing, succeeded, failed, dry or superseded."),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("expected_digest", sa.String(64)),
    sa.Column("trigger", sa.Text, nullable=False, comment="What started it: the DAG run, or the command line."),
    sa.Column("requested_by", sa.Text, comment="The person who asked for it; none where a schedule did."),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("active_at", UtcDateTime, nullable=False, comment="Its last sign of life."),
    sa.Column("waiting_until", UtcDateTime, comment="Until when it waits for a person, with no process at work."),
    sa.Column("finished_at", UtcDateTime, comment="When its record was complete and its staging could go."),
    sa.Column("clocks", sa.JSON, comment="The clocks that were compared: milliseconds ahead of the planner's."),
    sa.Column("settling_until", UtcDateTime, comment="Until when one process completes its record."),
    sa.Column("settling_by", sa.String(40), comment="The claim of that process."),
    sa.Column("superseded_by", sa.String(80)),
    sa.Column("software", sa.Text, nullable=False),
    sa.Index("ix_lethe_run_category_started_at", "category", "started_at"),
    sa.Index("ix_lethe_run_category_as_of", "category", "as_of"),
    sa.Index("ix_lethe_run_trigger", "trigger"),
)

run_dataset = sa.Table(
    "lethe_run_dataset",
    metadata,
    sa.Column("run_id", sa.ForeignKey(run.c.id), primary_key=True),
    sa.Column("dataset", sa.String(63), primary_key=True),
    sa.Column("candidates", sa.JSON, comment="What was found (stores.base.Candidates)."),
    sa.Column("validation", sa.JSON, comment="Results of the expectations before and after."),
    sa.Column("approval", sa.JSON, comment="Who decided, when and what, or that it was within the limits."),
    sa.Column("tally", sa.JSON, comment="What became of the candidates (counts.Became)."),
    sa.Column("left", sa.JSON, comment="What the dataset held afterwards (counts.Found)."),
    sa.Column("remainders", sa.JSON, comment="What is not yet physically gone."),
    sa.Column("problem", sa.Text, comment="Why it is not done, in one message."),
)

ledger = sa.Table(
    "lethe_ledger",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False, comment="UTC, ISO 8601; as text, because it is hashed."),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("subject", sa.Text, nullable=False, index=True, comment="The run, hold or policy that it is about."),
    sa.Column("body", sa.Text, nullable=False, comment="Canonical JSON (RFC 8785)."),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Index("ix_lethe_ledger_at", "at"),
)

LEDGER_GUARDS = {
    "sqlite": ("lethe_ledger_append", "lethe_ledger_keep", "lethe_ledger_keep_rows"),
    "postgresql": ("lethe_ledger_append", "lethe_ledger_keep"),
}
"""Triggers by which a database refuses to change the ledger: entries are only added, each at the end."""

_GUARD_STATEMENTS = {
    "sqlite": (
        "CREATE TRIGGER lethe_ledger_append BEFORE INSERT ON lethe_ledger "
        "WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM lethe_ledger) "
        "BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END",
        "CREATE TRIGGER lethe_ledger_keep BEFORE UPDATE ON lethe_ledger "
        "BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END",
        "CREATE TRIGGER lethe_ledger_keep_rows BEFORE DELETE ON lethe_ledger "
        "BEGIN SELECT RAISE(ABORT, 'lethe_ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION lethe_ledger_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'INSERT' THEN IF NEW.seq = (SELECT coalesce(max(seq), 0) + 1 FROM lethe_ledger) THEN "
        "RETURN NEW; END IF; END IF; RAISE EXCEPTION 'lethe_ledger is append-only'; END $$",
        "CREATE TRIGGER lethe_ledger_append BEFORE INSERT ON lethe_ledger "
        "FOR EACH ROW EXECUTE FUNCTION lethe_ledger_guard()",
        "CREATE TRIGGER lethe_ledger_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON lethe_ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION lethe_ledger_guard()",
        # "always": also in a session that calls itself a replica, which switches ordinary triggers off
        "ALTER TABLE lethe_ledger ENABLE ALWAYS TRIGGER lethe_ledger_append",
        "ALTER TABLE lethe_ledger ENABLE ALWAYS TRIGGER lethe_ledger_keep",
    ),
}

for _dialect, _statements in _GUARD_STATEMENTS.items():
    for _statement in _statements:
        _guard = sa.DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        sa.event.listen(ledger, "after_create", _guard)

certificate = sa.Table(
    "lethe_certificate",
    metadata,
    sa.Column("run_id", sa.ForeignKey(run.c.id), primary_key=True),
    sa.Column("document", sa.Text, nullable=False, comment="The signed certificate, as JSON."),
    sa.Column("issued_at", UtcDateTime, nullable=False),
)

proof_leaves = sa.Table(
    "lethe_proof_leaves",
    metadata,
    sa.Column("run_id", sa.ForeignKey(run.c.id), primary_key=True),
    sa.Column("dataset", sa.String(63), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("first", sa.LargeBinary(32), nullable=False, comment="The smallest digest of the chunk."),
    sa.Column("root", sa.LargeBinary(32), nullable=False, comment="Merkle root of the chunk's leaves."),
    sa.Column("leaves", sa.LargeBinary, nullable=False, comment="Sorted keyed digests of records, with outcomes."),
)

proof_tree = sa.Table(
    "lethe_proof_tree",
    metadata,
    sa.Column("run_id", sa.ForeignKey(run.c.id), primary_key=True),
    sa.Column("dataset", sa.String(63), primary_key=True),
    sa.Column("records", sa.BigInteger, nullable=False, comment="Number of outcomes."),
    sa.Column("outcomes", sa.Text, nullable=False, comment="Number of records by outcome, as JSON."),
    sa.Column("root", sa.String(64), nullable=False, comment="Merkle root (RFC 6962), in hexadecimal."),
    sa.Column("leaf", sa.Integer, server_default="1", comment="Outcomes in a leaf of the tree."),
)

alert = sa.Table(
    "lethe_alert",
    metadata,
    sa.Column("cause", sa.Text, primary_key=True, comment="Of one cause, people are told once."),
    sa.Column("noted_at", UtcDateTime, nullable=False),
    sa.Column("alert", sa.JSON, nullable=False, comment="What is told (alerts.alert.Alert)."),
    sa.Column("unsent", sa.JSON, nullable=False, comment="The connections that it has not reached."),
    sa.Column("tried_at", UtcDateTime, comment="When somebody last began, or ended, to send it."),
)

survey = sa.Table(
    "lethe_survey",
    metadata,
    sa.Column("category", sa.String(63), primary_key=True),
    sa.Column("dataset", sa.String(63), primary_key=True),
    sa.Column("at", UtcDateTime, primary_key=True, comment="The moment that it is judged by."),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("found", sa.JSON(none_as_null=True), comment="What there is (counts.Found), without names of files."),
    sa.Column("overdue", sa.BigInteger, comment="Records that a run and a day had been given to by the schedule."),
    sa.Column("overdue_days", sa.Integer, comment="Days since the oldest of what is due had to go."),
    sa.Column("ahead", sa.JSON, nullable=False, comment="Records that are due in so many days."),
    sa.Column("problem", sa.Text, comment="Why nothing is known, in one message."),
    sa.Index(None, "at"),
)

hold_survey = sa.Table(
    "lethe_hold_survey",
    metadata,
    sa.Column("hold_id", sa.ForeignKey(hold.c.id), primary_key=True),
    sa.Column("dataset", sa.String(127), primary_key=True, comment="Written category.dataset."),
    sa.Column("at", UtcDateTime, nullable=False, comment="When it was counted."),
    sa.Column("records", sa.BigInteger, comment="What the hold found, expired or not; none: it could not be counted."),
    sa.Column("problem", sa.Text, comment="Why it could not be."),
)

schema_version = sa.Table(
    "lethe_schema_version",
    metadata,
    sa.Column("version_num", sa.String(32), primary_key=True),
)

VERSIONS = ("0001", "0002", "0003")
"""The schema's versions, oldest first; see `migrations`."""
HEAD = VERSIONS[-1]


def version_of(connection: sa.Connection) -> str | None:
    """The version of the schema that a database has; None where it has none of Lethe's tables."""
    inspector = sa.inspect(connection)
    if inspector.has_table(schema_version.name):
        return str(connection.scalar(sa.select(schema_version.c.version_num)))
    return VERSIONS[0] if inspector.has_table(run.name) else None


def create(connection: sa.Connection) -> None:
    """Create the whole schema in an empty database."""
    metadata.create_all(connection)
    connection.execute(sa.insert(registry_state).values(id=1, version=0))
    connection.execute(sa.insert(schema_version).values(version_num=HEAD))
