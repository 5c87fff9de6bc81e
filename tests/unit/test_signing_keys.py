"""A replaced signing key: what it signed stays good, it signs nothing new, and at every moment one of the two works."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.cli_kit import AS_OF, Command, as_json, digest_of, kill_at, rotate, words

from lethe.connections import Connection, from_environment
from lethe.environment import Environment
from lethe.evidence import signing_keys
from lethe.evidence.signing_keys import Replacement, trusted_keys
from lethe.governance import open_governance, schema
from lethe.keys import load_keys, new_connection
from lethe.stages.audit import audit_evidence

_VARIABLE = "AIRFLOW_CONN_LETHE_KEYS"
_REPLACED = "was replaced: give every process the connection that `lethe keys rotate` wrote"


def _dry_run(lethe: Command, exit_code: int = 0) -> str:
    return words(lethe("run", "webinars", "--dry-run", "--as-of", AS_OF, exit_code=exit_code))


def test_what_earlier_keys_signed_stays_good_and_holds_bind(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises 2 and 5, after two replacements: records erased before and after, certificates, anchors and holds."""
    anchors = lethe.folder / "anchors.jsonl"
    lethe.place("--email", lethe.email(1))
    digest = digest_of(lethe("run", "webinars", "--dry-run", "--as-of", AS_OF))
    lethe("run", "webinars", "--as-of", AS_OF, "--expect", digest)
    lethe("ledger", "anchor", str(anchors))
    for name in ("second.json", "third.json"):
        monkeypatch.setenv(_VARIABLE, rotate(lethe, "--signing", name))
        _dry_run(lethe)
        lethe("ledger", "anchor", str(anchors))
    text = lethe("ledger", "verify", "--anchor", str(anchors), "--records")
    assert "The evidence holds." in text
    assert "3 anchors" in words(text)
    assert 1 in lethe.rows()
    assert "hold-" in lethe("hold", "find", "email", lethe.email(1))
    assert "The record was erased by run" in lethe("prove", "webinars.registrations", "2")


def test_a_replaced_key_signs_nothing_new(lethe: Command) -> None:
    _dry_run(lethe)
    rotate(lethe, "--signing")
    assert _REPLACED in _dry_run(lethe, exit_code=1)
    for arguments in (
        ("ledger", "anchor", str(lethe.folder / "anchors.jsonl")),
        ("ledger", "verify"),
        ("keys", "rotate", "--signing", "--out", str(lethe.folder / "again.json")),
    ):
        assert _REPLACED in words(lethe(*arguments, exit_code=1))
    assert not (lethe.folder / "anchors.jsonl").exists()
    assert not (lethe.folder / "again.json").exists()


def test_the_new_connection_is_its_owners_alone_and_has_the_same_master_secret(lethe: Command) -> None:
    before = json.loads(os.environ[_VARIABLE])
    after = json.loads(rotate(lethe, "--signing"))
    assert after["password"] == before["password"]
    assert after["extra"]["signing_key"] != before["extra"]["signing_key"]
    assert stat.S_IMODE((lethe.folder / "new.json").stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_and_the_key_stays(lethe: Command) -> None:
    out = lethe.folder / "new.json"
    out.write_text("mine")
    for place in (out, lethe.folder / "nowhere" / "new.json"):
        text = lethe("keys", "rotate", "--signing", "--out", str(place), exit_code=1)
        assert "the key was not replaced" in words(text)
    assert out.read_text() == "mine"
    _dry_run(lethe)


def test_what_to_replace_has_to_be_said(lethe: Command) -> None:
    lethe("keys", "rotate", "--out", str(lethe.folder / "new.json"), exit_code=2)


def test_another_master_secret_replaces_nothing(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _dry_run(lethe)
    monkeypatch.setenv(_VARIABLE, new_connection())
    text = lethe("keys", "rotate", "--signing", "--out", str(lethe.folder / "new.json"), exit_code=1)
    assert "is not the one that the governance database was begun with" in words(text)


def test_no_key_is_replaced_beside_a_run(lethe: Command) -> None:
    _dry_run(lethe)
    with closing(open_governance(from_environment)) as governance, governance.write() as connection:
        connection.execute(sa.update(schema.run).values(finished_at=None))
    text = lethe("keys", "rotate", "--signing", "--out", str(lethe.folder / "new.json"), exit_code=1)
    assert "is not complete" in text
    assert not (lethe.folder / "new.json").exists()


@pytest.fixture
def governed(lethe: Command, office_connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with a governance database of each kind."""
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", as_json(office_connection))
    return lethe


@pytest.mark.parametrize("after", [False, True], ids=["before the file", "after the file"])
def test_a_rotation_that_is_killed_leaves_the_old_key_in_use(governed: Command, after: bool) -> None:
    lethe = governed
    _dry_run(lethe)
    out = kill_at(lethe, "--signing", "rotation", "_write_secret", after=after)
    assert out.exists() == after
    _dry_run(lethe)
    assert "The evidence holds." in lethe("ledger", "verify")
    rotate(lethe, "--signing", "again.json")


def test_a_rotation_that_is_killed_before_its_message_leaves_the_new_key_in_use(
    governed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is committed, and the file is whole, though nobody was told."""
    lethe = governed
    _dry_run(lethe)
    out = kill_at(lethe, "--signing", "evidence", "say", after=False)
    assert _REPLACED in _dry_run(lethe, exit_code=1)
    assert _REPLACED in words(lethe("ledger", "verify", exit_code=1))
    monkeypatch.setenv(_VARIABLE, out.read_text())
    _dry_run(lethe)
    assert "The evidence holds." in lethe("ledger", "verify")


def test_who_writes_to_the_database_without_the_key_makes_no_other_key_count(lethe: Command) -> None:
    """Neither a key of theirs before the one in use, nor a replacement of the one in use."""
    _dry_run(lethe)
    own = load_keys(from_environment)
    theirs = own.with_new_signing_key()
    used = own.signing_key().public_key().public_bytes_raw().hex()
    forged = Ed25519PrivateKey.generate().sign(b"").hex()
    with Environment(from_environment) as env:
        good = Replacement.of(theirs, own.with_new_signing_key())
        with env.governance.write() as connection:
            for body in (
                good.model_copy(update={"new_key": used, "by_new": forged}),
                good.model_copy(update={"old_key": used, "by_old": forged}),
            ):
                env.ledger.append(connection, signing_keys.REPLACED, signing_keys.SUBJECT, body.model_dump(mode="json"))
        assert [key.public_bytes_raw().hex() for key in trusted_keys(env.governance, own)] == [used]
    _dry_run(lethe)


def test_the_second_key_alone_does_not_check_what_the_first_signed(
    lethe: Command,
) -> None:
    """A replacement that the ledger does not have counts for nothing."""
    _dry_run(lethe)
    keys = load_keys(from_environment).with_new_signing_key()
    with Environment(from_environment) as env:
        found = audit_evidence(env, trusted_keys(env.governance, keys))
    assert ["signed by another key" in text for text in found.findings] == [True]
