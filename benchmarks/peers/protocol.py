"""The contestants' side of the conversation with the suite: commands in, answers out, one JSON
object a line.

A contestant runs in a process and an environment of its own, so that it can neither slow down nor
break another one or the suite. PG* variables name the database. Contestants with any Python and any
packages import this file, so it imports only the standard library. Moments are read from the
machine's monotonic clock, as in the writers.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATIENCE = 60.0
"""Seconds that a contestant may take to begin to listen."""


@dataclass(frozen=True)
class Table:
    """A table that exists: its name, and SQL types by column. The key is ``id``."""

    name: str
    columns: dict[str, str]


class Tally:
    """Count what is received.

    :param mode: ``count``; ``stamps`` keeps keys and moments; ``sizes`` keys and the length of the
        ``note`` that came; ``slow`` blocks each receiver until :meth:`open`.
    """

    def __init__(self, mode: str) -> None:
        self.count = 0
        self.goal = -1
        self.last = self.cpu = 0.0
        self.kept: list[tuple[int, Any]] = []
        self.losses: list[str] = []
        self.error: str | None = None
        self.listening, self.reached, self._gate = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        self._turnstile: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.slow = mode == "slow"
        self.received: Callable[..., None] = getattr(self, f"_{mode}")

    def ready(self) -> None:
        """Declare that nothing may be missed from here on."""
        self.listening.set()

    def told(self, loss: object) -> None:
        """Note that the contestant itself reported a possible loss."""
        self.losses.append(str(loss))

    def failed(self, error: BaseException) -> None:
        self.error = one_line(error)
        self.listening.set()
        self.reached.set()

    def _count(self, key: Any, row: Any = None) -> None:
        self.count += 1
        if self.count == self.goal:
            self.last = time.monotonic()
            self.reached.set()

    def many(self, number: int) -> None:
        """Count several at once, for contestants that read slices."""
        self.count += number
        if self.count >= self.goal > 0:
            self.last = time.monotonic()
            self.reached.set()

    def _stamps(self, key: Any, row: Any = None) -> None:
        self.kept.append((key, time.monotonic()))
        self._count(key)

    def _sizes(self, key: Any, row: Any = None) -> None:
        self.kept.append((key, len(row["note"]) if row and "note" in row else -1))
        self._count(key)

    def _slow(self, key: Any, row: Any = None) -> None:
        self._count(key)
        if self._turnstile is None:
            self._gate.wait()

    async def admitted(self) -> None:
        """Block a slow handler that is a coroutine."""
        if self.slow:
            if self._turnstile is None:
                self._turnstile, self._loop = asyncio.Event(), asyncio.get_running_loop()
            await self._turnstile.wait()

    def open(self) -> None:
        self._gate.set()
        if self._loop is not None and self._turnstile is not None:
            self._loop.call_soon_threadsafe(self._turnstile.set)

    def expect(self, goal: int) -> None:
        self.count, self.goal = 0, goal
        self.kept.clear()
        self.losses.clear()
        self.reached.clear()
        self.cpu = time.process_time()

    def wait(self, seconds: float, quiet: float, enough: int) -> dict[str, Any]:
        """Return what came until the goal was reached, or there is enough, or nothing more came for
        ``quiet`` seconds."""
        until, before, since = time.monotonic() + seconds, self.count, time.monotonic()
        while self.count < enough and not self.reached.wait(0.05) and time.monotonic() < until:
            if self.count != before:
                before, since = self.count, time.monotonic()
            elif time.monotonic() - since > quiet:
                break
        cpu = time.process_time() - self.cpu
        return {
            "count": self.count,
            "last": self.last,
            "cpu": cpu,
            "kept": self.kept,
            "losses": self.losses,
            "ended": self.error,
        }


def one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def ready_when_seen(tally: Tally, pattern: str = "LISTEN%") -> None:
    """Wait until pg_stat_activity shows LISTEN, for libraries that do not report it."""
    import psycopg2

    connection = psycopg2.connect("")
    connection.autocommit = True
    found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query ILIKE %s"
    until = time.monotonic() + PATIENCE
    with connection.cursor() as cursor:
        while time.monotonic() < until:
            cursor.execute(found, (pattern,))
            if cursor.fetchone()[0]:
                tally.ready()
                break
            time.sleep(0.02)
    connection.close()


def serve(
    install: Callable[[list[Table]], None],
    listen: Callable[[list[Table], dict[str, Any], Tally], None],
) -> None:
    """Execute the commands on standard input until it is closed. ``listen`` runs in the main
    thread, and does not return."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    work: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_obey_to_the_end, args=(answers, work), daemon=True).start()
    while True:
        tables, options, tally = work.get()
        try:
            if tally is None:
                install(tables)
                _answer(answers, {})
                continue
            listen(tables, options, tally)
            raise RuntimeError("it has stopped listening")
        except Exception as error:
            if tally is None:
                _answer(answers, {"error": one_line(error)})
            else:
                tally.failed(error)


def _obey_to_the_end(answers: Any, work: queue.SimpleQueue[tuple[Any, ...]]) -> None:
    try:
        _obey(answers, work)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)  # the listener in the main thread would not notice the end of the input


def _obey(answers: Any, work: queue.SimpleQueue[tuple[Any, ...]]) -> None:
    tally: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        tables = [Table(**table) for table in request.get("tables", ())]
        if request["do"] == "install":
            work.put((tables, {}, None))
            continue  # the main thread answers
        answer: dict[str, Any] = {}
        if request["do"] == "listen":
            tally = Tally(request["mode"])
            work.put((tables, request, tally))
            tally.listening.wait(PATIENCE)
            late = (
                None if tally.listening.is_set() else f"it does not listen within {PATIENCE:.0f} s"
            )
            answer = {"error": tally.error or late}
        elif request["do"] == "expect":
            tally.expect(request["count"])
        elif request["do"] == "wait":
            answer = tally.wait(request["seconds"], request["quiet"], request["enough"])
        elif request["do"] == "open":
            tally.open()
        _answer(answers, answer)


def _answer(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
