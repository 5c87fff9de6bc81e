"""Lines of JSON as rows: the values of some names in each, and whether it is JSON at all.

Ordinary lines are read by msgspec, which makes objects of the wanted values only. A line is read by Python, slowly and
in full, where msgspec does not take it, or where a wanted name may be in it twice: what a reader takes of several
values is not defined (RFC 8259, 4), so all of them count. Numbers with a fraction are doubles, as other readers have
them (RFC 8259, 6).

A line that is no JSON object in UTF-8 cannot be read. Lines of white space only are no rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from lethe.policy.paths import Step, steps_of
from lethe.stores.files.formats.jsonlines.lines import Block
from lethe.stores.files.marks import Bits

Value = str | int | float | bool | None
"""A single value."""


class Pairs(list[tuple[str, Any]]):
    """An object as the pairs that are written, also where a name is there twice."""


_SINGLE = str | int | float | bool | None | msgspec.UnsetType
_ESCAPED = re.compile(rb"\\u00[2-7]")
"""A printable character of ASCII that need not be escaped."""


@dataclass
class _Node:
    """A name in an object."""

    lists: int
    children: dict[str, _Node] = field(default_factory=dict)


_STRANGE = re.compile(r'[\\"\x00-\x1f]')
"""What names may have in them of which msgspec has no fields."""


def _tree(paths: Iterable[tuple[Step, ...]]) -> dict[str, _Node] | None:
    """The names of all paths, by the objects that they are in; None where msgspec cannot read them together."""
    root: dict[str, _Node] = {}
    ends: set[int] = set()
    for path in paths:
        at = root
        for number, step in enumerate(path):
            node = at.setdefault(step.name, _Node(step.lists))
            last = number == len(path) - 1
            if (
                _STRANGE.search(step.name)
                or node.lists != step.lists
                or (last and node.children)
                or (not last and id(node) in ends)
            ):
                return None
            if last:
                ends.add(id(node))
            at = node.children
    return root


def _struct(names: Mapping[str, _Node]) -> type[msgspec.Struct]:
    """A type of objects that has some names, as ``f0``, ``f1`` and so on."""
    fields: list[Any] = [(f"f{n}", _type(node), msgspec.UNSET) for n, node in enumerate(names.values())]
    renamed = {f"f{n}": name for n, name in enumerate(names)}
    return msgspec.defstruct("Row", fields, rename=renamed, gc=False)


def _type(node: _Node) -> Any:  # noqa: ANN401 - a type
    kind: Any = (_struct(node.children) | None) if node.children else _SINGLE
    if node.lists and not node.children:
        kind = str | int | float | bool | None
    for _ in range(node.lists):
        kind = list[kind] | None
    return kind if not node.lists and not node.children else kind | msgspec.UnsetType


@dataclass(frozen=True)
class Wanted:
    """Names of values, ready to be read from lines.

    Attributes:
        paths: the names.
        watched: names that must not be in a line twice, as they are written in it.
        decoder: reads lines; None where the names are such that every line has to be read slowly.
        getters: of each path, what gives its values in a row that `decoder` read.
        odd: what is in a line that may have such a name in another spelling.
        ways: the paths to watched names, each name also as it is written.
    """

    paths: tuple[tuple[Step, ...], ...]
    watched: tuple[bytes, ...]
    decoder: msgspec.json.Decoder[Any] | None
    getters: tuple[tuple[tuple[str, int], ...], ...]
    odd: re.Pattern[bytes]
    ways: tuple[tuple[tuple[str, bytes], ...], ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, columns: tuple[str, ...], watched: tuple[str, ...]) -> Wanted:
        """Get ready for columns, some of which are watched for names that are there twice."""
        paths = tuple(steps_of(column) for column in columns)
        names = list(dict.fromkeys(step.name for column in watched for step in steps_of(column)))
        tree = _tree(paths)
        decoder = msgspec.json.Decoder(_struct(tree)) if tree is not None else None
        getters = tuple(_getters(tree, path) for path in paths) if tree is not None else ()
        plain = all(re.fullmatch("[ -~]*", name) and not re.search(r'["\\/]', name) for name in names)
        return cls(
            paths,
            tuple(map(_written, names)),
            decoder,
            getters,
            _ESCAPED if plain else re.compile(rb"\\"),
            tuple(tuple((step.name, _written(step.name)) for step in steps_of(column)) for column in watched),
        )


def _written(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode()


def _getters(tree: Mapping[str, _Node], path: Sequence[Step]) -> tuple[tuple[str, int], ...]:
    found, at = [], tree
    for step in path:
        found.append((f"f{list(at).index(step.name)}", step.lists))
        at = at[step.name].children
    return tuple(found)


@dataclass(frozen=True)
class Rows:
    """Rows as they were read.

    Attributes:
        read: what msgspec read, the whole line as Python reads it (`Pairs`), or None where it cannot be read.
        slow: whether some were read by Python.
        wanted: what was asked for.
    """

    read: Sequence[Any]
    slow: bool
    wanted: Wanted

    @property
    def unreadable(self) -> Bits:
        """Which rows cannot be read."""
        if not self.slow:
            return np.zeros(len(self.read), dtype=np.bool_)
        return np.fromiter((row is None for row in self.read), dtype=np.bool_, count=len(self.read))

    def column(self, number: int, odd: Callable[[list[Any]], Any]) -> list[Any]:
        """The value of a path without lists in each row; where Python read it, what `odd` makes of all of them."""
        ordinary = [row for row in self.read if row is not None and type(row) is not Pairs] if self.slow else self.read
        column = _raw(ordinary, self.wanted.getters[number]) if ordinary else []
        column = [None if one is _UNSET else one for one in column] if _UNSET in column else column
        if not self.slow:
            return column
        rest, path = iter(column), self.wanted.paths[number]
        return [
            None if row is None else odd(list(_found(row, path, True))) if type(row) is Pairs else next(rest)
            for row in self.read
        ]

    def values(self, number: int, *, strict: bool) -> Iterator[list[Any]]:
        """Of each row all values of a path, as often as they are there: null, too, and objects as `Pairs`.

        Args:
            number: of the path.
            strict: what is no object, but should be one, is nothing that the path leads to, and shown as an object.
        """
        path = self.wanted.paths[number]
        for row in self.read:
            match row:
                case None:
                    yield []
                case Pairs():
                    yield list(_found(row, path, strict))
                case _:
                    yield _flat(row, self.wanted.getters[number])


_UNSET = msgspec.UNSET


def _raw(read: Sequence[Any], steps: Sequence[tuple[str, int]]) -> list[Any]:
    """The values of a path without lists, some of which are not set."""
    try:
        return list(map(attrgetter(".".join(name for name, _ in steps)), read))
    except AttributeError:  # an object on the way that is null, or not there
        column = list(read)
        for name, _ in steps:
            column = [one if one is None or one is _UNSET else getattr(one, name) for one in column]
        return column


def _flat(row: Any, steps: Sequence[tuple[str, int]]) -> list[Any]:  # noqa: ANN401 - a Struct
    found = [row]
    for name, lists in steps:
        found = [getattr(one, name) for one in found if one is not None]
        found = [None if one is _UNSET else one for one in found]
        for _ in range(lists):
            found = [each for one in found if one is not None for each in one]
    return found


def _found(node: Any, path: Sequence[Step], strict: bool) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """All values that a path leads to."""
    if isinstance(node, Pairs) and path:
        under = [value for name, value in node if name == path[0].name]
        for value in under:
            yield from _listed(value, path, strict)
        if not under:
            yield None
    else:
        yield Pairs() if strict and path and node is not None else node


def _listed(value: Any, path: Sequence[Step], strict: bool) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """The same of a value of the first name: of each that is in it where it is a list."""
    is_list = isinstance(value, list) and not isinstance(value, Pairs)
    if is_list and (path[0].lists or len(path) > 1):
        for each in value:
            yield from _listed(each, path, strict)
    else:
        yield from _found(value, path[1:], strict)


def rows_of(block: Block, wanted: Wanted, *, sound: bool) -> Rows:
    """Read lines.

    Args:
        block: the lines.
        wanted: what is to be read of them.
        sound: whether all of them are known to be UTF-8.
    """
    if wanted.decoder is None:
        return Rows([_slowly(line) for line in block.lines], slow=True, wanted=wanted)
    read, refused = _read(block, wanted.decoder)
    again = set(refused)
    if not sound:
        again.update(n for n, line in enumerate(block.lines) if not is_utf_8(line))
    again.update(number for number in _often(block, read, wanted) if not _is_once(block.lines[number], wanted))
    for number in again:
        read[number] = _slowly(block.lines[number])
    return Rows(read, slow=bool(again), wanted=wanted)


_REFUSED = (msgspec.DecodeError, RecursionError, UnicodeError, ValueError)


def _read(block: Block, decoder: msgspec.json.Decoder[Any]) -> tuple[list[Any], list[int]]:
    """What msgspec makes of lines, and the numbers of those that it refuses."""
    if block.are_braced:  # else an object of several lines, and several of one line, may come to as many
        with suppress(*_REFUSED):
            objects = decoder.decode_lines(block.data)
            if len(objects) == block.rows:
                return objects, []
    return _each(block.lines, decoder.decode)


def _each(lines: Sequence[bytes], decode: Callable[[bytes], Any]) -> tuple[list[Any], list[int]]:
    """The same, line by line."""
    read: list[Any] = []
    refused: list[int] = []
    rest = map(decode, lines)
    while len(read) < len(lines):
        try:
            read.extend(rest)
        except _REFUSED:
            refused.append(len(read))
            read.append(None)
    return read, refused


def is_utf_8(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _often(block: Block, read: Sequence[Any], wanted: Wanted) -> set[int]:
    """The numbers of lines that have a watched name more often than was read, or may have it in another spelling."""
    found: set[int] = set()
    if wanted.watched and b"\\" in block.data and wanted.odd.search(block.data):
        found.update(n for n, line in enumerate(block.lines) if wanted.odd.search(line))
    for name in wanted.watched:
        there = _there(read, wanted, name)
        if block.data.count(name) != sum(there):
            counts = [line.count(name) for line in block.lines]
            found.update(n for n, (often, known) in enumerate(zip(counts, there, strict=True)) if often != known)
    return found


def _is_once(line: bytes, wanted: Wanted) -> bool:
    """Whether it is sure that on all watched paths no name is twice in its object: the others are somewhere else.

    Of what is there twice in an object the decoder keeps one, so that the name is more often in its text than in all
    that was kept.
    """
    if wanted.odd.search(line):
        return False
    try:
        return all(_is_once_in(line, path) for path in wanted.ways)
    except _REFUSED:
        return False


def _is_once_in(line: bytes, path: Sequence[tuple[str, bytes]]) -> bool:
    at = line
    for number, (name, written) in enumerate(path, start=1):
        kept = {key: bytes(value) for key, value in _OBJECT(at).items()}
        if at.count(written) != sum(value.count(written) for value in kept.values()) + (name in kept):
            return False
        at = kept.get(name, b"null")
        if not at.startswith(b"{"):
            return number == len(path) or not at.startswith(b"[")
    return True


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _there(read: Sequence[Any], wanted: Wanted, name: bytes) -> list[int]:
    """How often each row has a name, by what was read of it."""
    prefixes = {
        (steps[: n + 1], wanted.getters[p][: n + 1])
        for p, steps in enumerate(wanted.paths)
        for n, step in enumerate(steps)
        if _written(step.name) == name
    }
    found = [0] * len(read)
    for _, getters in prefixes:
        try:
            values = list(map(attrgetter(".".join(field for field, _ in getters)), read))
            there = [one is not _UNSET for one in values] if _UNSET in values else [1] * len(values)
        except AttributeError:  # a list, or nothing, on the way
            there = [0 if row is None else _count(row, getters) for row in read]
        found = [one + other for one, other in zip(found, there, strict=True)]
    return found


def _count(row: Any, steps: Sequence[tuple[str, int]]) -> int:  # noqa: ANN401 - a Struct
    *outer, (last, _) = steps
    found = [row]
    for name, lists in outer:
        found = [getattr(one, name) for one in found]
        for _ in range(lists):
            found = [each for one in found if one is not None and one is not _UNSET for each in one]
        found = [one for one in found if one is not None and one is not _UNSET]
    return sum(getattr(one, last) is not _UNSET for one in found)


def _slowly(line: bytes) -> Pairs | None:
    """A line as Python reads it; None where it is no JSON object."""
    try:
        found = _JSON(line.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Pairs) else None


def _no_constant(text: str) -> None:
    raise ValueError(text)


_JSON = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=_no_constant).decode
