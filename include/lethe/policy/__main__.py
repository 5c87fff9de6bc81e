"""`python -m lethe.policy` prints the JSON Schema of policy files."""

from __future__ import annotations

import json

from lethe.policy import json_schema

print(json.dumps(json_schema(), indent=2))  # noqa: T201 - the output of the command
