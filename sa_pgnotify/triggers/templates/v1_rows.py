"""The SQL of template version 1 that writes the header and the rows of a message.

A message is laid out in :mod:`sa_pgnotify.protocol.wire`, which reads it. A row is one text: its
fields stand between separators, and NULL, the empty text and the separators themselves are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...marking.spec import Lookup, Marking
from ...protocol.wire import MASK_BITS, RS, US
from ..column_sql import TriggerColumn, type_codes

__all__ = [
    "CLASS_MARK",
    "CONDITION_MARK",
    "MICROSECONDS",
    "RANDOM",
    "RowSql",
    "concat",
    "joined",
    "pieces",
    "unused",
]

FUNCTION_ARGUMENTS = 100
"""As many as PostgreSQL passes to a function."""
CONDITION_MARK = "@the condition@"
CLASS_MARK = "@the class of {row}@"
MICROSECONDS = (
    "(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint"
)
RANDOM = "(pg_catalog.random() * 1000000000::float8)::bigint"
"""With the microseconds it distinguishes one message from another: a clock may be set back, and the
seed of random numbers be set again."""


@dataclass(frozen=True)
class RowSql:
    """The columns of one table in messages, and the SQL that writes them.

    :ivar columns: those of the table, in its order.
    """

    marking: Marking
    columns: tuple[TriggerColumn, ...]

    @cached_property
    def carried(self) -> tuple[TriggerColumn, ...]:
        """The columns whose values travel: the key, the discriminator, the declared values."""
        names = list(self.marking.key)
        if isinstance(self.marking.discriminator, str):
            names.append(self.marking.discriminator)
        every = [c.name for c in self.columns if c.family != "expression"]
        names.extend(every if self.marking.values == "all" else self.marking.values)
        by_name = {c.name: c for c in self.columns}
        return tuple(by_name[name] for name in dict.fromkeys(names))

    @cached_property
    def compared(self) -> tuple[TriggerColumn, ...]:
        """All columns, the carried ones first: bit i of an update's mask is the i-th of these."""
        return tuple(dict.fromkeys(self.carried + self.columns))

    @property
    def alias(self) -> str:
        """The alias of a transition table's rows, which is not the name of a column."""
        return unused("r", self.columns)

    @property
    def condition(self) -> str:
        """The mark of the condition; empty if there is none."""
        return "" if self.marking.condition is None else CONDITION_MARK

    def shape(self, operation: str) -> str:
        """Return the shape of a message, as JSON."""
        columns = self.compared if operation == "UPDATE" else self.carried
        shape: dict[str, Any] = {
            "columns": [c.name for c in columns],
            "carried": len(self.carried),
            "key": len(self.marking.key),
        }
        shape["types"] = type_codes(c.family for c in self.carried)
        if isinstance(self.marking.discriminator, Lookup):
            shape["discriminator"] = len(self.carried)
        elif self.marking.discriminator is not None:
            shape["discriminator"] = [c.name for c in self.carried].index(
                self.marking.discriminator
            )
        return json.dumps(shape, ensure_ascii=False)

    def _header(self, operation: str) -> list[str]:
        """Return SQL for the pieces of the header of a message."""
        return [
            _constant(f"{operation[0]}{US}"),
            "sa.relation",  # with the block's label, since a column may have that name
            _constant(US),
            "pg_catalog.pg_current_xact_id()",
            _constant(US),
            MICROSECONDS,
            _constant(f"{US}{self.shape(operation)}{US}"),
            "sa.context",
        ]

    def _beginning(self, operation: str) -> list[str]:
        """Return SQL for what a notification holds before the rows, if one is enough."""
        _, *header = self._header(operation)
        return [
            "'sa1 '",
            RANDOM,
            _constant(f" 0 1{RS}{operation[0]}{US}"),
            *header,
            _constant(RS),
        ]

    def write(self, operation: str, row: list[str]) -> str:
        """Return the statements that write a message of one row, or of none.

        :param row: SQL for the pieces of its text.
        """
        if self.marking.durable:
            rows = concat(row) if row else "''"
            return f"    message := {concat(self._header(operation))};\n    rows := {rows};"
        return f"    message := {concat([*self._beginning(operation), *row])};"

    def gather(self, operation: str, source: str, row: str) -> str:
        """Return the statements that write a message of the rows of ``source``, and return if there
        are none.

        :param row: SQL for the text of one row.
        """
        rows = f"pg_catalog.string_agg({row}, E'\\x1e')"
        if self.marking.durable:
            select, into = f"{concat(self._header(operation))}, {rows}", "message, rows"
        else:
            select, into = f"{concat(self._beginning(operation))} || {rows}", "message"
        return f"    SELECT {select} INTO {into}\n      FROM {source};"

    @property
    def none(self) -> str:
        """SQL for whether there were no rows."""
        return f"{'rows' if self.marking.durable else 'message'} IS NULL"

    def source(self, rows: str) -> str:
        """Return the transition table ``rows`` with the virtual generated columns computed, which
        PostgreSQL leaves NULL in it."""
        if not any(c.virtual for c in self.columns):
            return rows
        return f"(SELECT {self.read} FROM {rows} AS {self.alias})"

    @property
    def read(self) -> str:
        """A SELECT list that reads all columns from a row of a transition table."""
        return self.reading(self.columns)

    def reading(self, columns: Iterable[TriggerColumn]) -> str:
        """Return a SELECT list that reads columns from a row of a transition table."""
        return ", ".join(c.read(self.alias) for c in columns)

    def looked_up(self, row: str) -> list[str]:
        """Return the field for the class of a row, if that is looked up in another table."""
        is_looked_up = isinstance(self.marking.discriminator, Lookup)
        return [CLASS_MARK.format(row=row)] if is_looked_up else []

    @property
    def watched(self) -> tuple[str, ...]:
        """The names of the columns a change of which is published."""
        return self.marking.update_of or tuple(c.name for c in self.columns)

    def watched_bits(self, bits: Mapping[str, tuple[str, int]]) -> list[str]:
        """Return SQL conditions, one for each mask, that it has a bit of a watched column.

        :param bits: of each column, its mask and its bit in it.
        """
        return [
            f"{mask} & {sum(bit for name, (of, bit) in bits.items() if of == mask and name in self.watched)} <> 0"
            for mask in sorted({mask for mask, _ in bits.values()})
        ]

    def masks(self, old: str, new: str) -> list[str]:
        """Return SQL for the numbers whose bits say which columns differ in two rows."""
        return [
            "("
            + " + ".join(
                f"CASE WHEN {c.differs(old, new)} THEN {1 << bit} ELSE 0 END"
                for bit, c in enumerate(self.compared[i : i + MASK_BITS])
            )
            + ")::bigint"
            for i in range(0, len(self.compared), MASK_BITS)
        ]


def joined(fields: list[str], tail: Iterable[str] = (), *, null_if_null: Iterable[str] = ()) -> str:
    """Return SQL that puts fields into one text with separators between them, and after them
    ``tail``, which brings its own.

    :param null_if_null: the values of which a field is NULL only if one of them is. Most rows have
        no NULL, and are put together by one function that takes the separator once, in four fifths
        of the time.
    """
    tail, tested = list(tail), ", ".join(null_if_null)
    every = concat(pieces(fields) + tail)
    if not tested or not 1 < len(fields) < FUNCTION_ARGUMENTS:
        return every
    quick = f"pg_catalog.concat_ws(E'\\x1f', {', '.join(fields)})"
    return f"CASE WHEN pg_catalog.num_nulls({tested}) = 0 THEN {concat([quick, *tail]) if tail else quick} ELSE {every} END"


def pieces(fields: list[str]) -> list[str]:
    """Return the fields of a row with the separators between them."""
    return [piece for field in fields for piece in (_constant(US), field)][1:]


def concat(pieces: list[str]) -> str:
    """Return SQL that puts any number of pieces into one text."""
    while len(pieces) > FUNCTION_ARGUMENTS:
        pieces = [
            concat(pieces[i : i + FUNCTION_ARGUMENTS])
            for i in range(0, len(pieces), FUNCTION_ARGUMENTS)
        ]
    return f"pg_catalog.concat({', '.join(pieces)})"


def _constant(text: str) -> str:
    """Return a literal in which the separators are written as escapes."""
    for character, escape in (("\\", "\\\\"), ("'", "''"), (US, r"\x1f"), (RS, r"\x1e")):
        text = text.replace(character, escape)
    return f"E'{text}'"


def unused(name: str, columns: Iterable[TriggerColumn]) -> str:
    """Return ``name``, made longer until it is not the name of a column."""
    taken = {c.name for c in columns}
    while name in taken:
        name += "_"
    return name
