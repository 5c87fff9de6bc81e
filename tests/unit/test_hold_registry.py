"""Never held: what is asked to be held is recorded exactly, found again, and released by two people only."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.conftest import Office

from lethe.connections import Connection
from lethe.errors import EvidenceError, HoldError
from lethe.governance import schema
from lethe.holds.registry import HoldRegistry, HoldRequest, coverage, read_identifiers
from lethe.holds.rules import ClockRange, HoldKind
from lethe.judging.identifiers import IdentifierType, matches, normalise
from lethe.keys import Keys
from lethe.policy import ChildTable, Policy, TableDataset

Policies = dict[str, Policy]
EMAIL, PHONE, COOKIE = IdentifierType.EMAIL, IdentifierType.PHONE, IdentifierType.COOKIE
REQUEST = HoldRequest("M-1", "a lawsuit", identifiers={EMAIL: ["Jana@Example.com", "petr@example.com "]})


def entries(office: Office) -> list[tuple[str, str, dict[str, object]]]:
    with office.governance.read() as connection:
        rows = connection.execute(sa.select(schema.ledger).order_by(schema.ledger.c.seq)).all()
    return [(row.kind, row.subject, json.loads(row.body)) for row in rows]


def identifiers(office: Office, policy: Policy, dataset: str) -> dict[IdentifierType, Sequence[str]]:
    rules = office.registry.rules(policy.category, policy.dataset(dataset))
    return {kind: values for _, kind, values in rules.identifiers()}


# --- placing and finding -------------------------------------------------------------------------------------


def test_a_hold_is_placed_listed_and_found(office: Office, policies: Policies) -> None:
    hold = office.registry.place(REQUEST, by=" Eva ", policies=policies)
    assert (hold.matter, hold.reason, hold.placed_by) == ("M-1", "a lawsuit", "Eva")
    assert hold.kind is HoldKind.LEGAL_HOLD
    assert hold.identifier_counts == {EMAIL: 2}
    assert hold.state == "not yet in force", "only fences make it so"
    assert office.registry.holds() == [hold]
    assert office.registry.find(EMAIL, "JANA@example.COM") == [hold]
    assert office.registry.find(EMAIL, "nobody@example.com") == []
    assert office.registry.find(COOKIE, "petr@example.com") == [], "another type of identifier"


def test_stores_are_given_identifiers_normalised_and_only_of_types_they_carry(
    office: Office, policies: Policies
) -> None:
    request = replace(
        REQUEST, identifiers={**REQUEST.identifiers, COOKIE: ["C-1"], PHONE: ["777 123 456"]}, region="CZ"
    )
    office.registry.place(request, by="Eva", policies=policies)
    assert identifiers(office, policies["webinars"], "registrations") == {
        EMAIL: ["jana@example.com", "petr@example.com"],
        PHONE: ["+420777123456"],
    }
    assert identifiers(office, policies["analytics"], "views") == {COOKIE: ["c-1"]}
    assert not office.registry.rules("analytics", policies["analytics"].dataset("totals"))
    assert office.registry.find(PHONE, "00420 777 123 456")


def test_a_hold_without_identifiers_holds_everything_in_its_scope(office: Office, policies: Policies) -> None:
    clock = ClockRange(date(2025, 1, 1), None)
    office.registry.place(
        HoldRequest("M-2", "audit", categories=("analytics",), clock=clock), by="Eva", policies=policies
    )
    (rule,) = office.registry.rules("analytics", policies["analytics"].dataset("totals")).rules
    assert rule.everything
    assert rule.clock == clock
    assert not office.registry.rules("webinars", policies["webinars"].datasets[0])


def test_every_change_counts_the_version_up(office: Office, policies: Policies) -> None:
    dataset = policies["webinars"].datasets[0]
    versions = [office.registry.rules("webinars", dataset).version]
    hold = office.registry.place(REQUEST, by="Eva", policies=policies)
    versions.append(office.registry.rules("webinars", dataset).version)
    office.registry.propose_release(hold.id, by="Eva")
    office.registry.confirm_release(hold.id, by="Jan")
    versions.append(office.registry.rules("webinars", dataset).version)
    assert versions == [0, 1, 2]


def test_a_restriction_is_a_hold_of_its_own_kind(office: Office, policies: Policies) -> None:
    hold = office.registry.place(replace(REQUEST, kind=HoldKind.RESTRICTION), by="Eva", policies=policies)
    assert office.registry.get(hold.id).kind is HoldKind.RESTRICTION
    assert office.registry.rules("webinars", policies["webinars"].datasets[0])


def test_a_hundred_thousand_identifiers_are_one_hold(office: Office, policies: Policies) -> None:
    many = [f"person{n}@example.com" for n in range(100_000)]
    office.registry.place(HoldRequest("M-3", "class action", identifiers={EMAIL: many}), by="Eva", policies=policies)
    assert identifiers(office, policies["webinars"], "registrations") == {EMAIL: many}
    assert office.registry.find(EMAIL, "Person99999@example.com")


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (replace(REQUEST, matter=" "), r"needs a matter \(its reference\), in one line of plain text"),
        (replace(REQUEST, reason=""), "needs a reason, in one line"),
        (replace(REQUEST, matter="M\x00"), "needs a matter"),
        (replace(REQUEST, reason="two\nlines"), "needs a reason"),
        (replace(REQUEST, matter="\udcff"), "needs a matter"),
        (replace(REQUEST, categories=("webinar",)), "no such category or dataset: webinar; write categories, or"),
        (replace(REQUEST, datasets=("registrations",)), "no such category or dataset: registrations"),
        (replace(REQUEST, datasets=("webinars.nothing",)), "no such category or dataset: webinars.nothing"),
        (HoldRequest("M", "r"), "the hold names nothing: give identifiers, categories, datasets or a clock range"),
        (replace(REQUEST, identifiers={EMAIL: []}), "names email as a type of identifier, but none of them"),
        (replace(REQUEST, identifiers={EMAIL: ["a@b", "secret"]}), "^email number 2: not an e-mail address"),
        (replace(REQUEST, identifiers={PHONE: ["12"]}), "^phone number 1: not a telephone number"),
        (replace(REQUEST, region="cz"), "'cz' is not a country: write its ISO 3166 code, such as CZ"),
        (replace(REQUEST, categories=("analytics",)), "would cover nothing: analytics.views: it carries cookie, not"),
        (replace(REQUEST, categories=("analytics",), datasets=("webinars.registrations",)), "would cover nothing"),
        (replace(REQUEST, clock=ClockRange(date(2026, 2, 1), date(2026, 1, 1))), "clock range ends before it starts"),
    ],
)
def test_a_hold_that_is_wrong_or_covers_nothing_is_refused(
    office: Office, policies: Policies, request_: HoldRequest, message: str
) -> None:
    with pytest.raises(HoldError, match=message) as caught:
        office.registry.place(request_, by="Eva", policies=policies)
    assert "secret" not in str(caught.value)
    assert office.registry.holds(released=True) == []
    assert entries(office) == []


def test_a_hold_needs_somebody_who_places_it(office: Office, policies: Policies) -> None:
    with pytest.raises(HoldError, match="needs a name of who does this"):
        office.registry.place(REQUEST, by=" ", policies=policies)


def test_what_a_hold_does_not_cover_is_said(policies: Policies) -> None:
    covers = coverage(REQUEST, policies)
    assert covers.covered == ("webinars.registrations",)
    assert covers.uncovered == {
        "analytics.views": "it carries cookie, not email",
        "analytics.totals": "it carries no identifiers, not email",
    }


def test_identifiers_of_child_tables_count(office: Office, policies: Policies) -> None:
    webinars = policies["webinars"]
    table = webinars.dataset("registrations")
    assert isinstance(table, TableDataset)
    device = ChildTable(table="d", foreign_key=("id",), references=("id",), identifiers={COOKIE: ("c",)})
    visit = ChildTable(table="v", foreign_key=("id",), children=(device,))
    changed = {**policies, "webinars": webinars.model_copy(
        update={"datasets": (table.model_copy(update={"children": (visit,)}),)}
    )}  # fmt: skip
    request = HoldRequest("M-1", "a lawsuit", identifiers={COOKIE: ["C-1"]})
    assert "webinars.registrations" in coverage(request, changed).covered
    office.registry.place(request, by="Eva", policies=changed)
    assert identifiers(office, changed["webinars"], "registrations") == {COOKIE: ["c-1"]}
    assert identifiers(office, webinars, "registrations") == {}


# --- releasing -----------------------------------------------------------------------------------------------


def test_a_release_takes_two_people(office: Office, policies: Policies) -> None:
    hold = office.registry.place(REQUEST, by="Eva", policies=policies)
    dataset = policies["webinars"].datasets[0]
    with pytest.raises(HoldError, match="nobody has proposed its release"):
        office.registry.confirm_release(hold.id, by="Jan")
    proposed = office.registry.propose_release(hold.id, by="Jan")
    assert proposed.state == "release proposed"
    assert office.registry.rules("webinars", dataset), "it binds until it is released"
    for same in ("Jan", " JAN "):
        with pytest.raises(HoldError, match="who proposed its release cannot confirm it; ask somebody else"):
            office.registry.confirm_release(hold.id, by=same)
    released = office.registry.confirm_release(hold.id, by="Eva")
    assert (released.state, released.release_proposed_by, released.released_by) == ("released", "Jan", "Eva")
    assert not office.registry.rules("webinars", dataset)
    assert office.registry.holds() == []
    assert [hold.id for hold in office.registry.holds(released=True)] == [released.id]
    assert office.registry.find(EMAIL, "jana@example.com") == []
    for again in (office.registry.propose_release, office.registry.confirm_release):
        with pytest.raises(HoldError, match="was released already"):
            again(hold.id, by="Eva")


def test_a_hold_that_is_not_there_is_said_to_be(office: Office) -> None:
    questions: tuple[Callable[[], object], ...] = (
        lambda: office.registry.get("hold-0"),
        lambda: office.registry.propose_release("hold-0", by="Eva"),
        lambda: office.registry.confirm_release("hold-0", by="Eva"),
    )
    for ask in questions:
        with pytest.raises(HoldError, match="there is no hold hold-0; `lethe hold list` shows all"):
            ask()


# --- what is kept --------------------------------------------------------------------------------------------


def test_the_ledger_says_who_did_what_but_names_no_identifier(office: Office, policies: Policies) -> None:
    hold = office.registry.place(REQUEST, by="Eva", policies=policies)
    office.registry.mark_in_force(hold.id)
    office.registry.mark_in_force(hold.id)
    office.registry.propose_release(hold.id, by="Jan")
    office.registry.confirm_release(hold.id, by="Eva")
    found = entries(office)
    assert [kind for kind, _, _ in found] == [
        "hold.placed",
        "hold.in_force",
        "hold.release_proposed",
        "hold.released",
    ]
    assert {subject for _, subject, _ in found} == {hold.id}
    assert found[0][2]["identifier_counts"] == {"email": 2}
    assert found[0][2]["placed_by"] == "Eva"
    assert found[3][2] == {"by": "Eva", "proposed_by": "Jan", "matter": "M-1"}
    assert "example" not in str(found).lower()


def test_identifiers_are_nowhere_in_clear(tmp_path: Path, policies: Policies) -> None:
    """No personal data outside the stores: not in the file, not in its write-ahead log, not in any encoding of text."""
    office = Office.at(Connection("lethe_governance", "sqlite", host=str(tmp_path / "governance.db")))
    token = "kanarek7f3a9"
    request = HoldRequest("M-1", "r", identifiers={EMAIL: [f"{token}@example.com"], PHONE: ["+420 777 198 765"]})
    with office.governance.read():  # keeps the write-ahead log from being folded in
        office.registry.place(request, by="Eva", policies=policies)
        assert list(office.registry.find(EMAIL, f"{token}@example.com"))
        files = [path for path in tmp_path.iterdir() if path.stat().st_size]
        assert any(path.name.endswith("-wal") for path in files)
        for path in files:
            content = path.read_bytes()
            for secret in (token, token.upper(), "420777198765", "7198765"):
                assert secret.encode() not in content
                assert secret.encode("utf-16-le") not in content
    office.governance.close()


def test_identifiers_do_not_open_with_another_key(office: Office, policies: Policies) -> None:
    office.registry.place(REQUEST, by="Eva", policies=policies)
    stranger = HoldRegistry(office.governance, Keys(b"x" * 32), lambda *_: None)
    with pytest.raises(EvidenceError, match="master secret does not open what is stored"):
        list(stranger.rules("webinars", policies["webinars"].datasets[0]).identifiers())
    with pytest.raises(EvidenceError, match="master secret does not open what is stored"):
        stranger.find(EMAIL, "jana@example.com")


def test_identifiers_cannot_be_moved_to_another_hold(office: Office, policies: Policies) -> None:
    first = office.registry.place(REQUEST, by="Eva", policies=policies)
    second = office.registry.place(REQUEST, by="Eva", policies=policies)
    table = schema.hold_identifiers
    with office.governance.write() as connection:
        other = connection.scalar(sa.select(table.c.ciphertext).where(table.c.hold_id == first.id))
        connection.execute(sa.update(table).where(table.c.hold_id == second.id).values(ciphertext=other))
    with pytest.raises(EvidenceError):
        identifiers(office, policies["webinars"], "registrations")


def test_a_failed_placing_leaves_nothing(office: Office, policies: Policies) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("the ledger is full")

    registry = HoldRegistry(office.governance, Keys(b"k" * 32), broken)
    with pytest.raises(RuntimeError, match="full"):
        registry.place(REQUEST, by="Eva", policies=policies)
    assert office.registry.holds(released=True) == []
    assert office.registry.rules("webinars", policies["webinars"].datasets[0]).version == 0


# --- files of identifiers ------------------------------------------------------------------------------------


def csv_file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "matter.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("type,identifier\nemail,A@b.cz\nphone,+420 777 123 456\n", {EMAIL: ["a@b.cz"], PHONE: ["+420777123456"]}),
        ("email,phone\na@b.cz,\n,+420777123456\n\n", {EMAIL: ["a@b.cz"], PHONE: ["+420777123456"]}),
        (b"\xef\xbb\xbfemail\r\na@b.cz\r\n", {EMAIL: ["a@b.cz"]}),
        (' Email \n"a@b.cz"\n', {EMAIL: ["a@b.cz"]}),
        ("phone\n777 123 456", {PHONE: ["+420777123456"]}),
    ],
)
def test_identifiers_are_read_from_a_file(
    tmp_path: Path, content: str | bytes, found: dict[IdentifierType, list[str]]
) -> None:
    assert read_identifiers(csv_file(tmp_path, content), region="CZ") == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "matter.csv: the first line must be `type,identifier`"),
        ("name,city\nJana,Brno\n", "the first line must be"),
        ("email;phone\n", "the first line must be"),
        ("email,email\n", "the first line must be"),
        ("email\n", "matter.csv: it has no identifiers"),
        ("email\n\n,\n\n", "matter.csv: it has no identifiers"),
        ("email\na@b.cz\nsecret\nsecret2\n", "matter.csv: line 3: not an e-mail address.*; line 4: not an e-mail"),
        ("type,identifier\nemail,a@b.cz\npassport,secret\n", "line 3: not a type and an identifier"),
        ("type,identifier\nemail\n", "line 2: not a type and an identifier"),
        ("email\na@b.cz,secret\n", "line 2: not as the header says"),
        (b"email\na@b.cz\nsecret\xff@b.cz\n", "line 3: not an identifier of type email"),
        (b"email\na@b.cz\nsecret\x00@b.cz\n", "line 3: "),
        ('email\na@b.cz\n"secret"x\n', "line 3: not CSV"),
        ('email\na@b.cz\n"secret', "line 3: not CSV"),
        ("email\n" + "x" * 200_000, "line 2: not CSV"),
        ("email\n" + "secret\n" * 50, "and 40 more. Nothing was placed or recorded."),
        ("email\na@b.cz\n".encode("utf-16"), "the first line must be"),
    ],
)
def test_garbage_is_named_by_its_line_and_never_repeated(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(HoldError, match=message) as caught:
        read_identifiers(csv_file(tmp_path, content))
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(HoldError, match=r"none.csv: there is no such file"):
        read_identifiers(tmp_path / "none.csv")
    with pytest.raises(HoldError, match=r"cannot be read \(Is a directory\); name another"):
        read_identifiers(tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(alphabet='email,phonety\n"\r\t@+0a ;', max_size=60).map(str.encode))
def test_a_random_file_is_read_or_refused_with_a_message(tmp_path: Path, content: bytes) -> None:
    path = csv_file(tmp_path, b"email\n" + content)
    try:
        found = read_identifiers(path)
    except HoldError as error:
        assert str(error).startswith("matter.csv: ")
        str(error).encode()
        return
    for kind, values in found.items():
        assert all(normalise(kind, value) == value for value in values)


# --- workbooks of Excel ---------------------------------------------------------------------------------------

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def cell(place: str, text: str, kind: str = "inlineStr", style: int = 0) -> str:
    inner = f"<is><t>{text}</t></is>" if kind == "inlineStr" else f"<v>{text}</v>"
    return f'<c r="{place}" t="{kind}" s="{style}">{inner}</c>'


def workbook(tmp_path: Path, *sheets: list[list[str]], space: str = _MAIN) -> Path:
    """As Excel writes them: rows of cells, texts that are shared, and formats: General, 0.00 and a date."""
    path = tmp_path / "matter.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, rows in enumerate(sheets, start=1):
            lines = "".join(f'<row r="{n}">{"".join(cells)}</row>' for n, cells in enumerate(rows, start=1) if cells)
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f'<worksheet xmlns="{space}"><sheetData>{lines}</sheetData></worksheet>',
            )
        archive.writestr(
            "xl/sharedStrings.xml",
            f'<sst xmlns="{space}"><si><t>email</t></si>'
            "<si><r><t>Ann@</t></r><r><t>x.org</t></r><rPh><t>no</t></rPh></si></sst>",
        )
        styles = "".join(f'<xf numFmtId="{number}"/>' for number in (0, 2, 14))
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{space}"><cellXfs>{styles}</cellXfs></styleSheet>')
    return path


HEADER = [cell("A1", "0", "s"), cell("B1", "account"), cell("C1", "phone")]


@pytest.mark.parametrize("space", [_MAIN, "http://purl.oclc.org/ooxml/spreadsheetml/main"])
def test_identifiers_are_read_from_a_workbook_as_they_are_shown(tmp_path: Path, space: str) -> None:
    rows = [
        HEADER,
        [cell("A2", "1", "s"), cell("B2", "00012"), cell("C2", "+420 777 123 456")],
        [],
        [cell("B4", "1001", "n"), cell("C4", "777123457", "n"), cell("D4", "", "n")],
        [cell("C5", "777 123 458", "str")],
    ]
    found = read_identifiers(workbook(tmp_path, rows, [], space=space), region="CZ")
    assert found == {
        EMAIL: ["ann@x.org"],
        IdentifierType.ACCOUNT: ["00012", "1001"],
        PHONE: ["+420777123456", "+420777123457", "+420777123458"],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        cell("B3", "420777123456", "n"),
        cell("B3", "4.20777123456E11", "n"),
        cell("B3", "1.5", "n"),
        cell("B3", "12", "n", style=1),
        cell("B3", "45413", "n", style=2),
        cell("B3", "1", "b"),
        cell("B3", "#N/A", "e"),
        '<c r="B3"><f>A1</f></c>',
    ],
)
def test_a_cell_that_may_be_shown_otherwise_than_it_is_stored_is_named(tmp_path: Path, wrong: str) -> None:
    path = workbook(tmp_path, [HEADER, [cell("A2", "1", "s")], [wrong]])
    with pytest.raises(HoldError, match=r"matter.xlsx: cell B3: a number or a date: format the column") as caught:
        read_identifiers(path, region="CZ")
    assert "Nothing was placed" in str(caught.value)


def test_workbooks_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    rows = [HEADER, [cell("A2", "1", "s")]]
    with pytest.raises(HoldError, match="has 2 sheets with cells where one is needed"):
        read_identifiers(workbook(tmp_path, rows, rows))
    path = workbook(tmp_path, rows)
    for content in (path.read_bytes()[:200], b"\xd0\xcf\x11\xe0" + b"\0" * 600):
        path.write_bytes(content)
        with pytest.raises(HoldError, match=r"matter.xlsx: cannot be read as a workbook .*save it as .xlsx"):
            read_identifiers(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    with pytest.raises(HoldError, match="has 0 sheets with cells"):
        read_identifiers(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_workbook_is_read_or_refused_with_a_message(tmp_path: Path, data: st.DataObject) -> None:
    path = workbook(tmp_path, [HEADER, [cell("A2", "1", "s")], [cell("B3", "1001", "n")]])
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(4, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        read_identifiers(path)
    except HoldError as error:
        assert str(error).startswith("matter.xlsx: ")


# --- holds of earlier versions ---------------------------------------------------------------------------------


def test_a_hold_in_an_earlier_normal_form_binds_and_is_found(
    office: Office, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions before kept identifiers in lower case, composed, and whatever spreadsheets made of them."""
    earlier = {"Info@Straße.de": "info@straße.de", "<ann@x.org>": "<ann@x.org>", "ΑΝΝΑΣ@x.gr": "αννας@x.gr"}
    with monkeypatch.context() as before:
        before.setattr("lethe.holds.registry.normalise", lambda kind, text, region: earlier[text])
        hold = office.registry.place(
            HoldRequest("M-1", "a lawsuit", identifiers={EMAIL: list(earlier)}), by="Eva", policies=policies
        )
    for text in ("info@straße.de", "INFO@STRASSE.DE", "ann@x.org", "Αννας@x.gr", "ΑΝΝΑΣ@X.GR"):
        assert [one.id for one in office.registry.find(EMAIL, text)] == [hold.id]
    assert office.registry.find(EMAIL, "info@strase.de") == []
    held = identifiers(office, policies["webinars"], "registrations")[EMAIL]
    for stored in ("Info@STRASSE.de", "Ann <ann@x.org>", "ΑΝΝΑΣ@x.gr"):
        assert any(matches(EMAIL, one, stored) for one in held)


def test_a_number_is_found_whether_its_country_was_given_or_not(office: Office, policies: Policies) -> None:
    request = HoldRequest("M-1", "a lawsuit", identifiers={PHONE: ["777 123 456"]})
    hold = office.registry.place(request, by="Eva", policies=policies)
    assert [one.id for one in office.registry.find(PHONE, "+420 777 123 456")] == [hold.id]


def test_every_line_with_what_is_no_identifier_is_named(tmp_path: Path) -> None:
    """What spreadsheets and address books write was in force, and held nobody."""
    path = tmp_path / "matter.csv"
    lines = ["email,phone,ip", "ann@x.org,+420777123456,10.1.2.3", "<ann@x.org>,,", ",4.20777E+11,", ",420602111222.0,"]
    path.write_text("\n".join([*lines, "'ann@x.org',,", ",,10.1.2.3:443", ",,10.0.0.0/8"]))
    with pytest.raises(HoldError) as caught:
        read_identifiers(path, region="CZ")
    text = str(caught.value)
    for line in (3, 4, 5, 6, 7, 8):
        assert f"line {line}: not a" in text
    assert "line 2" not in text
    for secret in ("ann@x.org", "20777", "602111222", "10.1.2.3", "10.0.0.0"):
        assert secret not in text
