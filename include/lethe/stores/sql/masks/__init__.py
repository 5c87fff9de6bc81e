"""How columns are anonymised. A further way is a module here, and its name in `lethe.policy.masks.MaskKind`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from lethe.policy import MaskKind
from lethe.stores.sql.masks.base import Strategy


def strategy_of(kind: MaskKind) -> Strategy:
    """The strategy that policies call `kind`: the class `Masking` of the module of that name."""
    return cast("Strategy", import_module(f"{__name__}.{kind.value}").Masking())
