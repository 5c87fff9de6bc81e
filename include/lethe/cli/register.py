"""The register: every rule of the schedule with the policy that carries it out, as others want to have it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lethe.errors import PolicyError
from lethe.periods import Period
from lethe.policy import Dataset, Policy, TableDataset, name_parts
from lethe.policy.schedule import ScheduleRow

Rows = Mapping[str, ScheduleRow]
Policies = Mapping[str, Policy]

_HEAD = """# The schedule

Every rule, and the policy that carries it out. Written by `lethe policy register`; a test keeps it true. The record of
processing's time limits for erasure (Article 30(1)(f) GDPR) are the same: `--format csv`.
"""
_CSV = (
    "Category",
    "Categories of data",
    "Legal basis",
    "Source",
    "Envisaged time limits for erasure (Article 30(1)(f))",
    "Disposition",
    "Where",
    "Owner",
    "Carried out",
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A category: its row of the schedule, its policy, or both."""

    category: str
    row: ScheduleRow | None
    policy: Policy | None

    @property
    def rule(self) -> str:
        if self.policy is not None:
            return rule_of(self.policy, self.row)
        return self.row.rule if self.row else ""

    @property
    def source(self) -> str:
        said = self.row or self.policy
        return said.source if said else ""

    @property
    def records(self) -> str:
        if self.row is not None:
            return self.row.records
        return self.policy.description if self.policy else ""

    @property
    def carried_out(self) -> str:
        if self.policy is not None:
            return "yes"
        return f"no: {self.row.no_policy or 'no policy' if self.row else 'no row'}"


def _entries(rows: Rows, policies: Policies) -> list[_Entry]:
    """All of the schedule in its order, then what only policies have."""
    return [_Entry(name, rows.get(name), policies.get(name)) for name in dict.fromkeys([*rows, *policies])]


def rule_of(policy: Policy, row: ScheduleRow | None) -> str:
    """How long records are kept, in words."""
    rule = row.rule if row else policy.rule
    by_value = policy.retention.by_value
    if by_value is not None and row is not None:
        rule += "; " + ", ".join(f"{by_value.column} {v}: {p.words}" for v, p in by_value.periods.items())
    return f"{rule}; to the end of a working day ({policy.calendar})" if row and policy.extends else rule


def as_markdown(rows: Rows, policies: Policies) -> str:
    """A table of all rules, then a section a policy."""
    lines = [_HEAD, "| category | kept | source | carried out |", "|---|---|---|---|"]
    for one in _entries(rows, policies):
        when = one.policy and (one.policy.schedule or "when a person starts it")
        done = f"[{when}](#{one.category})" if when else one.carried_out
        lines.append(f"| {one.category} | {one.rule} | {one.source} | {done} |")
    for category, policy in policies.items():
        lines += ["", f"## {category}", "", *_section(policy, rows.get(category))]
    return "\n".join(lines) + "\n"


def _section(policy: Policy, row: ScheduleRow | None) -> Iterator[str]:
    records = (row.records if row else policy.description).rstrip(". ")
    if not records.casefold().startswith(policy.title.casefold()):
        records = f"{policy.title}: {records}"
    yield f"{records[:1].upper()}{records[1:]}."
    yield ""
    yield f"* Kept: {rule_of(policy, row)}"
    yield f"* Legal basis: {policy.legal_basis} ({policy.source})"
    if policy.on_request is not None:
        yield f"* Before that, on request of the person: {', '.join(policy.on_request.erase)}"
    yield f"* Disposition: {policy.disposition}"
    yield f"* By itself, one run: at most {policy.limits.records:,} records and {policy.limits.share:.0%} of a dataset"
    yield f"* Owner: {policy.owner}"
    yield from (f"* Dataset `{one.name}`: `{one.location}` in `{one.store}`" for one in policy.datasets)


def as_csv(rows: Rows, policies: Policies) -> str:
    """The record of processing's column on erasure, a line a category."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_CSV)
    writer.writerows(_line(one) for one in _entries(rows, policies))
    return out.getvalue()


def _line(one: _Entry) -> list[str]:
    row, policy = one.row, one.policy
    where = "; ".join(f"{each.store}: {each.location}" for each in policy.datasets) if policy else ""
    dispositions = [policy.disposition] if policy else row.dispositions if row else []
    return [
        one.category,
        one.records,
        policy.legal_basis if policy else "",
        one.source,
        one.rule,
        " or ".join(dispositions),
        where,
        policy.owner if policy else "",
        one.carried_out,
    ]


def as_odcs(rows: Rows, policies: Policies) -> str:
    """Open Data Contract Standard, a document a policy: `slaProperties: retention` of each dataset's clock."""
    return yaml.safe_dump_all([_contract(policy, rows.get(name)) for name, policy in policies.items()], sort_keys=False)


def _contract(policy: Policy, row: ScheduleRow | None) -> dict[str, Any]:
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"lethe-{policy.category}",
        "name": policy.category,
        "version": policy.digest[:12],
        "status": "active",
        "description": {"purpose": policy.title, "limitations": rule_of(policy, row)},
        "schema": [{"name": one.name, "physicalName": one.location} for one in policy.datasets],
        "slaProperties": [
            {"property": "retention", **_value(period), "element": f"{one.name}.{_clock(one)}", "driver": "regulatory"}
            for one in policy.datasets
            if (period := _period(policy)) is not None
        ],
    }


def as_dbt(rows: Rows, policies: Policies) -> str:
    """Properties of dbt: the `meta` of the models that are tables with a policy; a list where a table has several."""
    told: dict[str, list[dict[str, str]]] = {}
    for category, policy in policies.items():
        for one in policy.datasets:
            if isinstance(one, TableDataset):
                told.setdefault(name_parts(one.table)[-1], []).append(_meta(policy, one, rows.get(category)))
    models = [
        {"name": name, "config": {"meta": {"retention": each[0] if len(each) == 1 else each}}}
        for name, each in told.items()
    ]
    return yaml.safe_dump({"version": 2, "models": models}, sort_keys=False)


def _meta(policy: Policy, dataset: TableDataset, row: ScheduleRow | None) -> dict[str, str]:
    period = _period(policy)
    told = {"category": policy.category, "rule": rule_of(policy, row), "clock": _clock(dataset), "owner": policy.owner}
    return {**told, "period": str(period)} if period is not None else told


def against(path: Path, policies: Policies) -> Iterator[str]:
    """Where a file of data contracts or of dbt's properties declares another retention than the policies.

    Raises:
        PolicyError: if the file is neither.
    """
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}): name another file") from None
    except (ValueError, yaml.YAMLError) as error:
        raise PolicyError(f"{path.name}: cannot be read as YAML ({type(error).__name__}): correct it") from None
    declared = [found for one in documents for found in _declared(one, path.name)]
    kept: dict[str, list[Policy]] = {}
    for policy in policies.values():
        for name in dict.fromkeys(name for one in policy.datasets for name in _names(one)):
            kept.setdefault(name, []).append(policy)
    for name, period in declared:
        if name not in kept:
            yield f"{path.name}: {name} is kept for {period}, and no policy has it: add it to one"
        elif period not in map(_period, kept[name]):
            said = " and ".join(f"{policy.category}.yaml says {policy.rule}" for policy in kept[name])
            yield f"{path.name}: {name} is kept for {period}; {said}"


def _declared(document: object, where: str) -> Iterator[tuple[str, Period]]:
    """(name of the table, period) of all that a document declares."""
    content = document if isinstance(document, Mapping) else {}
    if content.get("kind") == "DataContract":
        physical = {one.get("name"): one.get("physicalName") or one.get("name") for one in content.get("schema") or ()}
        for one in content.get("slaProperties") or ():
            if one.get("property") == "retention":
                name = str(one.get("element", "")).partition(".")[0]
                yield str(physical.get(name, name)), _of_value(one, where)
    elif "models" in content or "sources" in content:
        sources = content.get("sources") or ()
        tables = [*(content.get("models") or ()), *(one for source in sources for one in source.get("tables") or ())]
        for one in tables:
            meta = (one.get("config") or {}).get("meta") or one.get("meta") or {}
            told = meta.get("retention") or {}
            for period in (each.get("period") for each in (told if isinstance(told, list) else [told])):
                if period is not None:
                    yield str(one.get("name")), _parsed(str(period), where)
    else:
        raise PolicyError(
            f"{where}: is neither a data contract (kind: DataContract) nor dbt's properties (models): name one"
        )


def _names(dataset: Dataset) -> Iterator[str]:
    """What others call it."""
    yield dataset.location
    if isinstance(dataset, TableDataset):
        yield name_parts(dataset.table)[-1]


def _value(period: Period) -> dict[str, object]:
    number, unit = period.words.split()
    return {"value": int(number), "unit": unit if unit.endswith("s") else f"{unit}s"}


def _of_value(written: Mapping[str, Any], where: str) -> Period:
    unit = str(written.get("unit", "")).lower()
    letter = {"d": "D", "m": "M", "y": "Y"}.get(unit[:1])
    if letter is None or unit.startswith("min"):
        raise PolicyError(f"{where}: retention: the unit {unit!r} is not days, months or years: write one of them")
    return _parsed(f"P{written.get('value')}{letter}", where)


def _parsed(text: str, where: str) -> Period:
    try:
        return Period.parse(text)
    except ValueError as error:
        raise PolicyError(f"{where}: retention: {error}") from None


def _period(policy: Policy) -> Period | None:
    return policy.retention.keep_for or policy.retention.erase_within


def _clock(dataset: Dataset) -> str:
    columns = getattr(dataset.clock, "columns", ())
    return str(columns[0]) if columns else "key"


FORMATS = {"md": as_markdown, "csv": as_csv, "odcs": as_odcs, "dbt": as_dbt}
