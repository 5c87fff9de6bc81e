"""Refuse first: a policy that is wrong ends in one clear message; one that is right means exactly what it says."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core._pydantic_core import list_all_errors

from lethe.cli.reference import reference
from lethe.errors import PolicyError
from lethe.judging.identifiers import IdentifierType
from lethe.policy import Condition, Policy, json_schema, load, load_all, overlaps, parse, policy_of
from lethe.policy.paths import steps_of

HERE = Path(__file__).parent
PRAGUE = ZoneInfo("Europe/Prague")

TABLE: dict[str, Any] = {
    "name": "registrations",
    "kind": "table",
    "store": "crm",
    "table": "marketing.registrations",
    "key": ["id"],
    "clock": {"column": "webinar_date"},
    "identifiers": {"email": ["email"]},
    "children": [{"table": "marketing.attendance", "foreign_key": ["registration_id"]}],
}
OBJECTS: dict[str, Any] = {
    "name": "scans",
    "kind": "objects",
    "store": "lake",
    "bucket": "badges",
    "prefix": "scans/",
    "clock": {"key": "/date=(?P<value>[^/]+)/"},
    "identifiers": {"event": {"key": "event=(?P<value>[^/]+)/"}},
}
PARQUET: dict[str, Any] = {
    "name": "views",
    "kind": "parquet",
    "store": "lake",
    "bucket": "lake-house",
    "prefix": "views/",
    "clock": {"column": "at", "format": "epoch_seconds", "time_zone": "UTC"},
    "partition_clock": "date=(?P<value>[0-9-]+)/",
}
RELATED: dict[str, Any] = {"table": "accounts", "foreign_key": ["account"], "references": ["id"]}
LINES: dict[str, Any] = {
    "name": "events",
    "kind": "jsonlines",
    "store": "lake",
    "bucket": "app-events",
    "prefix": "events/",
    "clock": {"column": "meta.at", "format": "epoch_seconds"},
    "identifiers": {"email": ["user.email", "participants[].email", '"a.b"."c\\"d"[][]']},
}
POLICY: dict[str, Any] = {
    "category": "webinars",
    "title": "Webinars",
    "owner": "marketing-data",
    "legal_basis": "Consent",
    "source": "§ 5.5",
    "retention": {"keep_for": "P18M"},
    "time_zone": "Europe/Prague",
    "schedule": "15 2 * * *",
    "limits": {"records": 1000, "share": 0.5},
    "datasets": [TABLE, OBJECTS, PARQUET],
}


def written(content: object) -> str:
    without_aliases = json.loads(json.dumps(content))
    return yaml.safe_dump(without_aliases, allow_unicode=True, sort_keys=False)


def changed(**fields: object) -> dict[str, Any]:
    return {**copy.deepcopy(POLICY), **fields}


def table(**fields: object) -> dict[str, Any]:
    return changed(datasets=[{**copy.deepcopy(TABLE), **fields}])


def without(content: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != field}


def refusal(content: object) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(content if isinstance(content, str) else written(content), where="webinars.yaml")
    message = str(caught.value)
    assert "\n" not in message.strip()
    assert message.startswith("webinars.yaml")
    return message


# --- the schedule ----------------------------------------------------------------------------------------------------

AS_OF = datetime(2026, 11, 21, 2, 15, tzinfo=PRAGUE)


MONDAY = datetime(2026, 11, 23, 2, 15, tzinfo=PRAGUE)
"""With a Saturday and a Sunday before it."""
BY_COUNTRY = {"column": "country", "periods": {"CZ": "P60D"}}


@pytest.mark.parametrize(
    ("retention", "by_default", "by_value"),
    [
        ({"keep_for": "P30D"}, date(2026, 10, 22), None),
        ({"keep_for": "P30D", "by_value": BY_COUNTRY}, date(2026, 10, 22), date(2026, 9, 22)),
        ({"by_value": BY_COUNTRY}, None, date(2026, 9, 22)),
        ({"erase_within": "P60D", "lead_time": "P5D"}, date(2026, 9, 29), None),
        (
            {"erase_within": "P60D", "lead_time": "P5D", "by_value": BY_COUNTRY},
            date(2026, 9, 29), date(2026, 9, 24),
        ),
        ({"at_once": True}, date(2026, 11, 24), None),
    ],
)  # fmt: skip
def test_a_calendar_extends_what_is_kept_for_a_period_and_nothing_else(
    retention: dict[str, Any], by_default: date | None, by_value: date | None
) -> None:
    policy = Policy.model_validate(changed(retention=retention, calendar="CZ", datasets=[TABLE]))
    without = Policy.model_validate(changed(retention=retention, datasets=[TABLE]))
    expiry = policy.expiry(MONDAY)
    assert (expiry.default.day if expiry.default else None) == by_default
    assert (expiry.by_value["CZ"].day if expiry.by_value else None) == by_value
    assert policy.extends == (expiry.label != without.expiry(MONDAY).label)
    assert policy.extends == ("working day (CZ)" in policy.rule) == ("and (4) with" in policy.counting)
    assert policy.digest != without.digest


def test_a_calendar_that_does_not_know_the_year_is_a_message() -> None:
    policy = Policy.model_validate(changed(calendar="CZ"))
    with pytest.raises(PolicyError, match="calendar: the public holidays of CZ are not known after 2100"):
        policy.expiry(datetime(2102, 1, 5, tzinfo=PRAGUE))


def test_no_holidays_are_loaded_where_no_calendar_is_declared() -> None:
    code = "import sys, lethe.policy, lethe.evidence.runs; assert 'holidays' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("category", "rule", "first_kept"),
    [
        ("webinars", "for 18 months", date(2025, 5, 21)),
        ("events", "for 3 years", date(2023, 11, 21)),
        ("logistics", "within 60 days, starting 5 days before", date(2026, 9, 27)),
        ("leads", "within 6 months, starting 7 days before", date(2026, 5, 28)),
        ("analytics", "for 25 months", date(2024, 10, 21)),
        ("accounts", "within 7 years, starting 14 days before", date(2019, 12, 5)),
        ("account_users", "for 1 year", date(2025, 11, 21)),
        ("agreements", "for 10 years; counted from the end of the year", date(2016, 1, 1)),
        ("invoices", "for 10 years; counted from the end of the year", date(2016, 1, 1)),
        ("support", "for 7 years", date(2019, 11, 21)),
        ("traffic_end_users", "for 1 year", date(2025, 11, 21)),
        ("traffic_customers", "for 10 years", date(2016, 11, 21)),
        ("suppliers", "for 7 years", date(2019, 11, 21)),
        ("supplier_agreements", "for 10 years", date(2016, 11, 21)),
        ("supplier_contacts", "within 1 year, starting 14 days before", date(2025, 12, 5)),
        ("newsletter", "at once", date(2026, 11, 22)),
        ("suppression", "at once", date(2026, 11, 22)),
        ("letters", "by country: CZ 3 years, DE 10 years, NO 5 years", None),
        ("market_research", "at once", date(2026, 11, 22)),
        ("ux_research", "by study: checkout-2024 6 months, onboarding-2025 1 year, panel 2 years", None),
        ("recruitment", "for 0 days", date(2026, 11, 21)),
        ("recruitment_prospects", "within 30 days, starting 3 days before", date(2026, 10, 25)),
        ("minors", "at once", date(2026, 11, 22)),
    ],
)
def test_every_rule_of_the_schedule_can_be_said(category: str, rule: str, first_kept: date | None) -> None:
    policy = load(HERE / "schedule" / f"{category}.yaml")
    expiry = policy.expiry(AS_OF)
    assert policy.retention.rule == rule
    assert (expiry.default.day if expiry.default else None) == first_kept


def test_the_schedule_is_complete_and_free_of_overlaps() -> None:
    assert len(load_all(HERE / "schedule")) == 23


def test_periods_by_value_are_cutoffs_by_value() -> None:
    expiry = load(HERE / "schedule" / "letters.yaml").expiry(AS_OF)
    assert expiry.default is None, "a country that is not listed cannot be judged"
    assert expiry.column == "country"
    assert {country: cutoff.day for country, cutoff in expiry.by_value.items()} == {
        "CZ": date(2023, 11, 21),
        "DE": date(2016, 11, 21),
        "NO": date(2021, 11, 21),  # the word, not false
    }


def test_a_lead_time_does_not_shorten_a_period_that_a_law_lengthened() -> None:
    retention = {
        "erase_within": "P60D",
        "lead_time": "P5D",
        "by_value": {"column": "country", "periods": {"DE": "P90D"}},
    }
    expiry = parse(written(changed(retention=retention, datasets=[TABLE])), where="x").expiry(AS_OF)
    assert expiry.default is not None
    assert (AS_OF.date() - expiry.default.day).days == 60 - 5
    assert (AS_OF.date() - expiry.by_value["DE"].day).days == 90


# --- what is refused, and in which words -----------------------------------------------------------------------------

REFUSED: list[tuple[str, object, str]] = [
    ("period", changed(retention={"keep_for": "18 months"}), "retention.keep_for: '18 months' is not a period"),
    ("mixed period", changed(retention={"keep_for": "P1M3D"}), "retention.keep_for: 'P1M3D' mixes months with days"),
    ("number as period", changed(retention={"keep_for": 18}), "retention.keep_for: is not a period"),
    ("no period at all", changed(retention={"keep_for": {"months": -1}}), "is not a period"),
    ("two rules", changed(retention={"keep_for": "P1M", "at_once": True}), "give exactly one of keep_for"),
    ("no rule", changed(retention={}), "retention: give exactly one of keep_for"),
    ("no lead", changed(retention={"erase_within": "P60D"}), "retention: erase_within needs a lead_time"),
    (
        "lead in months",
        changed(retention={"erase_within": "P6M", "lead_time": "P1M"}),
        "retention: lead_time must be days, at least P1D",
    ),
    (
        "no days of lead",
        changed(retention={"erase_within": "P6M", "lead_time": "P0D"}),
        "retention: lead_time must be days, at least P1D",
    ),
    (
        "negative lead",
        changed(retention={"erase_within": "P6M", "lead_time": "-P5D"}),
        "retention.lead_time: '-P5D' is not a period",
    ),
    (
        "lead as long as the period",
        changed(retention={"erase_within": "P1M", "lead_time": "P28D"}),
        "retention: lead_time must be shorter than the period",
    ),
    ("lead of keep_for", changed(retention={"keep_for": "P6M", "lead_time": "P5D"}), "keep_for has none"),
    (
        "at once from the end of the year",
        changed(retention={"at_once": True, "counted_from": "end_of_year"}),
        "at_once goes with neither by_value nor counted_from",
    ),
    ("unknown field", changed(retenton="P18M"), "retenton: unknown field"),
    ("unknown field of a dataset", table(kye=["id"]), "datasets.registrations.kye: unknown field"),
    ("time zone", changed(time_zone="Europe/Praha"), "time_zone: 'Europe/Praha' is not a time zone"),
    ("time zone of a machine", changed(time_zone="localtime"), "time_zone: 'localtime' is not a time zone"),
    ("leap seconds", changed(time_zone="right/UTC"), "time_zone: 'right/UTC' is not a time zone"),
    ("a path as zone", changed(time_zone="../../etc/passwd"), "is not a time zone"),
    ("calendar", changed(calendar="XX"), "calendar: 'XX' is not a calendar of public holidays: write the code of a"),
    ("calendar by name", changed(calendar="Czechia"), "(did you mean CZ"),
    ("calendar in lower case", changed(calendar="cz"), "(did you mean CZ"),
    ("no such part", changed(calendar="DE-BX"), "'DE-BX' is not a calendar of public holidays: write one of DE-BB"),
    ("no parts", changed(calendar="CZ-PR"), "write one of CZ alone"),
    ("offset as zone", changed(time_zone="+01:00"), "time_zone: '+01:00' is not a time zone"),
    ("cron", changed(schedule="every day"), "schedule: 'every day' is not a schedule: write five cron fields"),
    ("cron alias", changed(schedule="@daily"), "schedule: '@daily' is not a schedule"),
    ("cron with seconds", changed(schedule="0 15 2 * * *"), "is not a schedule"),
    ("cron that never comes", changed(schedule="0 0 30 2 *"), "schedule: '0 0 30 2 *' is a schedule that never comes"),
    ("no schedule said", without(POLICY, "schedule"), "schedule: is missing"),
    ("category", changed(category="Web Inars"), "category: 'Web Inars' is not possible: write lower-case letters"),
    (
        "limit of none",
        changed(limits={"records": 0, "share": 0.5}),
        "limits.records: is too small: write a number above 0",
    ),
    (
        "limit above all",
        changed(limits={"records": 1, "share": 1.5}),
        "limits.share: is too large: write a number up to 1",
    ),
    (
        "limit not a number",
        changed(limits={"records": "all", "share": 1}),
        "limits.records: is not a whole number: write one",
    ),
    (
        "limit of truth",
        changed(limits={"records": True, "share": 1}),
        "limits.records: is not a whole number: write one",
    ),
    ("no datasets", changed(datasets=[]), "datasets: has too little in it: write at least 1"),
    ("datasets as words", changed(datasets="all"), "datasets: is not a list: write one, such as [a, b]"),
    ("a dataset as a word", changed(datasets=["all"]), "datasets.0: has no fields: write name: value below it"),
    ("twice the same name", changed(datasets=[TABLE, TABLE]), "datasets: registrations is there twice"),
    (
        "unknown kind",
        table(kind="excel"),
        "datasets.registrations: kind 'excel' is not known: write table, objects, parquet or jsonlines",
    ),
    (
        "no kind",
        changed(datasets=[without(TABLE, "kind")]),
        "datasets.registrations: kind is missing: write table, objects, parquet or jsonlines",
    ),
    ("no key", changed(datasets=[without(TABLE, "key")]), "datasets.registrations.key: is missing"),
    ("an empty key", table(key=[]), "datasets.registrations.key: has too little in it: write at least 1"),
    ("a key with a column twice", table(key=["id", "id"]), "datasets.registrations: key names a column twice"),
    ("no table", changed(datasets=[without(TABLE, "table")]), "datasets.registrations.table: is missing"),
    ("a table in two words", table(table="my table"), "datasets.registrations.table: 'my table' is not the name of a"),
    ("no clock", changed(datasets=[without(TABLE, "clock")]), "datasets.registrations.clock: is missing"),
    ("clock as text", table(clock="webinar_date"), "datasets.registrations.clock: has no fields: write name"),
    (
        "empty clock",
        table(clock={}),
        "datasets.registrations.clock: give exactly one of column, latest_of, earliest_of and event",
    ),
    ("two clocks", table(clock={"column": "a", "latest_of": ["b", "c"]}), "give exactly one of column, latest_of"),
    (
        "latest of one",
        table(clock={"latest_of": ["a"]}),
        "clock: a alone has no latest and no earliest: write column: a, or name another one beside it",
    ),
    ("latest of the same", table(clock={"latest_of": ["a", "a"]}), "clock: names a column twice"),
    (
        "clock format",
        table(clock={"column": "a", "format": "dd.mm.yyyy"}),
        "clock.format: 'dd.mm.yyyy' is not known: write 'iso8601'",
    ),
    ("clock of another kind", table(clock={"key": "x"}), "clock.key: unknown field"),
    ("clock's zone", table(clock={"column": "a", "time_zone": "CEST"}), "clock.time_zone: 'CEST' is not a time zone"),
    (
        "object clock without its group",
        changed(datasets=[{**OBJECTS, "clock": {"key": "date=(.*)/"}}]),
        "datasets.scans.clock.key: the pattern needs a group named value",
    ),
    (
        "a week of a calendar year",
        changed(datasets=[{**OBJECTS, "clock": {"key": "(?P<year>[0-9]{4})-W(?P<week>[0-9]+)"}}]),
        "datasets.scans.clock.key: a week needs the year that it is counted in, as iso_year",
    ),
    (
        "a part of a date as an identifier",
        changed(datasets=[{**OBJECTS, "identifiers": {"event": {"key": "(?P<year>[0-9]{4})"}}}]),
        "datasets.scans.identifiers.event.key: the pattern needs a group named value",
    ),
    (
        "a date of parts as a condition",
        changed(
            datasets=[
                {**PARQUET, "path_columns": {"m": "(?P<year>[0-9]{4})/"}, "where": [{"column": "m", "in": ["2024"]}]}
            ]
        ),
        "datasets.views: where: m is made of the parts of a date in the key, which only a clock can be",
    ),
    (
        "periods by a date of parts",
        changed(
            retention={"by_value": {"column": "m", "periods": {"2024": "P1Y"}}},
            datasets=[{**PARQUET, "path_columns": {"m": "(?P<year>[0-9]{4})/"}}],
        ),
        "datasets.views: by_value.column m is made of the parts of a date",
    ),
    (
        "object clock that is no pattern",
        changed(datasets=[{**OBJECTS, "clock": {"key": "date=(?P<value>["}}]),
        "datasets.scans.clock.key: not a regular expression",
    ),
    (
        "object clock twice",
        changed(datasets=[{**OBJECTS, "clock": {"tag": "a", "last_modified": True}}]),
        "datasets.scans.clock: give exactly one of key, tag, metadata and last_modified",
    ),
    (
        "format of a last modification",
        changed(datasets=[{**OBJECTS, "clock": {"last_modified": True, "format": "epoch_seconds"}}]),
        "datasets.scans.clock: last_modified is a moment in UTC, to which format would say nothing: leave it out",
    ),
    (
        "zone of a last modification",
        changed(datasets=[{**OBJECTS, "clock": {"last_modified": True, "time_zone": "Europe/Prague"}}]),
        "datasets.scans.clock: last_modified is a moment in UTC, to which time_zone would say nothing: leave it out",
    ),
    (
        "format of parts of a date",
        changed(datasets=[{**OBJECTS, "clock": {"key": "(?P<year>[0-9]{4})/", "format": "year"}}]),
        "datasets.scans.clock: the key has the parts of a date, to which format would say nothing: leave it out",
    ),
    (
        "identifier type",
        table(identifiers={"passport": ["passport_no"]}),
        "datasets.registrations.identifiers.passport: 'passport' is not known: write 'email', 'phone'",
    ),
    (
        "identifier without columns",
        table(identifiers={"email": []}),
        "identifiers.email: has too little in it: write at least 1",
    ),
    ("country of telephone numbers", table(phone_region="Czechia"), "phone_region: 'Czechia' is not a country"),
    (
        "condition of nothing",
        table(where=[{"column": "a"}]),
        "where.0: give exactly one of in, not_in, is_null, before, after, below, above and like",
    ),
    (
        "a condition's empty list",
        table(where=[{"column": "a", "in": []}]),
        "where.0.in: has too little in it: write at least 1",
    ),
    (
        "an inexact number",
        table(where=[{"column": "a", "in": [2**53]}]),
        "9007199254740992 is too large to be exact: write it in quotes",
    ),
    (
        "children of children without references",
        table(children=[{"table": "a", "foreign_key": ["x"], "children": [{"table": "b", "foreign_key": ["y"]}]}]),
        "children.0: children of a child table need references",
    ),
    (
        "references that do not match",
        table(children=[{"table": "a", "foreign_key": ["x", "y"], "references": ["z"]}]),
        "children.0: foreign_key and references need the same number of columns",
    ),
    (
        "a related row that leads in a circle",
        table(related={"a": {**RELATED, "through": "b"}, "b": {**RELATED, "through": "a"}}),
        "datasets.registrations: related: a leads through b leads through a: a circle; begin at the record",
    ),
    (
        "a related row by way of none",
        table(related={"a": {**RELATED, "through": "b"}}),
        "related: a: through names b, which is none of related: name one that is",
    ),
    (
        "related rows without end",
        table(related={f"r{n}": {**RELATED, "through": f"r{n - 1}" if n else None} for n in range(9)}),
        "related: r8 leads through more than 8 rows",
    ),
    (
        "a related row by other columns than are named",
        table(related={"a": {**RELATED, "references": ["x", "y"]}}),
        "related.a: foreign_key and references need the same number of columns",
    ),
    (
        "children of another row",
        table(related={"a": RELATED}, children=[{"table": "b", "foreign_key": ["c"], "references": ["a.id"]}]),
        "children.b.references: a.id is of another row",
    ),
    (
        "many rows by way of another",
        table(related={"a": {**RELATED, "many": True, "through": "b"}, "b": RELATED}),
        "related.a: many rows refer to the record itself, by no other row: leave through out",
    ),
    (
        "a row by way of many",
        table(related={"a": {**RELATED, "through": "b"}, "b": {**RELATED, "many": True}}),
        "related: a: through names b, which are many rows: name one row that leads there",
    ),
    (
        "one clock of many rows",
        table(related={"a": {**RELATED, "many": True}}, clock={"column": "a.at"}),
        "clock: a.at is of many rows: write latest_of: [a.at], or earliest_of",
    ),
    (
        "an extreme of one value",
        table(related={"a": RELATED}, clock={"latest_of": ["a.at"]}),
        "clock: a.at alone has no latest and no earliest: write column: a.at, or name another one beside it",
    ),
    (
        "a condition on which records there are, of many rows",
        table(related={"a": {**RELATED, "many": True}}, where=[{"column": "a.state", "in": ["x"]}]),
        "where: a.state is of many rows, which only latest_of and earliest_of of the clock, keep_while and identifiers",
    ),
    (
        "periods by a value of many rows",
        {
            **table(related={"a": {**RELATED, "many": True}}),
            "retention": {"by_value": {"column": "a.country", "periods": {"CZ": "P3Y"}}},
        },
        "by_value.column: a.country is of many rows",
    ),
    ("a key of another row", table(related={"a": RELATED}, key=["a.id"]), "key: a.id is of another row"),
    (
        "a mask over another row",
        {**table(related={"a": RELATED}, masks=[{"column": "a.email"}]), "disposition": "anonymise"},
        "masks: a.email is of another row: name columns of",
    ),
    ("anonymising without masks", changed(disposition="anonymise", datasets=[TABLE]), "anonymising needs a table with"),
    ("masks without anonymising", table(masks=[{"column": "email"}]), "masks are for the disposition anonymise"),
    (
        "a mask that leaves an identifier",
        {**table(masks=[{"column": "name"}]), "disposition": "anonymise"},
        "datasets.registrations: masks leave email, which identifies a person",
    ),
    (
        "a mask over the key",
        {**table(masks=[{"column": "id"}, {"column": "email"}]), "disposition": "anonymise"},
        "masks: id is needed to find and judge the record",
    ),
    (
        "a constant without a value",
        table(masks=[{"column": "a", "with": "constant"}]),
        "give a value where a column is masked",
    ),
    ("anonymising objects", changed(disposition="anonymise", datasets=[OBJECTS]), "anonymising needs a table"),
    (
        "by_value of objects",
        changed(retention={"by_value": {"column": "c", "periods": {"CZ": "P1Y"}}}, datasets=[OBJECTS]),
        "datasets.scans: by_value needs rows with columns",
    ),
    ("text for a number", changed(title=2026), "title: 2026 is not text: write it in quotes"),
    ("nothing for a text", changed(title=""), "title: is too short: write at least 1"),
    ("null for a text", changed(owner=None), "owner: is not text: write a text"),
    ("a list", [POLICY], "a policy is a mapping of fields"),
    ("empty", "", "a policy is a mapping of fields"),
    ("a word", "webinars", "a policy is a mapping of fields"),
    ("not YAML", "category: [", "line 1: not YAML"),
    ("a tab", "category:\n\t- x", "line 2: not YAML"),
    ("a field twice", "category: a\ncategory: b\n", "line 2: not YAML: the field 'category' is there twice"),
    ("a field twice, deeper", "a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: not YAML: the field 'b' is there twice"),
    ("a list as a field", "? [a]\n: b\n", "line 1: not YAML: a key must be text"),
    ("an alias", "a: &x 1\nb: *x\n", "line 1: not YAML: anchors, aliases and tags are not used"),
    ("a tag", "a: !!python/object/apply:os.system [ls]\n", "line 1: not YAML: anchors, aliases and tags"),
    ("a bad tag", "a: !!timestamp x\n", "line 1: not YAML: anchors, aliases and tags"),
    ("two documents", "a: 1\n---\nb: 2\n", "not YAML: but found another document"),
    ("a control character", "a: \x07\n", "not YAML"),
    ("nesting without end", "[" * 20_000, "not YAML"),
    ("nesting to the edge", "a: " + "[" * 150 + "]" * 150, "unknown field"),
    ("too long", "a" * 1_000_001, "longer than 1,000,000 characters"),
]


@pytest.mark.parametrize(("content", "message"), [pytest.param(c, m, id=name) for name, c, m in REFUSED])
def test_what_is_wrong_is_said(content: object, message: str) -> None:
    assert message in refusal(content)


def test_all_that_is_wrong_is_said_at_once_but_not_without_end() -> None:
    message = refusal(changed(title="", owner="", time_zone="Nowhere"))
    assert all(field in message for field in ("title:", "owner:", "time_zone:"))
    many = refusal(changed(**{f"field_{n}": n for n in range(300)}))
    assert "and 280 more" in many
    assert len(many) < 3000


def test_an_alias_bomb_does_not_explode() -> None:
    bomb = "a0: &a0 {table: t, foreign_key: [x]}\n" + "".join(
        f"a{n}: &a{n} {{children: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
    )
    started = time.process_time()
    refusal(bomb)
    assert time.process_time() - started < 1


def test_children_nest_only_so_deep() -> None:
    child: dict[str, Any] = {"table": "t", "foreign_key": ["x"], "references": ["y"]}
    for _ in range(100):
        child = {"table": "t", "foreign_key": ["x"], "references": ["y"], "children": [child]}
    assert "children nest more than 8 deep" in refusal(table(children=[child]))


def test_words_stay_words_and_numbers_decimal() -> None:
    text = written(table(where=[{"column": "country", "in": ["@"]}])).replace("'@'", "NO\n    - on\n    - 010\n    - 7")
    (dataset,) = parse(text, where="x").datasets
    assert dataset.where[0].in_ == ("NO", "on", "010", 7)  # type: ignore[union-attr]


# --- files and folders -----------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "utf16.yaml").write_bytes(written(POLICY).encode("utf-16"))
    (tmp_path / "folder.yaml").mkdir()
    for name, message in {
        "utf16": "cannot be read as UTF-8 text",
        "folder": "cannot be read as UTF-8 text",
        "missing": "there is no such policy file",
        "nul\0": "cannot be read",
        "x" * 300: "cannot be read",
    }.items():
        with pytest.raises(PolicyError, match=message):
            load(tmp_path / f"{name}.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "webinars.yaml").write_bytes(written(POLICY).encode("utf-8-sig"))
    assert load(tmp_path / "webinars.yaml") == Policy.model_validate(POLICY)


def test_a_file_is_named_like_its_category(tmp_path: Path) -> None:
    (tmp_path / "seminars.yaml").write_text(written(POLICY))
    with pytest.raises(PolicyError, match=r"seminars.yaml: category is 'webinars'; name the file webinars.yaml"):
        load(tmp_path / "seminars.yaml")


def test_a_folder_without_policies_or_with_overlooked_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there are no policies"):
        load_all(tmp_path)
    (tmp_path / "webinars.yml").write_text(written(POLICY))
    with pytest.raises(PolicyError, match=r"webinars.yml: name it webinars.yaml"):
        load_all(tmp_path)


def overlap(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    return list(
        overlaps(
            [
                Policy.model_validate(changed(datasets=[one])),
                Policy.model_validate(changed(category="others", datasets=[two])),
            ]
        )
    )


def test_datasets_that_overlap_are_named() -> None:
    (message,) = overlap(TABLE, TABLE)
    assert message.startswith("webinars.yaml datasets.registrations and others.yaml datasets.registrations overlap")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {"table": "registrations"}),
        ({}, {"table": "Marketing.Registrations"}),
        ({}, {"table": "marketing.attendance"}),
        ({"where": [{"column": "a", "in": [1]}]}, {"where": [{"column": "a", "in": ["1"]}]}),
        ({"where": [{"column": "a", "in": ["x"]}]}, {"where": [{"column": "b", "in": ["y"]}]}),
        ({"where": [{"column": "a", "is_null": True}]}, {"where": [{"column": "a", "not_in": ["x"]}]}),
        ({"where": [{"column": "a", "not_in": ["x"]}]}, {"where": [{"column": "a", "in": ["x", "y"]}]}),
    ],
)
def test_tables_that_may_share_rows_overlap(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert overlap({**TABLE, **one}, {**TABLE, **two})
    assert overlap({**TABLE, **two}, {**TABLE, **one})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {"table": "sales.registrations"}),
        ({}, {"store": "another"}),
        ({"where": [{"column": "a", "in": ["x"]}]}, {"where": [{"column": "a", "in": ["y"]}]}),
        ({"where": [{"column": "a", "in": ["x"]}]}, {"where": [{"column": "a", "not_in": ["x", "y"]}]}),
        ({"where": [{"column": "a", "is_null": True}]}, {"where": [{"column": "a", "is_null": False}]}),
        ({"where": [{"column": "a", "is_null": True}]}, {"where": [{"column": "a", "in": ["x"]}]}),
    ],
)
def test_tables_that_cannot_share_rows_do_not_overlap(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert not overlap({**without(TABLE, "children"), **one}, {**without(TABLE, "children"), **two})


def test_conditions_on_related_rows_exclude_each_other_only_where_they_are_the_same_rows() -> None:
    """Two policies may have one name for two rows, of which a record leads to both."""

    def of(state: str, **changes: object) -> dict[str, Any]:
        where = [{"column": "account.state", "in": [state]}]
        return {**without(TABLE, "children"), "where": where, "related": {"account": {**RELATED, **changes}}}

    assert not overlap(of("a"), of("b"))
    assert overlap(of("a"), of("b", foreign_key=["other_account"]))
    assert overlap(of("a"), {**of("b"), "related": {}})
    by_way = {"account": {**RELATED, "through": "person"}, "person": RELATED}
    assert overlap({**of("a"), "related": by_way}, of("b"))


def test_rows_by_whose_latest_date_others_are_kept_go_by_no_policy_of_their_own() -> None:
    """What is left of them would let the others go early. The earliest only comes later."""
    many = {"messages": {"table": "crm.messages", "many": True, "foreign_key": ["of"], "references": ["id"]}}
    judged = {**without(TABLE, "children"), "related": many, "clock": {"latest_of": ["messages.at"]}}
    going = {**without(TABLE, "children"), "table": "messages"}
    for first, second in ((judged, going), (going, judged)):
        (message,) = overlap(first, second)
        assert "related.messages: its clock is the latest of the rows of crm.messages that are left" in message
    assert not overlap({**judged, "clock": {"earliest_of": ["messages.at"]}}, going)
    parts = [{**judged, "where": [{"column": "state", "in": [state]}]} for state in ("a", "b")]
    along = {"children": [{"table": "messages", "foreign_key": ["of"], "references": ["id"]}]}
    assert not [text for text in overlap(*({**one, **along} for one in parts)) if "related.messages" in text]
    assert not overlap({**judged, "store": "elsewhere"}, going)


@pytest.mark.parametrize(
    ("prefix", "other", "shared"),
    [("a/", "a/b/", True), ("", "a/", True), ("a", "ab/", True), ("a/", "b/", False), ("a/b/", "a/c/", False)],
)
def test_prefixes_overlap_where_one_begins_like_the_other(prefix: str, other: str, shared: bool) -> None:
    objects, parquet = {**OBJECTS, "prefix": prefix}, {**PARQUET, "bucket": OBJECTS["bucket"], "prefix": other}
    assert bool(overlap(objects, parquet)) == shared


values = st.none() | st.sampled_from(["x", "y", "z"])
conditions = st.one_of(
    st.builds(lambda v: {"column": "a", "in": v}, st.lists(st.sampled_from(["x", "y", "z"]), min_size=1)),
    st.builds(lambda v: {"column": "a", "not_in": v}, st.lists(st.sampled_from(["x", "y", "z"]), min_size=1)),
    st.builds(lambda v: {"column": "a", "is_null": v}, st.booleans()),
)


def meets(condition: Condition, value: str | None) -> bool:
    if condition.is_null is not None:
        return (value is None) == condition.is_null
    if condition.in_ is not None:
        return value in condition.in_
    return value not in (condition.not_in or ())


@given(one=conditions, two=conditions, value=values)
def test_conditions_that_exclude_each_other_share_no_value(
    one: dict[str, Any], two: dict[str, Any], value: str | None
) -> None:
    first, second = Condition.model_validate(one), Condition.model_validate(two)
    assert first.excludes(second) == second.excludes(first)
    if first.excludes(second):
        assert not (meets(first, value) and meets(second, value))


@settings(max_examples=50, deadline=None)
@given(condition=conditions, column=st.lists(values, min_size=1, max_size=8))
def test_files_mean_the_same_by_a_condition(condition: dict[str, Any], column: list[str | None]) -> None:
    import pyarrow as pa

    from lethe.judging.dates import Zones
    from lethe.stores.files.conditions import answer

    said = Condition.model_validate(condition)
    zone = ZoneInfo("Europe/Prague")
    found = answer(said, pa.array(column, pa.string()), Zones(zone, zone)).met
    assert list(found) == [meets(said, value) for value in column]


# --- the digest ------------------------------------------------------------------------------------------------------


def reordered(value: object) -> object:
    if isinstance(value, dict):
        return {name: reordered(item) for name, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def test_the_digest_is_of_the_meaning_and_not_of_the_writing() -> None:
    digest = parse(written(POLICY), where="x").digest
    assert parse(written(reordered(POLICY)), where="x").digest == digest
    assert parse("# a comment\n" + json.dumps(POLICY), where="x").digest == digest
    assert parse(written(changed(retention={"keep_for": "P1Y6M"})), where="x").digest == digest


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in paths(item, (*path, name))]
    if isinstance(value, list):
        return [found for n, item in enumerate(value) for found in paths(item, (*path, n))]
    return [path]


def at(content: Any, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - YAML
    for part in path:
        content = content[part]
    return content


def replaced(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    content = copy.deepcopy(POLICY)
    at(content, path[:-1])[path[-1]] = value
    return content


@pytest.mark.parametrize("path", paths(POLICY), ids=lambda path: ".".join(map(str, path)))
def test_any_change_changes_the_digest(path: tuple[str | int, ...]) -> None:
    others: dict[object, object] = {
        "P18M": "P19M",
        "Europe/Prague": "Europe/Berlin",
        "UTC": "Europe/Prague",
        "15 2 * * *": "16 2 * * *",
        0.5: 0.25,
        1000: 1001,
        "epoch_seconds": "year",
    }
    before = at(POLICY, path)
    if path[-1] == "kind":
        return
    other = others.get(before, f"{before}x" if "(?P" not in str(before) else f"{before}x?")
    assert Policy.model_validate(replaced(path, other)).digest != Policy.model_validate(POLICY).digest


def test_a_policy_survives_being_written_down() -> None:
    for path in sorted((HERE / "schedule").glob("*.yaml")):
        policy = load(path)
        dumped = policy.model_dump(mode="json", by_alias=True)
        assert Policy.model_validate(dumped) == policy
        assert parse(written(dumped), where="x").digest == policy.digest == Policy.model_validate(dumped).digest


# --- random policies -------------------------------------------------------------------------------------------------

junk: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(
        ["P18M", "P0D", "-P1D", "P99999D", "Europe", "(?P<value>", "a.b.c", "* * * * *", "table", "{", "[]"]
    )
    | st.sampled_from([2**53, -(2**63), 10**400, 1e308, float("inf"), "\ud800", "\x00", "NO", "a" * 5000]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=5,
)
BASES = [POLICY, *(yaml.safe_load(path.read_text()) for path in sorted((HERE / "schedule").glob("*.yaml")))]


def nodes(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [node for name, item in value.items() for node in nodes(item, (*path, name))]
    if isinstance(value, list):
        found += [node for n, item in enumerate(value) for node in nodes(item, (*path, n))]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:  # noqa: ANN401 - YAML
    """A valid policy, changed in a few places: a value replaced, a field dropped, renamed or added."""
    content = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(nodes(content) or [("category",)]))
        try:
            parent = at(content, path[:-1])
        except (KeyError, IndexError, TypeError):
            continue
        value = draw(junk | st.sampled_from(nodes(content)).map(lambda node: copy.deepcopy(at(content, node))))
        action = draw(st.sampled_from(["replace", "drop", "add"]))
        if action == "replace":
            parent[path[-1]] = value
        elif action == "drop":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = value
        else:
            parent.append(value)
    return content


def judged(text: str) -> Policy | None:
    """What the reader makes of a text: a policy that can be worked with, or None where it was refused."""
    try:
        policy = parse(text, where="random.yaml")
    except PolicyError as error:
        message = str(error)
        assert message.startswith("random.yaml")
        assert len(message) < 20_000
        message.encode()
        return None
    assert Policy.model_validate(policy.model_dump(mode="json", by_alias=True)).digest == policy.digest
    assert policy.retention.rule
    assert policy.expiry(AS_OF).zone.key == policy.time_zone
    list(overlaps([policy]))
    return policy


def test_a_message_can_be_printed_whatever_a_dataset_is_called() -> None:
    assert judged('{"category": "webinars", "datasets": [{"name": "\\ud800"}]}') is None


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=mutated())
def test_a_random_policy_is_accepted_or_refused_with_a_message(content: object) -> None:
    try:
        text = yaml.safe_dump(content, allow_unicode=True)
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    judged(text)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text() | st.from_regex(r"(a|-|:|\?|\[|\{|\]|\}|,| |\n|&|\*|!|'|\"|\||>|%|@|#|~|0){0,40}", fullmatch=True)
)
def test_random_text_is_refused_with_a_message(text: str) -> None:
    assert judged(text) is None


# --- wrong policies, each wrong in one place ------------------------------------------------------------------------

CONDITIONS: list[object] = [
    {"column": "a", "in": ["x", 1, True]},
    {"column": "b", "before": "2020-01-31", "format": "iso8601"},
    {"column": "b", "below": 1.5},
    {"column": "c", "like": "a%"},
    {"column": "d", "is_null": True},
]
CHILD = {"table": "y", "foreign_key": ["b"], "references": ["c"]}
EVERY_FIELD = [
    changed(
        retention={"keep_for": "P2Y", "counted_from": "end_of_year", "by_value": BY_COUNTRY},
        calendar="CZ",
        disposition="anonymise",
        datasets=[
            {
                **TABLE,
                "clock": {"latest_of": ["x", "y"], "format": "year", "time_zone": "UTC", "when_missing": "running"},
                "where": CONDITIONS,
                "keep_while": [{"column": "e", "not_in": ["x"]}, {"column": "e", "above": 2}],
                "masks": [{"column": "email", "with": "constant", "value": "x"}],
                "phone_region": "CZ",
                "children": [{**CHILD, "identifiers": {"email": ["e"]}, "phone_region": "CZ", "children": [CHILD]}],
            }
        ],
    ),
    changed(
        retention={"erase_within": "P60D", "lead_time": "P5D"},
        datasets=[
            {
                **PARQUET,
                "key": ["a"],
                "path_columns": {"c": "c=(?P<value>x)"},
                "identifiers": {"email": ["e"]},
                "clock": {"earliest_of": ["a", "b"]},
                "where": [{"column": "c", "in": ["x"]}],
            },
            {
                **OBJECTS,
                "clock": {"last_modified": True},
                "identifiers": {"event": {"tag": "e"}, "email": {"metadata": "m"}},
            },
        ],
    ),
    changed(
        retention={"at_once": True},
        datasets=[{**OBJECTS, "clock": {"tag": "t", "format": "iso8601", "time_zone": "UTC"}}],
    ),
]
PLACES = [(number, path) for number, content in enumerate(EVERY_FIELD) for path in nodes(content)]
WRONG: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    7,
    Decimal("1.5"),
    10**30,
    "",
    " ",
    "x",
    "a b",
    "12",
    "null",
    "\0",
    "(",
    "y" * 300,
    "P1Y",
]
WRONG += [
    "2026-01-01",
    [],
    [None],
    [1],
    ["x"],
    ["x", "x"],
    [[]],
    [{}],
    {},
    {"a": 1},
    {"column": None},
    {None: 1},
    {1: 2},
]
WRONG += [{True: "x"}, {"key": "(?P<value>x)"}, {"email": ["x"]}, {"email": None}, {"x": ["y"]}]
PYDANTICS = [re.sub(r"\\{.*?\\}", ".+", re.escape(one["message_template_python"])) for one in list_all_errors()]
"""All that pydantic may say, as regular expressions; what its validators say is what is raised in them."""
_FIXED = [one for one in PYDANTICS if not one.startswith((".+", "Value\\ error", "Assertion\\ failed"))]
NOT_OF_A_POLICY = re.compile(
    rf"(?i:{'|'.join(_FIXED)})|\b(tuple|dict|mapping|NoneType|None|True|False|Decimal|instance|input|isoformat)\b"
)
WHAT_TO_DO = re.compile(r"\b(write|give|leave|correct|name|add|say|mask|must|needs?|choose)\b")


def wrong_in_one_place(place: tuple[int, tuple[str | int, ...]], value: object, change: str) -> dict[str, Any]:
    content = copy.deepcopy(EVERY_FIELD[place[0]])
    parent = at(content, place[1][:-1])
    there = parent[place[1][-1]]
    if change == "replace" or not isinstance(there, dict | list):
        parent[place[1][-1]] = copy.deepcopy(value)
    elif change == "drop":
        del parent[place[1][-1]]
    elif isinstance(there, list):
        there.append(copy.deepcopy(value))
    else:
        there["zzz" if isinstance(value, dict | list) else value] = value
    return content


@pytest.mark.parametrize("content", EVERY_FIELD)
def test_policies_with_every_field_are_right(content: dict[str, Any]) -> None:
    assert policy_of(content, where="webinars.yaml")


@settings(max_examples=1500, deadline=None)
@given(
    place=st.sampled_from(PLACES),
    value=st.sampled_from(WRONG),
    change=st.sampled_from(["replace", "replace", "drop", "add"]),
)
def test_a_wrong_policy_is_refused_in_the_words_of_policies(
    place: tuple[int, tuple[str | int, ...]], value: object, change: str
) -> None:
    try:
        policy_of(wrong_in_one_place(place, value, change), where="webinars.yaml")
    except PolicyError as error:
        message = str(error)
        where, field, wrong = message.split(": ", 2)
        assert where == "webinars.yaml"
        assert field.split(".")[0] in Policy.model_fields or field.split(".")[0] in (
            "zzz",
            str(value),
            "null",
            "true",
            "false",
        )
        assert WHAT_TO_DO.search(wrong), message
        assert not NOT_OF_A_POLICY.search(message), message


# --- the JSON Schema -------------------------------------------------------------------------------------------------


def test_the_json_schema_for_editors_is_up_to_date(root: Path) -> None:
    written_down = json.loads((root / "include/policies/policy.schema.json").read_text())
    assert written_down == json_schema(), "run `lethe policy schema > include/policies/policy.schema.json`"


def test_editors_accept_the_policies_and_refuse_unknown_fields(root: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for folder in (root / "include/policies", HERE / "schedule"):
        for path in sorted(folder.glob("*.yaml")):
            content = yaml.safe_load(path.read_text().replace("NO:", "'NO':"))
            assert not list(validator.iter_errors(content)), path.name
    assert list(validator.iter_errors(changed(retenton=1)))


def test_the_policies_of_the_project_are_right(root: Path) -> None:
    policies = load_all(root / "include/policies")
    assert {"webinars", "events", "logistics", "leads", "analytics"} <= set(policies)


# --- the documentation -----------------------------------------------------------------------------------------------


def test_the_reference_of_all_fields_is_up_to_date(root: Path) -> None:
    text = (root / "docs/writing-a-policy.md").read_text()
    assert text.rstrip().endswith(reference().rstrip()), "replace it by what `lethe policy reference` prints"
    assert all(kind.value in text.partition("## Every field")[0] for kind in IdentifierType)


# --- every message, as a stranger reads it ---------------------------------------------------------------------------

TOLD: list[tuple[object, str]] = [
    (
        table(masks=[{"column": "a", "with": None}]),
        "datasets.registrations.masks.0.with: null is no value: write 'null', 'constant', 'prefix', 'domain', 'month', 'year', 'range', 'network' or 'redact', in quotes",  # noqa: E501
    ),
    (
        table(where=[{"column": "a", "in": [None]}]),
        "datasets.registrations.where.0.in.0: is neither text, a whole number, true nor false: write one of these, and is_null for no value",  # noqa: E501
    ),
    (
        table(where=[{"column": "a", "in": "CZ"}]),
        "datasets.registrations.where.0.in: is not a list: write one, such as [a, b]",
    ),
    (
        table(where=[{"column": "a", "not_in": [[1]]}]),
        "datasets.registrations.where.0.not_in.0: is neither text, a whole number, true nor false: write one of these, and is_null for no value",  # noqa: E501
    ),
    (
        table(where=[{"column": "a", "in": [2**60]}]),
        "datasets.registrations.where.0.in.0: 1152921504606846976 is too large to be exact: write it in quotes, as text",  # noqa: E501
    ),
    (
        table(where=[{"column": "a", "is_null": "maybe"}]),
        "datasets.registrations.where.0.is_null: is neither true nor false: write one of these",
    ),
    (table(where={"column": "a"}), "datasets.registrations.where: is not a list: write one, such as [a, b]"),
    (
        table(masks=[{"column": "a", "with": "zero"}]),
        "datasets.registrations.masks.0.with: 'zero' is not known: write 'null', 'constant', 'prefix', 'domain', 'month', 'year', 'range', 'network' or 'redact'",  # noqa: E501
    ),
    (
        table(masks=[{"column": "a", "with": "constant", "value": 1.5}]),
        "datasets.registrations.masks.0.value: 1.5 is neither text, a whole number, true nor false: write it in quotes, as text",  # noqa: E501
    ),
    (changed(title=5), "title: 5 is not text: write it in quotes"),
    (changed(title=None), "title: is not text: write a text"),
    (changed(limits=5), "limits: has no fields: write name: value below it"),
    (changed(limits={"records": 1.5, "share": 0.5}), "limits.records: is not a whole number: write one"),
    (changed(limits={"records": 10, "share": "half"}), "limits.share: is not a number: write one"),
    (changed(retention="P1Y"), "retention: has no fields: write name: value below it"),
    (
        changed(retention={"keep_for": "P1Y", "counted_from": "start"}),
        "retention.counted_from: 'start' is not known: write 'clock' or 'end_of_year'",
    ),
    (
        changed(retention={"at_once": False}),
        "retention.at_once: false is not possible: write true, or leave the field out",
    ),
    (
        changed(retention={"at_once": "yes"}),
        "retention.at_once: 'yes' is not possible: write true, or leave the field out",
    ),
    (
        changed(category="Web Inars"),
        "category: 'Web Inars' is not possible: write lower-case letters, digits and underscores, a letter first, 63 at most",  # noqa: E501
    ),
    (changed(schedule=5), "schedule: 5 is not text: write it in quotes"),
    (
        changed(schedule="R 2 * * *"),
        "schedule: 'R 2 * * *' is drawn anew every time (R): write the time itself, such as '15 2 * * *'",
    ),
    (changed(datasets={}), "datasets: is not a list: write one, such as [a, b]"),
    (changed(datasets=["x"]), "datasets.0: has no fields: write name: value below it"),
    (
        table(kind="excel"),
        "datasets.registrations: kind 'excel' is not known: write table, objects, parquet or jsonlines",
    ),
    (table(key="id"), "datasets.registrations.key: is not a list: write one, such as [a, b]"),
    (table(key=[]), "datasets.registrations.key: has too little in it: write at least 1"),
    (table(key=[1]), "datasets.registrations.key.0: 1 is not text: write it in quotes"),
    (table(clock="webinar_date"), "datasets.registrations.clock: has no fields: write name: value below it"),
    (table(clock={"column": ["a"]}), "datasets.registrations.clock.column: is not text: write a text"),
    (
        table(clock={"latest_of": ["a"]}),
        "datasets.registrations: clock: a alone has no latest and no earliest: write column: a, or name another one "
        "beside it",
    ),
    (table(identifiers=["email"]), "datasets.registrations.identifiers: has no fields: write name: value below it"),
    (
        table(identifiers={"email": "email"}),
        "datasets.registrations.identifiers.email: is not a list: write one, such as [a, b]",
    ),
    (
        table(identifiers={"passport": ["x"]}),
        "datasets.registrations.identifiers.passport: 'passport' is not known: write 'email', 'phone', 'account', 'person', 'company', 'cookie', 'ip', 'msisdn', 'imsi', 'imei', 'event', 'ticket' or 'invoice'",  # noqa: E501
    ),
    (table(children="x"), "datasets.registrations.children: is not a list: write one, such as [a, b]"),
    (table(children=[{"table": "x"}]), "datasets.registrations.children.0.foreign_key: is missing: write it"),
    (table(phone_region=420), "datasets.registrations.phone_region: 420 is not text: write it in quotes"),
    (changed(disposition="destroy"), "disposition: 'destroy' is not known: write 'erase' or 'anonymise'"),
    (changed(disposition=None), "disposition: null is no value: write 'erase' or 'anonymise', in quotes"),
    (changed(time_zone=None), "time_zone: is not text: write a text"),
    (
        changed(datasets=[{**PARQUET, "prefix": "/x"}]),
        "datasets.views.prefix: '/x' is not possible: keys do not begin with a slash; leave it out",
    ),
    (
        changed(datasets=[{**PARQUET, "bucket": "x"}]),
        "datasets.views.bucket: is too short: write at least 3 characters",
    ),
    (
        changed(datasets=[{**OBJECTS, "clock": {"last_modified": False}}]),
        "datasets.scans.clock.last_modified: false is not possible: write true, or leave the field out",
    ),
    (
        changed(datasets=[{**OBJECTS, "identifiers": {"email": "x"}}]),
        "datasets.scans.identifiers.email: has no fields: write name: value below it",
    ),
    (
        changed(retention={"by_value": {"column": "c", "periods": {}}}),
        "retention.by_value.periods: has too little in it: write at least 1",
    ),
    (
        changed(retention={"by_value": {"column": "c", "periods": ["P1Y"]}}),
        "retention.by_value.periods: has no fields: write name: value below it",
    ),
    (
        changed(retention={"by_value": {"column": "c", "periods": {"CZ": "1Y"}}}),
        "retention.by_value.periods.CZ: '1Y' is not a period: write an ISO 8601 duration such as P18M, P60D or P3Y",
    ),
    (
        changed(nonsense=1),
        "nonsense: unknown field: correct its name, or leave it out; `lethe policy reference` lists all fields",
    ),
    (without(POLICY, "title"), "title: is missing: write it"),
    (
        table(name="A"),
        "datasets.A.name: 'A' is not possible: write lower-case letters, digits and underscores, a letter first, 63 at most",  # noqa: E501
    ),
    (
        changed(datasets=[without(TABLE, "kind")]),
        "datasets.registrations: kind is missing: write table, objects, parquet or jsonlines",
    ),
    (
        changed(datasets=[{**PARQUET, "path_columns": ["a"]}]),
        "datasets.views.path_columns: has no fields: write name: value below it",
    ),
    (
        changed(datasets=[{**PARQUET, "path_columns": {"a": 5}}]),
        "datasets.views.path_columns.a: 5 is not text: write it in quotes",
    ),
    (
        changed(datasets=[{**LINES, "clock": {"column": "meta.at"}}]),
        "datasets.events: clock: JSON has no dates: say how they are written, such as format: iso8601",
    ),
    (
        changed(datasets=[{**LINES, "key": ["items[].id"]}]),
        "datasets.events: key: items[].id is of several values, which only identifiers can be",
    ),
    (
        changed(datasets=[{**LINES, "identifiers": {"email": ["user..email"]}}]),
        "datasets.events: identifiers.email: 'user..email' does not name a value: write name, outer.name or "
        'list[].name, with a name that has dots, brackets or quotes in it in double quotes, such as "a.b"',
    ),
    (
        changed(
            datasets=[LINES],
            retention={"by_value": {"column": "countries[]", "periods": {"CZ": "P1Y"}}},
        ),
        "datasets.events: by_value.column: countries[] is of several values, which only identifiers can be",
    ),
    (
        table(clock={"column": "a", "when_missing": True}),
        "datasets.registrations.clock.when_missing: true is not known: write 'unjudgeable' or 'running'",
    ),
    (
        changed(schedule="0 2 * * r"),
        "schedule: '0 2 * * r' is drawn anew every time (R): write the time itself, such as '15 2 * * *'",
    ),
]


@pytest.mark.parametrize(("content", "message"), TOLD, ids=[message.split(":", 1)[0] for _, message in TOLD])
def test_every_message_names_the_field_what_is_wrong_and_what_to_do(content: object, message: str) -> None:
    told = refusal(content)
    assert told == f"webinars.yaml: {message}"


@pytest.mark.parametrize(
    "schedule", ["15 2 * * MON-FRI", "15 2 L * *", "15 2 * mar fri", "15 2 * apr,mar *", "*/15 * * * *"]
)
def test_schedules_that_airflow_takes_are_accepted(schedule: str) -> None:
    assert parse(written(changed(schedule=schedule)), where="x").schedule == schedule


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("email", [("email", 0)]),
        ("user.email", [("user", 0), ("email", 0)]),
        ("events[].e-mail address", [("events", 1), ("e-mail address", 0)]),
        ('"a.b"[][].c', [("a.b", 2), ("c", 0)]),
        (r'"a\"b\u0041"', [('a"bA', 0)]),
        ("$ref.@id", [("$ref", 0), ("@id", 0)]),
    ],
)
def test_names_of_nested_values(path: str, steps: list[tuple[str, int]]) -> None:
    assert [(step.name, step.lists) for step in steps_of(path)] == steps


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[", "a[]b", "[]", '"a', '"a"b', r'"\x"', "a[0]", " a", "a ."]
)
def test_what_is_no_name_of_a_value(path: str) -> None:
    with pytest.raises(ValueError, match=r"does not name a value|as in JSON"):
        steps_of(path)
