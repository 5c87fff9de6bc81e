"""Identifiers of people and accounts, normalised so that a hold finds its records.

A hold names identifiers as people write them; records carry them as systems store them. Both are brought to one form
here. Databases cannot compute every form exactly, so each type also says what a store may compare instead:
`coarse` maps a normalised identifier to a text that any spelling of the same identifier is sure to contain, and
matching on it errs towards holding, never towards erasing.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

import phonenumbers

PHONE_SUFFIX = 7
"""Digits at the end of a telephone number that stores compare when they cannot normalise it exactly."""


_NOT_TEXT = frozenset({"Cc", "Cs"})
"""Control characters, and lone surrogates: bytes of a command line or a file that were no UTF-8."""


class IdentifierType(StrEnum):
    """What kinds of identifiers a dataset can carry and a hold can name."""

    EMAIL = "email"
    PHONE = "phone"
    ACCOUNT = "account"
    PERSON = "person"
    COMPANY = "company"
    COOKIE = "cookie"
    IP = "ip"
    MSISDN = "msisdn"
    IMSI = "imsi"
    IMEI = "imei"
    EVENT = "event"
    TICKET = "ticket"
    INVOICE = "invoice"

    @property
    def is_telephone(self) -> bool:
        """Whether identifiers of this type are telephone numbers, compared by their last digits."""
        return self in (IdentifierType.PHONE, IdentifierType.MSISDN)

    @property
    def is_of_a_person(self) -> bool:
        """Whether it leads to a person, and not to a company, an event, a ticket or an invoice."""
        return self not in (
            IdentifierType.COMPANY,
            IdentifierType.EVENT,
            IdentifierType.TICKET,
            IdentifierType.INVOICE,
        )


def require_region(region: str) -> str:
    """A country that national telephone numbers can be of, as it was given.

    Raises:
        ValueError: if it is not an ISO 3166 code in capitals; national numbers would then match nothing.
    """
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{region!r} is not a country: write its ISO 3166 code, such as CZ")
    return region


def normalise(kind: IdentifierType, text: str, *, region: str | None = None) -> str:
    """Bring an identifier to the form that holds are stored and matched in.

    E-mail addresses are trimmed, NFC-composed and lower-cased; telephone numbers become E.164 (national ones need
    `region`, an ISO 3166 country code; an unparsable one keeps its digits); all others are trimmed, NFC-composed and
    lower-cased.

    Raises:
        ValueError: if nothing is left, or the text cannot be such an identifier. The message does not repeat it.
    """
    value = unicodedata.normalize("NFC", text).strip()
    odd = not value.isprintable() and any(unicodedata.category(character) in _NOT_TEXT for character in value)
    if not value or odd:
        raise ValueError(f"not an identifier of type {kind}: empty, or with control characters")
    if kind.is_telephone:
        return _e164(kind, value, region)
    value = unicodedata.normalize("NFC", value.lower()).strip()
    if kind is IdentifierType.EMAIL and not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError("not an e-mail address: it needs one @ with text on both sides")
    return value


def _e164(kind: IdentifierType, value: str, region: str | None) -> str:
    too_short = ValueError(f"not a telephone number: it needs at least {PHONE_SUFFIX} digits after the country code")
    for candidate in (value, _international(kind, value)):
        try:
            number = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if len(phonenumbers.national_significant_number(number)) < PHONE_SUFFIX:
            raise too_short  # its national spelling would not end with the digits that stores compare
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    digits = _digits(value)
    if len(digits) < PHONE_SUFFIX:
        raise too_short
    return digits if digits == value else _e164(kind, digits, region)


def _international(kind: IdentifierType, value: str) -> str:
    """A number as it would be written with a plus: one dialled with 00, or an MSISDN (ITU-T E.164, without a plus)."""
    without = value.removeprefix("00")
    return "+" + without if without != value or kind is IdentifierType.MSISDN else value


def coarse(kind: IdentifierType, normalised: str) -> str:
    """What a store compares: the last digits of a telephone number, else the normalised identifier itself.

    A store computes the same from a record's column: for telephone numbers, drop all that is not a digit and take the
    last `PHONE_SUFFIX`; for others, trim and lower-case.
    """
    return _digits(normalised)[-PHONE_SUFFIX:] if kind.is_telephone else normalised


def _digits(text: str) -> str:
    return "".join(str(unicodedata.digit(character)) for character in text if unicodedata.category(character) == "Nd")
