"""Listen through a connection of asyncpg.

asyncpg's codecs are binary, so it cannot read a text. The common types are read here, each only if
a SELECT through this very connection returns what is made of a sample here. Texts of all other
types, and those that cannot be read here, go to the server before they are delivered, and asyncpg
makes of its answer what it makes of a SELECT.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from io import UnsupportedOperation
from itertools import zip_longest
from typing import Any

import asyncpg
from asyncpg.pgproto.pgproto import UUID
from sqlalchemy.util import await_only

from ..sql import literal
from .interface import Arrived, ListenConnection, Read, Refused, TextReader
from .text_readers import INTEGERS, JSON

__all__ = ["ERRORS", "Connection", "abandon"]

ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What a lost connection raises: InternalClientError, when the server has said goodbye and has not
yet hung up."""


@dataclass(frozen=True)
class _LocalType:
    """A type that is read here, without the server.

    :ivar sample: a text of the type.
    :ivar one: returns the value of a text.
    :ivar reader: reads texts when a program asks for their values; None if some texts of the type
        have to go to the server, which must be done before they are delivered.
    """

    sample: str
    one: Callable[[str], Any]
    reader: TextReader | None = None


def _every_text(sample: str, one: Callable[[str], Any]) -> _LocalType:
    """Return a type of which ``one`` can read every text."""
    return _LocalType(sample, one, TextReader(one, lambda texts: list(map(one, texts))))


def _text(sample: str) -> _LocalType:
    return _LocalType(sample, str, TextReader(str, list))


def _numeric(text: str) -> Decimal:
    """Return a number as asyncpg reads its binary form, which leaves out the trailing zeros of a
    whole number in groups of four: 10000 is 1E+4."""
    if text.endswith("0000") and "." not in text:
        zeros = (len(text) - len(text.rstrip("0"))) // 4 * 4
        return Decimal(f"{text[:-zeros]}E{zeros}")
    return Decimal(text)


_LOCAL_TYPES = {
    16: _every_text("t", {"t": True, "f": False}.__getitem__),
    20: _LocalType("20", int, INTEGERS),
    21: _LocalType("21", int, INTEGERS),
    23: _LocalType("23", int, INTEGERS),
    25: _text("a"),
    26: _LocalType("26", int, INTEGERS),
    114: _LocalType('{"a": [1.10]}', JSON.one, JSON),
    701: _every_text("0.1", float),
    1042: _text("a "),
    1043: _text("a"),
    1082: _LocalType("2024-02-29", date.fromisoformat),
    1083: _LocalType("12:34:56.7", time.fromisoformat),
    1114: _LocalType("2024-02-29 12:34:56.7", datetime.fromisoformat),
    1184: _LocalType("2024-02-29 12:34:56.7+00", datetime.fromisoformat),
    1700: _every_text("120000", _numeric),
    2950: _every_text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", UUID),
    3802: _LocalType('{"a": [1.10]}', JSON.one, JSON),
}
"""By OID: bool, int8, int2, int4, text, oid, json, float8, bpchar, varchar, date, time, timestamp,
timestamptz, numeric, uuid, jsonb. Python's dates and times know neither infinity nor the years
before 1 and after 9999, so such texts go to the server."""
_JSON = (114, 3802)
_WITHOUT_INPUT: dict[int, TextReader | None] = {
    194: None,
    3361: None,
    3402: None,
    5017: TextReader(
        lambda text: bytes.fromhex(text[2:]),
        lambda texts: [bytes.fromhex(text[2:]) for text in texts],
    ),
}
"""By OID: pg_node_tree, pg_ndistinct, pg_dependencies, pg_mcv_list. The server writes texts of these
types but does not read them; asyncpg returns the first three as they are."""

_TYPES = """
SELECT t::bigint, pg_catalog.format_type(t, -1), (SELECT e.enumlabel::text FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t LIMIT 1)
FROM pg_catalog.unnest('{{{oids}}}'::oid[]) AS t
"""


def _value(text: Any) -> Any:
    """Return the value of a text that the server has read.

    :raises Exception: what a SELECT of the text raised, if nothing could read it.
    """
    return text.value


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


class Connection(ListenConnection):
    """A connection of asyncpg.

    :param raw: the driver's own connection.
    """

    def __init__(self, raw: Any) -> None:
        self._raw: Any = raw
        self._arrived: Arrived = []
        self._on_arrival: Callable[[], object] | None = None
        # of the types that were asked for until now, by OID
        self._readers: dict[int, TextReader | None] = {}
        self._names: dict[int, str] = {}
        self._read_locally: dict[int, Callable[[str], Any]] = {}
        raw.add_termination_listener(self._on_termination)
        # server_settings, or a hook of the program, may have set another one
        if raw.get_settings().client_encoding.upper() not in ("UTF8", "UNICODE"):
            self.execute("SET client_encoding TO 'UTF8'")

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._wait(self._raw.fetch(sql))]

    def _wait(self, answer: Awaitable[Any]) -> Any:
        """Wait in the greenlet for an answer.

        :raises ConnectionResetError: if the connection was closed meanwhile. asyncpg itself may
            raise an AttributeError then.
        """
        try:
            return await_only(answer)
        except AttributeError as error:
            if self.closed:
                raise ConnectionResetError("the connection was closed") from error
            raise

    def listen(self, channels: Iterable[str]) -> None:
        # asyncpg drops what comes between the answer to LISTEN and the registration. No guarantee is
        # broken: neither start() nor subscribe() has returned yet, and after a loss the Gap comes
        # later.
        for channel in channels:
            self._wait(self._raw.add_listener(channel, self._on_notification))

    def unlisten(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._wait(self._raw.remove_listener(channel, self._on_notification))

    def _on_notification(self, _: object, pid: int, channel: str, payload: Any) -> None:
        self._arrived.append((channel, payload, pid))
        self._on_termination()

    def _on_termination(self, _: object = None) -> None:
        if self._on_arrival is not None:
            self._on_arrival()

    def receive(self) -> Arrived:
        if not self._arrived and self.closed:
            raise ConnectionResetError("the connection was closed")
        taken, self._arrived = self._arrived, []
        return taken

    def pending(self) -> bool:
        return bool(self._arrived)

    def fileno(self) -> int:
        raise UnsupportedOperation("asyncpg does not show its socket")

    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        self._on_arrival = arrived
        if self.closed:
            arrived()

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._on_arrival = None

    def readers(self, oids: Iterable[int]) -> dict[int, TextReader | None]:
        if new := sorted(oid for oid in set(oids) if oid not in self._readers):
            # A sample does not show what a JSON parser of the program makes of other documents.
            candidates = {
                oid: _LOCAL_TYPES[oid]
                for oid in new
                if oid in _LOCAL_TYPES and (self.has_default_json or oid not in _JSON)
            }
            for oid, name, label in self.execute(_TYPES.format(oids=", ".join(map(str, new)))):
                self._names[oid] = name
                if label is not None:
                    candidates[oid] = _text(label)
            local = self._confirmed(candidates)
            self._read_locally.update({oid: known.one for oid, known in local.items()})
            self._readers.update({oid: _WITHOUT_INPUT[oid] for oid in new if oid in _WITHOUT_INPUT})
            for oid in (oid for oid in new if oid not in _WITHOUT_INPUT):
                known = local.get(oid)
                self._readers[oid] = (known and known.reader) or TextReader(
                    _value, lambda texts: [_value(text) for text in texts], oid
                )
        return self._readers

    def _confirmed(self, candidates: dict[int, _LocalType]) -> dict[int, _LocalType]:
        """Return those of the types that are read here as this connection reads them. The program
        may have replaced its codecs."""
        samples = ", ".join(
            f"{literal(known.sample)}::{self._names[oid]}" for oid, known in candidates.items()
        )
        try:
            (values,) = self.execute(f"SELECT {samples}")
        except Exception:  # a codec of the program may raise anything
            if self.closed:
                raise
            return {}
        pairs = zip(candidates.items(), values)
        return {
            oid: known for (oid, known), value in pairs if _is_same(value, known.one(known.sample))
        }

    def read(self, texts: Mapping[int, list[str]]) -> dict[int, list[str]]:
        done = {
            oid: [self._read_here(oid, text) for text in column] for oid, column in texts.items()
        }
        left = {
            oid: unread
            for oid, column in done.items()
            if (unread := [text for text in column if type(text) is str])
        }
        if left:
            answers = {oid: iter(column) for oid, column in self._read_there(left).items()}
            done = {
                oid: [next(answers[oid]) if type(text) is str else text for text in column]
                for oid, column in done.items()
            }
        return done

    def _read_here(self, oid: int, text: str) -> str:
        """Return the text as :class:`Read`; the plain text if the server has to read it."""
        if oid in self._read_locally:
            try:
                return Read.of(text, self._read_locally[oid](text))
            except ValueError:
                pass  # the server may be able to read it
        return text

    def _read_there(self, texts: Mapping[int, list[str]]) -> dict[int, list[str]]:
        """Read all texts by one query; if the server or a codec refuses it, by one for each half,
        until each text is read alone."""
        try:
            return self._query(texts)
        except Exception as error:  # a codec of the program may raise anything
            if self.closed:
                raise
            if len(texts) > 1:
                return {
                    k: v
                    for oid, column in texts.items()
                    for k, v in self._read_there({oid: column}).items()
                }
            ((oid, column),) = texts.items()
            if len(column) == 1:
                return {oid: [Refused.of(column[0], error)]}
        half = len(column) // 2
        halves = (self._read_there({oid: part})[oid] for part in (column[:half], column[half:]))
        return {oid: [text for part in halves for text in part]}

    def _query(self, texts: Mapping[int, list[str]]) -> dict[int, list[str]]:
        # json_to_recordset() reads strings by the types' own input functions, where a cast may be a
        # function of the program. Only JSON it takes as it is, and not as a string to be read.
        types = [
            ("text", f"::{self._names[oid]}") if oid in _JSON else (self._names[oid], "")
            for oid in texts
        ]
        selected = ", ".join(f"c{i}{cast}" for i, (_, cast) in enumerate(types))
        columns = ", ".join(f"c{i} {type_}" for i, (type_, _) in enumerate(types))
        rows = [
            {f"c{i}": text for i, text in enumerate(row)} for row in zip_longest(*texts.values())
        ]
        sql = (
            f"SELECT {selected} FROM pg_catalog.json_to_recordset($1::text::json) AS t ({columns})"
        )
        answers = self._wait(self._raw.fetch(sql, json.dumps(rows)))
        return {
            oid: [Read.of(text, answer[i]) for text, answer in zip(column, answers)]
            for i, (oid, column) in enumerate(texts.items())
        }

    def interrupt(self) -> None:
        abandon(self._raw)

    @property
    def closed(self) -> bool:
        return bool(self._raw.is_closed())

    def close(self) -> None:
        abandon(self._raw)


def abandon(raw: Any) -> None:
    """Close the driver's own connection without a word to the server."""
    raw.terminate()
