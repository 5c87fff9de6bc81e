"""Dates in object keys."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def day_in_key(pattern: str, key: str) -> date | None:
    """The day that the group ``value`` of a pattern finds in a key, as YYYY-MM-DD or YYYYMMDD; else None."""
    match = _compiled(pattern).search(key)
    try:
        return date.fromisoformat(match["value"]) if match and match["value"] else None
    except ValueError:
        return None
