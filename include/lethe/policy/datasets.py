"""The kinds of data that records are in: tables, objects, rows in files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from lethe.judging.identifiers import IdentifierType
from lethe.judging.mentions import HELD_IN_TEXT
from lethe.policy.clocks import ColumnClock, DatePattern, ObjectAttribute, ObjectClock, groups_of
from lethe.policy.conditions import Condition
from lethe.policy.fields import Column, Identifiers, Model, Name, Region, TableName
from lethe.policy.masks import Mask, MaskKind
from lethe.policy.paths import steps_of
from lethe.policy.related import RelatedRows, split_column, way_to_related
from lethe.policy.suppression import Suppression

_DEEPEST = 8


class ChildTable(Model):
    """Rows that go with a record: those whose foreign key refers to it. Children go first, in one transaction."""

    table: TableName
    foreign_key: tuple[Column, ...] = Field(
        min_length=1, description="Columns of this table, in the order of references."
    )
    references: tuple[Column, ...] | None = Field(
        default=None, description="Columns of the parent table; the parent's key where left out."
    )
    identifiers: Identifiers = Field(
        default_factory=dict,
        description="Columns of this table by which a hold finds the record that its rows go with; {} says that there "
        "are none.",
    )
    phone_region: Region | None = Field(
        default=None, description="Country of national telephone numbers; that of the parent where left out."
    )
    children: tuple[ChildTable, ...] = ()

    @model_validator(mode="after")
    def _matching_columns(self) -> Self:
        if self.references is not None and len(self.references) != len(self.foreign_key):
            raise ValueError("foreign_key and references need the same number of columns: name as many in both")
        if self.children and any(child.references is None for child in self.children):
            raise ValueError(
                "children of a child table need references: name its columns, as it has no key of its own here"
            )
        if self.depth > _DEEPEST:
            raise ValueError(f"children nest more than {_DEEPEST} deep: leave out the deepest")
        return self

    @property
    def depth(self) -> int:
        """How many tables deep the children nest; 1 without any."""
        return 1 + max((child.depth for child in self.children), default=0)

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of identifiers in this table and those of all its children."""
        return frozenset(self.identifiers).union(*(child.carried for child in self.children))

    @property
    def tables(self) -> tuple[str, ...]:
        """This table and those of all its children."""
        return (self.table, *(table for child in self.children for table in child.tables))


class DatasetBase(Model):
    """What every dataset states."""

    name: Name
    store: str = Field(min_length=1, description="An Airflow connection id.")
    title: str = ""

    @property
    @abstractmethod
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers by which a hold finds its records."""


class RowDataset(DatasetBase):
    """What datasets of rows state, in a table or in files."""

    clock: ColumnClock
    identifiers: Identifiers = Field(
        default_factory=dict, description="Columns by which a hold finds the records, by type of identifier."
    )
    phone_region: Region | None = Field(default=None, description="Country of national telephone numbers, such as CZ.")
    where: tuple[Condition, ...] = Field(
        default=(), description="The rows that the dataset consists of: all must hold."
    )
    keep_while: tuple[Condition, ...] = Field(
        default=(), description="Expired rows that are kept on while any of these holds."
    )

    @property
    def conditions(self) -> tuple[tuple[str, Condition], ...]:
        """All conditions, each with the field that it is one of."""
        fields = (("where", self.where), ("keep_while", self.keep_while))
        return tuple((field, condition) for field, conditions in fields for condition in conditions)

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers in its columns."""
        return frozenset(self.identifiers)


class TableDataset(RowDataset):
    """Rows of a table in a SQL warehouse."""

    kind: Literal["table"]
    table: TableName = Field(
        description="Table, with its schema where it has one; names with blanks or dots in double quotes."
    )
    key: tuple[Column, ...] = Field(min_length=1, description="The columns that name a record: unique, never null.")
    related: RelatedRows = Field(
        default_factory=dict,
        description="Rows of other tables that a record leads to, or that refer to it, by name: the clock, conditions, "
        "identifiers and by_value can be columns of theirs, written name.column.",
    )
    children: tuple[ChildTable, ...] = ()
    masks: tuple[Mask, ...] = Field(default=(), description="For anonymising: every column with personal data.")
    suppression: Suppression | None = Field(
        default=None, description="A list onto which a value of each record goes, or of some, when it is erased."
    )

    @model_validator(mode="after")
    def _related_lead_on(self) -> Self:
        for name in self.related:
            try:
                way_to_related(name, self.related)
            except ValueError as error:
                raise ValueError(f"related: {error}") from None
        own = [("key", self.key), ("masks", tuple(mask.column for mask in self.masks))]
        own += [(f"children.{child.table}.references", child.references or ()) for child in self.children]
        if self.suppression is not None:
            tested = tuple(condition.column for condition in self.suppression.when)
            own += [("suppression.from", (self.suppression.from_,)), ("suppression.when", tested)]
        for field_name, columns in own:
            for column in columns:
                if self.is_related(column):
                    raise ValueError(f"{field_name}: {column} is of another row: name columns of {self.table} itself")
        return self

    @model_validator(mode="after")
    def _many_where_they_can_be(self) -> Self:
        for condition in self.where:
            self.require_one("where", condition.column)
        clock = self.clock
        if clock.column is not None and self.is_of_many(clock.column):
            raise ValueError(
                f"clock: {clock.column} is of many rows: write latest_of: [{clock.column}], or earliest_of"
            )
        if not any(map(self.is_of_many, clock.columns)):
            clock.require_several()
        return self

    @model_validator(mode="after")
    def _event_is_of_one_row(self) -> Self:
        owners = {split_column(column, self.related)[0] for column in self.clock.refers_to or ()}
        if len(owners) > 1:
            raise ValueError("clock.refers_to names columns of several rows: name columns of one")
        for column in self.clock.refers_to or ():
            self.require_one("clock.refers_to", column)
        return self

    @model_validator(mode="after")
    def _masks_fit(self) -> Self:
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice: leave it out once")
        masked = [mask.column for mask in self.masks]
        if len(set(masked)) != len(masked):
            raise ValueError("masks name a column twice: leave it out once")
        needed = sorted({*self.key, *self.clock.columns} & set(masked))
        if needed:
            raise ValueError(f"masks: {', '.join(needed)} is needed to find and judge the record: leave it out")
        for kind, columns in self.identifiers.items():
            for mask in self.masks:
                if mask.column in columns and mask.leaves_a_person(kind):
                    raise ValueError(
                        f"masks: {mask.with_} may leave of {mask.column} what leads to a person ({kind}): mask it with "
                        "null, an e-mail address with domain, a telephone number with a prefix of up to 6"
                    )
        if self.masks and self.suppression is not None:
            raise ValueError("suppression is for records that are erased, masks for those that stay: leave one out")
        return self

    @property
    def conditions(self) -> tuple[tuple[str, Condition], ...]:
        """Those of the suppression list, too."""
        listed = self.suppression.when if self.suppression is not None else ()
        return (*super().conditions, *(("suppression.when", condition) for condition in listed))

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers in its columns, and in those of the rows that go with its records."""
        return frozenset(self.searched).union(*(child.carried for child in self.children))

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns of free text in which personal data is redacted."""
        return tuple(mask.column for mask in self.masks if mask.with_ is MaskKind.REDACT)

    @property
    def searched(self) -> Identifiers:
        """Where a hold looks for its records: the declared columns, and all text of which something is redacted."""
        if not self.texts:
            return self.identifiers
        kinds = (*self.identifiers, *sorted(HELD_IN_TEXT - set(self.identifiers)))
        in_text = {kind: self.texts if kind in HELD_IN_TEXT else () for kind in kinds}
        return {kind: tuple(dict.fromkeys((*self.identifiers.get(kind, ()), *in_text[kind]))) for kind in kinds}

    def waits_for(self, related: str) -> bool:
        """Whether no record can have expired that a related row is missing of: its clock has no other columns."""
        owners = (split_column(column, self.related)[0] for column in self.clock.columns)
        return all(owner is not None and related in way_to_related(owner, self.related) for owner in owners)

    def is_related(self, column: str) -> bool:
        """Whether a column is one of a related row."""
        return split_column(column, self.related)[0] is not None

    def is_of_many(self, column: str) -> bool:
        """Whether a column is one of many related rows."""
        owner, _ = split_column(column, self.related)
        return owner is not None and self.related[owner].many

    def require_one(self, field_name: str, column: str) -> None:
        """Refuse a column of many rows where a record has to have one value.

        Raises:
            ValueError: naming the field, if it is one.
        """
        if self.is_of_many(column):
            raise ValueError(
                f"{field_name}: {column} is of many rows, which only latest_of and earliest_of of the clock, "
                "keep_while and identifiers can be: name a column that a record has once"
            )

    @property
    def unmasked(self) -> tuple[str, ...]:
        """Columns with identifiers of a person that no mask covers."""
        masked = {mask.column for mask in self.masks}
        personal = (columns for kind, columns in self.identifiers.items() if kind.is_of_a_person)
        own = {column for columns in personal for column in columns if not self.is_related(column)}
        return tuple(sorted(own - masked))

    @property
    def location(self) -> str:
        """The table, as users write it."""
        return self.table


class BucketDataset(DatasetBase):
    """What datasets in a bucket state."""

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = Field(default="", pattern=r"^([^/].*)?$", description="Keys start with it; end it with a slash.")

    @property
    def location(self) -> str:
        """The prefix as a URL."""
        return f"s3://{self.bucket}/{self.prefix}"


class ObjectDataset(BucketDataset):
    """Whole objects under a prefix, with all their versions."""

    kind: Literal["objects"]
    clock: ObjectClock
    identifiers: Mapping[IdentifierType, ObjectAttribute] = Field(default_factory=dict)

    @property
    def carried(self) -> frozenset[IdentifierType]:
        """The types of the identifiers that are read from its objects."""
        return frozenset(self.identifiers)


class FilesDataset(BucketDataset, RowDataset):
    """Rows inside files under a prefix, whatever their format, which is the kind of dataset."""

    kind: str
    key: tuple[Column, ...] = Field(
        default=(), description="Columns that name a row, for proofs; the file and row number where left out."
    )
    path_columns: Mapping[Column, DatePattern] = Field(
        default_factory=dict,
        description="Columns that the files do not have, because their keys say them (country=CZ/): by name, the "
        "pattern that finds the value, or the parts of a date, in the key.",
    )
    partition_clock: DatePattern | None = Field(
        default=None,
        description="A date in the object key that no clock of the file's rows is before; files that it shows to be "
        "unexpired are not opened. A file whose rows or statistics contradict it stops the dataset.",
    )

    @model_validator(mode="after")
    def _no_event(self) -> Self:
        if self.clock.event is not None:
            raise ValueError("clock: events start the periods of rows in tables, not of rows in files: name a column")
        return self

    @model_validator(mode="after")
    def _extremes_are_of_several(self) -> Self:
        self.clock.require_several()
        return self

    @model_validator(mode="after")
    def _dates_are_clocks(self) -> Self:
        dates = {name for name, pattern in self.path_columns.items() if "value" not in groups_of(pattern)}
        named = {
            "identifiers": {column for columns in self.identifiers.values() for column in columns},
            "where": {condition.column for condition in self.where},
            "keep_while": {condition.column for condition in self.keep_while},
            "key": set(self.key),
        }
        for field_name, columns in named.items():
            for column in sorted(columns & dates):
                raise ValueError(
                    f"{field_name}: {column} is made of the parts of a date in the key, which only a clock can be; add "
                    "a column to path_columns whose pattern has a group named value"
                )
        for field_name, condition in self.conditions:
            if condition.column in self.path_columns and condition.day is not None and condition.format is None:
                raise ValueError(
                    f"{field_name}: {condition.column} is text in the key: say its format, such as format: iso8601"
                )
        return self


class ParquetDataset(FilesDataset):
    """Rows inside Parquet files under a prefix."""

    kind: Literal["parquet"]


class JsonLinesDataset(FilesDataset):
    """Rows inside files of JSON lines under a prefix: one JSON object a line; plain, gzip or zstd, as the content says.

    Columns are names of values, nested ones too: `user.email`; `events[].email`, which only identifiers can be, has
    as many values as its list. A name with dots or brackets in it is written in double quotes: `"user.email"`.
    """

    kind: Literal["jsonlines"]

    @model_validator(mode="after")
    def _names_are_paths(self) -> Self:
        single = {
            "clock": self.clock.columns,
            "where": tuple(condition.column for condition in self.where),
            "keep_while": tuple(condition.column for condition in self.keep_while),
            "key": self.key,
        }
        for field_name, columns in single.items():
            for column in columns:
                self.require_single(field_name, column)
        for kind, columns in self.identifiers.items():
            for column in columns:
                self._leads_through_a_list(f"identifiers.{kind}", column)
        if self.clock.format is None and not set(self.clock.columns) <= set(self.path_columns):
            raise ValueError("clock: JSON has no dates: say how they are written, such as format: iso8601")
        return self

    def require_single(self, field_name: str, column: str) -> None:
        """Whether a column is one value a row.

        Raises:
            ValueError: naming the field, if it may be several, or is no name.
        """
        if self._leads_through_a_list(field_name, column):
            raise ValueError(f"{field_name}: {column} is of several values, which only identifiers can be")

    def _leads_through_a_list(self, field_name: str, column: str) -> bool:
        try:
            return column not in self.path_columns and any(step.lists for step in steps_of(column))
        except ValueError as error:
            raise ValueError(f"{field_name}: {error}") from None


Dataset = Annotated[
    TableDataset | ObjectDataset | ParquetDataset | JsonLinesDataset,
    Field(discriminator="kind"),
]
