"""Reading one page of an entity's rows, and making its events.

A value that the driver or the type cannot read spoils only its row, as in a message: then the page
is read in halves, until the row is alone, and that row value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from itertools import repeat
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select
from sqlalchemy.exc import DBAPIError

from ..events.changes import Change
from ..events.column_decoder import Unread
from ..events.entity_layout import EntityLayout
from ..events.kinds import Gap
from ..events.values import PartlyRead, Values
from ..log.scans import Scan
from ..log.snapshots import Position
from ..sql import sqlstate_of
from .entity_rows import EntityRows
from .row_page import RowPage

__all__ = ["read_page"]

Row = Sequence[Any]


def read_page(
    connection: Connection,
    rows: EntityRows,
    scan: Scan,
    where: ColumnElement[bool] | None,
    start: Position,
    number: int,
    size: int,
    unreadable: Callable[[str], Gap],
) -> tuple[RowPage, list[Change | Gap | None]]:
    """Return the next page of a scan, and an event for each of its rows.

    :param connection: in a transaction whose snapshot is that of ``start``.
    :param number: see :attr:`RowPage.number`.
    :param size: the most rows that it has.
    :param unreadable: returns what stands for a row whose identity cannot be read, given why.
    :returns: None stands for a row of a class that is not wanted.
    """
    ((made, pid),) = connection.execute(
        select(func.pg_catalog.clock_timestamp(), func.pg_catalog.pg_backend_pid())
    )
    # One more, so that the last page is known as such.
    every = _read(connection, rows, scan, where, 0, size + 1)
    found, is_last = every[:size], len(every) <= size
    width = len(rows.columns)
    keys = [tuple(row[width:]) for row in found]
    page = RowPage(
        number,
        rows.relation,
        rows.table,
        scan,
        start,
        keys,
        is_last,
        made.astimezone(UTC),
        pid,
        {},
    )
    return page, _events(page, rows, found, unreadable)


def _events(
    page: RowPage, rows: EntityRows, found: Sequence[Row], unreadable: Callable[[str], Gap]
) -> list[Change | Gap | None]:
    only = rows.only_shape
    if only is not None and not any(isinstance(row, list) for row in found):
        layout = only.layout
        values = map(Values, repeat(layout.positions), map(only.values, found))
        page.new[layout] = list(values)
        identities = map(only.identity, found)
        return list(map(page.event, repeat(layout), range(len(found)), identities))
    return [
        unreadable(f"{rows.relation}: the identity {page.keys[number]} cannot be read")
        if Unread in map(type, map(row.__getitem__, rows.decisive))
        else _event(page, rows, number, row)
        for number, row in enumerate(found)
    ]


def _event(page: RowPage, rows: EntityRows, number: int, row: Row) -> Change | None:
    shape = rows.shape_of(row)
    if shape is None:
        return None
    nothing: list[Any] = [None] * len(page.keys)
    held = page.new.setdefault(shape.layout, nothing)
    held[number] = _values(shape.layout, tuple(shape.values(row)))
    return page.event(shape.layout, number, tuple(shape.identity(row)))


def _values(layout: EntityLayout, row: tuple[Any, ...]) -> Values:
    if Unread in map(type, row):
        return PartlyRead(layout.subject, layout.positions, row)
    return Values(layout.positions, row)


def _read(
    connection: Connection,
    rows: EntityRows,
    scan: Scan,
    where: ColumnElement[bool] | None,
    first: int,
    count: int,
) -> list[Row]:
    wanted = rows.select(scan.after, where).limit(count)
    try:
        return list(connection.execute(wanted.offset(first) if first else wanted).all())
    except Exception as error:
        if _is_of_server(error):
            raise
    if count == 1:
        return _read_values(connection, rows, scan, where, first)
    half = count // 2
    found = _read(connection, rows, scan, where, first, half)
    return (
        found
        if len(found) < half
        else [*found, *_read(connection, rows, scan, where, first + half, count - half)]
    )


def _is_of_server(error: Exception) -> bool:
    """Whether the server raised an error, and not the driver or a type that reads a value."""
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated or sqlstate_of(error.orig) is not None
    )


def _read_values(
    connection: Connection,
    rows: EntityRows,
    scan: Scan,
    where: ColumnElement[bool] | None,
    first: int,
) -> list[Row]:
    """Return one row, with an :class:`Unread` for each value that cannot be read."""
    whole = rows.select(scan.after, where).limit(1).offset(first)

    def value(column: Any) -> Any:
        return connection.execute(
            whole.with_only_columns(column, maintain_column_froms=True)
        ).scalar_one()

    found: list[Any] = []
    for column in rows.columns:
        try:
            found.append(value(column))
        except Exception as error:
            decoder = rows.decoder_of(column)
            if decoder is None or _is_of_server(error):
                raise
            text = case(
                (column.is_not_distinct_from(None), None), else_=func.pg_catalog.concat(column)
            )
            found.append(Unread(decoder, value(text)))
    found.extend(value(func.pg_catalog.concat(column)) for column in rows.key)
    return [found]
