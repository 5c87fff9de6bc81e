"""The governance database: what holds are in force, what runs did, and the evidence of it.

One schema for the hold registry, the runs and the ledger, in a database of its own (never Airflow's metadata
database): SQLite by default, PostgreSQL in production. Reached by the Airflow connection `lethe_governance`.
"""

from lethe.governance.database import CONNECTION_ID, Governance, KeptOpen, open_governance

__all__ = ["CONNECTION_ID", "Governance", "KeptOpen", "open_governance"]
