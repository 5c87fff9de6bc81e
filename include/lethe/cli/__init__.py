"""The `lethe` command: the same stages as in Airflow, without a scheduler, and the hold registry.

Exit codes: 0 done, 1 failed with a message, 2 wrong usage, 3 (of `lethe prove` and `lethe explain`) nothing is known of
the record. Modules that take long to import are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lethe.cli.clocks import clocks_app
from lethe.cli.coverage import coverage
from lethe.cli.evidence import certificate_app, evidence_app, keys_app, ledger_app, proof_app, prove
from lethe.cli.explain import explain
from lethe.cli.forecast import forecast, survey
from lethe.cli.governance import governance_app
from lethe.cli.holds import hold_app
from lethe.cli.new import new
from lethe.cli.policies import policy_app
from lethe.cli.retention_events import event_app
from lethe.cli.runs import due, report, run
from lethe.cli.shell import ErrorsAsMessages, complain_of
from lethe.cli.simulate import simulate
from lethe.cli.subjects import subject_app

app = typer.Typer(
    name="lethe",
    cls=ErrorsAsMessages,
    help="Carry out the retention schedule: find what has expired, check it, erase it unless held, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, which may hold personal data
)


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    context.obj = {"debug": debug}


app.add_typer(policy_app, name="policy")
app.command()(new)
app.command()(due)
app.command()(survey)
app.command()(forecast)
app.command()(simulate)
app.command()(coverage)
app.command()(run)
app.add_typer(hold_app, name="hold")
app.add_typer(event_app, name="event")
app.add_typer(subject_app, name="subject")
app.command()(report)
app.add_typer(ledger_app, name="ledger")
app.add_typer(certificate_app, name="certificate")
app.command()(explain)
app.command()(prove)
app.add_typer(proof_app, name="proof")
app.add_typer(evidence_app, name="evidence")
app.add_typer(governance_app, name="governance")
app.add_typer(clocks_app, name="clocks")
app.add_typer(keys_app, name="keys")


def main() -> None:
    """Run the command, also where a caller has closed its streams."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the process's life
    try:
        app()
    except OSError as error:  # help that cannot be printed; what commands cannot print they say themselves
        complain_of(error)
        sys.exit(1)
