"""The tables of a :class:`sa_pgnotify.testing.DeliveryCheck`, once with triggers, and once captured
from the write-ahead log. Both have the same names, so a check has the one or the other."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import BigInteger, Column, Identity, Integer, MetaData, Table, Text

from ...marking.marker import notify_on_change
from ...marking.spec import NotifySpec

__all__ = [
    "CAPTURED",
    "EFFECTS",
    "JOURNAL",
    "METADATA",
    "ROWS",
    "SCHEMA",
    "in_both",
    "read_from",
]

SCHEMA = "sa_pgnotify_delivery"
METADATA = MetaData(schema=SCHEMA)
CAPTURED = MetaData(schema=SCHEMA)
"""The same tables, captured from the write-ahead log."""


def in_both(table: Table, spec: NotifySpec | None = None) -> Table:
    """Return ``table``, a table of METADATA, marked if ``spec`` is given; CAPTURED has it as well."""
    copy = table.to_metadata(CAPTURED)
    if spec is not None:
        notify_on_change(table, spec)
        notify_on_change(copy, replace(spec, capture="wal"))
    return table


def read_from(table: Table, *, captured: bool) -> Table:
    """Return the table to read changes of."""
    return CAPTURED.tables[table.fullname] if captured else table


ROWS = in_both(
    Table(
        "changed_row",
        METADATA,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("token", Text),
    ),
    NotifySpec(values=("token",), durable=True),
)
JOURNAL = in_both(
    Table(
        "journal",
        METADATA,
        Column(
            "number",
            BigInteger,
            Identity(),
            primary_key=True,
            comment="drawn under the lock of the row",
        ),
        Column("transaction_id", BigInteger),
        Column("operation", Text),
        Column("row", BigInteger),
        Column("token", Text),
    )
)
EFFECTS = in_both(
    Table(
        "effect",
        METADATA,
        Column("number", BigInteger, Identity(), primary_key=True),
        Column("name", Text),
        Column("part", Integer),
        Column("seen", Text, comment="JSON: what one batch has brought"),
    )
)
