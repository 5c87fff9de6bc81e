"""Runs on each kind of store end in one certificate, whatever dies in between, and every record can be proven."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy as sa
from tests.faults.conftest import MakeWorld
from tests.faults.worlds import AS_OF, DATASET, World

from lethe import stages
from lethe.counts import Outcome
from lethe.environment import Environment
from lethe.errors import DatasetChanged, RunError
from lethe.evidence import certificate, proofs
from lethe.governance import schema
from lethe.holding import place_hold
from lethe.judging.keys import record_key

CERTIFY = import_module("lethe.stages.certify")
"""The module, whose name in the package is the stage's."""
HELD = (3, 17)
"""Two of the world's people."""


class Died(BaseException):
    """Stands for the end of the process; nothing catches it."""


def _dying(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, before: bool) -> None:  # noqa: ANN401
    """Have a function end the process at its first call, before or after it did its work."""
    whole = getattr(module, name)

    def dies(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        monkeypatch.setattr(module, name, whole)
        if not before:
            whole(*args, **kwargs)
        raise Died

    monkeypatch.setattr(module, name, dies)


def _key(world: World, record: int) -> bytes:
    if world.kind == "objects":
        return record_key((f"data/date={world.day(record)}/account=p{world.person(record)}/{record}.json",))
    return record_key((record,))


def _erased(env: Environment, world: World) -> stages.Plan:
    """A run in which everything but certifying has been done, with two people held."""
    place_hold(env, world.request(*HELD), "ann")
    plan = stages.plan(env, "faults", AS_OF, trigger="test")
    candidates = stages.discover(env, plan, DATASET)
    stages.validate(env, plan, DATASET, candidates)
    stages.decide(env, plan)
    stages.erase(env, plan, DATASET, range(candidates.batches))
    stages.verify(env, plan, DATASET)
    return plan


def _require_exact(env: Environment, world: World, plan: stages.Plan) -> None:
    """The certificate, the proofs and the ledger say what became of the records, and nothing of who they are."""
    trusted = [env.keys.signing_key().public_key()]
    signed = certificate.get(env.governance, plan.run)
    said = certificate.verify(signed.text().encode(), trusted).certificate
    gone = world.to_go(*HELD)
    (dataset,) = said.datasets
    assert said.complete, dataset.problem
    assert dataset.became is not None
    assert dataset.records is not None
    assert dataset.became.erased == dataset.records.outcomes["erased"] == len(gone)
    assert [(held.matter, sum(held.identifiers.values())) for held in said.holds] == [("matter", len(HELD))]
    for record in (min(gone), max(gone), *sorted(world.records_of(*HELD))[:2], world.size - 1):
        proof = proofs.prove(env.governance, env.keys, f"faults.{DATASET}", _key(world, record), plan.run)
        outcomes = proofs.verify(proof.text().encode(), _key(world, record), trusted).outcomes
        assert (Outcome.ERASED in outcomes) == (record in gone)
    audited = certificate.audit(env.governance, trusted, leaves=True)
    assert audited.findings == ()
    assert env.ledger.verify(audited.heads).holds
    with env.governance.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(schema.ledger.c.kind == certificate.ISSUED)) == 1
        rows = [tuple(row) for table in schema.metadata.sorted_tables for row in connection.execute(sa.select(table))]
    assert "@example" not in repr(rows).lower()
    assert "account=p" not in repr(rows)


@pytest.mark.parametrize("kind", ["sqlite", "table", "objects", "parquet"])
def test_every_record_of_a_run_can_be_proven(make_world: MakeWorld, kind: str) -> None:
    world = make_world(kind, size=300)
    with world.environment() as env:
        plan = _erased(env, world)
        assert stages.certify(env, plan).state == stages.SUCCEEDED
        _require_exact(env, world, plan)


@pytest.mark.parametrize(
    ("module", "name", "before"),
    [
        (CERTIFY, "record_outcomes", True),
        (CERTIFY, "record_outcomes", False),
        (certificate, "issue", True),
        (certificate, "issue", False),
    ],
    ids=["before outcomes", "after outcomes", "before the certificate", "after the certificate"],
)
def test_a_process_that_dies_while_certifying_leaves_one_exact_certificate(
    make_world: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,  # noqa: ANN401
    name: str,
    before: bool,
) -> None:
    world = make_world("sqlite", size=300, registry="sqlite")
    with world.environment() as env:
        plan = _erased(env, world)
        _dying(monkeypatch, module, name, before=before)
        with pytest.raises(Died):
            stages.certify(env, plan)
        with env.governance.write() as connection:  # as if the time that a settling process has were over
            long_ago = datetime(2020, 1, 1, tzinfo=UTC)
            connection.execute(sa.update(schema.run).values(settling_until=long_ago))
    with world.environment() as env:
        for _ in range(2):
            assert stages.certify(env, plan).state == stages.SUCCEEDED
        _require_exact(env, world, plan)


def test_a_run_that_died_uncertified_is_certified_when_the_next_one_is_planned(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world("sqlite", size=300, registry="sqlite")
    with world.environment() as env:
        plan = _erased(env, world)
        _dying(monkeypatch, certificate, "issue", before=True)
        with pytest.raises(Died):
            stages.certify(env, plan)
        assert certificate.uncertified(env.governance, "faults") == [plan.run]
        stages.plan(env, "faults", AS_OF, trigger="the next one")
        assert certificate.uncertified(env.governance, "faults") == []
        _require_exact(env, world, plan)


@pytest.mark.parametrize("kind", ["sqlite", "table", "objects", "parquet"])
def test_a_run_that_is_cleared_after_erasing_began_ends_as_if_it_had_not_been(make_world: MakeWorld, kind: str) -> None:
    world = make_world(kind, size=400, lethe_batch_size=40)
    with world.environment() as env:
        place_hold(env, world.request(3), by="counsel")
        plan = world.prepare(env, trigger="cleared")
        (candidates,) = stages.discovered(env, plan).values()
        stages.erase(env, plan, DATASET, range(candidates.batches // 2))

        assert stages.discover(env, plan, DATASET) == candidates
        assert stages.validate(env, plan, DATASET, candidates).success
        stages.decide(env, plan)
        stages.erase(env, plan, DATASET, range(candidates.batches))
        stages.verify(env, plan, DATASET)
        report = stages.certify(env, plan)

    (dataset,) = report.datasets
    assert report.state == "succeeded"
    assert dataset.tally is not None
    assert dataset.tally.erased == dataset.tally.total == len(world.to_go(3))
    assert world.alive() == set(range(world.size)) - world.to_go(3)


def _lose_staging(env: Environment, world: World, plan: stages.Plan, what: str) -> None:
    """Somebody removes what a run staged, or damages it: all of it, or just what says what became of a batch."""
    dataset = env.policy("faults").dataset(DATASET)
    if what == "all":
        env.store(dataset).clean(plan.run, dataset)
    elif world.kind == "table":
        with world.engine().begin() as connection:
            scratch = sa.inspect(connection)
            schemas = scratch.get_schema_names()
            (found,) = [(name, table) for name in schemas for table in scratch.get_table_names(schema=name)
                        if "b_" in table and "lethe" in f"{name}.{table}"]  # fmt: skip
            table = sa.table(found[1], schema=found[0])
            connection.execute(sa.delete(table) if what == "batches" else sa.text(f"DROP TABLE {found[0]}.{found[1]}"))
    else:
        client = world.client()
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=world.bucket)["Contents"]]
        (outcome, *_) = [key for key in keys if plan.run in key and ("/outcome/" in key or "/batches/" in key)]
        client.put_object(Bucket=world.bucket, Key=outcome, Body=b"damaged")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *((kind, "all") for kind in ("sqlite", "table", "objects", "parquet")),
        ("sqlite", "batches"),
        ("table", "batches table"),
        ("objects", "an outcome"),
        ("parquet", "an outcome"),
    ],
)
def test_outcomes_that_cannot_be_read_are_an_error_and_never_zeros(make_world: MakeWorld, kind: str, what: str) -> None:
    world = make_world(kind, size=100, registry="sqlite")
    with world.environment() as env:
        plan = _erased(env, world)
        job = stages.work(env.policy("faults"), plan.run, AS_OF, DATASET)
        candidates = stages.discovered(env, plan)[DATASET]
        _lose_staging(env, world, plan, what)
        with pytest.raises(DatasetChanged):
            env.store(job.dataset).tally(job, candidates)
        with pytest.raises(RunError, match="what became of its candidates cannot be told"):
            stages.certify(env, plan)
        (said,) = certificate.get(env.governance, plan.run).certificate.datasets
        assert said.became is None
        assert said.records is None
        assert "cannot be told" in (said.problem or "")
        assert stages.plan(env, "faults", AS_OF, trigger="the next one").run != plan.run, "others can go on"
