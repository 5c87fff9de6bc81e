"""The suppression list: who is not to be written to again, when the record that said so is erased."""

from __future__ import annotations

from pydantic import Field

from lethe.policy.conditions import Condition
from lethe.policy.fields import Column, Model, TableName


class Suppression(Model):
    """A list onto which a value of a record goes when the record is erased, in the same transaction.

    An objection to direct marketing (Article 21(3) GDPR) is for good, and can only be kept to by whoever knows whose it
    is: the address stays, and nothing but the address.
    """

    table: TableName = Field(description="The table of the list, in the same database.")
    column: Column = Field(description="Its column with what is on it: unique, and the only one that is written.")
    from_: Column = Field(alias="from", description="The record's column whose value goes onto it, where it has one.")
    when: tuple[Condition, ...] = Field(
        default=(),
        description="The records whose value goes onto it, by columns of their own: all must hold; all records where "
        "left out.",
    )
