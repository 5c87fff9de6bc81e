"""The messaging platform's store of customers' traffic: a partition a month, as such stores have it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from lethe_demo.records import HELD_PEOPLE, Family, Row, System, Table

_DAYS = 11 * 365 + 200


class Messaging(System):
    """What customers sent, by whom and how it was routed: never to whom."""

    database = "operations"
    tables_sql = """
CREATE TABLE traffic.customer_records (
    record_id bigint NOT NULL,
    sent_at timestamptz NOT NULL,
    account_no text NOT NULL,
    sender text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('sms', 'voice', 'viber', 'whatsapp')),
    seconds integer,
    route text NOT NULL,
    PRIMARY KEY (record_id, sent_at)
) PARTITION BY RANGE (sent_at);
CREATE TABLE traffic.customer_records_other PARTITION OF traffic.customer_records DEFAULT;
DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT generate_series(date '2014-01-01', date '2027-12-01', interval '1 month') LOOP
        EXECUTE format(
            'CREATE TABLE traffic.customer_records_%s PARTITION OF traffic.customer_records '
            'FOR VALUES FROM (%L) TO (%L)',
            to_char(month, 'YYYYMM'), month, month + interval '1 month'
        );
    END LOOP;
END $$;
"""
    indexes_sql = """
CREATE INDEX ON traffic.customer_records (sent_at);
"""

    @cached_property
    def records(self) -> Table:
        """Records of more than eleven years. The moment is in the key, so that there is none without."""
        rng = self.maker.rng("customer_records")
        expired, kept = self.maker.edge_moments("traffic_customers")
        planted = [(HELD_PEOPLE, expired), (HELD_PEOPLE + 1, kept), (16, expired)]
        rows: list[Row] = []
        about = []
        for n in range(1, max(200, self.maker.count(20_000)) + 1):
            whom, at = planted[n - 1] if n <= len(planted) else (self.maker.whom(rng), self.maker.moment(rng, _DAYS))
            person, kind = self.maker.people[whom], rng.choice(("sms", "sms", "voice", "viber", "whatsapp"))
            seconds = rng.randrange(1, 3_600) if kind == "voice" else None
            sender = person.phone if n % 3 else person.company.split()[0]
            rows.append((n, at, person.account, sender, kind, seconds, f"R{rng.randrange(1, 40):02d}"))
            about.append(whom)
        columns = ("record_id", "sent_at", "account_no", "sender", "kind", "seconds", "route")
        return Table("traffic.customer_records", columns, rows, about)

    @property
    def families(self) -> Sequence[Family]:
        """The records."""
        return (Family(self.database, ("traffic_customers.records",), self.records, key=2),)
