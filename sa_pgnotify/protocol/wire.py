"""The layout of a message, and how messages that came in parts are put together.

A statement may change a million rows, a notification takes 7999 bytes, and anybody may send on the
channels. So the reader passes rows on as soon as they are complete, keeps only the row that is not
complete, and trusts nothing. It keeps that row as bytes, because PostgreSQL bounds their number; in
a Python text, one wide character makes each of the others take four bytes.

The payload of one notification::

    sa1 <nonce> <part> <last: 0 or 1> RS <a piece of the message>
    sa1 failed <SQLSTATE> <the error's text>
    sa1 moved                                       the channel's triggers were dropped, or send on another one from now on

A message is a header and rows, separated by RS (0x1e); their fields are separated by US (0x1f)::

    <operation: I U D T> US <table> US <transaction id> US <microseconds since 1970> US <shape> US <context>
    INSERT, DELETE:  <carried values ...> [US <discriminator looked up>]
    UPDATE:          <masks ...> US <carried values, new ...> [US <discriminator looked up>] [US <carried values, old, of the changed ...>]
    TRUNCATE:        an empty row

The shape is JSON: the names of the ``columns``, of which the first ``carried`` have fields and the
first ``key`` are the identity, and the index of the ``discriminator``. Bit i of the masks (31 bits
each) says that column i changed. A field is the value as its type's output function writes it. An
empty field is NULL. ESC (0x1b) and a digit encode the empty text (0), ESC (1), RS (2) and US (3).

The change log keeps the same header and rows. Each row of the log holds a whole number of them, or
``failed <SQLSTATE> <the error's text>`` in place of the header. On the channel of the log's
doorbell, every notification but *moved* is a ring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    "EXISTING",
    "MASK_BITS",
    "RS",
    "US",
    "Header",
    "Malformed",
    "MessageReader",
    "Rows",
    "escaped_field",
    "logged_rows",
    "one_line",
]

ESC, RS, US = "\x1b", "\x1e", "\x1f"
MASK_BITS = 31
_OPERATIONS = frozenset("IUDT")
EXISTING = "E"
"""The operation of rows that a program has read from the table itself. They have the fields of an
INSERT's rows. It is not accepted from a channel or from the log, where anybody could forge it."""
LONGEST_ROW = 1 << 30
"""Bytes in UTF-8, including the message's header. A text or bytea of PostgreSQL cannot be longer, and
so neither can what a trigger sends in parts."""
DETAIL = 500
"""Characters of a text about something that could not be read."""
TOGETHER = 300
"""About how many rows are passed on at a time. Each becomes at least two objects, and Python's garbage
collector inspects them in vain once there are 700 new ones."""

_PART = re.compile(r"sa1 ([0-9]{1,30}) ([0-9]{1,10}) ([01])\Z")
_FAILED = "sa1 failed "
MOVED = "sa1 moved"
LOST = "sa1 lost"
"""Sent on a log's channel if a change could not be written into the log."""


class Header(NamedTuple):
    """What all rows of one message have in common.

    :ivar channel: the channel that the message came on; empty if it came from the change log.
    :ivar operation: one of I, U, D and T; :data:`EXISTING` for rows that were read from the table.
    :ivar relation: the table's schema and name, quoted as in SQL where necessary.
    :ivar transaction_id: the writer's 64-bit transaction id.
    :ivar microseconds: since 1970-01-01 UTC, by the server's clock.
    :ivar shape: JSON, described above. Equal texts mean equal shapes.
    :ivar context: JSON; empty if the program set no context.
    :ivar pid: the process id of the writer's server process.
    """

    channel: str
    operation: str
    relation: str
    transaction_id: int
    microseconds: int
    shape: str
    context: str
    pid: int


class Rows(NamedTuple):
    """Complete rows of a message, in order.

    :ivar text: the rows as they came, separated by RS, with their fields separated by US.
    :ivar size: the number of rows, at least one.
    """

    header: Header
    text: str
    size: int

    def each(self) -> list[Rows]:
        """Return each row alone."""
        return [Rows(self.header, row, 1) for row in self.text.split(RS)]

    def first(self, count: int) -> Rows:
        """Return the first ``count`` rows."""
        rows = self.text.split(RS, count)[:count]
        return Rows(self.header, RS.join(rows), len(rows))

    def pieces(self, size: int) -> Iterator[Rows]:
        """Yield all rows in pieces of about ``size`` rows, if they are of about the same length."""
        text, step, start = self.text, len(self.text) * size // self.size, 0
        while (end := text.find(RS, start + step)) >= 0:
            yield Rows(self.header, text[start:end], text.count(RS, start, end) + 1)
            start = end + 1
        yield Rows(self.header, text[start:], text.count(RS, start) + 1)

    def columns(self, width: int) -> list[list[str | None]]:
        """Return the fields of rows that have ``width`` fields each, column by column, NULL as None.

        :raises ValueError: if the number of fields is another one.

        >>> Rows(header, "7\\x1fopen\\x1e8\\x1f", 2).columns(2)
        [['7', '8'], ['open', None]]
        """
        fields = _fields(self.text.replace(RS, US))
        if len(fields) != width * self.size:
            raise ValueError(f"{len(fields)} fields in {self.size} rows of {width}")
        if self.size == 1:
            return list(map(list, zip(fields)))
        return [fields[place::width] for place in range(width)]

    def masks(self, count: int) -> tuple[str | None, ...]:
        """Return the first ``count`` fields of the first row, which are the masks of an update; fewer
        if the row has fewer."""
        return tuple(_fields(self.text.partition(RS)[0])[:count])

    def split(self) -> list[list[str | None]]:
        """Return the fields of each row, NULL as None."""
        return [_fields(row) for row in self.text.split(RS)]


def one_line(text: str, length: int = DETAIL) -> str:
    """Return the beginning of a text of unknown origin, on one line and in printable
    characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * length]).split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that could not be read.

    :ivar detail: one line that says what.
    """

    detail: str


class MessageReader:
    """Makes rows of notifications.

    It keeps the message that is not complete. There is at most one, because PostgreSQL delivers the
    notifications of a transaction together and in order.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._open: tuple[str, int, str] | None = None  # channel, pid, nonce
        self._parts = 0
        self._header: Header | None = None
        self._held = bytearray()

    def read(self, channel: str, payload: str, pid: int) -> list[Rows | Malformed]:
        """Return what one notification adds: rows, errors, or nothing as long as a row is not
        complete."""
        found: list[Rows | Malformed] = []
        head, separator, chunk = payload.partition(RS)
        match = _PART.match(head)
        if not match or not separator:
            what = (
                _failure(payload[len(_FAILED) :])
                if payload.startswith(_FAILED)
                else f"not a message of sa_pgnotify: {payload[:80]!r}"
            )
            found.append(Malformed(f"channel {channel!r}, pid {pid}: {what}"))
            return found
        nonce, part, last = match[1], int(match[2]), match[3] == "1"
        if self._open is not None and (self._open != (channel, pid, nonce) or part != self._parts):
            found.append(self._broken("a message ended before its last part"))
        if self._open is None:
            if part != 0:
                found.append(
                    Malformed(
                        f"channel {channel!r}, pid {pid}: part {part} of a message whose beginning never came"
                    )
                )
                return found
            self._open = (channel, pid, nonce)
        self._parts += 1
        found.extend(self._add(channel, chunk, pid, last))
        return found

    def whole(self, channel: str, payload: str, pid: int) -> Rows | None:
        """Return the rows of a notification that is a whole message; None if it is not, or has
        errors. The reader's state does not change."""
        start, _, message = payload.partition(RS)
        if self._open is not None or not (start.startswith("sa1 ") and start.endswith(" 0 1")):
            return None
        head, separator, text = message.partition(RS)
        header = _header(channel, head, pid)
        return Rows(header, text, text.count(RS) + 1) if header and separator else None

    def reset(self) -> Malformed | None:
        """Forget the message that is not complete, as after a lost connection.

        :returns: the error for it; None if there was none.
        """
        return None if self._open is None else self._broken("a message was cut off")

    def _broken(self, detail: str) -> Malformed:
        assert self._open is not None
        channel, pid, _ = self._open
        self._forget()
        return Malformed(f"channel {channel!r}, pid {pid}: {detail}")

    def _add(self, channel: str, chunk: str, pid: int, last: bool) -> list[Rows | Malformed]:
        end = len(chunk) if last else chunk.rfind(RS)
        if end < 0:  # the middle of a long row
            self._held += chunk.encode()
            return [self._broken("a row without end")] if len(self._held) > LONGEST_ROW else []
        text = self._held.decode()
        self._held = bytearray(chunk[end + 1 :], "utf-8")
        text += chunk[:end]  # CPython extends it in place, because nothing else refers to it
        if self._header is None:
            first, separator, text = text.partition(RS)
            self._header = _header(channel, first, pid)
            if self._header is None or (last and not separator):
                return [self._broken("a message without a header")]
            if not separator:
                return []  # only the header; its rows follow
        complete = Rows(self._header, text, text.count(RS) + 1)
        if last:
            self._forget()
        return list(complete.pieces(TOGETHER)) if complete.size > TOGETHER else [complete]


def _header(channel: str, text: str, pid: int) -> Header | None:
    fields = text.split(US)
    if len(fields) != 6 or RS in text:
        return None
    operation, relation, transaction, moment, shape, context = fields
    numbers = (
        transaction.isdecimal()
        and moment.isdecimal()
        and len(transaction) <= 20
        and len(moment) <= 17
    )
    if operation not in _OPERATIONS or not numbers:
        return None
    return Header(
        channel,
        operation,
        relation,
        int(transaction),
        int(moment),
        shape,
        (context and unescaped(context)) or "",
        pid,
    )


def _failure(text: str) -> str:
    return f"a trigger failed: {one_line(text)}"


def logged_rows(header: str, text: str, pid: int) -> Rows | Malformed:
    """Return the changes that a row of the change log holds."""
    found = _header("", header, pid)
    if found is not None:
        return Rows(found, text, text.count(RS) + 1)
    failed = _FAILED.removeprefix("sa1 ")
    return Malformed(
        _failure(header[len(failed) :])
        if header.startswith(failed)
        else f"not a change of sa_pgnotify in the log: {header[:80]!r}"
    )


def _fields(text: str) -> list[str | None]:
    fields: list[Any] = text.split(US)
    if ESC in text:
        return [unescaped(field) for field in fields]
    return fields if all(fields) else [field or None for field in fields]


def escaped_field(value: str | None) -> str:
    """Return a text as a field of a row; None is NULL."""
    if not value:
        return "" if value is None else ESC + "0"
    return value.replace(ESC, ESC + "1").replace(RS, ESC + "2").replace(US, ESC + "3")


def unescaped(field: str) -> str | None:
    """Return the text of a field; None for NULL."""
    if field == ESC + "0":
        return ""
    return field.replace(ESC + "3", US).replace(ESC + "2", RS).replace(ESC + "1", ESC) or None
