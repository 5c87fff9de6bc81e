"""The company's matters in the hold registry, and what the governance database says that runs did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from lethe.environment import Environment
from lethe.evidence.records import RunRecord
from lethe.holding import place_hold
from lethe.holds.registry import HoldRequest
from lethe.judging.identifiers import IdentifierType
from lethe.recording import confirm_event, record_event
from lethe.stages import DatasetReport, report_of
from lethe_demo.company import COOKIES_HELD, Company, Matter
from lethe_demo.fates import Fate
from lethe_demo.oracle import Oracle, Verdict
from lethe_demo.systems.purchasing import EVENT, Purchasing

CATEGORIES = (
    "webinars", "events", "logistics", "leads", "analytics", "account_users", "traffic_end_users",
    "recruitment_prospects", "recruitment", "support", "invoices", "agreements", "traffic_customers",
    "letters", "ux_research", "accounts",
    "newsletter", "suppression", "suppliers", "supplier_agreements", "supplier_contacts", "market_research",
)  # fmt: skip
_PLACED_BY = "legal@example.com"
_RECORDED_BY = "purchasing@example.com"
_MANY = 1_000


def place_matters(env: Environment, company: Company) -> list[str]:
    """Place the company's two holds, unless they are in the registry; give the references of those placed now."""
    there = {hold.matter for hold in env.registry.holds()}
    placed = []
    for matter in company.matters:
        if matter.reference not in there:
            place_hold(env, _request(matter), _PLACED_BY)
            placed.append(matter.reference)
    return placed


def record_events(env: Environment, company: Company) -> int:
    """Record when relationships with suppliers ended, and confirm it as somebody else, unless that is on record.

    Gives how many were confirmed now.
    """
    confirmed = 0
    for supplier, day in company.system(Purchasing).events:
        known = next(iter(env.events.events(name=EVENT, reference=[supplier])), None)
        if known is None:
            known = record_event(env, EVENT, [supplier], day, by=_RECORDED_BY)
        if known.confirmed_at is None:
            confirm_event(env, EVENT, [supplier], day, by=_PLACED_BY)
            confirmed += 1
    return confirmed


def _request(matter: Matter) -> HoldRequest:
    if matter.event is not None:
        return HoldRequest(
            matter=matter.reference,
            reason=matter.reason,
            identifiers={IdentifierType.EVENT: [matter.event]},
            categories=("events", "logistics", "letters"),
        )
    return HoldRequest(
        matter=matter.reference,
        reason=matter.reason,
        identifiers={
            IdentifierType.EMAIL: [person.email.title() for person in matter.people],  # as lawyers type them
            IdentifierType.PHONE: [f"{person.phone[:4]} {person.phone[4:]}" for person in matter.people],
            IdentifierType.MSISDN: [person.phone for person in matter.people],
            IdentifierType.ACCOUNT: [person.account for person in matter.people],
            IdentifierType.COOKIE: [person.cookie for person in matter.people[:COOKIES_HELD]],
        },
    )


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did to one dataset, in records."""

    dataset: str
    expired: int
    erased: int
    held: int
    unjudgeable: int
    left: int
    problem: str | None = None

    @classmethod
    def of(cls, category: str, report: DatasetReport) -> Done:
        """From a run's report; what was not done counts as nothing."""
        found, after = report.candidates, report.left
        last = after or found
        return cls(
            dataset=f"{category}.{report.dataset}",
            expired=found.expired if found else 0,
            erased=report.tally.disposed if report.tally else 0,
            held=after.held if after else 0,
            unjudgeable=last.unjudged if last else 0,
            left=after.total if after else 0,
            problem=report.problem,
        )


def done_by(env: Environment, run: RunRecord) -> list[Done]:
    """What a run did, by dataset."""
    return [Done.of(run.category, report) for report in report_of(env, run.id).datasets]


def done_by_airflow(env: Environment, runs: Mapping[str, str]) -> list[Done]:
    """What the Airflow runs (DAG → run id) did, by dataset, whether or not they succeeded."""
    triggers = {f"airflow:{dag}/{run}" for dag, run in runs.items()}
    found = [run for category in runs for run in env.runs.latest(_MANY, category=category) if run.trigger in triggers]
    return [done for run in found for done in done_by(env, run)]


def finished_runs(env: Environment) -> dict[str, list[RunRecord]]:
    """The runs that succeeded, by category, newest first."""
    runs = {category: env.runs.latest(_MANY, category=category) for category in CATEGORIES}
    return {category: [run for run in found if run.state == "succeeded"] for category, found in runs.items()}


def judged_by(env: Environment) -> dict[str, datetime]:
    """The latest as-of moment by which each category has been run."""
    return {category: max(run.as_of for run in runs) for category, runs in finished_runs(env).items() if runs}


def look_at_record(env: Environment, oracle: Oracle) -> Iterator[Verdict]:
    """Whether the record says what really happened, record by record counted by the oracle."""
    for category, runs in finished_runs(env).items():
        yield Verdict("every category has run", category, bool(runs), f"{len(runs)} runs succeeded")
        if runs:
            erased: dict[str, int] = {}
            for run in runs:
                for done in done_by(env, run):
                    erased[done.dataset] = erased.get(done.dataset, 0) + done.erased
            for last in done_by(env, runs[0]):
                yield _compare(oracle, last, erased[last.dataset])


def _compare(oracle: Oracle, last: Done, erased: int) -> Verdict:
    counts = oracle.counts(last.dataset)
    stays = counts[Fate.KEPT] + counts[Fate.HELD] + counts[Fate.UNJUDGEABLE]
    expected = (counts[Fate.ERASED], counts[Fate.HELD], counts[Fate.UNJUDGEABLE], stays)
    most = stays + len(oracle.added(last.dataset))  # what other categories put there, before it was counted or after
    said = (erased, last.held, last.unjudgeable, last.left)
    detail = "erased {:,}, held {:,}, unjudgeable {:,}, left {:,}"
    holds = said[:3] == expected[:3] and stays <= last.left <= most
    text = detail.format(*said) if holds else f"says {detail.format(*said)}; is {detail.format(*expected)}"
    return Verdict("exact evidence: the record says what happened", last.dataset, holds, text)
