"""What data subjects may ask, and until when they have to be answered. No I/O.

Article 12(3) GDPR: information on action taken is given "without undue delay and in any event within one month of
receipt of the request"; that period "may be extended by two further months where necessary", and the data subject is
informed of it within the first. Both are counted as Regulation 1182/71 does (`lethe.periods`); they are never
extended to a working day, as nothing is that has to be done *within* a period.
"""

from __future__ import annotations

from datetime import date

from lethe.periods import Period
from lethe.policy.on_request import RequestKind

_ANSWERED_WITHIN = Period(months=1)
_EXTENDED_TO = Period(months=3)


def due_on(kind: RequestKind, received: date, *, extended: bool = False) -> date:
    """The last day on which a request is answered in time; what is to be done at once, on the day that it is known.

    Args:
        kind: what is asked.
        received: the local day on which it came in, or on which the finding was made.
        extended: whether the period was extended by two further months.
    """
    if not kind.extends:
        return received
    return (_EXTENDED_TO if extended else _ANSWERED_WITHIN).last_day(received)
