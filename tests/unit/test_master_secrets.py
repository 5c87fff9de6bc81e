"""A replaced master secret: holds bind, what was erased can be proved, and at every moment one of the two works."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.evidence_kit import CLAIM, KEYS, ended_run
from tests.unit.cli_kit import AS_OF, Command, as_json, confirm_clocks, digest_of, kill_at, rotate, words
from tests.unit.conftest import Office

from lethe.connections import Connection, from_environment
from lethe.counts import Outcome
from lethe.errors import EvidenceError
from lethe.evidence import master_secrets, proofs
from lethe.evidence.ledger import Ledger
from lethe.evidence.outcomes import record_outcomes
from lethe.evidence.rotation import replace_master_secret
from lethe.governance import Governance, open_governance, schema
from lethe.holds.registry import HoldRegistry, HoldRequest, require_own_secret
from lethe.judging.identifiers import IdentifierType
from lethe.keys import new_connection
from lethe.policy import Policy

_VARIABLE = "AIRFLOW_CONN_LETHE_KEYS"
_ANOTHER = "is not the one that the governance database was begun with"


# --- by the command, with runs that erase ---------------------------------------------------------------------------


@pytest.fixture
def company(lethe: Command, office_connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Holds on two persons, and a run that erased what they do not cover."""
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", as_json(office_connection))
    confirm_clocks()
    lethe.place("--email", lethe.email(1))
    lethe.place("--phone", "+420777120003")
    digest = digest_of(lethe("run", "webinars", "--dry-run", "--as-of", AS_OF))
    lethe("run", "webinars", "--as-of", AS_OF, "--expect", digest)
    assert lethe.rows() & set(range(50)) == {1, 3}
    return lethe


def _more_expires(lethe: Command, number: int) -> None:
    """Two more expired rows: one of a held person, one of nobody's matter."""
    rows = [(number, lethe.email(1), "", "2020-01-15"), (number + 1, lethe.email(number + 1), "", "2020-01-15")]
    with closing(sqlite3.connect(lethe.warehouse)) as connection:
        connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?)", rows)
        connection.commit()


def _works_wholly(lethe: Command, number: int) -> None:
    """Holds are found and bind in a run that erases, records erased before and now are proved, the evidence holds."""
    for kind, text in (("email", lethe.email(1)), ("phone", "+420777120003")):
        assert "hold-" in lethe("hold", "find", kind, text)
    _more_expires(lethe, number)
    lethe("run", "webinars", "--as-of", AS_OF)
    assert {1, 3, number} <= lethe.rows()
    assert number + 1 not in lethe.rows()
    for erased in (2, number + 1):
        proof = lethe.folder / f"{number}-{erased}.json"
        assert "The record was erased by run" in lethe(
            "prove", "webinars.registrations", str(erased), "--out", str(proof)
        )
        assert "The proof holds" in lethe("proof", "verify", str(proof), str(erased))
    assert "No run has erased the record" in lethe("prove", "webinars.registrations", "77", exit_code=3)
    assert "The evidence holds." in lethe("ledger", "verify", "--records")


def _is_refused(lethe: Command) -> None:
    for arguments in (
        ("hold", "find", "email", lethe.email(1)),
        ("hold", "place", "--matter", "M", "--reason", "R", "--email", lethe.email(5)),
        ("run", "webinars", "--as-of", AS_OF),
        ("prove", "webinars.registrations", "2"),
        ("keys", "rotate", "--master", "--out", str(lethe.folder / "never.json")),
        ("keys", "rotate", "--signing", "--out", str(lethe.folder / "never.json")),
    ):
        assert _ANOTHER in words(lethe(*arguments, exit_code=1))
    assert not (lethe.folder / "never.json").exists()


def test_after_replacements_holds_bind_and_records_erased_before_are_proved(
    company: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promises 2 and 5, through three secrets and the runs under each."""
    before = os.environ[_VARIABLE]
    erased = []
    for number, name in ((200, "second.json"), (300, "third.json")):
        monkeypatch.setenv(_VARIABLE, rotate(company, "--master", name))
        _works_wholly(company, number)
        erased.append(number + 1)
    for record in (2, *erased):
        assert "The record was erased by run" in company("prove", "webinars.registrations", str(record))
    monkeypatch.setenv(_VARIABLE, before)
    _is_refused(company)


def test_a_proof_from_before_still_holds(company: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    proof, again = company.folder / "before.json", company.folder / "after.json"
    company("prove", "webinars.registrations", "2", "--out", str(proof))
    monkeypatch.setenv(_VARIABLE, rotate(company, "--master"))
    company("prove", "webinars.registrations", "2", "--out", str(again))
    assert again.read_text() == proof.read_text()
    assert "The proof holds" in company("proof", "verify", str(proof), "2")


def test_the_new_connection_is_its_owners_alone_and_has_the_same_signing_key(lethe: Command) -> None:
    before = json.loads(os.environ[_VARIABLE])
    after = json.loads(rotate(lethe, "--master"))
    assert after["extra"] == before["extra"]
    assert after["password"] != before["password"]
    assert stat.S_IMODE((lethe.folder / "new.json").stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_and_the_secret_stays(lethe: Command) -> None:
    lethe.place("--email", lethe.email(1))
    out = lethe.folder / "new.json"
    out.write_text("mine")
    for place in (out, lethe.folder / "nowhere" / "new.json"):
        text = lethe("keys", "rotate", "--master", "--out", str(place), exit_code=1)
        assert "was not replaced" in words(text)
    assert out.read_text() == "mine"
    assert "hold-" in lethe("hold", "find", "email", lethe.email(1))


def test_one_secret_is_replaced_at_a_time(lethe: Command) -> None:
    lethe("keys", "rotate", "--master", "--signing", "--out", str(lethe.folder / "new.json"), exit_code=2)
    assert not (lethe.folder / "new.json").exists()


def test_another_master_secret_replaces_nothing(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    lethe.place("--email", lethe.email(1))
    own = os.environ[_VARIABLE]
    monkeypatch.setenv(_VARIABLE, new_connection())
    text = lethe("keys", "rotate", "--master", "--out", str(lethe.folder / "new.json"), exit_code=1)
    assert _ANOTHER in words(text)
    assert not (lethe.folder / "new.json").exists()
    monkeypatch.setenv(_VARIABLE, own)
    assert "hold-" in lethe("hold", "find", "email", lethe.email(1))


def test_no_secret_is_replaced_beside_a_run(lethe: Command) -> None:
    lethe("run", "webinars", "--dry-run", "--as-of", AS_OF)
    with closing(open_governance(from_environment)) as governance, governance.write() as connection:
        connection.execute(sa.update(schema.run).values(finished_at=None))
    text = lethe("keys", "rotate", "--master", "--out", str(lethe.folder / "new.json"), exit_code=1)
    assert "is not complete" in text
    assert not (lethe.folder / "new.json").exists()


_STEPS = {
    "sealing": ("registry.HoldRegistry", "seal_anew"),
    "digests": ("registry", "_insert_digests"),
    "entry": ("Ledger", "append"),
    "file": ("rotation", "_write_secret"),
}


def test_killed_before_the_end_the_secret_before_works_wholly(
    company: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each step; no step stands on what a killed one left."""
    own = os.environ[_VARIABLE]
    for (step, call), after in itertools.product(_STEPS.items(), (False, True)):
        out = kill_at(company, "--master", *call, after=after)
        assert out.exists() == (step == "file" and after)
        assert "hold-" in company("hold", "find", "email", company.email(1))
        assert "The record was erased by run" in company("prove", "webinars.registrations", "2")
    monkeypatch.setenv(_VARIABLE, out.read_text())
    _is_refused(company)
    monkeypatch.setenv(_VARIABLE, own)
    _works_wholly(company, 200)
    rotate(company, "--master", "again.json")


def test_killed_before_its_message_the_new_secret_works_wholly(
    company: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = kill_at(company, "--master", "evidence", "say", after=False)
    _is_refused(company)
    monkeypatch.setenv(_VARIABLE, out.read_text())
    _works_wholly(company, 200)


# --- on the registry and the evidence -------------------------------------------------------------------------------


def _registry(governance: Governance, keys: object = KEYS) -> HoldRegistry:
    return HoldRegistry(governance, keys, Ledger(governance).append)  # type: ignore[arg-type]


def test_all_identifiers_are_those_before(office: Office, policies: dict[str, Policy], tmp_path: Path) -> None:
    """More than are encrypted together, of two types, also of a hold that was released."""
    require_own_secret(office.governance, KEYS)
    emails = [f"person{n}@example.com" for n in range(20_500)]
    before = _registry(office.governance)
    given = {IdentifierType.EMAIL: emails, IdentifierType.PHONE: ["+420777123456"]}
    large = before.place(HoldRequest("M-1", "lawsuit", identifiers=given), by="eva", policies=policies)
    other = before.place(
        HoldRequest("M-2", "lawsuit", identifiers={IdentifierType.EMAIL: ["a@example.com"]}),
        by="eva",
        policies=policies,
    )
    before.propose_release(other.id, by="eva")
    before.confirm_release(other.id, by="adam")
    dataset = policies["webinars"].datasets[0]
    (was,) = before.rules("webinars", dataset).rules
    identifiers = was.load()
    new = replace_master_secret(office.governance, KEYS, tmp_path / "new.json")
    require_own_secret(office.governance, new)
    after = _registry(office.governance, new)
    (rule,) = after.rules("webinars", dataset).rules
    assert rule.hold == large.id
    assert rule.load() == identifiers == given
    assert [hold.id for hold in after.find(IdentifierType.EMAIL, emails[-1])] == [large.id]
    assert after._identifiers(other.id, frozenset({IdentifierType.EMAIL})) == {IdentifierType.EMAIL: ["a@example.com"]}
    with office.governance.read() as connection:
        digests = connection.scalar(sa.select(sa.func.count()).select_from(schema.hold_digest))
    assert digests == len(emails) + 2


def test_a_process_that_has_the_secret_before_places_and_records_nothing(
    office: Office, policies: dict[str, Policy], tmp_path: Path
) -> None:
    """Promise 2: a hold that nobody could read would be none. Promise 5: outcomes that nobody could find, neither."""
    require_own_secret(office.governance, KEYS)
    stale = _registry(office.governance)
    request = HoldRequest("M-1", "lawsuit", identifiers={IdentifierType.EMAIL: ["a@example.com"]})
    stale.place(request, by="eva", policies=policies)
    new = replace_master_secret(office.governance, KEYS, tmp_path / "new.json")
    with pytest.raises(EvidenceError, match=_ANOTHER):
        stale.place(request, by="eva", policies=policies)
    assert len(stale.holds()) == 1
    with pytest.raises(EvidenceError, match="does not open"):
        stale.rules("webinars", policies["webinars"].datasets[0]).rules[0].load()
    with pytest.raises(EvidenceError, match=_ANOTHER):
        ended_run(office.governance, "run-1", {b"1": Outcome.ERASED})
    outcomes = iter([(b"1", Outcome.ERASED)])
    record_outcomes(office.governance, new, "run-1", "registrations", outcomes, claim=CLAIM)
    assert proofs.find(office.governance, new, "webinars.registrations", b"1").sightings


def test_each_run_is_searched_under_the_secret_of_its_time(office: Office, tmp_path: Path) -> None:
    keys = KEYS
    require_own_secret(office.governance, keys)
    for n in range(4):
        ended_run(office.governance, f"run-{n}", {b"%d" % n: Outcome.ERASED}, keys=keys)
        keys = replace_master_secret(office.governance, keys, tmp_path / f"{n}.json")
    for n in range(4):
        history = proofs.find(office.governance, keys, "webinars.registrations", b"%d" % n)
        assert [seen.run for seen in history.sightings] == [f"run-{n}"]
    assert proofs.find(office.governance, keys, "webinars.registrations", b"4").sightings == ()


@pytest.mark.parametrize(
    ("flaw", "says"),
    [("sealed", "does not open"), ("new", "is not of the one that came after it"), ("more", "replaced master secret")],
)
def test_a_chain_of_secrets_that_was_changed_is_an_error_and_not_an_unknown_record(
    office: Office, tmp_path: Path, flaw: str, says: str
) -> None:
    require_own_secret(office.governance, KEYS)
    ended_run(office.governance, "run-1", {b"1": Outcome.ERASED})
    new = replace_master_secret(office.governance, KEYS, tmp_path / "new.json")
    said = master_secrets.MasterReplacement.of(KEYS, new).model_dump(mode="json")
    forged = said | {"sealed": {"sealed": "00" * 60}, "new": {"new": "ab" * 32}, "more": {"more": "x"}}[flaw]
    with office.governance.write() as connection:
        Ledger(office.governance).append(connection, master_secrets.REPLACED, "keys", forged)
    with pytest.raises(EvidenceError, match=says):
        proofs.find(office.governance, new, "webinars.registrations", b"1")


def test_the_ledger_has_no_secret_in_the_open(office: Office, tmp_path: Path) -> None:
    """Who reads the database alone learns neither."""
    require_own_secret(office.governance, KEYS)
    replace_master_secret(office.governance, KEYS, tmp_path / "new.json")
    with office.governance.read() as connection:
        text = " ".join(connection.scalars(sa.select(schema.ledger.c.body)))
    later = json.loads((tmp_path / "new.json").read_text())["password"]
    assert (b"m" * 32).hex() not in text
    assert later not in text


def test_a_hold_that_is_placed_while_the_secret_is_replaced_is_refused_or_binds(
    office: Office, policies: dict[str, Policy], tmp_path: Path
) -> None:
    """Promise 2: none is acknowledged that nobody can read afterwards. Releases at the same time lock nobody out."""
    require_own_secret(office.governance, KEYS)
    stale = _registry(office.governance)
    placed: list[str] = []
    refused: list[EvidenceError] = []
    begun = threading.Event()

    def place() -> None:
        for n in range(10_000):
            request = HoldRequest("M-1", "lawsuit", identifiers={IdentifierType.EMAIL: [f"p{n}@example.com"]})
            try:
                hold = stale.place(request, by="eva", policies=policies)
            except EvidenceError as error:
                refused.append(error)
                return
            placed.append(hold.id)
            if n % 2:
                stale.propose_release(hold.id, by="eva")
                stale.confirm_release(hold.id, by="adam")
            if n == 20:
                begun.set()

    thread = threading.Thread(target=place)
    thread.start()
    begun.wait()
    new = replace_master_secret(office.governance, KEYS, tmp_path / "new.json")
    thread.join()
    assert len(refused) == 1
    after = _registry(office.governance, new)
    assert {hold.id for hold in after.holds(released=True)} == set(placed)
    for n, hold_id in enumerate(placed):
        assert after._identifiers(hold_id, frozenset({IdentifierType.EMAIL})) == {
            IdentifierType.EMAIL: [f"p{n}@example.com"]
        }
