"""Data Docs: a page a dataset and run with what its suites said, and an index of them.

Pages are made from `Validation` alone, which holds verdicts and counts and no value of a record, so no page can hold
one. Great Expectations' own pages are not used: they fetch scripts, styles and an image from eight hosts of third
parties whenever somebody looks at them, and show the statements that were run. A page of ours is one file that needs
nothing else, also where there is no network. `render` makes it from what the governance database has, wherever the
file is not at hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.checks.results import Validation
from lethe.errors import RunError
from lethe.settings import Settings
from lethe.stores.base import Work

if TYPE_CHECKING:
    from jinja2 import Template

BEFORE, AFTER = "before", "after"
_TITLES = {BEFORE: "The candidates, before erasing", AFTER: "The dataset, after erasing"}
_LISTED = 500
"""Runs that an index lists, the latest first."""


def docs_path(settings: Settings, category: str, run: str, dataset: str) -> Path:
    """Where the page of a dataset of a run is written."""
    return settings.data_docs / category / run / f"{dataset}.html"


def render(category: str, run: str, dataset: str, validations: Mapping[str, Validation]) -> str:
    """The page of a dataset of a run.

    Args:
        category: its category.
        run: the run's id.
        dataset: its name.
        validations: what was said `BEFORE` and `AFTER` erasing; either may be missing.
    """
    checks = [(title, validations[when]) for when, title in _TITLES.items() if when in validations]
    return _template("page.html.j2").render(category=category, run=run, dataset=dataset, checks=checks)


def write(settings: Settings, work: Work, when: str, validation: Validation) -> Path:
    """Write, or complete, the page of a dataset of a run, and bring the category's index up to date.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        return _write(settings, work, when, validation)
    except OSError as error:
        raise RunError(
            f"{work.category}.{work.dataset.name}: its page cannot be written to {settings.data_docs} "
            f"({type(error).__name__}); set LETHE_HOME to a folder that can be written"
        ) from None


def _write(settings: Settings, work: Work, when: str, validation: Validation) -> Path:
    page = docs_path(settings, work.category, work.run, work.dataset.name)
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page.with_suffix(f".{when}.json"), validation.model_dump_json())
    known = {name: _read(page.with_suffix(f".{name}.json")) for name in _TITLES}
    validations = {name: one for name, one in known.items() if one is not None} | {when: validation}
    _replace(page, render(work.category, work.run, work.dataset.name, validations))
    _write_index(settings.data_docs / work.category, work.category)
    return page


def _read(path: Path) -> Validation | None:
    try:
        return Validation.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _write_index(folder: Path, category: str) -> None:
    runs = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: entry.name, reverse=True)
    listed = [(run.name, sorted(page.stem for page in run.glob("*.html"))) for run in runs[:_LISTED]]
    _replace(folder / "index.html", _template("index.html.j2").render(category=category, runs=listed))


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)


def _replace(path: Path, text: str) -> None:
    """Write a file such that readers see either the old or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
