"""The vectors of identifiers, and what every engine has to make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from lethe.judging.identifiers import IdentifierType, normalise

_CONTENT: Mapping[str, Any] = yaml.safe_load(
    (files("lethe.judging") / "vectors" / "identifiers.yaml").read_text("utf-8")
)


@dataclass(frozen=True)
class Vector:
    """A hold, what a record stores, and whether it is held; `may_hold` names engines that hold it all the same."""

    kind: IdentifierType
    held: str
    region: str | None
    stored: Any
    holds: bool
    may_hold: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """The normal form of what is held."""
        return normalise(self.kind, self.held, region=self.region)


VECTORS = [
    Vector(
        IdentifierType(one["type"]),
        one["held"],
        one.get("region"),
        one["stored"],
        one["holds"],
        tuple(one.get("may_hold", ())),
    )
    for one in _CONTENT["identifiers"]
]
NOT_IDENTIFIERS = [(IdentifierType(one["type"]), str(one["text"])) for one in _CONTENT["not_identifiers"]]


def disagreeing(engine: str, vectors: Sequence[Vector], held: Sequence[bool]) -> list[Vector]:
    """The vectors that an engine does not keep to, by whether it held each."""
    pairs = zip(vectors, held, strict=True)
    return [one for one, kept in pairs if kept is not one.holds and not (kept and engine in one.may_hold)]
