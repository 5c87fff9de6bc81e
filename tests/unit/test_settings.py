"""What the environment may say, and what it is told when it says something else."""

from __future__ import annotations

import pytest

from lethe.errors import ParameterError
from lethe.settings import Settings


def test_a_lease_lasts_as_long_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_LEASE_SECONDS", raising=False)
    assert Settings().lease_seconds == 30
    monkeypatch.setenv("LETHE_LEASE_SECONDS", "12.5")
    assert Settings().lease_seconds == 12.5


@pytest.mark.parametrize("text", ["0", "3.9", "61", "-3", "nan", "soon"])
def test_a_lease_that_cannot_be_kept_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_LEASE_SECONDS", text)
    with pytest.raises(ParameterError, match=r"LETHE_LEASE_SECONDS is '.*'; .* seconds from 4 to 60"):
        Settings()


def test_approvers_are_named_or_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_APPROVERS", raising=False)
    assert Settings().approvers == ()
    monkeypatch.setenv("LETHE_APPROVERS", "eva, 7=Jan ,dana@example.org")
    assert Settings().approvers == ("eva", "7", "dana@example.org")


@pytest.mark.parametrize("text", [",", "eva,", "=Eva", "eva, ,jan"])
def test_approvers_that_name_nobody_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of nobody would let everybody answer."""
    monkeypatch.setenv("LETHE_APPROVERS", text)
    with pytest.raises(ParameterError, match="LETHE_APPROVERS has an entry without a name"):
        Settings()
