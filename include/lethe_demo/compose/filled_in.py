"""What `.env` would say: every variable of compose files, filled in as `.env.example` tells people to."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet

from lethe.keys import new_connection
from lethe_demo.compose.file import Variables, asked_for

ADMINISTRATOR, APPROVER = "admin", "approver"
"""Names of the users: the first starts runs, the second approves them."""


def filled_in(files: Sequence[Path]) -> Variables:
    """New secrets, names of users, and who owns the project's files.

    A secret begins with a hyphen, as one in 64 of what `.env.example` tells people to make does: no command may take it
    for an option.
    """
    said = {
        "AIRFLOW_UID": str(os.getuid()),
        "AIRFLOW_FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW_ADMIN_USER": ADMINISTRATOR,
        "AIRFLOW_APPROVER_USER": APPROVER,
        "LETHE_KEYS": new_connection(),
    }
    return said | {name: f"-{secrets.token_urlsafe(64)}" for name in asked_for(files) - said.keys()}
