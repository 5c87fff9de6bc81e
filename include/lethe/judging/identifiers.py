"""Identifiers of people and accounts: the one meaning of "a record carries what a hold names".

A hold names identifiers as people write them; records carry them as systems and people store them. `normalise` is the
form in which holds are kept, and refuses what cannot be one identifier. `names` are the keys under which a held
identifier is looked for, `keys` those that a stored value has: the value is held where they have one in common
(`matches`). There are two ways:

- A value that is **exactly one identifier** has the key of its normal form, and no other. Databases can tell such
  values by a regular expression (`exactly_one`) and compute the key themselves.
- Every **other value** is searched: each of its parts that may be an identifier (sequences of its words, the last
  digits of each of its numbers, its addresses) is a key. It errs towards holding. What cannot be read at all is held
  by whatever is held of its type.

Keys begin with a sign that tells the ways apart, so that a part is never taken for the whole.
`vectors/identifiers.yaml` has it as data that all engines are tested with.
"""

from __future__ import annotations

import html
import ipaddress
import re
import unicodedata
import uuid
from collections.abc import Iterator
from decimal import Context, Decimal
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from enum import StrEnum
from functools import partial
from math import isfinite

import idna
import phonenumbers

PHONE_SUFFIX = 7
"""Digits at the end of a telephone number that are compared where a number cannot be read exactly."""

PART = "?"
"""Before the words of a held identifier, put together: looked for in values that are not exactly one."""
ANY = "="
"""Before the last digits of every held telephone number: looked for in values that cannot be read exactly."""
LOOSE = "~"
"""Before the last digits of a held number that itself could not be read exactly: looked for in all others."""
AS_NUMBER = "#"
"""Before the digits of a value that is stored as a number, which has no leading zeros."""
UNREADABLE = "*\x1a"
"""What a value has that cannot be read: any held identifier of its type may be in it."""

LONGEST = 9
"""So many words of an identifier are compared inside a longer text: an IBAN has up to nine groups."""

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
        """Whether identifiers of this type are telephone numbers."""
        return self in (IdentifierType.PHONE, IdentifierType.MSISDN)

    @property
    def is_device(self) -> bool:
        """Whether it is the number of a device or of a SIM card, of fixed length."""
        return self in _DEVICE_DIGITS

    @property
    def is_name(self) -> bool:
        """Whether it may be several words: the name of somebody."""
        return self in (IdentifierType.PERSON, IdentifierType.COMPANY)

    @property
    def is_of_a_person(self) -> bool:
        """Whether it leads to a person, and not to a company, an event, a ticket or an invoice."""
        return self not in (
            IdentifierType.COMPANY,
            IdentifierType.EVENT,
            IdentifierType.TICKET,
            IdentifierType.INVOICE,
        )


_DEVICE_DIGITS = {IdentifierType.IMSI: (14, 15), IdentifierType.IMEI: (14, 16)}
"""3GPP TS 23.003: an IMSI has 14 or 15 digits; an IMEI 14, and one of check or two of the software version."""


def require_region(region: str) -> str:
    """A country that national telephone numbers can be of, as it was given.

    Raises:
        ValueError: if it is not an ISO 3166 code in capitals; national numbers would then match nothing.
    """
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{region!r} is not a country: write its ISO 3166 code, such as CZ")
    return region


# --- one spelling ------------------------------------------------------------------------------------------------


def _unseen() -> str:
    """Characters that nobody sees: formatting, and what Unicode calls Default_Ignorable_Code_Point."""
    ranges = [(0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164), (0xFE00, 0xFE0F)]
    ranges += [(0xFFA0, 0xFFA0), (0xE0000, 0xE0FFF)]
    every = {chr(code) for first, last in ranges for code in range(first, last + 1)}
    blocks = (*range(128, 0x11100), *range(0x13000, 0x14000), *range(0x1BC00, 0x1D200))
    every |= {chr(code) for code in blocks if unicodedata.category(chr(code)) == "Cf"}
    return "".join(sorted(every))


_UNSEEN = _unseen()
_DASHES = "".join(chr(code) for code in range(128, 0x10000) if unicodedata.category(chr(code)) == "Pd") + "\u2212"
_SAME = str.maketrans(
    {
        **dict.fromkeys(_UNSEEN),
        **dict.fromkeys(_DASHES, "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\u2032\u00b4", "'"),
        "\u3002": ".",
        "\u0131": "i",
        "\u0307": None,
    }
)


def fold(text: str) -> str:
    """Text in one spelling: compatibility-decomposed, case-folded, without what nobody sees, decimal digits as 0 to 9.

    Dots above are left out, so that dotted and dotless i are one letter, and so are all dashes and all apostrophes:
    it errs towards being the same.
    """
    if text.isascii():
        return text.lower()
    once = unicodedata.normalize("NFKD", text.translate(_SAME)).translate(_SAME)
    folded = unicodedata.normalize("NFKD", once.casefold().lower()).translate(_SAME)
    return folded if folded.isascii() else "".join(map(_plain_digit, folded))


def _plain_digit(one: str) -> str:
    return one if one.isascii() or unicodedata.category(one) != "Nd" else str(unicodedata.digit(one))


def _bare(folded: str) -> str:
    """Folded text without accents and other marks."""
    if folded.isascii():
        return folded
    unmarked = "".join(one for one in folded if not unicodedata.category(one).startswith("M"))
    return unicodedata.normalize("NFC", unmarked)


_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
"""Letters of scripts that are written without blanks: there every letter counts as a word."""
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_POINT_ZERO = re.compile(r"([0-9])[.,]0+(?![0-9a-z.,])")
"""The decimals of a whole number that went through a spreadsheet."""


def _words(kind: IdentifierType, bare: str) -> list[tuple[str, str]]:
    """The words of a text, each with what it is put together with the one before by: in addresses, @ and dots stay."""
    text = _POINT_ZERO.sub(r"\1", bare)
    if kind is not IdentifierType.EMAIL:
        return [("", word) for word in _WORDS.findall(text)]
    found, end = [], 0
    for word in _WORDS.finditer(text):
        found.append((_gap(text[end : word.start()]), word[0]))
        end = word.end()
    return found


def _gap(between: str) -> str:
    if "@" in between:
        return "@"
    return "." if any(one in ".,_'+-" for one in between) else " " if between else ""


def exactly_one(kind: IdentifierType, beyond: str = "") -> str:
    """A regular expression of texts that are exactly one identifier, in the words of Python, PostgreSQL and RE2 alike.

    All of it is ASCII, but for `beyond`: further letters, as a range of characters.
    """
    word, letters = f"[0-9A-Za-z{beyond}]", f"[A-Za-z{beyond}]+(?:['-][A-Za-z{beyond}]+)*"
    token = f"{word}+(?:[_-]+{word}+)*"
    if kind is IdentifierType.EMAIL:
        body = f"{word}(?:[0-9A-Za-z{beyond}._+-]*{word})?@{word}(?:[0-9A-Za-z{beyond}.-]*{word})?"
    elif kind.is_telephone:
        body = r"(?:[+](?:[ ().-]*[0-9]){0,9}[ ().-]*[0-9]{0,6}|(?:[ ().-]*[0-9]){0,6}[ ().-]*[0-9]{0,9})[ ().-]*"
    elif kind.is_device:
        least, most = _DEVICE_DIGITS[kind]
        body = f"[0-9]{{{least},{most}}}"
    elif kind is IdentifierType.IP:
        octet = "(?:0|[1-9][0-9]{0,2})"
        body = f"{octet}(?:[.]{octet}){{3}}"
    elif kind.is_name:
        body = f"(?:{token}|{letters}(?: {letters})?)"
    elif kind is IdentifierType.COOKIE:
        body = f"{word}+(?:[._+/-]+{word}+)*={{0,2}}"
    else:
        body = token
    return f"^ *{body} *$"


_LETTERS_BEYOND = "\u00aa-\U0010ffff"
_EXACT = {kind: re.compile(exactly_one(kind, _LETTERS_BEYOND)) for kind in IdentifierType}
_ONLY_WORDS = re.compile(r"[\x00-\x7f]|[^\W_]")


# --- what holds are kept as --------------------------------------------------------------------------------------

_LOCAL = r"[^\x00-\x20@<>()\[\],;:\\\"'`|]+"
_EMAIL = re.compile(rf"{_LOCAL}(?:'{_LOCAL})*@[0-9a-z\x80-\U0010ffff.-]+")
_ARTEFACT = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?e[+-]?[0-9]+|[+-]?[0-9]+[.,]0+")
_NUMBER = re.compile(r"[0-9+ ().-]+")
_KEYPAD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_MOST_DIGITS = 15
"""Of a telephone number (ITU-T E.164)."""
_V4 = re.compile(r"(?<![0-9])[0-9]{1,3}(?:[.][0-9]{1,3}){3}(?![0-9])")
_V6 = re.compile(r"[0-9a-f]*:[0-9a-f:.]*")


def normalise(kind: IdentifierType, text: str, *, region: str | None = None) -> str:
    """Bring an identifier to the form that holds are kept in.

    Text is folded (`fold`) and composed, with single blanks; telephone numbers become E.164 (national ones need
    `region`, an ISO 3166 country code; without it they keep their digits), an IMEI its 14 digits without check digit or
    software version, an IP address the spelling of RFC 5952.

    Raises:
        ValueError: if the text is not exactly one possible identifier of its type. The message does not repeat it.
    """
    if any(unicodedata.category(one) in _NOT_TEXT for one in text.strip()):
        raise ValueError(f"not an identifier of type {kind}: with control characters")
    value = " ".join(fold(text).split())
    if not value:
        raise ValueError(f"not an identifier of type {kind}: empty")
    if why := _spoilt(kind, value, text):
        raise ValueError(f"not an identifier of type {kind}: {why}")
    if kind is IdentifierType.EMAIL:
        return _email(value)
    if kind is IdentifierType.IP:
        return _address(value)
    if not kind.is_name and _ARTEFACT.fullmatch(value):
        raise ValueError(
            f"not an identifier of type {kind}: a number as a spreadsheet writes it; format the column as text"
        )
    if kind.is_telephone:
        return _telephone(kind, value, region)
    if kind.is_device:
        return _subscriber(kind, value)
    if not _words(kind, _bare(value)):
        raise ValueError(f"not an identifier of type {kind}: it has no letter and no digit")
    return unicodedata.normalize("NFC", value)


_ERROR = re.compile(r"#(?:n/a|[a-z]+[!?]|div/0!)|#+")
_NOTHING = frozenset({"null", "none", "nan", "nil", "n/a", "na", "nat", "undefined", "true", "false", "-", "?"})
_WRAPPED = re.compile(r"""^['"`<({\[=]|['"`>)}\]]$""")


_STRICT = frozenset(kind for kind in IdentifierType if kind.is_telephone or kind.is_device or kind.is_name) | {
    IdentifierType.EMAIL,
    IdentifierType.IP,
}
"""Names, and what is read by a grammar of its own."""


def _spoilt(kind: IdentifierType, folded: str, text: str) -> str:
    """What an export or a wrong character set has made of an identifier, in words; nothing if nothing."""
    reason = ""
    if "\ufffd" in folded or _is_garbled(text) or (kind is IdentifierType.PERSON and "?" in folded):
        reason = "letters of it were lost by a wrong character set; save the file as UTF-8"
    elif _ERROR.fullmatch(folded):
        reason = "an error of a spreadsheet"
    elif kind not in _STRICT and folded in _NOTHING:
        reason = "the word for no value"
    elif kind not in _STRICT and (_WRAPPED.search(folded) or re.search("[,;]", folded)):
        reason = "with quotes or brackets around it, or a comma or semicolon in it; write one identifier, nothing else"
    elif kind.is_name and re.search("[;|]", folded):
        reason = "with a semicolon or a bar in it; write one identifier a line"
    return reason


def _is_garbled(text: str) -> bool:
    """Whether it is surely UTF-8 that was taken for another character set: KÓŁKO might be, JosÃ© is no name."""
    signs = any(not one.isascii() and unicodedata.category(one) not in ("Lu", "Ll", "Mn") for one in text.strip())
    return signs and any(mistaken(text))


def _email(value: str) -> str:
    whole = value.rstrip(".")
    domain = whole.rpartition("@")[2]
    if not _EMAIL.fullmatch(whole) or any(not label or label.strip("-") != label for label in domain.split(".")):
        raise ValueError("not an e-mail address: it needs one @ with text on both sides, and nothing around it")
    return unicodedata.normalize("NFC", whole)


def _address(value: str) -> str:
    text, slash, prefix = value.partition("/")
    address = _parsed(text)
    if address is None:
        raise ValueError("not an IP address: write one IPv4 or IPv6 address, without port, zone or prefix")
    if slash and prefix != ("128" if ":" in text else "32"):
        raise ValueError("not an IP address but a network: name its addresses")
    return address


def _parsed(text: str) -> str | None:
    """An IP address in one spelling: IPv4 also where it is mapped into IPv6."""
    if _V4.fullmatch(text):
        text = ".".join(str(int(octet)) for octet in text.split("."))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id else str(address.ipv4_mapped or address)
    return str(address)


def _subscriber(kind: IdentifierType, value: str) -> str:
    digits = re.sub("[ ./-]", "", value)
    least, most = _DEVICE_DIGITS[kind]
    if not (digits.isdecimal() and digits.isascii() and least <= len(digits) <= most):
        raise ValueError(f"not an identifier of type {kind}: it needs {least} to {most} digits")
    return digits[:least] if kind is IdentifierType.IMEI else digits


def _telephone(kind: IdentifierType, value: str, region: str | None) -> str:
    number = _exact_number(kind, value, region)
    digits = _digits(value)
    national = not value.startswith(("+", "00")) and not (region and _parse(value, region))
    plain = _NUMBER.fullmatch(value) and PHONE_SUFFIX <= len(digits) <= _MOST_DIGITS
    if number is None and not (national and plain):
        raise ValueError(
            f"not a telephone number: it needs at least {PHONE_SUFFIX} digits after the country code, as many as its "
            "country's numbers have, and nothing but one number"
        )
    if number is not None and _has_too_much_in_front(number):
        raise ValueError(
            "not a telephone number: with a zero, or its country's code again, in front of what is one; write it with "
            "+ and the country code, and without (0)"
        )
    return number or digits


def _has_too_much_in_front(number: str) -> bool:
    """Whether a number is none that its country has, and would be one without what is dialled before it at home."""
    parsed = phonenumbers.parse(number)
    rest = phonenumbers.national_significant_number(parsed)
    code = str(parsed.country_code)
    without = {rest.lstrip("0"), rest.lstrip("0").removeprefix(code), rest.removeprefix(code).lstrip("0")} - {rest}
    candidates = (_parse(f"+{code}{shorter}", None) for shorter in without)
    return not phonenumbers.is_valid_number(parsed) and any(
        one is not None and phonenumbers.is_valid_number(one) for one in candidates
    )


def _parse(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _exact_number(kind: IdentifierType, value: str, region: str | None) -> str | None:
    """A folded text in E.164, where it is one possible number and nothing else."""
    if not _NUMBER.fullmatch(value):
        return None
    for candidate in dict.fromkeys((value, _international(kind, value))):
        number = _parse(candidate, region) if region or candidate.startswith("+") else None
        if number is None or not phonenumbers.is_possible_number(number):
            continue
        if len(phonenumbers.national_significant_number(number)) >= PHONE_SUFFIX:
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return None


def _international(kind: IdentifierType, value: str) -> str:
    """A number as it would be written with a plus: one dialled with 00, or an MSISDN (ITU-T E.164, without a plus)."""
    without = value.removeprefix("00")
    return "+" + without.lstrip() if without != value or kind is IdentifierType.MSISDN else value


def _digits(value: str) -> str:
    return "".join(re.findall("[0-9]", value))


# --- the keys of what is held ------------------------------------------------------------------------------------


def tail(value: str) -> str:
    """The last digits of a telephone number."""
    return _digits(value)[-PHONE_SUFFIX:]


def names(kind: IdentifierType, held: str) -> frozenset[str]:
    """The keys under which a held identifier is looked for, in whatever value.

    Args:
        kind: its type.
        held: its normal form, or the one that an earlier version kept; whatever it is, it never fails.
    """
    return frozenset((UNREADABLE, *whole_names(kind, held), *_part_names(kind, held)))


def whole_names(kind: IdentifierType, held: str) -> Iterator[str]:
    """Those for values that are exactly one identifier."""
    value = " ".join(fold(held).split())
    if kind.is_telephone:
        yield value if value.startswith("+") else LOOSE + tail(value)
    elif kind is IdentifierType.IP:
        yield from _spellings_of_address(value)
    elif kind.is_device:
        digits = _digits(value)
        yield digits[: _DEVICE_DIGITS[kind][0]] if kind is IdentifierType.IMEI else digits
    elif kind is IdentifierType.EMAIL:
        for address in (value, *(_EMAIL.findall(value) if not _EMAIL.fullmatch(value) else ())):
            yield address
            yield from _other_domain(address)
    else:
        yield value
        yield from _other_spellings(value)


def _part_names(kind: IdentifierType, held: str) -> Iterator[str]:
    """Those for values that are not."""
    if kind.is_telephone:
        yield from tails(held)
    elif kind is not IdentifierType.IP and not kind.is_device:
        for value in (held, *(_other_domain(fold(held)) if kind is IdentifierType.EMAIL else ())):
            words = _words(kind, _bare(fold(value)))[:LONGEST]
            yield PART + "".join(gap * (n > 0) + word for n, (gap, word) in enumerate(words))


def tails(held: str) -> Iterator[str]:
    """The keys of the ends of a held telephone number, as it may be written."""
    yield ANY + tail(held)
    if held.startswith("+54"):  # Argentina writes mobile numbers with a 15 before the subscriber's own
        number = _parse(held, None)
        if number is not None:
            yield ANY + tail(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))


def _spellings_of_address(value: str) -> Iterator[str]:
    address = _parsed(value) or value
    yield address
    yield from _address_keys(value) if _parsed(value) is None else ()
    if address.startswith("::") and address not in ("::", "::1"):  # of IPv4, as some write it
        packed = ipaddress.ip_address(address).packed if _parsed(address) else b""
        if packed and not any(packed[:12]):
            yield f"::{ipaddress.IPv4Address(packed[12:])}"


def _other_domain(address: str) -> Iterator[str]:
    """An address with its internationalised domain in the other way to write it (RFC 5890)."""
    local, _, domain = address.rpartition("@")
    try:
        if not domain.isascii():
            yield f"{local}@{idna.encode(unicodedata.normalize('NFC', domain), uts46=True).decode()}"
        elif "xn--" in domain:
            yield fold(f"{local}@{idna.decode(domain)}")
    except idna.IDNAError:
        return


def _other_spellings(value: str) -> Iterator[str]:
    """Digits as a number, a UUID with hyphens and without, and groups without the blanks between them."""
    if value.isdecimal() and value.isascii():
        yield AS_NUMBER + (value.lstrip("0") or "0")
    if len(value) in (32, 36) and re.fullmatch(r"[0-9a-f]{8}(-?)[0-9a-f]{4}(\1[0-9a-f]{4}){2}\1[0-9a-f]{12}", value):
        yield value.replace("-", "")
        yield str(uuid.UUID(value))
        yield uuid.UUID(value).bytes_le.hex()  # as Windows stores it
    if not _EXACT[IdentifierType.ACCOUNT].match(value):
        words = "".join(one if one.isalnum() or unicodedata.combining(one) else " " for one in value).split()
        yield from (gap.join(words) for gap in ("", " ", "-", "_"))


# --- the keys of what is stored ----------------------------------------------------------------------------------

EXACT_FLOATS = {4: 2.0**24, 8: 2.0**53}
"""Whole numbers from here on are not exact in floating-point types of so many bytes (IEEE 754)."""
_SCIENTIFIC = re.compile(r"(?<![0-9a-z@.,])[0-9]+(?:[.,][0-9]+e[+]?|e[+])[0-9]{1,2}(?![0-9a-z@.])")


def matches(kind: IdentifierType, held: str, value: object, region: str | None = None) -> bool:
    """Whether a stored value holds a held identifier: what every store has to agree on."""
    wanted = names(kind, held)
    return any(key in wanted for key in keys(kind, value, region))


def is_surely(kind: IdentifierType, named: str, value: object, region: str | None = None) -> bool:
    """Whether a stored value is exactly one identifier, and just the one that is named.

    The other way round than `matches`, which errs towards finding: what cannot be told for certain is another one's.

    Args:
        kind: the type of both.
        named: its normal form.
        value: as it is stored.
        region: country of national telephone numbers (ISO 3166), where it is known.
    """
    key = exact(kind, value, region)
    return key is not None and any(key == name and not name.startswith(LOOSE) for name in whole_names(kind, named))


def keys(kind: IdentifierType, value: object, region: str | None = None) -> Iterator[str]:
    """The keys that a stored value has; one may come several times.

    Args:
        kind: the type of identifier that the value is of.
        value: as it is stored, and as Python reads it: text, number, bytes, UUID, IP address. None has no keys.
        region: country of national telephone numbers (ISO 3166), where it is known.
    """
    key = exact(kind, value, region)
    if key is not None:
        yield key
        if kind.is_telephone:
            yield LOOSE + tail(key)
    else:
        for text in _written(value):
            yield from _keys(kind, text, region)


def exact(kind: IdentifierType, value: object, region: str | None = None) -> str | None:
    """The key of a value that is exactly one identifier; None for others."""
    match value:
        case bool() | None:
            return None
        case int():
            return _exact_digits(kind, value, region)
        case float() | Decimal():
            return _exact_digits(kind, int(value), region) if _is_whole(value) else None
        case bytes() | bytearray() | memoryview():
            return None
        case str():
            return _exact_text(kind, value, region)
    return _exact_text(kind, str(value), region)


def _is_whole(value: float | Decimal) -> bool:
    return isfinite(value) and value == int(value) and (isinstance(value, Decimal) or abs(value) < EXACT_FLOATS[8])


def _exact_digits(kind: IdentifierType, number: int, region: str | None) -> str | None:
    if kind is IdentifierType.IP:
        return None
    special = kind.is_telephone or kind.is_device or kind is IdentifierType.EMAIL
    return _exact_text(kind, str(number), region) if special else f"{AS_NUMBER}{number}"


def _exact_text(kind: IdentifierType, text: str, region: str | None) -> str | None:
    folded = fold(text).strip()
    if kind.is_telephone:
        number = _exact_number(kind, folded, region) if _EXACT[kind].match(folded) else None
        return number if number is not None and _surely(folded, number, region) else None
    if kind is IdentifierType.IP:
        return _parsed(folded)
    if not folded.isascii():
        bare = _bare(folded)
        if _UNSPACED_LETTER.search(bare) or not all(map(_ONLY_WORDS.match, bare)):
            return None
        if not _EXACT[kind].match(bare) or any(mistaken(text)):
            return None
    elif not _EXACT[kind].match(folded) or (kind is IdentifierType.COOKIE and _POINT_ZERO.search(folded)):
        return None
    return folded[: _DEVICE_DIGITS[kind][0]] if kind is IdentifierType.IMEI else folded


def _surely(value: str, number: str, region: str | None) -> bool:
    """Whether a text can be no other number: its country is written, or known, and no code of another is in front."""
    if value.startswith(("+", "0")):
        return region is not None or value.startswith(("+", "00"))
    abroad = _parse("+" + _digits(value), None)
    return region is not None and (
        abroad is None or not phonenumbers.is_valid_number(abroad) or "+" + _digits(value) == number
    )


def as_text(value: object) -> str:
    """A stored value as one text that `keys` searches just as the value itself."""
    match value:
        case bytes() | bytearray() | memoryview():
            return r"\x" + bytes(value).hex()
        case float() | Decimal():
            return next(iter(_number_written(value)), "")
    return str(value)


def _written(value: object) -> Iterator[str]:
    """A stored value as people write it; bytes in all the ways in which they may be meant."""
    match value:
        case None | bool():
            return
        case str():
            yield value
            yield from _unescaped(value)
        case float() | Decimal():
            yield from _number_written(value)
        case bytes() | bytearray() | memoryview():
            yield from _bytes_written(bytes(value))
        case _:
            yield str(value)


def _number_written(value: float | Decimal) -> Iterator[str]:
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if number.is_nan():
        return
    if number.is_infinite() or (isinstance(value, float) and abs(value) >= EXACT_FLOATS[8]):
        yield UNREADABLE
    if number.is_finite():
        yield format(number.quantize(1) if number == number.to_integral_value() else number, "f")


def _bytes_written(value: bytes) -> Iterator[str]:
    yield value.hex()
    yield from (text.strip("\0") for text in _decoded(value))
    if len(value) in (4, 16):
        yield str(ipaddress.ip_address(value))


_CHARSETS = (
    *("cp1252", "latin-1", "cp1250", "iso8859-2", "cp1251", "koi8-r", "iso8859-5", "cp1253", "cp1254", "cp1255"),
    *("cp1256", "cp1257", "cp437", "cp850", "cp852", "cp866", "mac-roman", "cp932", "gb18030", "big5", "cp949"),
)
"""What text may be written in that is no UTF-8."""
_MISTAKEN = ("cp1252", "latin-1", "cp1250", "iso8859-2", "cp1251", "cp1253", "cp437", "cp850", "cp852", "mac-roman")
"""What UTF-8 is often mistaken for."""


def _decoded(value: bytes) -> Iterator[str]:
    """Bytes as text: UTF-8, or all that they may be."""
    try:
        yield value.decode()
    except UnicodeDecodeError:
        yield from dict.fromkeys(value.decode(charset, "ignore") for charset in _CHARSETS)
    if b"\0" in value.strip(b"\0"):
        for charset in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            yield value.decode(charset, "ignore")


_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_ESCAPED_BLANK = re.compile(r"\\[nrtfbv]")
_BYTES = re.compile(r"\\x((?:[0-9a-f]{2})+)", re.IGNORECASE)
"""Bytes as PostgreSQL writes them, also in an array."""
_ESCAPED_BYTES = {
    "%": re.compile("(?:%[0-9a-fA-F]{2})+"),
    "=": re.compile("(?:=[0-9a-fA-F]{2})+"),
    "\\": re.compile(r"(?:\\x[0-9a-fA-F]{2})+"),
}
"""Runs of bytes as URLs, quoted-printable text (RFC 2045) and string literals have them."""
_AT_IN_WORDS, _DOT_IN_WORDS = "(?:at|zavina\u0301?c\u030c?)", "(?:dot|tec\u030c?ka)"
_SPELT_AT = re.compile(rf" ?[\[({{<] ?{_AT_IN_WORDS} ?[\])}}>] ?| {_AT_IN_WORDS} ")
_SPELT_DOT = re.compile(rf" ?[\[({{<] ?{_DOT_IN_WORDS} ?[\])}}>] ?| {_DOT_IN_WORDS} ")
"""As people write addresses for nobody to find, in English and Czech; folded."""
_DEEPEST = 3
"""So often a text may have been escaped."""


def _unescaped(text: str) -> Iterator[str]:
    """What a text was before it was escaped, once or several times."""
    known, latest = {text}, [text]
    for _ in range(_DEEPEST):
        latest = [one for escaped in latest for one in _unescaped_once(escaped) if one not in known]
        latest = list(dict.fromkeys(latest))
        known.update(latest)
        yield from latest


def _unescaped_once(text: str) -> Iterator[str]:
    """Text that was escaped for a URL, HTML, a mail or JSON, and bytes written as text, or taken for other text."""
    if "&" in text:
        yield html.unescape(text)
    if "=" in text:
        yield re.sub("=\r?\n", "", text)
        yield from _header(text)
    if "\0" in text:
        yield text.replace("\0", "").lstrip("\xfe\xff")
    if "\\" in text:
        yield _ESCAPED.sub(_from_utf_16, _ESCAPED_BLANK.sub(" ", text))
        for written in _BYTES.findall(text):
            yield from _bytes_written(bytes.fromhex(written))
    for sign, run in _ESCAPED_BYTES.items():
        if sign in text and run.search(text):
            yield from _with_bytes(run, text)
    yield from mistaken(text)


def _header(text: str) -> Iterator[str]:
    if "=?" in text:
        try:
            yield str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, ValueError):
            yield UNREADABLE


def _from_utf_16(run: re.Match[str]) -> str:
    return bytes.fromhex(run[0].replace("\\u", "")).decode("utf-16-be", "ignore")


def _with_bytes(run: re.Pattern[str], text: str) -> Iterator[str]:
    """A text in which the bytes of all runs are read, in whatever character set they may be."""
    runs = [bytes.fromhex(re.sub(r"%|=|\\[xX]", "", found)) for found in run.findall(text)]
    between = run.split(text)
    for readings in dict.fromkeys(zip(*(_readings(found) for found in runs), strict=True)):
        yield "".join(one + reading for one, reading in zip(between, (*readings, ""), strict=True))


def _readings(value: bytes) -> Iterator[str]:
    """The same number for all: as UTF-8 where they are, and in each character set."""
    for charset in _CHARSETS:
        try:
            yield value.decode()
        except UnicodeDecodeError:
            yield value.decode(charset, "ignore")


_TWO_BEYOND = re.compile("[\x80-\U0010ffff]{2}")


def mistaken(text: str) -> Iterator[str]:
    """What a text says if it is UTF-8 that was taken for another character set."""
    if not text.isascii() and _TWO_BEYOND.search(text):
        for charset in _MISTAKEN:
            try:
                yield _bytes_of(text, charset).decode()
            except UnicodeError:
                continue


def mistaken_pairs() -> str:
    """A regular expression of two characters that every text has which `mistaken` reads: where UTF-8 has two bytes."""
    return "|".join(
        f"[{''.join(map(read, range(0xC2, 0xF5)))}][{''.join(map(read, range(0x80, 0xC0)))}]"
        for read in (partial(_read, charset) for charset in _MISTAKEN)
    )


def _read(charset: str, byte: int) -> str:
    return bytes([byte]).decode(charset, "ignore") or chr(byte)


def _bytes_of(text: str, charset: str) -> bytes:
    """As `encode`, where a control character is the byte that the character set has nothing for."""
    try:
        return text.encode(charset)
    except UnicodeEncodeError:
        return b"".join(one.encode("latin-1" if "\x7f" < one < "\xa0" else charset) for one in text)


def _keys(kind: IdentifierType, text: str, region: str | None) -> Iterator[str]:
    """The keys of a text that is not exactly one identifier, or not surely."""
    if text == UNREADABLE:
        yield UNREADABLE
        return
    value = " ".join(fold(text if text.isprintable() else _without_control(text)).split())
    if kind is IdentifierType.EMAIL:
        value = _SPELT_DOT.sub(".", _SPELT_AT.sub("@", value))
    if kind is IdentifierType.IP:
        yield from _address_keys(value)
        return
    if "\ufffd" in value or (kind is not IdentifierType.EMAIL and any(map(_is_rounded, _SCIENTIFIC.findall(value)))):
        yield UNREADABLE
    if kind is not IdentifierType.EMAIL:
        value = _SCIENTIFIC.sub(lambda number: format(_decimal(number[0]).quantize(1, context=_WIDE), "f"), value)
    if kind.is_telephone:
        yield from _telephone_keys(kind, value, region)
    elif kind.is_device:
        yield from _subscriber_keys(kind, value)
    else:
        yield value
        yield from _window_keys(kind, value)


_WIDE = Context(prec=200)


def _decimal(number: str) -> Decimal:
    return Decimal(number.replace(",", "."))


def _is_rounded(written: str) -> bool:
    """Whether a number in scientific notation may have lost digits."""
    number = _decimal(written)
    return number != number.to_integral_value() or len(number.as_tuple().digits) <= number.adjusted()


def _without_control(text: str) -> str:
    return "".join(" " if unicodedata.category(one) in _NOT_TEXT else one for one in text)


def _window_keys(kind: IdentifierType, value: str) -> Iterator[str]:
    """Every sequence of words, put together."""
    words = _words(kind, _bare(value))
    for first in range(len(words)):
        joined = ""
        for gap, word in words[first : first + LONGEST]:
            joined = joined + gap + word if joined else word
            yield PART + joined


def _address_keys(value: str) -> Iterator[str]:
    found = [value, *_V4.findall(value)]
    if value.isdecimal() and value.isascii() and int(value) < 2**32:
        found.append(str(ipaddress.IPv4Address(int(value))))
    for run in _V6.findall(value):
        found += {run, run.strip(":"), run.lstrip(":"), run.rstrip(":."), run.rstrip("."), run.rpartition(":")[0]}
    yield from filter(None, map(_parsed, found))


def _subscriber_keys(kind: IdentifierType, value: str) -> Iterator[str]:
    least, most = _DEVICE_DIGITS[kind]
    groups = re.findall("[0-9]+", _POINT_ZERO.sub(r"\1", value))
    for first in range(len(groups)):
        digits = ""
        for group in groups[first:]:
            digits += group
            if len(digits) > most:
                break
            if len(digits) >= least:
                yield digits[:least] if kind is IdentifierType.IMEI else digits


def _telephone_keys(kind: IdentifierType, value: str, region: str | None) -> Iterator[str]:
    value = _POINT_ZERO.sub(r"\1", value)
    number = _exact_number(kind, value, region)
    if number is not None:
        yield number
        yield LOOSE + tail(number)
        if _EXACT[kind].match(value) and _surely(value, number, region):
            return
        yield "+" + _digits(value)
    yield from (ANY + ending for ending in _endings(value))
    if re.search("[a-z]", value):
        yield from (ANY + ending for ending in _endings(value.translate(_KEYPAD)))


def _endings(value: str) -> Iterator[str]:
    """The last digits of every number that may end where a group of digits does; in a very long group, anywhere.

    A short group may also be another end of the number before: 601 234 567/8.
    """
    digits = ""
    for group in re.findall("[0-9]+", value):
        if len(group) < PHONE_SUFFIX <= len(digits):
            yield (digits[: -len(group)] + group)[-PHONE_SUFFIX:]
        digits += group
        ends = range(PHONE_SUFFIX, len(digits) + 1) if len(group) > _MOST_DIGITS else (len(digits),)
        yield from (digits[end - PHONE_SUFFIX : end] for end in ends if end >= PHONE_SUFFIX)
