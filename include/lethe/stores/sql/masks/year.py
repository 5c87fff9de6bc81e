"""`with: year`: of a day, or a moment, the first day of its year."""

from __future__ import annotations

from lethe.stores.sql.masks.base import FirstDay


class Masking(FirstDay):
    """8 March 1980 is 1 January 1980."""

    leaves = "one year"
    of = "year"
