"""Personal data that people reveal in free text: what of it is recognised, where, and what is put in its place.

Recognised is what has a form of its own, most of it with a check digit (`python-stdnum`) or a numbering plan
(`phonenumbers`), and names of persons where the text itself says that they are names: after a title or an
introduction, below a closing formula, beside a contact, or in an e-mail address. A name that just stands there is not.
It errs towards recognising. `vectors/mentions.yaml` has what is found and what is not, as data.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec

import phonenumbers

from lethe.judging.identifiers import IdentifierType, fold
from lethe.judging.recognising import is_address_of_a_device, is_role

NOT_INSTALLED = "the recogniser of personal data in text is not installed: pip install 'lethe-retention[texts]'"


class Kind(StrEnum):
    """Kinds of personal data that are recognised in text.

    Attributes:
        token: what is put in place of it.
        words: what it is called where several are counted.
        identifier: the types of identifiers by which a hold may name it.
    """

    token: str
    words: str
    identifiers: frozenset[IdentifierType]

    def __new__(cls, value: str, token: str = "", words: str = "", *identifiers: IdentifierType) -> Kind:
        """A member; see the attributes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.token, member.words, member.identifiers = token, words, frozenset(identifiers)
        return member

    EMAIL = "email", "[e-mail]", "e-mail addresses", IdentifierType.EMAIL
    BANK_ACCOUNT = "bank_account", "[account]", "bank accounts"
    CARD = "card", "[card]", "payment cards"
    IDENTITY_NUMBER = "identity_number", "[id]", "numbers of persons"
    """Of the Czech Republic and Slovakia, Poland, France, Italy, Spain, Romania and Finland."""
    IP = "ip", "[IP]", "IP addresses", IdentifierType.IP
    PHONE = "phone", "[phone]", "telephone numbers", IdentifierType.PHONE, IdentifierType.MSISDN
    NAME = "name", "[name]", "names of persons", IdentifierType.PERSON


HELD_IN_TEXT = frozenset[IdentifierType]().union(*(kind.identifiers for kind in Kind))
"""The types of identifiers that are looked for in a text before anything in it is redacted."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Something personal in a text: what it is, and where, in characters."""

    kind: Kind
    start: int
    end: int

    def overlaps(self, other: Mention) -> bool:
        """Whether both have a character in common."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without what was recognised in it.

    Attributes:
        text: with tokens in its place, nowhere longer than what they replace.
        counts: how much was found, by kind.
    """

    text: str
    counts: Counter[Kind]


def why_not_installed() -> str | None:
    """Why nothing can be recognised here, with what to do; None where it can."""
    return None if find_spec("stdnum") is not None else NOT_INSTALLED


def redact(text: str, region: str | None = None) -> Redacted:
    """A text with a token in place of all that is recognised in it, until nothing more is.

    Args:
        text: any.
        region: the country of national telephone numbers, an ISO 3166 code.
    """
    counts: Counter[Kind] = Counter()
    while found := mentions(text, region):
        counts.update(mention.kind for mention in found)
        for mention in reversed(found):
            text = text[: mention.start] + _token(mention) + text[mention.end :]
    return Redacted(text, counts)


def _token(mention: Mention) -> str:
    """A token has to have room where the text had."""
    length = mention.end - mention.start
    return mention.kind.token if len(mention.kind.token) <= length else "*" * length


def mentions(text: str, region: str | None = None) -> list[Mention]:
    """What is recognised in a text, in its order; no two overlap."""
    plain, places = _plain(text)
    taken: list[Mention] = []
    for kind, find in _FINDERS:
        _take(taken, (Mention(kind, start, end) for start, end in find(plain, region)))
    _take(taken, (Mention(Kind.NAME, start, end) for start, end in _names(plain, taken)))
    in_text = (Mention(one.kind, places[one.start], places[one.end - 1] + 1) for one in taken)
    return sorted(in_text, key=lambda one: one.start)


def _take(taken: list[Mention], found: Iterable[Mention]) -> None:
    """Add what was found where nothing was before it."""
    for mention in list(found):
        if not any(mention.overlaps(other) for other in taken):
            taken.append(mention)


# --- one spelling -------------------------------------------------------------------------------------------------


def _plain(text: str) -> tuple[str, Sequence[int]]:
    """Text with one sign for all that look alike, and for each of its characters where it was."""
    if text.isascii():
        return text, range(len(text))
    letters: list[str] = []
    places: list[int] = []
    for place, one in enumerate(text):
        plain = _plain_letter(one)
        letters.append(plain)
        places += [place] * len(plain)
    return "".join(letters), places


def _plain_letter(one: str) -> str:
    if one.isascii():
        return one
    category = unicodedata.category(one)
    if category == "Cf":
        return ""
    if category == "Nd":
        return str(unicodedata.digit(one))
    if category == "Pd" or one == "\u2212":
        return "-"
    return unicodedata.normalize("NFKC", one)


# --- what has a form of its own -------------------------------------------------------------------------------------

Spans = Iterator[tuple[int, int]]

_LABEL = r"[^\W_](?:[^\W_]|-(?=[^\W_]))*"
_LOCAL = r"[^\s@<>()\[\]{},;:\"'`|]{1,64}"
_AT = r"(?:@| ?[(\[] ?(?:at|zavináč|zavinac) ?[)\]] ?| (?:zavináč|zavinac) )"
_DOT = r"(?:\.| ?[(\[] ?(?:dot|tečka|tecka) ?[)\]] ?| (?:tečka|tecka) )"
"""No spelling that `identifiers.keys` does not read: a hold has to find what is redacted."""
_EMAIL = re.compile(rf"{_LOCAL}{_AT}{_LABEL}(?:{_DOT}{_LABEL})*{_DOT}[^\W\d_]{{2,}}", re.IGNORECASE)


def _emails(text: str, _region: str | None) -> Spans:
    """Also as people write them for nobody to find; not those of nobody in person, such as info@."""
    for found in _EMAIL.finditer(text):
        address = re.sub(_DOT, ".", re.sub(_AT, "@", found[0], flags=re.IGNORECASE), flags=re.IGNORECASE)
        if not is_role(address):
            yield found.span()


_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_CZECH_ACCOUNT = re.compile(r"(?<![0-9-])(?:[0-9]{1,6}-)?[0-9]{2,10} ?/ ?[0-9]{4}(?![0-9])")


def _accounts(text: str, _region: str | None) -> Spans:
    """IBANs, and Czech account numbers with the code of their bank."""
    from stdnum import iban
    from stdnum.cz import bankaccount

    for found in _IBAN.finditer(text):
        for end in range(found.end(), found.start() + 14, -1):
            if not text[end : end + 1].isalnum() and iban.is_valid(text[found.start() : end]):
                yield found.start(), end
                break
    yield from _valid(_CZECH_ACCOUNT, text, lambda one: bankaccount.is_valid(one.replace(" ", "")))


_CARD = re.compile(r"(?<![0-9])[2-6](?:[ -]?[0-9]){12,18}(?![0-9])")


def _cards(text: str, _region: str | None) -> Spans:
    """Numbers of 13 to 19 digits with a check digit (ISO/IEC 7812-1)."""
    from stdnum import luhn

    yield from _valid(_CARD, text, lambda one: luhn.is_valid(re.sub("[ -]", "", one)))


_BIRTH_NUMBER = re.compile(r"(?<![0-9])(?:[0-9]{6} ?/ ?[0-9]{3,4}|[0-9]{10})(?![0-9])")
_IDENTITY_NUMBERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (module, re.compile(rf"(?<![^\W_]){form}(?![^\W_])", re.IGNORECASE))
    for module, form in (
        ("pl.pesel", "[0-9]{11}"),
        ("fr.nir", "[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"),
        ("it.codicefiscale", "[A-Z]{6}[0-9L-V]{2}[A-Z][0-9L-V]{2}[A-Z][0-9L-V]{3}[A-Z]"),
        ("es.dni", "[0-9]{8}-?[A-Z]"),
        ("es.nie", "[XYZ]-?[0-9]{7}-?[A-Z]"),
        ("ro.cnp", "[0-9]{13}"),
        ("fi.hetu", "[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Y]"),
    )
)
"""Those whose check digit, and mostly a date, says that a number is one: the module of `stdnum`, and the form."""


def _identity_numbers(text: str, _region: str | None) -> Spans:
    """Birth numbers with a slash or a check digit, and the numbers of some other countries."""
    from stdnum.cz import rc

    yield from _valid(_BIRTH_NUMBER, text, lambda one: bool(rc.is_valid(one.replace(" ", ""))))
    for module, form in _IDENTITY_NUMBERS:
        number = import_module(f"stdnum.{module}")
        yield from _valid(form, text, number.is_valid)


_V4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])")
_V6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")


def _addresses(text: str, _region: str | None) -> Spans:
    """Those of the Internet; of version 4 none that begins with a small number, as versions of software do."""
    yield from _valid(_V4, text, is_address_of_a_device)
    yield from _valid(_V6, text, is_address_of_a_device)


def _phones(text: str, region: str | None) -> Spans:
    """By the numbering plans of all countries: national numbers by that of `region`."""
    if sum(map(str.isdigit, text)) < _FEWEST_DIGITS:
        return
    for found in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID):
        if not text[found.end :].lstrip().lower().startswith(_CURRENCIES):
            yield found.start, found.end


_FEWEST_DIGITS = 7
_CURRENCIES = ("kč", "czk", "eur", "€", "usd", "$", "%")


def _valid(form: re.Pattern[str], text: str, is_valid: Callable[[str], bool]) -> Spans:
    return (found.span() for found in form.finditer(text) if is_valid(found[0]))


_FINDERS: tuple[tuple[Kind, Callable[[str, str | None], Spans]], ...] = (
    (Kind.EMAIL, _emails),
    (Kind.BANK_ACCOUNT, _accounts),
    (Kind.CARD, _cards),
    (Kind.IDENTITY_NUMBER, _identity_numbers),
    (Kind.IP, _addresses),
    (Kind.PHONE, _phones),
)
"""In the order in which they are believed: what one has found, the next does not look at."""

# --- names of persons -----------------------------------------------------------------------------------------------

_WORD = r"(?-i:[^\W\d_a-z]\.|[^\W\d_a-z][^\W\d_]*(?:['’-][^\W\d_]+)*)"
_WORDS = rf"{_WORD}(?:[ \t]+{_WORD}){{0,3}}"
_INTRODUCTIONS = (
    "my name is|my name's|i am called|call me|jmenuji se|jmenuju se|mé jméno je|moje jméno je|volám sa|mein name ist"
    "|ich heiße|me llamo|je m'appelle|mi chiamo"
)
_TITLES = (
    "mr|mrs|ms|miss|dr|prof|ing|mgr|bc|mudr|judr|phdr|rndr|paní|pana|panem|panu|(?-i:pan)|herr|frau|señora?|madame"
    "|monsieur"
)
_AFTER_A_CUE = re.compile(
    rf"(?<![^\W_])(?:{_INTRODUCTIONS}|{_TITLES})\.?[ \t]+(?P<name>{_WORDS})",
    re.IGNORECASE,
)
_INTRODUCED = re.compile(
    rf"(?<![^\W_])(?:i am|i'm|jsem|som|ich bin|je suis|soy)[ \t]+(?P<name>{_WORD}(?:[ \t]+{_WORD}){{1,3}})",
    re.IGNORECASE,
)
_CLOSING = (
    "regards|wishes|thanks|thank you|cheers|sincerely|pozdravem|pozdravom|zdravím|děkuji|díky|ďakujem|grüßen|merci"
)
_SIGNED = re.compile(
    rf"(?<![^\W_])(?:{_CLOSING})[ \t]*(?:[,!.][ \t]*\n?|\n)\s*(?P<name>{_WORDS})[ \t]*[.!]?\s*$",
    re.IGNORECASE,
)
_BEFORE_A_CONTACT = re.compile(
    rf"(?P<name>{_WORD}[ \t]+{_WORD}(?:[ \t]+{_WORD})?)(?:[ \t]*[,:;(<-][ \t]*|[ \t]+)"
    r"(?:(?:at|on|na|tel\.?|mob\.?|e-?mail)[ \t:]*)?$",
    re.IGNORECASE,
)
_CONTACTS = frozenset({Kind.EMAIL, Kind.PHONE})
_SHORTEST_PART = 3


def _names(text: str, contacts: Sequence[Mention]) -> Spans:
    """Names that the text itself says are such."""
    for form in (_AFTER_A_CUE, _INTRODUCED, _SIGNED):
        yield from (found.span("name") for found in form.finditer(text) if _is_written_as_a_name(found["name"]))
    for mention in contacts:
        if mention.kind in _CONTACTS:
            before = _BEFORE_A_CONTACT.search(text, max(0, mention.start - 80), mention.start)
            if before and _is_written_as_a_name(before["name"]):
                yield before.span("name")
        if mention.kind is Kind.EMAIL:
            yield from _named_in(text[mention.start : mention.end], text)


def _is_written_as_a_name(words: str) -> bool:
    return all(word[0].isupper() for word in words.split())


def _named_in(address: str, text: str) -> Spans:
    """Words that are a part of an e-mail address's name, without accents."""
    local = re.split(_AT, address, maxsplit=1)[0]
    parts = {part for part in re.split(r"[\W\d_]+", _unmarked(local)) if len(part) >= _SHORTEST_PART}
    for word in re.finditer(r"[^\W\d_]+", text):
        if word[0][0].isupper() and _unmarked(word[0]) in parts:
            yield word.span()


def _unmarked(text: str) -> str:
    return "".join(one for one in fold(text) if not unicodedata.category(one).startswith("M"))
