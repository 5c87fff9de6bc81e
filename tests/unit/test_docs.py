"""What the documentation shows is what there is."""

from __future__ import annotations

import re
import shlex
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


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/operating.md", "docs/decisions.md"])
def test_links_lead_somewhere(page: str, root: Path) -> None:
    text = (root / page).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert ((root / page).parent / target).exists(), f"{page} links to {target}"


def test_the_layout_in_the_architecture_is_there(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text()
    layout = re.search(r"```\ndags/.*?```", text, re.DOTALL)
    assert layout is not None
    for line in layout[0].splitlines()[1:-1]:
        name = line.split()[0]
        parent = root / "include" / "lethe" if line.startswith("  ") else root
        assert (parent / name).exists(), f"docs/architecture.md names {name}"


PAGES = ("README.md", "docs/operating.md", "docs/writing-a-policy.md", "docs/evidence.md", "docs/architecture.md",
         "docs/hold-gate.md", "docs/decisions.md")  # fmt: skip
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
        for line in block.splitlines():
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
