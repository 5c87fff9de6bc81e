"""Surveys are kept: what each dataset had due at a moment and will have due, and what each hold finds.

All changes until the next release belong into the newest version: the same column or table in `lethe.governance` and in
`upgrade`. A test compares a database that was migrated with one that was made anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002."""
    op.create_table(
        "lethe_survey",
        sa.Column("category", sa.String(63), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="The moment that it is judged by."),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("found", sa.JSON(none_as_null=True), comment="What there is (counts.Found), without names of files."),
        sa.Column("overdue", sa.BigInteger, comment="Records that a run and a day had been given to by the schedule."),
        sa.Column("overdue_days", sa.Integer, comment="Days since the oldest of what is due had to go."),
        sa.Column("ahead", sa.JSON, nullable=False, comment="Records that are due in so many days."),
        sa.Column("problem", sa.Text, comment="Why nothing is known, in one message."),
        sa.PrimaryKeyConstraint("category", "dataset", "at", name="pk_lethe_survey"),
    )
    op.create_table(
        "lethe_hold_survey",
        sa.Column("hold_id", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(127), nullable=False, comment="Written category.dataset."),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When it was counted."),
        sa.Column(
            "records", sa.BigInteger, comment="What the hold found, expired or not; none: it could not be counted."
        ),
        sa.Column("problem", sa.Text, comment="Why it could not be."),
        sa.PrimaryKeyConstraint("hold_id", "dataset", name="pk_lethe_hold_survey"),
        sa.ForeignKeyConstraint(["hold_id"], ["lethe_hold.id"], name="fk_lethe_hold_survey_hold_id_lethe_hold"),
    )
    op.create_index("ix_lethe_survey_at", "lethe_survey", ["at"])
    op.create_table(
        "lethe_retention_event",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False, comment="What policies call it."),
        sa.Column("digest", sa.LargeBinary(16), nullable=False, comment="Keyed digest to find the reference by."),
        sa.Column("reference", sa.LargeBinary, nullable=False, comment="Whose event it is, encrypted (AES-GCM)."),
        sa.Column("day", sa.Date, nullable=False, comment="The local day on which it happened."),
        sa.Column("recorded_by", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_version", sa.BigInteger, nullable=False),
        sa.Column("confirmed_by", sa.Text, comment="A second person."),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("confirmed_version", sa.BigInteger),
        sa.Column("withdrawn_by", sa.Text),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True)),
        sa.Column("withdrawn_version", sa.BigInteger),
        sa.Column("withdrawal_binds_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_lethe_retention_event"),
    )
    op.create_index("ix_lethe_retention_event_name_digest", "lethe_retention_event", ["name", "digest"])
    op.create_table(
        "lethe_subject_request",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("received", sa.Date, nullable=False),
        sa.Column("identifiers", sa.LargeBinary, nullable=False),
        sa.Column("identifier_counts", sa.JSON, nullable=False),
        sa.Column("recorded_by", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_version", sa.BigInteger, nullable=False),
        sa.Column("confirmed_by", sa.Text),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("confirmed_version", sa.BigInteger),
        sa.Column("extension", sa.Text),
        sa.Column("extended_by", sa.Text),
        sa.Column("extended_at", sa.DateTime(timezone=True)),
        sa.Column("answer", sa.Text),
        sa.Column("answered_by", sa.Text),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.Column("cancelled_because", sa.Text),
        sa.Column("cancelled_by", sa.Text),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("cancellation_binds_at", sa.DateTime(timezone=True)),
        sa.Column("ended_version", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_lethe_subject_request"),
    )
    op.create_index("ix_lethe_run_category_as_of", "lethe_run", ["category", "as_of"])
