"""Copies of a table for a :class:`sa_pgnotify.testing.DeliveryCheck`: each begins with a snapshot, and
must be what the table is in the end.

The key of the table is composite and textual, and rows change their keys, so that they cross the
place that a snapshot has reached. A copy is written through the batches' sessions, and refuses what
does not fit: a row that is there already, or one that is not as it was before the change.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from sqlalchemy import BigInteger, Column, Engine, Identity, Table, Text, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ...consuming.consumer import ChangeBatch, Consumer
from ...events.changes import Change, Deleted, Existing, Inserted, Truncated, Updated
from ...events.kinds import Gap
from ...marking.spec import NotifySpec
from .readers import HEARTBEAT, DisturbedJob, HandlerFailed
from .tables import METADATA, SCHEMA, in_both, read_from

__all__ = ["Copying", "MakeCopy"]

COPIED = in_both(
    Table(
        "copied_row",
        METADATA,
        Column("area", Text, primary_key=True),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("token", Text),
    ),
    NotifySpec(values="all", durable=True),
)
COPY = in_both(
    Table(
        "copy",
        METADATA,
        Column("name", Text, primary_key=True),
        Column("area", Text, primary_key=True),
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("token", Text),
    )
)
MISFITS = in_both(
    Table(
        "misfit",
        METADATA,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("name", Text),
        Column("what", Text),
    )
)
AREAS = ("a", "A", "b", "B", "ä", "_", "a b", "aa", "%", "z")
PAUSE = 0.02
"""The longest time between two transactions of a writer, in seconds."""
WRITERS = 4
ROWS = 300
"""How many rows each area has."""


class CopyWriter:
    """Writes transactions on a connection of its own.

    :ivar made: how many changes were committed.
    """

    def __init__(self, seed: int, number: int, longest: float, stop: threading.Event) -> None:
        self._chance = random.Random(f"copies {seed} {number}")  # noqa: S311 (no secret)
        self._tokens = (f"{number}.{i}" for i in count())
        self._number = number
        self._longest = longest
        self._stop = stop
        self.made = 0

    def run(self, engine: Engine) -> None:
        name = f"{SCHEMA} copies {self._number}"
        while not self._stop.is_set():
            try:
                with engine.connect() as connection:
                    execute = connection.exec_driver_sql
                    ((prepares,),) = execute(
                        "SELECT setting::int > 10 FROM pg_catalog.pg_settings WHERE name = 'max_prepared_transactions'"
                    )
                    while not self._stop.is_set():
                        self._end_prepared(execute, name)
                        self._transaction(execute, name if prepares else None)
                    self._end_prepared(execute, name)
            except DBAPIError:
                time.sleep(0.1)  # the server is down

    def _transaction(self, execute: Callable[[str], Any], name: str | None) -> None:
        chance = self._chance
        self._stop.wait(PAUSE * chance.random())
        execute("BEGIN")
        try:
            execute("SET LOCAL lock_timeout = '100ms'")
            changes = sum(execute(self._change()).rowcount for _ in range(chance.randint(1, 4)))
            if chance.random() < 0.02:
                self._stop.wait(self._longest * chance.random())
            if name is not None and chance.random() < 0.05:
                execute(f"PREPARE TRANSACTION '{name}'")
                self._stop.wait(0.1 * chance.random())
            elif chance.random() < 0.1:
                execute("ROLLBACK")
            else:
                execute("COMMIT")
                self.made += changes
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            execute("ROLLBACK")

    def _end_prepared(self, execute: Callable[[str], Any], name: str) -> None:
        found = execute(
            f"SELECT 1 FROM pg_prepared_xacts WHERE gid = '{name}' AND database = current_database()"
        )
        if list(found):
            execute(f"{self._chance.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{name}'")

    def _key(self) -> tuple[str, int]:
        return self._chance.choice(AREAS).replace("%", "%%"), self._chance.randint(1, ROWS + 100)

    def _change(self) -> str:
        chance, table, token = self._chance, COPIED.fullname, next(self._tokens)
        area, number = self._key()
        here = f"area = '{area}' AND number = {number}"
        kind = chance.random()
        if kind < 0.4:
            return f"UPDATE {table} SET token = '{token}' WHERE {here}"
        if kind < 0.6:
            values = f"('{area}', {number}, '{token}'), ('{area}', {number + 1}, '{token}')"
            return f"INSERT INTO {table} VALUES {values} ON CONFLICT DO NOTHING"
        if kind < 0.75:
            return f"DELETE FROM {table} WHERE {here}"
        if kind < 0.97:  # rows cross the place that a snapshot has reached
            to, new = self._key()
            free = f"NOT EXISTS (SELECT FROM {table} WHERE area = '{to}' AND number = {new})"
            return f"UPDATE {table} SET area = '{to}', number = {new}, token = '{token}' WHERE {here} AND {free}"
        if kind < 0.973:  # more rows of the log than a page has
            each = f"UPDATE {table} SET token = ''{token} '' || i WHERE area = ''{area}'' AND number = i"
            return f"DO 'BEGIN FOR i IN 1..{ROWS} LOOP {each}; END LOOP; END'"
        if kind < 0.9735:
            return f"TRUNCATE {table}"
        return f"UPDATE {table} SET token = '{token}' WHERE area = '{area}'"


@dataclass(frozen=True)
class MakeCopy(DisturbedJob):
    """Keep a copy of the table, beginning with a snapshot."""

    def consumer(self, engine: Engine) -> Consumer:
        return Consumer(
            engine,
            self.name,
            read_from(COPIED, captured=self.captured),
            batch_size=self.batch_size,
            start="snapshot",
            heartbeat=HEARTBEAT,
        )

    def work_off(self, batch: ChangeBatch) -> None:
        with batch as session:
            for change in batch:
                self._apply(session, change)
            if random.random() < 0.02:  # noqa: S311 (no secret)
                raise HandlerFailed("a handler that fails now and then")

    def _apply(self, session: Session, change: Change | Gap) -> None:
        match change:
            case Existing(_, (area, number)) | Inserted(_, (area, number)):
                self._put(session, change, area, number)
            case Updated(_, (area, number)):
                self._remove(session, change, *(change.previous_identity or (area, number)))
                self._put(session, change, area, number)
            case Deleted(_, (area, number)):
                self._remove(session, change, area, number)
            case Truncated():
                session.execute(delete(COPY).where(COPY.c.name == self.name))
            case _:
                self._misfit(session, change)

    def _put(self, session: Session, change: Any, area: str, number: int) -> None:
        row = {"name": self.name, "area": area, "number": number, "token": change.new["token"]}
        put = session.execute(insert(COPY).values(row).on_conflict_do_nothing())
        if put.rowcount != 1:  # type: ignore[attr-defined]
            self._misfit(session, change)

    def _remove(self, session: Session, change: Any, area: str, number: int) -> None:
        gone = session.execute(
            delete(COPY).where(
                COPY.c.name == self.name,
                COPY.c.area == area,
                COPY.c.number == number,
                COPY.c.token == change.old["token"],
            )
        )
        if gone.rowcount != 1:  # type: ignore[attr-defined]
            self._misfit(session, change)

    def _misfit(self, session: Session, change: object) -> None:
        session.execute(insert(MISFITS).values(name=self.name, what=repr(change)))


class Copying:
    """Writes to the table, and compares the copies with it in the end.

    :ivar names: of the copies.
    """

    def __init__(self, engine: Engine, names: Sequence[str], seed: int, longest: float) -> None:
        self._engine = engine
        self.names = names
        self._stop = threading.Event()
        self._writers = [
            CopyWriter(seed, number, longest, self._stop)
            for number in range(WRITERS if names else 0)
        ]
        self._threads = [
            threading.Thread(target=writer.run, args=(engine,), daemon=True)
            for writer in self._writers
        ]

    @property
    def made(self) -> int:
        """How many changes were committed."""
        return sum(writer.made for writer in self._writers)

    def fill(self) -> None:
        """Write the rows that are there before a snapshot begins."""
        areas = ", ".join(f"'{area.replace('%', '%%')}'" for area in AREAS)
        self._query(
            f"INSERT INTO {COPIED.fullname} SELECT area, number, 'first' "
            f"FROM unnest(ARRAY[{areas}]) AS area, generate_series(1, {ROWS}) AS number"
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def misfits(self) -> list[str]:
        """Return what did not fit into the copies."""
        found = self._query(f"SELECT name, what FROM {MISFITS.fullname} ORDER BY id")
        return [f"{name}: {what}" for name, what in found]

    def differences(self, until: float) -> list[str]:
        """Return where the copies differ from the table, when they agree or at ``until``."""
        while (found := self._differences()) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _differences(self) -> list[str]:
        rows = "SELECT area, number, token FROM"
        table = {tuple(row) for row in self._query(f"{rows} {COPIED.fullname}")}
        found = []
        for name in self.names:
            copied = self._query(f"{rows} {COPY.fullname} WHERE name = '{name}'")
            copy = {tuple(row) for row in copied}
            found += [f"{name}: lacks {row}" for row in sorted(table - copy)]
            found += [f"{name}: has {row}, and the table has not" for row in sorted(copy - table)]
        return found

    def _query(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []
