"""Archives for auditors: all certificates of some days, none missing or changed, checked with the public key alone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.evidence_kit import AS_OF, KEYS, POLICY, PUBLIC, ended_run
from tests.unit.cli_kit import Command, rotate, words
from tests.unit.conftest import Office

from lethe.counts import Outcome
from lethe.errors import EvidenceError, ParameterError
from lethe.evidence import archive, certificate, expiry
from lethe.evidence.archive import Days
from lethe.evidence.signed import Signature, canonical, public_pem
from lethe.governance import schema
from lethe.judging.keys import record_key
from lethe.keys import Keys
from lethe.periods import Period

TODAY = datetime.now(UTC).date()
AROUND = Days(TODAY - timedelta(days=1), TODAY + timedelta(days=1))
OTHERS = Keys(b"o" * 32, b"t" * 32)
EVENTS = POLICY.model_copy(update={"category": "events"})
SOME = {record_key(("1",)): Outcome.ERASED, record_key(("2",)): Outcome.HELD}


@pytest.fixture
def certified(office: Office) -> Office:
    """Two runs of webinars and one of events, each with its certificate."""
    for run_id, policy in {"webinars-1": POLICY, "webinars-2": POLICY, "events-1": EVENTS}.items():
        ended_run(office.governance, run_id, SOME, policy=policy)
        certificate.issue(office.governance, KEYS, run_id, [])
    return office


def written(office: Office, days: Days = AROUND, categories: Collection[str] | None = None) -> zipfile.ZipFile:
    file = io.BytesIO()
    archive.write(office.governance, KEYS, file, days, categories)
    return zipfile.ZipFile(file)


def runs_of(index: archive.Index) -> list[str]:
    return [one.run for one in index.certificates]


def test_an_archive_has_every_certificate_of_its_days_and_holds(certified: Office, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        index = archive.write(certified.governance, KEYS, file, AROUND)
    found = archive.verify(path, PUBLIC)
    assert (found.index, found.trusted, found.findings) == (index, True, ())
    assert runs_of(index) == ["webinars-1", "webinars-2", "events-1"]
    with zipfile.ZipFile(path) as files:
        for run in runs_of(index):
            folder = f"certificates/{run.partition('-')[0]}"
            document = files.read(f"{folder}/{run}.json")
            assert certificate.verify(document, PUBLIC).document == certificate.get(certified.governance, run)
            assert f'href="{folder}/{run}.html"' in files.read("index.html").decode()
        table = list(csv.DictReader(io.TextIOWrapper(files.open("index.csv"), "utf-8", newline="")))
    assert [(row["run"], row["dataset"], row["due"], row["erased"], row["held"]) for row in table] == [
        (run, "registrations", "2", "1", "1") for run in runs_of(index)
    ]
    assert not archive.verify(path).trusted


def test_an_archive_is_of_the_days_and_categories_that_were_asked_for(certified: Office) -> None:
    def index(days: Days = AROUND, categories: Collection[str] | None = None) -> archive.Index:
        return archive.write(certified.governance, KEYS, io.BytesIO(), days, categories)

    assert runs_of(index(categories=["events"])) == ["events-1"]
    assert runs_of(index(Days(TODAY - timedelta(days=9), TODAY - timedelta(days=2)))) == []
    assert index(categories=["events"]).categories == ("events",)
    with pytest.raises(ParameterError, match="the last is before the first"):
        Days(TODAY, TODAY - timedelta(days=1))


def test_what_it_cannot_have_is_named(certified: Office) -> None:
    """Promise 5: a certificate that is no more, and a run that never got one, do not just stay away."""
    now = datetime.now(UTC)
    expiry.expire(certified.governance, period=Period.parse("P10Y"), as_of=now + timedelta(days=3660))
    ended_run(certified.governance, "webinars-3", finished_at=now)
    index = archive.write(certified.governance, KEYS, io.BytesIO(), AROUND)
    assert [one.run for one in index.expired] == ["webinars-1", "webinars-2", "events-1"]
    assert (index.certificates, index.uncertified) == ((), ("webinars-3",))


def altered(source: zipfile.ZipFile, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The same archive, in which somebody has changed files."""
    files = {name: source.read(name) for name in source.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as other:
        for name, data in files.items():
            other.writestr(name, data)
    return path


def test_no_file_can_be_changed_left_out_or_added(certified: Office, tmp_path: Path) -> None:
    source = written(certified)
    for n, name in enumerate(sorted({*source.namelist()} - {archive.INDEX})):
        changed = altered(source, tmp_path / f"c{n}.zip", lambda files, name=name: files.update({name: b"[]"}))  # type: ignore[misc]
        assert archive.verify(changed, PUBLIC).findings == (f"{name}: was changed",)
        without = altered(source, tmp_path / f"w{n}.zip", lambda files, name=name: files.pop(name))  # type: ignore[misc]
        assert archive.verify(without, PUBLIC).findings == (f"{name}: is missing",)
    added = altered(source, tmp_path / "added.zip", lambda files: files.update({"more.json": b"{}"}))
    assert archive.verify(added, PUBLIC).findings == ("more.json: the index does not know it",)


def test_the_index_cannot_be_changed_or_signed_by_another(certified: Office, tmp_path: Path) -> None:
    source = written(certified)

    def forget_one(files: dict[str, bytes], *, sign: bool) -> None:
        content = json.loads(files[archive.INDEX])
        dropped = content["index"]["certificates"].pop()["file"]
        for name in (dropped, dropped.replace(".json", ".html")):
            del files[name], content["index"]["files"][name]
        if sign:
            content["signature"] = Signature.of(OTHERS, content["index"]).model_dump(mode="json")
        files[archive.INDEX] = json.dumps(content).encode()

    for sign, why in ((False, "the signature does not hold"), (True, "signed by another key")):
        path = altered(source, tmp_path / f"{sign}.zip", lambda files, sign=sign: forget_one(files, sign=sign))  # type: ignore[misc]
        with pytest.raises(EvidenceError, match=why):
            archive.verify(path, PUBLIC)


def test_certificates_of_another_run_or_key_do_not_hold_under_a_true_index(certified: Office, tmp_path: Path) -> None:
    """Whoever may sign an index still cannot pass off one certificate for another, nor one of a stranger's key."""
    source = written(certified)
    first, second = "certificates/webinars/webinars-1.json", "certificates/webinars/webinars-2.json"

    def sign_again(files: dict[str, bytes], data: bytes) -> None:
        content = json.loads(files[archive.INDEX])["index"]
        files[first] = data
        content["files"][first] = hashlib.sha256(data).hexdigest()
        signed = {"index": content, "signature": Signature.of(KEYS, content).model_dump(mode="json")}
        files[archive.INDEX] = canonical(signed)

    content = json.loads(source.read(first))["certificate"]
    strange = canonical({"certificate": content, "signature": Signature.of(OTHERS, content).model_dump(mode="json")})
    for data, why in ((source.read(second), "says something else"), (strange, "does not vouch for")):
        path = altered(source, tmp_path / "again.zip", lambda files, data=data: sign_again(files, data))  # type: ignore[misc]
        (finding,) = archive.verify(path, PUBLIC).findings
        assert why in finding


@pytest.mark.parametrize(
    ("content", "why"), [(b"PK no zip", "no ZIP file"), (None, "cannot be read"), (b"", "no ZIP file")]
)
def test_what_is_no_archive_is_refused_in_words(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "a.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EvidenceError, match=why):
        archive.verify(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("readme.txt", "hello")
    with pytest.raises(EvidenceError, match=r"has no index\.json"):
        archive.verify(tmp_path / "other.zip")


def test_damage_is_found_wherever_it_is(certified: Office, tmp_path: Path) -> None:
    file = io.BytesIO()
    archive.write(certified.governance, KEYS, file, AROUND)
    whole = file.getvalue()
    path = tmp_path / "damaged.zip"
    for at in range(0, len(whole), 211):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            if archive.verify(path, PUBLIC).findings:
                continue
        except EvidenceError:
            continue
        with zipfile.ZipFile(path) as files, zipfile.ZipFile(file) as before:  # ZIP passes over some of its bytes
            same = {name: files.read(name) for name in files.namelist()}
            assert same == {name: before.read(name) for name in before.namelist()}, f"byte {at}"


def test_a_stored_certificate_that_was_changed_is_in_no_archive(certified: Office) -> None:
    table = schema.certificate
    with certified.governance.write() as connection:
        document = connection.scalar(sa.select(table.c.document).where(table.c.run_id == "webinars-2"))
        spoilt = str(document).replace('"erased":1', '"erased":2')
        connection.execute(table.update().where(table.c.run_id == "webinars-2").values(document=spoilt))
    with pytest.raises(EvidenceError, match="run webinars-2: the signature does not hold"):
        written(certified)


def test_the_readmes_commands_check_it_without_lethe(certified: Office, tmp_path: Path) -> None:
    source = written(certified)
    source.extractall(tmp_path)
    (tmp_path / "lethe.pem").write_text(public_pem(PUBLIC[0]))
    readme = source.read("README.txt").decode()
    commands = "\n".join(line.strip() for line in readme.splitlines() if line.startswith(("    jq", "    openssl")))
    if subprocess.run(["sh", "-c", "command -v jq xxd openssl"], capture_output=True, check=False).returncode:
        pytest.skip("no jq, xxd and openssl on this machine")

    def check() -> tuple[str, int]:
        done = subprocess.run(["sh", "-c", f"{commands}"], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout, done.returncode

    said, code = check()
    assert "Signature Verified Successfully" in said
    assert code == 0
    (tmp_path / "index.csv").write_text("changed")
    said, code = check()
    assert "index.csv: FAILED" in said
    assert code != 0


def test_from_the_command_line_also_of_an_earlier_signing_key(lethe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    when = AS_OF.isoformat()
    lethe("run", "webinars", "--dry-run", "--as-of", when)
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", rotate(lethe, "--signing", "new.json"))
    lethe("run", "webinars", "--dry-run", "--as-of", when)
    (lethe.folder / "key.pem").write_text(lethe("keys", "public").partition("key id")[0])
    path = str(lethe.folder / "evidence.zip")
    days = ("--from", str(AROUND.first), "--to", str(AROUND.last))
    assert "2 certificates" in words(lethe("evidence", "archive", path, *days, "--category", "webinars"))
    said = words(lethe("evidence", "verify", path, "--public-key", str(lethe.folder / "key.pem")))
    assert "The archive holds: 2 certificates" in said
    assert "of webinars" in said
    assert "signed by the given key" in said
    assert "no category nothing" in words(
        lethe("evidence", "archive", path, *days, "--category", "nothing", exit_code=2)
    )
    altered(zipfile.ZipFile(path), Path(path + ".2"), lambda files: files.update({"index.csv": b""}))
    said = words(lethe("evidence", "verify", path + ".2", exit_code=1))
    assert "index.csv: was changed" in said
    assert "does NOT hold: do not rely on it" in said
    missing = str(lethe.folder / "no" / "a.zip")
    assert "cannot be written" in words(lethe("evidence", "archive", missing, *days, exit_code=1))
