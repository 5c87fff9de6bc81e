"""The tables of the demo company's two databases."""

from __future__ import annotations

from lethe_demo.systems import SYSTEMS

_CRM = """
CREATE SCHEMA marketing;
CREATE SCHEMA sales;

CREATE TABLE marketing.webinar_registrations (
    registration_id bigint PRIMARY KEY,
    webinar_code text NOT NULL,
    webinar_date date,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text,
    company text,
    industry text,
    role text,
    registered_at timestamptz NOT NULL
);
CREATE TABLE marketing.webinar_attendance (
    id bigint PRIMARY KEY,
    registration_id bigint NOT NULL REFERENCES marketing.webinar_registrations,
    joined_at timestamptz NOT NULL,
    minutes integer NOT NULL
);
CREATE TABLE marketing.event_invitations (
    invitation_id bigint PRIMARY KEY,
    event_code text NOT NULL,
    event_day text,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text,
    company text,
    industry text,
    role text,
    status text NOT NULL
);
CREATE TABLE sales.enquiries (
    enquiry_id bigint PRIMARY KEY,
    kind text NOT NULL,
    received_at timestamptz,
    last_inbound_at timestamptz,
    last_outbound_at timestamptz,
    agreement_no text,
    full_name text NOT NULL,
    email text NOT NULL,
    phone text,
    company text,
    account text
);
CREATE TABLE sales.enquiry_messages (
    id bigint PRIMARY KEY,
    enquiry_id bigint NOT NULL REFERENCES sales.enquiries,
    sent_at timestamptz NOT NULL,
    author text NOT NULL,
    body text NOT NULL
);
"""

_CRM_INDEXES = """
CREATE INDEX ON marketing.webinar_registrations (webinar_date);
CREATE INDEX ON marketing.webinar_attendance (registration_id);
CREATE INDEX ON marketing.event_invitations (event_day);
CREATE INDEX ON sales.enquiries (received_at);
CREATE INDEX ON sales.enquiries (last_inbound_at);
CREATE INDEX ON sales.enquiries (last_outbound_at);
CREATE INDEX ON sales.enquiries (greatest(received_at, last_inbound_at, last_outbound_at));
CREATE INDEX ON sales.enquiry_messages (enquiry_id);
"""

_OPERATIONS = """
CREATE SCHEMA billing;
CREATE SCHEMA guests;
CREATE SCHEMA traffic;

CREATE TABLE billing.bills (
    bill_no text PRIMARY KEY,
    issued_on date NOT NULL,
    state text NOT NULL CHECK (state IN ('settled', 'unsettled', 'challenged', 'in court'))
);
CREATE TABLE traffic.end_user_records (
    record_id bigint NOT NULL,
    bill_no text REFERENCES billing.bills,
    msisdn text NOT NULL,
    imsi text,
    imei text,
    sent_at timestamptz NOT NULL,
    seconds integer NOT NULL,
    PRIMARY KEY (record_id, sent_at)
) PARTITION BY RANGE (sent_at);
CREATE TABLE traffic.end_user_records_early PARTITION OF traffic.end_user_records
    FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE traffic.end_user_records_2025 PARTITION OF traffic.end_user_records
    FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE traffic.end_user_records_2026 PARTITION OF traffic.end_user_records
    FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE traffic.end_user_records_later PARTITION OF traffic.end_user_records DEFAULT;

CREATE TABLE guests.logistics (
    event_code text NOT NULL,
    guest_no integer NOT NULL,
    event_day date,
    full_name text NOT NULL,
    email text,
    phone text,
    emergency_contact text,
    PRIMARY KEY (event_code, guest_no)
);
CREATE TABLE guests.accommodation (
    id bigint PRIMARY KEY,
    event_code text NOT NULL,
    guest_no integer NOT NULL,
    hotel text NOT NULL,
    check_in date NOT NULL,
    check_out date NOT NULL,
    FOREIGN KEY (event_code, guest_no) REFERENCES guests.logistics
);
CREATE TABLE guests.dietary (
    id bigint PRIMARY KEY,
    event_code text NOT NULL,
    guest_no integer NOT NULL,
    need text NOT NULL,
    note text,
    FOREIGN KEY (event_code, guest_no) REFERENCES guests.logistics
);
CREATE TABLE guests.arrivals (
    id bigint PRIMARY KEY,
    event_code text NOT NULL,
    guest_no integer NOT NULL,
    arrives_at timestamptz NOT NULL,
    means text NOT NULL,
    number text,
    FOREIGN KEY (event_code, guest_no) REFERENCES guests.logistics
);
"""

_OPERATIONS_INDEXES = """
CREATE INDEX ON traffic.end_user_records (sent_at);
CREATE INDEX ON traffic.end_user_records (bill_no);
CREATE INDEX ON guests.logistics (event_day);
CREATE INDEX ON guests.accommodation (event_code, guest_no);
CREATE INDEX ON guests.dietary (event_code, guest_no);
CREATE INDEX ON guests.arrivals (event_code, guest_no);
"""

MARK = """
CREATE SCHEMA IF NOT EXISTS lethe_demo;
CREATE TABLE IF NOT EXISTS lethe_demo.seed (
    one integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    as_of timestamptz NOT NULL,
    scale double precision NOT NULL,
    seed bigint NOT NULL,
    complete boolean NOT NULL
);
"""

_OWN_SCHEMAS = {"crm": ("marketing", "sales"), "operations": ("billing", "guests", "traffic")}


def tables(database: str) -> str:
    """Creates all tables of a database."""
    own = {"crm": _CRM, "operations": _OPERATIONS}[database]
    return own + "".join(system.tables_sql for system in SYSTEMS if system.database == database)


def indexes(database: str) -> str:
    """Creates their indexes, once they are filled."""
    own = {"crm": _CRM_INDEXES, "operations": _OPERATIONS_INDEXES}[database]
    return own + "".join(system.indexes_sql for system in SYSTEMS if system.database == database) + "ANALYZE;\n"


def schemas(database: str) -> tuple[str, ...]:
    """The names of all schemas of a database."""
    theirs = (name for system in SYSTEMS if system.database == database for name in system.schemas)
    return (*_OWN_SCHEMAS[database], *theirs)


def drop(database: str) -> str:
    """Takes all of a database away."""
    return f"DROP SCHEMA IF EXISTS {', '.join(schemas(database))} CASCADE"
