"""What everything that is registered shares: the version that counts its changes, and the secret that it is kept under.

Whoever changes what runs have to keep to (holds, events) counts the version up first, in the transaction of the change:
so changes come one after the other, and whoever reads a version sees all that it counts.
"""

from __future__ import annotations

import hmac

import sqlalchemy as sa

from lethe.errors import EvidenceError
from lethe.governance import schema
from lethe.keys import Keys


def next_version(connection: sa.Connection) -> int:
    """Count a change; who does it next waits until the transaction ends."""
    connection.execute(sa.update(schema.registry_state).values(version=schema.registry_state.c.version + 1))
    return version_of(connection)


def version_of(connection: sa.Connection) -> int:
    """The version, as the given connection sees it."""
    return int(connection.scalar(sa.select(schema.registry_state.c.version)) or 0)


def require_secret_in_use(connection: sa.Connection, keys: Keys) -> None:
    """See, until the transaction ends, that the master secret was not replaced by another one since it was read.

    Raises:
        EvidenceError: if it was.
    """
    known = connection.scalar(sa.select(schema.registry_state.c.secret_check).with_for_update(read=True))
    if known is not None:
        require_same_secret(known, keys)


def require_same_secret(known: str | None, keys: Keys) -> None:
    """See that a master secret is the one of a check value.

    Raises:
        EvidenceError: if it is another one, or there is no check value.
    """
    if known is None or not hmac.compare_digest(known, keys.check):
        raise EvidenceError(
            "connection lethe_keys: its master secret is not the one that the governance database was begun with, so "
            "that no hold and no record could be found; give it the password that was used before, or where that was "
            "replaced, the connection that `lethe keys rotate --master` wrote"
        )
