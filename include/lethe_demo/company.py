"""A believable company, made up in memory: the same one for the same as-of moment, size and seed.

Everything lies relative to the as-of moment, so that there is always something expired, and each dataset has a record
on the last day that has expired and one on the first that has not. The seeding writes what is here into the stores; the
oracle makes it up again, and so knows what must be there afterwards without having kept any of it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lethe_demo.calendar_days import ZONE, first_kept_day, midnight
from lethe_demo.people import Person, as_dialled, as_typed
from lethe_demo.records import HELD_PEOPLE, Family, Maker, Row, System, Table, children_of
from lethe_demo.systems import SYSTEMS

Kind = TypeVar("Kind", bound=System)

COOKIES_HELD = 5
"""The lawsuit also names the cookies of the first so many of them."""
LAWSUIT = "2026-C-117"
INVESTIGATION = "MV-48213/2026"
LAKE, BADGES = "lethe-lake", "lethe-badges"
VIEWS_PREFIX, CHATS_PREFIX, SCANS_PREFIX = "analytics/page_views/", "leads/chats/", "scans/"
_VIEWS = 2_000_000
_WEEKS = 134
_PARTS = 2
_HELD_WEEKS = 5
"""Only every fifth week of page views has any of held people, so that whole files can go too."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object with all its versions, the oldest first; None stands for a delete marker.

    Attributes:
        clock: the day in its key, or None where that is not a date.
        about: the index of the person it is about.
        event: the event in its key, if any.
        locked: whether it is under an S3 legal hold.
    """

    bucket: str
    key: str
    versions: tuple[bytes | None, ...] = field(repr=False)
    clock: date | None
    about: int
    event: str | None = None
    locked: bool = False


@dataclass(frozen=True, slots=True)
class ViewFile:
    """A Parquet file of page views, and for every row whom it is about and by what it can be found.

    Attributes:
        first: the first day of its week; no row is of an earlier one.
        about: indices of people.
        signed_in: whether the row has the person's account (else only cookie and IP address).
    """

    key: str
    first: date
    table: pa.Table = field(repr=False)
    codec: str
    about: np.ndarray = field(repr=False)
    signed_in: np.ndarray = field(repr=False)

    def as_bytes(self) -> bytes:
        """The file."""
        sink = io.BytesIO()
        pq.write_table(self.table, sink, compression=self.codec, row_group_size=4096, write_page_index=True)
        return sink.getvalue()


@dataclass(frozen=True, slots=True)
class Matter:
    """A legal matter: whom, or which event, it is about."""

    reference: str
    reason: str
    people: tuple[Person, ...] = ()
    event: str | None = None


class Company(Maker):
    """All records of the company, `scale` times as many as usual (1.0: 590,000 rows in tables, 2 M page views)."""

    def __init__(self, as_of: datetime, scale: float = 1.0, seed: int = 20_261_121) -> None:
        super().__init__(as_of, scale, seed)

    def _numbers(self, what: str) -> np.random.Generator:
        return np.random.Generator(
            np.random.PCG64(int.from_bytes(hashlib.sha256(f"{self.seed}/{what}".encode()).digest()))
        )

    # --- matters -------------------------------------------------------------------------------------------------

    @cached_property
    def matters(self) -> tuple[Matter, Matter]:
        """Some 30 people, and one event."""
        return (
            Matter(
                LAWSUIT,
                "Litigation about the platform's outage in spring; records of the parties must be kept",
                people=tuple(self.people[:HELD_PEOPLE]),
            ),
            Matter(
                INVESTIGATION,
                "The police investigate an accident at one event; everything about it must be kept",
                event=self.held_event,
            ),
        )

    # --- events --------------------------------------------------------------------------------------------------

    @cached_property
    def invitations(self) -> Table:
        """Inviting lists. Their day is text, as organisers upload it: now and then it is none."""
        rng = self.rng("invitations")
        rows: list[Row] = []
        about = []
        for n in range(1, self.count(70_000) + 1):
            code, day = self.events[n % len(self.events)] if n <= len(self.events) else rng.choice(self.events)
            whom = self.whom(rng)
            person = self.people[whom]
            text = _NO_DAYS.get(n, day.isoformat())
            status = rng.choice(("invited", "accepted", "declined", "attended", "attended"))
            rows.append((n, code, text, *self._contact(person, n), status))
            about.append(whom)
        columns = ("invitation_id", "event_code", "event_day", *_CONTACT, "status")
        return Table("marketing.event_invitations", columns, rows, about)

    def _contact(self, person: Person, n: int) -> Row:
        return (
            person.name, as_typed(person.email, n), as_dialled(person.phone, n), person.company, person.industry,
            person.role,
        )  # fmt: skip

    @cached_property
    def guests(self) -> Table:
        """Logistics of the guests of recent events, and of the one under investigation."""
        rng = self.rng("guests")
        recent = [(code, day) for code, day in self.events if (self.today - day).days < 150]
        chosen = [event for event in self.events if event[0] == self.held_event] + recent
        rows: list[Row] = []
        about = []
        for n in range(self.count(15_000)):
            code, day = chosen[n] if n < len(chosen) else rng.choice(chosen)
            whom = self.whom(rng)
            person = self.people[whom]
            emergency = f"{person.name.split()[0]}'s family" if rng.random() < 0.2 else None
            email, phone = as_typed(person.email, n), as_dialled(person.phone, n)
            rows.append((code, n + 1, day if n % 2_503 != 200 else None, person.name, email, phone, emergency))
            about.append(whom)
        columns = ("event_code", "guest_no", "event_day", "full_name", "email", "phone", "emergency_contact")
        return Table("guests.logistics", columns, rows, about)

    @cached_property
    def accommodation(self) -> Table:
        """Where guests stayed: none, one or two stays."""
        rng = self.rng("accommodation")
        hotels = ("Hotel Astra", "Grand Moldau", "Pension Linde", "Harbour Inn", "Station Suites")

        def stays(parent: Row) -> Iterator[Row]:
            day = parent[2] if isinstance(parent[2], date) else self.today
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                yield (rng.choice(hotels), day - timedelta(days=1), day + timedelta(days=rng.randrange(1, 3)))

        return children_of("guests.accommodation", self.guests, ("hotel", "check_in", "check_out"), stays, key=2)

    @cached_property
    def dietary(self) -> Table:
        """What guests do and do not eat."""
        rng = self.rng("dietary")
        needs = ("vegetarian", "vegan", "no nuts", "no gluten", "no lactose", "halal", "kosher")

        def wishes(parent: Row) -> Iterator[Row]:
            if rng.random() < 0.4:
                yield (rng.choice(needs), f"told by {parent[3]}")

        return children_of("guests.dietary", self.guests, ("need", "note"), wishes, key=2)

    @cached_property
    def arrivals(self) -> Table:
        """When guests came, and how."""
        rng = self.rng("arrivals")

        def journeys(parent: Row) -> Iterator[Row]:
            day = parent[2] if isinstance(parent[2], date) else self.today
            at = datetime.combine(day, time(rng.randrange(6, 22), rng.randrange(60)), tzinfo=ZONE)
            yield (
                at.astimezone(UTC),
                rng.choice(("train", "flight", "car")),
                f"{rng.choice('ABCDEF')}{rng.randrange(100, 9999)}",
            )

        return children_of("guests.arrivals", self.guests, ("arrives_at", "means", "number"), journeys, key=2)

    @cached_property
    def scans(self) -> list[StoredObject]:
        """Scans of badges, in a bucket with Object Lock; a few of them under an S3 legal hold."""
        rng = self.rng("scans")
        found = []
        for n in range(self.count(600)):
            code, day = self.events[3 * n if n < 8 else n * 37 % len(self.events)]
            whom = self.whom(rng)
            stamp = f"{rng.randrange(8, 19):02d}:{rng.randrange(60):02d}"
            body = json.dumps(
                {"badge": n, "name": self.people[whom].name, "email": self.people[whom].email, "at": stamp}
            )
            text, clock = (day.isoformat(), day) if n % 211 != 11 else ("unknown", None)
            locked = n in _LOCKED_SCANS
            key = f"{SCANS_PREFIX}event={code}/date={text}/badge-{n:05d}.json"
            found.append(StoredObject(BADGES, key, (body.encode(),), clock, whom, code, locked))
        return found

    # --- webinars ------------------------------------------------------------------------------------------------

    @cached_property
    def registrations(self) -> Table:
        """Registrations of the webinars of the last thirty months."""
        rng = self.rng("registrations")
        boundary = first_kept_day("webinars", self.as_of)
        days = {boundary, boundary - timedelta(days=1)}
        days |= {self.today - timedelta(days=rng.randrange(1, 912)) for _ in range(150)}
        webinars = [(f"WEB-{day:%Y%m%d}-{n:03d}", day) for n, day in enumerate(sorted(days), start=1)]
        rows: list[Row] = []
        about = []
        for n in range(1, self.count(100_000) + 1):
            code, day = webinars[n % len(webinars)] if n <= len(webinars) else rng.choice(webinars)
            whom = self.whom(rng)
            at = midnight(day).astimezone(UTC) - timedelta(minutes=rng.randrange(60, 40_000))
            rows.append((n, code, day if n % 15_013 != 1_000 else None, *self._contact(self.people[whom], n), at))
            about.append(whom)
        columns = ("registration_id", "webinar_code", "webinar_date", *_CONTACT, "registered_at")
        return Table("marketing.webinar_registrations", columns, rows, about)

    @cached_property
    def attendance(self) -> Table:
        """Who of those who registered came, once or (after losing the connection) twice."""
        rng = self.rng("attendance")

        def visits(parent: Row) -> Iterator[Row]:
            day = parent[2] if isinstance(parent[2], date) else self.today
            for _ in range(rng.choice((0, 0, 1, 1, 1, 2))):
                at = datetime.combine(day, time(14, rng.randrange(60)), tzinfo=ZONE)
                yield (at.astimezone(UTC), rng.randrange(2, 90))

        return children_of("marketing.webinar_attendance", self.registrations, ("joined_at", "minutes"), visits)

    # --- leads ---------------------------------------------------------------------------------------------------

    @cached_property
    def enquiries(self) -> Table:
        """Enquiries of the last ten months; some led to an agreement, and are no leads any more."""
        rng = self.rng("enquiries")
        first_kept = midnight(first_kept_day("leads", self.as_of)).astimezone(UTC)
        span = int((self.as_of - midnight(self.today - timedelta(days=304))).total_seconds())
        rows: list[Row] = []
        about = []
        for n in range(1, self.count(30_000) + 1):
            whom = self.whom(rng) if n > 2 else HELD_PEOPLE + n
            person = self.people[whom]
            received = self.as_of - timedelta(seconds=rng.randrange(span))
            inbound, outbound = (
                min(received + timedelta(seconds=rng.randrange(60, 60 * 86_400)), self.as_of)
                if rng.random() < p
                else None
                for p in (0.45, 0.7)
            )
            agreement = f"AGR-{n:06d}" if rng.random() < 0.12 else None
            clocks: tuple[datetime | None, ...] = (received, inbound, outbound)
            if n <= 2:  # the last microsecond that has expired, and the first that has not
                clocks = (first_kept - timedelta(days=9), None, first_kept - timedelta(microseconds=2 - n))
            elif n % 7_001 == 90:
                clocks = (None, None, None)
            if n <= 2 or n % 7_001 == 90:
                agreement = None
            kind = rng.choice(("contact_sales", "contact_sales", "partner", "sponsor"))
            contact = (
                person.name,
                as_typed(person.email, n),
                as_dialled(person.phone, n),
                person.company,
                person.account,
            )
            rows.append((n, kind, *clocks, agreement, *contact))
            about.append(whom)
        columns = (
            "enquiry_id", "kind", "received_at", "last_inbound_at", "last_outbound_at", "agreement_no",
            "full_name", "email", "phone", "company", "account",
        )  # fmt: skip
        return Table("sales.enquiries", columns, rows, about)

    @cached_property
    def messages(self) -> Table:
        """What was written in enquiries."""
        rng = self.rng("messages")
        texts = (
            "Please send me an offer.",
            "Can we talk next week?",
            "Thank you, here is our price list.",
            "Any news?",
        )

        def letters(parent: Row) -> Iterator[Row]:
            for at in parent[2:5]:
                if isinstance(at, datetime):
                    yield (at, rng.choice(("customer", "sales")), f"{rng.choice(texts)} {parent[6]}, {parent[7]}")

        return children_of("sales.enquiry_messages", self.enquiries, ("sent_at", "author", "body"), letters)

    @cached_property
    def chats(self) -> list[StoredObject]:
        """Transcripts in a versioned bucket: some were corrected, some deleted, which left versions behind."""
        rng = self.rng("chats")
        boundary = first_kept_day("leads", self.as_of)
        found = []
        for n in range(self.count(3_000)):
            whom = self.whom(rng, held=0.02)
            day: date | None = self.today - timedelta(days=rng.randrange(0, 304))
            if n < 2:
                day = boundary - timedelta(days=1 - n)
                whom = HELD_PEOPLE + n
            elif n % 601 == 50:
                day = None
            bodies: list[bytes | None] = [
                self._transcript(whom, n, take) for take in range(rng.choice((1,) * 8 + (2, 3)))
            ]
            if n > 2 and n % 23 == 0:
                bodies.append(None)
            text = day.isoformat() if day else "undated"
            key = f"{CHATS_PREFIX}date={text}/account={self.people[whom].account}/{n:06d}.json"
            found.append(StoredObject(LAKE, key, tuple(bodies), day, whom))
        return found

    def _transcript(self, whom: int, n: int, take: int) -> bytes:
        person = self.people[whom]
        said = [f"Hello, I am {person.name} of {person.company}.", "What does it cost?", "Thank you!"]
        return json.dumps(
            {"chat": n, "take": take, "email": person.email, "phone": person.phone, "said": said}
        ).encode()

    # --- traffic -------------------------------------------------------------------------------------------------

    @cached_property
    def bills(self) -> Table:
        """Bills of the last twenty-two months; of some it is not over yet who has to pay."""
        rng = self.rng("bills")
        states = ("settled",) * 16 + ("unsettled", "challenged", "in court")
        rows: list[Row] = []
        for n in range(1, self.count(3_000) + 5):
            issued = self.today - timedelta(days=rng.randrange(1, 660))
            rows.append((f"BILL-{n:06d}", issued, states[n - 1] if n <= 2 else rng.choice(states)))
        return Table("billing.bills", ("bill_no", "issued_on", "state"), rows, [HELD_PEOPLE] * len(rows))

    @cached_property
    def end_user_records(self) -> Table:
        """Communication detail records, each on a bill; a few that rating lost are on none."""
        rng = self.rng("end_user_records")
        numbers = [str(row[0]) for row in self.bills.rows]
        boundary = midnight(first_kept_day("traffic_end_users", self.as_of)).astimezone(UTC)
        rows: list[Row] = []
        about = []
        for n in range(1, self.count(40_000) + 3):
            whom = self.whom(rng) if n > 2 else HELD_PEOPLE + n
            at = self.as_of - timedelta(seconds=rng.randrange(660 * 86_400))
            if n <= 2:  # the last microsecond that has expired, and the first that has not
                at = boundary - timedelta(microseconds=2 - n)
            bill = None if n % 2_003 == 700 else numbers[0] if n <= 2 else rng.choice(numbers)
            phone = self.people[whom].phone
            imsi = f"23002{whom:010d}" if n % 3 else None
            rows.append((n, bill, phone, imsi, None, at, rng.randrange(1, 3_600)))
            about.append(whom)
        columns = ("record_id", "bill_no", "msisdn", "imsi", "imei", "sent_at", "seconds")
        return Table("traffic.end_user_records", columns, rows, about)

    # --- analytics -----------------------------------------------------------------------------------------------

    def view_files(self) -> Iterator[ViewFile]:
        """Page views of the last 134 weeks: a file a week and part, named by the week's first day."""
        boundary = midnight(first_kept_day("analytics", self.as_of))
        start = self.today - timedelta(days=7 * _WEEKS - 3)
        rows = self.count(_VIEWS) // (_WEEKS * _PARTS) + 1
        number = 0
        for week in range(_WEEKS):
            first = start + timedelta(days=7 * week)
            for part in range(_PARTS):
                yield self._views(first, week, part, rows, number, boundary)
                number += rows

    def _views(self, first: date, week: int, part: int, rows: int, number: int, boundary: datetime) -> ViewFile:
        rng = self._numbers(f"views/{week}/{part}")
        begin, end = midnight(first), min(midnight(first + timedelta(days=7)), self.as_of)
        at = rng.integers(_micros(begin), _micros(end), rows)
        for row, edge in enumerate((_micros(boundary) - 1, _micros(boundary))):
            if _micros(begin) <= edge < _micros(end) and rows > 2:
                at[row] = edge
        unknown = np.zeros(rows, dtype=bool)
        if part == 0 and week % 10 == 4 and rows > 5:
            unknown[5] = True
        about = rng.integers(HELD_PEOPLE, len(self.people), rows)
        if week % _HELD_WEEKS == 0:
            held = rng.random(rows) < 0.002
            held[:2] = False
            about[held] = rng.integers(0, HELD_PEOPLE, int(held.sum()))
        signed_in = rng.random(rows) < 0.6
        table = self._view_table(rng, rows, number, at, unknown, about, signed_in)
        key = f"{VIEWS_PREFIX}date={first.isoformat()}/part-{part}.parquet"
        return ViewFile(key, first, table, ("zstd", "snappy")[part], about, signed_in)

    def _view_table(
        self,
        rng: np.random.Generator,
        rows: int,
        number: int,
        at: np.ndarray,
        unknown: np.ndarray,
        about: np.ndarray,
        signed_in: np.ndarray,
    ) -> pa.Table:
        accounts, cookies, addresses = self._identifiers
        features = rng.integers(0, len(_FEATURES), rows)
        offsets = np.concatenate(([0], np.cumsum(rng.integers(0, 3, rows)))).astype(np.int32)
        used = pa.array(_FEATURES).take(pa.array(rng.integers(0, len(_FEATURES), int(offsets[-1]))))
        page = pa.DictionaryArray.from_arrays(pa.array(features, pa.int32()), pa.array([f"/{f}" for f in _FEATURES]))
        columns = [
            pa.array(np.arange(number + 1, number + rows + 1)),
            pa.array(at, pa.timestamp("us", tz="UTC"), mask=unknown),
            accounts.take(pa.array(about, mask=~signed_in)),
            cookies.take(pa.array(about)),
            addresses.take(pa.array(about)),
            page,
            pa.array(rng.random(rows, dtype=np.float32) * 300),
            pa.ListArray.from_arrays(offsets, used),
        ]
        return pa.Table.from_arrays(columns, schema=_VIEW_SCHEMA)

    @cached_property
    def _identifiers(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        return (
            pa.array([person.account for person in self.people]),
            pa.array([person.cookie for person in self.people]),
            pa.array([person.ip for person in self.people]),
        )

    # --- all of it -----------------------------------------------------------------------------------------------

    @cached_property
    def systems(self) -> tuple[System, ...]:
        """Those of its systems that have a module of their own."""
        return tuple(kind(self) for kind in SYSTEMS)

    def system(self, kind: type[Kind]) -> Kind:
        """One of its systems."""
        return next(system for system in self.systems if isinstance(system, kind))

    @property
    def families(self) -> Sequence[Family]:
        """The records in all tables."""
        guests = (self.accommodation, self.dietary, self.arrivals)
        own = (
            Family("crm", ("webinars.registrations",), self.registrations, (self.attendance,)),
            Family("crm", ("events.invitations",), self.invitations),
            Family("crm", ("leads.enquiries",), self.enquiries, (self.messages,)),
            Family("operations", ("logistics.guests",), self.guests, guests, key=2),
            Family("operations", ("traffic_end_users.records",), self.end_user_records),
        )
        return (*own, *(family for system in self.systems for family in system.families))

    def judged_by(self, database: str) -> Sequence[Table]:
        """Tables of a database that records are judged by, and that nothing is erased from."""
        own = (self.bills,) if database == "operations" else ()
        theirs = (table for system in self.systems if system.database == database for table in system.judged_by)
        return (*own, *theirs)

    def tables(self, database: str) -> Sequence[Table]:
        """All tables of a database, each after those that it refers to."""
        mine = [family for family in self.families if family.database == database]
        records = [table for family in mine for table in (family.table, *family.children)]
        return (*self.judged_by(database), *records)

    @property
    def objects(self) -> Sequence[StoredObject]:
        """Objects in both buckets, without the Parquet files."""
        return (*self.chats, *self.scans)


_NO_DAYS: dict[int, str | None] = {
    201: None, 202: "", 203: "TBD", 204: "31.02.2023", 205: "2023-02-31", 206: "spring 2024", 207: "2024/05",
}  # fmt: skip
"""What inviting lists have instead of a day."""
_CONTACT = ("full_name", "email", "phone", "company", "industry", "role")
_LOCKED_SCANS = frozenset({1, 3, 5, 40, 95})
"""Scans under an S3 legal hold: of events that have expired and of such that have not."""
_FEATURES = ("pricing", "docs", "inbox", "campaigns", "reports", "api-keys", "billing", "team", "webhooks", "status")
_VIEW_SCHEMA = pa.schema(
    [
        pa.field("view_id", pa.int64(), nullable=False),
        pa.field("activity_time", pa.timestamp("us", tz="UTC"), metadata={"meaning": "time of the activity"}),
        pa.field("account", pa.string(), metadata={"personal": "yes"}),
        pa.field("cookie_id", pa.string(), metadata={"personal": "yes"}),
        pa.field("ip", pa.string(), metadata={"personal": "yes"}),
        pa.field("page", pa.dictionary(pa.int32(), pa.string())),
        pa.field("seconds_spent", pa.float32()),
        pa.field("features", pa.list_(pa.string())),
    ],
    metadata={"owner": "platform-analytics", "written_by": "collector 4.2"},
)


def _micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
