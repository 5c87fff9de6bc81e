"""Columns that look like identifiers although nothing declares them.

By name and type only: no value is read. A child table whose `identifiers` are `{}` is taken at its word; one that
declares some may have forgotten others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lethe.judging.identifiers import IdentifierType
from lethe.policy import ChildTable, TableDataset
from lethe.stores.base import Problem
from lethe.stores.sql.dialects.base import Dialect
from lethe.stores.sql.tables import FoundTable

_PHONE = (
    r"(tele|cell|mobile)?(phone|fon)(no|nr|number|nummer)?|tel(no|nr)?|telefono|telefone|telefoon|mobil[eu]?|cell|gsm|msisdn|"
    r"handy|rufnummer|portable|movil|celular|puhelin|komorka"
)
_NAMES: Mapping[IdentifierType, str] = {
    IdentifierType.EMAIL: r"e?mail(addr|address|adress?e?)?|mejl|e?posta|epost|correo|courriel|sahkoposti",
    IdentifierType.PHONE: rf"{_PHONE}|fax",
    IdentifierType.MSISDN: _PHONE,
    IdentifierType.ACCOUNT: r"account|acct|customer|username|login|konto|kontonummer|kunde|kundennummer|benutzername|"
    r"cuenta|compte|rekening|zakaznik",
    IdentifierType.PERSON: r"person|user|subject",
    IdentifierType.COOKIE: r"cookie",
    IdentifierType.IP: r"ip|ipaddress|ipv4|ipv6",
    IdentifierType.IMSI: r"imsi",
    IdentifierType.IMEI: r"imei",
}
"""Words of a column's name, without accents, by which it looks like a type of identifier, in languages of Europe. Types
that are left out have no usual names."""


@dataclass(frozen=True)
class Lookalike:
    """Columns of a child table that look like one type of identifier."""

    table: str
    kind: IdentifierType
    columns: tuple[str, ...]

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.table} ({', '.join(self.columns)})"


def remarks(connection: sa.Connection, children: Sequence[ChildTable], dialect: Dialect) -> Iterator[Problem]:
    """What to declare; a remark, because a name may mislead."""
    for field, one in undeclared(connection, children, dialect):
        columns = ", ".join(one.columns)
        yield Problem(
            field=field,
            message=f"{one.where} looks like {one.kind}: nothing declares its identifiers, so no hold finds "
            f"a record by them; write identifiers: {{{one.kind}: [{columns}]}}, or identifiers: {{}} if it has none",
            remark=True,
        )


def undeclared(
    connection: sa.Connection, children: Sequence[ChildTable], dialect: Dialect
) -> Iterator[tuple[str, Lookalike]]:
    """The columns of child tables that nothing declares, at any depth: (field of the dataset, what)."""
    for child in children:
        field = f"children.{child.table}"
        found = FoundTable.look(connection, child.table, dialect)
        if found is not None and (child.identifiers or "identifiers" not in child.model_fields_set):
            for kind, columns in alike(found, [*child.foreign_key, *_declared(child)], dialect).items():
                yield field, Lookalike(child.table, kind, columns)
        yield from ((f"{field}.{below}", one) for below, one in undeclared(connection, child.children, dialect))


def overlooked(connection: sa.Connection, table: TableDataset, dialect: Dialect) -> Iterator[Lookalike]:
    """The columns of the records' own table that look like identifiers, and that it does not declare."""
    found = FoundTable.look(connection, table.table, dialect)
    if found is not None:
        for kind, columns in alike(found, [*table.key, *_declared(table)], dialect).items():
            yield Lookalike(table.table, kind, columns)


def _declared(table: TableDataset | ChildTable) -> Iterator[str]:
    return (name for names in table.identifiers.values() for name in names)


def alike(found: FoundTable, key: Sequence[str], dialect: Dialect) -> dict[IdentifierType, tuple[str, ...]]:
    """The columns of a table that look like identifiers, by type, without some; a key only names rows, or refers."""
    columns = [name for name, column in found.columns.items() if name not in key and dialect.carries(column["type"])]
    there = {
        kind: tuple(name for name in columns if any(re.fullmatch(pattern, word) for word in _words(name)))
        for kind, pattern in _NAMES.items()
    }
    return {kind: names for kind, names in there.items() if names}


def _words(name: str) -> Iterator[str]:
    """The words of a column's name, without numbers and plurals: contactEmail2 and E_MAIL are names of addresses."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain).lower()
    yield re.sub(r"[^a-z]", "", apart)
    yield from (word.rstrip("0123456789").removesuffix("s") for word in re.split(r"[^a-z0-9]+", apart))
