"""Listing every version and delete marker under a prefix: streamed, in key order, fast.

ListObjectVersions is the only listing used, also for buckets without versioning, where every object is the version
``null``. boto3 sends it; only its answers are read here, because botocore's parser takes longer over a page than S3.

S3 lists in the order of the keys' UTF-8 bytes. SeaweedFS does so within a folder only, and across pages loses keys
such as ``a.txt`` that sort before a folder ``a/``; its buckets are walked folder by folder for that reason.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote_plus

from botocore.parsers import ResponseParserError

from lethe.stores.buckets.errors import Operation, named

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE = 1000
"""Entries of a page; more is not given by S3."""
AHEAD = 8
"""Listings whose first page is fetched ahead."""
UNVERSIONED = "null"
"""The version id of objects written without versioning."""
_EMPTY = '"d41d8cd98f00b204e9800998ecf8427e"'
_LOST = "\N{REPLACEMENT CHARACTER}"


class Version(NamedTuple):
    """One version of an object, or a delete marker.

    `modified` is the text that S3 gave, compared as such; see `modified_at`. `etag` is empty for markers.
    """

    key: str
    id: str
    etag: str
    modified: str
    size: int
    marker: bool

    @property
    def identity(self) -> tuple[str, str, str]:
        """What stays the same as long as it is the very version: its id, or, without one, its ETag and its time."""
        return (self.id, "", "") if self.id != UNVERSIONED else (self.id, self.etag, self.modified)

    @property
    def modified_at(self) -> datetime:
        """When it was last modified: the end of the second, because S3 cuts off what is beyond the second."""
        moment = datetime.fromisoformat(self.modified)
        return moment if moment.microsecond else moment + timedelta(microseconds=999_999)


class Record(NamedTuple):
    """A key with all of its versions and delete markers, in the order of the listing: the newest first."""

    key: str
    versions: tuple[Version, ...]

    @property
    def readable(self) -> bool:
        """Whether the key came through the listing unharmed; XML cannot carry every character that a key can."""
        return _LOST not in self.key

    @property
    def content(self) -> tuple[Version, ...]:
        """Its versions without the delete markers."""
        return tuple(version for version in self.versions if not version.marker)


class ListingPage(NamedTuple):
    """One answer of ListObjectVersions. `following` are the parameters for the next, if there is one."""

    versions: tuple[Version, ...]
    folders: tuple[str, ...]
    following: Mapping[str, str] | None
    by_folder: bool


def read_fast(client: S3Client) -> None:
    """Have a client answer listings by a `ListingPage` (under ``ListingPage``) instead of by boto3's lists."""
    # botocore's own handler of "before-parse.s3.*" parses every answer too, to see whether a 200 is an error after all.
    # Handlers of a wildcard that stands further left come before it, and leave it nothing to do.
    client.meta.events.register("before-parse.*.ListObjectVersions", _read_page)
    client.meta.events.register("before-parse.*.ListObjectsV2", _read_page)


def _read_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if response_dict["status_code"] != 200:
        return
    by_folder = str(response_dict["headers"].get("server", "")).startswith("SeaweedFS")
    page = parse_page(response_dict["body"], by_folder=by_folder)
    if page is not None:
        customized_response_dict["ListingPage"] = page
        response_dict["body"] = b"<Result/>"


def parse_page(body: bytes, *, by_folder: bool = False) -> ListingPage | None:
    """Read an answer of ListObjectVersions, or of ListObjectsV2 without the token for going on.

    None: it is cut off, or an error in spite of its status; botocore sees that too, and tries again.

    Raises:
        ResponseParserError: if it is something else than a listing.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - from the S3 server, as botocore reads it
        return None if root.tag == "Error" else _page(root, by_folder)
    except ET.ParseError:
        return None
    except (KeyError, ValueError) as error:
        raise ResponseParserError(f"not a listing ({type(error).__name__})") from None


def _page(root: ET.Element, by_folder: bool) -> ListingPage:
    space = root.tag[: root.tag.rfind("}") + 1]
    facts = {child.tag.removeprefix(space): child.text or "" for child in root if not len(child)}
    if "IsTruncated" not in facts:
        raise ValueError("no IsTruncated")
    read = unquote_plus if facts.get("EncodingType") == "url" else str
    folders = [read(field.text or "") for child in root.iterfind(f"{space}CommonPrefixes") for field in child]
    return ListingPage(tuple(_versions(root, space, read)), tuple(folders), _following(facts), by_folder)


def _versions(root: ET.Element, space: str, read: Callable[[str], str]) -> Iterator[Version]:
    """The versions and markers of a listing. Raises ValueError where an element is missing."""
    names = ("Key", "VersionId", "LastModified", "ETag", "Size")
    key_tag, id_tag, modified_tag, etag_tag, size_tag = (space + name for name in names)
    marker_tag, content_tags = f"{space}DeleteMarker", (f"{space}Version", f"{space}Contents")
    for child in root:
        marker = child.tag == marker_tag
        if not marker and child.tag not in content_tags:
            continue
        key, modified = child.findtext(key_tag), child.findtext(modified_tag)
        etag, size = ("", "0") if marker else (child.findtext(etag_tag), child.findtext(size_tag))
        if key is None or modified is None or etag is None or size is None:
            raise ValueError("a version without its key, time, ETag or size")
        yield Version(
            read(key),
            child.findtext(id_tag) or UNVERSIONED,
            "" if marker else _etag(etag),
            modified,
            int(size),
            marker,
        )


def _etag(listed: str) -> str:
    """The ETag, which SeaweedFS leaves empty in listings of empty objects: theirs is the MD5 of nothing."""
    return listed if listed.strip('"') else _EMPTY


def _following(facts: Mapping[str, str]) -> Mapping[str, str] | None:
    if facts["IsTruncated"] != "true" or "NextContinuationToken" in facts:
        return None
    markers = {"KeyMarker": facts["NextKeyMarker"], "VersionIdMarker": facts.get("NextVersionIdMarker", "")}
    if facts.get("EncodingType") == "url":
        markers["KeyMarker"] = unquote_plus(markers["KeyMarker"])
    return {name: value for name, value in markers.items() if value}


@dataclass(frozen=True)
class Listing:
    """Lists a bucket by a client that was prepared by `read_fast`. Safe to use from several threads."""

    client: S3Client
    bucket: str
    place: Operation

    def page(self, prefix: str, *, folders: bool = False, after: Mapping[str, str] | None = None) -> ListingPage:
        """One page. Raises `StoreUnavailable` or `StoreError`."""
        options: dict[str, Any] = {**({"Delimiter": "/"} if folders else {}), **(after or {})}
        with named(self.place):
            answer: Any = self.client.list_object_versions(
                Bucket=self.bucket, Prefix=prefix, EncodingType="url", **options
            )
        page: ListingPage = answer["ListingPage"]
        return page

    def one(self, key: str) -> Record | None:
        """A key with all its versions, or None where there is nothing of it."""
        found: list[Version] = []
        after: Mapping[str, str] | None = None
        while True:
            page = self.page(key, after=after)
            found.extend(version for version in page.versions if version.key == key)
            after = page.following
            # Keys that `key` is a prefix of come after it, so its own versions end with the first of them.
            if after is None or after["KeyMarker"] != key:
                return Record(key, tuple(found)) if found else None

    def walk(self, prefix: str, pool: Executor, *, without: str) -> Iterator[Record]:
        """All records under `prefix` but not under `without`, in the order of their keys, streamed.

        Pages are fetched ahead in `pool`, folders beside each other where a level of the prefix has some; at most
        `AHEAD` pages are in memory besides the names of sibling folders.
        """
        pages = self._pages(prefix, pool, without)
        versions = (version for page in pages for version in page if not version.key.startswith(without))
        for key, group in groupby(versions, key=attrgetter("key")):
            yield Record(key, tuple(group))

    def _pages(self, prefix: str, pool: Executor, without: str) -> Iterator[tuple[Version, ...]]:
        pending: deque[_Pages | tuple[Version, ...]] = deque([self._start(prefix)])
        while pending:
            for ahead in islice((item for item in pending if isinstance(item, _Pages)), AHEAD):
                ahead.fetch(self, pool)
            head = pending.popleft()
            if isinstance(head, _Pages):
                pending.extendleft(reversed([item for item in head.split() if _wanted(item, without)]))
            else:
                yield head

    def _start(self, prefix: str) -> _Pages:
        """By folders where the server needs it, or where one level of folders spreads a long listing; else flat."""
        first = self.page(prefix)
        if first.following is None:
            return _Pages(prefix, ready=first)
        if first.by_folder:
            return _Pages(prefix, folders=True, nested=True)
        level = self.page(prefix, folders=True)
        if level.following is None and len(level.folders) > 1:
            return _Pages(prefix, folders=True, ready=level)
        return _Pages(prefix, ready=first)

    def again(self, records: Sequence[Record], after: str, span: int, listed: datetime) -> dict[str, Record]:
        """What is there now of records that were listed before: by key, with all their versions.

        The records are in the order of the listing, which had `after` before the first of them and `span` versions
        from the first to the last. It was made at `listed` or later.
        """
        pages = span // PAGE + 2
        single = [record for record in records if _is_single(record, listed)]
        found = self._unchanged(single, after, span) if len(records) - len(single) <= 4 * pages else {}
        missing = {record.key for record in records} - found.keys()
        if len(missing) > 4 * pages:
            between = self.between(records[0].key, records[-1].key, after, pages)
            found.update((record.key, record) for record in between if record.key in missing)
        for key in missing - found.keys():
            now = self.one(key)
            if now is not None:
                found[key] = now
        return found

    def _unchanged(self, records: Sequence[Record], after: str, span: int) -> dict[str, Record]:
        """Those of objects of a single version that ListObjectsV2, the cheapest listing, shows as they were.

        It shows the newest version of a key. Where that is the only one there was, there is no other now.
        """
        if not records:
            return {}
        last, prefix = records[-1].key, _common(records[0].key, records[-1].key)
        wanted = {record.key: record for record in records}
        found: dict[str, Record] = {}
        for _ in range(span // PAGE + 1):
            start: Any = {"StartAfter": after} if after.startswith(prefix) and after else {}
            with named(self.place):
                answer: Any = self.client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, EncodingType="url", **start
                )
            page: ListingPage = answer["ListingPage"]
            for version in page.versions:
                record = wanted.get(version.key)
                if record is not None and _is_same(record.versions[0], version):
                    found[version.key] = record
            if not page.versions or page.versions[-1].key >= last:
                break
            after = page.versions[-1].key
        return found

    def between(self, first: str, last: str, after: str, most_pages: int) -> Iterator[Record]:
        """Records from key `first` to `last`, of at most so many pages, for having another look at known keys.

        `after` is the key before `first` in the listing, or an empty text. What is not given may exist all the same:
        ask `one`.
        """
        prefix = _common(first, last)
        # A marker before all keys with the prefix says nothing, and SeaweedFS answers it by an empty page.
        marker: Mapping[str, str] | None = {"KeyMarker": after} if after.startswith(prefix) and after else None
        versions: list[Version] = []
        for _ in range(most_pages):
            page = self.page(prefix, after=marker)
            versions.extend(page.versions)
            marker = page.following
            if marker is None or not page.versions or page.versions[-1].key > last:
                break
        else:
            # The last key may have more versions than were read.
            cut = versions[-1].key if versions else ""
            versions = [version for version in versions if version.key != cut]
        for key, group in groupby(versions, key=attrgetter("key")):
            yield Record(key, tuple(group))


@dataclass
class _Pages:
    """A listing that has yet to be read, or goes on after a page."""

    prefix: str
    folders: bool = False
    nested: bool = False
    after: Mapping[str, str] | None = None
    ready: ListingPage | None = None
    future: Future[ListingPage] | None = None

    def fetch(self, listing: Listing, pool: Executor) -> None:
        if self.ready is None and self.future is None:
            self.future = pool.submit(listing.page, self.prefix, folders=self.folders, after=self.after)

    def split(self) -> Iterator[_Pages | tuple[Version, ...]]:
        """The page's versions and folders in the order of their keys, then the pages that follow."""
        page = self.ready or (self.future.result() if self.future else None)
        if page is None:
            return
        start = 0
        versions = sorted(page.versions, key=attrgetter("key")) if page.folders else page.versions
        for folder in sorted(set(page.folders) - {self.prefix}):
            stop = start
            while stop < len(versions) and versions[stop].key < folder:
                stop += 1
            yield tuple(versions[start:stop])
            yield _Pages(folder, folders=self.nested, nested=self.nested)
            start = stop
        yield tuple(versions[start:])
        if page.following is not None:
            yield _Pages(self.prefix, self.folders, self.nested, after=page.following)


def _wanted(item: _Pages | tuple[Version, ...], without: str) -> bool:
    return isinstance(item, tuple) or not item.prefix.startswith(without)


def _is_single(record: Record, listed: datetime) -> bool:
    """Whether it is one version of an object and nothing else, which nothing written since can be taken for.

    ListObjectsV2 does not show version ids. What is written after `listed` has another time of modification than a
    version of before, also where its content is the same.
    """
    version = record.versions[0]
    return (
        len(record.versions) == 1 and not version.marker and (version.id == UNVERSIONED or version.modified_at < listed)
    )


def _is_same(version: Version, shown: Version) -> bool:
    return (version.etag, version.modified, version.size) == (shown.etag, shown.modified, shown.size)


def _common(first: str, last: str) -> str:
    """The longest prefix that both keys have."""
    for index, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:index]
    return min(first, last, key=len)


_T = TypeVar("_T")


def chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
