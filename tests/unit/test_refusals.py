"""Refuse first, and say what comes next: every refusal ends with what to do about it, as a stranger would need it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli_kit import AS_OF, POLICY, Command

from lethe import errors

LIBRARY = Path(errors.__file__).parent
ASKED = [
    *sorted((LIBRARY / "cli").glob("*.py")),
    *sorted((LIBRARY / "evidence").glob("*.py")),
    *sorted((LIBRARY / "holds").glob("*.py")),
    *sorted((LIBRARY / "governance").glob("*.py")),
    *sorted((LIBRARY / "checks").glob("*.py")),
    *sorted(LIBRARY.glob("*.py")),
    LIBRARY / "stores" / "__init__.py",
    *(LIBRARY / "airflow" / f"{name}.py" for name in ("operators", "approval", "as_of", "pages", "ui", "connections")),
]
ADVICE = re.compile(
    r"`[^`]+`|--[a-z]+|\b(add|ask|choose|clear|compare|correct|define|delete|end|find|free|give|grant|have|install|keep|leave|"
    r"look|make|mend|name|part|repeat|restore|run|save|say|see|set|start|take|trigger|try|use|wait|write)\b",
    re.IGNORECASE,
)
ELSEWHERE = ("evidence/signed.py", "evidence/proofs.py", "evidence/certificate.py")
"""What does not hold in a document: `lethe.cli.evidence` adds what to do, see below. So it is with an audit."""
RAISED = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {
    "BadParameter",
    "RunBusy",
    "RunClosed",
}


def refusals() -> Iterator[tuple[str, str]]:
    """(Place, text) of every error that is raised for a user, with … for what is filled in."""
    for path in ASKED:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            called = node.exc.func
            name = (
                called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            )
            if name in RAISED and str(path.relative_to(LIBRARY)) not in ELSEWHERE:
                yield f"{path.relative_to(LIBRARY)}:{node.lineno}", _text(node.exc.args[0])


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return "…"


@pytest.mark.parametrize(("place", "text"), [pytest.param(*one, id=one[0]) for one in refusals()])
def test_every_refusal_ends_with_what_to_do(place: str, text: str) -> None:
    end = re.split(r"[;:.] ", text.rstrip(". "))[-1]
    assert re.search(r"(^|, )…$", end) or ADVICE.search(end), (
        f"{place}: {text}"
    )  # what is filled in is a refusal from elsewhere


# --- and provoked, as strangers do ---------------------------------------------------------------------------

GOVERNANCE = "AIRFLOW_CONN_LETHE_GOVERNANCE"
WRONG: list[tuple[tuple[str, ...], dict[str, str | None], str]] = [
    (("run", "weddings"), {}, "choose from the categories there are: webinars"),
    (("run", "webinars", "--dataset", "guests"), {}, "no dataset 'guests'; choose from registrations"),
    (("run", "webinars", "--as-of", "2999-01-01T00:00:00+00:00"), {}, "give an earlier one, or leave it out"),
    (("run", "webinars", "--expect", "ab" * 32), {}, "`lethe run webinars --as-of "),
    (("run", "webinars"), {"LETHE_EXPECTATIONS": "/nowhere"}, "set LETHE_EXPECTATIONS to it, or make an empty one"),
    (("run", "webinars"), {"LETHE_HOME": "/proc/nowhere"}, "set LETHE_HOME to a folder that can be written"),
    (("run", "webinars"), {"AIRFLOW_CONN_LETHE_KEYS": None}, "set AIRFLOW_CONN_LETHE_KEYS"),
    (("run", "webinars"), {"AIRFLOW_CONN_LETHE_KEYS": "generic://x"}, "`lethe keys new` makes such a connection"),
    (("run", "webinars"), {"AIRFLOW_CONN_CRM": "{"}, "write AIRFLOW_CONN_CRM as JSON"),
    (("run", "webinars"), {"AIRFLOW_CONN_CRM": '{"conn_type": "sqlite"}'}, "the file's path as its host: give it"),
    (("policy", "check", "weddings"), {}, "choose from webinars"),
    (("policy", "check"), {"LETHE_POLICIES": "/nowhere"}, "or LETHE_POLICIES to theirs"),
    (("due",), {"LETHE_LEASE_SECONDS": "soon"}, "write a number of seconds from 4 to 60"),
    (("due",), {"LETHE_ASK_UNSEEN": "maybe"}, "write yes or no, or leave it out"),
    (("report",), {GOVERNANCE: None}, "set AIRFLOW_CONN_LETHE_GOVERNANCE"),
    (("report",), {GOVERNANCE: "mysql://x/y"}, "sqlite: give it that type"),
    (("report",), {GOVERNANCE: '{"conn_type": "sqlite", "host": "/proc/nowhere/g.db"}'}, "path of a file that can be"),
    (("report",), {GOVERNANCE: f'{{"conn_type": "sqlite", "host": "{__file__}"}}'}, "restore that from a backup"),
    (("report",), {GOVERNANCE: "postgres://u:p@127.0.0.1:1/g"}, "see whether it is up, and try again"),
    (("report", "x"), {}, "`lethe report` lists the latest"),
    (("report", "--category", "weddings"), {}, "choose from webinars"),
    (("policy", "history", "weddings"), {}, "choose from webinars"),
    (("policy", "register", "--against", "/nowhere.yaml"), {}, "name another file"),
    (("prove", "webinars.registrations", "1", "--run", "x"), {}, "`lethe report` lists the latest"),
    (("hold", "show", "x"), {}, "`lethe hold list` shows all"),
    (("hold", "place", "--matter", "M", "--reason", "r", "--file", "/nowhere.csv"), {}, "name another with --file"),
    (("hold", "place", "--matter", "M", "--reason", "r", "--file", "/proc"), {}, "name another with --file"),
    (("hold", "place", "--matter", "M", "--reason", "r", "--identifier", "cookie=c"), {}, "that they carry"),
    (("hold", "place", "--matter", "M", "--reason", "r", "--clock-from", "2026-01-02", "--clock-to", "2026-01-01"), {},
     "give an earlier --clock-from, or a later --clock-to"),
    (("hold", "place", "--matter", "M", "--reason", "r", "--category", "x"), {}, "or category.dataset"),
    (("certificate", "show", "x"), {}, "`lethe report` lists the runs"),
    (("certificate", "verify", "/nowhere.json"), {}, "name another file"),
    (("certificate", "verify", __file__), {}, "`lethe certificate show RUN --json FILE`"),
    (("proof", "verify", __file__), {}, "`lethe prove … --out FILE`"),
    (("certificate", "verify", __file__, "--public-key", __file__), {}, "`lethe keys public` prints one"),
    (("prove", "x.y", "1"), {}, "write category.dataset, as in the policies"),
    (("ledger", "verify", "--anchor", "s3://b/p"), {}, "name it with --connection"),
    (("ledger", "anchor", "/nowhere/anchors"), {}, "name another file"),
    (("ledger", "anchor", "ftp://b/p"), {}, "write one such as s3://bucket/prefix"),
    (("evidence", "expire"), {"LETHE_EVIDENCE_PERIOD": "x"}, "write an ISO 8601 duration"),
    (("evidence", "expire", "--before", "2999-01-01"), {}, "choose an earlier moment"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "surroundings", "end"), WRONG, ids=[" ".join(one[0])[:60] for one in WRONG])
def test_what_is_wrong_ends_in_one_message_with_what_to_do(
    lethe: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    surroundings: dict[str, str | None],
    end: str,
) -> None:
    for name, text in surroundings.items():
        if text is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, text)
    said = lethe(*arguments, exit_code=1)
    assert "defect" not in said
    assert end in " ".join(said.split("error: ", 1)[1].split())
    assert len(lethe.rows()) == 101


@pytest.mark.parametrize(
    "content",
    [b"category: [\n", b"\xff\xfe\x00", b"title: caf\xe9\n", b"", b"- 1\n", b"category: webinars\n"],
    ids=["broken", "bytes", "latin-1", "empty", "list", "half"],
)
def test_a_policy_that_cannot_be_read_is_one_message(lethe: Command, content: bytes) -> None:
    lethe.policy.write_bytes(content)
    for arguments in (("run", "webinars"), ("policy", "check"), ("due",)):
        said = lethe(*arguments, exit_code=1)
        assert "webinars.yaml" in said
        assert "defect" not in said


def test_above_the_limits_the_very_command_is_said(lethe: Command) -> None:
    """Only what was checked: somebody else can run just what is printed."""
    lethe.policy.write_text(POLICY.replace("records: 60", "records: 10"))
    said = " ".join(lethe("run", "webinars", "--as-of", AS_OF, exit_code=1).split())
    command = re.findall(r"`(lethe run [^`]*--approve-as NAME)`", said)[-1]
    assert "--expect " in command
    assert len(lethe.rows()) == 101
    lethe(*command.replace("NAME", "jan").split()[1:])
    assert len(lethe.rows()) == 51


@pytest.mark.parametrize("script", ["due > /dev/full", "due >&-", "hold find email - <&-", "report >&- 2>&-"])
def test_streams_that_are_full_or_closed_are_no_defect(lethe: Command, script: str) -> None:
    command = f"{sys.executable} -c 'from lethe.cli import main; main()' {script}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert "defect" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_is_written_to(lethe: Command) -> None:
    surroundings = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    for arguments in (["run", "webinars", "--dry-run"], ["hold", "list"], ["policy", "check"]):
        command = [sys.executable, "-c", "from lethe.cli import main; main()", *arguments]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (("clocks", "confirm", "now"), "TIME"),
        (("clocks", "confirm", AS_OF, "--by", "—"), "--by"),
        (("run", "webinars", "--by", " "), "--by"),
        (("run", "webinars", "--as-of", "now"), "--as-of"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(lethe: Command, arguments: tuple[str, ...], parameter: str) -> None:
    assert f"Invalid value for {parameter}: " in lethe(*arguments, exit_code=2)
    assert len(lethe.rows()) == 101


def test_help_that_cannot_be_printed_ends_in_one_message() -> None:
    command = [str(Path(sys.executable).with_name("lethe")), "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: the system says: No space left on device; mend that, and try again"
