"""What commands show as tables, for those who work on with it: as CSV, JSON or Parquet, by pandas."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lethe.errors import ParameterError
from lethe.spreadsheets import harmless

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, str | int | bool | date | datetime | None]


class Form(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


As = Annotated[Form, typer.Option("--format", help="A table to read; or the figures alone, for a file or a program.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where --format csv, json or parquet is written.")
]


def check_output(form: Form, output: Path | None) -> None:
    """Refuse what cannot be written, before anything is asked of a store.

    Raises:
        ParameterError: if a table is to go to a file, or Parquet to a terminal.
    """
    if form is Form.TABLE and output is not None:
        raise ParameterError("a table goes to no file: add --format csv, json or parquet, or leave out --output")
    if form is Form.PARQUET and output is None and sys.stdout.isatty():
        raise ParameterError("Parquet is not for a terminal: name a file with --output")


def write(rows: Sequence[Row], columns: Mapping[str, type], form: Form, output: Path | None) -> None:
    """Write rows as a file, or to standard output. Times are in UTC; what is not there is empty, not zero."""
    frame = _frame(rows, columns)
    if form is Form.PARQUET:
        content = frame.to_parquet(index=False)
    elif form is Form.JSON:
        days = {name: frame[name].astype("string") for name, kind in columns.items() if kind is date}
        text = frame.assign(**days).to_json(orient="records", date_format="iso", date_unit="us", force_ascii=False)
        content = f"{text}\n".encode(errors="backslashreplace")
    else:
        texts = {name: frame[name].map(harmless, na_action="ignore") for name, kind in columns.items() if kind is str}
        content = frame.assign(**texts).to_csv(index=False, lineterminator="\n").encode(errors="backslashreplace")
    if output is not None:
        output.write_bytes(content)
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _frame(rows: Sequence[Row], columns: Mapping[str, type]) -> pd.DataFrame:
    """Rows with the types of their columns, also where there are none, and whole numbers that may be missing."""
    import pandas as pd

    types = {
        str: "string",
        int: "Int64",
        bool: "boolean",
        datetime: "datetime64[us, UTC]",
        date: "date32[day][pyarrow]",
    }
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=types[kind]) for name, kind in columns.items()}
    )
