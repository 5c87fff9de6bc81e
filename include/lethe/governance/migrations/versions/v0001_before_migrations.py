"""The schema as it was before there were migrations: what a database without a version is taken for."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: it is there."""
