"""Records that the database refuses to erase make a run red, with the name of what keeps them; all others are gone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from tests.unit.cli_kit import AS_OF, Command, cells


def test_a_run_with_blocked_records_is_red_and_names_what_keeps_them(lethe: Command) -> None:
    with closing(sqlite3.connect(lethe.warehouse)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER, registration INTEGER REFERENCES registrations (id))")
        connection.execute("INSERT INTO orders VALUES (1, 7), (2, 30), (3, 70)")
    assert "orders refer to registrations" in " ".join(lethe("policy", "check").split())
    text = lethe("run", "webinars", "--as-of", AS_OF, exit_code=1)
    assert lethe.rows() == {7, 30, *range(50, 101)}
    assert cells(text, "Erased")[-1] == "48"
    told = " ".join(text.split())
    assert (
        "2 kept, because rows that stay refer to them, a trigger keeps them, or their file cannot be rewritten" in told
    )
    assert "foreign key of orders (registration) of table orders" in told
    run = text.split("Run ", 1)[1].split(":", 1)[0]
    certificate = json.loads(lethe("certificate", "show", run))["certificate"]
    (dataset,) = certificate["datasets"]
    assert certificate["state"] == "failed"
    assert dataset["became"]["erased"] == 48
    assert "orders" in dataset["problem"]
    with closing(sqlite3.connect(lethe.warehouse)) as connection, connection:
        connection.execute("DELETE FROM orders WHERE registration = 7")
        connection.execute("DELETE FROM orders WHERE registration = 30")
    lethe("run", "webinars", "--as-of", AS_OF)
    assert lethe.rows() == set(range(50, 101))
