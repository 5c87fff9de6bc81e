"""The formats of files with rows in them. A new one is a module (or folder) and a line in `REGISTRY`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lethe.stores.files.formats.base import Format

REGISTRY: dict[str, str] = {
    "parquet": "lethe.stores.files.formats.parquet.reading:Parquet",
    "jsonlines": "lethe.stores.files.formats.jsonlines.reading:JsonLines",
}
"""Kind of dataset → ``module:class``. Modules are imported when first needed, so that DAG files parse fast."""


@cache
def format_of(kind: str) -> Format:
    """The format of the files of datasets of a kind."""
    module, _, name = REGISTRY[kind].partition(":")
    return cast("Format", getattr(import_module(module), name)())
