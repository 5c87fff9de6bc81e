"""What all commands share: the console, errors as messages, the environment that they run in, and who runs them."""

from __future__ import annotations

import getpass
import os
import signal
import sys
import traceback
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from lethe.errors import LetheError, ParameterError
from lethe.people import is_a_name

if TYPE_CHECKING:
    from lethe.connections import Connection
    from lethe.environment import Environment

_WIDTH_OF_A_FILE = 180


def console() -> Console:
    """Standard output. Where that is no terminal, wide enough for tables not to be cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def say(text: str) -> None:
    """Print a line as it is."""
    console().print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print an error: one line on standard error, in red where that is a terminal."""
    typer.secho(f"error: {' '.join(text.split())}", err=True, fg=typer.colors.RED)


def complain_of(error: OSError) -> None:
    """Print what the system refused: a full disk, a folder without rights."""
    file = f" ({error.filename})" if isinstance(error.filename, str) else ""
    complain(f"the system says: {error.strerror or type(error).__name__}{file}; mend that, and try again")


class ErrorsAsMessages(TyperGroup):
    """A command group that ends in one message and exit code 1 where a command raises an error."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's context type is private
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LetheError as error:
            if _debugging(ctx):
                raise
            complain(str(error))
            raise typer.Exit(1) from None
        except (typer.TyperException, typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except OSError as error:  # a full disk, a folder without rights: the system's words hold nothing of a record
            if _debugging(ctx):
                raise
            complain_of(error)
            raise typer.Exit(1) from None
        except Exception as error:  # noqa: BLE001 - the last line before a terminal
            # Its text may hold what a driver was given: personal data. Its type and the lines it passed do not.
            if _debugging(ctx):
                typer.echo("".join(traceback.format_tb(error.__traceback__)), err=True)
            complain(f"Lethe has a defect: {type(error).__name__} {_place(error)}; `lethe --debug …` shows more")
            raise typer.Exit(1) from None


def _debugging(ctx: typer.Context) -> bool:
    return bool((ctx.obj or {}).get("debug"))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "somewhere"
    return f"in {Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"


def environment() -> AbstractContextManager[Environment]:
    """The environment of a command: connections from environment variables, else from Airflow where it is set up."""
    from lethe.environment import Environment

    return Environment(resolve)


def resolve(conn_id: str) -> Connection:
    """A connection by its id.

    Raises:
        ConnectionMissing: if it is defined neither in the environment nor in Airflow.
    """
    from lethe.connections import from_environment

    if f"AIRFLOW_CONN_{conn_id.upper()}" in os.environ or not _airflow_is_set_up():
        return from_environment(conn_id)
    from lethe.airflow.connections import resolve_outside_tasks

    return resolve_outside_tasks(conn_id)


def _airflow_is_set_up() -> bool:
    """Whether asking Airflow is worth the seconds that importing it takes."""
    if any(f"AIRFLOW__{name}" in os.environ for name in ("DATABASE__SQL_ALCHEMY_CONN", "SECRETS__BACKEND")):
        return True
    home = Path(os.environ.get("AIRFLOW_HOME") or Path.home() / "airflow")
    return (home / "airflow.cfg").exists() or (home / "airflow.db").exists()


def registry_name(env: Environment) -> str:
    """Where the hold registry is, without a password: a hold in another one than the runs read would not bind."""
    url = env.governance.url
    return type(url).create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()


def named(by: str | None) -> str:
    """Who does something: a name that was given, else the user's.

    Raises:
        BadParameter: if what was given names nobody.
    """
    if by is not None and not is_a_name(by):
        raise typer.BadParameter(f"{by!r} names nobody: say who does this", param_hint="--by")
    return by or user()


def require_known(env: Environment, category: str) -> None:
    """Refuse the name of a category that has no policy: nothing is found of one that is misspelt.

    Raises:
        ParameterError: naming those that there are.
    """
    if category not in env.policies:
        raise ParameterError(
            f"no run of {category} is on record, and it has no policy; choose from {', '.join(env.policies) or 'none'}"
        )


def user() -> str:
    """Who runs the command: the name of the operating system's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise typer.BadParameter("this user has no name here; say who you are with --by") from None


def moment(text: str | None, hint: str = "--as-of") -> datetime:
    """A moment: ISO 8601 with a time zone; now where none is given. `hint` names the parameter in messages."""
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is not a moment with a time zone: write one such as 2026-11-21T02:15:00+01:00",
            param_hint=hint,
        )
    return at
