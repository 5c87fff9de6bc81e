"""The ledger: a chain that shows every change, in a database that refuses them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from lethe.errors import EvidenceError
from lethe.evidence.ledger import GENESIS, Entry, Finding, FindingKind, Head, Ledger, entry_hash, read_anchors
from lethe.governance import Governance, open_governance, schema
from lethe.keys import Keys
from lethe_demo.servers import EmbeddedPostgres

KEYS = Keys(b"m" * 32, b"s" * 32)
OTHER_KEYS = Keys(b"m" * 32, b"t" * 32)
UNGUARD = {
    "sqlite": [f"DROP TRIGGER {name}" for name in schema.LEDGER_GUARDS["sqlite"]],
    "postgresql": ["ALTER TABLE lethe_ledger DISABLE TRIGGER USER"],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def governance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Governance]:
    """An empty governance database, on either kind of server."""
    if request.param == "sqlite":
        database = Governance(sa.URL.create("sqlite", database=str(tmp_path / "governance.db")))
        database.create_schema()
        yield database
        database.close()
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    name = f"ledger_{secrets.token_hex(4)}"
    server.create_database(name)
    database = open_governance(lambda conn_id: server.connection(conn_id, name))
    yield database
    database.close()
    server.drop_database(name)


def fill(governance: Governance, count: int) -> Ledger:
    """A ledger of so many entries."""
    ledger = Ledger(governance)
    for n in range(count):
        with governance.write() as connection:
            ledger.append(connection, "dataset.erased", f"webinars-{n}", {"erased": n, "dataset": "registrations"})
    return ledger


def tamper(governance: Governance, *statements: sa.Executable) -> None:
    """Change the ledger as somebody can who owns the database."""
    with governance.write() as connection:
        for unguard in UNGUARD[connection.dialect.name]:
            connection.execute(sa.text(unguard))
        for statement in statements:
            connection.execute(statement)


def update(at_seq: int, /, **values: object) -> sa.Update:
    """A change of one row."""
    return sa.update(schema.ledger).where(schema.ledger.c.seq == at_seq).values(**values)


def flaws(ledger: Ledger, *heads: Head) -> list[tuple[FindingKind, int, int]]:
    """What `verify` finds, in short."""
    return [(flaw.kind, flaw.first, flaw.last) for flaw in ledger.verify(heads).findings]


def rehash(governance: Governance, ledger: Ledger, start: int) -> None:
    """Make the chain whole again from an entry on, as somebody would who knows how it is made."""
    entries = list(ledger.entries())
    previous = entries[start - 2].hash if start > 1 else GENESIS
    for entry in entries[start - 1 :]:
        digest = entry_hash(entry.seq, entry.at, entry.kind, entry.subject, entry.body, previous)
        tamper_again = update(entry.seq, previous=previous, hash=digest)
        with governance.write() as connection:
            connection.execute(tamper_again)
        previous = digest


def test_an_untouched_ledger_holds(governance: Governance) -> None:
    ledger = fill(governance, 7)
    verification = ledger.verify([ledger.anchor(KEYS).head])
    assert verification.holds
    assert (verification.entries, verification.head.seq, verification.anchored) == (7, 7, 1)
    assert ledger.unguarded() == ()


def test_an_empty_ledger_holds_and_can_be_anchored(governance: Governance) -> None:
    ledger = Ledger(governance)
    anchor = ledger.anchor(KEYS)
    assert (anchor.seq, anchor.hash) == (0, GENESIS)
    assert ledger.verify([anchor.head]).holds


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(schema.ledger).values(kind="x"),
        sa.update(schema.ledger).where(schema.ledger.c.seq == 2).values(body="{}"),
        sa.delete(schema.ledger).where(schema.ledger.c.seq == 3),
        sa.delete(schema.ledger),
        sa.insert(schema.ledger).values(
            seq=9, at="x", kind="x", subject="x", body="{}", previous=GENESIS, hash="1" * 64
        ),
        sa.insert(schema.ledger).values(
            seq=0, at="x", kind="x", subject="x", body="{}", previous=GENESIS, hash="1" * 64
        ),
    ],
    ids=["update", "update one", "delete", "delete all", "insert beyond", "insert before"],
)
def test_the_database_refuses_to_change_the_ledger(governance: Governance, statement: sa.Executable) -> None:
    ledger = fill(governance, 3)
    with pytest.raises(DBAPIError, match="append-only"), governance.write() as connection:
        connection.execute(statement)
    assert ledger.verify().holds


def test_postgresql_refuses_to_truncate_also_as_a_replica(governance: Governance) -> None:
    ledger = fill(governance, 3)
    if governance.url.get_backend_name() == "sqlite":  # there, an "or replace" is the way around
        statement = sa.text(
            "INSERT OR REPLACE INTO lethe_ledger SELECT seq, at, 'x', subject, body, previous, hash FROM lethe_ledger"
        )
        with pytest.raises(DBAPIError, match="append-only"), governance.write() as connection:
            connection.execute(statement)
    else:
        with governance.write() as connection:
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            with pytest.raises(DBAPIError, match="append-only"):
                connection.execute(sa.text("TRUNCATE lethe_ledger"))
    assert ledger.verify().entries == 3


def test_switched_off_guards_are_named(governance: Governance) -> None:
    ledger = fill(governance, 1)
    tamper(governance)
    assert ledger.unguarded() == schema.LEDGER_GUARDS[governance.url.get_backend_name()]


@pytest.mark.parametrize("column", ["at", "kind", "subject", "body", "previous", "hash"])
@pytest.mark.parametrize("seq", [1, 4, 7])
def test_a_changed_column_names_its_entry(governance: Governance, column: str, seq: int) -> None:
    ledger = fill(governance, 7)
    tamper(governance, update(seq, **{column: "f" * 40}))
    assert flaws(ledger) == [(FindingKind.CHANGED, seq, seq)]


def test_missing_entries_are_named(governance: Governance) -> None:
    ledger = fill(governance, 9)
    tamper(governance, sa.delete(schema.ledger).where(schema.ledger.c.seq.in_([1, 4, 5])))
    assert flaws(ledger) == [(FindingKind.MISSING, 1, 1), (FindingKind.MISSING, 4, 5)]


def test_swapped_entries_are_named_with_their_places(governance: Governance) -> None:
    ledger = fill(governance, 9)
    tamper(governance, update(3, seq=1000), update(7, seq=3), update(1000, seq=7))
    verification = ledger.verify()
    assert [(flaw.kind, flaw.first) for flaw in verification.findings] == [
        (FindingKind.MOVED, 3),
        (FindingKind.MOVED, 7),
    ]
    assert "made for place 7" in verification.findings[0].message


def test_a_gap_closed_by_renumbering_names_the_missing_entry(governance: Governance) -> None:
    ledger = fill(governance, 6)
    tamper(
        governance,
        sa.delete(schema.ledger).where(schema.ledger.c.seq == 3),
        *(update(seq, seq=seq - 1) for seq in (4, 5, 6)),
    )
    assert flaws(ledger) == [(FindingKind.MISSING, 3, 3), (FindingKind.MOVED, 3, 5)]


def test_an_entry_put_in_between_is_named(governance: Governance) -> None:
    ledger = fill(governance, 6)
    before = list(ledger.entries())[2]
    forged = Entry(4, before.at, "run.finished", "webinars-x", "{}", before.hash, "")
    digest = entry_hash(forged.seq, forged.at, forged.kind, forged.subject, forged.body, forged.previous)
    tamper(
        governance,
        *(update(seq, seq=seq + 1) for seq in (6, 5, 4)),
        sa.insert(schema.ledger).values(
            seq=4, at=forged.at, kind=forged.kind, subject=forged.subject, body="{}", previous=before.hash, hash=digest
        ),
    )
    assert flaws(ledger) == [(FindingKind.INSERTED, 4, 4), (FindingKind.MOVED, 5, 7)]


def test_an_entry_rewritten_with_its_own_hash_breaks_the_chain(governance: Governance) -> None:
    ledger = fill(governance, 6)
    entry = list(ledger.entries())[3]
    digest = entry_hash(4, entry.at, entry.kind, entry.subject, "{}", entry.previous)
    tamper(governance, update(4, body="{}", hash=digest))
    assert flaws(ledger) == [(FindingKind.REWRITTEN, 4, 5)]


def test_a_rewritten_end_is_found_by_an_anchor_and_only_by_it(governance: Governance) -> None:
    ledger = fill(governance, 4)
    early = ledger.anchor(KEYS).head
    fill(governance, 4)
    late = ledger.anchor(KEYS).head
    tamper(governance, update(6, body="{}"))
    rehash(governance, ledger, 6)
    assert ledger.verify([early]).holds
    assert flaws(ledger, early, late) == [(FindingKind.REWRITTEN, 5, 8)]


def test_an_end_that_was_cut_off_is_found_by_an_anchor(governance: Governance) -> None:
    ledger = fill(governance, 6)
    anchor = ledger.anchor(KEYS).head
    tamper(governance, sa.delete(schema.ledger).where(schema.ledger.c.seq > 4))
    assert ledger.verify().holds
    assert flaws(ledger, anchor) == [(FindingKind.MISSING, 5, 6)]
    assert "cut off after entry 4" in ledger.verify([anchor]).findings[0].message


def test_a_ledger_that_was_emptied_is_found_by_an_anchor(governance: Governance) -> None:
    ledger = fill(governance, 3)
    anchor = ledger.anchor(KEYS).head
    tamper(governance, sa.delete(schema.ledger))
    assert flaws(ledger, anchor) == [(FindingKind.MISSING, 1, 3)]


def test_what_is_wrong_everywhere_is_said_in_few_words(governance: Governance) -> None:
    ledger = fill(governance, 30)
    tamper(governance, sa.update(schema.ledger).values(kind="x"))
    assert flaws(ledger) == [(FindingKind.CHANGED, 1, 30)]


def test_anchors_are_read_back_and_their_signature_counts(governance: Governance) -> None:
    ledger = fill(governance, 2)
    anchor = ledger.anchor(KEYS)
    (read,) = read_anchors(anchor.line() + b"\n", what="anchors.jsonl")
    assert read == anchor
    public, other = KEYS.signing_key().public_key(), OTHER_KEYS.signing_key().public_key()
    assert read.signature.require(read.content(), [other, public], what="it")
    assert not read.signature.require(read.content(), [], what="it")
    with pytest.raises(EvidenceError, match="another key"):
        read.signature.require(read.content(), [other], what="it")
    changed = read.model_copy(update={"seq": 1})
    with pytest.raises(EvidenceError, match="signature does not hold"):
        changed.signature.require(changed.content(), [public], what="it")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {"more": 1},
        lambda fields: {name: value for name, value in fields.items() if name != "at"},
        lambda fields: fields | {"seq": "2"},
        lambda fields: fields | {"seq": 2**60},
        lambda fields: fields | {"hash": fields["hash"].upper()},
        lambda fields: fields | {"format": "lethe-anchor/2"},
    ],
)
def test_what_is_not_an_anchor_is_refused_by_line(
    governance: Governance, change: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    fields = json.loads(fill(governance, 2).anchor(KEYS).line())
    good = json.dumps(fields)
    bad = json.dumps(change({**fields, "hash": "ab" * 32}))
    with pytest.raises(EvidenceError, match=r"anchors.jsonl, line 2"):
        read_anchors(f"{good}\n{bad}\n".encode(), what="anchors.jsonl")


def test_findings_say_what_they_mean() -> None:
    finding = Finding(FindingKind.MISSING, 4, 6, "entries 4 to 6: missing")
    assert list(finding.seqs) == [4, 5, 6]
