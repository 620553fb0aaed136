"""The writers of a :class:`sa_pgnotify.testing.DeliveryCheck`.

The answer to a COMMIT may be lost, and then a writer does not know whether its changes were
committed. So each transaction records what it does in a plain table, under the locks of the rows
that it changes.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from .tables import JOURNAL, ROWS, SCHEMA

__all__ = ["END", "Load", "Writer", "Written", "insert_rows"]

END = "end"
"""The token of the last change of all."""


class Written(NamedTuple):
    """A change that was committed.

    :ivar operation: I, U or D.
    :ivar token: distinguishes the change from all other changes of its row.
    """

    transaction_id: int
    operation: str
    row: int
    token: str


@dataclass(frozen=True)
class Load:
    """What all writers have in common.

    :ivar prepares: whether some transactions are prepared (two-phase commit).

    The other attributes are those of :class:`~sa_pgnotify.testing.DeliveryCheck`.
    """

    writers: int
    hot_rows: int
    longest: float
    seed: int
    prepares: bool


def _journaled(operation: str, statement: str) -> str:
    """Return a statement that also records what it does. The numbers of the journal are drawn while
    the rows are locked."""
    return (
        f"WITH changed AS ({statement} RETURNING id, token) INSERT INTO {JOURNAL.fullname} (transaction_id, operation, row, token) "
        f"SELECT pg_catalog.pg_current_xact_id()::text::bigint, '{operation}', id, token FROM changed"
    )


def insert_rows(ids: list[int], token: str) -> str:
    rows = f"SELECT pg_catalog.unnest(ARRAY{ids}::bigint[]), '{token}'"
    return _journaled("I", f"INSERT INTO {ROWS.fullname} (id, token) {rows} ON CONFLICT DO NOTHING")


def _locked(ids: list[int]) -> str:
    return f"WHERE id IN (SELECT id FROM {ROWS.fullname} WHERE id = ANY(ARRAY{ids}::bigint[]) ORDER BY id FOR UPDATE)"


def _update(ids: list[int], token: str) -> str:
    return _journaled("U", f"UPDATE {ROWS.fullname} SET token = '{token}' {_locked(ids)}")


def _delete(ids: list[int], token: str) -> str:
    return _journaled("D", f"DELETE FROM {ROWS.fullname} {_locked(ids)}")


class Writer:
    """Writes transactions on a connection of its own.

    It sends BEGIN and COMMIT itself, so that it can also prepare transactions.
    """

    def __init__(self, load: Load, number: int, stop: threading.Event) -> None:
        self._load = load
        self._stop = stop
        self._chance = random.Random(f"{load.seed} {number}")  # noqa: S311 (no secret)
        self._tokens = (f"{number}.{i}" for i in count())
        self._new = count(load.hot_rows + number, load.writers)
        self._name = f"{SCHEMA} {number}"  # of the transactions that it prepares
        self._long = number == 0  # so that at least one transaction commits late

    def run(self, engine: Engine) -> None:
        while not self._done(engine):
            time.sleep(0.1)  # the server is down

    def _done(self, engine: Engine) -> bool:
        """Write until the stop event is set, and leave no prepared transaction behind.

        :returns: False if the server went away.
        """
        try:
            with engine.connect() as connection:
                execute = connection.exec_driver_sql
                while not self._stop.is_set():
                    self._end_prepared(execute)
                    self._transaction(execute)
                self._end_prepared(execute)
                return True
        except DBAPIError:
            return False

    def _transaction(self, execute: Callable[[str], Any]) -> None:
        chance = self._chance
        prepared = self._load.prepares and chance.random() < 0.1
        long, self._long = self._long or chance.random() < 0.03, False
        execute("BEGIN")
        try:
            # instead of deadlocks, which PostgreSQL takes longer to find
            execute("SET LOCAL lock_timeout = '100ms'")
            if prepared:
                execute("SET LOCAL sa_pgnotify.doorbell = 'off'")
            for number in range(chance.randint(2 if long else 1, 4)):
                # so that the rest is newer than what other writers do meanwhile
                if long and number == 1:
                    self._stop.wait(self._load.longest * chance.uniform(0.3, 1.0))
                if chance.random() < 0.3:
                    execute("SAVEPOINT one")
                    execute(self._change(long))
                    execute(f"{chance.choice(('ROLLBACK TO', 'RELEASE'))} SAVEPOINT one")
                else:
                    execute(self._change(long))
            if prepared:
                execute(f"PREPARE TRANSACTION '{self._name}'")
                self._stop.wait(0.1 * chance.random())
            else:
                execute("ROLLBACK" if chance.random() < 0.15 else "COMMIT")
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            execute("ROLLBACK")

    def _change(self, long: bool) -> str:
        chance = self._chance
        size = (
            1 if long else chance.choice((1, 1, 1, 2, 5))
        )  # otherwise all others would wait for it
        hot = chance.sample(range(self._load.hot_rows), min(size, self._load.hot_rows))
        kind = chance.choice((insert_rows, insert_rows, _update, _update, _update, _delete))
        ids = (
            [next(self._new) for _ in range(size * 5)]
            if kind is insert_rows and chance.random() < 0.5
            else hot
        )
        return kind(ids, next(self._tokens))

    def _end_prepared(self, execute: Callable[[str], Any]) -> None:
        for (name,) in list(
            execute(
                f"SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE gid = '{self._name}' AND database = pg_catalog.current_database()"
            )
        ):
            execute(f"{self._chance.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} PREPARED '{name}'")
