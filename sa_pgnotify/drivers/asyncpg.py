"""asyncpg's connection.

Its codecs are binary, so it can make nothing of a text. The common types are read here, each only
if a SELECT through this very connection gives what we make of a sample. Texts of all other types,
and those that we cannot read, go to the server before they are delivered, and asyncpg makes of its
answer what it makes of a SELECT.
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
"""What a lost connection raises; the last but one, when the server said goodbye and has not yet
hung up."""


@dataclass(frozen=True)
class _Type:
    """A type that we can read.

    :ivar one: a text to its value; ``reader`` the same for texts that can be read when somebody
        asks for the value, as all of them can.
    """

    sample: str
    one: Callable[[str], Any]
    reader: TextReader | None = None


def _whole(sample: str, one: Callable[[str], Any]) -> _Type:
    return _Type(sample, one, TextReader(one, lambda texts: list(map(one, texts))))


def _text(sample: str) -> _Type:
    return _Type(sample, str, TextReader(str, list))


def _numeric(text: str) -> Decimal:
    """As asyncpg reads the binary form, in which a whole number's zeros at the end are left out
    four by four: 10000 is 1E+4."""
    if text.endswith("0000") and "." not in text:
        zeros = (len(text) - len(text.rstrip("0"))) // 4 * 4
        return Decimal(f"{text[:-zeros]}E{zeros}")
    return Decimal(text)


_OURS = {
    16: _whole("t", {"t": True, "f": False}.__getitem__),
    20: _Type("20", int, INTEGERS),
    21: _Type("21", int, INTEGERS),
    23: _Type("23", int, INTEGERS),
    25: _text("a"),
    26: _Type("26", int, INTEGERS),
    114: _Type('{"a": [1.10]}', JSON.one, JSON),
    701: _whole("0.1", float),
    1042: _text("a "),
    1043: _text("a"),
    1082: _Type("2024-02-29", date.fromisoformat),
    1083: _Type("12:34:56.7", time.fromisoformat),
    1114: _Type("2024-02-29 12:34:56.7", datetime.fromisoformat),
    1184: _Type("2024-02-29 12:34:56.7+00", datetime.fromisoformat),
    1700: _whole("120000", _numeric),
    2950: _whole("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", UUID),
    3802: _Type('{"a": [1.10]}', JSON.one, JSON),
}
"""By OID: bool, int8, int2, int4, text, oid, json, float8, bpchar, varchar, date, time, timestamp,
timestamptz, numeric, uuid, jsonb. Python's dates and moments know neither infinity nor the years
before 1 and after 9999: these are the server's to read."""
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
"""By OID: pg_node_tree, pg_ndistinct, pg_dependencies, pg_mcv_list. The server writes their texts
and reads none; asyncpg gives the first three as they are."""

_TYPES = """
SELECT t::bigint, pg_catalog.format_type(t, -1), (SELECT e.enumlabel::text FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t LIMIT 1)
FROM unnest('{{{oids}}}'::oid[]) AS t
"""


def _value(text: Any) -> Any:
    """
    :raises Exception: what a SELECT of the text raised, if nothing could read it.
    """
    return text.value


def _alike(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


class Connection(ListenConnection):
    def __init__(self, raw: Any) -> None:
        self._raw: Any = raw
        self._arrived: Arrived = []
        self._announce: Callable[[], object] | None = None
        self._readers: dict[int, TextReader | None] = {}
        self._names: dict[int, str] = {}
        self._quick: dict[int, Callable[[str], Any]] = {}
        raw.add_termination_listener(self._on_termination)
        # by server_settings, or a hook of the program's
        if raw.get_settings().client_encoding.upper() not in ("UTF8", "UNICODE"):
            self.execute("SET client_encoding TO 'UTF8'")

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._wait(self._raw.fetch(sql))]

    def _wait(self, answer: Awaitable[Any]) -> Any:
        """
        :raises ConnectionResetError: if the connection was closed meanwhile; asyncpg itself may
            stumble over what it has put away.
        """
        try:
            return await_only(answer)
        except AttributeError as error:
            if self.closed:
                raise ConnectionResetError("the connection was closed") from error
            raise

    def listen(self, channels: Iterable[str]) -> None:
        # It drops what comes between the answer to LISTEN and the registration. Nobody was promised
        # that: neither start() nor subscribe() has returned yet, and after a loss the Gap comes
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
        if self._announce is not None:
            self._announce()

    def receive(self) -> Arrived:
        if not self._arrived and self.closed:
            raise ConnectionResetError("the connection was closed")
        taken, self._arrived = self._arrived, []
        return taken

    def pending(self) -> bool:
        return bool(self._arrived)

    def fileno(self) -> int:
        raise UnsupportedOperation("asyncpg keeps its socket to itself")

    def watch(self, loop: asyncio.AbstractEventLoop, arrived: Callable[[], object]) -> None:
        self._announce = arrived
        if self.closed:
            arrived()

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._announce = None

    def readers(self, oids: Iterable[int]) -> dict[int, TextReader | None]:
        if new := sorted(oid for oid in set(oids) if oid not in self._readers):
            # What a parser of the program's makes of other documents, a sample does not tell.
            candidates = {
                oid: _OURS[oid]
                for oid in new
                if oid in _OURS and (self.usual_json or oid not in _JSON)
            }
            for oid, name, label in self.execute(_TYPES.format(oids=", ".join(map(str, new)))):
                self._names[oid] = name
                if label is not None:
                    candidates[oid] = _text(label)
            ours = self._agreed(candidates)
            self._quick.update({oid: known.one for oid, known in ours.items()})
            self._readers.update({oid: _WITHOUT_INPUT[oid] for oid in new if oid in _WITHOUT_INPUT})
            for oid in (oid for oid in new if oid not in _WITHOUT_INPUT):
                known = ours.get(oid)
                self._readers[oid] = (known and known.reader) or TextReader(
                    _value, lambda texts: [_value(text) for text in texts], oid
                )
        return self._readers

    def _agreed(self, candidates: dict[int, _Type]) -> dict[int, _Type]:
        """The types that we read as this connection does, whose codecs the program may have
        replaced."""
        samples = ", ".join(
            f"{literal(known.sample)}::{self._names[oid]}" for oid, known in candidates.items()
        )
        try:
            (values,) = self.execute(f"SELECT {samples}")
        except Exception:  # a codec of the program's may raise anything
            if self.closed:
                raise
            return {}
        pairs = zip(candidates.items(), values)
        return {
            oid: known for (oid, known), value in pairs if _alike(value, known.one(known.sample))
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
        if oid in self._quick:
            try:
                return Read.of(text, self._quick[oid](text))
            except ValueError:
                pass  # the server may know better
        return text

    def _read_there(self, texts: Mapping[int, list[str]]) -> dict[int, list[str]]:
        """One question for all of them; if the server or a codec refuses it, one for each half,
        until each text stands alone."""
        # json_to_recordset() reads strings by the types' own input functions, where a cast may be
        # somebody's function. JSON alone it takes for what it is, and not for a string to be read.
        types = [
            ("text", f"::{self._names[oid]}") if oid in _JSON else (self._names[oid], "")
            for oid in texts
        ]
        selected = ", ".join(f"c{i}{cast}" for i, (_, cast) in enumerate(types))
        columns = ", ".join(f"c{i} {type_}" for i, (type_, _) in enumerate(types))
        rows = [
            {f"c{i}": text for i, text in enumerate(row)} for row in zip_longest(*texts.values())
        ]
        try:
            sql = f"SELECT {selected} FROM pg_catalog.json_to_recordset($1::text::json) AS t ({columns})"
            answers = self._wait(self._raw.fetch(sql, json.dumps(rows)))
        except Exception as error:  # a codec of the program's may raise anything
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
            return {
                oid: [
                    text
                    for part in (column[:half], column[half:])
                    for text in self._read_there({oid: part})[oid]
                ]
            }
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
    raw.terminate()
