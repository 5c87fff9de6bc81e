"""`lethe ledger`, `certificate`, `prove`, `proof`, `evidence` and `keys`: what was done, and how others can check it.

`certificate verify`, `proof verify` and `evidence verify` need no connection and no secret, only the file and the
public key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.table import Table

from lethe.cli.shell import console, environment, say

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from lethe.environment import Environment
    from lethe.evidence.archive import Index
    from lethe.evidence.certificate import Certificate
    from lethe.evidence.proofs import History

ledger_app = typer.Typer(help="Check the ledger of all that was done, and anchor it elsewhere.", no_args_is_help=True)
certificate_app = typer.Typer(help="Show and check certificates of destruction.", no_args_is_help=True)
proof_app = typer.Typer(help="Check proofs about single records.", no_args_is_help=True)
keys_app = typer.Typer(help="Make the secrets, and give out the public key.", no_args_is_help=True)
evidence_app = typer.Typer(
    help="Hand out certificates by period, and delete evidence at the end of its own period.", no_args_is_help=True
)

PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", metavar="FILE", help="A public key (PEM) that may have signed; may be repeated."),
]
ConnectionId = Annotated[
    str | None, typer.Option("--connection", metavar="ID", help="The Airflow connection of the bucket.")
]
NOT_KNOWN = 3
"""The exit code where nothing is known of a record."""

RecordKey = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY...",
        help="The values of the dataset's key, in its order; of an object, its key. - reads them from standard input, "
        "one a line, so that they do not enter the shell's history.",
    ),
]


# --- ledger -----------------------------------------------------------------------------------------------------------


@ledger_app.command("verify")
def verify_ledger(
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|S3", help="Anchors, or a certificate, kept elsewhere; may be repeated."),
    ] = None,
    connection: ConnectionId = None,
    public_key: PublicKeys = None,
    records: Annotated[bool, typer.Option("--records", help="Also all record-level outcomes, one by one.")] = False,
) -> None:
    """Check every entry of the ledger, every certificate and every anchor. Ends with 1 if anything is wrong."""
    from lethe.stages.audit import audit_evidence

    with environment() as env:
        trusted = _trusted(env, public_key)
        found = audit_evidence(env, trusted, anchors=anchor or (), conn_id=connection, leaves=records)
    for text in found.findings:
        say(text)
    if found.unguarded:
        missing = ", ".join(found.unguarded)
        say(f"Warning: the database does not refuse changes of the ledger; triggers missing: {missing}.")
    say(
        f"{found.entries:,} entries, {found.certificates:,} certificates and {found.anchors:,} anchors from "
        f"elsewhere were compared. The last entry is {found.head.seq}, {found.head.hash}."
    )
    if not found.anchors:
        say(
            "Without an anchor from elsewhere, entries after the latest certificate that were cut off or written anew "
            "do not show; see `lethe ledger anchor`."
        )
    if found.findings:
        say("The evidence does NOT hold. Compare it with a backup, and find out who changed it.")
        raise typer.Exit(1)
    say("The evidence holds.")


@ledger_app.command("anchor")
def anchor_ledger(
    place: Annotated[str, typer.Argument(metavar="FILE|S3", help="A file to add to, or s3://bucket/prefix.")],
    connection: ConnectionId = None,
    lock_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Lock the object until then (Object Lock)."),
    ] = None,
) -> None:
    """Keep a signed note of the ledger's last entry, where who can change the ledger cannot change it."""
    from lethe.evidence.anchors import keep

    until = lock_until.replace(tzinfo=UTC) if lock_until is not None else None
    with environment() as env:
        anchor = env.ledger.anchor(env.keys)
        where = keep(anchor, place, env.connection, conn_id=connection, locked_until=until)
    say(f"Entry {anchor.seq} is anchored in {where}.")


# --- certificates -----------------------------------------------------------------------------------------------------


@certificate_app.command("show")
def show_certificate(
    run: Annotated[str, typer.Argument(help="The run, as `lethe report` shows it.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as a page; to have a PDF, print that from a browser.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the signed document.")] = None,
) -> None:
    """Show the certificate of a run; without options, print the signed document."""
    from lethe.evidence import certificate as certificates

    with environment() as env:
        signed = certificates.get(env.governance, run)
    if html is not None:
        _write(html, certificates.page(signed))
    if json is not None:
        _write(json, signed.text())
    if html is None and json is None:
        typer.echo(signed.text(), nl=False)


@certificate_app.command("verify")
def verify_certificate(
    file: Annotated[Path, typer.Argument(help="The signed document (JSON).")],
    public_key: PublicKeys = None,
) -> None:
    """Check a certificate with nothing but the public key. Ends with 1 if it does not hold."""
    from lethe.evidence import certificate as certificates
    from lethe.evidence.signed import read_file

    content, keys = read_file(file), _public_keys(public_key)
    with _from_elsewhere():
        verified = certificates.verify(content, keys, what=str(file))
    _say_certificate(verified.certificate)
    _say_trust(verified.document.signature.key_id, trusted=verified.trusted)


@contextmanager
def _from_elsewhere() -> Iterator[None]:
    """Documents that others hand in. What does not hold, whoever asked for it has to ask for again."""
    from lethe.errors import EvidenceError

    try:
        yield
    except EvidenceError as error:
        raise EvidenceError(
            f"{error}. Do not rely on it; have it written anew by who keeps the ledger: "
            "`lethe certificate show RUN --json FILE`, `lethe prove … --out FILE`"
        ) from None


def _say_certificate(certificate: Certificate) -> None:
    say(
        f"The certificate holds: run {certificate.run} of {certificate.category} ({certificate.source}), "
        f"{certificate.state}, as of {certificate.as_of.isoformat()}."
    )
    from lethe.counts import Outcome

    headings = [outcome.heading for outcome in Outcome]
    table = Table("Dataset", "Due", *headings, "Went along", "Left", "Problem")
    for dataset in certificate.datasets:
        became = dataset.became
        counts = [
            dataset.found.due if dataset.found else None,
            *((*became.outcomes.values(), became.went_along) if became else [None] * (len(headings) + 1)),
            dataset.left.due if dataset.left else None,
        ]
        cells = [f"{count:,}" if count is not None else "–" for count in counts]
        table.add_row(dataset.name, *cells, dataset.problem or "")
    console().print(table)


def _say_trust(key_id: str, *, trusted: bool) -> None:
    if trusted:
        say(f"It is signed by the given key, {key_id}.")
    else:
        say(
            f"Only self-consistency was checked: it is unchanged since key {key_id} signed it. Whose key that is, "
            "--public-key tells."
        )


# --- records ----------------------------------------------------------------------------------------------------------


def prove(
    dataset: Annotated[str, typer.Argument(metavar="CATEGORY.DATASET")],
    key: RecordKey,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a proof that an outsider can check.")] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run to prove; the one that erased the record if left out.")
    ] = None,
    public_key: PublicKeys = None,
) -> None:
    """Say whether, when and by which run a record was erased. Its key is not repeated, stored or logged.

    Ends with 3 where no run that is on record has had it among its candidates.
    """
    from lethe.evidence import proofs
    from lethe.judging.keys import readings_before

    texts = key_texts(key)
    with environment() as env:
        trusted = _trusted(env, public_key)
        if run is not None:
            env.runs.get(run)  # there is one
        named = proofs.meant(env.governance, dataset, texts)
        before = partial(readings_before, texts)
        history = proofs.find(env.governance, env.keys, dataset, named, trusted, before)
        _say_history(dataset, history)
        seen = history.erased_by or (history.sightings[-1] if history.sightings else None)
        about = run or (seen.run if seen else None)
        if out is not None and about is None:
            raise typer.BadParameter("no run had the record; name the run to prove that of", param_hint="--run")
        if out is not None and about is not None:
            _write(out, proofs.prove(env.governance, env.keys, dataset, named, about, trusted, before).text())
    if seen is None:
        raise typer.Exit(NOT_KNOWN)


def _say_history(dataset: str, history: History) -> None:
    for seen in history.sightings:
        outcomes = " and ".join(outcome.value for outcome in seen.outcomes)
        ended = f"ended {seen.finished_at:%Y-%m-%d %H:%M:%S} UTC" if seen.finished_at else "not ended"
        say(
            f"{outcomes} by run {seen.run} as of {seen.as_of.isoformat()}, {ended}, "
            f"{'certified' if seen.certified else 'not certified yet'}"
        )
    erased = history.erased_by
    if erased:
        say(f"The record was erased by run {erased.run}.")
    elif history.sightings:
        say("No run has erased the record, as far as is known.")
    else:
        say("No run has erased the record: it is not known, because no run on record had it among its candidates.")
    say(
        f"{history.searched:,} runs of {dataset} were searched; {history.without_evidence:,} have no record-level "
        "evidence (any more)."
    )


@proof_app.command("verify")
def verify_proof(
    file: Annotated[Path, typer.Argument(help="The proof, as `lethe prove --out` writes it.")],
    key: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="The record's key, as for `lethe prove`; - reads standard input."),
    ] = None,
    public_key: PublicKeys = None,
) -> None:
    """Check a proof with nothing but the public key and the record's key. Ends with 1 if it does not hold."""
    from lethe.evidence import proofs
    from lethe.evidence.signed import read_file
    from lethe.judging.keys import readings, readings_before

    texts = key_texts(key) if key else None
    try:
        named = [*readings(texts), *readings_before(texts)] if texts else None
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write each value as for `lethe prove`", param_hint="KEY") from None
    content, keys = read_file(file), _public_keys(public_key)
    with _from_elsewhere():
        proven = proofs.verify(content, named, keys, what=str(file))
    which = "the named record" if proven.named else "a record"
    where = f"run {proven.proof.run} ({proven.certificate.state}) as of {proven.certificate.as_of.isoformat()}"
    if proven.outcomes:
        outcomes = " and ".join(outcome.value for outcome in proven.outcomes)
        say(f"The proof holds: {which} of {proven.proof.dataset} was {outcomes} by {where}.")
    else:
        say(
            f"The proof holds: {which} of {proven.proof.dataset} was not among those that {where} dealt with, provided "
            "that its salt is the one that Lethe's secret gives, which only the secret's keeper can check."
        )
    if not proven.named:
        say("Which record that is was not checked; give its key.")
    _say_trust(proven.proof.certificate.signature.key_id, trusted=proven.trusted)


def key_texts(values: Sequence[str]) -> Sequence[str]:
    """The values of a key, or the lines of standard input where `-` stands for them.

    Raises:
        BadParameter: if there is none, or one is empty.
    """
    if list(values) == ["-"]:
        values = sys.stdin.read().splitlines()
    if not values or not all(values):
        raise typer.BadParameter("give the value of every column of the dataset's key", param_hint="KEY")
    return values


# --- archives ---------------------------------------------------------------------------------------------------------


@evidence_app.command()
def archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new ZIP file.")],
    first: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="The first day (UTC).")
    ],
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="The last day (UTC); today if left out."),
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only of this category; may be repeated.")
    ] = None,
) -> None:
    """Write the certificates that were issued on some days into one archive, with a signed index."""
    from lethe.evidence.archive import Days, write

    days = Days(first.date(), (last or datetime.now(UTC)).date())
    with environment() as env, _whole(file) as out:
        known = sorted({*env.policies, *env.runs.categories()})
        unknown = sorted({*(category or ())}.difference(known))
        if unknown:
            raise typer.BadParameter(
                f"there is no category {', '.join(unknown)}; choose from {', '.join(known)}", param_hint="--category"
            )
        index = write(env.governance, env.keys, out, days, category)
    say(f"{file} was written: {len(index.certificates):,} certificates from {days.first} to {days.last}.")
    _say_not_there(index)


@evidence_app.command("verify")
def verify_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive (ZIP).")],
    public_key: PublicKeys = None,
) -> None:
    """Check an archive and its certificates with nothing but the public key. Ends with 1 if anything is wrong."""
    from lethe.errors import EvidenceError
    from lethe.evidence.archive import verify

    keys = _public_keys(public_key)
    with _from_elsewhere():
        found = verify(file, keys)
    for text in found.findings:
        say(text)
    if found.findings:
        raise EvidenceError(
            f"{file} does NOT hold: do not rely on it; have it made anew by who keeps the ledger, `lethe evidence "
            "archive`"
        )
    index = found.index
    of = "all categories" if index.categories is None else ", ".join(index.categories)
    say(
        f"The archive holds: {len(index.certificates):,} certificates from {index.first} to {index.last}, of {of}, as "
        f"of {index.made_at.isoformat()}."
    )
    _say_not_there(index)
    _say_trust(found.key_id, trusted=found.trusted)


def _say_not_there(index: Index) -> None:
    """What an archive has no certificate of, and why."""
    expired = [one.run for one in index.expired]
    missing = {
        "they were issued on these days, and deleted at the end of the evidence's own period": expired,
        "they ended on these days, and had no certificate yet": index.uncertified,
    }
    for why, runs in missing.items():
        if runs:
            say(f"Not in it, because {why}: {', '.join(runs)}.")


# --- the evidence's own period ----------------------------------------------------------------------------------------


@evidence_app.command()
def expire(
    before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only what was issued before this day (UTC)."),
    ] = None,
) -> None:
    """Delete certificates and record-level outcomes whose period (LETHE_EVIDENCE_PERIOD, P10Y) has ended."""
    from lethe import timekeeping
    from lethe.evidence.expiry import evidence_period, expire

    period, limit = evidence_period(), before.replace(tzinfo=UTC) if before is not None else None
    with environment() as env:
        now = timekeeping.agreed(env, (dataset for policy in env.policies.values() for dataset in policy.datasets))
        now.require_witness()
        expired = expire(env.governance, period=period, as_of=now.earliest.at, before=limit)
    say(
        f"{expired.certificates:,} certificates from before {expired.before.date().isoformat()} were deleted, with the "
        f"outcomes of {expired.trees:,} datasets."
    )


# --- keys -------------------------------------------------------------------------------------------------------------


@keys_app.command()
def new() -> None:
    """Print a new `lethe_keys` connection in Airflow's JSON format: keep it in a secrets backend."""
    from lethe.keys import new_connection

    typer.echo(new_connection())
    typer.echo(
        "Add it as connection lethe_keys (Airflow's secrets backend, or AIRFLOW_CONN_LETHE_KEYS). It cannot be made "
        "again: without it, holds cannot be read and records not be proven.",
        err=True,
    )


@keys_app.command()
def public() -> None:
    """Print the public key that certificates are checked by (PEM)."""
    from lethe.evidence.signed import key_id, public_pem
    from lethe.keys import load_keys

    with environment() as env:
        key = load_keys(env.connection).signing_key().public_key()
    typer.echo(public_pem(key), nl=False)
    typer.echo(f"key id {key_id(key)}", err=True)


@keys_app.command()
def rotate(
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new file for the connection with the new secret.")],
    signing: Annotated[bool, typer.Option("--signing", help="Replace the signing key.")] = False,
    master: Annotated[bool, typer.Option("--master", help="Replace the master secret.")] = False,
) -> None:
    """Replace the signing key, or the master secret. What was signed, is held or was erased before stays so."""
    from lethe.evidence.rotation import replace_master_secret, replace_signing_key
    from lethe.evidence.signed import key_id

    if signing == master:
        raise typer.BadParameter("say which one to replace: --signing or --master", param_hint="--signing, --master")
    with environment() as env:
        replace = replace_master_secret if master else replace_signing_key
        new = replace(env.governance, env.keys, out)
    if master:
        say("The master secret was replaced; all holds bind as before.")
        say(
            f"Now give the connection in {out} to every process as lethe_keys, and destroy that file: until then, all "
            "that needs the secret is refused. Keep the secret before for as long as backups of the governance "
            "database from before: they open with it alone."
        )
        return
    say(f"The signing key was replaced; the new one has the id {key_id(new.signing_key().public_key())}.")
    say(
        f"Now give the connection in {out} to every process as lethe_keys, and destroy that file: until then, nothing "
        "is planned, certified or anchored. Give the new public key (`lethe keys public`) to those who check "
        "certificates; they keep the one before for those that they have."
    )


def _public_keys(files: Sequence[Path] | None) -> list[Ed25519PublicKey]:
    from lethe.evidence.signed import read_public_key

    return [read_public_key(file) for file in files or ()]


def _trusted(env: Environment, files: Sequence[Path] | None) -> list[Ed25519PublicKey]:
    """The given public keys, the own one and those that it replaced."""
    from lethe.evidence.signing_keys import trusted_keys
    from lethe.keys import load_keys

    return [*_public_keys(files), *trusted_keys(env.governance, load_keys(env.connection))]


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is there when all of it was written, and not before."""
    from lethe.errors import EvidenceError

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be written ({error.strerror}): name another file") from None
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    from lethe.errors import EvidenceError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be written ({error.strerror}): name another file") from None
    say(f"{path} was written.")
