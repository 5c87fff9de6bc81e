"""Claims have a token, runs wait for people and say their clocks, the secret has a check value, leaves grow; indexes.

Alerts have an outbox. Columns are added nullable, so that SQLite need not
rebuild a table: a rebuilt ledger would lose the triggers that guard it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001."""
    op.add_column("lethe_run", sa.Column("settling_by", sa.String(40), comment="The claim of that process."))
    op.add_column("lethe_run", sa.Column("waiting_until", sa.DateTime(timezone=True)))
    op.add_column(
        "lethe_run",
        sa.Column("clocks", sa.JSON, comment="The clocks that were compared: milliseconds ahead of the planner's."),
    )
    op.create_index("ix_lethe_ledger_at", "lethe_ledger", ["at"])
    op.add_column("lethe_registry_state", sa.Column("secret_check", sa.String(64)))
    op.add_column(
        "lethe_proof_tree",
        sa.Column("leaf", sa.Integer, server_default="1", comment="Outcomes in a leaf of the tree."),
    )
    op.create_index("ix_lethe_run_category_started_at", "lethe_run", ["category", "started_at"])
    op.create_index("ix_lethe_run_trigger", "lethe_run", ["trigger"])
    op.create_table(
        "lethe_alert",
        sa.Column("cause", sa.Text, nullable=False, comment="Of one cause, people are told once."),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alert", sa.JSON, nullable=False, comment="What is told (alerts.alert.Alert)."),
        sa.Column("unsent", sa.JSON, nullable=False, comment="The connections that it has not reached."),
        sa.Column("tried_at", sa.DateTime(timezone=True), comment="When somebody last began, or ended, to send it."),
        sa.PrimaryKeyConstraint("cause", name="pk_lethe_alert"),
    )
