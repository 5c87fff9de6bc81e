"""`with: month`: of a day, or a moment, the first day of its month."""

from __future__ import annotations

from lethe.stores.sql.masks.base import FirstDay


class Masking(FirstDay):
    """8 March 1980 is 1 March 1980."""

    leaves = "one month"
    of = "month"
