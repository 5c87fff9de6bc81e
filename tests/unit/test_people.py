"""Four eyes: one person does not pass for two by writing a name in another way."""

from __future__ import annotations

import pytest

from lethe.people import UNNAMED, same_person

ONE = ["eva.novak", "EVA.NOVAK", " eva.novak ", "eva.novak@example.org", "CORP\\eva.novak", "corp/Eva.Novak",
       "Eva Novák", "eva.novak\u200b", "ｅｖａ．novak", "eva.novak+second@example.org"]  # fmt: skip


@pytest.mark.parametrize("other", ONE)
def test_other_spellings_are_one_person(other: str) -> None:
    assert same_person(ONE[0], other)
    assert same_person(other, ONE[0])


@pytest.mark.parametrize(
    ("one", "other"), [("eva", "jan"), ("eva", ""), ("7", "17"), ("—", "–"), ("admin", "approver")]
)
def test_other_people_are_other_people(one: str, other: str) -> None:
    assert not same_person(one, other)


def test_who_is_not_named_may_be_anybody() -> None:
    assert same_person(UNNAMED, "eva")
    assert same_person("eva", UNNAMED)
