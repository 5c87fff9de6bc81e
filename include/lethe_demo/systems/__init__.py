"""The company's systems that have tables of their own, a module each: their schema, and what is in it."""

from __future__ import annotations

from lethe_demo.records import System
from lethe_demo.systems.billing import Billing
from lethe_demo.systems.customers import Customers
from lethe_demo.systems.helpdesk import HelpDesk
from lethe_demo.systems.hiring import Hiring
from lethe_demo.systems.letters import Letters
from lethe_demo.systems.messaging import Messaging
from lethe_demo.systems.newsletter import Newsletter
from lethe_demo.systems.purchasing import Purchasing
from lethe_demo.systems.research import Research
from lethe_demo.systems.surveys import Surveys

SYSTEMS: tuple[type[System], ...] = (
    Customers,
    HelpDesk,
    Hiring,
    Billing,
    Messaging,
    Letters,
    Research,
    Newsletter,
    Purchasing,
    Surveys,
)
