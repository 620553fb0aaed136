"""The thread that waits for events reads the connection: nothing is lost, duplicated or delayed by
it, whatever interrupts it."""

import dis
import gc
import signal
import sys
import threading
import time
from contextlib import nullcontext, suppress
from functools import cache
from itertools import count

import pytest
from receiving import take
from sessions import sessions_end
from sqlalchemy import text
from statements import run
from waiting import wait_until

import sa_pgnotify.drivers.wakeup
import sa_pgnotify.listening.direct_read
from sa_pgnotify import Gap, Listener, Notification


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


class Done(Exception):
    """What ends run()."""


@cache
def interruptible(code) -> frozenset[int]:
    """Where in a function a signal's handler may run: before its first step, after each call, and
    before each turn of a loop."""
    places, before = set(), "RESUME"
    for step in dis.get_instructions(code):
        if (
            before.startswith(("RESUME", "CALL")) and "PRECALL" not in before
        ) or step.opname.startswith("JUMP_BACKWARD"):
            places.add(step.offset)
        before = step.opname
    return frozenset(places)


class At:
    """Within this block ``act`` is called at the ``number``-th place of the library's where a
    signal's handler might be.

    :ivar met: whether there were so many.
    """

    def __init__(self, number, act):
        self._left, self._act = number, act
        self.met = False

    def __enter__(self):
        # Garbage, such as listeners of other tests, may be closed anywhere, and would count as a
        # place of this thread.
        gc.disable()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_):
        sys.settrace(None)
        gc.enable()

    def _called(self, frame, *_):
        if frame.f_globals["__name__"].startswith(("sa_pgnotify.", "encodings.")):
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return self._step
        return None

    def _step(self, frame, what, _):
        if what == "opcode" and not self.met and frame.f_lasti in interruptible(frame.f_code):
            self._left -= 1
            if self._left <= 0:
                self.met = True
                sys.settrace(None)
                self._act()
        return self._step


def lent(listener) -> bool:
    return listener._receiver.direct_read._loan is not None


@pytest.fixture
def notifier(engine):
    """Sends payloads on the channel a, in one transaction."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield lambda *payloads: connection.execute(
            text("SELECT pg_notify('a', payload) FROM unnest(:payloads) AS payload"),
            {"payloads": list(map(str, payloads))},
        )


@pytest.fixture
def lent_listener(engine):
    """A listener to the channel a, for which a thread waits that reads its connection; and what
    that thread takes."""
    taken = []
    with Listener(engine, "a") as listener:
        thread = threading.Thread(target=lambda: taken.extend(listener))
        thread.start()
        wait_until(lambda: lent(listener))
        yield listener, taken
        listener.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_the_waiting_thread_reads(engine, notifier, monkeypatch):
    """An event is read by the thread that waits for it, because handing it over from another thread
    would delay it."""
    readers = set()
    with Listener(engine, "a") as listener:
        stream = listener._receiver.stream
        try_single = stream.try_single
        monkeypatch.setattr(
            stream,
            "try_single",
            lambda *note: readers.add(threading.current_thread()) or try_single(*note),
        )
        monkeypatch.setattr(
            stream, "notified", lambda notes: [Notification(*note) for note in notes]
        )
        threading.Timer(0.1, notifier, ["1"]).start()
        assert take(listener, 1)[0].payload == "1"
        for payload in range(2, 6):  # and without a pause after it
            notifier(payload)
            assert take(listener, 1)[0].payload == str(payload)
    assert readers == {threading.current_thread()}


def test_interrupted_anywhere_it_loses_nothing(engine, notifier):
    """Wherever Ctrl-C, or an exception of a signal handler, interrupts a thread that waits for
    events, the next call gets all of them."""

    def interrupt() -> None:
        raise Interrupted

    with Listener(engine, "a", heartbeat=60) as listener:
        for number in count(1):
            payloads = [f"{number} first", f"{number} second"]
            wait_until(lambda: lent(listener) or listener.get(0.01))
            notifier(*payloads)
            seen = []
            with At(number, interrupt) as at:
                try:
                    seen.append(listener.get(5))
                except Interrupted:
                    assert at.met
            seen += take(listener, 2 - len(seen), timeout=5)
            assert [event.payload for event in seen] == payloads
            if not at.met:
                break
        assert number > 30
        assert listener.get(0) is None
        stats = listener.stats
        assert (stats.received, stats.delivered, stats.buffered, stats.gaps) == (
            2 * number,
            2 * number,
            0,
            0,
        )
    sessions_end(engine)


@pytest.mark.parametrize("how", ["get", "events", "run"])
def test_interrupted_anywhere_it_loses_nothing_that_waits(engine, notifier, how):
    """The same for what waits in the buffer, gaps too, and whichever way it is taken; each handler
    is called once for each event."""

    def interrupt() -> None:
        raise Interrupted

    def taking() -> None:
        if how == "run":
            listener.run()
        elif how == "events":
            for event in listener.events(timeout=0):
                seen.extend([event, event])
        else:
            while (event := listener.get(0)) is not None:
                seen.extend([event, event])

    listener = Listener(engine, "a", heartbeat=60, buffer_size=4)
    seen = []
    listener.on(Notification, Gap)(seen.append)

    @listener.on(Notification, Gap)
    def handle_last(event):
        seen.append(event)
        if isinstance(event, Gap):
            raise Done

    with listener:
        for number in count(1, 3):
            seen.clear()
            notifier(*range(5))
            wait_until(lambda: listener._receiver.buffer.waiting == 5)
            with At(number, interrupt) as at, suppress(Interrupted, Done):
                taking()
            if len(seen) < 10:
                assert at.met
                with suppress(Done):
                    taking()
            events_seen = [getattr(event, "payload", "gap") for event in seen]
            assert events_seen == ["0", "0", "1", "1", "2", "2", "3", "3", "gap", "gap"], (
                number,
                events_seen,
            )
            if not at.met:
                break
        assert number > 30


def test_real_signals_lose_nothing(engine, notifier):
    """An exception that a real signal's handler raises, at any time and in the driver's C code too,
    reaches the program, and no event is lost by it: each comes once, in order."""
    last, raised, seen, is_armed = 1500, 0, [], False

    def interrupt(*_) -> None:
        nonlocal is_armed
        if is_armed:  # else it is the test that would be interrupted
            is_armed = False
            raise Interrupted

    def write() -> None:
        for number in range(last):
            notifier(number)

    before = signal.signal(signal.SIGALRM, interrupt)
    with Listener(engine, "a", heartbeat=60) as listener:
        writer = threading.Thread(target=write)
        writer.start()
        try:
            while len(seen) < last:
                try:
                    is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, 0.0001 + raised % 13 * 0.00005)
                    event = listener.get(10)
                    assert event is not None
                    seen.append(event.payload)
                    is_armed = False
                except Interrupted:
                    raised += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            writer.join()
    assert seen == [str(number) for number in range(last)]
    assert raised > 20  # far fewer on a loaded machine


@pytest.mark.parametrize("what", ["get", "subscribe"])
def test_in_a_signals_handler(engine, notifier, what):
    """A signal handler may take events itself, or make the listener's thread take the connection
    back and read, wherever it interrupts a thread that waits for events: each event is delivered
    once, in order."""

    def handle() -> None:
        if what == "get":
            seen.append(listener.get(5))
        else:
            listener.subscribe("b")
            listener.unsubscribe("b")

    with Listener(engine, "a", heartbeat=60) as listener:
        for number in count(1):
            payloads = [f"{number} first", f"{number} second", f"{number} third"]
            wait_until(lambda: lent(listener) or listener.get(0.01))
            notifier(*payloads)
            seen = []
            with At(number, handle) as at:
                seen.append(listener.get(5))
            seen += take(listener, 3 - len(seen), timeout=5)
            assert [event.payload for event in seen] == payloads
            if not at.met:
                break
        assert number > 30
        assert (listener.get(0), listener.stats.buffered) == (None, 0)


def test_stop_in_a_signals_handler(engine, notifier):
    """stop() in a signal handler ends the iteration at once, wherever it interrupts a thread that
    waits for events."""
    listener = Listener(engine, "a", heartbeat=60)
    for number in count(1, 3):
        with listener:
            wait_until(lambda: lent(listener) or listener.get(0.01))
            notifier(number)
            started = time.monotonic()
            with At(number, listener.stop) as at:
                events_seen = listener.get(5)
        if not at.met:
            break
        assert time.monotonic() - started < 1
        assert events_seen is None
    assert number > 30


def test_a_busy_program_is_read_for(engine, notifier):
    """What comes while the program does something else is read all the same, within a moment:
    PostgreSQL's queue must not wait for it."""
    with Listener(engine, "a", heartbeat=60) as listener:
        threading.Timer(0.1, notifier, ["1"]).start()
        take(listener, 1)
        notifier("2", "3")
        wait_until(lambda: listener.stats.buffered == 2)
        assert [event.payload for event in take(listener, 2)] == ["2", "3"]


def test_stop_while_it_is_lent(lent_listener):
    """stop() ends the iteration of a thread that reads the connection itself at once, and the
    thread that listens too."""
    listener, _ = lent_listener
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < 0.2
    assert not listener._thread.is_alive()


def test_commands_while_it_is_lent(lent_listener, engine):
    """subscribe() from another thread does not wait for an event, or the heartbeat, that would free
    the connection."""
    listener, taken = lent_listener
    started = time.monotonic()
    listener.subscribe("b")
    listener.unsubscribe("a")
    assert time.monotonic() - started < 1
    run(engine, "NOTIFY a", "NOTIFY b")
    wait_until(lambda: taken)
    assert [event.channel for event in taken] == ["b"]


def test_nobody_looks_while_nothing_comes(lent_listener, monkeypatch):
    """Between heartbeats, neither the thread that waits nor the one that listens wakes up."""
    looked = []
    readable = sa_pgnotify.drivers.wakeup.readable
    time.sleep(0.15)
    for module in (sa_pgnotify.listening.direct_read, sa_pgnotify.drivers.waiting):
        monkeypatch.setattr(
            module, "readable", lambda *given: looked.append(given) or readable(*given)
        )
    time.sleep(0.3)
    assert looked == []


def test_taking_turns_under_load(engine, monkeypatch, notifier):
    """With heartbeats, subscriptions, pauses of the program and bursts, all at once, each
    notification is delivered once, in order."""
    monkeypatch.setattr(sa_pgnotify.listening.direct_read, "LINGER", 0.001)
    last, over = 1500, threading.Event()

    def write() -> None:
        for number in range(1, last + 1):
            notifier(number)
            if number % 7 == 0:
                time.sleep(0.002)

    def command() -> None:
        while not over.wait(0.01):
            listener.subscribe("b")
            listener.unsubscribe("b")

    with Listener(engine, "a", heartbeat=0.01) as listener:
        # which would be too short
        monkeypatch.setattr(listener._receiver.link.waiting, "deadline", lambda *_: nullcontext())
        threads = [threading.Thread(target=write), threading.Thread(target=command)]
        for thread in threads:
            thread.start()
        for number, event in enumerate(listener.events(10), 1):
            assert event.payload == str(number)
            if number % 50 == 0:
                time.sleep(0.003)
            if number == last:
                break
        over.set()
        for thread in threads:
            thread.join()
        assert listener.stats.gaps == 0
