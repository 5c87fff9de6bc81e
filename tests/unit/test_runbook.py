"""Who is told something finds out what to do: each alert has a whole entry in the runbook, and each link resolves."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.unit.cli_kit import AS_OF, Command

from lethe.airflow import runbook
from lethe.alerts import Kind
from lethe.alerts.alert import anchor_of
from lethe.counts import Outcome
from lethe.errors import LetheError

PARTS = ["Cause", "Check", "Remedy"]
LIBRARY = Path(runbook.__file__).parents[1]


def errors_of(base: type[LetheError]) -> set[type[LetheError]]:
    """All kinds of an error that the library has."""
    for file in LIBRARY.rglob("*.py"):
        if "Error)" in file.read_text() and "airflow" not in file.parts:
            importlib.import_module(".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts))
    found = {base}
    for kind in base.__subclasses__():
        found |= errors_of(kind)
    return {kind for kind in found if kind.__module__.startswith("lethe.")}


def entries(text: str) -> dict[str, str]:
    """The entries of a runbook by their anchors."""
    found = re.split(r"^### (.+)$", re.sub(r"^## .+$", "", text, flags=re.M), flags=re.M)[1:]
    return {anchor_of(heading): body for heading, body in zip(found[::2], found[1::2], strict=True)}


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "runbook.md").read_text()


@pytest.mark.parametrize("kind", Kind)
def test_every_alert_has_an_entry(kind: Kind, text: str) -> None:
    assert kind.anchor in entries(text)


def test_every_entry_says_cause_check_and_remedy(text: str) -> None:
    for anchor, body in entries(text).items():
        parts = re.findall(r"^\*\*(\w+)\.\*\*", body, re.M)
        assert parts in (PARTS, ["Message", *PARTS]), anchor


def messages(folder: Path) -> set[str]:
    """All texts that the code of a folder may say; … for what is filled in."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_message_of_an_entry_is_one_that_lethe_says(text: str) -> None:
    said = messages(LIBRARY)
    quoted = [
        one for line in re.findall(r"^\*\*Message\.\*\* (.+)$", text, re.M) for one in re.findall('"(.+?)"', line)
    ]
    assert len(quoted) >= 20
    for message in quoted:
        assert any(message in one for one in said), message


def test_every_outcome_that_turns_a_run_red_has_an_entry(text: str) -> None:
    for outcome in Outcome:
        assert not outcome.red or f'"{outcome.words}"' in text


@pytest.mark.parametrize("error", sorted(errors_of(LetheError), key=str))
def test_every_kind_of_error_leads_to_an_entry(error: type[LetheError], text: str) -> None:
    """By its name, which is what Airflow shows of an error beside its message."""
    row = re.search(rf"^\| `{error.__name__}` \| \[[^]]+\]\(#([\w-]+)\) \|$", text, re.M)
    assert row is not None
    assert row[1] in entries(text) or row[1] == "messages"


CHANGES = ("governance upgrade", "hold enforce", "event withdraw", "subject cancel", "clocks confirm", "keys rotate")
"""Of these it is only tried that they are commands: `tests/unit/test_docs.py` does that with all."""


def commands(text: str) -> list[str]:
    """All commands of the runbook, once each."""
    blocks = re.findall(r"^(lethe .+)$", text, re.M)
    return list(dict.fromkeys([*blocks, *re.findall(r"`(lethe [^`]+)`", text)]))


def test_every_command_of_the_runbook_runs(lethe: Command, text: str) -> None:
    """On a small company with a run behind it, with which nothing is wrong."""
    lethe("run", "webinars", "--as-of", AS_OF)
    found = re.search(r"webinars-\d{8}t\d{6}-\w{6}", lethe("report"))
    assert found
    tried = 0
    for line in commands(text):
        spoken = line.removeprefix("lethe ").replace("CATEGORY", "webinars").replace("RUN", found[0])
        if not spoken.startswith(CHANGES):
            lethe(*shlex.split(spoken))
            tried += 1
    assert tried >= 8


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.anchors.append(str(value))
            if name == "href":
                self.links.append(str(value))


def test_every_link_of_the_page_resolves(text: str) -> None:
    page = Page(runbook.page())
    assert len(set(page.anchors)) == len(page.anchors), "two headings with one anchor"
    assert set(entries(text)) <= set(page.anchors)
    for link in page.links:
        assert link.startswith("#")
        assert link[1:] in page.anchors


def test_every_anchor_that_a_document_names_is_there(root: Path) -> None:
    for document in (root / "docs").glob("*.md"):
        for target, anchor in re.findall(r"\]\(([\w-]*(?:\.md)?)#([\w-]+)\)", document.read_text()):
            there = (root / "docs" / (target or document.name)).read_text()
            headings = [anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", there, re.M)]
            assert anchor in headings, f"{document.name} links to {target}#{anchor}"


def test_the_package_brings_the_runbook(text: str) -> None:
    assert runbook.FILE.read_text() == text
