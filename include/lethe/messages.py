"""What is wrong with a policy, in words for whoever wrote it: the field, what is wrong, and what to write instead.

The models of `lethe.policy` refuse in pydantic's words, which are those of Python's types. Here they become the words
of the file: lists, fields, text in quotes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic_core import ErrorDetails

_SHOWN = 60
"""Characters of what was written that a message repeats at most."""
_ONE_OF_SEVERAL = frozenset({"in", "not_in", "value"})
"""Fields whose values may be of several types, each of which pydantic refuses by itself."""
_KINDS = "table, objects, parquet or jsonlines"


def problems_of(details: Sequence[ErrorDetails], content: Mapping[str, Any]) -> Iterator[str]:
    """A message for each thing that is wrong. `content` is the policy as it was written."""
    told: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in details:
        told.setdefault(_place(detail), []).append(detail)
    for location, refusals in told.items():
        if refusals[0]["type"] == "too_short" and any(other[: len(location)] == location != other for other in told):
            continue  # it only has too little in it because what it has is wrong
        path = ".".join(_named(_as_written(location, refusals[0]), content))
        message = _literal(refusals) if _is_of_several(refusals[0]) else _message(refusals[0])
        yield f"{path}: {message}" if path else message


def _place(detail: ErrorDetails) -> tuple[str | int, ...]:
    """Where it was written: without the marks of keys, and without the types that a value may be of."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    return location[: _several(location)] if _is_of_several(detail) else location


def _as_written(location: tuple[str | int, ...], detail: ErrorDetails) -> tuple[str | int, ...]:
    """The same place with a key that is no text as YAML has it."""
    if detail["type"] == "invalid_key" or "[key]" in detail["loc"]:
        key = detail["input"]
        return (*location[:-1], key if isinstance(key, str) else _shown(key))
    return location


def _several(location: tuple[str | int, ...]) -> int:
    """How many parts lead to a value that may be of several types; more than there are, where none does."""
    at = next((n for n, part in enumerate(location) if part in _ONE_OF_SEVERAL), len(location))
    return at + 1 + (len(location) > at + 1 and isinstance(location[at + 1], int))


def _is_of_several(detail: ErrorDetails) -> bool:
    """Whether a refusal is one of those of a value that may be of several types."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    return len(location) > _several(location) and detail["type"] not in ("tuple_type", "too_short", "value_error")


def _literal(refusals: Sequence[ErrorDetails]) -> str:
    written = refusals[0]["input"]
    shown = _shown(written)
    if any(detail["type"] in ("less_than_equal", "greater_than_equal") for detail in refusals):
        return f"{shown} is too large to be exact: write it in quotes, as text"
    if isinstance(written, Decimal | float | int):
        return f"{shown} is neither text, a whole number, true nor false: write it in quotes, as text"
    return "is neither text, a whole number, true nor false: write one of these, and is_null for no value"


def _named(location: tuple[str | int, ...], content: Mapping[str, Any]) -> Iterator[str]:
    """A field's path as a user writes it: datasets by their name, and without the tags of unions."""
    if location[:1] == ("datasets",) and len(location) > 1 and isinstance(location[1], int):
        dataset = content["datasets"][location[1]]
        name = dataset.get("name") if isinstance(dataset, dict) else None
        yield from ("datasets", name if isinstance(name, str) and name.strip() else str(location[1]))
        location = location[3:]  # the third part is the dataset's kind
    yield from (str(part) for part in location)


def _message(detail: ErrorDetails) -> str:
    """What is wrong with one value."""
    kind, limits, shown = detail["type"], detail.get("ctx", {}), _shown(detail["input"])
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "string_type" and isinstance(detail["input"], int | float | Decimal):
        kind = "number_for_text"
    if kind == "enum" and detail["input"] is None:
        kind = "null_for_word"
    if kind == "literal_error":
        limits = {"expected": str(limits["expected"]).lower()}
    if kind == "union_tag_invalid":
        shown = _shown(detail["input"]["kind"])
    facts = {**limits, "shown": shown, "allowed": _PATTERNS.get(limits.get("pattern", ""), limits.get("pattern", ""))}
    return _WORDS.get(kind, _OTHERWISE).format(**facts)


_PATTERNS = {
    r"^[a-z][a-z0-9_]{0,62}$": "write lower-case letters, digits and underscores, a letter first, 63 at most",
    r"^([^/].*)?$": "keys do not begin with a slash; leave it out",
}

_WORDS = {
    "missing": "is missing: write it",
    "extra_forbidden": "unknown field: correct its name, or leave it out; `lethe policy reference` lists all fields",
    "string_type": "is not text: write a text",
    "string_too_short": "is too short: write at least {min_length} characters",
    "string_too_long": "is too long: write at most {max_length} characters",
    "int_type": "is not a whole number: write one",
    "int_parsing": "is not a whole number: write one",
    "int_from_float": "is not a whole number: write one",
    "float_type": "is not a number: write one",
    "float_parsing": "is not a number: write one",
    "finite_number": "is not a number: write one",
    "greater_than": "is too small: write a number above {gt}",
    "greater_than_equal": "is too small: write a number from {ge} on",
    "less_than_equal": "is too large: write a number up to {le}",
    "bool_type": "is neither true nor false: write one of these",
    "bool_parsing": "is neither true nor false: write one of these",
    "json_invalid": "is not JSON: correct it",
    "uuid_parsing": "is not an id: write a UUID",
    "uuid_type": "is not an id: write a UUID",
    "date_type": "is no day: write one, such as 1990-01-31",
    "date_parsing": "is no day: write one, such as 1990-01-31",
    "date_from_datetime_parsing": "is no day: write one, such as 1990-01-31",
    "list_type": "is not a list: write one, such as [a, b]",
    "tuple_type": "is not a list: write one, such as [a, b]",
    "too_short": "has too little in it: write at least {min_length}",
    "mapping_type": "has no fields: write name: value below it",
    "dict_type": "has no fields: write name: value below it",
    "model_type": "has no fields: write name: value below it",
    "model_attributes_type": "has no fields: write name: value below it",
    "number_for_text": "{shown} is not text: write it in quotes",
    "null_for_word": "null is no value: write {expected}, in quotes",
    "enum": "{shown} is not known: write {expected}",
    "literal_error": "{shown} is not possible: write {expected}, or leave the field out",
    "string_pattern_mismatch": "{shown} is not possible: {allowed}",
    "invalid_key": "is not the name of a field: write one in quotes",
    "union_tag_invalid": f"kind {{shown}} is not known: write {_KINDS}",
    "union_tag_not_found": f"kind is missing: write {_KINDS}",
}
"""By pydantic's type of error (https://docs.pydantic.dev/latest/errors/validation_errors/)."""
_OTHERWISE = "{shown} is not possible: correct it; `lethe policy reference` says what it may be"
_WORDS_OF_YAML = {"None": "null", "True": "true", "False": "false"}


def _shown(written: object) -> str:
    """What was written, as YAML has it, where it is short."""
    if written is None or isinstance(written, bool):
        return _WORDS_OF_YAML[str(written)]
    if isinstance(written, str | int | float | Decimal):
        text = str(written) if isinstance(written, Decimal) else repr(written)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return "this"
