"""Starting, stopping and starting again: nothing is left behind, and nobody waits."""

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg2
import pytest
from orders import order_and_item
from receiving import take
from sessions import sessions, sessions_end, terminate_listener
from sqlalchemy import (
    NullPool,
    create_engine,
)
from statements import run

from sa_pgnotify import (
    Notification,
    PgNotifyError,
    TriggersMissing,
)


def test_life_cycle(engine, Listener):
    """Not started: refused. Started twice: refused. Stopped: ends quietly, any number of times, and
    can be started again."""
    listener = Listener(engine, "a")
    with pytest.raises(PgNotifyError, match="start"):
        listener.get(0)
    listener.start()
    with pytest.raises(PgNotifyError, match="already"):
        listener.start()
    listener.stop()
    listener.stop()
    assert listener.get(1) is None
    assert list(listener) == []
    with listener:
        run(engine, "NOTIFY a")
        assert isinstance(listener.get(10), Notification)


@pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="this system does not list a process's descriptors"
)
def test_stop_leaves_nothing_behind(engine, Listener):
    """After stop() there is no thread, no socket and no session of the listener's."""
    with Listener(engine, "a"):
        pass  # what an event loop opens at its first use stays open
    before = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Listener(engine, "a") as listener:
            assert listener.get(0) is None
            assert sessions(engine) == 1
        sessions_end(engine)
    assert set(threading.enumerate()) <= before  # a timer of another test may have ended meanwhile
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/fd")) > descriptors and time.monotonic() < deadline:
        time.sleep(0.01)  # loops close sockets at their next turn
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_stop_ends_waiting_iterations_at_once(engine, Listener):
    """stop() from another thread ends every iteration in less than 0.2 s, also with events still in
    the buffer."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        ended = []
        threads = [threading.Thread(target=lambda: ended.append(list(listener))) for _ in range(3)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        listener.stop()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 0.2
        assert ended == [[], [], []]

    with Listener(engine, Order) as listener:
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 10000) AS i")
        seen = 0
        for _ in listener:
            seen += 1
            listener.stop()
        assert seen == 1


def test_stop_from_a_signal_handler(url):
    """A program that stops its listener in a signal handler ends its loop in less than 0.2 s and
    exits cleanly."""
    program = f"""
import signal, sys, time
from sqlalchemy import create_engine
from sa_pgnotify import Listener
listener = Listener(create_engine({url.render_as_string(hide_password=False)!r}), "a")
def on_signal(*_):
    global stopped_at
    stopped_at = time.monotonic()
    listener.stop()
signal.signal(signal.SIGTERM, on_signal)
with listener:
    print("ready", flush=True)
    for event in listener:
        pass
print("took", time.monotonic() - stopped_at)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        last = process.stdout.readline().split()
        assert process.wait(10) == 0
    assert last[0] == "took"
    assert float(last[1]) < 0.2


def test_after_a_start_that_failed(engine, Listener):
    """Taking events after start() has failed raises the error of start(), and does not wait for
    ever."""
    _, Order, _ = order_and_item(engine)
    run(engine, "DROP TABLE orders CASCADE")
    listener = Listener(engine, Order)
    for take_one in (listener.start, listener.get, lambda: next(listener.events()), listener.run):
        with pytest.raises(TriggersMissing):
            take_one()
    listener.stop()
    assert listener.get() is None


@pytest.mark.parametrize("kind", ["psycopg2"], indirect=True)  # loops have no locks
def test_interrupted_while_it_waits_for_its_turn(engine, Listener):
    """A Ctrl-C that meets a lock's acquisition leaves nothing locked for the thread that goes
    on."""

    class Met:
        """A lock that a signal meets once."""

        def __init__(self, lock):
            self._lock = lock

        def acquire(self, timeout):
            self._lock.acquire(timeout=timeout)
            listener._taker._taking = self._lock
            raise KeyboardInterrupt

    with Listener(engine, "a") as listener:
        listener._taker._taking = Met(listener._taker._taking)
        with pytest.raises(KeyboardInterrupt):
            listener.get(10)
        run(engine, "NOTIFY a")
        take(listener, 1)


@pytest.mark.parametrize("kind", ["psycopg2"], indirect=True)
def test_no_thread_to_be_had(engine, monkeypatch, Listener):
    """Where the system gives no thread, start() raises that and leaves no connection; later it
    works."""
    start = threading.Thread.start

    def refuse(thread) -> None:
        if thread.name == "sa_pgnotify listener":
            raise RuntimeError("can't start new thread")
        start(thread)

    listener = Listener(engine, "a")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="thread"):
        patched.setattr(threading.Thread, "start", refuse)
        listener.start()
    sessions_end(engine)
    with listener:
        run(engine, "NOTIFY a")
        take(listener, 1)


@pytest.mark.parametrize("kind", ["psycopg2"], indirect=True)
def test_started_again_while_the_old_thread_still_connects(engine, url, Listener):
    """stop() does not wait for an attempt to connect; start() after it does not either."""
    slow, going, made = threading.Event(), threading.Event(), 0

    def creator():
        nonlocal made
        made += 1
        if made == 3:  # the first listens, the second is the probe
            slow.set()
            going.wait(20)
        return psycopg2.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        )

    listener = Listener(
        create_engine("postgresql+psycopg2://", creator=creator, poolclass=NullPool), "a"
    ).start()
    terminate_listener(engine)
    assert slow.wait(20)
    listener.stop()
    with listener:
        going.set()
        run(engine, "NOTIFY a")
        take(listener, 1)
    sessions_end(engine)
