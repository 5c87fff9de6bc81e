"""Random alterations of the ledger, of certificates, of stored outcomes and of proofs: all are found.

Prints what it tried; ten times as much with `LONG=1`.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import sqlalchemy as sa
from tests.evidence_kit import KEYS, PUBLIC, ended_run
from tests.faults.conftest import LONG

from lethe.counts import Outcome
from lethe.errors import EvidenceError
from lethe.evidence import certificate, proofs
from lethe.evidence.ledger import GENESIS, Head, Ledger, entry_hash
from lethe.governance import Governance, schema

pytestmark = pytest.mark.repeated

TIMES = 10 if LONG else 1
LEDGER, DOCUMENTS, STORED, PROOFS = 600 * TIMES, 400 * TIMES, 200 * TIMES, 200 * TIMES
SEED = 1182_71
COLUMNS = ("seq", "at", "kind", "subject", "body", "previous", "hash")
KEY = b"record-17"

Row = dict[str, Any]
Rows = list[Row]


@dataclass(frozen=True)
class Evidence:
    """A governance database of three certified runs, with what was kept elsewhere: anchor, certificate, proof."""

    database: Path
    anchor: Head
    rows: Rows
    document: str
    proof: str


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("evidence")
    with _opened(folder / "governance.db") as governance:
        for n in range(3):
            _run(governance, f"webinars-{n}")
        document = certificate.get(governance, "webinars-1").text()
        proof = proofs.prove(governance, KEYS, "webinars.registrations", KEY, "webinars-1").text()
        anchor = Ledger(governance).anchor(KEYS).head
    with closing(sqlite3.connect(folder / "governance.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # one file, which can be copied
        rows = [
            dict(zip(COLUMNS, row, strict=True))
            for row in connection.execute("SELECT seq, at, kind, subject, body, previous, hash FROM lethe_ledger")
        ]
    return Evidence(folder / "governance.db", anchor, rows, document, proof)


@contextmanager
def _opened(path: Path) -> Iterator[Governance]:
    governance = Governance(sa.URL.create("sqlite", database=str(path)))
    governance.create_schema()
    yield governance
    governance.close()


def _run(governance: Governance, run_id: str) -> None:
    """A certified run of 100 records, with eight more entries in the ledger."""
    ended_run(governance, run_id, {b"record-%d" % n: random.Random(n).choice(list(Outcome)) for n in range(100)})
    for n in range(8):
        with governance.write() as connection:
            Ledger(governance).append(connection, "dataset.erased", run_id, {"batches": [n, n + 1], "erased": 12 * n})
    certificate.issue(governance, KEYS, run_id, [])


# --- the ledger -------------------------------------------------------------------------------------------------------


def _other_text(rng: random.Random, text: str) -> str:
    """The text with something changed, put in, taken out or put elsewhere."""
    at = rng.randrange(len(text) + 1)
    some = rng.choice('0123456789abcdefXYZ {}":,\x00é')
    changed = rng.choice(
        [text[:at] + some + text[at + 1 :], text[:at] + some + text[at:], text[:at] + text[at + 1 :], ""]
    )
    return changed if changed != text else text + "0"


def _hashed(row: Row, previous: str) -> Row:
    row = {**row, "previous": previous}
    content = {name: row[name] for name in ("seq", "at", "kind", "subject", "body", "previous")}
    return {**row, "hash": entry_hash(**content)}


def _chained(rows: Rows, start: int) -> Rows:
    """The rows numbered anew and chained anew from an index on, as somebody would who knows how it is done."""
    done = rows[:start]
    for row in rows[start:]:
        done.append(_hashed({**row, "seq": len(done) + 1}, done[-1]["hash"] if done else GENESIS))
    return done


def _forged(rng: random.Random, row: Row) -> Row:
    return {**row, "body": _other_text(rng, row["body"])}


def change_a_column(rng: random.Random, rows: Rows) -> Rows:
    row = rng.choice(rows)
    column = rng.choice(COLUMNS[1:])
    row[column] = rng.choice([_other_text(rng, row[column]), row[column].encode()])
    return rows


def change_an_entry_and_its_hash(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(len(rows))
    rows[at] = _hashed(_forged(rng, rows[at]), rows[at]["previous"])
    return rows


def delete_some(rng: random.Random, rows: Rows) -> Rows:
    for _ in range(rng.choice([1, 1, 2, 5])):
        rows.pop(rng.randrange(len(rows)))
    return rows


def delete_one_and_number_anew(rng: random.Random, rows: Rows) -> Rows:
    rows.pop(rng.randrange(len(rows)))
    return [{**row, "seq": seq} for seq, row in enumerate(rows, start=1)]


def cut_off_the_end(rng: random.Random, rows: Rows) -> Rows:
    return rows[: rng.randrange(len(rows))]


def swap_two(rng: random.Random, rows: Rows) -> Rows:
    one, two = rng.sample(rows, 2)
    one["seq"], two["seq"] = two["seq"], one["seq"]
    return rows


def move_one(rng: random.Random, rows: Rows) -> Rows:
    at, to = rng.sample(range(len(rows)), 2)
    rows.insert(to, rows.pop(at))
    return [{**row, "seq": seq} for seq, row in enumerate(rows, start=1)]


def insert_one(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(len(rows))  # after the last one, it is an entry like any other
    forged = _hashed({**_forged(rng, rows[at]), "seq": at + 1}, rows[at - 1]["hash"] if at else GENESIS)
    return [*rows[:at], forged, *({**row, "seq": row["seq"] + 1} for row in rows[at:])]


def insert_outside(rng: random.Random, rows: Rows) -> Rows:
    seq = rng.choice([0, -1, -7, len(rows) + 2, len(rows) + 50])
    return [*rows, _hashed({**_forged(rng, rng.choice(rows)), "seq": seq}, rng.choice([GENESIS, rows[-1]["hash"]]))]


def rewrite_the_end(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(len(rows))
    rows[at] = _forged(rng, rows[at])
    return _chained(rows, at)


def delete_and_rewrite_the_end(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(len(rows))
    rows.pop(at)
    return _chained(rows, at)


def insert_and_rewrite_the_end(rng: random.Random, rows: Rows) -> Rows:
    at = rng.randrange(len(rows))
    rows.insert(at, _forged(rng, rows[at]))
    return _chained(rows, at)


ALTERATIONS: tuple[Callable[[random.Random, Rows], Rows], ...] = (
    change_a_column,
    change_a_column,
    change_an_entry_and_its_hash,
    delete_some,
    delete_one_and_number_anew,
    cut_off_the_end,
    swap_two,
    move_one,
    insert_one,
    insert_outside,
    rewrite_the_end,
    delete_and_rewrite_the_end,
    insert_and_rewrite_the_end,
)


def test_every_alteration_of_the_ledger_is_found_and_placed(evidence: Evidence, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    tried: Counter[str] = Counter()
    database = tmp_path / "governance.db"
    shutil.copy(evidence.database, database)
    with closing(sqlite3.connect(database)) as writer, _opened(database) as governance:
        for name in schema.LEDGER_GUARDS["sqlite"]:
            writer.execute(f"DROP TRIGGER {name}")
        writer.execute("PRAGMA synchronous=OFF")
        assert Ledger(governance).verify([evidence.anchor]).holds
        for number in range(LEDGER):
            alter = rng.choice(ALTERATIONS)
            altered = alter(rng, [dict(row) for row in evidence.rows])
            touched = _touched(evidence.rows, altered)
            assert touched, f"{alter.__name__} {number} changed nothing"
            _replace(writer, altered)
            findings = Ledger(governance).verify([evidence.anchor]).findings
            assert findings, f"{alter.__name__} {number} was not found"
            found = set().union(*(finding.seqs for finding in findings))
            near = {seq + step for seq in touched for step in (-1, 0, 1)}
            assert found & near, f"{alter.__name__} {number} is said to be at {findings}"
            tried[alter.__name__.replace("_", " ")] += 1
    _report("alterations of the ledger", tried)


def _touched(before: Rows, after: Rows) -> set[int]:
    """The places at which something else stands than before."""
    one, two = ({row["seq"]: row for row in rows} for rows in (before, after))
    return {seq for seq in one.keys() | two.keys() if one.get(seq) != two.get(seq)}


def _replace(writer: sqlite3.Connection, rows: Rows) -> None:
    writer.execute("PRAGMA ignore_check_constraints=ON")
    writer.execute("DELETE FROM lethe_ledger")
    unique: dict[Any, int] = {}
    for row in rows:  # the hash column is unique: who writes past Lethe drops that too
        unique.setdefault(row["hash"], row["seq"])
    if len(unique) < len(rows):
        writer.execute("DROP TABLE IF EXISTS lethe_ledger")
        writer.execute("CREATE TABLE lethe_ledger (seq INTEGER PRIMARY KEY, at, kind, subject, body, previous, hash)")
    writer.executemany(
        "INSERT INTO lethe_ledger (seq, at, kind, subject, body, previous, hash) "
        "VALUES (:seq, :at, :kind, :subject, :body, :previous, :hash)",
        rows,
    )
    writer.commit()


# --- documents --------------------------------------------------------------------------------------------------------


def _altered_bytes(rng: random.Random, data: bytes) -> bytes:
    at, other = rng.randrange(len(data)), rng.randrange(len(data))
    low, high = sorted((at, other))
    alterations: list[Callable[[], bytes]] = [
        lambda: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :],
        lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        lambda: data[:at] + data[at + 1 :],
        lambda: data[:at] + bytes([rng.choice(b'0123456789abcdef",:{}[] ')]) + data[at:],
        lambda: data[:low] + data[high:],
        lambda: data[:high] + data[low:],
        lambda: data[:at],
    ]
    return rng.choice(alterations)()


def _altered_fields(rng: random.Random, data: bytes) -> bytes:
    """One value, field or list element of the document changed, put in, taken out or put elsewhere."""
    content = json.loads(data)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:  # noqa: ANN401
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(content)
    node, key = rng.choice(places)
    odd: list[Any] = [None, True, False, 0, 1, -1, 10**30, 0.5, "", "x", [], {}, "2026-01-01", "succeeded", "0" * 64]
    match rng.randrange(4):
        case 0:
            node[key] = rng.choice(odd)
        case 1:
            del node[key]
        case 2:
            other, place = rng.choice(places)
            node[key] = json.loads(json.dumps(other[place])) if other is not node[key] else None
        case _:
            value = node[key]
            node[key] = _other_text(rng, value) if isinstance(value, str) else [value]
    return json.dumps(content, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])).encode()


def _same(one: bytes, two: bytes) -> bool:
    """Whether two documents say the very same, white space and spelling apart."""

    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        contents = [json.loads(data.decode(), object_pairs_hook=refuse_twice) for data in (one, two)]
        return rfc8785.dumps(contents[0]) == rfc8785.dumps(contents[1])
    except ValueError:
        return False


def _try_documents(document: str, check: Callable[[bytes], object], tries: int) -> tuple[Counter[str], int]:
    """Alter a document at random until so many alterations mean something; each of those has to be refused."""
    rng = random.Random(SEED)
    data = document.encode()
    tried: Counter[str] = Counter()
    harmless = 0
    check(data)
    while tried.total() < tries:
        kind, alter = rng.choice([("bytes", _altered_bytes), ("fields", _altered_fields)])
        altered = alter(rng, data)
        if _same(altered, data):
            check(altered)
            harmless += 1
            continue
        with pytest.raises(EvidenceError):
            check(altered)
        tried[kind] += 1
    return tried, harmless


def test_every_alteration_of_a_certificate_is_found(evidence: Evidence) -> None:
    tried, harmless = _try_documents(evidence.document, lambda data: certificate.verify(data, PUBLIC), DOCUMENTS)
    _report("alterations of a certificate", tried, f"{harmless} of white space and spelling are none")


def test_no_alteration_of_a_proof_proves_anything_else(evidence: Evidence) -> None:
    truth = proofs.verify(evidence.proof.encode(), KEY, PUBLIC).outcomes

    def check(data: bytes) -> None:
        proven = proofs.verify(data, KEY, PUBLIC)
        assert (proven.outcomes, proven.proof.run) == (truth, "webinars-1")

    tried, harmless = _try_documents(evidence.proof, check, PROOFS)
    _report("alterations of a proof", tried, f"{harmless} of white space and spelling are none")


# --- what the database keeps of certificates and outcomes -------------------------------------------------------------


def _stored_alterations(rng: random.Random) -> tuple[str, str, tuple[object, ...]]:
    """A statement that changes certificates or outcomes in the database, with its parameters."""
    run, other = rng.sample([f"webinars-{n}" for n in range(3)], 2)
    table = rng.choice(["lethe_certificate", "lethe_proof_leaves", "lethe_proof_tree"])
    column = {
        "lethe_certificate": rng.choice(["document"]),
        "lethe_proof_leaves": rng.choice(["leaves", "first", "root", "n"]),
        "lethe_proof_tree": rng.choice(["records", "outcomes", "root", "dataset", "leaf"]),
    }[table]
    match rng.randrange(4):
        case 0:
            return f"rows of {table}", f"DELETE FROM {table} WHERE run_id = ?", (run,)
        case 1 if column not in {"n", "dataset"}:
            sets = f"{column} = (SELECT {column} FROM {table} WHERE run_id = ?)"
            if table == "lethe_proof_tree" and column in ("records", "outcomes", "leaf"):
                sets = f"{column} = {column} || ?"
            return f"{column} of another run", f"UPDATE {table} SET {sets} WHERE run_id = ?", (other, run)
        case _:
            return f"change {column}", f"UPDATE {table} SET {column} = ? WHERE run_id = ?", (_Changed(column), run)


class _Changed:
    """Stands for the column's value with something changed."""

    def __init__(self, column: str) -> None:
        self.column = column


def _change(rng: random.Random, value: object) -> object:
    if isinstance(value, int):
        return value + rng.choice([1, -1, 7])
    if isinstance(value, str):
        while (changed := _other_text(rng, value)) and _same(changed.encode(), value.encode()):
            pass
        return changed
    assert isinstance(value, bytes)
    at = rng.randrange(len(value))
    return rng.choice([value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :], value[:at], value + b"e", "text"])


def test_every_alteration_of_stored_certificates_and_outcomes_is_found(evidence: Evidence, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    tried: Counter[str] = Counter()
    database = tmp_path / "governance.db"
    shutil.copy(evidence.database, database)
    with _opened(database) as governance, closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA synchronous=OFF")
        assert not certificate.audit(governance, PUBLIC, leaves=True).findings
        kept = {
            table: writer.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("lethe_certificate", "lethe_proof_leaves", "lethe_proof_tree")
        }
        for number in range(STORED):
            kind, statement, parameters = _stored_alterations(rng)
            table = next(name for name in kept if name in statement)
            if isinstance(parameters[0], _Changed):
                column, run = parameters[0].column, parameters[1]
                (value,) = writer.execute(f"SELECT {column} FROM {table} WHERE run_id = ?", (run,)).fetchone()
                parameters = (_change(rng, value), run)
            writer.execute(statement, parameters)
            writer.commit()
            findings = certificate.audit(governance, PUBLIC, leaves=True).findings
            assert findings, f"{number}: {kind} was not found"
            assert any(str(parameters[-1]) in text for text in findings), f"{number}: {kind} is said to be {findings}"
            tried[kind] += 1
            for name, rows in kept.items():
                marks = ", ".join("?" * len(rows[0]))
                writer.execute(f"DELETE FROM {name}")
                writer.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
            writer.commit()
    _report("alterations of stored certificates and outcomes", tried)


def _report(what: str, tried: Counter[str], more: str = "") -> None:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tried.items()))
    print(f"{tried.total()} {what}, all found ({kinds}{'; ' + more if more else ''})")
