"""Four eyes: one person does not pass for two by writing a name in another way."""

from __future__ import annotations

import pytest

from lethe.people import UNNAMED, may_answer, same_person

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


def test_fab_knows_its_users_by_number_and_people_know_them_by_name() -> None:
    assert may_answer(["eva"], "7", "eva")
    assert may_answer(["7"], "7", "eva")
    assert may_answer(["Eva"], "7", "eva"), "FAB's names are unique whatever their case"
    assert not may_answer(["eva", "8"], "7", "pavel")
    assert may_answer([], "7", "pavel")
