"""All stages in a row, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lethe.environment import Environment
from lethe.errors import (
    LetheError,
    RunError,
)
from lethe.stages.approve import decide, reasons_to_ask
from lethe.stages.base import Plan, Watcher, discovered, noting
from lethe.stages.certify import certify
from lethe.stages.discover import discover
from lethe.stages.erase import erase
from lethe.stages.report import Report
from lethe.stages.validate import validate
from lethe.stages.verify import verify


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who decides: who, what they answer to the limits that were passed, and who says that it is them."""

    name: str
    approves: bool
    said_by: str | None = None


Ask = Callable[[Sequence[str]], Approver | None]
"""Asks who approves, given the limits that were passed; None where nobody is there to answer."""


def run(
    env: Environment, planned: Plan, *, approver: Approver | Ask | None = None, watcher: Watcher | None = None
) -> Report:
    """All stages of a plan, one after the other. A dataset that fails does not stop the others.

    `approver` is asked only where limits are passed.

    Raises:
        RunError: as `certify` does, after everything that could be done was done.
    """
    for dataset in planned.datasets:
        with noting(env, planned, dataset):
            validate(env, planned, dataset, discover(env, planned, dataset, watcher), watcher)
    refusal: LetheError | None = None
    if not planned.dry_run:
        try:
            person = _asked(env, planned, approver)
            if person is None:
                decide(env, planned)
            else:
                decide(env, planned, by=person.name, approved=person.approves, said_by=person.said_by)
        except RunError as error:
            refusal = error
        else:
            for dataset, candidates in discovered(env, planned).items():
                with noting(env, planned, dataset):
                    erase(env, planned, dataset, range(candidates.batches), watcher)
                    verify(env, planned, dataset, watcher)
    try:
        return certify(env, planned)
    except RunError as error:
        raise refusal or error from None


def _asked(env: Environment, planned: Plan, approver: Approver | Ask | None) -> Approver | None:
    if approver is None or isinstance(approver, Approver):
        return approver
    reasons = reasons_to_ask(env, planned, discovered(env, planned))
    if not reasons:
        return None
    with env.runs.working(planned.run):
        return approver(reasons)
