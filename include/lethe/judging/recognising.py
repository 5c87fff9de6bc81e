"""What looks like personal data: by the name of a column, by its type, and by a sample of its values.

Names mislead (`file_name`, `email_sent`), and copies have names that say nothing (`c4`): a name is believed where the
values do not contradict it, and values are believed without a name where they have a form that nothing else has.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field


class Personal(StrEnum):
    """Kinds of personal data."""

    EMAIL = "e-mail address"
    PHONE = "telephone number"
    NAME = "person's name"
    ADDRESS = "postal address"
    BIRTH = "date of birth"
    ID = "official or payment number"
    ONLINE = "address or id of a device"
    SENSITIVE = "data about a person"
    TEXT = "text with personal data in it"


class ColumnSeen(BaseModel):
    """What of a column may leave its store: its name and type, and counts over a sample of its values."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    values: int = Field(default=0, description="Sampled values that are not null.")
    distinct: int = 0
    forms: Mapping[str, int] = Field(default_factory=dict, description="How many of them have which form.")


_EMAIL = re.compile(r"[^@\s<>\"',;:|]+@[A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z]{2,}")
_ROLE = re.compile(
    r"(?:no-?reply|info|support|help|sales|admin|office|contact|hello|postmaster|webmaster|billing|noc|abuse|security"
    r"|team|system|root|alerts?|notifications?|marketing|hr|jobs|press|service|helpdesk|invoices?)[0-9._+-]*@",
    re.IGNORECASE,
)
_PHONE_IN_TEXT = re.compile(r"(?<![\w.+-])(?:\+|00)[1-9][0-9 ()/.-]{7,18}[0-9](?![\w-])")
_PERSON = re.compile(r"(?:(?:Mr|Mrs|Ms|Dr|Ing|Prof)\.? )?[^\W\d_][\w'’.-]*(?:,? [^\W\d_][\w'’.-]*){1,3}")
_FIRM = re.compile(r"\b(?:Ltd|Corp|Inc|LLC|LLP|GmbH|AG|SA|SAS|SL|BV|AB|Oy|PLC|s\.r\.o|a\.s|Group|Bank)\b")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")


def is_role(address: str) -> bool:
    """Whether an e-mail address is nobody's in person: info@, support@."""
    return _ROLE.match(address) is not None


def _is_email(text: str) -> bool:
    return _EMAIL.fullmatch(text) is not None and not is_role(text)


def _is_phone(text: str) -> bool:
    if not re.fullmatch(r"(?:\+|00)[0-9 ()/.-]{8,22}", text):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse("+" + re.sub(r"\D", "", text).removeprefix("00")))
    except phonenumbers.NumberParseException:
        return False


def is_address_of_a_device(text: str) -> bool:
    """Addresses of the Internet; not those that begin with a small number, which versions of software look like."""
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return False
    return address.is_global and (address.version == 6 or address.packed[0] > 10)


def _luhn(digits: str) -> bool:
    doubled = (int(one) * 2 for one in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(one - 9 if one > 9 else one for one in doubled)) % 10 == 0


def _is_number_of_a_person(text: str) -> bool:
    bare = re.sub(r"[ -]", "", text)
    if _IBAN.fullmatch(bare):
        return int("".join(str(int(one, 36)) for one in bare[4:] + bare[:4])) % 97 == 1
    return re.fullmatch(r"[3-6][0-9]{14,15}", bare) is not None and _luhn(bare)


def _mentions_somebody(text: str) -> bool:
    found = (one[0] for one in _EMAIL.finditer(text))
    return any(_is_email(one) for one in found) or any(_is_phone(one[0]) for one in _PHONE_IN_TEXT.finditer(text))


def _is_a_persons_name(text: str) -> bool:
    words = re.findall(r"[^\W\d_][\w'’-]*", text)
    if _FIRM.search(text):
        return False
    return _PERSON.fullmatch(text) is not None and sum(word[0].isupper() for word in words) >= 2


_FORMS: Mapping[str, Callable[[str], bool]] = {
    Personal.EMAIL: _is_email,
    Personal.PHONE: _is_phone,
    Personal.ONLINE: is_address_of_a_device,
    Personal.ID: _is_number_of_a_person,
    Personal.NAME: _is_a_persons_name,
    Personal.TEXT: _mentions_somebody,
    "at": lambda text: "@" in text,
    "word": lambda text: re.fullmatch(r"[^\W\d_][^\d_/\\<>{}]*", text) is not None and text[0].isupper(),
    "digits": lambda text: sum(one.isdigit() for one in text) >= 6,
    "role": is_role,
}


def forms_of(values: Iterable[object]) -> tuple[int, int, dict[str, int]]:
    """(number, number of distinct ones, how many have which form) of values; nulls and blanks are none."""
    texts = [text for value in values if value is not None and (text := str(value).strip()[:4000])]
    counts = {str(form): sum(map(has, texts)) for form, has in _FORMS.items()}
    return len(texts), len(set(texts)), {form: count for form, count in counts.items() if count}


def named_for_somebody(name: str) -> bool:
    """Whether what is used as a name (of a field, a folder) is a value of somebody's, or looks like it."""
    return _named(name) is None and any(_FORMS[form](name.strip()) for form in (Personal.NAME, "at", "digits"))


def is_header(cells: Iterable[str]) -> bool:
    """Whether the first line of a file names its columns, rather than being a row of it like all others."""
    names = list(cells)
    return any(map(_named, names)) and not any(map(named_for_somebody, names))


_NAMES: tuple[tuple[Personal, str], ...] = (
    (Personal.EMAIL, r"e_?mail(_?addr(ess)?)?|mail|correo|courriel"),
    (Personal.PHONE, r"(tele)?phone(_?(number|no|num))?|tel|mobile(_(number|no|phone))?|cell|fax|msisdn|telefon|gsm"),
    (Personal.BIRTH, r"dob|birth(_?(day|date))?|date_of_birth|born(_on)?"),
    (
        Personal.NAME,
        r"(first|last|given|family|middle|maiden|full|sur|nick|person|guest|attendee|customer|employee|patient|candidate"
        r"|applicant|recipient|subscriber|driver|passenger|author|signer|contact|speaker|holder|member|student|visitor"
        r"|cardholder|legal|owner|display|user|manager)_?name|user|login|attendee|recipient|cardholder",
    ),
    (Personal.ADDRESS, r"((street|postal)_)?(address|addr)(_?line)?|street|(post|zip)_?code|zip"),
    (
        Personal.ID,
        r"ssn|passport(_?(no|number|num))?|(national|personal|citizen|tax|government)_?(id|number|no)|rodne_cislo|iban"
        r"|driv(er|ing)s?_?licen[cs]e(_?(no|number))?|card_?(number|no)|pan|birth_number|social_security(_number)?"
        r"|bank_account(_number)?|account_number|id_card(_no|_number)?",
    ),
    (Personal.ONLINE, r"ip(v[46])?(_?addr(ess)?)?|cookie(_?id)?|device_?id|imei|imsi|mac(_?addr(ess)?)?|remote_addr"),
    (
        Personal.SENSITIVE,
        r"gender|sex|nationality|religion|ethnicity|diet(ary)?(_(needs|requirements|notes))?|allerg(y|ies)|diagnosis"
        r"|blood_(type|group)|disability|salary|marital_status|health(_notes)?|signature|photo(_url)?|citizenship",
    ),
)  # fmt: skip
_BEFORE = (
    r"(?:(?:work|home|private|personal|business|office|customer|contact|billing|shipping|primary|secondary|alt|alternate"
    r"|other|user|client|guest|sender|recipient|employee|emergency|owner|from|to|reply|cc|old|new|last|current|mobile|raw"
    r"|applicant|candidate|subscriber|caller|callee|called|calling|requester|reporter|buyer|payer|payee|src|dst|login|bill"
    r"|ship|delivery|invoice|end_user|visitor|patient|partner|parent|spouse|supplier|attendee|participant|kin|u|c|p)_)*"
)
_AFTER = (
    r"(?:_?[0-9]+|_(?:hash|enc|encrypted|norm|normali[sz]ed|lower|clean|raw|e164|copy|old|new|text|full|value|sha256))*"
)
_BY_NAME = tuple((kind, re.compile(f"{_BEFORE}(?:{pattern}){_AFTER}")) for kind, pattern in _NAMES)
_BARE_NAME = re.compile(
    r"(?:name|title_and_name|contact|contact_person|person|author|owner|signed_by|assignee|reporter)[0-9]*"
)
_OPAQUE = re.compile(r"(?:c|col|column|f|field|attr|attribute|val|value|data|x|v|t|text|str|unnamed|var)?_?[0-9]*")
_NEVER = re.compile(r"bool|tinyint\(1\)|uuid|bytea|blob|binary", re.IGNORECASE)
_DATE = re.compile(r"date|time", re.IGNORECASE)
_NUMBER = re.compile(r"int|numeric|decimal|double|real|float|number", re.IGNORECASE)
_MOST = 0.5
_SOME = 0.03
_FEW = 5


def personal(columns: Iterable[ColumnSeen]) -> dict[str, Personal]:
    """The columns of one table that look like personal data, and as what."""
    all_columns = list(columns)
    found = {column.name: kind for column in all_columns if (kind := _kind(column)) is not None}
    if set(found.values()) - {Personal.TEXT}:  # beside an e-mail address two capitalised words are somebody
        for column in all_columns:
            unnamed = _BARE_NAME.fullmatch(_snake(column.name)) or _OPAQUE.fullmatch(_snake(column.name))
            if column.name not in found and unnamed and _share(column, Personal.NAME) >= _MOST:
                found[column.name] = Personal.NAME
    return found


def _kind(column: ColumnSeen) -> Personal | None:
    if _NEVER.search(column.type):
        return None
    for kind in (Personal.EMAIL, Personal.PHONE, Personal.ONLINE, Personal.ID):
        if _share(column, kind) >= (0.9 if kind is Personal.ID else _MOST):
            return kind
    named = _named(column.name)
    if named is not None and _may_be(named, column) and not _contradicted(named, column):
        return named
    if _share(column, Personal.TEXT) >= _SOME and column.values:
        return Personal.TEXT
    return None


def _named(name: str) -> Personal | None:
    snake = _snake(name)
    return next((kind for kind, pattern in _BY_NAME if pattern.fullmatch(snake)), None)


def _may_be(kind: Personal, column: ColumnSeen) -> bool:
    """Whether a column of its type can have such data."""
    if _DATE.search(column.type):
        return kind is Personal.BIRTH
    if _NUMBER.search(column.type):
        return kind in (Personal.PHONE, Personal.ID, Personal.ONLINE, Personal.BIRTH) or column.name.lower() == "salary"
    return True


def _contradicted(kind: Personal, column: ColumnSeen) -> bool:
    """Whether the values are something else than the name says."""
    if column.values < _FEW or re.search(r"hash|enc|sha", column.name.lower()):
        return False
    if kind is Personal.EMAIL:
        return _share(column, "at") < _MOST or _share(column, "role") > _MOST
    if kind is Personal.PHONE:
        return _share(column, "digits") < _MOST
    if kind is Personal.NAME:
        return column.distinct <= _FEW or (
            _share(column, "word") < _MOST and not re.search("user|login", column.name.lower())
        )
    if kind is Personal.ONLINE and _snake(column.name).endswith(("ip", "ip_address", "ipv4", "ipv6")):
        return _share(column, Personal.ONLINE) < 0.1
    return kind is Personal.ADDRESS and column.distinct <= _FEW


def _share(column: ColumnSeen, form: str) -> float:
    return column.forms.get(str(form), 0) / column.values if column.values else 0.0


def _snake(name: str) -> str:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"[^a-z0-9]+", "_", apart).strip("_")
