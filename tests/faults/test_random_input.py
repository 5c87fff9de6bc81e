"""Random policies, parameters and hold files: each is accepted, or refused with a message; never a traceback.

Prints what it tried.
"""

from __future__ import annotations

import copy
import os
import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.faults.conftest import tries

from lethe.errors import HoldError, LetheError, PolicyError
from lethe.holds.registry import HoldRequest, coverage, normalised, read_identifiers
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Policy, load_all, parse

pytestmark = pytest.mark.repeated

TRIES = tries("TRIES", 2_000, 50_000)
AS_OF = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, float("inf"), float("nan"), 10**30, "", " ", "x", "P18M", "P0D", "P-1M", "PT5H",
    "P9999Y", "P99999D", "P1M1D", "Europe/Prague", "Mars/Olympus", "../../etc/passwd", "* * * * *", "61 25 * * *",
    "@daily", [], [[]], {}, {"column": "a"}, {"in": []}, {"key": "("}, {"key": "(?P<value>x)"}, ["a", "a"], "a.b.c",
    "a;DROP TABLE x", "\x00", "é" * 300, "2026-11-21",
    datetime(2026, 11, 21, tzinfo=UTC), b"bytes", "table", "objects", "parquet", "null", {1: 2}, [None],
]  # fmt: skip


@pytest.fixture(scope="module")
def documents(root: Path) -> list[dict[str, Any]]:
    """The company's policies, as plain values to change."""
    return [yaml.safe_load(file.read_text()) for file in sorted((root / "include" / "policies").glob("*.yaml"))]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - any YAML
    """The path of every value inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def change(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one or two things removed, replaced, renamed, duplicated or added."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 2)):
        spots = list(places(document))
        if not spots:
            break
        *way, last = chance.choice(spots)
        parent: Any = document
        for step in way:
            parent = parent[step]
        match chance.randrange(5):
            case 0:
                del parent[last]
            case 1 | 2:
                parent[last] = copy.deepcopy(chance.choice(ODD))
            case 3 if isinstance(parent, dict):
                parent[str(last) + chance.choice("_xX ")] = parent.pop(last)
            case _:
                new: Any = copy.deepcopy(chance.choice(ODD))
                parent.update({"extra": new}) if isinstance(parent, dict) else parent.append(new)
    return document


def damage(text: str, chance: random.Random) -> str:
    """The text with some characters replaced, removed or inserted."""
    characters = list(text)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(characters) or 1)
        characters[at : at + chance.randint(0, 2)] = chance.choices(
            string.printable + "\x00\ufeffß&*!%@`", k=chance.randint(0, 2)
        )
    return "".join(characters)


def test_random_policies_are_accepted_or_refused(documents: list[dict[str, Any]]) -> None:
    chance, accepted = random.Random(1182), 0
    for attempt in range(TRIES):
        text = yaml.safe_dump(change(chance.choice(documents), chance), allow_unicode=True)
        if attempt % 3 == 0:
            text = damage(text, chance)
        try:
            policy = parse(text, where="random.yaml")
        except PolicyError as error:
            assert str(error).startswith("random.yaml"), "a refusal names the file"
            assert "Traceback" not in str(error)
        else:
            accepted += 1
            assert isinstance(policy, Policy)
            assert policy.expiry(AS_OF).label or policy.retention.by_value
            assert len(policy.digest) == 64
    print(f"{TRIES} random policies: {accepted} accepted, {TRIES - accepted} refused with a message")
    assert 0 < accepted < TRIES


def test_random_hold_files_are_accepted_or_refused(tmp_path: Path) -> None:
    chance, accepted = random.Random(679), 0
    file = tmp_path / "hold.csv"
    for _ in range(TRIES):
        rows = ["type,identifier"] + [
            f"{chance.choice(list(IdentifierType))},canary{chance.randrange(99)}@example.com"
            for _ in range(chance.randint(0, 5))
        ]
        content = "\n".join(rows)
        for _ in range(chance.randint(0, 2)):
            content = damage(content, chance)
        file.write_bytes(content.encode("utf-8", "surrogatepass") if chance.random() > 0.1 else os.urandom(40))
        try:
            identifiers = read_identifiers(file)
        except HoldError as error:
            assert "hold.csv" in str(error)
            assert "canary" not in str(error), "a message repeats no identifier"
        else:
            accepted += 1
            assert all(identifiers.values())
    print(f"{TRIES} random hold files: {accepted} accepted, {TRIES - accepted} refused with a message")
    assert 0 < accepted < TRIES


def test_random_hold_requests_are_accepted_or_refused(root: Path) -> None:
    policies = load_all(root / "include" / "policies")
    chance, accepted = random.Random(2016), 0
    words = [
        "",
        " ",
        "a@b",
        "A@B.example",
        "+420 777 123 456",
        "777123456",
        "x" * 500,
        "\n",
        "1.2.3.4",
        "ünïcode@example.com",
    ]
    for _ in range(TRIES):
        request = HoldRequest(
            matter=chance.choice(words),
            reason=chance.choice(words),
            identifiers={
                kind: chance.choices(words, k=chance.randint(0, 3)) for kind in chance.sample(list(IdentifierType), 2)
            },
            categories=tuple(chance.sample([*policies, "nonsense"], chance.randint(0, 2))),
            datasets=tuple(chance.sample(["webinars.registrations", "webinars", "x.y"], chance.randint(0, 1))),
            region=chance.choice([None, "CZ", "DE", "XX"]),
        )
        try:
            coverage(request, policies)
            normalised(request)
        except HoldError as error:
            assert str(error)
        else:
            accepted += 1
    print(f"{TRIES} random hold requests: {accepted} accepted, {TRIES - accepted} refused with a message")
    assert 0 < accepted < TRIES


def test_random_as_of_moments_give_a_cutoff_or_a_refusal(root: Path) -> None:
    policies = list(load_all(root / "include" / "policies").values())
    chance = random.Random(60)
    for _ in range(TRIES):
        as_of = datetime.min.replace(tzinfo=UTC) + timedelta(
            days=1 + chance.random() * 3_652_000, seconds=chance.random() * 86400
        )
        policy = chance.choice(policies)
        try:
            expiry = policy.expiry(as_of)
        except LetheError as error:
            assert policy.calendar is not None, f"{as_of}: {error}"
            assert as_of.year > 2100, f"{as_of}: {error}"
            assert "the public holidays of CZ are not known after 2100" in str(error)
            continue
        assert expiry.default is None or expiry.default.instant <= as_of + timedelta(days=1)
