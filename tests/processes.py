"""Processes that tests kill or stop: forked from a server that has imported what they need.

There is one such server in a process of tests, whoever asks for it first, so what it imports stands in one place.
"""

from __future__ import annotations

import multiprocessing

processes = multiprocessing.get_context("forkserver")
"""Where processes that are killed are forked from: starting Python and importing takes a second or more each."""
processes.set_forkserver_preload(
    [
        *("pytest", "psycopg", "sqlalchemy.dialects.sqlite", "pyarrow.dataset", "boto3.s3.inject"),
        *("lethe.stages", "lethe.holding", "lethe.stores.sql", "lethe.stores.objects", "lethe.stores.files.store"),
        *("lethe.stores.files.formats.parquet.reading", "lethe.stores.files.formats.jsonlines.reading"),
        *(
            "lethe.stores.sql.dialects.postgresql",
            "lethe.stores.sql.dialects.sqlite",
            "lethe.stores.sql.dialects.mariadb",
        ),
        *("lethe.cli", "lethe.environment", "lethe.evidence.rotation"),
        *("tests.stores.contract.worlds", "tests.stores.leased_postgresql", "tests.stores.parquet_kit"),
        *("tests.unit.cli_kit", "tests.unit.conftest"),
        *("tests.faults.worlds", "tests.faults.test_kills", "tests.faults.test_holds"),
        "tests.preloaded",
    ]
)
