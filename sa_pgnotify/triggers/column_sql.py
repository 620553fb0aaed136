"""How the values of a column are written into a message and compared, by the family of its type.

A value must arrive as its type's output function writes it, whatever the writer's session is set
to, and a change must be seen even where the type's own equality sees none. What is known of a type
saves work; what is not known is done the general way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..marking.column_kinds import is_read_by_expression
from ..sql import RENDERING, catalog_name, quote

__all__ = [
    "FAMILIES",
    "FIXED_SETTINGS",
    "TriggerColumn",
    "as_in_database",
    "escaped",
    "oids_of",
    "trigger_column",
    "type_codes",
]

FIXED_SETTINGS: dict[str, str | None] = {
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "lc_monetary": None,
}
"""The settings that output functions depend on, and the values for which a SELECT's text is
decoded; None: the value that the role has which installs the trigger, since a SELECT of the same
application has it as well."""


@dataclass(frozen=True, slots=True)
class Family:
    """How the values of a family of types are written and compared.

    :ivar code: one letter that stands for it in messages.
    :ivar bare: their text never holds a control character and is never empty, so it needs no
        escaping.
    :ivar differ: an SQL condition over ``{o}`` and ``{n}`` that is true if they differ in any byte.
    :ivar settings: the settings on which their text depends.
    """

    code: str
    bare: bool
    differ: str = "ROW({o})::record *<> ROW({n})::record"
    settings: tuple[str, ...] = ()


_DISTINCT = "{o} IS DISTINCT FROM {n}"
FAMILIES = {
    "integer": Family("i", True, _DISTINCT),
    "boolean": Family("b", True, _DISTINCT),
    "uuid": Family("u", True, _DISTINCT),
    "datetime": Family("d", True, _DISTINCT, ("datestyle", "timezone")),
    "numeric": Family("n", True),
    "float": Family("f", True, settings=("extra_float_digits",)),
    "interval": Family("v", True, settings=("intervalstyle",)),
    "bytes": Family("y", True, _DISTINCT, ("bytea_output",)),
    "json": Family("j", True),
    # Under the column's own collation, 'a' may equal 'A'.
    "text": Family("t", False, '{o} COLLATE "C" IS DISTINCT FROM {n} COLLATE "C"'),
    "other": Family("o", False, settings=tuple(FIXED_SETTINGS)),
    # A SELECT gives another value than the stored one, so it is compared, and does not travel.
    "expression": Family("x", False, settings=tuple(FIXED_SETTINGS)),
}
_OIDS = {
    "integer": (20, 21, 23),
    "boolean": (16,),
    "uuid": (2950,),
    "datetime": (1082, 1083, 1114, 1184, 1266),
    "numeric": (1700,),
    "float": (700, 701),
    "interval": (1186,),
    "bytes": (17,),
    "json": (114, 3802),
    "text": (25, 1043),
}
"""The types of a family by pg_type.oid, which is fixed for built-in types; all others are of the
family "other"."""
_FAMILY_OF_OID = {oid: family for family, oids in _OIDS.items() for oid in oids}
_TEXT_TYPES = {
    sqltypes.String,
    sqltypes.Text,
    sqltypes.Unicode,
    sqltypes.UnicodeText,
    sqltypes.VARCHAR,
    sqltypes.TEXT,
}
_FAMILY_OF_TYPE: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (sqltypes.Enum, "other"),
    (sqltypes.Boolean, "boolean"),
    (sqltypes.Integer, "integer"),
    (sqltypes.Uuid, "uuid"),
    (sqltypes.Float, "float"),
    (sqltypes.Numeric, "numeric"),
    (sqltypes.Date, "datetime"),
    (sqltypes.DateTime, "datetime"),
    (sqltypes.Time, "datetime"),
    (postgresql.INTERVAL, "interval"),
    (sqltypes.LargeBinary, "bytes"),
    (sqltypes.JSON, "json"),
)


def family_of(type_: TypeEngine[Any]) -> str:
    """The name of the family (a key of ``FAMILIES``) of a column type; ``"other"`` for what is not
    known well."""
    if is_read_by_expression(type_):
        return "expression"
    known = type_.dialect_impl(RENDERING)
    if isinstance(known, TypeDecorator):
        known = known.type_engine(RENDERING)
    if isinstance(known, sqltypes.Uuid) and not known.native_uuid:
        return "other"  # stored as char(32)
    if type(known) in _TEXT_TYPES:
        return "text"
    return next(
        (family for class_, family in _FAMILY_OF_TYPE if isinstance(known, class_)), "other"
    )


@dataclass(frozen=True, slots=True)
class TriggerColumn:
    """A column as the trigger's SQL knows it.

    :ivar family: a key of ``FAMILIES``.
    :ivar virtual: whether PostgreSQL may compute it when it is read, and then leaves it NULL in
        transition tables: whether it does, and from which expression, is looked up when the trigger
        is installed.
    """

    name: str
    family: str
    virtual: bool = False

    @property
    def quoted(self) -> str:
        """The name as an SQL identifier."""
        return quote(self.name)

    def of(self, row: str) -> str:
        """SQL for the column of a row."""
        return f"{row}.{self.quoted}"

    def read(self, row: str) -> str:
        """SQL that reads the column, under its name, from a row of a transition table."""
        return f"{self.mark(row)} AS {self.quoted}" if self.virtual else self.of(row)

    def mark(self, row: str) -> str:
        """What the installing statement replaces by the column, or by the expression that it is
        computed from."""
        return f"@the value of {self.of(row)}@"

    def differs(self, old: str, new: str) -> str:
        """An SQL condition: the column is not byte for byte the same in two rows. It is never
        NULL."""
        return FAMILIES[self.family].differ.format(o=self.of(old), n=self.of(new))

    def text(self, value: str) -> str:
        """SQL that gives a value of the column as its type's output function writes it, in the form
        that a row of a message takes.

        ``concat()`` uses the output functions; ``::text`` would not (char(n) loses its padding,
        inet gains /32, bool becomes true).
        """
        if FAMILIES[self.family].bare:
            return value
        return (
            escaped(value)
            if self.family == "text"
            else escaped(f"pg_catalog.concat({value})", value)
        )


def trigger_column(column: Column[Any]) -> TriggerColumn:
    """What the trigger has to know of a column."""
    virtual = column.computed is not None and not column.computed.persisted
    return TriggerColumn(catalog_name(column.name), family_of(column.type), virtual)


def oids_of(family: str) -> tuple[int, ...]:
    """The OIDs of the types that the SQL of a family fits; none if it fits every type."""
    return _OIDS.get(family, ())


def as_in_database(
    column: TriggerColumn, type_oid: int | None, *, is_virtual: bool
) -> TriggerColumn:
    """The column as the database has it, where that differs from what its model says.

    :param type_oid: of its type, domains replaced by what they are made of; None if the table does
        not have the column.
    :param is_virtual: whether PostgreSQL computes it when it is read.
    """
    if type_oid is None:
        return column
    family = _FAMILY_OF_OID.get(type_oid, "other") if oids_of(column.family) else column.family
    return replace(column, family=family, virtual=column.virtual or is_virtual)


def type_codes(families: Iterable[str]) -> str:
    """One letter for each family, in order. A message carries those of its columns, so that whoever
    reads it later, when a column may have a type of another family, sees it."""
    return "".join(FAMILIES[family].code for family in families)


def escaped(text: str, value: str | None = None) -> str:
    """SQL that writes a text expression into a row: the three control characters of the layout
    escaped, NULL as nothing, the empty text as an escape of its own.

    :param value: what is NULL when there is no text, if that is not ``text`` itself.
    """
    # as the column's own collation may not allow a search, or take a character for nothing
    replaced = f'{text} COLLATE "C"'
    for character, escape in (("\\x1b", "1"), ("\\x1e", "2"), ("\\x1f", "3")):
        replaced = f"pg_catalog.replace({replaced}, E'{character}', E'\\x1b{escape}')"
    # IS DISTINCT FROM, since a composite of NULLs "IS NULL".
    return f"coalesce(nullif({replaced}, ''), CASE WHEN {value or text} IS DISTINCT FROM NULL THEN E'\\x1b0' END)"
