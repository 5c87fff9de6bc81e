"""A company of two hundred tables, with what of them is personal data: systems as they look, copies, and traps."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

ROWS = 40
_FIRST = ("Anna", "Jan", "Petra", "Tomáš", "Lucie", "María", "José", "Chloé", "Luc", "Jürgen", "Sven", "Aoife", "Mei")
_LAST = ("Nováková", "Novák", "Dvořák", "García", "López", "Dubois", "Müller", "Schäfer", "O'Brien", "Walsh", "Wójcik")
_GOODS = ("Blue Chair", "Oak Desk", "Desk Lamp Pro", "Router X200", "Standing Mat", "Wool Rug", "Steel Shelf")
_FIRMS = ("Acme Energy Ltd", "Globex Corp", "Initech GmbH", "Umbrella SA", "Stark Industries", "Hooli s.r.o.")
_TITLES = ("Sales Manager", "Head of Data", "Software Engineer", "Office Clerk", "Site Lead")
_CITIES = ("Praha", "Brno", "New York", "San Sebastián", "Köln", "Galway", "Kraków", "Split")
_LOREM = ("order", "shipped", "late", "again", "parcel", "was", "wet", "refund", "agreed", "second", "visit", "meter")


class Maker:
    """Values of every kind, the same for a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def first(self, _n: int) -> str:
        return self.random.choice(_FIRST)

    def last(self, _n: int) -> str:
        return self.random.choice(_LAST)

    def full(self, n: int) -> str:
        return f"{self.first(n)} {self.last(n)}"

    def email(self, n: int) -> str:
        return f"{self.first(n)}.{n}@{self.random.choice(['example.com', 'mail.example.org', 'example.co.uk'])}".lower()

    def role(self, _n: int) -> str:
        return self.random.choice(
            ["support@example.com", "noreply@example.com", "billing@example.org", "info@example.cz"]
        )

    def phone(self, n: int) -> str:
        return self.random.choice([f"+42060{n:02d}12{n:02d}8"[:13], f"+49 151 2345{n:04d}", f"00 44 20 7946 {n:04d}"])

    def national(self, n: int) -> str:
        return f"60{n:02d} 123 {n:03d}"

    def msisdn(self, n: int) -> int:
        return 420601000000 + n

    def street(self, n: int) -> str:
        return f"{self.random.choice(['Dlouhá', 'High Street', 'Rue Cler', 'Hauptstraße'])} {n + 1}"

    def zip(self, n: int) -> str:
        return f"{100 + n} {n:02d}"

    def born(self, n: int) -> date:
        return date(1960, 1, 1) + timedelta(days=313 * n)

    def ip(self, n: int) -> str:
        return str(IPv4Address(int(IPv4Address("81.2.69.0")) + n))

    def inside(self, n: int) -> str:
        return f"10.0.{n}.7"

    def cookie(self, _n: int) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def imei(self, n: int) -> str:
        digits = f"35209900{n:06d}"
        doubled = [int(d) * (1 + i % 2) for i, d in enumerate(digits)]
        return digits + str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)

    def iban(self, n: int) -> str:
        bban = f"0800{n:016d}"
        return f"CZ{98 - int(bban + '123500') % 97:02d}{bban}"

    def hash(self, n: int) -> str:
        return hashlib.sha256(str(n).encode()).hexdigest()

    def gender(self, _n: int) -> str:
        return self.random.choice("fmx")

    def diet(self, _n: int) -> str:
        return self.random.choice(["vegan", "no nuts", "none", "halal"])

    def told(self, n: int) -> str:
        return f"{self.words(n)} write to {self.email(n)} please" if n % 5 == 0 else self.words(n)

    def called(self, n: int) -> str:
        return f"{self.words(n)}, call {self.phone(n)}" if n % 4 == 0 else self.words(n)

    def document(self, n: int) -> dict[str, Any]:
        return {"user": {"mail": self.email(n)}, "n": n}

    # none of these is anybody's

    def id(self, n: int) -> int:
        return n

    def uuid(self, n: int) -> uuid.UUID:
        return uuid.UUID(int=n)

    def ts(self, n: int) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)

    def flag(self, n: int) -> bool:
        return n % 3 == 0

    def amount(self, n: int) -> float:
        return n * 1.25

    def words(self, _n: int) -> str:
        return " ".join(self.random.sample(_LOREM, 4))

    def slug(self, n: int) -> str:
        return f"item-{n % 9}"

    def code(self, n: int) -> str:
        return f"AB{n:05d}"

    def long_code(self, n: int) -> str:
        return f"2026{n:06d}77{n % 10}"

    def goods(self, _n: int) -> str:
        return self.random.choice(_GOODS)

    def firm(self, _n: int) -> str:
        return self.random.choice(_FIRMS)

    def job(self, _n: int) -> str:
        return self.random.choice(_TITLES)

    def city(self, _n: int) -> str:
        return self.random.choice(_CITIES)

    def host(self, n: int) -> str:
        return f"node{n}.internal.example.net"

    def path(self, n: int) -> str:
        return f"/srv/data/part-{n:04d}.parquet"

    def url(self, n: int) -> str:
        return f"https://www.example.com/p/{n}?ref=a@b"

    def phone_model(self, _n: int) -> str:
        return self.random.choice(["iPhone 15", "Pixel 9", "Galaxy S24"])

    def template(self, _n: int) -> str:
        return self.random.choice(["welcome", "reset", "receipt", "digest"])

    def config(self, n: int) -> dict[str, Any]:
        return {"retries": n, "mode": "fast"}

    def version(self, n: int) -> str:
        return f"1.{n}.0.{n % 7}"

    def country(self, _n: int) -> str:
        return self.random.choice(["CZ", "DE", "ES"])

    def state(self, _n: int) -> str:
        return self.random.choice(["open", "closed", "new"])


_TYPES: dict[str, Any] = {
    "id": sa.Integer, "msisdn": sa.BigInteger, "born": sa.Date, "uuid": sa.Uuid, "flag": sa.Boolean,
    "ts": sa.DateTime(timezone=True),    "amount": sa.Numeric(12, 2), "document": JSONB, "config": JSONB,
}  # fmt: skip

PERSONAL = """
crm.customers: id:id first_name:first* last_name:last* email:email* phone:phone* company:firm job_title:job at:ts
crm.contacts: id:id full_name:full* eMail:email* mobile_phone:national* city:city notes:told*
crm.addresses: id:id street:street* postal_code:zip* city:city country_code:country
crm.leads: id:id contact_name:full* contact_email:email* source:slug message:called*
crm.companies: id:id name:firm website:url contact_person:full* billing_email:email*
crm.opt_outs: id:id email_hash:hash* reason:state
billing.accounts: id:id holder_name:full* iban:iban* balance:amount
billing.invoices: id:id bill_to_name:full* billing_address:street* total:amount issued:ts
billing.payers: id:id payer:full* payer_email:email* currency:country
billing.refunds: id:id amount:amount bank_account:iban* state:state
hr.employees: id:id given_name:first* surname:last* dob:born* gender:gender* salary:amount* department:slug
hr.candidates: id:id applicant_name:full* personal_email:email* consent_until:ts cv_path:path
hr.emergency_contacts: id:id name:full* phone:phone* relation:state
hr.leave: id:id employee_name:full* from_day:ts days:id
hr.health: id:id employee_id:id diagnosis:words*
desk.tickets: id:id requester_email:email* subject:words body:told* status:state
desk.messages: id:id ticket_id:id body:called* sent_at:ts
desk.agents: id:id display_name:full* login:slug* active:flag
desk.calls: id:id caller_number:phone* agent_id:id seconds:id
web.page_views: id:id client_ip:ip* cookie_id:cookie* path:path at:ts
web.sessions: id:id ip_address:ip* user_agent:words started:ts
web.events: id:id payload:document* kind:state
web.logins: id:id username:slug* remote_addr:ip* at:ts
net.cdr: id:id calling_msisdn:msisdn* called_msisdn:msisdn* at:ts seconds:id
net.devices: id:id imei:imei* model:phone_model
net.subscribers: id:id msisdn:phone* imsi:long_code* plan:slug
mkt.subscriptions: id:id email_address:email* list:slug confirmed:flag
mkt.registrations: id:id attendee:full* email:email* company:firm role:job
mkt.guests: id:id guest_name:full* dietary_needs:diet* arrives:ts
mkt.survey_answers: id:id question_id:id answer:told*
shop.orders: id:id customer_email:email* shipping_address:street* total:amount
shop.reviews: id:id author:full* reply_to:email* stars:id product:goods
shop.carts: id:id cookie:cookie* items:id
ops.visitors: id:id visitor_name:full* badge:code at:ts
ops.parking: id:id owner_phone:national* plate:code
supplier.people: id:id name:full* work_email:email* supplier_id:id
supplier.banks: id:id bank_account_number:iban* bank:firm
lab.patients: id:id patient_name:full* birth_date:born* blood_group:country*
lab.samples: id:id national_id:code* taken:ts value:amount
"""

COPIES = """
{s}.customers_bak_{n}: id:id first_name:first* last_name:last* email:email* phone:phone* company:firm
{s}.tmp_export_{n}: c1:id c2:full* c3:email* c4:phone* c5:firm c6:ts
{s}.stage_{n}: col_1:code col_2:email* col_3:amount
{s}.dump_{n}: id:id blob:document*
{s}.pivot_{n}: key:code value:phone* n:id
{s}.free_{n}: id:id remark:told* status:state
{s}.seen_{n}: id:id src:ip* hits:id
"""

TRAPS = """
{s}.products_{n}: id:id name:goods product_name:goods sku:code price:amount
{s}.email_templates_{n}: id:id email_template:template email_subject:words email_count:id email_sent_at:ts
{s}.phone_models_{n}: id:id phone:phone_model phone_type:state phone_os:version
{s}.servers_{n}: id:id host_name:host ip:inside ip_address:inside mail_server:host
{s}.files_{n}: id:id file_name:path file_size:id path:path url:url
{s}.settings_{n}: id:id name:template value:version config:config
{s}.flags_{n}: id:id email_enabled:flag phone_verified:flag email:flag
{s}.mailboxes_{n}: id:id email:role queue:slug
{s}.orders_{n}: id:long_code order_number:long_code total:amount at:ts state:state
{s}.firms_{n}: id:id company_name:firm city:city country_name:city registration_no:code
{s}.jobs_{n}: id:uuid job_name:template user_count:id finished:ts birth_rate:amount
{s}.stats_{n}: day:ts country:country visitors:id address_count:id email_opens:id
"""


def company() -> list[tuple[str, dict[str, tuple[str, bool]]]]:
    """Two hundred tables: (name with schema, columns: (kind of values, whether it is personal data))."""
    lines = list(PERSONAL.strip().splitlines())
    rounds = [
        (COPIES, ("old", "lake", "tmp", "etl", "bi")),
        (TRAPS, ("app", "core", "infra", "bi", "etl", "ref", "old", "sys_a", "sys_b", "sys_c")),
    ]
    for text, schemas in rounds:
        for n, schema in enumerate(schemas):
            lines += text.strip().format(s=schema, n=n).splitlines()
    tables = []
    for line in lines:
        name, _, columns = line.partition(": ")
        parsed = [part.partition(":") for part in columns.split()]
        tables.append((name, {column: (kind.rstrip("*"), kind.endswith("*")) for column, _, kind in parsed}))
    return tables + [
        (f"archive.log_{n}", {"id": ("id", False), "line": ("words", False)}) for n in range(200 - len(tables))
    ]


def build(engine: sa.Engine) -> dict[str, set[str]]:
    """Make it, and say which columns of which table are personal data."""
    metadata, truth = sa.MetaData(), {}
    with engine.begin() as connection:
        for schema in sorted({name.partition(".")[0] for name, _ in company()}):
            connection.execute(sa.schema.CreateSchema(schema))
        for number, (name, columns) in enumerate(company()):
            schema, _, own = name.partition(".")
            made = sa.Table(
                own,
                metadata,
                *(sa.Column(one, _TYPES.get(kind, sa.Text)) for one, (kind, _) in columns.items()),
                schema=schema,
            )
            made.create(connection)
            maker = Maker(number)
            makers: dict[str, Callable[[int], Any]] = {one: getattr(maker, kind) for one, (kind, _) in columns.items()}
            connection.execute(sa.insert(made), [{one: make(n) for one, make in makers.items()} for n in range(ROWS)])
            truth[name] = {one for one, (_, personal) in columns.items() if personal}
    return truth
