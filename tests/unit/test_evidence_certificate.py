"""Certificates and record-level proofs: issued once, checked by anybody, and free of personal data."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evidence_kit import AS_OF, CLAIM, KEYS, POLICY, PUBLIC, ended_run
from typer.testing import CliRunner

from lethe.cli.evidence import certificate_app, evidence_app, keys_app, ledger_app, proof_app
from lethe.counts import Became, Outcome
from lethe.errors import EvidenceError, ParameterError
from lethe.evidence import anchors, certificate, expiry, merkle, outcomes, proofs
from lethe.evidence.ledger import Ledger
from lethe.evidence.outcomes import record_outcomes
from lethe.evidence.signed import Signature, public_pem
from lethe.governance import Governance, open_governance, schema
from lethe.holds.registry import HoldRegistry, HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.judging.keys import readings, readings_before, record_key
from lethe.keys import Keys
from lethe.periods import Period
from lethe_demo.servers import EmbeddedPostgres, EmbeddedS3

OTHERS = Keys(b"o" * 32, b"t" * 32)
TOKEN = "canary7f3a"


@pytest.fixture(params=["sqlite", "postgresql"])
def governance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Governance]:
    """An empty governance database, on either kind of server."""
    if request.param == "sqlite":
        with _sqlite(tmp_path) as database:
            yield database
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    name = f"certificates_{secrets.token_hex(4)}"
    server.create_database(name)
    database = open_governance(lambda conn_id: server.connection(conn_id, name))
    yield database
    database.close()
    server.drop_database(name)


class _sqlite:  # noqa: N801 - used like a function
    def __init__(self, folder: Path) -> None:
        self.database = Governance(sa.URL.create("sqlite", database=str(folder / "governance.db")))
        self.database.create_schema()

    def __enter__(self) -> Governance:
        return self.database

    def __exit__(self, *_exc: object) -> None:
        self.database.close()


SOME = {
    record_key((f"{TOKEN}-1",)): Outcome.ERASED,
    record_key((f"{TOKEN}-2",)): Outcome.HELD,
    record_key((f"{TOKEN}-3",)): Outcome.RENEWED,
}


# --- certificates -----------------------------------------------------------------------------------------------------


def test_a_certificate_says_what_the_run_did_and_anybody_can_check_it(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME)
    issued = certificate.issue(governance, KEYS, "webinars-1", [])
    verified = certificate.verify(issued.text().encode(), PUBLIC)
    assert verified.trusted
    assert verified.document == issued
    said = verified.certificate
    (dataset,) = said.datasets
    assert said.complete
    assert (said.source, said.cutoff, said.policy_digest) == ("§ 5.5", "2024-09-01", POLICY.digest)
    assert dataset.became is not None
    assert (dataset.became.erased, dataset.became.held, dataset.became.renewed) == (1, 1, 1)
    assert dataset.records is not None
    assert dataset.records.outcomes == {"erased": 1, "held": 1, "renewed": 1}
    assert dataset.remains[0].what.startswith("dead tuples")
    assert not certificate.verify(issued.text().encode()).trusted
    with pytest.raises(EvidenceError, match="another key"):
        certificate.verify(issued.text().encode(), [OTHERS.signing_key().public_key()])


def test_a_run_has_one_certificate_however_often_it_is_asked_for(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME)
    issued: list[certificate.SignedCertificate] = []
    threads = [
        threading.Thread(target=lambda: issued.append(certificate.issue(governance, KEYS, "webinars-1", [])))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issued) == 6
    assert all(one == issued[0] for one in issued)
    with governance.read() as connection:
        entries = sa.select(sa.func.count()).where(schema.ledger.c.kind == certificate.ISSUED)
        assert connection.scalar(entries) == 1
    assert certificate.get(governance, "webinars-1") == issued[0]


def test_an_open_run_and_an_unknown_one_get_no_certificate(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME, state="open", finished_at=None)
    with pytest.raises(EvidenceError, match="still open"):
        certificate.issue(governance, KEYS, "webinars-1", [])
    with pytest.raises(EvidenceError, match="no run webinars-2"):
        certificate.issue(governance, KEYS, "webinars-2", [])
    with pytest.raises(EvidenceError, match="has no certificate"):
        certificate.get(governance, "webinars-1")


def test_without_a_signing_key_nothing_is_issued_and_the_message_says_so(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME)
    with pytest.raises(EvidenceError, match=r"signing_key is missing; see `lethe keys new`"):
        certificate.issue(governance, Keys(b"m" * 32), "webinars-1", [])
    assert certificate.uncertified(governance, "webinars") == ["webinars-1"]
    certificate.issue(governance, KEYS, "webinars-1", [])
    assert certificate.uncertified(governance, "webinars") == []


def test_the_certificate_of_a_failed_run_says_what_is_missing(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME, state="failed", left=None, problem="it was not verified")
    said = certificate.issue(governance, KEYS, "webinars-1", []).certificate
    assert (said.state, said.complete, said.datasets[0].problem) == ("failed", False, "it was not verified")


def test_outcomes_that_are_not_the_batches_sum_are_a_problem(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME, tally=Became(erased=3).model_dump(mode="json"))
    said = certificate.issue(governance, KEYS, "webinars-1", []).certificate
    assert not said.complete
    assert "the batches say 3" in str(said.datasets[0].problem)


def test_holds_are_named_by_matter_and_counted_never_by_person(governance: Governance) -> None:
    registry = HoldRegistry(governance, KEYS, Ledger(governance).append)
    request = HoldRequest(
        matter="2026/17", reason="litigation", identifiers={IdentifierType.EMAIL: [f"{TOKEN}@example.com", "b@c.de"]}
    )
    registry.place(request, by="ann", policies={"webinars": POLICY})
    ended_run(governance, "webinars-1", SOME)
    issued = certificate.issue(governance, KEYS, "webinars-1", registry.holds())
    (held,) = issued.certificate.holds
    assert (held.matter, held.holds, held.identifiers) == ("2026/17", 1, {"email": 2})
    assert TOKEN not in issued.text()


def test_what_is_no_plain_certificate_is_refused(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        ended_run(governance, "webinars-1", SOME)
        issued = certificate.issue(governance, KEYS, "webinars-1", [])
    text = issued.text()
    content = json.loads(text)
    assert certificate.verify(json.dumps(content, indent=7).encode(), PUBLIC).trusted  # white space is no change
    unknown = {**content, "certificate": {**content["certificate"], "note": "x"}}
    for bad, message in [
        (text.replace('"run":', '"run": "x", "run":', 1), "a field is there twice"),
        (json.dumps(unknown), "note"),
        (json.dumps({**content, "more": 1}), "more"),
        (json.dumps({"certificate": content["certificate"]}), "signature"),
        (text + "{}", "not a JSON document"),
        ("[" * 100_000, "not a JSON document"),
        ("[1]", "not a JSON object"),
        ('{"certificate": NaN, "signature": 1}', "a number that JSON does not have"),
        (text.replace("succeeded", "failed"), "the signature does not hold"),
    ]:
        with pytest.raises(EvidenceError, match=message):
            certificate.verify(bad.encode(), PUBLIC)
    with pytest.raises(EvidenceError, match="not a JSON document"):
        certificate.verify(b"\xff" + text.encode(), PUBLIC)


def test_a_certificate_signed_anew_with_another_key_shows_where_the_key_is_known(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        ended_run(governance, "webinars-1", SOME)
        content = json.loads(certificate.issue(governance, KEYS, "webinars-1", []).text())
    content["certificate"]["state"] = "failed"
    content["signature"] = outcomes_signature = json.loads(
        Signature.of(OTHERS, content["certificate"]).model_dump_json()
    )
    forged = json.dumps(content).encode()
    assert not certificate.verify(forged).trusted
    with pytest.raises(EvidenceError, match="another key"):
        certificate.verify(forged, PUBLIC)
    content["signature"] = {**outcomes_signature, "key_id": "0" * 64}
    with pytest.raises(EvidenceError, match="key id"):
        certificate.verify(json.dumps(content).encode())


def test_openssl_and_jq_style_canonical_json_check_it_too(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        ended_run(governance, "webinars-1", SOME)
        content = json.loads(certificate.issue(governance, KEYS, "webinars-1", []).text())
    plain = json.dumps(content["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (tmp_path / "content").write_bytes(plain.encode())
    (tmp_path / "signature").write_bytes(bytes.fromhex(content["signature"]["value"]))
    (tmp_path / "key.pem").write_text(public_pem(PUBLIC[0]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "content"]
    try:
        done = subprocess.run(
            [*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    assert "Signature Verified Successfully" in done.stdout, done.stderr


def test_the_page_is_whole_escaped_and_loads_nothing(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME, problem="<script>alert(1)</script>")
    page = certificate.page(certificate.issue(governance, KEYS, "webinars-1", []))
    assert "Webinar &lt;registrations&gt; &amp; attendance" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "@media print" in page
    assert "size: A4" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "Incomplete" in page


def test_pages_of_all_kinds_of_runs_can_be_made(tmp_path: Path) -> None:
    empty: dict[str, Any]
    empty = {"candidates": None, "validation": None, "approval": None, "tally": None, "left": None, "remainders": None}
    with _sqlite(tmp_path) as governance:
        for state in ("succeeded", "failed", "dry", "superseded"):
            for kind, columns in (("full", {}), ("empty", empty)):
                run_id = f"webinars-{state}-{kind}"
                ended_run(governance, run_id, SOME if kind == "full" else {}, state=state, **columns)
                page = certificate.page(certificate.issue(governance, KEYS, run_id, []))
                assert run_id in page
                assert "None" not in re.sub("None concerned", "", page)


# --- record-level outcomes --------------------------------------------------------------------------------------------


def test_outcomes_can_be_recorded_again_and_only_the_last_count_until_the_certificate(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME, state="closing", finished_at=None)
    with governance.read() as connection:
        before = outcomes.recorded_outcomes(connection, "webinars-1")["registrations"]
        entries = connection.scalar(sa.select(sa.func.count()).select_from(schema.ledger))
    assert record_outcomes(governance, KEYS, "webinars-1", "registrations", iter(SOME.items()), claim=CLAIM) == before
    with governance.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.ledger)) == entries
    more = {**SOME, b"another": Outcome.GONE}
    after = record_outcomes(governance, KEYS, "webinars-1", "registrations", iter(more.items()), claim=CLAIM)
    assert after.count == 4
    assert proofs.find(governance, KEYS, "webinars.registrations", b"another").sightings[0].outcomes == (Outcome.GONE,)
    with governance.write() as connection:
        connection.execute(sa.update(schema.run).values(state="failed", finished_at=AS_OF))
    certificate.issue(governance, KEYS, "webinars-1", [])

    def unread() -> Iterator[tuple[bytes, Outcome]]:
        raise AssertionError("what is staged may be gone by now")
        yield  # type: ignore[unreachable]  # makes it a generator

    assert record_outcomes(governance, KEYS, "webinars-1", "registrations", unread(), claim=CLAIM) == after


@settings(max_examples=25, deadline=None)
@given(
    became=st.dictionaries(st.binary(min_size=1, max_size=6), st.sampled_from(list(Outcome)), max_size=60),
    absent=st.binary(min_size=1, max_size=6),
    leaf=st.sampled_from([1, 4]),
)
def test_every_record_can_be_proven_and_every_other_disproven(
    tmp_path_factory: pytest.TempPathFactory, became: dict[bytes, Outcome], absent: bytes, leaf: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, _sqlite(tmp_path_factory.mktemp("proofs")) as governance:
        patch.setattr(merkle, "CHUNK", 8)  # many chunks, and sorting in parts
        patch.setattr(outcomes, "LEAF", leaf)
        patch.setattr(outcomes, "_SORTED_AT_ONCE", 16)
        patch.setattr(outcomes, "_CHUNKS_AT_ONCE", 2)
        ended_run(governance, "webinars-1", became)
        certificate.issue(governance, KEYS, "webinars-1", [])
        assert not certificate.audit(governance, PUBLIC, leaves=True).findings
        for key, outcome in became.items():
            proof = proofs.prove(governance, KEYS, "webinars.registrations", key, "webinars-1").text().encode()
            proven = proofs.verify(proof, key, PUBLIC)
            assert (proven.outcomes, proven.named, proven.trusted) == ((outcome,), True, True)
            with pytest.raises(EvidenceError, match="another record"):
                proofs.verify(proof, key + b"x", PUBLIC)
        if absent not in became:
            assert not proofs.find(governance, KEYS, "webinars.registrations", absent).sightings
            proof = proofs.prove(governance, KEYS, "webinars.registrations", absent, "webinars-1").text().encode()
            assert proofs.verify(proof, absent, PUBLIC).outcomes == ()


def test_a_proof_from_when_a_leaf_was_one_outcome_still_holds() -> None:
    document = (Path(__file__).parent / "golden" / "proof-before-leaves.json").read_bytes()
    assert proofs.verify(document, b"n7", PUBLIC).outcomes == (Outcome.ERASED,)
    for change in ({"index": 0}, {"before": "0" * 66}, {"after": "0" * 66}, {"outcome": "held"}):
        lying = json.loads(document)
        lying["leaves"][0] |= change
        with pytest.raises(EvidenceError, match="does not lead to the root"):
            proofs.verify(json.dumps(lying).encode(), b"n7", PUBLIC)


def test_what_shares_a_leaf_with_a_record_cannot_be_changed_moved_or_left_out(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        ended_run(governance, "webinars-1", {b"key-%d" % n: Outcome.ERASED for n in range(50)})
        certificate.issue(governance, KEYS, "webinars-1", [])
        named = "webinars.registrations", b"key-7", "webinars-1"
        proof = json.loads(proofs.prove(governance, KEYS, *named).text())
    (leaf,) = proof["leaves"]
    assert not re.search(b"key-".hex(), leaf["before"] + leaf["after"])
    beside, size = leaf["before"] + leaf["after"], 2 * outcomes.OUTCOME_BYTES
    assert len(beside) // size in (31, 17)
    for change in (
        {"before": "", "after": beside},
        {"before": leaf["before"][size:] + leaf["after"][:size], "after": leaf["after"][size:]},
        {"before": leaf["before"][size:]} if leaf["before"] else {"after": leaf["after"][size:]},
        {"index": leaf["index"] ^ 1},
        {"index": leaf["index"] + 32},
    ):
        lying = {**proof, "leaves": [{**leaf, **change}]}
        if lying != proof:
            with pytest.raises(EvidenceError, match="does not lead to the root"):
                proofs.verify(json.dumps(lying).encode(), b"key-7", PUBLIC)


def test_what_a_run_erased_that_recorded_no_types_of_keys_is_still_proven(governance: Governance) -> None:
    """Versions before wrote a key without the letters of its types; what they erased was not known after an upgrade."""
    became = {b"7": Outcome.ERASED, b"b\x1f2": Outcome.ERASED}
    ended_run(governance, "webinars-1", became)
    row = schema.run_dataset.c
    with governance.write() as connection:
        candidates = connection.scalar(sa.select(row.candidates))
        assert candidates is not None
        old = {name: value for name, value in candidates.items() if name != "key"}
        connection.execute(sa.update(schema.run_dataset).values(candidates=old))
    certificate.issue(governance, KEYS, "webinars-1", [])
    ended_run(governance, "webinars-2", {b"n8": Outcome.ERASED})
    certificate.issue(governance, KEYS, "webinars-2", [])
    dataset = "webinars.registrations"
    for texts, runs in ((["07"], ["webinars-1"]), (["b", "2"], ["webinars-1"]), (["8"], ["webinars-2"]), (["n8"], [])):
        named, before = readings(texts), partial(readings_before, texts)
        history = proofs.find(governance, KEYS, dataset, named, PUBLIC, before)
        assert [seen.run for seen in history.sightings] == runs, texts
        for run in runs:
            proof = proofs.prove(governance, KEYS, dataset, named, run, PUBLIC, before)
            assert proofs.verify(proof.text().encode(), [*named, *before()], PUBLIC).outcomes == (Outcome.ERASED,)


def test_a_proof_for_one_outcome_proves_no_other(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        many = {b"key-%d" % n: Outcome.HELD for n in range(20)}
        ended_run(governance, "webinars-1", many)
        certificate.issue(governance, KEYS, "webinars-1", [])
        text = proofs.prove(governance, KEYS, "webinars.registrations", b"key-7", "webinars-1").text()
        absent = json.loads(proofs.prove(governance, KEYS, "webinars.registrations", b"no-key", "webinars-1").text())
    lying = text.replace('"outcome":"held"', '"outcome":"erased"')
    assert lying != text
    with pytest.raises(EvidenceError, match="does not lead to the root"):
        proofs.verify(lying.encode(), b"key-7", PUBLIC)
    leaves: list[Any]
    for leaves in ([], absent["leaves"][:1], absent["leaves"][1:]):  # half of the neighbours show no absence
        if len(leaves) == 1 and leaves[0]["index"] in (0, 19):
            continue
        with pytest.raises(EvidenceError, match="prove neither"):
            proofs.verify(json.dumps({**absent, "leaves": leaves}).encode(), None, PUBLIC)


def test_a_record_that_is_there_cannot_be_passed_over(tmp_path: Path) -> None:
    with _sqlite(tmp_path) as governance:
        ended_run(governance, "webinars-1", {b"key-%d" % n: Outcome.ERASED for n in range(20)})
        certificate.issue(governance, KEYS, "webinars-1", [])
        found = [
            json.loads(proofs.prove(governance, KEYS, "webinars.registrations", b"key-%d" % n, "webinars-1").text())
            for n in range(20)
        ]
    before, there, after = sorted(found, key=lambda proof: proof["leaves"][0]["index"])[6:9]
    denying = {**there, "leaves": [*before["leaves"], *after["leaves"]]}
    with pytest.raises(EvidenceError, match="prove neither"):
        proofs.verify(json.dumps(denying).encode(), None, PUBLIC)


def test_changed_outcomes_in_the_database_are_noticed_by_whoever_asks(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME)
    certificate.issue(governance, KEYS, "webinars-1", [])
    with governance.write() as connection:
        stored = connection.scalar(sa.select(schema.proof_leaves.c.leaves))
        assert stored is not None
        leaves = bytes(stored)
        forged = b"".join(leaves[at : at + 32] + b"h" for at in range(0, len(leaves), 33))
        connection.execute(sa.update(schema.proof_leaves).values(leaves=forged))
    with pytest.raises(EvidenceError, match="the stored outcomes of registrations were changed"):
        proofs.find(governance, KEYS, "webinars.registrations", next(iter(SOME)))
    assert certificate.audit(governance, PUBLIC, leaves=True).findings


def test_a_record_is_followed_through_all_runs(governance: Governance) -> None:
    key = record_key((f"{TOKEN}-9",))
    ended_run(governance, "webinars-1", {key: Outcome.HELD})
    ended_run(governance, "webinars-2", SOME)
    ended_run(governance, "webinars-3", {key: Outcome.ERASED})
    for n in (1, 2):
        certificate.issue(governance, KEYS, f"webinars-{n}", [])
    history = proofs.find(governance, KEYS, "webinars.registrations", key, PUBLIC)
    assert [(seen.run, seen.outcomes, seen.certified) for seen in history.sightings] == [
        ("webinars-1", (Outcome.HELD,), True),
        ("webinars-3", (Outcome.ERASED,), False),
    ]
    assert history.erased_by is not None
    assert history.erased_by.run == "webinars-3"
    assert history.searched == 3
    with pytest.raises(EvidenceError, match="no run has had a dataset"):
        proofs.find(governance, KEYS, "webinars.speakers", key)


def test_digests_of_a_record_differ_from_run_to_run_and_say_nothing_without_the_secret() -> None:
    digests = {
        outcomes.Committing(keys, run, dataset)(b"key").digest
        for keys in (KEYS, OTHERS)
        for run in ("a", "b")
        for dataset in ("x.y", "x.z")
    }
    assert len(digests) == 8


def test_no_key_is_in_clear_anywhere_in_the_governance_database(governance: Governance, tmp_path: Path) -> None:
    ended_run(governance, "webinars-1", SOME)
    certificate.issue(governance, KEYS, "webinars-1", [])
    with governance.read() as connection:
        rows = [tuple(row) for table in schema.metadata.sorted_tables for row in connection.execute(sa.select(table))]
    assert rows
    assert TOKEN not in repr(rows)
    for file in tmp_path.glob("governance.db*"):
        assert TOKEN.encode() not in file.read_bytes()


# --- audit, anchors, and the evidence's own period --------------------------------------------------------------------


def test_a_missing_certificate_and_a_foreign_one_are_found(governance: Governance) -> None:
    for n in (1, 2, 3):
        ended_run(governance, f"webinars-{n}", SOME)
        certificate.issue(governance, KEYS, f"webinars-{n}", [])
    audited = certificate.audit(governance, PUBLIC, leaves=True)
    assert (audited.certificates, len(audited.heads), audited.findings) == (3, 3, ())
    assert Ledger(governance).verify(audited.heads).holds
    table = schema.certificate
    with governance.write() as connection:
        first = connection.scalar(sa.select(table.c.document).where(table.c.run_id == "webinars-1"))
        connection.execute(sa.update(table).where(table.c.run_id == "webinars-2").values(document=first))
        connection.execute(sa.delete(table).where(table.c.run_id == "webinars-3"))
    assert certificate.audit(governance, PUBLIC).findings == (
        "the certificate of run webinars-2: it is that of run webinars-1",
        "the certificate of run webinars-3 is missing",
    )


def test_a_certificate_that_the_ledger_does_not_know_is_found_also_if_it_is_signed(governance: Governance) -> None:
    ended_run(governance, "webinars-1", SOME)
    content = json.loads(certificate.issue(governance, KEYS, "webinars-1", []).text())
    content["certificate"]["owner"] = "somebody-else"
    content["signature"] = Signature.of(KEYS, content["certificate"]).model_dump()
    with governance.write() as connection:
        connection.execute(sa.update(schema.certificate).values(document=json.dumps(content)))
    assert certificate.audit(governance, PUBLIC).findings == (
        "the certificate of run webinars-1: the ledger's entry is of another document",
    )


def test_anchors_and_certificates_in_files_and_buckets_vouch_for_heads(
    governance: Governance, s3: EmbeddedS3, tmp_path: Path
) -> None:
    ledger = Ledger(governance)
    ended_run(governance, "webinars-1", SOME)
    issued = certificate.issue(governance, KEYS, "webinars-1", [])
    anchor = ledger.anchor(KEYS)
    bucket = f"anchors-{secrets.token_hex(4)}"
    s3.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    file, page = tmp_path / "anchors.jsonl", tmp_path / "certificate.json"
    page.write_text(issued.text())
    place = f"s3://{bucket}/lethe"
    until = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(2):
        anchors.keep(anchor, str(file), s3.connection)
        anchors.keep(anchor, place, s3.connection, conn_id="lethe_lake", locked_until=until)
    assert anchors.vouched_heads(str(file), s3.connection, PUBLIC) == [anchor.head] * 2
    assert anchors.vouched_heads(place, s3.connection, PUBLIC, conn_id="lethe_lake") == [anchor.head]
    assert anchors.vouched_heads(str(page), s3.connection, PUBLIC) == [issued.certificate.ledger]
    (item,) = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
    kept = s3.client().get_object_retention(Bucket=bucket, Key=item["Key"])
    assert kept["Retention"]["Mode"] == "COMPLIANCE"
    with pytest.raises(EvidenceError, match="another key"):
        anchors.vouched_heads(place, s3.connection, [OTHERS.signing_key().public_key()], conn_id="lethe_lake")
    with pytest.raises(ParameterError, match="--connection"):
        anchors.vouched_heads(place, s3.connection, PUBLIC)
    with pytest.raises(ParameterError, match="neither a file nor a place"):
        anchors.keep(anchor, "gs://bucket/x", s3.connection)


def test_evidence_goes_when_its_own_period_ends_and_the_ledger_tells(governance: Governance) -> None:
    for n in (1, 2):
        ended_run(governance, f"webinars-{n}", SOME)
        certificate.issue(governance, KEYS, f"webinars-{n}", [])
    with governance.read() as connection:
        now = governance.now(connection)
    ten_years = Period.parse("P10Y")
    assert expiry.expire(governance, period=ten_years, as_of=now + timedelta(days=3600)).certificates == 0
    with pytest.raises(ParameterError, match="is kept for P10Y"):
        expiry.expire(governance, period=ten_years, as_of=now, before=now)
    expired = expiry.expire(governance, period=ten_years, as_of=now + timedelta(days=3660))
    assert (expired.certificates, expired.trees) == (2, 2)
    with governance.read() as connection:
        for table in (schema.certificate, schema.proof_tree, schema.proof_leaves):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    assert certificate.audit(governance, PUBLIC).findings == ()
    assert certificate.uncertified(governance, "webinars") == []
    with pytest.raises(EvidenceError, match="has expired or was removed"):
        certificate.issue(governance, KEYS, "webinars-1", [])
    assert Ledger(governance).verify().holds
    history = proofs.find(governance, KEYS, "webinars.registrations", next(iter(SOME)))
    assert (history.searched, history.without_evidence) == (0, 2)
    assert expiry.expire(governance, period=ten_years, as_of=now + timedelta(days=3660)).certificates == 0


def test_the_evidences_period_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(expiry.evidence_period()) == "P10Y"
    monkeypatch.setenv(expiry.VARIABLE, "P12Y")
    assert str(expiry.evidence_period()) == "P12Y"
    monkeypatch.setenv(expiry.VARIABLE, "ten years")
    with pytest.raises(ParameterError, match="LETHE_EVIDENCE_PERIOD"):
        expiry.evidence_period()


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Commands on a governance database with one certified run."""
    connection = CliRunner().invoke(keys_app, ["new"]).stdout.strip()
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", connection)
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_GOVERNANCE", json.dumps({"conn_type": "sqlite", "host": f"{tmp_path}/g.db"}))
    monkeypatch.chdir(tmp_path)
    from lethe.cli import app
    from lethe.cli.shell import environment

    with environment() as env:
        ended_run(env.governance, "webinars-1", SOME, keys=env.keys)
        certificate.issue(env.governance, env.keys, "webinars-1", [])

    def run(*args: str, exit_code: int = 0, stdin: str | None = None) -> str:
        done = CliRunner().invoke(app, list(args), input=stdin)
        assert done.exit_code == exit_code, done.output
        assert "Traceback" not in done.output
        return " ".join(done.output.split())

    return SimpleNamespace(run=run, folder=tmp_path)


def test_the_evidence_can_be_checked_from_the_command_line(command_line: SimpleNamespace) -> None:
    run, folder = command_line.run, command_line.folder
    run("ledger", "anchor", "anchors.jsonl")
    assert "The evidence holds." in run("ledger", "verify", "--anchor", "anchors.jsonl", "--records")
    (folder / "key.pem").write_text(CliRunner().invoke(keys_app, ["public"]).stdout)
    run("certificate", "show", "webinars-1", "--json", "c.json", "--html", "c.html")
    assert "<!doctype html>" in (folder / "c.html").read_text()
    assert "It is signed by the given key" in run("certificate", "verify", "c.json", "--public-key", "key.pem")
    assert "Only self-consistency" in run("certificate", "verify", "c.json")
    text = (folder / "c.json").read_text()
    (folder / "c.json").write_text(text.replace('"erased": 1', '"erased": 2'))
    assert "the signature does not hold" in run("certificate", "verify", "c.json", exit_code=1)
    with sa.create_engine(f"sqlite:///{folder}/g.db").begin() as connection:
        for name in schema.LEDGER_GUARDS["sqlite"]:
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        connection.execute(sa.text("DELETE FROM lethe_ledger WHERE seq >= 2"))
    said = run("ledger", "verify", "--anchor", "anchors.jsonl", exit_code=1)
    assert "entry 2: missing; the ledger was cut off after entry 1" in said
    assert "triggers missing: lethe_ledger_append" in said


def test_a_record_is_proven_from_the_command_line_without_naming_it_in_the_file(command_line: SimpleNamespace) -> None:
    run, folder = command_line.run, command_line.folder
    (folder / "key.pem").write_text(CliRunner().invoke(keys_app, ["public"]).stdout)
    said = run("prove", "webinars.registrations", f"{TOKEN}-1", "--out", "proof.json")
    assert "erased by run webinars-1" in said
    assert TOKEN not in said
    assert TOKEN not in (folder / "proof.json").read_text()
    said = run("proof", "verify", "proof.json", "-", "--public-key", "key.pem", stdin=f"{TOKEN}-1\n")
    assert "the named record of webinars.registrations was erased by run webinars-1" in said
    assert TOKEN not in said
    assert "give its key" in run("proof", "verify", "proof.json")
    assert "another record" in run("proof", "verify", "proof.json", f"{TOKEN}-2", exit_code=1)
    said = run("prove", "webinars.registrations", "nobody", "--run", "webinars-1", "--out", "absent.json", exit_code=3)
    assert "No run has erased the record" in said
    assert "was not among those" in run("proof", "verify", "absent.json", "nobody")


def test_commands_without_keys_or_files_end_in_one_message(
    command_line: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command_line.run
    assert "nothing.json: cannot be read" in run("certificate", "verify", "nothing.json", exit_code=1)
    assert "has no certificate" in run("certificate", "show", "webinars-9", exit_code=1)
    monkeypatch.setenv("AIRFLOW_CONN_LETHE_KEYS", json.dumps({"conn_type": "generic", "password": "short"}))
    assert "32 bytes in base64" in run("ledger", "verify", exit_code=1)
    monkeypatch.delenv("AIRFLOW_CONN_LETHE_KEYS")
    assert "lethe_keys is not defined" in run("keys", "public", exit_code=1)


def test_every_command_explains_itself() -> None:
    for app in (ledger_app, certificate_app, proof_app, evidence_app, keys_app):
        assert CliRunner().invoke(app, ["--help"]).exit_code == 0
