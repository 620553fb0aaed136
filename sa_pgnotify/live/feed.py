"""The feed that evaluates all live queries of one engine in a thread.

It has one listening connection, and borrows a connection from the pool for each evaluation. A query
may be stopped from any thread and from a signal handler, while an evaluation runs or waits for a
connection.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Engine, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ..drivers.known import module_of
from ..events.stream import Route
from ..listening.interface import BaseListener
from ..listening.listener import Listener
from ..marking.spec import marking_of
from ..states import State, States
from ..subscription.backoff import Backoff
from .evaluator import READING, Evaluator
from .query import Query

__all__ = [
    "LONGEST_PAUSE",
    "LONGEST_WAIT",
    "Feed",
    "delay_after",
    "feed_of",
    "lost_errors",
    "marked",
    "routes_of",
]

LONGEST_PAUSE = 0.05
"""The longest pause after an evaluation, in seconds. A feed pauses for as long as the evaluation
took, so that it uses at most half of a core while evaluations are shorter than this, and so that
the changes of a busy table are evaluated together."""
LONGEST_STOP = 5.0
"""The most seconds that stopping a query waits for an evaluation, which may itself be waiting for a
connection that the program holds."""
LONGEST_WAIT = 10.0
"""The most seconds until a feed looks for queries that the program has dropped."""


def lost_errors(engine: Engine) -> tuple[type[Exception], ...]:
    """Return the errors after which an evaluation is tried again.

    They are raised if the connection is lost, cannot be made or is not free, or if a log cannot be
    read. asyncpg raises errors of its own when it cannot connect.
    """
    return (DBAPIError, NoConnectionFree, *module_of(engine).ERRORS)


def marked(tables: Iterable[Table]) -> list[Table]:
    """Return the tables that are marked, so that they have events."""
    return [table for table in tables if marking_of(table) is not None]


def routes_of(listener: BaseListener[Any] | None) -> Mapping[str, Route]:
    """Return what the channels of a feed's listener carry."""
    receiver = None if listener is None else listener._receiver
    return {} if receiver is None else receiver.stream.routes


def delay_after(error: Exception, backoff: Backoff, states: States) -> float:
    """Report an evaluation that will be tried again, and return the number of seconds until then."""
    delay, said = backoff.delay(), str(error).strip().partition("\n")[0]
    states.report(State.RECONNECTING, said, seconds=delay)
    return delay


class Feed:
    """Evaluates the queries of one engine in a thread, which runs while there are queries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pid = os.getpid()
        self._lost_errors = lost_errors(engine)
        self._lock = threading.RLock()  # protects the evaluator
        self._is_busy = False
        self._states = States("live queries", engine)
        self._listener: Listener | None = None
        self._tables: set[Table] = set()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._evaluator = Evaluator(self._routes)

    def _routes(self) -> Mapping[str, Route]:
        return routes_of(self._listener)

    @property
    def is_here(self) -> bool:
        """Whether it was made in this process, and not before a fork."""
        return self._pid == os.getpid()

    def add(self, query: Query) -> None:
        """Evaluate a query, and follow it.

        :raises NotifyConfigError: if its statement cannot be followed.
        :raises TriggersMissing: if a table has no enabled triggers.
        :raises ListenUnavailable: if LISTEN is not possible; see :meth:`Listener.start`.
        :raises DBAPIError: if PostgreSQL refuses the statement.
        """
        with self._alone():
            is_new = self._listener is None
            try:
                with self._engine.connect().execution_options(**READING) as connection:
                    self._evaluator.examine(connection, query)
                    self._listen(marked(query.tables))
                    self._evaluator.add(connection, query)
            except BaseException:
                self._evaluator.remove(query)
                raise
            if is_new:
                assert self._listener is not None
                self._ended = threading.Event()
                arguments = (self._listener, self._ended)
                name = "sa_pgnotify live queries"
                self._thread = threading.Thread(
                    target=self._run, args=arguments, name=name, daemon=True
                )
                self._thread.start()

    def _listen(self, tables: list[Table]) -> None:
        new = [table for table in tables if table not in self._tables]
        if self._listener is None:
            listener = Listener(self._engine, *new)
            listener._passes_on_logs = False  # the evaluation reads them
            self._listener = listener.start()
        elif new:
            self._listener.subscribe(*new)
        self._tables.update(new)

    def remove(self, query: Query) -> None:
        """Stop following a query. After the last one, the thread and the listener end."""
        query.outlet.drop()
        if not self.is_here:
            return
        if not self._lock.acquire(timeout=LONGEST_STOP):
            return  # the thread of the feed removes it after the evaluation
        try:
            if self._is_busy:  # this is a signal handler that has interrupted _alone()
                return
            with self._alone():
                self._evaluator.remove(query)
            thread, is_over = self._thread, self._ended.is_set()
        finally:
            self._lock.release()
        if is_over and thread is not None and thread is not threading.current_thread():
            # not without a limit: a signal handler may have interrupted this thread while it held
            # the lock
            deadline = time.monotonic() + LONGEST_STOP
            while thread.is_alive() and time.monotonic() < deadline:
                thread.join(0.05)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thread at a time change the set of queries.

        A signal handler that interrupts it only marks its query as dropped; the query is removed
        at the end.
        """
        with self._lock:
            self._is_busy = True
            try:
                yield
            finally:
                self._evaluator.remove_dropped()
                self._end_if_empty()
                self._is_busy = False

    def _end_if_empty(self) -> None:
        if self._evaluator.is_empty and self._listener is not None:
            self._ended.set()
            self._listener.stop()
            self._listener, self._tables = None, set()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self, listener: Listener, ended: threading.Event) -> None:
        backoff, pause = Backoff(), 0.0
        try:
            while not ended.wait(pause):
                event = listener.get(min(self._evaluator.due_in, LONGEST_WAIT))
                with self._lock:
                    if ended.is_set():
                        return
                    for noted in (event, *listener.events(timeout=0)):
                        self._evaluator.note(noted)
                    self._evaluator.remove_dropped()
                    self._end_if_empty()
                    pause = self._evaluate(backoff)
                    self._evaluator.remove_dropped()
                    self._end_if_empty()
        except Exception as error:
            self._states.report(State.FAILED, f"they end: {error!r}", error=error)
            with self._lock:
                self._evaluator.fail(error)
                self._end_if_empty()

    def _evaluate(self, backoff: Backoff) -> float:
        """Evaluate what is due, and return the number of seconds to pause."""
        if self._evaluator.due_in > 0:
            return 0.0
        began = time.monotonic()
        try:
            with self._engine.connect().execution_options(**READING) as connection:
                self._evaluator.run(connection)
        except self._lost_errors as error:
            return delay_after(error, backoff, self._states)
        backoff.settled()
        return min(time.monotonic() - began, LONGEST_PAUSE)


_feeds: WeakKeyDictionary[Engine, ref[Feed]] = WeakKeyDictionary()  # a feed refers to its engine
_making = threading.Lock()


def feed_of(engine: Engine) -> Feed:
    """Return the feed of an engine in this process."""
    with _making:
        known = _feeds.get(engine)
        feed = None if known is None else known()
        if feed is None or not feed.is_here:
            feed = Feed(engine)
            _feeds[engine] = ref(feed)
        return feed
