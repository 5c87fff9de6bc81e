"""What somebody on call is told: alerts as values, and the outbox that has each cause told once."""

from __future__ import annotations

from lethe.alerts.alert import Alert, Kind
from lethe.alerts.outbox import Outbox

__all__ = ["Alert", "Kind", "Outbox"]
