"""How the values of a column are written into a message and compared, by the family of its type.

A value must arrive as its type's output function writes it, whatever the settings of the writer's
session, and a change must be found even where the type's own equality finds none. Known families of
types have shorter SQL; all other types take the general way.
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
from ..protocol.settings import FIXED_SETTINGS
from ..sql import RENDERING, catalog_name, quote

__all__ = [
    "FAMILIES",
    "TriggerColumn",
    "as_in_database",
    "escaped",
    "oids_of",
    "trigger_column",
    "type_codes",
]


@dataclass(frozen=True, slots=True)
class Family:
    """How the values of a family of types are written and compared.

    :ivar code: the letter for the family in messages.
    :ivar bare: whether the texts need no escaping, because they never hold a control character and
        are never empty.
    :ivar differ: an SQL condition over ``{o}`` and ``{n}`` that is true if they differ in any byte.
    :ivar settings: the settings on which the texts depend.
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
    # A SELECT returns another value than the stored one, which is therefore compared but not sent.
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
    """Return the family (a key of ``FAMILIES``) of a column type; ``"other"`` for types that are not
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
        """Return SQL for the column of a row."""
        return f"{row}.{self.quoted}"

    def read(self, row: str) -> str:
        """Return SQL that reads the column, under its name, from a row of a transition table."""
        return f"{self.mark(row)} AS {self.quoted}" if self.virtual else self.of(row)

    def mark(self, row: str) -> str:
        """Return the mark that the installing statement replaces by the column, or by the
        expression that it is computed from."""
        return f"@the value of {self.of(row)}@"

    def differs(self, old: str, new: str) -> str:
        """Return an SQL condition that the column is not byte for byte the same in two rows. It is
        never NULL."""
        return FAMILIES[self.family].differ.format(o=self.of(old), n=self.of(new))

    def text(self, value: str) -> str:
        """Return SQL for a value of the column as its type's output function writes it, escaped as
        in a row of a message.

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
    """Return a column as the trigger's SQL knows it."""
    virtual = column.computed is not None and not column.computed.persisted
    return TriggerColumn(catalog_name(column.name), family_of(column.type), virtual)


def oids_of(family: str) -> tuple[int, ...]:
    """Return the OIDs of the types that the SQL of a family fits; none if it fits every type."""
    return _OIDS.get(family, ())


def as_in_database(
    column: TriggerColumn, type_oid: int | None, *, is_virtual: bool
) -> TriggerColumn:
    """Return the column as the database has it, where that differs from its model.

    :param type_oid: of its type, domains replaced by the type under them; None if the table does
        not have the column.
    :param is_virtual: whether PostgreSQL computes it when it is read.
    """
    if type_oid is None:
        return column
    family = _FAMILY_OF_OID.get(type_oid, "other") if oids_of(column.family) else column.family
    return replace(column, family=family, virtual=column.virtual or is_virtual)


def type_codes(families: Iterable[str]) -> str:
    """Return the letters of families, in order.

    A message carries those of its columns: it may be read later, when a column has a type of
    another family.
    """
    return "".join(FAMILIES[family].code for family in families)


def escaped(text: str, value: str | None = None) -> str:
    """Return SQL that writes a text expression into a row: the three control characters of the
    layout are escaped, NULL becomes the empty text, and the empty text an escape of its own.

    :param value: the SQL that is NULL if there is no text, unless it is ``text`` itself.
    """
    # The column's own collation may not allow a search, or may ignore characters.
    replaced = f'{text} COLLATE "C"'
    for character, escape in (("\\x1b", "1"), ("\\x1e", "2"), ("\\x1f", "3")):
        replaced = f"pg_catalog.replace({replaced}, E'{character}', E'\\x1b{escape}')"
    # IS DISTINCT FROM, since a composite of NULLs "IS NULL".
    return f"coalesce(nullif({replaced}, ''), CASE WHEN {value or text} IS DISTINCT FROM NULL THEN E'\\x1b0' END)"
