"""Where contestants meet: a database for each on one server, their processes, and rounds in which
they take turns.

On a shared machine, only figures that were measured within the same seconds can be compared. So
each round gives every contestant one short turn, in another order each time, and a ratio compares
two turns of one round. A contestant that fails is out for the rest of the task.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg2
from contestants import BY_NAME, ORDERS, SOURCE, Contestant, create_table
from driving import Driven
from environments import Failed, python_of
from peers.protocol import Table, one_line
from server import connect
from sheet import Sheet
from sqlalchemy import URL
from writers import Writers

Turn = Callable[["Entry"], None]
WATCHED = {"orders": ORDERS}
TEMPLATE = "benchmark_template"
BUDGET = 180.0
"""Seconds after which a task begins no further round."""
INSTALLING = LISTENING = 90.0
"""Seconds that a contestant may take to install, or to start to listen."""


class Entry:
    """A contestant in a task: its database, its process, a connection that writes."""

    def __init__(self, arena: Arena, contestant: Contestant, url: URL) -> None:
        self.contestant, self.url, self._arena = contestant, url, arena
        self.name = contestant.name
        self.driven: Driven | None = None
        self.started_in = 0.0
        """Seconds from the command to listen, its process running and its packages imported, to its
        listening."""
        self.writer = connect(url, work_mem="64MB", statement_timeout="60s")

    @property
    def listens(self) -> bool:
        return self.driven is not None

    def start(self, shapes: dict[str, dict[str, str]] = WATCHED, **options: Any) -> None:
        """Start a new process that listens to tables, given with their columns."""
        self.stop()
        if not self.contestant.module:
            return
        self.driven = self._arena.process(self.contestant)
        mode = options.pop("mode", "count")
        given = [asdict(Table(name, columns)) for name, columns in shapes.items()]
        self.driven.greet()
        since = time.monotonic()
        self.driven.ask("listen", within=LISTENING, tables=given, mode=mode, **options)
        self.started_in = time.monotonic() - since

    def stop(self) -> None:
        if self.driven is not None:
            self.driven.close()
            self.driven = None
            time.sleep(0.05)  # the server has seen it

    def expect(self, count: int) -> None:
        if self.driven is not None:
            self.driven.expect(count)

    def wait(self, seconds: float, **options: Any) -> dict[str, Any]:
        return self.driven.wait(seconds, **options) if self.driven is not None else {}

    def outside(self, *statements: str) -> None:
        """Run statements between the measurements, without firing triggers."""
        self.writer.rollback()
        self.writer.autocommit = True
        with self.writer.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("RESET session_replication_role")
        self.writer.autocommit = False

    def empty(self, table: str = "orders") -> None:
        stored = ", pgpubsub_notification" if self.name == "pgpubsub_lock" else ""
        self.outside(f"TRUNCATE {table}{stored} RESTART IDENTITY")

    def timed(self, sql: str) -> tuple[float, float]:
        """Run a statement; return when it was sent and when its COMMIT returned."""
        with self.writer.cursor() as cursor:
            cursor.execute("SELECT")  # BEGIN
            start = time.monotonic()
            cursor.execute(sql)
            self.writer.commit()
            return start, time.monotonic()

    def close(self) -> None:
        self.stop()
        self.writer.close()


class Arena:
    """Everything that a task needs.

    :param server: URL of the maintenance database.
    :param folder: for the logs of the contestants.
    :param names: of those that take part.
    """

    def __init__(
        self, server: URL, folder: Path, names: tuple[str, ...], rounds: int, *, quick: bool
    ) -> None:
        self.server, self._folder, self.names, self._rounds, self.quick = (
            server,
            folder,
            names,
            rounds,
            quick,
        )
        self._unfit: dict[str, str] = {}
        self._urls: dict[str, URL] = {}
        self._pythons: dict[str, str] = {}
        self.writers = Writers()

    # -- databases ---------------------------------------------------------------------------------

    def prepare(self) -> dict[str, str]:
        """Create each contestant's database, install its triggers, and note why it failed."""
        self._admin(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
        template = connect(self.server.set(database=TEMPLATE))
        template.autocommit = True
        with template.cursor() as cursor:
            cursor.execute(SOURCE)
            cursor.execute(create_table("orders", ORDERS))
            cursor.execute("VACUUM ANALYZE source")
        template.close()
        for name in self.names:
            self._admin(f"CREATE DATABASE benchmark_{name} TEMPLATE {TEMPLATE}")
            self._urls[name] = self.server.set(database=f"benchmark_{name}")
            try:
                self.install(BY_NAME[name])
            except Failed as error:
                self._unfit[name] = str(error)
                print(f"{name}: {error}", flush=True)
        return self._unfit

    def clear(self) -> None:
        self.writers.close()
        for name in (*(f"benchmark_{name}" for name in self.names), TEMPLATE):
            # a database cannot be dropped while its replication slot is read
            active = f"pg_replication_slots WHERE database = '{name}'"
            self._admin(f"SELECT pg_terminate_backend(active_pid, 5000) FROM {active}")
            self._admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _admin(self, sql: str) -> None:
        connection = connect(self.server)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    def setting(self, sql: str) -> None:
        """Change a setting of the whole server."""
        self._admin(sql)
        self._admin("SELECT pg_reload_conf()")
        time.sleep(0.3)

    def install(self, contestant: Contestant, shapes: dict[str, dict[str, str]] = WATCHED) -> None:
        if contestant.module:
            with self.process(contestant) as process:
                process.ask(
                    "install",
                    within=INSTALLING,
                    tables=[asdict(Table(name, columns)) for name, columns in shapes.items()],
                )

    def process(self, contestant: Contestant) -> Driven:
        if contestant.name not in self._pythons:
            self._pythons[contestant.name] = python_of(contestant)
        url = self._urls[contestant.name]
        host = url.host or url.query.get("host", "localhost")
        place = {
            "PGHOST": str(host),
            "PGPORT": str(url.port or url.query.get("port", 5432)),
            "PGDATABASE": str(url.database),
        }
        place |= {"PGUSER": url.username or "postgres"} | (
            {"PGPASSWORD": str(url.password)} if url.password else {}
        )
        log = self._folder / f"{contestant.name}.log"
        return Driven(contestant, self._pythons[contestant.name], place, log)

    @property
    def pythons(self) -> dict[str, str]:
        return self._pythons

    # -- turns -------------------------------------------------------------------------------------

    def rounds(self, fewer: int = 0) -> int:
        """Return the number of rounds, ``fewer`` than usual where a turn takes long."""
        return self._rounds if self.quick else max(3, self._rounds - fewer)

    def entries(self, sheet: Sheet, names: Iterable[str] | None = None) -> list[Entry]:
        """Return those of ``names`` that take part and could install their triggers."""
        found = []
        for name in self.names:
            if names is not None and name not in names:
                continue
            if name in self._unfit:
                sheet.fail(name, self._unfit[name])
            else:
                found.append(Entry(self, BY_NAME[name], self._urls[name]))
        return found

    def take_turns(
        self, sheet: Sheet, entries: list[Entry], rounds: int, turn: Turn, begin: Turn = Entry.start
    ) -> None:
        """Run rounds in which each of ``entries`` has its turn; ``begin`` prepares them."""
        try:
            for entry in entries:
                self.attempt(sheet, entry, begin)
            started = time.monotonic()
            for number in range(rounds):
                sheet.round = number
                shift = number * 5 % max(1, len(entries))
                for entry in entries[shift:] + entries[:shift]:
                    if entry.name not in sheet.failed:
                        self.attempt(sheet, entry, turn)
                if time.monotonic() - started > BUDGET and number + 1 < rounds:
                    sheet.notes[""] = f"stopped after {number + 1} of {rounds} rounds, for time"
                    break
        finally:
            for entry in entries:
                entry.close()

    def together(self, sheet: Sheet, entries: list[Entry], turn: Turn, workers: int = 4) -> None:
        """Run the turns of all ``entries`` at the same time, for tasks that time nothing."""
        try:
            with ThreadPoolExecutor(workers) as threads:
                list(threads.map(lambda entry: self.attempt(sheet, entry, turn), entries))
        finally:
            for entry in entries:
                entry.close()

    def attempt(self, sheet: Sheet, entry: Entry, turn: Turn) -> None:
        """Run a turn, or note why it failed."""
        try:
            turn(entry)
        except Failed as error:
            sheet.fail(entry.name, str(error))
        except psycopg2.Error as error:
            sheet.fail(entry.name, f"the write failed: {one_line(error)}")
        except Exception as error:
            traceback.print_exc()
            sheet.fail(entry.name, one_line(error))
        if entry.name in sheet.failed:
            print(f"    {entry.name}: {sheet.failed[entry.name]}", flush=True)
            entry.stop()
