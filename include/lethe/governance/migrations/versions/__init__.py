"""Alembic's migrations of the governance database; `lethe.governance.migrating` runs them."""
