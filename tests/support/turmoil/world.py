"""The servers under chaos: a primary, a standby that streams from it, proxies in front of the
primary, and what is done to them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg2
from proxy import Proxy
from servers import Server, data_folder
from sqlalchemy import NullPool, create_engine

from .load import DURABLE, EPHEMERAL, SCHEMA
from .readers import APPLICATION

DATABASE = "chaos"
SETTINGS = {
    "fsync": "off",
    "max_prepared_transactions": "20",
    "wal_keep_size": "'512MB'",
    "max_connections": "200",
}
READERS = f"(application_name = '{APPLICATION}' OR application_name LIKE 'sa_pgnotify%')"
PATIENCE = 30.0
"""Seconds that a server may take to be ready again."""


class World:
    """
    :ivar primary: the server that is written to now.
    :ivar proxies: in front of it, for the readers.
    :ivar hold: while it is set, writers keep what they have prepared.
    :ivar lossy: whether commits may have been lost since the round began, by a crash or a failover.
    """

    def __init__(self, heartbeat: float) -> None:
        self.hold = threading.Event()
        self.lossy = False
        self._heartbeat = heartbeat
        self._stack = ExitStack()
        self._standby: Server | None = None
        self._made = 0

    def __enter__(self) -> Self:
        with self._stack:
            self._folder = self._stack.enter_context(data_folder())
            self._stack.callback(self._stop)
            self.primary = Server(self._folder)
            self._sql(
                self.primary,
                *[f"ALTER SYSTEM SET {name} = {value}" for name, value in SETTINGS.items()],
            )
            self.primary.down("fast")
            self.primary.up()
            self._sql(
                self.primary, f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'"
            )
            url = self.primary.url.set(database=DATABASE)
            self.proxies = [self._stack.enter_context(Proxy(url)) for _ in range(2)]
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        for server in (self._standby, getattr(self, "primary", None)):
            if server is not None:
                server.__exit__(None, None, None)

    @property
    def urls(self) -> list[str]:
        """Where the readers connect, a proxy each."""
        return [proxy.url.render_as_string(hide_password=False) for proxy in self.proxies]

    def connect(self) -> Any:
        """Return a plain connection to the primary, for a writer."""
        host = self.primary.url.query["host"]
        return psycopg2.connect(
            host=host, user="postgres", dbname=DATABASE, application_name="chaos writer"
        )

    @contextmanager
    def engine(self) -> Iterator[Any]:
        engine = create_engine(
            self.primary.url.set(database=DATABASE),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
        with engine.connect() as connection:
            yield connection

    def run(self, *statements: str) -> list[Any]:
        """Run statements on the primary, each in a transaction of its own; returns the last one's
        rows."""
        with self.engine() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement.replace("%", "%%"))
            return list(result) if result.returns_rows else []

    def _sql(self, server: Server, *statements: str) -> None:
        with server.engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.run("SELECT 1")
                return
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    # -- disturbances: each returns when the server can be reached again ---------------------------

    def disturbances(self, chance: random.Random) -> dict[str, Callable[[], None]]:
        """Return what can be done, by its name; ``chance`` decides the details."""
        made = {
            "terminate a reader": lambda: self._terminate(READERS),
            "terminate a writer": lambda: self._terminate("application_name = 'chaos writer'"),
            "kill -9 a backend": self._kill_backend,
            "cut": lambda: chance.choice(self.proxies).cut(),
            "half-open": lambda: self._half_open(chance),
            "crash": self._crash,
            "crash, prepared left": lambda: self._crash_prepared(chance),
            "crash, commits lost": lambda: self._crash_losing(chance),
            "failover": lambda: self._failover(chance),
            "triggers disabled": lambda: self._disable_triggers(chance),
        }
        return dict(made)

    def _terminate(self, which: str) -> None:
        self.run(
            f"SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE {which} AND datname = current_database()"
            " ORDER BY random() LIMIT 1) AS one"
        )

    def _kill_backend(self) -> None:
        """The server ends all other sessions then, and recovers by itself."""
        found = self.run(
            f"SELECT pid FROM pg_stat_activity WHERE {READERS} AND datname = current_database() ORDER BY random() LIMIT 1"
        )
        for (pid,) in found:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        self.wait_until_ready()

    def _half_open(self, chance: random.Random) -> None:
        """Longer than the heartbeat sometimes, so that the readers find out, and sometimes not."""
        proxy = chance.choice(self.proxies)
        proxy.stall()
        time.sleep(self._heartbeat * chance.uniform(0.3, 3.0))
        if chance.random() < 0.5:
            proxy.cut()
        proxy.flow()

    def _crash(self) -> None:
        self.primary.crash()

    def _crash_prepared(self, chance: random.Random) -> None:
        self.hold.set()
        try:
            time.sleep(chance.uniform(0.5, 1.0))
            self._crash()
            time.sleep(chance.uniform(0.0, 0.5))
        finally:
            self.hold.clear()

    def _crash_losing(self, chance: random.Random) -> None:
        """The commits of the last moments have not reached the disk, and their transaction ids are
        used again."""
        self.lossy = True
        self.run("ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
        self.primary.hold_log()
        time.sleep(chance.uniform(0.3, 1.2))
        self._crash()
        self.run("ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()")

    def _failover(self, chance: random.Random) -> None:
        """The standby takes over; what had not reached it is lost."""
        if self._standby is None:
            self._add_standby()
        standby = self._standby
        assert standby is not None
        self.lossy = True
        if chance.random() < 0.7:  # it falls behind first
            self._sql(standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
            time.sleep(chance.uniform(0.1, 0.7))
        old = self.primary
        old.down("immediate")
        standby.promote()
        self.primary, self._standby = standby, None
        for proxy in self.proxies:
            proxy.lead_to(standby.url.set(database=DATABASE))
            proxy.cut()
        self.wait_until_ready()
        shutil.rmtree(Path(str(old.url.query["host"])), ignore_errors=True)

    def _add_standby(self) -> None:
        self._made += 1
        self._standby = self.primary.standby(self._folder.with_name(f"standby_{self._made}"))

    def _disable_triggers(self, chance: random.Random) -> None:
        """By hand, for some heartbeats, on one table."""
        relation = f"{SCHEMA}.{chance.choice([*EPHEMERAL, *DURABLE]).name}"
        self.run(f"ALTER TABLE {relation} DISABLE TRIGGER ALL")
        time.sleep(self._heartbeat * chance.uniform(2.5, 3.5))
        self.run(f"ALTER TABLE {relation} ENABLE TRIGGER ALL")

    def calm(self) -> None:
        """Undo what a disturbance that failed midway may have left."""
        self.hold.clear()
        for proxy in self.proxies:
            proxy.flow()
        self.wait_until_ready()
        for table in [*EPHEMERAL, *DURABLE]:
            self.run(f"ALTER TABLE {SCHEMA}.{table.name} ENABLE TRIGGER ALL")
