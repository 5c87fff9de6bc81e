"""The cells of an Excel workbook (.xlsx) as text, exactly as they are stored, or a reason why a cell has none.

Whoever reads a sheet into numbers loses leading zeros, plus signs and the digits after the fifteenth, and a hold that
names such an identifier finds nobody. So only text is taken, and whole numbers that a sheet shows as they are.

The format is ECMA-376, part 1, SpreadsheetML (chapter 18): a ZIP of XML files.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_MOST_BYTES = 200_000_000
"""Of a part, unpacked."""
_SHOWN_AS_STORED = frozenset({"0", "1", "49"})
"""Number formats (18.8.30): General, 0, and text."""
_WHOLE = re.compile(r"-?[0-9]{1,11}")
"""General shows longer ones as 4.2E+11."""


class NoWorkbook(ValueError):
    """The file is no workbook that can be read, or cells of it are no text; says why."""


def is_workbook(path: Path) -> bool:
    """Whether a file begins as workbooks do, and CSV never does: new ones, and old or encrypted ones."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


def rows(path: Path, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of the only sheet, by number. Cells that cannot be taken are added to `problems`, and are blank.

    Raises:
        NoWorkbook: if it is none, or has several sheets.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sheet = _only_sheet(archive)
            shared = [_text(item) for item in _part(archive, "xl/sharedStrings.xml", "si")]
            formats = _formats(archive)
            for number, row in enumerate(_part(archive, sheet, "row"), start=1):
                yield int(row.get("r", number)), _cells(row, shared, formats, problems)
    except NoWorkbook:
        raise
    except Exception as error:  # noqa: BLE001 - damaged archives have a dozen ways to fail
        raise NoWorkbook(
            f"cannot be read as a workbook ({type(error).__name__}): save it as .xlsx without a password, or as CSV"
        ) from None


def _only_sheet(archive: zipfile.ZipFile) -> str:
    """The part of the sheet that has something in it: of several, one could be overlooked."""
    sheets = sorted(name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name))
    filled = [name for name in sheets if any(len(cell) for row in _part(archive, name, "row") for cell in row)]
    if len(filled) != 1:
        raise NoWorkbook(f"has {len(filled)} sheets with cells where one is needed: save it as a workbook of its own")
    return filled[0]


def _part(archive: zipfile.ZipFile, name: str, wanted: str) -> Iterator[ET.Element]:
    """The elements of a name in a part, one after the other; none where there is no such part."""
    if name not in archive.namelist():
        return
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise NoWorkbook(f"is larger than {_MOST_BYTES:,} bytes unpacked: save it as CSV")
    with archive.open(name) as file:
        for _, element in ET.iterparse(file):  # noqa: S314 - whoever places a hold chose the file
            element.tag = element.tag.replace(_STRICT, _SPACE).removeprefix(_SPACE)
            if element.tag == wanted:
                yield element
                element.clear()


def _formats(archive: zipfile.ZipFile) -> list[str]:
    """The number format of each style of cells."""
    return [one.get("numFmtId", "0") for all_ in _part(archive, "xl/styles.xml", "cellXfs") for one in all_]


def _text(element: ET.Element) -> str:
    """The text of its runs, without how it is pronounced (`rPh`)."""
    found = [child.text or "" for child in element if child.tag == "t"]
    found += [part.text or "" for run in element if run.tag == "r" for part in run if part.tag == "t"]
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), "".join(found))


def _cells(row: ET.Element, shared: list[str], formats: list[str], problems: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in (child for child in row if child.tag == "c"):
        place = cell.get("r", "")
        column = _column(place) if place else len(cells)
        cells += [""] * (column - len(cells))
        text = _value(cell, shared, formats)
        if text is None:
            problems.append(f"cell {place}: a number or a date: format the column as text, and type it anew")
        cells.append(" " if text is None else text)
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _column(place: str) -> int:
    """The number of a column, from 0: of AB12, 27."""
    number = 0
    for letter in place.rstrip("0123456789"):
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: ET.Element, shared: list[str], formats: list[str]) -> str | None:
    """What a cell has as text; None: nothing that can be taken as it is."""
    parts = {child.tag: child for child in cell}
    stored = parts["v"].text or "" if "v" in parts else ""
    match cell.get("t", "n"):
        case "s":
            return shared[int(stored)]
        case "inlineStr":
            return _text(parts["is"])
        case "str":
            return stored
        case "n" if not stored and "f" not in parts:
            return ""
        case "n":
            style = cell.get("s")
            plain = style is None or formats[int(style)] in _SHOWN_AS_STORED
            return stored if plain and _WHOLE.fullmatch(stored) else None
    return None
