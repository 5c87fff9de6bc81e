"""`lethe governance`: the governance database itself."""

from __future__ import annotations

import typer

from lethe.cli.shell import resolve, say

governance_app = typer.Typer(help="The governance database: holds, runs and their evidence.", no_args_is_help=True)


@governance_app.callback()
def _governance() -> None: ...


@governance_app.command()
def upgrade() -> None:
    """Bring the governance database to this version's schema. No run may be under way. Harmless when it is there."""
    from lethe.connections import sqlalchemy_url
    from lethe.governance import CONNECTION_ID, Governance
    from lethe.governance.migrating import upgrade

    governance = Governance(sqlalchemy_url(resolve(CONNECTION_ID)))
    try:
        before, now = upgrade(governance)
    finally:
        governance.close()
    say(f"The governance database was at schema {before} and is at {now}.")
