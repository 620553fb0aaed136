"""Write an event as a line for people: what happened to which row, and what changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text
from sqlalchemy import Table, inspect
from sqlalchemy.orm import Mapper

from ..errors import UndecodableValue
from ..events.changes import Change, Deleted, Existing, Inserted, Truncated, Updated
from ..events.kinds import Event, Gap, Notification
from .console import printable

__all__ = ["print_event"]

LONGEST = 60
"""How many characters of a value are shown."""
STYLES = {
    Inserted: "green",
    Updated: "yellow",
    Deleted: "red",
    Truncated: "red",
    Existing: "cyan",
}
_PLAIN = (Decimal, datetime, date, time, timedelta, UUID, IPv4Address, IPv6Address)


def print_event(console: Console, event: Event) -> None:
    """Print an event: on one line, or, if it is too long for the terminal, with its further lines
    indented past the time and the kind."""
    head, rest = _head(event), _rest(event)
    if not console.is_terminal:
        console.file.write(f"{head.plain} {rest.plain}\n")
        console.file.flush()
    elif cell_len(head.plain) + 1 + cell_len(rest.plain) <= console.width:
        console.print(head, rest)
    else:
        grid = Grid.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(head, rest)
        console.print(grid)


def _head(event: Event) -> Text:
    """Return the time and the kind."""
    if isinstance(event, Gap):
        return Text.assemble(
            (_clock(datetime.now(UTC)), "dim"), " ", ("Gap", "bold reverse red"), " " * 6
        )
    if isinstance(event, Notification):
        return Text.assemble((_clock(datetime.now(UTC)), "dim"), " Notified ")
    return Text.assemble(
        (_clock(event.occurred_at), "dim"), " ", (f"{type(event).__name__:<9}", STYLES[type(event)])
    )


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"


def _rest(event: Event) -> Text:
    if isinstance(event, Gap):
        detail = f" ({event.detail})" if event.detail else ""
        return Text(
            f"{event.reason}: events since {_clock(event.since)} may be missing{detail}. Read again what you keep a copy of",
            "bold red",
        )
    if isinstance(event, Notification):
        return Text(f"{printable(event.channel)} {event.payload!r}")
    return Text("  ").join([_subject(event), *_details(event)])


def _subject(change: Change) -> Text:
    name = getattr(change.entity, "__name__", None) or printable(change.table.fullname)
    if change.identity is None:
        return Text(name, "bold")
    return Text.assemble((name, "bold"), f"({', '.join(map(_value, change.identity))})")


def _details(change: Change) -> list[Text]:
    if isinstance(change, Updated):
        changes = [
            _changed(name, change.old, change.new)
            for name in sorted(change.changed - _keys(change))
        ]
        return [*_previous(change), *changes]
    values = (
        change.new
        if isinstance(change, Inserted | Existing)
        else change.old
        if isinstance(change, Deleted)
        else {}
    )
    keys = _keys(change)
    return [
        Text.assemble((f"{printable(name)}=", "dim"), _held(values, name))
        for name in values
        if name not in keys
    ]


def _previous(change: Updated) -> list[Text]:
    try:
        previous = change.previous_identity
    except UndecodableValue as error:
        return [Text(printable(str(error)), "red")]
    return [Text(f"was ({', '.join(map(_value, previous))})")] if previous else []


def _held(values: Mapping[str, Any], name: str) -> Text:
    """Return a value as it is shown: if it cannot be decoded, the text that PostgreSQL wrote."""
    try:
        return Text(_value(values[name]))
    except UndecodableValue as error:
        return Text(f"<undecodable {_value(error.text)}>", "red")


def _keys(change: Change) -> set[str]:
    """Return the names of the attributes that the identity shows already."""
    if isinstance(change.entity, Table):
        return {column.key for column in change.table.primary_key}
    mapper: Mapper[Any] = inspect(change.entity)
    return {mapper.get_property_by_column(column).key for column in mapper.primary_key}


def _changed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Text:
    """Return a name that changed, with its old and new value if the event carries them."""
    if name not in old or name not in new:
        return Text(printable(name))
    return Text.assemble(
        (f"{printable(name)}=", "dim"), _held(old, name), (" -> ", "dim"), _held(new, name)
    )


def _value(value: Any) -> str:
    text = str(value) if isinstance(value, _PLAIN) else repr(value)
    return printable(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")
