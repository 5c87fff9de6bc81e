"""Where Lethe finds its files: one place, environment variables, defaults for a checkout."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders.

    Attributes:
        policies: the policy files (``LETHE_POLICIES``).
        expectations: the Great Expectations suites (``LETHE_EXPECTATIONS``).
        home: what Lethe writes on this machine: Data Docs, and the governance database where it is the default
            SQLite one (``LETHE_HOME``).
    """

    policies: Path = field(default_factory=lambda: _folder("LETHE_POLICIES", _CHECKOUT / "include" / "policies"))
    expectations: Path = field(default_factory=lambda: _folder("LETHE_EXPECTATIONS", _CHECKOUT / "expectations"))
    home: Path = field(default_factory=lambda: _folder("LETHE_HOME", _CHECKOUT / ".lethe"))

    @property
    def data_docs(self) -> Path:
        """Where the pages of Great Expectations are written."""
        return self.home / "data_docs"
