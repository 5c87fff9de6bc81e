"""Names of values inside nested rows: ``user.email``, ``events[].email``, ``"a.b".c`` for a name with a dot in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

_STEP = re.compile(r'(?:"((?:[^"\\]|\\.)+)"|([^."\[\]\s]+(?: +[^."\[\]\s]+)*))((?:\[\])*)(?:\.(?=.)|$)')


@dataclass(frozen=True, slots=True)
class Step:
    """A name in an object, and how many lists deep its values are."""

    name: str
    lists: int


@lru_cache(maxsize=1024)
def steps_of(path: str) -> tuple[Step, ...]:
    """The names that lead to a value, from the outermost in.

    Raises:
        ValueError: if the text is no such path.
    """
    found: list[Step] = []
    end = 0
    while end < len(path) or not found:
        step = _STEP.match(path, end)
        if step is None:
            raise ValueError(
                f"{path!r} does not name a value: write name, outer.name or list[].name, with a name that has dots, "
                'brackets or quotes in it in double quotes, such as "a.b"'
            )
        try:
            name = json.loads(f'"{step[1]}"') if step[1] else step[2]
        except ValueError:
            raise ValueError(f"{path!r}: in double quotes a name is written as in JSON") from None
        found.append(Step(name, len(step[3]) // 2))
        end = step.end()
    return tuple(found)
