"""The documentation that a DAG shows in Airflow's UI, made from its policy: rule, datasets and what to do when red."""

from __future__ import annotations

from lethe.checks.listed import Listed, listed
from lethe.policy import Dataset, Policy
from lethe.settings import Settings

_RUNBOOK = """\
### When a run is red

`certify` says which dataset is not done and why; its message is in the log of that task and in the run's record
(*Retention* in the menu). Nothing that was not checked has been erased, and running it again is harmless.

| what it says | what to do |
|---|---|
| a store does not answer | Nothing: it is retried. If it is red at last, clear `plan` once the store is back. |
| expectations do not hold | Read the dataset's Data Docs in the run's record. Correct data or policy, then run anew. |
| a person must approve, or did not | Look at *Required actions* of `approve`. No answer erases nothing. |
| Airflow does not say who that is | The run was cleared, by whom is not known. Trigger a new run. |
| being run by another run | Nothing: `plan` waits for it. |
| may not erase any more | The run is closed. Clear `plan` with everything after it, or trigger a new run. |
| something expired is left | It came in while the run was under way. Trigger a new run. |

To clear a run, clear **`plan` with its downstream tasks**. Clearing single tasks of a run that is closed does nothing.
Where a person has to approve, trigger a new run instead: one that was cleared only goes on within the limits.

### To see what would go

Trigger it with `dry_run`: it stops after validating, and `certify` prints the digest of what it found. A run that is
given that digest as `expect` erases exactly that, or nothing.
"""


def dag_docs(policy: Policy, settings: Settings) -> str:
    """The page of a category's DAG, in Markdown."""
    facts = {
        "Rule": policy.rule,
        "Source": policy.source,
        "Legal basis": policy.legal_basis,
        "Disposition": policy.disposition.value,
        "Owner": policy.owner,
        "Days are counted in": policy.time_zone,
        "Schedule": f"`{policy.schedule}`" if policy.schedule else "only by hand",
        "A person decides above": f"{policy.limits.records:,} records or {policy.limits.share:.0%} of a dataset",
    }
    lines = [f"## {policy.title}", "", policy.description.strip(), "", "| | |", "|---|---|"]
    lines += [f"| **{name}** | {_cell(value)} |" for name, value in facts.items()]
    lines += [
        "",
        "### Datasets",
        "",
        "| dataset | what | kind | where | connection | clock |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_dataset_row(dataset) for dataset in policy.datasets]
    lines += ["", "### What is checked", "", "| what | of what | when |", "|---|---|---|"]
    lines += [_check_row(check) for check in listed(policy, settings)]
    lines += ["", f"The policy is `include/policies/{policy.category}.yaml`.", "", _RUNBOOK]
    return "\n".join(lines)


def _check_row(check: Listed) -> str:
    what = _cell(check.what) if check.usable else f"**{_cell(check.what)}**"
    return f"| {what} | {check.of} | {check.when} |"


def _dataset_row(dataset: Dataset) -> str:
    cells = [dataset.name, dataset.title, dataset.kind, f"`{dataset.location}`", f"`{dataset.store}`", _clock(dataset)]
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _clock(dataset: Dataset) -> str:
    if dataset.kind != "objects":
        columns = ", ".join(f"`{column}`" for column in dataset.clock.columns)
        latest, earliest, event = dataset.clock.latest_of, dataset.clock.earliest_of, dataset.clock.event
        if event:
            return f"event `{event}` of {columns}"
        return f"latest of {columns}" if latest else f"earliest of {columns}" if earliest else columns
    clock = dataset.clock
    if clock.last_modified:
        return "last modification"
    return next(f"{kind} `{value}`" for kind in ("key", "tag", "metadata") if (value := getattr(clock, kind)))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
