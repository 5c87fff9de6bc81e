"""What must become of every record of the company, and why: judged by `calendar_days`, in the company's own words.

It uses neither the stores nor the periods, policies or holds of `lethe`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from enum import StrEnum
from functools import partial

import numpy as np
import pyarrow as pa

from lethe_demo.calendar_days import BY_VALUE, RULES, first_kept_day, local_day, midnight
from lethe_demo.company import COOKIES_HELD, Company, StoredObject, ViewFile
from lethe_demo.records import HELD_PEOPLE, Family, Row, Table
from lethe_demo.systems.customers import Customers
from lethe_demo.systems.hiring import Hiring
from lethe_demo.systems.letters import Letters
from lethe_demo.systems.newsletter import Newsletter
from lethe_demo.systems.purchasing import Purchasing
from lethe_demo.systems.research import Research
from lethe_demo.systems.surveys import Surveys


class Fate(StrEnum):
    """What must become of a record."""

    KEPT = "kept"
    ERASED = "erased"
    HELD = "held"
    UNJUDGEABLE = "unjudgeable"
    OUTSIDE = "outside"
    """Not a record of the category at all: an enquiry that led to an agreement, a ticket that is open."""


class Fates:
    """Judges the records of a company by an as-of moment per category."""

    def __init__(self, company: Company, as_of: Mapping[str, datetime] | None = None) -> None:
        self.company = company
        moments = as_of or {}
        self._moments = moments
        self._first_kept = {
            category: first_kept_day(category, moments.get(category, company.as_of)) for category in RULES
        }
        self._first_kept_by_value = {
            (category, value): first_kept_day(category, moments.get(category, company.as_of), value)
            for category, rules in BY_VALUE.items()
            for value in rules
        }

    # --- what must become of every record ------------------------------------------------------------------------

    def fates(self, dataset: str) -> list[Fate]:
        """The fate of every record of ``category.dataset``, in the order in which the company has them."""
        return list(self._judges[dataset]())

    @property
    def _judges(self) -> Mapping[str, Callable[[], Iterable[Fate]]]:
        return {
            "webinars.registrations": self._registrations,
            "events.invitations": self._invitations,
            "events.badge_scans": self._scans,
            "logistics.guests": self._guests,
            "leads.enquiries": self._enquiries,
            "leads.chats": self._chats,
            "account_users.users": partial(self._by_account, "account_users.users"),
            "traffic_end_users.records": self._traffic,
            "recruitment_prospects.prospects": self._prospects,
            "recruitment.candidates": self._candidates,
            "support.tickets": self._tickets,
            "invoices.issued": self._invoices,
            "invoices.received": self._received,
            "agreements.agreements": partial(self._by_account, "agreements.agreements"),
            "traffic_customers.records": self._sent,
            "letters.letters": self._letters,
            "ux_research.sessions": self._sessions,
            "accounts.details": partial(self._by_account, "accounts.details"),
            "accounts.contacts": partial(self._by_account, "accounts.contacts"),
            "newsletter.subscriptions": self._subscriptions,
            "suppression.addresses": self._suppressed,
            "suppliers.details": partial(self._by_supplier, "suppliers.details"),
            "supplier_agreements.agreements": partial(self._by_supplier, "supplier_agreements.agreements"),
            "market_research.answers": self._answers,
            "supplier_contacts.contacts": partial(self._by_supplier, "supplier_contacts.contacts"),
        }

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every dataset of the company."""
        return ("analytics.page_views", *self._judges)

    def family_fates(self, family: Family) -> list[Fate]:
        """The fate of every record of a table, by the dataset that it is in; outside if it is in none."""
        each = [self.fates(dataset) for dataset in family.datasets]
        return [
            next((fate for fate in one if fate is not Fate.OUTSIDE), Fate.OUTSIDE) for one in zip(*each, strict=True)
        ]

    def _family(self, dataset: str) -> Family:
        return next(family for family in self.company.families if dataset in family.datasets)

    def added(self, dataset: str) -> list[Row]:
        """The rows that have to be there besides those that were: put there when others were erased, or redacted."""
        if dataset == "market_research.answers":
            surveys = self.company.system(Surveys)
            redacted = (surveys.left_of(n) for n, fate in enumerate(self.fates(dataset)) if fate is Fate.ERASED)
            return [row for row in redacted if row is not None]
        if dataset != "suppression.addresses":
            return []
        tool = self.company.system(Newsletter)
        before = set(tool.suppression_list.rows)
        pairs = zip(tool.subscriptions.rows, self.fates("newsletter.subscriptions"), strict=True)
        objected = [(row[1],) for row, fate in pairs if fate is Fate.ERASED and tool.objected(row)]
        return [row for row in objected if row not in before]

    def _with_held(self, dataset: str) -> Iterator[tuple[Row, bool]]:
        """Every record with whether the lawsuit names anybody in it, or in the rows that go with it."""
        family = self._family(dataset)
        named = {index for index, whom in enumerate(family.table.about) if whom < HELD_PEOPLE}
        for child in family.children:
            pairs = zip(child.parents, child.about, strict=True)
            named |= {parent for parent, whom in pairs if whom < HELD_PEOPLE}
        yield from ((row, index in named) for index, row in enumerate(family.table.rows))

    def _registrations(self) -> Iterator[Fate]:
        for day, whom in self._clocks(self.company.registrations, "webinar_date"):
            yield self._fate("webinars", day, whom)

    def _invitations(self) -> Iterator[Fate]:
        events = self._column(self.company.invitations, "event_code")
        clocks = self._clocks(self.company.invitations, "event_day")
        for (day, whom), event in zip(clocks, events, strict=True):
            yield self._fate("events", _day(day), whom, event)

    def _guests(self) -> Iterator[Fate]:
        events = self._column(self.company.guests, "event_code")
        clocks = self._clocks(self.company.guests, "event_day")
        for (day, whom), event in zip(clocks, events, strict=True):
            yield self._fate("logistics", day, whom, event)

    def _chats(self) -> Iterator[Fate]:
        yield from (self._fate("leads", chat.clock, chat.about) for chat in self.company.chats)

    def _scans(self) -> Iterator[Fate]:
        yield from map(self._scan, self.company.scans)

    def _fate(self, category: str, clock: object, whom: int, event: object = None) -> Fate:
        return self._judge(clock, self._first_kept[category], whom < HELD_PEOPLE or event == self.company.held_event)

    @staticmethod
    def _judge(clock: object, first_kept: date | None, held: bool) -> Fate:
        """By a day or a moment; without one, or without a period, nobody can say."""
        if not isinstance(clock, date) or first_kept is None:
            return Fate.UNJUDGEABLE
        day = local_day(clock) if isinstance(clock, datetime) else clock
        if day >= first_kept:
            return Fate.KEPT
        return Fate.HELD if held else Fate.ERASED

    def _scan(self, scan: StoredObject) -> Fate:
        """Badges name nobody whom a hold could name; only their event, and S3's own legal hold, can hold them."""
        fate = self._fate("events", scan.clock, HELD_PEOPLE, scan.event)
        return Fate.HELD if fate is Fate.ERASED and scan.locked else fate

    def _enquiries(self) -> Iterator[Fate]:
        table = self.company.enquiries
        agreement = table.columns.index("agreement_no")
        start = table.columns.index("received_at")
        for row, whom in zip(table.rows, table.about, strict=True):
            moments = [moment for moment in row[start : start + 3] if isinstance(moment, datetime)]
            if row[agreement] is not None:
                yield Fate.OUTSIDE
            else:
                yield self._fate("leads", local_day(max(moments)) if moments else None, whom)

    def _by_account(self, dataset: str) -> Iterator[Fate]:
        """By the closure of their account: while that is open nothing goes, and what has none cannot be judged."""
        closed = dict(self.company.system(Customers).accounts.pairs("account_no", "closed_on"))
        category, family = dataset.partition(".")[0], self._family(dataset)
        column = family.table.columns.index("account_no")
        for row, held in self._with_held(dataset):
            running = row[column] is not None and closed[row[column]] is None
            yield Fate.KEPT if running else self._judge(closed.get(row[column]), self._first_kept[category], held)

    def _traffic(self) -> Iterator[Fate]:
        """By their own day, but for those whose bill is not settled; without a bill nobody knows."""
        bills, records = self.company.bills, self.company.end_user_records
        state = dict(zip(self._column(bills, "bill_no"), self._column(bills, "state"), strict=True))
        for (at, whom), bill in zip(self._clocks(records, "sent_at"), self._column(records, "bill_no"), strict=True):
            day = local_day(at) if bill is not None and isinstance(at, datetime) else None
            fate = self._fate("traffic_end_users", day, whom)
            kept_on = fate in (Fate.ERASED, Fate.HELD) and state[bill] != "settled"
            yield Fate.KEPT if kept_on else fate

    def _prospects(self) -> Iterator[Fate]:
        """By the day of the mailing that asked them; whom none asked cannot be judged, and who consented is none."""
        sent = dict(self.company.system(Hiring).mailings.pairs("mailing_id", "sent_at"))
        for row, held in self._with_held("recruitment_prospects.prospects"):
            mailing, consented = row[7], row[8]
            if consented is not None:
                yield Fate.OUTSIDE
            elif mailing is not None and sent[mailing] is None:
                yield Fate.KEPT  # nobody has asked yet
            else:
                yield self._judge(sent.get(mailing), self._first_kept["recruitment_prospects"], held)

    def _candidates(self) -> Iterator[Fate]:
        """By the last day of the consent, or the day of its withdrawal: whichever is first."""
        for row, held in self._with_held("recruitment.candidates"):
            consented, until, withdrawn = row[8:11]
            days = [until] if isinstance(until, date) else []
            days += [local_day(withdrawn)] if isinstance(withdrawn, datetime) else []
            over = min(days, default=None)
            outside = consented is None
            yield Fate.OUTSIDE if outside else self._judge(over, self._first_kept["recruitment"], held)

    def _tickets(self) -> Iterator[Fate]:
        """By their closure, but for those that are not closed, or again open."""
        for row, held in self._with_held("support.tickets"):
            closed = row[3] in ("solved", "merged")
            yield self._judge(row[10], self._first_kept["support"], held) if closed else Fate.OUTSIDE

    def _invoices(self) -> Iterator[Fate]:
        """From the end of the year in which they were issued; drafts are none yet."""
        for row, held in self._with_held("invoices.issued"):
            draft, issued = row[3] == "draft", row[8]
            yield Fate.OUTSIDE if draft else self._judge(issued, self._first_kept["invoices"], held)

    def _received(self) -> Iterator[Fate]:
        """The same, by the day that was scanned: what is none nobody can judge."""
        for row, held in self._with_held("invoices.received"):
            yield self._judge(_day(row[4]), self._first_kept["invoices"], held)

    def _sent(self) -> Iterator[Fate]:
        """By the day on which it was sent."""
        for row, held in self._with_held("traffic_customers.records"):
            yield self._judge(row[1], self._first_kept["traffic_customers"], held)

    def _letters(self) -> Iterator[Fate]:
        """By the country of the consulate: of one without a period nobody can say."""
        country = dict(self.company.system(Letters).consulates.pairs("consulate_id", "country"))
        for row, held in self._with_held("letters.letters"):
            first_kept = self._first_kept_by_value.get(("letters", str(country[row[1]])))
            yield self._judge(row[8], first_kept, held or row[3] == self.company.held_event)

    def _sessions(self) -> Iterator[Fate]:
        """By the end of the study and what it declares: of one that runs nothing goes."""
        studies = {row[0]: row for row in self.company.system(Research).studies.rows}
        for row, held in self._with_held("ux_research.sessions"):
            _, _, _, ended, period = studies[row[1]]
            first_kept = self._first_kept_by_value.get(("ux_research", str(period)))
            yield Fate.KEPT if ended is None else self._judge(ended, first_kept, held)

    def _subscriptions(self) -> Iterator[Fate]:
        """At once, when the first of what ends them has come."""
        tool = self.company.system(Newsletter)
        for row, held in self._with_held("newsletter.subscriptions"):
            yield self._at_once("newsletter", tool.ended(row), held)

    def _suppressed(self) -> Iterator[Fate]:
        """At once, when there is a subscription again."""
        tool = self.company.system(Newsletter)
        began = {row[1]: tool.subscribed(row) for row in tool.subscriptions.rows}
        for row, held in self._with_held("suppression.addresses"):
            yield self._at_once("suppression", began.get(row[0]), held)

    def _answers(self) -> Iterator[Fate]:
        """Of an answer that reveals somebody: at once, though the rest of it stays (see `added`)."""
        surveys = self.company.system(Surveys)
        for index, (row, held) in enumerate(self._with_held("market_research.answers")):
            reveals = surveys.left_of(index) is not None
            answered = row[2] if isinstance(row[2], datetime) else "nobody knows when"
            yield self._at_once("market_research", answered, held) if reveals else Fate.KEPT

    def _by_supplier(self, dataset: str) -> Iterator[Fate]:
        """By the end of the relationship, as people recorded it; without a supplier nobody knows whose it is."""
        tool = self.company.system(Purchasing)
        for row, held in self._with_held(dataset):
            day = None if row[1] is None else tool.ended(row[1])
            running = row[1] is not None and day is None
            yield Fate.KEPT if running else self._judge(day, self._first_kept[dataset.partition(".")[0]], held)

    def _at_once(self, category: str, moment: datetime | str | None, held: bool) -> Fate:
        """Since a moment; text is none, and until there is one the record stays."""
        if isinstance(moment, str):
            return Fate.UNJUDGEABLE
        if moment is None or moment > self._moments.get(category, self.company.as_of):
            return Fate.KEPT
        return Fate.HELD if held else Fate.ERASED

    def view_fates(self, file: ViewFile) -> list[Fate]:
        """The fate of every row of a file of page views."""
        expired, known, held = self._view_masks(file)
        fates = np.where(
            ~known, Fate.UNJUDGEABLE, np.where(~expired, Fate.KEPT, np.where(held, Fate.HELD, Fate.ERASED))
        )
        return [Fate(fate) for fate in fates]

    def _view_masks(self, file: ViewFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For every row whether it has expired, can be judged, and is of held people.

        A row without a time is unjudgeable only where its file's week can have expired: no row is older than its week.
        """
        boundary = pa.scalar(midnight(self._first_kept["analytics"]), pa.timestamp("us", tz="UTC"))
        clocks = file.table["activity_time"]
        recent = file.first >= self._first_kept["analytics"]
        known = np.asarray(clocks.is_valid()) | recent
        expired = np.asarray(pa.compute.less(clocks, boundary).fill_null(False))
        held = ((file.about < HELD_PEOPLE) & file.signed_in) | (file.about < COOKIES_HELD)
        return expired, known, held

    def counts(self, dataset: str) -> Counter[Fate]:
        """How many records of a dataset have which fate."""
        if dataset != "analytics.page_views":
            return Counter(self.fates(dataset))
        total: Counter[Fate] = Counter()
        for file in self.company.view_files():
            expired, known, held = self._view_masks(file)
            total[Fate.ERASED] += int((known & expired & ~held).sum())
            total[Fate.HELD] += int((known & expired & held).sum())
            total[Fate.UNJUDGEABLE] += int((~known).sum())
            total[Fate.KEPT] += int((known & ~expired).sum())
        return total

    @staticmethod
    def _column(table: Table, name: str) -> Iterator[object]:
        index = table.columns.index(name)
        return (row[index] for row in table.rows)

    def _clocks(self, table: Table, name: str) -> Iterator[tuple[object, int]]:
        return zip(self._column(table, name), table.about, strict=True)


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None
