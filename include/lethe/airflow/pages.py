"""What Lethe's pages in Airflow's UI show, read from the governance database. Neither web nor rendering is in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import BinaryIO
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import yaml

from lethe import stages
from lethe.checks import pages as data_docs_pages
from lethe.counts import Became, Outcome
from lethe.environment import Environment
from lethe.errors import LetheError, PolicyError, RunError
from lethe.evidence import archive
from lethe.evidence.archive import Days
from lethe.evidence.ledger import Head
from lethe.evidence.records import DatasetRecord, RunRecord
from lethe.evidence.runs import CLOSING, DRY, FAILED, OPEN, SUCCEEDED, SUPERSEDED
from lethe.governance import schema
from lethe.holds.registry import Hold
from lethe.policy import Policy, changes, load_each
from lethe.policy.changes import Change
from lethe.stages import DatasetReport, Report
from lethe.stages.explain import Explanation, explain
from lethe.stages.standing import Records, Scheduled, Standing, records_of, standing
from lethe.surveys import HORIZONS, HoldSurvey, Survey

_LATEST = 20
"""How many runs the overview lists."""

_A_PAGE = 50
"""How many runs of a category one page lists."""

_VERSIONS = 20
"""How many versions of a policy the page of a category has."""

_STATES = (SUCCEEDED, FAILED, OPEN, CLOSING, SUPERSEDED, DRY)
"""Those that runs can be listed by."""


MayRead = Callable[[str], bool]
"""Whether a user may read the DAG runs of a category."""

Schedules = Callable[[Collection[str]], Mapping[str, Scheduled]]
"""What a scheduler knows of categories."""

Figures = Mapping[str, int | None]
"""A run, or one of its datasets, in records by heading. None where it did not get so far."""


def figures(reports: Sequence[DatasetReport | DatasetRecord]) -> Figures:
    """The figures of datasets, added up."""
    found = [report.candidates for report in reports if report.candidates is not None]
    done = [report.tally for report in reports if report.tally is not None]
    after = [report.left for report in reports if report.left is not None]
    became = sum(done, Became()) if done else None
    latest = [survey for report in reports if (survey := report.left or report.candidates) is not None]
    kept = {outcome: outcome.heading for outcome in Outcome if outcome is not Outcome.HELD}
    return {
        "Expired": _sum(survey.expired for survey in found),
        **{heading: became.outcomes[outcome] if became else None for outcome, heading in kept.items()},
        "Went along": became.rows_with if became else None,
        "Held": _sum(survey.held for survey in latest),
        "Not judged": _sum(survey.unjudged for survey in latest),
        "Left": _sum(survey.due for survey in after),
    }


def _sum(counts: Iterable[int]) -> int | None:
    counted = list(counts)
    return sum(counted) if counted else None


HEADINGS = tuple(figures([]))
_PLAIN = {outcome.heading for outcome in Outcome if outcome.colour == "plain" and outcome is not Outcome.HELD}
BRIEF_HEADINGS = tuple(heading for heading in HEADINGS if heading not in _PLAIN)
"""For lists of runs: what went, what could not, what is left."""
BAD_HEADINGS = {outcome.heading for outcome in Outcome if outcome.colour == "bad"}


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list."""

    record: RunRecord
    figures: Figures
    certified: bool


@dataclass(frozen=True, slots=True)
class CategoryLine:
    """A category in the overview.

    Attributes:
        name: of the category, and of its DAG.
        policy: in force; where its file cannot be read, or is there no more, the one that ran last; None: neither.
        problem: what is wrong with the file.
        retired: there is no file any more.
        standing: how it stands; None: it is retired.
        success: its newest run that succeeded.
        following: when its next run starts; None: not known, or only when a person starts it.
        last: its last run that was no dry run.
    """

    name: str
    policy: Policy | None
    problem: str | None
    retired: bool
    standing: Standing | None
    success: RunRecord | None
    following: datetime | None
    last: RunLine | None


@dataclass(frozen=True, slots=True)
class DueLine:
    """What a category, or a dataset, has due, in records, by the latest surveys; None where nothing is known.

    Attributes:
        name: of the category, or the dataset.
        due: what may and must go.
        overdue: what a run and a day had been given to by the schedule.
        overdue_days: since the oldest of that had to go; 0 where nothing is overdue.
        held: expired, and covered by a hold.
        ahead: what will be due within the days of `HORIZONS`, by the holds of then.
        at: the oldest of the surveys.
        unknown: the datasets of which nothing is known, with the reason where there is one: the numbers are without
            these.
        changed: whether the policy is another one by now.
    """

    name: str
    due: int | None
    overdue: int | None
    overdue_days: int
    held: int | None
    ahead: tuple[int | None, ...]
    at: datetime | None
    unknown: Mapping[str, str | None]
    changed: bool


@dataclass(frozen=True, slots=True)
class MatterLine:
    """The holds of one matter that are in force: how many, and of how many identifiers. Never which."""

    matter: str
    holds: int
    identifiers: int
    states: str


@dataclass(frozen=True, slots=True)
class HoldLine:
    """A hold that binds, without its identifiers.

    Attributes:
        hold: itself.
        days: how long ago it was placed.
        found: what it finds in the datasets that a user may see, by the latest count.
        nothing: whether it was counted in all of its datasets, and finds no record.
    """

    hold: Hold
    days: int
    found: tuple[HoldSurvey, ...]
    nothing: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The page of all categories.

    Attributes:
        problem: why no policy could be read, where that is so.
        standings: how many categories stand how.
        categories: in the order of their policies, retired ones after them.
        due: what they have due, the worst first; without retired ones.
        runs: the latest.
        matters: of the holds in force.
        requests: those of data subjects that are open: how many are in which state, such as overdue.
    """

    problem: str | None
    standings: Mapping[Standing, int]
    categories: tuple[CategoryLine, ...]
    due: tuple[DueLine, ...]
    runs: tuple[RunLine, ...]
    matters: tuple[MatterLine, ...]
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class VersionLine:
    """A version of a policy that ran: since when, from which run on, and what changed by it."""

    since: datetime
    run: str
    digest: str
    policy: Policy
    yaml: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class CategoryPage:
    """A category.

    Attributes:
        category: its name.
        line: how it stands.
        due: what its datasets have due, the worst first; without one that is retired.
        versions: of its policy, the latest first, at most `_VERSIONS`.
        runs: some of them, newest first.
        older: the last of these, where there are more.
        states: those that runs can be listed by.
        state: the one that they are listed by.
    """

    category: str
    line: CategoryLine
    due: tuple[DueLine, ...]
    versions: tuple[VersionLine, ...]
    runs: tuple[RunLine, ...]
    older: str | None
    states: tuple[str, ...]
    state: str

    @property
    def policy(self) -> Policy | None:
        """The one in force, or the one that ran last."""
        return self.line.policy


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A record that is asked for, and what there is to say of it.

    Attributes:
        datasets: those whose records the user may ask for, written ``category.dataset``.
        dataset: the one that is asked for.
        key: as it was typed.
        found: why it is there, or which run erased it.
        problem: why that cannot be said.
    """

    datasets: tuple[str, ...]
    dataset: str = ""
    key: str = field(default="", repr=False)
    found: Explanation | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class EvidencePage:
    """What there is of evidence.

    Attributes:
        head: where the ledger ends.
        categories: that a user may see, and that ever had a run: also retired ones.
        today: the last day, in UTC, of an archive that is asked for now.
    """

    head: Head
    categories: tuple[str, ...]
    today: date


@dataclass(frozen=True, slots=True)
class RunPage:
    """The page of one run; `summary` says in a sentence what it did, or would do."""

    record: RunRecord
    summary: str
    report: Report
    policy: Policy
    rows: tuple[tuple[DatasetReport, Figures], ...]
    certified: bool


def overview(env: Environment, may_read: MayRead, schedules: Schedules, now: datetime) -> Overview:
    """All categories that a user may see, each with its last run; their latest runs; and the matters of all holds.

    A policy that cannot be read hides no other, and a category that has none any more is there for as long as runs
    of it are on record.

    Args:
        env: whose records.
        may_read: what the user may see.
        schedules: what a scheduler knows of categories.
        now: the moment.
    """
    written, wrong = _written(env)
    known = [name for name in dict.fromkeys([*written, *env.runs.categories()]) if may_read(name)]
    retired = {name for name in known if written and name not in written}
    categories = _category_lines(env, known, written, schedules(known), now, retired)
    standings = Counter(line.standing for line in categories if line.standing)
    return Overview(
        problem=wrong,
        standings={one: standings[one] for one in reversed(Standing) if standings[one]},
        categories=tuple(categories),
        due=_due_lines(categories, env.surveys.newest(now)),
        runs=_lines(env, env.runs.latest_of_any(_LATEST, known)),
        matters=_matters(env),
        requests=_requests(env, [one.time_zone for one in written.values() if isinstance(one, Policy)], now),
    )


def _written(env: Environment) -> tuple[Mapping[str, Policy | PolicyError], str | None]:
    """The policies, each read by itself; and why there is none."""
    try:
        return load_each(env.settings.policies), None
    except PolicyError as error:
        return {}, str(error)


def _category_lines(
    env: Environment,
    names: Sequence[str],
    written: Mapping[str, Policy | PolicyError],
    scheduled: Mapping[str, Scheduled],
    now: datetime,
    retired: Collection[str],
) -> list[CategoryLine]:
    policies = {name: one for name in names if isinstance(one := written.get(name), Policy)}
    datasets = {name: _dataset_names(policies.get(name)) for name in names}
    found = records_of(env, datasets)
    last = {line.record.category: line for line in _lines(env, [one.newest for one in found.values() if one.newest])}
    return [
        _category_line(
            name,
            written.get(name),
            found[name],
            scheduled.get(name),
            now,
            last.get(name),
            retired=name in retired,
        )
        for name in names
    ]


def _category_line(
    name: str,
    written: Policy | PolicyError | None,
    found: Records,
    scheduled: Scheduled | None,
    now: datetime,
    last: RunLine | None,
    *,
    retired: bool,
) -> CategoryLine:
    policy = written if isinstance(written, Policy) else None
    following = scheduled.following if scheduled else None
    return CategoryLine(
        name=name,
        policy=policy or (found.newest.policy if found.newest else None),
        problem=str(written) if isinstance(written, PolicyError) else None,
        retired=retired,
        standing=None if retired else standing(policy, found, scheduled, now),
        success=found.success,
        following=following if following and following > now else None,
        last=last,
    )


def _due_lines(categories: Iterable[CategoryLine], surveys: Mapping[tuple[str, str], Survey]) -> tuple[DueLine, ...]:
    lines = (
        _due_line(line, line.name, _dataset_names(line.policy), surveys) for line in categories if not line.retired
    )
    return _worst_first(lines)


def _due_of(line: CategoryLine, surveys: Mapping[tuple[str, str], Survey]) -> tuple[DueLine, ...]:
    """The same of each dataset of a category."""
    names = () if line.retired else _dataset_names(line.policy)
    return _worst_first(_due_line(line, name, [name], surveys) for name in names)


def _worst_first(lines: Iterable[DueLine]) -> tuple[DueLine, ...]:
    return tuple(
        sorted(lines, key=lambda one: (-one.overdue_days, -(one.overdue or 0), not one.unknown, -(one.due or 0)))
    )


def _dataset_names(policy: Policy | None) -> list[str]:
    return [dataset.name for dataset in policy.datasets] if policy else []


def _due_line(
    line: CategoryLine, name: str, datasets: Sequence[str], surveys: Mapping[tuple[str, str], Survey]
) -> DueLine:
    taken = {dataset: surveys.get((line.name, dataset)) for dataset in datasets}
    known = [one for one in taken.values() if one and one.found]
    return DueLine(
        name=name,
        due=_sum(one.found.due for one in known if one.found),
        overdue=_sum(one.overdue or 0 for one in known),
        overdue_days=max((one.overdue_days or 0 for one in known if one.overdue), default=0),
        held=_sum(one.found.held for one in known if one.found),
        ahead=tuple(_sum(one.ahead[days] for one in known) for days in HORIZONS),
        at=min((one.at for one in known), default=None),
        unknown={dataset: one.problem if one else None for dataset, one in taken.items() if one not in known},
        changed=any(line.policy and one.policy_digest != line.policy.digest for one in known),
    )


def category_page(
    env: Environment,
    category: str,
    schedules: Schedules,
    now: datetime,
    *,
    before: str | None = None,
    state: str | None = None,
) -> CategoryPage:
    """A category, with a page of its runs, newest first.

    Args:
        env: whose records.
        category: its name.
        schedules: what a scheduler knows of categories.
        now: the moment.
        before: runs that started before this one; None: the newest.
        state: of the runs; None: whatever it is.

    Raises:
        RunError: if there is no such run or state, or neither a policy nor a run of such a category.
    """
    if state is not None and state not in _STATES:
        raise RunError(f"runs are in no such state: choose from {', '.join(_STATES)}")
    earlier = env.runs.get(before) if before else None
    records = env.runs.latest(_A_PAGE + 1, category=category, before=earlier, state=state)
    files = {file.stem for file in env.settings.policies.glob("*.yaml")}
    if category not in files and not records and category not in env.runs.categories():
        raise RunError(f"there is no category {category}: neither a policy nor a run of it")
    written = _written_of(env, category) if category in files else {}
    retired = {category} if files and category not in files else set()
    (line,) = _category_lines(env, [category], written, schedules([category]), now, retired)
    return CategoryPage(
        category=category,
        line=line,
        due=_due_of(line, env.surveys.newest(now, category)),
        versions=tuple(_versions(env, category)),
        runs=_lines(env, records[:_A_PAGE]),
        older=records[_A_PAGE - 1].id if len(records) > _A_PAGE else None,
        states=("all", *_STATES),
        state=state or "all",
    )


def _written_of(env: Environment, category: str) -> Mapping[str, Policy | PolicyError]:
    """The policy of a category, read by itself."""
    try:
        return {category: env.policy(category)}
    except PolicyError as error:
        return {category: error}


def _versions(env: Environment, category: str) -> Iterator[VersionLine]:
    """The versions that ran, the latest first, each with what changed by it."""
    known = env.runs.versions(category)
    latest = [(one, env.runs.get(one.run)) for one in known[-_VERSIONS - 1 :]]
    earlier = [None, *(record.policy for _, record in latest)]
    lines = [
        VersionLine(
            since=version.since,
            run=version.run,
            digest=version.digest,
            policy=record.policy,
            yaml=yaml.safe_dump(_said(record.written_policy), sort_keys=False, allow_unicode=True),
            changes=changes(before, record.policy) if before else (),
        )
        for before, (version, record) in zip(earlier, latest, strict=False)
    ]
    yield from reversed(lines[-_VERSIONS:])


def _said(written: object) -> object:
    """What a policy says, without what it leaves open."""
    if isinstance(written, Mapping):
        return {name: _said(value) for name, value in written.items() if value not in (None, [], {})}
    return [_said(one) for one in written] if isinstance(written, list) else written


def record_page(env: Environment, may_ask: MayRead, dataset: str, key: str, now: datetime) -> RecordPage:
    """What there is to say of a record that somebody asks for; of none, where no dataset is named.

    Args:
        env: whose stores, holds and evidence.
        may_ask: of which categories the user may ask for records.
        dataset: written ``category.dataset``.
        key: the values of its key, a line each.
        now: the moment to judge by.
    """
    written, _ = _written(env)
    policies = {name: one for name, one in written.items() if isinstance(one, Policy) and may_ask(name)}
    names = tuple(f"{name}.{one.name}" for name, policy in policies.items() for one in policy.datasets)
    if dataset not in names:
        problem = "There is no such dataset, or you may not ask for its records." if dataset else None
        return RecordPage(names, problem=problem)
    category, _, name = dataset.partition(".")
    policy, values = policies[category], key.split("\n") if key else []
    if not values or not all(values):
        return RecordPage(names, dataset, key, problem="Give a value for every column of the dataset's key.")
    try:
        found = explain(env, policy, policy.dataset(name), values, now)
    except LetheError as error:
        return RecordPage(names, dataset, key, problem=str(error))
    return RecordPage(names, dataset, key, found)


def _lines(env: Environment, records: Sequence[RunRecord]) -> tuple[RunLine, ...]:
    """Runs in a list, in two statements."""
    ids = [record.id for record in records]
    datasets = env.runs.datasets_of(ids)
    run_id = schema.certificate.c.run_id
    with env.governance.read() as connection:
        certified = set(connection.scalars(sa.select(run_id).where(run_id.in_(ids))))
    return tuple(RunLine(record, figures(datasets[record.id]), record.id in certified) for record in records)


def _matters(env: Environment) -> tuple[MatterLine, ...]:
    holds = env.registry.holds()
    identifiers: Counter[str] = Counter()
    states: dict[str, set[str]] = {}
    for hold in holds:
        identifiers[hold.matter] += sum(hold.identifier_counts.values())
        states.setdefault(hold.matter, set()).add(hold.state)
    counts = Counter(hold.matter for hold in holds)
    return tuple(
        MatterLine(matter, count, identifiers[matter], ", ".join(sorted(states[matter])))
        for matter, count in sorted(counts.items())
    )


def _requests(env: Environment, zones: Iterable[str], now: datetime) -> Mapping[str, int]:
    """The open requests by state, by the day of that of the time zones where it is latest."""
    today = max((now.astimezone(ZoneInfo(zone)).date() for zone in zones), default=now.date())
    counts = Counter(one.state(today) for one in env.subjects.requests())
    return {state: counts[state] for state in ("overdue", "open") if counts[state]}


def holds_page(env: Environment, may_see: MayRead, now: datetime) -> tuple[HoldLine, ...]:
    """The holds that bind, the oldest first: those that concern a category that a user may see holds of.

    Args:
        env: whose holds and surveys.
        may_see: of which categories.
        now: the moment.
    """
    written, _ = _written(env)
    datasets = {
        f"{name}.{one.name}": (name, one.name)
        for name, policy in written.items()
        if isinstance(policy, Policy) and may_see(name)
        for one in policy.datasets
    }
    counted = env.surveys.of_holds()
    lines = []
    for hold in env.registry.holds():
        if any(hold.concerns(*names) for names in datasets.values()):
            every = counted.get(hold.id, [])
            found = tuple(one for one in every if one.dataset in datasets)
            nothing = bool(every) and all(one.records == 0 for one in every)
            lines.append(HoldLine(hold, (now - hold.placed_at).days, found, nothing))
    return tuple(sorted(lines, key=lambda line: (line.hold.placed_at, line.hold.id)))


def evidence_page(env: Environment, may_read: MayRead, now: datetime) -> EvidencePage:
    """The evidence of those categories that a user may see.

    Args:
        env: whose evidence.
        may_read: what the user may see.
        now: the moment.
    """
    with env.governance.read() as connection:
        head = env.ledger.head(connection)
    categories = tuple(name for name in env.runs.categories() if may_read(name))
    return EvidencePage(head, categories, now.astimezone(UTC).date())


def archived(env: Environment, may_read: MayRead, category: str | None, days: Days, file: BinaryIO) -> None:
    """Write the archive of certificates: of one category, or of all that a user may see.

    Args:
        env: whose evidence.
        may_read: what the user may see; of a category that is named it was asked already.
        category: None: all.
        days: on which the certificates were issued.
        file: what to write to.

    Raises:
        EvidenceError: if it cannot be made; see `lethe.evidence.archive.write`.
    """
    if category is None:
        known = {*env.runs.categories()}
        readable = {name for name in known if may_read(name)}
        categories = None if readable == known else readable
    else:
        categories = {category}
    archive.write(env.governance, env.keys, file, days, categories)


def run_page(env: Environment, run_id: str) -> RunPage:
    """One run.

    Raises:
        RunError: if there is none of that id.
    """
    record = env.runs.get(run_id)
    report = stages.report_of(env, run_id)
    return RunPage(
        record=record,
        summary=summary(record, report),
        report=report,
        policy=record.policy,
        rows=tuple((dataset, figures([dataset])) for dataset in report.datasets),
        certified=certificate(env, run_id) is not None,
    )


def summary(record: RunRecord, report: Report) -> str:
    """What a run did, or a dry run would do, in a sentence. What is not known of every dataset is said to be so."""
    found = [one.candidates for one in report.datasets if one.candidates is not None]
    unknown = len(report.datasets) - len(found)
    of_all = "" if not unknown else f" (of {unknown} of {len(report.datasets)} datasets it is not known)"
    if record.dry_run:
        along = sum(one.rows_along for one in found)
        rows = f", and {along:,} rows that go along" if along else ""
        due = sum(one.due for one in found)
        return f"Would {record.policy.disposition} {due:,} records{rows}{of_all}." if found else "Nothing is known yet."
    if record.finished_at is None:
        return "It is not over; what it did is certain at its end."
    done = [one.tally for one in report.datasets if one.tally is not None]
    if not done:
        return "What it did is not known of any dataset."
    became = sum(done, Became())
    said = [f"{count:,} {outcome}" for outcome, count in became.outcomes.items() if count] or ["nothing erased"]
    untold = len(report.datasets) - len(done)
    missing = f"; of {untold} of {len(report.datasets)} datasets it is not known" if untold else ""
    left = sum(one.left.due for one in report.datasets if one.left is not None)
    return f"In records: {', '.join(said)}{missing}{f'; {left:,} that had to go are left' if left else ''}."


def run_of(env: Environment, dag_id: str, dag_run_id: str) -> str:
    """The latest run that a DAG run started.

    Raises:
        RunError: if it has not started any.
    """
    record = env.runs.triggered_by(f"airflow:{dag_id}/{dag_run_id}")
    if record is None:
        raise RunError(f"{dag_id}: this DAG run has not planned anything yet; see the task plan")
    return record.id


def certificate(env: Environment, run_id: str) -> str | None:
    """The signed certificate of a run, as it was issued."""
    table = schema.certificate.c
    with env.governance.read() as connection:
        document = connection.scalar(sa.select(table.document).where(table.run_id == run_id))
    return None if document is None else str(document)


def data_docs(env: Environment, record: RunRecord, dataset: str) -> str:
    """The page that Data Docs have of a dataset of a run, on whichever machine it was validated.

    Raises:
        RunError: if the run does not have the dataset, or has not validated it.
    """
    validations = env.runs.dataset(record.id, dataset).validation
    if not validations:
        raise RunError(f"run {record.id} has not validated {dataset} yet; see the task {dataset}.validate")
    found = {str(when): validation for when, validation in validations.items()}
    return data_docs_pages.render(record.category, record.id, dataset, found)


def dag_run_of(record: RunRecord) -> tuple[str, str] | None:
    """The DAG and DAG run that started a run; None where the command line did."""
    kind, _, rest = record.trigger.partition(":")
    dag_id, _, dag_run_id = rest.partition("/")
    return (dag_id, dag_run_id) if kind == "airflow" and dag_run_id else None
