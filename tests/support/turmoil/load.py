"""What is written under chaos: the tables, and the writers, which never hold back for the
disturbances.

The answer to a COMMIT may be lost, and so may a commit itself, by a crash with
``synchronous_commit=off`` or by a failover. So the truth is kept in the database: each statement
also writes down, in a plain table and in its own transaction, which rows it changes. What is there
in the end has been committed and has survived. A writer's own memory says only when that can have
happened.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any, NamedTuple

import psycopg2
from sqlalchemy import BigInteger, Boolean, Column, Identity, MetaData, Table, Text

from sa_pgnotify import NotifySpec, notify_on_change

SCHEMA = "chaos"
METADATA = MetaData(schema=SCHEMA)


def _table(name: str, **options: Any) -> Table:
    key = Column("id", BigInteger, primary_key=True, autoincrement=False)
    return notify_on_change(
        Table(name, METADATA, key, Column("token", Text), Column("filler", Text)),
        NotifySpec(**options),
    )


EPHEMERAL = [
    _table("quick_0", values=("token",)),
    _table("quick_1", values="all"),
    _table("quick_2", values=("token", "filler")),
]
DURABLE = [
    _table("kept_0", values=("token",), durable=True),
    _table("kept_1", values="all", durable=True),
]
JOURNAL = Table(
    "journal",
    METADATA,
    Column(
        "number", BigInteger, Identity(), primary_key=True, comment="drawn while the row is locked"
    ),
    Column("relation", Text),
    Column("operation", Text),
    Column("row", BigInteger),
    Column("token", Text),
    Column("transaction", Text, comment="the writer's name of it"),
    Column("silent", Boolean, comment="whether the triggers were disabled by hand"),
)
EFFECTS = Table(
    "effect",
    METADATA,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("reader", Text),
    Column("relation", Text),
    Column("operation", Text),
    Column("row", BigInteger),
    Column("token", Text),
)


AWAY = 10**9
"""By how much an UPDATE of keys raises them."""


class Change(NamedTuple):
    """A change, as the journal and the events tell it: its operation is I, U or D; a DELETE bears
    the token that the row had."""

    relation: str
    operation: str
    row: int
    token: str


@dataclass
class Outcome:
    """When a transaction can have been committed, by ``time.time()``.

    :ivar earliest: when its COMMIT was first sent; ``latest`` when the answer had come, ``inf`` if
        none did.
    :ivar rolled_back: whether it is known not to have been committed.
    :ivar repeated: whether it was committed again, where a commit of what was prepared had been
        lost.
    """

    earliest: float = inf
    latest: float = inf
    rolled_back: bool = False
    repeated: bool = False


@dataclass(frozen=True)
class Load:
    """What the writers have in common.

    :ivar connect: makes a connection to the server that is the primary now.
    :ivar hold: while it is set, a writer keeps what it has prepared.
    :ivar pause: mean seconds between two transactions of a writer.
    :ivar largest: rows of the largest statement.
    """

    seed: str
    writers: int
    connect: Callable[[], Any]
    hold: threading.Event
    stop: threading.Event
    pause: float = 0.2
    largest: int = 200
    hot_rows: int = 40
    longest: float = 2.5


def journaled(relation: str, operation: str, statement: str, transaction: str) -> str:
    silent = f"SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = '{SCHEMA}.{relation}'::regclass AND tgenabled = 'D'"
    return (
        f"WITH changed AS ({statement} RETURNING id, token) "
        f"INSERT INTO {JOURNAL.fullname} (relation, operation, row, token, transaction, silent) "
        f"SELECT '{relation}', '{operation}', id, token, '{transaction}', ({silent}) FROM changed"
    )


def insert_row(relation: str, row: int, token: str) -> str:
    """One row, journaled in a transaction that is named as its token."""
    return journaled(
        relation,
        "I",
        f"INSERT INTO {SCHEMA}.{relation} (id, token) VALUES ({row}, '{token}')",
        token,
    )


class Writer:
    """Writes transactions on connections of its own, in the order that its seed gives.

    :ivar outcomes: of each transaction, by its name; a token begins with it.
    """

    def __init__(self, load: Load, number: int) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._load = load
        self._number = number
        self._chance = random.Random(f"{load.seed} writer {number}")
        self._transactions = (f"{load.seed}.{number}.{i}" for i in count())
        self._blocks = count(number, load.writers)
        # relation, first and last of rows that were inserted in one block
        self._filled: list[tuple[str, int, int]] = []
        self._gid = f"{SCHEMA} {number} "  # and the transaction's name
        self._prepared: str | None = None
        self._held_since = 0.0
        self.errors: dict[str, int] = {}

    def run(self) -> None:
        while not self._done():
            time.sleep(0.05)  # the server is down

    def _done(self) -> bool:
        """Write until asked to stop, and leave nothing prepared behind; return False if the
        connection was lost."""
        connection = None
        try:
            connection = self._load.connect()
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
                self._prepared = self._left_prepared(cursor) or self._prepared
                while not self._load.stop.is_set():
                    self._end_prepared(cursor)
                    self._transaction(cursor)
                    self._load.stop.wait(self._load.pause * self._chance.uniform(0.0, 2.0))
                while self._prepared is not None:
                    self._end_prepared(cursor)
                    time.sleep(0.01)
                return True
        except psycopg2.Error as error:
            self._count(error)
            return False
        finally:
            if connection is not None:
                connection.close()

    # -- transactions ------------------------------------------------------------------------------

    def _transaction(self, cursor: Any) -> None:
        chance, name = self._chance, next(self._transactions)
        outcome = self.outcomes[name] = Outcome()
        prepared = self._prepared is None and chance.random() < 0.1
        long = self._number == 0 and chance.random() < 0.1
        ending = "ROLLBACK" if chance.random() < 0.1 else "COMMIT"
        statements = chance.choice((1, 1, 2, 3, 5))
        # commits by itself
        if statements == 1 and not prepared and ending == "COMMIT" and chance.random() < 0.5:
            outcome.earliest = time.time()
            return self._attempt(
                cursor, name, outcome, [self._change(name, 0, prepared=False)], None
            )
        # in place of deadlocks, which take longer to be found
        lines = ["BEGIN", "SET LOCAL lock_timeout = '200ms'"]
        if prepared:
            lines.append("SET LOCAL sa_pgnotify.doorbell = 'off'")
        for number in range(statements):
            change = self._change(name, number, prepared=prepared)
            if chance.random() < 0.25:
                lines += [
                    "SAVEPOINT one",
                    change,
                    f"{chance.choice(('ROLLBACK TO', 'RELEASE'))} SAVEPOINT one",
                ]
            else:
                lines.append(change)
        wait = self._load.longest * chance.uniform(0.3, 1.0) if long else 0.0
        if prepared:
            ending = f"PREPARE TRANSACTION '{self._gid}{name}'"
        return self._attempt(cursor, name, outcome, lines, ending, wait)

    def _attempt(
        self,
        cursor: Any,
        name: str,
        outcome: Outcome,
        lines: list[str],
        ending: str | None,
        wait: float = 0.0,
    ) -> None:
        """Run a transaction, and note what became of it."""
        try:
            for line in lines:
                cursor.execute(line)
            if ending is not None:
                self._load.stop.wait(wait)
                if ending == "COMMIT":
                    outcome.earliest = time.time()
                elif ending == "ROLLBACK":
                    outcome.rolled_back = True
                else:
                    self._prepared, self._held_since = name, time.monotonic()
                cursor.execute(ending)
            if ending in (None, "COMMIT"):
                outcome.latest = time.time()
        except psycopg2.Error as error:
            # the server ends the session, or has ended
            if cursor.connection.closed or (error.pgcode or "").startswith("57P"):
                if outcome.earliest == inf and self._prepared != name:
                    outcome.rolled_back = True  # COMMIT was never sent
                raise
            self._count(error)
            outcome.rolled_back = True  # the server has said so
            if self._prepared == name:
                self._prepared = None
            if ending is not None:
                cursor.execute("ROLLBACK")

    def _count(self, error: psycopg2.Error) -> None:
        kind = type(error).__name__
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def _left_prepared(self, cursor: Any) -> str | None:
        """Return the name of what is prepared: also of what had been ended, where a crash or a
        failover has undone that."""
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, %s)", (self._gid,))
        found = cursor.fetchone()
        return found[0].removeprefix(self._gid) if found else None

    def _end_prepared(self, cursor: Any) -> None:
        """Finish what was prepared, some time after, and also if the connection or the server was
        lost meanwhile."""
        held = self._load.hold.is_set() and not self._load.stop.is_set()
        if (
            self._prepared is None
            or held
            or time.monotonic() < self._held_since + 0.3 * self._chance.random()
        ):
            return
        outcome, name = self.outcomes[self._prepared], self._prepared
        # PREPARE or the commit was lost with its answer, or was made
        if self._left_prepared(cursor) != name:
            self._prepared = None
            if outcome.earliest == inf:
                outcome.rolled_back = True
            return
        commit = not outcome.rolled_back and (
            outcome.earliest < inf or self._chance.random() < 0.75
        )
        if commit:
            outcome.repeated = outcome.earliest < inf
            outcome.earliest = time.time()
        cursor.execute(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{self._gid}{name}'")
        self._prepared = None
        if commit:
            self.outcomes[name].latest = time.time()
        else:
            outcome.rolled_back = True

    # -- statements --------------------------------------------------------------------------------

    def _change(self, transaction: str, number: int, *, prepared: bool) -> str:
        """A statement: one row or many, of rows that all contend for or of a block of our own."""
        chance, token = self._chance, f"{transaction}.{number}"
        relation = chance.choice(DURABLE if prepared or chance.random() < 0.35 else EPHEMERAL).name
        draw = chance.random()
        if draw < 0.25:
            return self._insert_block(relation, token, transaction)
        if draw < 0.4 and self._filled:
            return self._change_block(token, transaction, prepared=prepared)
        hot = sorted(chance.sample(range(self._load.hot_rows), chance.choice((1, 1, 1, 2, 5))))
        where = f"WHERE id IN (SELECT id FROM {SCHEMA}.{relation} WHERE id = ANY(ARRAY{hot}::bigint[]) ORDER BY id FOR UPDATE)"
        if draw < 0.6:
            rows = f"SELECT unnest(ARRAY{hot}::bigint[]), '{token}', {self._filler()}"
            statement = (
                f"INSERT INTO {SCHEMA}.{relation} (id, token, filler) {rows} ON CONFLICT DO NOTHING"
            )
            return journaled(relation, "I", statement, transaction)
        if draw < 0.9:
            return journaled(
                relation,
                "U",
                f"UPDATE {SCHEMA}.{relation} SET token = '{token}' {where}",
                transaction,
            )
        return journaled(relation, "D", f"DELETE FROM {SCHEMA}.{relation} {where}", transaction)

    def _filler(self) -> str:
        return self._chance.choice(
            ("NULL", "NULL", "'short'", "repeat('größe', 100)", "repeat('x', 9000)")
        )

    def _insert_block(self, relation: str, token: str, transaction: str) -> str:
        size = self._chance.choice((1, 3, 20, self._load.largest))
        first = 1000 + 1000 * next(self._blocks)
        self._filled.append((relation, first, first + size - 1))
        filler = "NULL" if size > 20 else self._filler()
        rows = f"SELECT id, '{token}', {filler} FROM generate_series({first}, {first + size - 1}) AS id"
        return journaled(
            relation,
            "I",
            f"INSERT INTO {SCHEMA}.{relation} (id, token, filler) {rows}",
            transaction,
        )

    def _change_block(self, token: str, transaction: str, *, prepared: bool) -> str:
        """An UPDATE or DELETE of a whole block, which may not be there: its transaction may have
        been rolled back, or lost."""
        place = self._chance.randrange(len(self._filled))
        relation, first, last = self._filled[place]
        if prepared and not relation.startswith("kept"):
            return self._insert_block("kept_0", token, transaction)
        where = f"WHERE id BETWEEN {first} AND {last}"
        draw = self._chance.random()
        if draw < 0.4:
            return journaled(
                relation,
                "U",
                f"UPDATE {SCHEMA}.{relation} SET token = '{token}' {where}",
                transaction,
            )
        if draw < 0.6:  # another key
            self._filled[place] = (relation, first + AWAY, last + AWAY)
            return journaled(
                relation,
                "U",
                f"UPDATE {SCHEMA}.{relation} SET id = id + {AWAY}, token = '{token}' {where}",
                transaction,
            )
        del self._filled[place]
        return journaled(relation, "D", f"DELETE FROM {SCHEMA}.{relation} {where}", transaction)
