"""Loops of other frameworks: the examples of docs/event-loops.md, the descriptor that they watch,
and a real Twisted reactor."""

import os
import re
import select
import selectors
import threading

import pytest
from kinds import address
from programs import ROOT, Program
from sessions import terminate_listener
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import Gap, Listener, NotifyOnChange, PgNotifyError

COMMON, *BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "event-loops.md").read_text(), re.DOTALL
)
WATCHED = """
import sa_pgnotify

class Listener(sa_pgnotify.Listener):
    def start(self):
        super().start()
        print("listening")
        return self

class AsyncListener(sa_pgnotify.AsyncListener):
    async def start(self):
        await super().start()
        print("listening")
        return self

sa_pgnotify.Listener, sa_pgnotify.AsyncListener = Listener, AsyncListener
"""
REACTOR = """
import sys
from importlib import import_module
name, how, url = sys.argv[1:]
if name != "default":
    import_module(f"twisted.internet.{name}reactor").install()
from twisted_asyncnotify import Change, Gap, ReactorListener, Table1, create_engine, reactor, task

class Printer(ReactorListener):
    def doRead(self):
        if how == "all":
            super().doRead()
        elif (event := self._listener.get(0)) is not None:
            self.notified(event)

    def notified(self, event):
        match event:
            case Change(_, (number,)):
                print(number)
            case Gap(reason):
                print(reason)
            case _:
                self.stop()

async def main(_):
    printer = Printer(create_engine(url), Table1, "quit")
    await printer.start()
    print("listening")
    await printer.finished
    print(printer.fileno(), reactor.getReaders().count(printer))
task.react(main)
"""


def readable(listener, seconds: float = 10.0) -> bool:
    """Whether the listener's descriptor is readable, or becomes so in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def quiet(listener) -> bool:
    """Whether the descriptor of a listener without events is not readable; it is once, when it is
    first asked for."""
    listener.fileno()
    return listener.get(0) is None and not readable(listener, 0)


def wait_for_arrival(listener, count: int) -> None:
    """Wait until so many events wait, without taking any."""
    while listener.stats.buffered < count:
        threading.Event().wait(0.01)


def payloads(events) -> list[str]:
    return [event.payload for event in events]


# -- the page --------------------------------------------------------------------------------------


def test_the_page_has_the_loops_that_are_tested():
    """Each block of the page is run below under the name of what it shows."""
    shown = [
        "selectors.DefaultSelector",
        "loop.add_reader",
        "reactor.addReader",
        "reactor.callFromThread",
        "AsyncListener",
    ]
    assert [name for name, block in zip(shown, BLOCKS, strict=True) if name in block] == shown


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "block", BLOCKS, ids=["selectors", "add_reader", "addReader", "callFromThread", "AsyncListener"]
)
def test_blocks_of_the_page(url, engine, block):
    """Each block runs as it stands: it handles what comes, also after the connection was lost, and
    ends without complaint."""
    code = WATCHED + COMMON + block
    for driver in ("psycopg2", "asyncpg"):
        code = code.replace(f'"postgresql+{driver}:///shop"', repr(address(url, driver)))
    assert "///shop" not in code
    with Program("-c", code) as program:
        assert program.line() == "listening"
        run(engine, "NOTIFY news, 'one'", "NOTIFY news, 'two'", "NOTIFY other")
        assert [line.partition(", pid")[0] for line in program.lines(2)] == [
            "Notification(channel='news', payload='one'",
            "Notification(channel='news', payload='two'",
        ]
        terminate_listener(engine)
        assert program.line().startswith("Gap(reason='reconnected'")
        run(engine, "NOTIFY news, 'three'")
        assert "'three'" in program.line()
        run(engine, "NOTIFY quit")
        code, printed, errors = program.end()
        assert (code, printed) == (0, [])
        assert "Traceback" not in errors


# -- the descriptor --------------------------------------------------------------------------------


def test_readable_while_events_wait(engine):
    """The descriptor is quiet when there is nothing, readable from the first event on, and until
    somebody found no more."""
    with Listener(engine, "a") as listener:
        assert readable(listener)  # once, when it is asked for
        assert list(listener.events(timeout=0)) == []
        assert not readable(listener, 0)
        run(engine, "NOTIFY a, '1'", "NOTIFY a, '2'", "NOTIFY a, '3'")
        wait_for_arrival(listener, 3)
        for number in "123":
            assert readable(listener)
            assert listener.get(0).payload == number
        assert listener.get(0) is None
        assert not readable(listener, 0)
        run(engine, "NOTIFY a, '4'")
        assert readable(listener)
        assert payloads(listener.events(timeout=0)) == ["4"]
        assert not readable(listener, 0)


def test_readable_within_a_statements_rows(engine):
    """Rows that one message brings keep the descriptor readable until the last of them is taken."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    with Listener(engine, Order) as listener:
        assert quiet(listener)
        run(engine, "INSERT INTO orders SELECT generate_series(1, 5)")
        for number in range(1, 6):
            assert readable(listener)
            assert listener.get(0).identity == (number,)
        assert listener.get(0) is None
        assert not readable(listener, 0)


def test_readable_for_what_came_before_it_was_asked_for(engine):
    """A loop that begins to watch late still sees that events wait."""
    with Listener(engine, "a") as listener:
        run(engine, "NOTIFY a, 'early'")
        wait_for_arrival(listener, 1)
        assert readable(listener, 0)
        assert payloads(listener.events(timeout=0)) == ["early"]


def test_no_event_is_left_behind_a_quiet_descriptor(engine):
    """However the arrival of an event coincides with the check that finds none, the descriptor
    becomes readable for it."""
    taken = []
    with Listener(engine, "a") as listener:

        def write():
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for number in range(3000):
                    connection.exec_driver_sql(f"NOTIFY a, '{number}'")

        writer = threading.Thread(target=write)
        writer.start()
        while len(taken) < 3000 and readable(listener):
            taken += payloads(listener.events(timeout=0))
        writer.join()
    assert taken == [str(number) for number in range(3000)]


def test_the_descriptor_outlives_the_connection(engine):
    """The descriptor is the same after the connection was lost, and becomes readable for the
    Gap."""
    with Listener(engine, "a") as listener:
        descriptor = listener.fileno()
        assert quiet(listener)
        terminate_listener(engine)
        assert readable(listener, 20)
        (event,) = listener.events(timeout=0)
        assert (type(event), event.reason) == (Gap, "reconnected")
        assert listener.fileno() == descriptor
        assert not readable(listener, 0)
        run(engine, "NOTIFY a")
        assert readable(listener)


def test_an_error_of_the_reading_thread_is_raised(engine, monkeypatch, caplog):
    """If reading itself fails, the descriptor stays readable, and taking an event raises the error,
    each time."""
    with Listener(engine, "a") as listener:
        assert quiet(listener)
        for name in ("try_single", "notified"):
            monkeypatch.setattr(listener._receiver.stream, name, lambda *_: 1 / 0)
        run(engine, "NOTIFY a")
        for _ in range(2):
            assert readable(listener)
            with pytest.raises(ZeroDivisionError):
                list(listener.events(timeout=0))


def test_before_the_start_and_after_the_end(engine):
    """Before start() there is no descriptor, after stop() it is -1, and the next start() makes a
    new one."""
    listener = Listener(engine, "a")
    with pytest.raises(PgNotifyError, match="start"):
        listener.fileno()
    with listener:
        descriptor = listener.fileno()
        assert descriptor >= 0
    assert listener.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(descriptor)
    with listener:
        assert quiet(listener)
        run(engine, "NOTIFY a")
        assert readable(listener)


def test_events_that_meet_the_look_that_finds_none(engine, monkeypatch):
    """An event that arrives between a check that finds nothing and the clearing of the wake-up
    keeps the descriptor readable, also if events are taken one by one."""
    with Listener(engine, "a") as listener:
        assert quiet(listener)
        bell = listener._taker._wakeup

        def late() -> None:
            run(engine, "NOTIFY a, '1'", "NOTIFY a, '2'")
            wait_for_arrival(listener, 2)
            monkeypatch.undo()
            bell.clear()

        monkeypatch.setattr(bell, "clear", late)
        assert listener.get(0).payload == "1"
        assert readable(listener, 0)
        assert listener.get(0).payload == "2"


def test_started_anew_after_an_error_it_has_a_descriptor_anew(engine, monkeypatch, caplog):
    """If a listener ended with an error and was started again without a stop(), its descriptor
    becomes readable for new events."""
    with Listener(engine, "a") as listener:
        assert quiet(listener)
        for name in ("try_single", "notified"):
            monkeypatch.setattr(listener._receiver.stream, name, lambda *_: 1 / 0)
        run(engine, "NOTIFY a")
        assert readable(listener)
        with pytest.raises(ZeroDivisionError):
            listener.get(0)
        listener._thread.join(10)
        listener.start()
        assert quiet(listener)
        run(engine, "NOTIFY a")
        assert readable(listener)


def test_many_listeners_in_one_loop(engine):
    """One loop drives several listeners, and knows which listener has events."""
    with Listener(engine, "a") as one, Listener(engine, "b") as other:
        assert quiet(one)
        assert quiet(other)
        run(engine, "NOTIFY b")
        assert readable(other)
        assert select.select([one, other], [], [], 0)[0] == [other]
        run(engine, "NOTIFY a")
        assert readable(one)
        assert select.select([one, other], [], [], 0)[0] == [one, other]


# -- Twisted ---------------------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize("how", ["all", "one"])
@pytest.mark.parametrize("name", ["default", "select", "asyncio"])
def test_reactor(url, engine, name, how):
    """A real reactor gets every row of a large statement, in order, whether it takes events all at
    once or one at each wake-up; a Gap after the loss of the connection, and what comes then; and
    after stop() it watches nothing."""
    with Program(
        "-c",
        "from twisted_asyncnotify import *; Base.metadata.create_all(create_engine(__import__('sys').argv[1]))",
        address(url),
    ) as made:
        assert made.end() == (0, [], "")
    with Program("-c", REACTOR, name, how, address(url)) as program:
        assert program.line() == "listening"
        run(engine, "INSERT INTO table1 SELECT generate_series(1, 5000)")
        assert program.lines(5000) == [str(number) for number in range(1, 5001)]
        for number in (5001, 5002):
            run(engine, f"INSERT INTO table1 VALUES ({number})")
            assert program.line() == str(number)
        terminate_listener(engine)
        assert program.line() == "reconnected"
        run(engine, "DELETE FROM table1 WHERE id % 1000 = 0")
        assert program.lines(5) == ["1000", "2000", "3000", "4000", "5000"]
        run(engine, "NOTIFY quit", "DELETE FROM table1")
        code, printed, errors = program.end()
        assert (code, printed) == (0, ["-1 0"])
        assert "Traceback" not in errors
