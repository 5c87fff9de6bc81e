"""Personal data in free text: what is recognised, what is put in its place, and how often it is right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.judging.identifiers import keys, names, normalise
from lethe.judging.mentions import Kind, Mention, mentions, redact

DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"
_MARKED = re.compile("‹([a-z_]+)\\|([^›]*)›")
_CONTENT: list[Mapping[str, Any]] = yaml.safe_load(
    (files("lethe.judging") / "vectors" / "mentions.yaml").read_text("utf-8")
)["mentions"]


@dataclass(frozen=True)
class Answer:
    """A text, what is personal in it, and which known limit it shows."""

    text: str
    region: str | None
    personal: list[Mention]
    missed: list[Kind]
    mistaken: bool

    @classmethod
    def of(cls, vector: Mapping[str, Any]) -> Answer:
        return cls(
            _MARKED.sub(r"\2", vector["text"]),
            vector.get("region"),
            list(_marked(vector["text"])),
            [Kind(one) for one in vector.get("marked", ())],
            vector.get("mistaken", False),
        )


def _marked(text: str) -> Iterator[Mention]:
    """The spans without the signs that mark them."""
    before = 0
    for found in _MARKED.finditer(text):
        start = found.start() - before
        yield Mention(Kind(found[1]), start, start + len(found[2]))
        before += len(found[0]) - len(found[2])


ANSWERS = [Answer.of(vector) for vector in _CONTENT]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.text[:40])
def test_what_is_personal_is_recognised_where_it_is(answer: Answer) -> None:
    found = mentions(answer.text, answer.region)
    if answer.mistaken:
        assert found, "a limit that is no more: mark the vector otherwise"
    else:
        assert found == answer.personal


def test_precision_and_recall_are_what_the_decision_says() -> None:
    """Of all vectors, those that show limits included."""
    right, wrong, missed = Counter[Kind](), Counter[Kind](), Counter[Kind]()
    for answer in ANSWERS:
        found = set(mentions(answer.text, answer.region))
        personal = set(answer.personal)
        right.update(one.kind for one in found & personal)
        wrong.update(one.kind for one in found - personal)
        missed.update([*(one.kind for one in personal - found), *answer.missed])
    assert set(right) == set(Kind), "every kind is tried"
    found_of_all = right.total() / (right.total() + missed.total())
    right_of_found = right.total() / (right.total() + wrong.total())
    figures = f"precision {right_of_found:.2f}, recall {found_of_all:.2f}"
    assert figures in " ".join((DECISIONS / "0135-text-is-recognised-by-form-and-check-digit.md").read_text().split())


_PIECES = st.sampled_from(
    [
        "Jan",
        "Novák",
        " ",
        "\n",
        "@",
        ".",
        "601234567",
        "+420",
        "example.cz",
        "my name is ",
        "[name]",
        "*",
        "/0800",
        "19-2000145399",
    ]
)


@settings(max_examples=300)
@given(text=st.text() | st.lists(_PIECES, max_size=12).map("".join), region=st.sampled_from([None, "CZ"]))
def test_what_was_redacted_has_nothing_more_and_has_room(text: str, region: str | None) -> None:
    """Again is harmless; and a token is nowhere longer than what it replaces, so that the column has room."""
    redacted = redact(text, region)
    assert not mentions(redacted.text, region)
    assert len(redacted.text) <= len(text)
    assert (redacted.text != text) == bool(redacted.counts)
    assert redact(redacted.text, region).text == redacted.text


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.text[:40])
def test_whatever_is_redacted_a_hold_finds_in_the_text(answer: Answer) -> None:
    """Never held: who is held by what stands in a text is found in all of it, however it is spelt there."""
    for mention in mentions(answer.text, answer.region):
        said = answer.text[mention.start : mention.end]
        for kind in mention.kind.identifiers:
            named = normalise(kind, _plainly(mention, said), region=answer.region)
            assert not set(names(kind, named)).isdisjoint(keys(kind, answer.text, answer.region)), (kind, said)


def _plainly(mention: Mention, said: str) -> str:
    """As who places a hold writes it."""
    if mention.kind is not Kind.EMAIL:
        return said
    at, dot = r" ?[(]at[)] ?| zavináč ", r" ?[(]dot[)] ?| tečka "
    return re.sub(dot, ".", re.sub(at, "@", said))
