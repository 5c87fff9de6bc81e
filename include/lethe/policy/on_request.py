"""What data subjects may ask, and which of it lets a policy's records go before their period has ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from lethe.policy.fields import Model


class RequestKind(StrEnum):
    """What is asked; with the articles of the GDPR that it rests on."""

    ERASURE = "erasure"
    """Article 17."""
    RESTRICTION = "restriction"
    """Article 18: nothing is erased or processed while it lasts."""
    OBJECTION = "objection"
    """Article 21, which Article 17(1)(c) has erasure follow."""
    WITHDRAWAL = "withdrawal"
    """Of consent: Article 7(3), which Article 17(1)(b) has erasure follow."""
    ACCESS = "access"
    """Article 15."""
    MINOR = "minor"
    """Nobody asked: somebody was found to be too young to consent (Article 8), whose data goes at once."""

    @property
    def erases(self) -> bool:
        """Whether records may go for it before their period has ended, where policies say so."""
        return self not in (RequestKind.RESTRICTION, RequestKind.ACCESS)

    @property
    def extends(self) -> bool:
        """Whether more time may be taken for it."""
        return self is not RequestKind.MINOR


class OnRequest(Model):
    """Which requests of a person let the person's records go before their period has ended."""

    erase: tuple[RequestKind, ...] = Field(
        min_length=1,
        description="Of erasure, objection, withdrawal and minor, those that the legal basis gives way to.",
    )

    @model_validator(mode="after")
    def _erasing(self) -> Self:
        others = [kind.value for kind in self.erase if not kind.erases]
        if others:
            raise ValueError(f"erase: nothing goes by a request of {', '.join(others)}: leave it out")
        if len(set(self.erase)) != len(self.erase):
            raise ValueError("erase names a kind twice: leave it out once")
        return self
