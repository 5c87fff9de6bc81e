"""SQL erasing in MariaDB against one hand-written DELETE with the same anti-join: ``python -m bench.mariadb``.

500,000 rows with an index on the clock, of which about 45 % have expired, 5,000 people held; a server with its own
defaults, from Debian's mariadb-server-core. Erasing in batches of at most 50,000 records, with their outcomes, takes at
most 1.5 times one DELETE in one transaction. Every repetition measures both once, on identical copies; the least count.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench import sql
from bench.run import met
from lethe_demo.servers import EmbeddedMariaDB

ROWS = 500_000
TARGET = 1.5

_TEXTS = sql.Texts(
    source=(
        """
CREATE TABLE source AS SELECT seq AS id, concat('Person ', seq) AS name,
  concat(' P', mod(seq * 7919, 1500000), '@Example', mod(seq * 7919, 500), '.com') AS email,
  concat('+420 ', 600000000 + mod(seq * 31, 199999999)) AS phone, concat('Company ', mod(seq, 90000)) AS company,
  timestamp('2024-01-01') + INTERVAL floor(rand(5) * 86400000) SECOND AS last_contact, repeat('x', 60) AS note
FROM seq_1_to_{rows}
""",
        "CREATE TABLE held (email VARCHAR(99) PRIMARY KEY) AS SELECT DISTINCT lower(trim(email)) AS email FROM source "
        "WHERE id <= 1500000 AND mod(id, floor({people} / {held})) = 0",
    ),
    copy=(
        "CREATE TABLE {name} (id BIGINT PRIMARY KEY, last_contact TIMESTAMP NOT NULL DEFAULT '2000-01-01', "
        "KEY (last_contact)) AS SELECT * FROM source WHERE id <= {rows}",
    ),
    settle=("ANALYZE TABLE {name}",),
    delete="DELETE FROM {name} WHERE last_contact < '{cutoff:.19}' "
    "AND NOT EXISTS (SELECT 1 FROM held h WHERE h.email = lower(trim({name}.email)))",
)


def run(rows: int = ROWS, repetitions: int = sql.REPETITIONS) -> bool:
    """Measure, print, and say whether the target was met."""
    if not EmbeddedMariaDB.installed():
        print("there is no MariaDB on this machine (Debian's mariadb-server-core): nothing was measured")
        return True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, EmbeddedMariaDB(Path(folder)) as server:
        bench = sql.Bench(server, min(rows, ROWS), _TEXTS)
        for _ in range(repetitions):
            bench.one_delete()
            bench.run("5,000 held", bench.rows, bench.few)
    if len(bench.counts) != 1:
        print(f"the two erased different numbers of rows: {sorted(bench.counts)}")
        return False
    by_hand, erase = bench.least("one DELETE"), bench.least("erase, 5,000 held")
    discover = bench.least("discover, 5,000 held")
    print(f"{bench.rows:,} rows, {bench.counts.pop():,} erased: one DELETE {by_hand:.2f} s, erase {erase:.2f} s, "
          f"discover {discover:.2f} s ({discover / by_hand:.2f} times)")  # fmt: skip
    return met("erase / one DELETE", erase / by_hand, TARGET)


if __name__ == "__main__":
    sys.exit(sql.command(run, __doc__ or ""))
