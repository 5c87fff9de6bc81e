"""Where Lethe finds its files, and what else a machine may be told: one place, environment variables, defaults."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from lethe.errors import ParameterError

POLICIES_GROUP = "lethe.policies"
"""The entry point by which an installed package says that it has a company's policies: it names a package, in whose
folder are `policies/` and `expectations/`."""

_IN_PROJECT = Path("include", "policies")


def project() -> Path:
    """The project folder, with `dags/`, `include/policies/` and `expectations/`.

    What `LETHE_PROJECT` says; else Airflow's home, if there are policies in it; else the working directory or the
    nearest above it in which there are; else Airflow's home.
    """
    named = os.environ.get("LETHE_PROJECT")
    if named:
        return Path(named)
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed
        return home
    return next((folder for folder in (home, here, *here.parents) if (folder / _IN_PROJECT).is_dir()), home)


@cache
def _policy_package() -> Path | None:
    """The folder of the installed package that has policies, if there is one.

    Raises:
        ParameterError: if there are several, or it is not there.
    """
    named = sorted({entry.value for entry in entry_points(group=POLICIES_GROUP)})
    if len(named) > 1:
        raise ParameterError(
            f"several installed packages say that they have the policies ({POLICIES_GROUP}: {', '.join(named)}): "
            "uninstall all but one, or set LETHE_PROJECT"
        )
    if not named:
        return None
    try:
        spec = find_spec(named[0])
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ParameterError(f"entry point {POLICIES_GROUP} names {named[0]}, which is no package; name one")
    return Path(next(iter(spec.submodule_search_locations)))


def _folder(variable: str, default: Path) -> Path:
    said = os.environ.get(variable)
    return Path(said) if said else project() / default


def _packaged(variable: str, name: str, default: Path) -> Path:
    """What a variable says; else what an installed package has; else the project folder's."""
    if os.environ.get(variable) or os.environ.get("LETHE_PROJECT"):
        return _folder(variable, default)
    package = _policy_package()
    return package / name if package else _folder(variable, default)


DEAD_AFTER_SECONDS = 900.0
CLAIM_SECONDS = 60.0


def _seconds(variable: str, default: float, least: int, most: int) -> float:
    return _number(variable, default, least, most, "seconds")


def _hours(variable: str, default: float, least: int, most: int) -> timedelta:
    return timedelta(hours=_number(variable, default, least, most, "hours"))


def _number(variable: str, default: float, least: int, most: int, unit: str) -> float:
    text = os.environ.get(variable) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise ParameterError(f"{variable} is {text!r}; write a number of {unit} from {least} to {most}")
    return number


def _approvers() -> tuple[str, ...]:
    text = os.environ.get("LETHE_APPROVERS", "")
    named = tuple(entry.partition("=")[0].strip() for entry in text.split(",")) if text.strip() else ()
    if not all(named):
        raise ParameterError(
            "LETHE_APPROVERS has an entry without a name, and nothing is erased; write names or ids of Airflow's "
            "users, such as LETHE_APPROVERS=eva,jan, or leave it out"
        )
    return named


_CONN_ID = re.compile(r"[\w.\-]+")
_ADDRESS = re.compile(r"[^\s@,<>]+@[^\s@,<>]+")


def _listed(variable: str, form: re.Pattern[str], what: str) -> tuple[str, ...]:
    """What a variable lists, separated by commas; nothing where it is not set.

    Raises:
        ParameterError: if an entry does not have the form.
    """
    text = os.environ.get(variable, "")
    listed = tuple(dict.fromkeys(entry.strip() for entry in text.split(","))) if text.strip() else ()
    if not all(form.fullmatch(entry) for entry in listed):
        raise ParameterError(f"{variable} has an entry that is none of the {what}: write them with commas between them")
    return listed


def _ask_unseen() -> bool:
    text = os.environ.get("LETHE_ASK_UNSEEN") or "yes"
    if text not in ("yes", "no"):
        raise ParameterError(f"LETHE_ASK_UNSEEN is {text!r}; write yes or no, or leave it out (yes)")
    return text == "yes"


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders, times, and who may decide.

    Attributes:
        policies: the policy files (``LETHE_POLICIES``; else those of the installed package that has the entry point
            ``lethe.policies``; else ``include/policies`` of the project folder).
        expectations: what was added to the checks (``LETHE_EXPECTATIONS``, and so on: ``expectations``).
        dags: where Airflow reads DAG files (``AIRFLOW__CORE__DAGS_FOLDER``).
        home: what Lethe writes on this machine, such as Data Docs (``LETHE_HOME``).
        lease_seconds: how long a lease of the hold gate (on S3) lasts at most, 4 to 60 (``LETHE_LEASE_SECONDS``).
            After a killed erasure, placing a hold and erasing on wait for so long.
        dead_after_seconds: how long after its last sign of life a run keeps others of its category waiting, 10 to
            86,400 (``LETHE_DEAD_AFTER_SECONDS``). Whatever works on a run gives one fifteen times as often.
        claim_seconds: how long after its last sign of life a process that completes a run's record keeps others from
            it, 10 to 600 (``LETHE_CLAIM_SECONDS``).
        clock_tolerance: how far the clocks that a run compares may be apart, 5 s to an hour, 5 minutes where nothing is
            said (``LETHE_CLOCK_TOLERANCE``, in seconds). An as-of moment may not be after any of them at all.
        approvers: names or ids of Airflow's users whose answers count where a person is asked (``LETHE_APPROVERS``,
            separated by commas; an id may be followed by ``=`` and a name for people to read). Empty: of everybody
            who may edit task instances of the DAG. Never of who asked for the run.
        alerts: the Airflow connections by which somebody is told what needs them (``LETHE_ALERTS``, separated by
            commas): of type ``smtp``, ``slackwebhook`` or ``http``. Empty: nobody is told.
        alerts_to: the addresses that e-mails of alerts go to (``LETHE_ALERTS_TO``, separated by commas).
        overdue_after: how long after the time that its schedule says a category is overdue, 1 hour to a day
            (``LETHE_OVERDUE_HOURS``, 12): within a day, so that there is time before what is due is late.
        silent_after: how long after that time it is said once more that no run has succeeded, a day to a year
            (``LETHE_SILENT_HOURS``, 48).
        ask_unseen: whether a person is asked before a policy erases what nobody has seen in a dry run of just that
            policy, whatever its limits (``LETHE_ASK_UNSEEN``, yes or no).
    """

    policies: Path = field(default_factory=lambda: _packaged("LETHE_POLICIES", "policies", _IN_PROJECT))
    expectations: Path = field(
        default_factory=lambda: _packaged("LETHE_EXPECTATIONS", "expectations", Path("expectations"))
    )
    dags: Path = field(default_factory=lambda: _folder("AIRFLOW__CORE__DAGS_FOLDER", Path("dags")))
    home: Path = field(default_factory=lambda: _folder("LETHE_HOME", Path(".lethe")))
    lease_seconds: float = field(default_factory=lambda: _seconds("LETHE_LEASE_SECONDS", 30, 4, 60))
    dead_after_seconds: float = field(
        default_factory=lambda: _seconds("LETHE_DEAD_AFTER_SECONDS", DEAD_AFTER_SECONDS, 10, 86_400)
    )
    claim_seconds: float = field(default_factory=lambda: _seconds("LETHE_CLAIM_SECONDS", CLAIM_SECONDS, 10, 600))
    clock_tolerance: timedelta = field(
        default_factory=lambda: timedelta(seconds=_seconds("LETHE_CLOCK_TOLERANCE", 300, 5, 3600))
    )
    approvers: tuple[str, ...] = field(default_factory=_approvers)
    alerts: tuple[str, ...] = field(default_factory=lambda: _listed("LETHE_ALERTS", _CONN_ID, "ids of connections"))
    alerts_to: tuple[str, ...] = field(default_factory=lambda: _listed("LETHE_ALERTS_TO", _ADDRESS, "e-mail addresses"))
    overdue_after: timedelta = field(default_factory=lambda: _hours("LETHE_OVERDUE_HOURS", 12, 1, 24))
    silent_after: timedelta = field(default_factory=lambda: _hours("LETHE_SILENT_HOURS", 48, 24, 8760))
    ask_unseen: bool = field(default_factory=_ask_unseen)

    @property
    def data_docs(self) -> Path:
        """Where the pages of Great Expectations are written."""
        return self.home / "data_docs"
