"""Free text in which personal data is found, as a database judges by it and redacts it.

What is personal in a text is recognised by Python alone. The distinct texts of a dataset are read in parts, and of
those in which something is found the digests go into a table of the session, with the text without it and how much of
each kind was found. Statements then judge a row by the digest of what it has when they run, so that a text that was
changed since it was found is none that was found.

A run finds once, when it discovers: what it found of the candidates is staged beside them, and erasing judges by that.
No text in which something personal was found is ever copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lethe.errors import StoreError
from lethe.judging.mentions import Kind, redact, why_not_installed
from lethe.policy import TableDataset
from lethe.stores.abilities import Ability
from lethe.stores.base import Problem
from lethe.stores.sql.dialects.base import AnyColumn, Dialect, Predicate
from lethe.stores.sql.masks.redact import redactions

if TYPE_CHECKING:
    from lethe.stores.sql.expiry import Judgement
    from lethe.stores.sql.staging import TableStaging

_AT_A_TIME = 2_000
"""Texts that are read at once."""
_FOUND_AT_ONCE = 10_000
"""Those of them in which something was found that are kept in memory, before they are written and reading goes on."""


def check(dataset: TableDataset, dialect: Dialect) -> Iterator[Problem]:
    """What keeps a dataset's texts from being redacted in such a database."""
    lack = dialect.abilities.lack(Ability.REDACTION)
    if dataset.texts and lack is not None:
        yield Problem(field="masks", message=f"{lack.says}: {lack.reason}")


def require_recogniser(dataset: TableDataset) -> None:
    """Refuse a dataset whose texts nothing can be recognised in.

    Raises:
        StoreError: saying what to install.
    """
    missing = why_not_installed() if dataset.texts else None
    if missing is not None:
        raise StoreError(f"{dataset.name}: {missing}")


def look_through(connection: sa.Connection, judgement: Judgement, where: Predicate | None = None) -> None:
    """Find what is personal in the texts of a dataset's rows, within the connection's transaction.

    What was found before in this session is forgotten. `where` chooses rows, of those perhaps in scope.
    """
    if not judgement.dataset.texts:
        return
    require_recogniser(judgement.dataset)
    _make_anew(connection, judgement.dialect)
    for name in judgement.dataset.texts:
        _look_through(connection, judgement, judgement.table.c[name], where)


def _make_anew(connection: sa.Connection, dialect: Dialect) -> sa.Table:
    table = redactions(dialect)
    dialect.drop_temporary(connection, table)
    dialect.make_temporary(connection, table)
    return table


def _look_through(connection: sa.Connection, judgement: Judgement, column: AnyColumn, where: Predicate | None) -> None:
    """The same of one column: in the order of digests, so that reading goes on where it ended."""
    dialect, found = judgement.dialect, redactions(judgement.dialect)
    digest = dialect.digested(column)
    known = sa.exists(sa.select(sa.literal(1)).where(found.c.value == digest).correlate_except(found))
    texts = sa.select(digest.label("value"), dialect.spelt(column).label("text")).select_from(judgement.source)
    texts = texts.where(column.is_not(None), judgement.perhaps_in_scope, sa.not_(known)).distinct().order_by("value")
    texts = texts if where is None else texts.where(where)
    last = ""
    while rows := _found_in(connection, texts.where(digest > last), judgement.dataset.phone_region):
        connection.execute(sa.insert(found), rows)
        last = str(rows[-1]["value"])
        if len(rows) < _FOUND_AT_ONCE:
            return


def _found_in(connection: sa.Connection, texts: sa.Select[str, str], region: str | None) -> list[dict[str, object]]:
    """The redactions of those texts in which something is found: all, or the first `_FOUND_AT_ONCE`."""
    rows: list[dict[str, object]] = []
    with connection.execute(texts.execution_options(yield_per=_AT_A_TIME)) as read:
        for digest, text in read:
            redacted = redact(text, region)
            if redacted.counts:
                counts = {kind.value: redacted.counts[kind] for kind in Kind}
                rows.append({"value": digest, "redacted": redacted.text, **counts})
            if len(rows) >= _FOUND_AT_ONCE:
                break
    return rows


def mentioned(
    connection: sa.Connection, judgement: Judgement, source: sa.FromClause, where: Predicate
) -> Mapping[str, int]:
    """How much of each kind was found in the texts of some rows of `source`, which has the judged table."""
    found, dialect = redactions(judgement.dialect), judgement.dialect
    counts = dict.fromkeys(Kind, 0)
    for name in judgement.dataset.texts:
        joined = source.join(found, found.c.value == dialect.digested(judgement.table.c[name]))
        sums = [sa.cast(sa.func.coalesce(sa.func.sum(found.c[kind.value]), 0), sa.BigInteger()) for kind in Kind]
        row = connection.execute(sa.select(*sums).select_from(joined).where(where)).one()
        counts = {kind: counts[kind] + count for kind, count in zip(Kind, row, strict=True)}
    return {kind.value: count for kind, count in counts.items() if count}


# --- what is staged of them ---


def digests(judgement: Judgement) -> list[sa.Label[str]]:
    """What is staged of a candidate: the digest of each of its texts."""
    columns = (judgement.table.c[name] for name in judgement.dataset.texts)
    return [judgement.dialect.digested(column).label(f"text_{n}") for n, column in enumerate(columns)]


def keep(connection: sa.Connection, staging: TableStaging, dialect: Dialect) -> None:
    """Stage what was found of the candidates that are not held."""
    if not staging.texts:
        return
    found, staged = redactions(dialect), staging.keys
    mine = [sa.select(column).where(sa.not_(staged.c.held)) for column in staging.text_columns(staged)]
    rows = sa.select(*found.c).where(sa.or_(*(found.c.value.in_(some) for some in mine)))
    connection.execute(sa.insert(staging.redactions).from_select([column.name for column in found.c], rows))


def take(connection: sa.Connection, staging: TableStaging, dialect: Dialect) -> None:
    """Have this session judge by what is staged."""
    if not staging.texts:
        return
    table = _make_anew(connection, dialect)
    rows = sa.select(*staging.redactions.c)
    connection.execute(sa.insert(table).from_select([column.name for column in table.c], rows))


def unchanged(table: sa.FromClause, staged: sa.FromClause, staging: TableStaging, dialect: Dialect) -> list[Predicate]:
    """Predicates that all are true of a row whose texts are those that were staged."""
    pairs = zip(staging.texts, staging.text_columns(staged), strict=True)
    return [sa.func.coalesce(dialect.digested(table.c[name]), "") == sa.func.coalesce(was, "") for name, was in pairs]


def digest_of(
    connection: sa.Connection, staging: TableStaging, dialect: Dialect, order: Sequence[AnyColumn], keys: str
) -> str:
    """SHA-256 of the candidates' digest and of what is to become of which texts of theirs, in hexadecimal.

    Args:
        connection: reads what is staged.
        staging: of a dataset with texts.
        dialect: of the database.
        order: of the keys, as they were digested.
        keys: the digest of these.
    """
    digest, staged, found = hashlib.sha256(keys.encode()), staging.keys, staging.redactions
    texts = sa.select(*staging.text_columns(staged)).where(sa.not_(staged.c.held)).order_by(*order)
    redacted = sa.select(found.c.value, dialect.digested(found.c.redacted)).order_by(found.c.value)
    for rows in (texts, redacted):
        for row in connection.execute(rows, execution_options={"yield_per": _AT_A_TIME}):
            digest.update(f"\n{' '.join(text or '-' for text in row)}".encode())
        digest.update(b"\n")
    return digest.hexdigest()
