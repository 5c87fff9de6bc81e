"""Who is told something finds out what to do: each alert has a whole entry in the runbook, and each link resolves."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lethe.airflow import runbook
from lethe.alerts import Kind
from lethe.alerts.alert import anchor_of

PARTS = ["Cause", "Check", "Remedy"]


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
        assert re.findall(r"^\*\*(\w+)\.\*\*", body, re.M) == PARTS, anchor


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
