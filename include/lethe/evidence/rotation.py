"""Replacing a secret: the connection with the new one is on the disk before the database says that it was replaced."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from lethe.errors import EvidenceError
from lethe.evidence import master_secrets
from lethe.evidence.ledger import Ledger
from lethe.evidence.master_secrets import MasterReplacement
from lethe.evidence.signing_keys import REPLACED, SUBJECT, Replacement, require_in_use
from lethe.governance import Governance, schema
from lethe.holds.registry import HoldRegistry
from lethe.keys import Keys
from lethe.retention_events.registry import EventRegistry
from lethe.subjects.registry import SubjectRegistry


def replace_signing_key(governance: Governance, keys: Keys, out: Path) -> Keys:
    """Replace the signing key by a new one, and write the connection that has it to a new file, for its owner alone.

    Killed before the end, the old key is in use still, and the file, if it is there, has a key that nothing knows.

    Raises:
        EvidenceError: if a run is not complete, the key was replaced before, or the file is there or cannot be written.
    """
    ledger = Ledger(governance)
    with governance.write() as connection:
        ledger.lock(connection)
        require_in_use(connection, keys)
        _refuse_beside_runs(connection)
        new = keys.with_new_signing_key()
        ledger.append(connection, REPLACED, SUBJECT, Replacement.of(keys, new).model_dump(mode="json"))
        _write_secret(out, new.as_connection())
    return new


def replace_master_secret(governance: Governance, keys: Keys, out: Path) -> Keys:
    """Replace the master secret by a new one, and write the connection that has it to a new file, for its owner alone.

    The identifiers of holds and of requests, and the references of events, are encrypted anew. Records that were erased
    before stay under the earlier secret, which the ledger keeps, encrypted under the new one. All is one transaction,
    at whose end the file is complete: killed before it, the earlier secret is in use still, and the file, if it is
    there, has one that opens nothing.

    Raises:
        EvidenceError: if a run is not complete, the secret was replaced before, the signing key was, or the file is
            there or cannot be written.
    """
    ledger = Ledger(governance)
    new = keys.with_new_master_secret()
    with governance.write() as connection:
        _refuse_beside_runs(connection)
        require_in_use(connection, keys)
        HoldRegistry(governance, keys, ledger.append).seal_anew(connection, new)
        EventRegistry(governance, keys, ledger.append).seal_anew(connection, new)
        SubjectRegistry(governance, keys, ledger.append).seal_anew(connection, new)
        ledger.lock(connection)  # last: nothing is recorded while it is locked
        _refuse_beside_runs(connection)
        said = MasterReplacement.of(keys, new).model_dump(mode="json")
        ledger.append(connection, master_secrets.REPLACED, SUBJECT, said)
        _write_secret(out, new.as_connection())
    return new


def _refuse_beside_runs(connection: sa.Connection) -> None:
    table = schema.run.c
    query = sa.select(table.id).where(table.finished_at.is_(None)).order_by(table.started_at).limit(1)
    run = connection.scalar(query)
    if run is not None:
        raise EvidenceError(
            f"run {run} is not complete, and is to be certified with the keys that it began with: wait until it has "
            "ended; if it was killed, run its category again first"
        )


def _write_secret(path: Path, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        folder = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EvidenceError(
            f"{path}: cannot be written ({error.strerror}), and the key was not replaced: name a file that is not there"
        ) from None
