"""Never held: an identifier is found however it was written, and what cannot be found is refused at placing."""

from __future__ import annotations

import unicodedata

import phonenumbers
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lethe.judging.identifiers import PHONE_SUFFIX, IdentifierType, fold, keys, mistaken, names, normalise, tail

kinds = st.sampled_from(sorted(IdentifierType))
texts = st.text(max_size=40) | st.emails() | st.from_regex(r"\+?[0-9 ()/.-]{5,20}", fullmatch=True)
regions = st.sampled_from([None, "CZ", "DE", "US", "IT", "AR", "GB"])


@settings(max_examples=500)
@given(kind=kinds, text=texts, region=regions)
def test_normalising_again_changes_nothing(kind: IdentifierType, text: str, region: str | None) -> None:
    try:
        once = normalise(kind, text, region=region)
    except ValueError as error:
        assert len(text.strip()) < 4 or text.strip() not in str(error), "a message repeats an identifier"
        return
    assert normalise(kind, once, region=region) == once
    assert not names(kind, once).isdisjoint(keys(kind, once, region)), "what is written as it is held is found"
    once.encode()  # what is stored can be encoded


@settings(max_examples=500)
@given(text=st.text())
def test_case_space_and_composition_do_not_matter(text: str) -> None:
    assume(text.isprintable())
    kind = IdentifierType.PERSON
    try:
        plain = normalise(kind, text)
    except ValueError:
        readable = not set("\ufffd?;|") & set(fold(text)) and not any(mistaken(text))
        assert not (readable and any(map(str.isalnum, fold(text)))), "what has letters or digits can be held"
        return
    assert normalise(kind, f"  {text}\t") == plain
    assert normalise(kind, unicodedata.normalize("NFD", text)) == plain
    assert plain == plain.lower()


def spellings(number: phonenumbers.PhoneNumber, region: str) -> list[str]:
    formats = phonenumbers.PhoneNumberFormat
    international = phonenumbers.format_number(number, formats.INTERNATIONAL)
    e164 = phonenumbers.format_number(number, formats.E164)
    del region
    return [
        e164,
        international,
        phonenumbers.format_number(number, formats.NATIONAL),
        international.replace(" ", "-"),
        international.replace(" ", "."),
        f" {international} ",
        "00" + e164[1:],
        "00 " + international[1:],
        phonenumbers.national_significant_number(number),
    ]


@settings(max_examples=300)
@given(
    region=st.sampled_from(["CZ", "SK", "DE", "FR", "GB", "PL", "AT", "IT", "ES", "NL"]),
    digits=st.integers(0, 9999),
    kind=st.sampled_from([IdentifierType.PHONE, IdentifierType.MSISDN]),
)
def test_all_spellings_of_a_number_are_one(region: str, digits: int, kind: IdentifierType) -> None:
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    assert example.national_number is not None
    example.national_number = example.national_number - example.national_number % 10_000 + digits
    assume(phonenumbers.is_valid_number(example))
    found = {tail(normalise(kind, text, region=region)) for text in spellings(example, region)}
    assert len(found) == 1
    assert len(found.pop()) == PHONE_SUFFIX
    exact = {normalise(kind, text, region=region) for text in spellings(example, region)}
    assert exact == {phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)}


@pytest.mark.parametrize("text", ["777 123 456", "777123456", "+420 777 123 456", "00420777123456", "(777) 123-456"])
def test_what_stores_compare_is_in_every_spelling(text: str) -> None:
    """A store drops all but digits and takes the last ones: of the column's spelling, whatever the region."""
    column_digits = "".join(character for character in text if character.isdigit())[-PHONE_SUFFIX:]
    for region in (None, "CZ"):
        assert tail(normalise(IdentifierType.PHONE, text, region=region)) == column_digits


@pytest.mark.parametrize("text", ["112", "12 34 56", "+683 4000", "+290 22222", "phone"])
def test_numbers_too_short_to_be_found_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a telephone number: it needs at least 7 digits"):
        normalise(IdentifierType.PHONE, text, region="CZ")


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("+420 (0) 602 111 222", None),
        ("(0)602 111 222", "CZ"),
        ("0602 111 222", "CZ"),
        ("+420 0602 111 222", "DE"),
        ("+420 420 602 111 222", None),
        ("+420 00420 602 111 222", "CZ"),
    ],
)
def test_a_number_with_what_is_dialled_before_it_is_refused_where_its_country_has_none_such(
    text: str, region: str | None
) -> None:
    """It was in force as +4200602111222, and held nobody."""
    with pytest.raises(ValueError, match="not a telephone number"):
        normalise(IdentifierType.PHONE, text, region=region)


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("+39 (0)6 698 12345", "CZ", "+390669812345"),
        ("+36 (06) 20 123 4567", None, "+36201234567"),
        ("+33 (0)1 23 45 67 89", None, "+33123456789"),
        ("+1 555 0100", None, "+15550100"),
    ],
)
def test_a_zero_that_belongs_there_or_that_its_country_leaves_out_is_understood(
    text: str, region: str | None, number: str
) -> None:
    assert normalise(IdentifierType.PHONE, text, region=region) == number


@pytest.mark.parametrize("text", ["Ann Smith; Bob Novák", "Ann Smith|Bob Novák"])
def test_two_names_in_one_cell_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write one identifier a line"):
        normalise(IdentifierType.PERSON, text)


@pytest.mark.parametrize("text", ["", "   ", "a@", "@b", "a b@c", "a@b@c", "plain", "a@b\x00", "a\ud800@b"])
def test_what_is_no_email_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="not an") as caught:
        normalise(IdentifierType.EMAIL, text)
    assert len(text.strip()) < 5 or text not in str(caught.value)


def test_text_that_was_no_utf_8_is_refused() -> None:
    """Bytes of a command line that are no UTF-8 come as lone surrogates, which no database can store."""
    with pytest.raises(ValueError, match="control characters"):
        normalise(IdentifierType.ACCOUNT, b"K-\xff".decode(errors="surrogateescape"))
