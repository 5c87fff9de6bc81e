"""`with: network`: of an IP address the first of its network: 192.0.2.77 is 192.0.2.0."""

from __future__ import annotations

import sqlalchemy as sa

from lethe.stores.sql.dialects.base import AnyColumn, Dialect
from lethe.stores.sql.masks.base import Strategy

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "[0-9A-Fa-f]{1,4}"
_END = "$(?!\\n)"
"""Not before a last line break either, which `$` alone lets pass in some databases."""


def _pattern(text: str) -> AnyColumn:
    return sa.literal_column(f"'{text.replace('B', _BYTE).replace('G', _GROUP)}{_END}'", sa.Text())


_VERSION_4 = _pattern("^(B[.]){3}B")
_LAST_BYTES = [(digits, _pattern(f"[.][0-9]{{{digits}}}")) for digits in (1, 2, 3)]
_SHORT = _pattern("^(G:){1,2}(:|(:G){1,5})")
"""Version 6 whose zeros are left out before its third group, which is one of them."""
_LONG = _pattern("^((G:){7}G|(G:){3,7}:|(G:){3,6}:G|(G:){3,5}(:G){2}|(G:){3,4}(:G){3}|(G:){3}(:G){4})")
"""Version 6 with its first three groups."""
_ONE, _COLON = sa.literal_column("1", sa.Integer()), sa.literal_column("':'", sa.Text())


class Masking(Strategy):
    """2001:db8:7:1::5 is 2001:db8:7::.

    24 bits of version 4 and 48 of version 6 stay; of anything that is not plainly one address no value is left.

    What is left is never longer than the address, so that it has room in the column.
    """

    leaves = "one network"

    def put(self, column: AnyColumn, value: str | int | None, dialect: Dialect) -> AnyColumn:
        """The network's first address, in the case that it is written in; NULL where there is no address."""
        short = dialect.place_of(column, sa.literal_column("'::'", sa.Text()))
        return sa.case(
            (dialect.matches(column, _VERSION_4), _without_last_byte(column, dialect)),
            (dialect.matches(column, _SHORT), _beginning(column, short + _ONE)),
            (dialect.matches(column, _LONG), _beginning(column, _third_colon(column, dialect)) + _COLON),
            else_=sa.null(),
        )

    def may_put_null(self, dialect: Dialect) -> bool:
        """Of what is no address."""
        return True

    def unfit(self, kind: sa.types.TypeEngine[object], dialect: Dialect) -> str | None:
        """Only text is read as an address."""
        return None if dialect.is_text(kind) else "is no text: mask it with null"


def _beginning(column: AnyColumn, length: AnyColumn) -> AnyColumn:
    return sa.type_coerce(sa.func.substr(column, _ONE, length), sa.Text())


def _without_last_byte(column: AnyColumn, dialect: Dialect) -> AnyColumn:
    length, zero = sa.func.length(column), sa.literal_column("'0'", sa.Text())
    return sa.case(
        *(
            (dialect.matches(column, last), _beginning(column, length - sa.literal_column(str(digits))) + zero)
            for digits, last in _LAST_BYTES
        ),
        else_=sa.null(),
    )


def _third_colon(column: AnyColumn, dialect: Dialect) -> AnyColumn:
    first = dialect.place_of(column, _COLON)
    after_first = sa.func.substr(column, first + _ONE)
    second = dialect.place_of(after_first, _COLON)
    after_second = sa.func.substr(after_first, second + _ONE)
    return first + second + dialect.place_of(after_second, _COLON)
