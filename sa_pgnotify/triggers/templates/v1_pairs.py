"""The query of template version 1 over the pairs of old and new rows of an UPDATE.

The rows are paired by position, because a join on the key would lose the rows whose key changed. A
table with few carried columns and one with many need different queries: no SELECT list takes the
old and new values of more than some 800 columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...marking.condition import NEW_ROW, OLD_ROW
from ...protocol.wire import MASK_BITS
from .v1_rows import RowSql, joined, unused

__all__ = ["gather_pairs"]

WIDEST_SELECT = 1500
"""A SELECT list takes 1664 columns; some are needed for the masks."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The parts of the query, as SQL.

    :ivar source: the pairs of rows that are published.
    :ivar fields: the masks, the new values and the class, in order.
    :ivar olds: of each carried column, a condition that it changed, and its old value.
    :ivar nullable: the values of which a field is NULL only if one of them is; none if that is not
        worth asking.
    """

    source: str
    fields: list[str]
    olds: list[tuple[str, str]]
    nullable: list[str]


def gather_pairs(sql: RowSql) -> str:
    """Return the query that writes the message of an UPDATE."""
    pairs = _wide(sql) if 2 * len(sql.carried) > WIDEST_SELECT else _narrow(sql)
    # The old values of the columns that changed stand at the end of the row, so that the others
    # cost nothing.
    tail = [
        f"CASE WHEN {differs} THEN pg_catalog.concat(E'\\x1f', {old}) END"
        for differs, old in pairs.olds
    ]
    row = joined(pairs.fields, tail, null_if_null=pairs.nullable)
    return sql.gather("UPDATE", pairs.source, row)


def _narrow(sql: RowSql) -> _Pairs:
    """Return the pairs of a table whose values fit in a SELECT list.

    Each column is compared once, in the inner SELECT; OFFSET 0 keeps the planner from doing it
    again where a mask is used.
    """
    outputs = [f"{mask} AS mask{i}" for i, mask in enumerate(sql.masks(OLD_ROW, NEW_ROW))]
    fields = [f"mask{i}" for i in range(len(outputs))]
    fields += [c.text(f"new{i}") for i, c in enumerate(sql.carried)]
    nullable = [f"new{i}" for i in range(len(sql.carried))]
    for i, column in enumerate(sql.carried):
        outputs.append(f"{column.of(NEW_ROW)} AS new{i}, {column.of(OLD_ROW)} AS old{i}")
    for looked_up in sql.looked_up(NEW_ROW):
        nullable.append("looked_up")
        outputs.append(f"{looked_up} AS looked_up")
        fields.append("looked_up")
    bits = {
        c.name: (f"mask{i // MASK_BITS}", 1 << i % MASK_BITS) for i, c in enumerate(sql.compared)
    }
    olds = [
        ("{} & {} <> 0".format(*bits[c.name]), c.text(f"old{i}")) for i, c in enumerate(sql.carried)
    ]
    condition = _condition(sql)
    where = f"\n        WHERE {condition}" if condition else ""
    source = (
        f"(SELECT {', '.join(outputs)}\n        FROM {_joined_rows(sql, '', '')}{where}\n        OFFSET 0) AS pairs"
        f"\n      WHERE {' OR '.join(sql.watched_bits(bits))}"
    )
    return _Pairs(source, fields, olds, nullable)


def _wide(sql: RowSql) -> _Pairs:
    """Return the pairs of a table whose values no SELECT list can hold: they are read out of whole
    rows, and compared where the result is used."""
    whole = unused("whole", sql.columns)
    old, new = f"({OLD_ROW}.{whole})", f"({NEW_ROW}.{whole})"
    differ = [c.differs(old, new) for c in sql.compared if c.name in sql.watched]
    where = " AND ".join(part for part in (f"({' OR '.join(differ)})", _condition(sql)) if part)
    fields = [
        *sql.masks(old, new),
        *(c.text(c.of(new)) for c in sql.carried),
        *sql.looked_up(NEW_ROW),
    ]
    olds = [(c.differs(old, new), c.text(c.of(old))) for c in sql.carried]
    pairs = _joined_rows(sql, f"{sql.alias} AS {whole}, ", " OFFSET 0")
    return _Pairs(f"{pairs}\n      WHERE {where}", fields, olds, [])


def _condition(sql: RowSql) -> str:
    # CASE, because a WHERE that rules out NULLs would let the planner take the FULL join for an
    # inner one.
    return f"CASE WHEN {sql.condition} THEN true ELSE false END" if sql.condition else ""


def _joined_rows(sql: RowSql, more: str, end: str) -> str:
    """Return the join of old and new rows.

    It is a FULL one, although every row has its partner, because a FULL join is never done by
    nested loops: the plan is kept from the session's first call, which may have had two rows where
    the next has a million.

    :param more: what each side selects beside its columns; ``end`` what ends its SELECT.
    """
    position = unused("position", sql.columns)
    more = f"pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS {position}, {more}"
    old_side, new_side = (
        f"(SELECT {more}{sql.read} FROM {rows} AS {sql.alias}{end}) AS {row}"
        for rows, row in (("sa_old_rows", OLD_ROW), ("sa_new_rows", NEW_ROW))
    )
    return f"{old_side}\n        FULL JOIN {new_side} USING ({position})"
