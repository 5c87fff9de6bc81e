"""The reference of the policy language, in Markdown, made from the models; `docs/writing-a-policy.md` ends with it."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lethe import policy
from lethe.judging.identifiers import IdentifierType
from lethe.periods import Period

MODELS: tuple[tuple[type[BaseModel], str, str], ...] = (
    (policy.Policy, "A policy", "policy"),
    (policy.Retention, "`retention`", "retention"),
    (policy.PeriodsByValue, "`retention.by_value`", "by_value"),
    (policy.OnRequest, "`on_request`", "on request"),
    (policy.Limits, "`limits`", "limits"),
    (policy.TableDataset, "A dataset of `kind: table`", "table"),
    (policy.Related, "One of `related`", "related row"),
    (policy.ChildTable, "One of `children`", "child table"),
    (policy.Mask, "One of `masks`", "mask"),
    (policy.Suppression, "`suppression`", "suppression list"),
    (policy.ParquetDataset, "A dataset of `kind: parquet`", "parquet"),
    (policy.JsonLinesDataset, "A dataset of `kind: jsonlines`", "jsonlines"),
    (policy.ColumnClock, "`clock` of rows", "clock of rows"),
    (policy.Condition, "One of `where`, `keep_while` and `suppression.when`", "condition"),
    (policy.ObjectDataset, "A dataset of `kind: objects`", "objects"),
    (policy.ObjectClock, "`clock` of objects", "clock of objects"),
    (policy.ObjectAttribute, "One of an object's `identifiers`", "key, tag or metadata"),
)
"""Each model, the title of its section, and what it is called where others refer to it."""

_WORDS: dict[type, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    Decimal: "number",
    bool: "true or false",
    Period: "period",
    IdentifierType: "type of identifier",
    **{model: name for model, _, name in MODELS},
}


def reference() -> str:
    """A table of fields for every part of a policy."""
    return "\n".join(line for model, title, _ in MODELS for line in _section(model, title))


def _section(model: type[BaseModel], title: str) -> Iterator[str]:
    yield from (f"### {title}", "", (model.__doc__ or "").strip(), "")
    yield from ("| field | value | |", "|---|---|---|")
    for name, field in model.model_fields.items():
        needed = "" if field.is_required() else f"Default: {_default(field)}. "
        note = f"{needed}{field.description or ''}".strip()
        yield f"| `{field.alias or name}` | {_kind(field.annotation)} | {note.replace('|', '/')} |"
    yield ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if value is None:
        return "left out"
    return f"`{value}`" if value not in ("", (), {}) else "none"


def _kind(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _joined(_kind(part) for part in arguments if part is not types.NoneType)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is typing.Literal:
        return _joined(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in arguments)
    if origin is Mapping:
        return f"{_kind(arguments[0])} → {_kind(arguments[1])}"
    return _simple(annotation)


def _joined(kinds: Iterator[str]) -> str:
    return " or ".join(dict.fromkeys(kinds))


def _simple(annotation: object) -> str:
    if not isinstance(annotation, type):
        return str(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if issubclass(annotation, Enum):
        return " · ".join(f"`{member.value}`" for member in annotation)
    if issubclass(annotation, BaseModel):
        raise TypeError(f"{annotation.__name__} has no section: add it to MODELS")
    return annotation.__name__
