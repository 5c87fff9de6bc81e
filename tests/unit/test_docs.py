"""What the documentation shows is what there is."""

from __future__ import annotations

import re
import shlex
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from lethe.cli import app
from lethe.policy import load, parse


def test_the_policy_in_the_readme_is_the_one_that_runs(root: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert example is not None
    assert parse(example[1], where="README.md") == load(root / "include" / "policies" / "logistics.yaml")


def test_links_lead_somewhere(root: Path) -> None:
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    assert root / "README.md" in pages
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(root)} links to {target}"


DECISION = re.compile(
    r"# (?P<number>\d{4}) (?P<title>[^\n]+)\n\n"
    r"\* Date: (?P<date>\d{4}-\d\d-\d\d)\n"
    r"\* Status: (?:accepted|superseded by (?P<later>\d{4}))\n"
    + "".join(rf"\n## {part}\n\n[^#\n](?:(?!\n## ).)*\n" for part in ("Context", "Decision", "Consequences")),
    re.DOTALL,
)


def decisions_without_form(folder: Path) -> list[str]:
    """What is wrong with the form of the decisions in a folder, or with their index."""
    files = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    read = {path: DECISION.fullmatch(path.read_text()) for path in files}
    wrong = [f"{path.name} has not the form that README.md describes" for path, found in read.items() if not found]
    wrong += [f"{path.name} is number {found['number']}" for path, found in read.items()
              if found and not path.name.startswith(f"{found['number']}-")]  # fmt: skip
    numbers = [path.name[:4] for path in files]
    wrong += [f"{number} is there twice" for number in numbers if numbers.count(number) > 1]
    wrong += [f"{path.name} is superseded by nothing" for path, found in read.items()
              if found and found["later"] and found["later"] not in numbers]  # fmt: skip
    index = (folder / "README.md").read_text()
    wrong += [f"README.md has not the line: {line}" for path, found in read.items() if found
              if (line := f"* [{found['number']}]({path.name}) {found['title']}\n") not in index]  # fmt: skip
    return wrong


def test_decisions_have_a_date_and_a_status_and_stand_in_the_index(root: Path) -> None:
    assert decisions_without_form(root / "docs" / "decisions") == []
    for path in (root / "docs" / "decisions").glob("0*.md"):
        date.fromisoformat(path.read_text().split("* Date: ")[1][:10])


def test_a_decision_without_form_is_found(tmp_path: Path) -> None:
    parts = "## Context\n\nOne.\n\n## Decision\n\nTwo.\n\n## Consequences\n\nThree.\n"
    whole = f"# 0001 A title\n\n* Date: 2026-11-21\n* Status: accepted\n\n{parts}"
    (tmp_path / "README.md").write_text("* [0001](0001-a.md) A title\n")
    (tmp_path / "0001-a.md").write_text(whole)
    assert decisions_without_form(tmp_path) == []
    for broken in (
        whole.replace("accepted", "perhaps"),
        whole.replace("Two.\n", ""),
        whole.replace("* Date: 2026-11-21\n", ""),
        whole.replace("A title", "Another"),
        whole.replace("accepted", "superseded by 0009"),
        whole.replace("# 0001", "# 0002"),
    ):
        (tmp_path / "0001-a.md").write_text(broken)
        assert decisions_without_form(tmp_path), broken
    (tmp_path / "0001-a.md").write_text(whole)
    (tmp_path / "0001-b.md").write_text(whole)
    assert "0001 is there twice" in decisions_without_form(tmp_path)


def test_the_layout_in_the_architecture_is_there(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text()
    layout = re.search(r"```\ndags/.*?```", text, re.DOTALL)
    assert layout is not None
    for line in layout[0].splitlines()[1:-1]:
        name = line.split()[0]
        parent = root / "include" / "lethe" if line.startswith("  ") else root
        assert (parent / name).exists(), f"docs/architecture.md names {name}"


PAGES = ("README.md", "docs/setting-up.md", "docs/operating.md", "docs/runbook.md", "docs/writing-a-policy.md",
         "docs/evidence.md", "docs/architecture.md", "docs/hold-gate.md")  # fmt: skip
STAND_FOR = {"DATE": "2030-01-01", "DIGEST": "a" * 64, "…": "webinars"}
"""Words in commands that stand for a value of the reader's."""


def parse_command(line: str) -> None:
    """Parse a command as `lethe` would, down to the types of its options."""
    words = [STAND_FOR.get(word, word) for word in shlex.split(re.split(r" [>|] ", line)[0], comments=True)]
    command = get_command(app)
    name, rest = words[0], words[1:]
    while hasattr(command, "commands") and rest:
        name, rest = rest[0], rest[1:]
        assert name in command.commands, f"{line}: there is no {name}"
        command = command.commands[name]
    if not hasattr(command, "commands"):
        command.make_context(name, rest)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_docs_are_those_that_there_are(page: str, root: Path) -> None:
    text = (root / page).read_text()
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("lethe "):
                parse_command(line)
    for span in re.findall(r"`(lethe [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        try:
            parse_command(" ".join(span.split()))
        except typer.TyperException as error:  # in a sentence, a command may be named without its arguments
            assert "Missing" in error.format_message(), f"{page}: {span}: {error.format_message()}"


def test_a_command_that_there_is_not_is_found() -> None:
    with pytest.raises(typer.TyperException):
        parse_command('lethe hold place --matter DSR-42 --reason "Article 18" --account A-1001')
    with pytest.raises(AssertionError, match="there is no lift"):
        parse_command("lethe hold lift hold-1")
