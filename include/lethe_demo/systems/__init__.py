"""The company's systems that have tables of their own, a module each: their schema, and what is in it."""

from __future__ import annotations

from lethe_demo.records import System
from lethe_demo.systems.helpdesk import HelpDesk
from lethe_demo.systems.hiring import Hiring

SYSTEMS: tuple[type[System], ...] = (Hiring, HelpDesk)
