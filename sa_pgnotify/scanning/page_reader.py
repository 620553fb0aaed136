"""Reading one page of an entity's rows, and making its events.

A value that the driver or the type cannot read spoils only its row, as in a message: then the page
is read in halves, until the row is alone, and that row value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, CursorResult, case, func
from sqlalchemy.exc import DBAPIError

from ..events.changes import Change, Existing
from ..events.column_decoder import Unread
from ..events.entity_layout import EntityLayout
from ..events.kinds import Gap
from ..events.values import PartlyRead, Values
from ..log.scans import Scan
from ..log.snapshots import Position
from ..protocol.settings import FIX_OUTPUT
from ..sql import execute_on, sqlstate_of
from .entity_rows import EntityRows
from .page_events import Events, PageEvents
from .row_page import RowPage

__all__ = ["Seen", "events_of", "read_page"]

Row = Sequence[Any]


class Seen(NamedTuple):
    """A transaction that sees one snapshot.

    :ivar snapshot: PostgreSQL's text of it.
    :ivar at: when it was taken; ``pid`` of the session that took it.
    """

    connection: Connection
    snapshot: str
    at: datetime
    pid: int

    @classmethod
    def by(cls, connection: Connection) -> Seen:
        """Take the snapshot, and let the session write values as messages have them."""
        execute = execute_on(connection)
        ((snapshot, at, pid),) = execute(
            "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.clock_timestamp(), "
            f"pg_catalog.pg_backend_pid() FROM (SELECT {FIX_OUTPUT} OFFSET 0) AS fixed"
        )
        return cls(connection, snapshot, at.astimezone(UTC), pid)


def read_page(
    seen: Seen,
    entity: EntityRows,
    scan: Scan,
    where: ColumnElement[bool] | None,
    start: Position,
    number: int,
    size: int,
) -> RowPage:
    """Return the next page of a scan.

    :param seen: the transaction whose snapshot is that of ``start``.
    :param number: see :attr:`RowPage.number`.
    :param size: the most rows that it has.
    """
    # One more, so that the last page is known as such.
    rows = _read(seen.connection, entity, scan, where, 0, size + 1)
    return RowPage(number, entity, scan, start, rows[:size], len(rows) <= size, seen.at, seen.pid)


def events_of(page: RowPage, unreadable: Callable[[str], Gap]) -> Events:
    """Return an event for each row of a page; None for a row of a class that is not wanted.

    :param unreadable: returns what stands for a row whose identity cannot be read, given why.
    """
    rows, shape = page.rows, page.entity.only_shape
    if shape is None or list in map(type, rows):
        return [_event(page, number, row, unreadable) for number, row in enumerate(rows)]
    return PageEvents.of(page, shape)


def _event(
    page: RowPage, number: int, row: Row, unreadable: Callable[[str], Gap]
) -> Change | Gap | None:
    entity = page.entity
    if Unread in map(type, map(row.__getitem__, entity.decisive)):
        return unreadable(f"{page.relation}: the identity {page.key_texts(number)} cannot be read")
    shape = entity.shape_of(row)
    if shape is None:
        return None
    nothing: list[Any] = [None] * len(page.rows)
    held = page.new.setdefault(shape.layout, nothing)
    held[number] = _values(shape.layout, tuple(shape.values(row)))
    message: Any = page
    return Existing(message, shape.layout, number, shape.identity(row))


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
        with connection.execute(wanted.offset(first) if first else wanted) as result:
            return _tuples(result, rows.every_column())
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


def _tuples(result: CursorResult[Any], columns: Sequence[Any]) -> list[Row]:
    """Return all rows with the values that SQLAlchemy gives, without a ``Row`` around them.

    A ``Row`` costs as much as a third of its values, and the garbage collector inspects it again
    and again, whereas it inspects a tuple of values once.
    """
    cursor: Any = result.cursor
    found: list[Row] = list(map(tuple, cursor.fetchall()))
    readers = [
        column.type.dialect_impl(result.dialect).result_processor(result.dialect, described[1])
        for column, described in zip(columns, cursor.description, strict=True)
    ]
    if not any(readers):
        return found
    values = zip(*found, strict=True)
    return list(
        zip(*(each if read is None else map(read, each) for read, each in zip(readers, values)))
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
    for column in rows.every_column():
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
    return [found]
