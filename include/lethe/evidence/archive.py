"""An archive for an auditor: all certificates of some days in one ZIP file, under an index that is signed.

The index names every certificate that the ledger says was issued on these days, also one whose evidence has expired
since, and has the SHA-256 of every file. So `verify` finds, with nothing but the public key, what was changed, added,
left out or put in the place of another.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import BinaryIO, Literal

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from lethe.counts import Outcome
from lethe.errors import EvidenceError, ParameterError
from lethe.evidence import certificate as certificates
from lethe.evidence.certificate import ISSUED, Certificate, SignedCertificate
from lethe.evidence.ledger import Head, Ledger
from lethe.evidence.signed import MOST_BYTES, Document, Hex32, Signature, read_document, read_json
from lethe.evidence.signing_keys import trusted_keys
from lethe.governance import Governance, schema
from lethe.keys import Keys
from lethe.spreadsheets import harmless

INDEX = "index.json"
"""The file of the archive that is signed."""

_HOW_TO_CHECK = """Certificates of destruction
===========================

index.html       all of them, by category, to read in a browser
index.csv        the same for a spreadsheet, a line a dataset of a run
index.json       the same, with the SHA-256 of every file of this archive; it is signed
certificates/    each certificate: .json is the signed document, .html the same to read and print

To check all of it, on any machine, without a database and without a secret:

    lethe evidence verify ARCHIVE.zip --public-key lethe.pem

The public key has to come to you by another way than this archive. Without Lethe: the signature in index.json is over
the canonical JSON (RFC 8785) of its field "index", by Ed25519:

    jq -cjS .index index.json > content
    jq -r .signature.value index.json | xxd -r -p > signature
    openssl pkeyutl -verify -pubin -inkey lethe.pem -rawin -in content -sigfile signature
    jq -r '.index.files | to_entries[] | "\\(.value)  \\(.key)"' index.json | sha256sum --check
"""


@dataclass(frozen=True, slots=True)
class Days:
    """The first and the last of some days, in UTC.

    Raises:
        ParameterError: if the last is before the first.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ParameterError(
                f"{self.first} to {self.last} are no days, the last is before the first: write the earlier one first"
            )

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The moments that they begin with, and that they end before."""
        start, last = (datetime.combine(day, time_of_day(), UTC) for day in (self.first, self.last))
        return start, last + timedelta(days=1)


class Listed(Document):
    """A certificate in the index."""

    run: str
    category: str
    as_of: datetime
    issued_at: datetime
    state: str
    dry_run: bool
    complete: bool
    sha256: Hex32 = Field(description="Of the certificate's canonical JSON, as the ledger has it.")
    file: str


class Expired(Document):
    """A certificate that the ledger knows, and whose evidence was deleted at the end of its own period."""

    run: str
    category: str
    sha256: Hex32


class Index(Document):
    """All that the archive has, and what is signed."""

    format: Literal["lethe-archive/1"] = "lethe-archive/1"
    first: date = Field(description="The first day (UTC) of those that certificates were issued on.")
    last: date
    categories: tuple[str, ...] | None = Field(description="Those that were asked for; none: all.")
    made_at: datetime
    ledger: Head
    keys: tuple[Hex32, ...] = Field(
        description="The public keys that certificates may be signed by: in use, and before."
    )
    certificates: tuple[Listed, ...]
    expired: tuple[Expired, ...]
    uncertified: tuple[str, ...] = Field(description="Runs that ended in these days, and had no certificate yet.")
    files: Mapping[str, Hex32] = Field(description="SHA-256 of every file but this one.")


class SignedIndex(Document):
    """The index with its signature."""

    index: Index
    signature: Signature


# --- writing ----------------------------------------------------------------------------------------------------------


def write(
    governance: Governance, keys: Keys, file: BinaryIO, days: Days, categories: Collection[str] | None = None
) -> Index:
    """Write the archive of the certificates that were issued on some days.

    One certificate at a time is in memory; the index grows by some hundred bytes a certificate.

    Args:
        governance: whose certificates.
        keys: with the signing key.
        file: what to write to; it need not be seekable.
        days: by the moment at which they were entered in the ledger.
        categories: of these alone; None: of all.

    Returns:
        The index, as it is in the archive.

    Raises:
        EvidenceError: if a certificate does not hold, there is no signing key or it was replaced, or the index
            becomes too large: choose fewer days.
    """
    trusted = trusted_keys(governance, keys)
    known = _known(governance, days, categories)
    listed: list[Listed] = []
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    rows.writerow(_columns())
    with zipfile.ZipFile(file, "w") as archive:
        files = _Files(archive, known.made_at)
        for run in known.stored:
            with governance.read() as connection:
                signed = certificates.audited(connection, run.id, trusted, run.entry)
            name = f"certificates/{run.category}/{run.id}"
            files.add(f"{name}.json", signed.text())
            files.add(f"{name}.html", certificates.page(signed))
            listed.append(_listed(signed, f"{name}.json"))
            rows.writerows(_rows(signed.certificate))
        files.add("index.csv", table.getvalue())
        files.add("index.html", _page(days, listed, known))
        files.add("README.txt", _HOW_TO_CHECK)
        index = Index(
            first=days.first,
            last=days.last,
            categories=None if categories is None else tuple(sorted(categories)),
            made_at=known.made_at,
            ledger=known.head,
            keys=tuple(key.public_bytes_raw().hex() for key in trusted),
            certificates=tuple(listed),
            expired=known.expired,
            uncertified=known.uncertified,
            files=dict(sorted(files.digests.items())),
        )
        files.add(INDEX, _signed(index, keys))
    return index


class _Files:
    """The files of an archive, as they are written; `digests` has the SHA-256 of each, in hexadecimal."""

    def __init__(self, archive: zipfile.ZipFile, made_at: datetime) -> None:
        self._archive = archive
        self._made_at = made_at.timetuple()[:6]
        self.digests: dict[str, str] = {}

    def add(self, name: str, text: str) -> None:
        entry = zipfile.ZipInfo(name, self._made_at)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        data = text.encode()
        self._archive.writestr(entry, data)
        self.digests[name] = hashlib.sha256(data).hexdigest()


def _signed(index: Index, keys: Keys) -> str:
    signed = SignedIndex(index=index, signature=Signature.of(keys, index.model_dump(mode="json")))
    text = json.dumps(signed.model_dump(mode="json"), indent=1) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise EvidenceError(
            f"{index.first} to {index.last} have {len(index.certificates):,} certificates, the index of which would be "
            f"larger than {MOST_BYTES // 2**20} MB: choose fewer days"
        )
    return text


@dataclass(frozen=True, slots=True)
class _Run:
    """A run with a certificate that is stored; `entry` is the body of the ledger's entry of it."""

    id: str
    category: str
    entry: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the governance database knows at one moment of certificates of some days."""

    made_at: datetime
    head: Head
    stored: tuple[_Run, ...]
    expired: tuple[Expired, ...]
    uncertified: tuple[str, ...]


def _known(governance: Governance, days: Days, categories: Collection[str] | None) -> _Known:
    entry, run, stored = schema.ledger.c, schema.run.c, schema.certificate.c
    first, end = days.bounds
    of_categories = sa.true() if categories is None else run.category.in_(sorted(categories))
    issued = (
        sa.select(run.id, run.category, entry.body, stored.run_id.label("stored"))
        .select_from(
            schema.ledger.join(schema.run, run.id == entry.subject).outerjoin(
                schema.certificate, stored.run_id == run.id
            )
        )
        .where(entry.kind == ISSUED, entry.at >= _ledger_time(first), entry.at < _ledger_time(end), of_categories)
        .order_by(entry.seq)
    )
    entered = sa.exists().where(entry.kind == ISSUED, entry.subject == run.id)
    uncertified = (
        sa.select(run.id)
        .where(run.finished_at >= first, run.finished_at < end, of_categories, ~entered)
        .order_by(run.finished_at, run.id)
    )
    with governance.read() as connection:
        found = connection.execute(issued).all()
        return _Known(
            made_at=governance.now(connection).astimezone(UTC).replace(microsecond=0),
            head=Ledger(governance).head(connection),
            stored=tuple(
                _Run(row.id, row.category, _entry(row.id, row.body)) for row in found if row.stored is not None
            ),
            expired=tuple(
                Expired(run=row.id, category=row.category, sha256=str(_entry(row.id, row.body)["sha256"]))
                for row in found
                if row.stored is None
            ),
            uncertified=tuple(connection.scalars(uncertified)),
        )


def _entry(run_id: str, body: str) -> Mapping[str, object]:
    """The body of the ledger's entry of a certificate.

    Raises:
        EvidenceError: if it was changed beyond recognition.
    """
    what = f"the ledger's entry of the certificate of run {run_id}"
    content = read_json(body.encode(), what=what)
    if "sha256" not in content:
        raise EvidenceError(f"{what} was changed; look at `lethe ledger verify`")
    return content


def _ledger_time(at: datetime) -> str:
    """A moment as the ledger writes it, which sorts as the moments do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _listed(signed: SignedCertificate, file: str) -> Listed:
    said = signed.certificate
    return Listed(
        run=said.run,
        category=said.category,
        as_of=said.as_of,
        issued_at=said.issued_at,
        state=said.state,
        dry_run=said.dry_run,
        complete=said.complete,
        sha256=said.sha256,
        file=file,
    )


def _columns() -> list[str]:
    outcomes = [outcome.value for outcome in Outcome]
    return [
        *("category", "run", "as_of", "issued_at", "state", "dry_run", "complete", "dataset", "due"),
        *outcomes,
        *("went_along", "left", "approved_by", "problem"),
    ]


def _rows(said: Certificate) -> Iterator[list[object]]:
    """The datasets of a run for a spreadsheet: a cell is empty where nothing is known."""
    for dataset in said.datasets:
        became = dataset.became
        outcomes = became.outcomes if became else {}
        yield [
            *(said.category, said.run, said.as_of.isoformat(), said.issued_at.isoformat(), said.state),
            *(said.dry_run, said.complete, dataset.name),
            dataset.found.due if dataset.found else "",
            *(outcomes.get(outcome, "") for outcome in Outcome),
            became.went_along if became else "",
            dataset.left.due if dataset.left else "",
            harmless(dataset.approval.by) if dataset.approval else "",
            harmless(dataset.problem or ""),
        ]


def _page(days: Days, listed: Sequence[Listed], known: _Known) -> str:
    by_category: dict[str, list[Listed]] = {}
    for one in listed:
        by_category.setdefault(one.category, []).append(one)
    return certificates.template("archive.html.j2").render(
        days=days, categories=sorted(by_category.items()), number=len(listed), known=known
    )


# --- verifying --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """An archive whose index holds.

    Attributes:
        index: what it says.
        key_id: of the key that signed the index.
        trusted: whether that is one that was given; if not, only that it is unchanged since that key signed it.
        findings: what is wrong with the files, a sentence each. Empty: the archive holds.
    """

    index: Index
    key_id: str
    trusted: bool
    findings: tuple[str, ...]


def verify(path: Path, trusted: Sequence[Ed25519PublicKey] = ()) -> VerifiedArchive:
    """Check an archive: its index, that its files are those of the index, and each certificate. Needs no database.

    Args:
        path: the ZIP file.
        trusted: public keys that the index may be signed by; none: only self-consistency is checked.

    Raises:
        EvidenceError: if it is no such archive, or its index was changed or is signed by another key.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _verified(archive, trusted, str(path))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read ({error.strerror}): name another file") from None
    except zipfile.BadZipFile:
        raise EvidenceError(f"{path}: no ZIP file, or one that was cut off: name another file") from None


def _verified(archive: zipfile.ZipFile, trusted: Sequence[Ed25519PublicKey], what: str) -> VerifiedArchive:
    names = archive.namelist()
    if INDEX not in names:
        raise EvidenceError(f"{what}: has no {INDEX}: name an archive that `lethe evidence archive` wrote")
    if len(set(names)) != len(names):
        raise EvidenceError(f"{what}: has two files of one name: name an archive that `lethe evidence archive` wrote")
    where = f"{what}, {INDEX}"
    signed = read_document(SignedIndex, read_json(_content(archive, INDEX, where), what=where), what=where)
    vouched = signed.signature.require(signed.index.model_dump(mode="json"), trusted, what=where)
    return VerifiedArchive(
        index=signed.index,
        key_id=signed.signature.key_id,
        trusted=vouched,
        findings=tuple(_findings(archive, signed.index, set(names) - {INDEX})),
    )


def _content(archive: zipfile.ZipFile, name: str, what: str) -> bytes:
    """The bytes of a file, as far as a document may be large.

    Raises:
        EvidenceError: if they are damaged.
    """
    try:
        with archive.open(name) as file:
            return file.read(MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):  # damaged; encrypted or in another compression
        raise EvidenceError(f"{what}: cannot be unpacked: take another copy of the archive") from None


def _findings(archive: zipfile.ZipFile, index: Index, names: Collection[str]) -> Iterator[str]:
    documents = {one.file: one for one in index.certificates}
    yield from (f"{name}: is missing" for name in sorted({*index.files, *documents} - set(names)))
    for name in sorted(names):
        if name not in index.files:
            yield f"{name}: the index does not know it"
            continue
        try:
            data = _content(archive, name, name)
            if hashlib.sha256(data).hexdigest() != index.files[name]:
                yield f"{name}: was changed"
            elif name in documents:
                yield from _differences(documents[name], data, index.keys)
        except EvidenceError as error:
            yield str(error)


def _differences(listed: Listed, data: bytes, keys: Collection[str]) -> Iterator[str]:
    """In what a certificate is not the one that the index means.

    Raises:
        EvidenceError: if it is none that holds.
    """
    document = certificates.verify(data, what=listed.file).document
    if document.signature.public_key not in keys:
        yield f"{listed.file}: it is signed by a key that the index does not vouch for"
    if _listed(document, listed.file) != listed:
        yield f"{listed.file}: the index says something else of it"
