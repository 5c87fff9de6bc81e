"""What Great Expectations checks of a category, as the page of its DAG and `lethe policy checks` list it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lethe.checks.added import load
from lethe.checks.generate import CANDIDATES, COUNT, LEFT, Json, suite
from lethe.errors import PolicyError
from lethe.policy import Policy
from lethe.settings import Settings

_BEFORE, _REPORTED = "before erasing", "reported, and stops nothing"
_WHEN = {
    CANDIDATES: (_BEFORE, _REPORTED),
    COUNT: (_BEFORE, "where it does not hold, a person decides"),
    LEFT: ("after", _REPORTED),
}
"""When the suites that all categories share are checked, and what follows of what is not critical."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An expectation.

    Attributes:
        what: its description; or why what was added for a dataset cannot be used.
        of: the dataset that it is about.
        when: when it is checked, and what follows where it does not hold.
        usable: false where `what` says why not.
    """

    what: str
    of: str
    when: str
    usable: bool = True


def listed(policy: Policy, settings: Settings) -> Iterator[Listed]:
    """Everything that is checked of a category: what all are checked for, and what was added for its datasets."""
    by_value = policy.retention.by_value is not None
    for name, (when, otherwise) in _WHEN.items():
        for one in suite(policy.category, name, by_value=by_value)["expectations"]:
            yield _of(one, "every dataset", when, otherwise)
    for dataset in policy.datasets:
        try:
            added = load(settings, policy.category, dataset.name)
        except PolicyError as error:
            yield Listed(str(error), dataset.name, "nothing is erased", usable=False)
            continue
        for one in added.suite["expectations"]:
            yield _of(one, dataset.name, _BEFORE, _REPORTED)


def _of(expectation: Json, dataset: str, when: str, otherwise: str) -> Listed:
    if expectation["severity"] != "critical":
        when = f"{when}; {otherwise}"
    return Listed(expectation["description"], dataset, when)
