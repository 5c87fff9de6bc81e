"""What the documentation shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
