"""A whole `lethe run` with its clock in other tables, against one with it in the row: ``python -m bench.related``.

PostgreSQL, 2,000,000 rows that lead to 200,000 others by a foreign key with an index, of which about 45 % have
expired, 5,000 people held. Both runs erase the same records; prints seconds stage by stage and their ratio, and ends
with exit code 1 where the run with the related clock takes more than 1.5 times the other. Every repetition measures
each once, on identical copies. The least of the repetitions count.

And the same with the clock in many rows: 200,000 messages that refer to a tenth of the records, of which the latest
counts, against one without them; with the clock in the row the messages go along as well. Its ratio is no target.
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
_MESSAGES = """
DROP TABLE IF EXISTS messages;
CREATE TABLE messages AS SELECT g::bigint AS id, l.id AS lead, l.last_contact AS sent_at
FROM generate_series(1, {messages}) g JOIN leads l ON l.id = 1 + mod(g * 10, {rows});
ALTER TABLE messages ADD PRIMARY KEY (id), ADD FOREIGN KEY (lead) REFERENCES leads;
CREATE INDEX ON messages (lead);
"""
_ALONG = {"table": "messages", "foreign_key": ["lead"], "identifiers": {}}
_WITH_MESSAGES: dict[str, Any] = {"children": [_ALONG]}
_MANY: dict[str, Any] = {
    **_WITH_MESSAGES,
    "related": {
        "messages": {
            "table": "messages",
            "many": True,
            "foreign_key": ["lead"],
            "references": ["id"],
            "when_missing": "empty",
        }
    },
    "clock": {"latest_of": ["last_contact", "messages.sent_at"]},
}
_RELATED: dict[str, Any] = {
    "related": {"company": {"table": "companies", "foreign_key": ["company"], "references": ["id"]}},
    "clock": {"column": "company.last_contact"},
}


def run(rows: int = sql.ROWS, repetitions: int = sql.REPETITIONS) -> bool:
    """Measure, print, and say whether the target was met."""
    with recorded() as (folder, server, governance, records):
        bench = sql.Bench(server, rows)
        others = max(1, rows // RELATED_SHARE)
        bench.do(_COMPANIES.format(companies=others))
        bench.do("VACUUM ANALYZE companies")
        with_messages = [_COPY, _MESSAGES.format(messages=others, rows=rows), "VACUUM ANALYZE messages"]
        cases: dict[str, tuple[dict[str, Any], list[str]]] = {
            "in the row": ({}, [_COPY]),
            "related": (_RELATED, [_COPY]),
            "with messages": (_WITH_MESSAGES, with_messages),
            "many": (_MANY, with_messages),
        }
        commands = {}
        for category, (changes, _) in cases.items():
            dataset = {**sql.DATASET, **changes}
            content = {**sql.POLICY, "time_zone": "UTC", "category": category.replace(" ", "_"), "datasets": [dataset]}
            commands[category] = Command(folder / content["category"], governance, [bench.connection, records], content)
            commands[category].hold(bench.few)
        took: dict[str, list[dict[str, float]]] = {category: [] for category in commands}
        counts = set()
        for _ in range(repetitions):
            for category, command in commands.items():
                bench.do("DROP TABLE IF EXISTS messages")
                for statement in cases[category][1]:
                    bench.do(statement)
                bench.do("VACUUM ANALYZE leads")
                bench.do("CHECKPOINT")
                seconds, erased = command.run()
                took[category].append(seconds)
                counts.add(erased)
    if len(counts) != 1:
        print(f"they erased different numbers of records: {sorted(counts)}")
        return False
    return _report(counts.pop(), took)


def _report(erased: int, took: dict[str, list[dict[str, float]]]) -> bool:
    least = {name: min(runs, key=lambda run: sum(run.values())) for name, runs in took.items()}
    print(f"\n{erased:,} records erased\n{'seconds':20}" + "".join(f"{name:>15}" for name in least))
    for stage in [*STAGES.values(), LAST]:
        print(f"{stage:20}" + "".join(f"{one[stage]:15.2f}" for one in least.values()))
    whole = {name: sum(one.values()) for name, one in least.items()}
    print(f"{'whole':20}" + "".join(f"{seconds:15.2f}" for seconds in whole.values()))
    print(f"many / with messages: {whole['many'] / whole['with messages']:.2f}")
    return met("related / in the row", whole["related"] / whole["in the row"], TARGET)


if __name__ == "__main__":
    sys.exit(sql.command(run, __doc__ or ""))
