"""What the environment may say, and what it is told when it says something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lethe import settings
from lethe.errors import ParameterError
from lethe.settings import Settings


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Airflow's home, a project and a working directory; nothing is said."""
    for name in ("LETHE_PROJECT", "LETHE_POLICIES", "LETHE_EXPECTATIONS", "LETHE_HOME", "AIRFLOW__CORE__DAGS_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    for folder in ("airflow", "project/include/policies", "project/below"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.chdir(tmp_path)
    settings._policy_package.cache_clear()
    yield tmp_path
    settings._policy_package.cache_clear()


def places(found: Settings) -> tuple[Path, ...]:
    return found.policies, found.expectations, found.dags, found.home


def of(project: Path) -> tuple[Path, ...]:
    return project / "include/policies", project / "expectations", project / "dags", project / ".lethe"


def test_the_project_is_airflows_home_unless_something_else_is_said(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places(Settings()) == of(folders / "airflow")
    monkeypatch.chdir(folders / "project" / "below")
    assert places(Settings()) == of(folders / "project"), "at a shell, somewhere in the project"
    (folders / "airflow/include/policies").mkdir(parents=True)
    assert places(Settings()) == of(folders / "airflow"), "what Airflow runs, wherever the command is started"
    monkeypatch.setenv("LETHE_PROJECT", str(folders / "said"))
    assert places(Settings()) == of(folders / "said")
    monkeypatch.setenv("LETHE_POLICIES", str(folders / "mine"))
    assert Settings().policies == folders / "mine"


def registered(folder: Path, *packages: str) -> None:
    """Installed packages that say that they have policies; `packages` that are there, or not."""
    for package in packages:
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lethe.policies]\n{package} = {package}\n")


def test_a_package_may_have_the_policies(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(folders / "site", "acme_retention")
    (folders / "site/acme_retention").mkdir()
    (folders / "site/acme_retention/__init__.py").touch()
    monkeypatch.syspath_prepend(folders / "site")
    found = Settings()
    assert found.policies == folders / "site/acme_retention/policies"
    assert found.expectations == folders / "site/acme_retention/expectations"
    assert found.home == folders / "airflow/.lethe", "nothing is written beside a package"
    monkeypatch.setenv("LETHE_PROJECT", str(folders / "said"))
    assert places(Settings()) == of(folders / "said")


def test_two_packages_with_policies_or_one_that_is_not_there_are_refused(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(folders / "site", "acme_retention")
    monkeypatch.syspath_prepend(folders / "site")
    with pytest.raises(ParameterError, match="names acme_retention, which is no package"):
        Settings()
    registered(folders / "site", "other_retention")
    monkeypatch.syspath_prepend(folders / "site")
    with pytest.raises(ParameterError, match=r"acme_retention, other_retention\): uninstall all but one"):
        Settings()


def test_no_place_is_beside_the_library(folders: Path) -> None:
    library = Path(settings.__file__).parent
    assert not any(library.parents[1] in place.parents for place in places(Settings()))


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


def test_who_is_told_is_a_list_and_nobody_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LETHE_ALERTS", "LETHE_ALERTS_TO"):
        monkeypatch.delenv(name, raising=False)
    assert (Settings().alerts, Settings().alerts_to) == ((), ())
    monkeypatch.setenv("LETHE_ALERTS", "mail, hook,mail")
    monkeypatch.setenv("LETHE_ALERTS_TO", "a@example.org")
    assert (Settings().alerts, Settings().alerts_to) == (("mail", "hook"), ("a@example.org",))


@pytest.mark.parametrize(
    ("variable", "text"),
    [("LETHE_ALERTS", "mail,"), ("LETHE_ALERTS", "a hook"), ("LETHE_ALERTS_TO", "eva"), ("LETHE_ALERTS_TO", "a@b,c")],
)
def test_who_cannot_be_told_is_refused(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ParameterError, match=f"{variable} has an entry that is none of the"):
        Settings()
