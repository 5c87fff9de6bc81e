"""A whole `lethe run` with its clock in a related row, against one with it in the row: ``python -m bench.related``.

PostgreSQL, 2,000,000 rows that lead to 200,000 others by a foreign key with an index, of which about 45 % have
expired, 5,000 people held. Both runs erase the same records; prints seconds stage by stage and their ratio, and ends
with exit code 1 where the run with the related clock takes more than 1.5 times the other. Every repetition measures
each once, on identical copies. The least of the repetitions count.
"""

from __future__ import annotations

import sys
from typing import Any

from bench import sql
from bench.run import LAST, STAGES, Command, met, recorded

TARGET = 1.5
RELATED_SHARE = 10
"""Records that lead to one row."""

_COMPANIES = """
CREATE TABLE companies AS SELECT g::bigint AS id, 'Company ' || g AS name, 'open' AS state,
  timestamptz '2024-01-01 00:00+00' + random() * interval '1000 days' AS last_contact
FROM generate_series(1, {companies}) g;
ALTER TABLE companies ADD PRIMARY KEY (id);
CREATE TABLE source_related AS SELECT s.id, s.name, s.email, s.phone, c.id AS company, s.note, c.last_contact
FROM source s JOIN companies c ON c.id = 1 + mod(s.id * 7, {companies});
"""
_COPY = """
DROP TABLE IF EXISTS leads;
CREATE TABLE leads AS SELECT * FROM source_related ORDER BY id;
ALTER TABLE leads ADD PRIMARY KEY (id), ADD FOREIGN KEY (company) REFERENCES companies;
CREATE INDEX ON leads (last_contact);
CREATE INDEX ON leads (company);
"""
_RELATED: dict[str, Any] = {
    "related": {"company": {"table": "companies", "foreign_key": ["company"], "references": ["id"]}},
    "clock": {"column": "company.last_contact"},
}


def run(rows: int = sql.ROWS, repetitions: int = sql.REPETITIONS) -> bool:
    """Measure, print, and say whether the target was met."""
    with recorded() as (folder, server, governance, records):
        bench = sql.Bench(server, rows)
        bench.do(_COMPANIES.format(companies=max(1, rows // RELATED_SHARE)))
        bench.do("VACUUM ANALYZE companies")
        commands = {}
        for category, changes in (("in the row", {}), ("related", _RELATED)):
            dataset = {**sql.DATASET, **changes}
            content = {**sql.POLICY, "time_zone": "UTC", "category": category.replace(" ", "_"), "datasets": [dataset]}
            commands[category] = Command(folder / content["category"], governance, [bench.connection, records], content)
            commands[category].hold(bench.few)
        took: dict[str, list[dict[str, float]]] = {category: [] for category in commands}
        counts = set()
        for _ in range(repetitions):
            for category, command in commands.items():
                bench.do(_COPY)
                bench.do("VACUUM ANALYZE leads")
                bench.do("CHECKPOINT")
                seconds, erased = command.run()
                took[category].append(seconds)
                counts.add(erased)
    if len(counts) != 1:
        print(f"the two erased different numbers of records: {sorted(counts)}")
        return False
    return _report(counts.pop(), took)


def _report(erased: int, took: dict[str, list[dict[str, float]]]) -> bool:
    own, related = (min(runs, key=lambda run: sum(run.values())) for runs in took.values())
    print(f"\n{erased:,} records erased\n{'seconds':20}{'in the row':>12}{'related':>12}")
    for stage in [*STAGES.values(), LAST]:
        print(f"{stage:20}{own[stage]:12.2f}{related[stage]:12.2f}")
    whole = [sum(one.values()) for one in (own, related)]
    print(f"{'whole':20}{whole[0]:12.2f}{whole[1]:12.2f}")
    return met("related / in the row", whole[1] / whole[0], TARGET)


if __name__ == "__main__":
    sys.exit(sql.command(run, __doc__ or ""))
