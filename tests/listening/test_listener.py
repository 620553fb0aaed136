"""The listener in quiet times: events, handlers, its figures."""

import threading
import time

import psycopg2
import pytest
from orders import order_and_item
from psycopg.types.string import TextLoader
from receiving import received, take
from sqlalchemy import (
    NullPool,
    create_engine,
    event,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Gap,
    Inserted,
    Notification,
    NotifyOnChange,
    Updated,
)
from sa_pgnotify.caching import MOST_REMEMBERED
from sa_pgnotify.listening.handlers import Handlers


def test_events_carry_who_and_when(engine, Listener):
    """Every event says transaction, process and moment, and the changes of a transaction share
    their transaction id."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener, engine.begin() as connection:
        pid, xid, before = connection.execute(
            text("SELECT pg_backend_pid(), pg_current_xact_id()::text::bigint, clock_timestamp()")
        ).one()
        connection.execute(text("INSERT INTO orders VALUES (1, 'new')"))
        connection.execute(text("UPDATE orders SET status = 'paid'"))
        after = connection.scalar(text("SELECT clock_timestamp()"))
        connection.commit()
        events = take(listener, 2)
    assert {e.backend_pid for e in events} == {pid}
    assert {e.transaction_id for e in events} == {xid}
    assert before <= events[0].occurred_at <= events[1].occurred_at <= after
    assert [dict(e.context) for e in events] == [{}, {}]
    assert events[0].table is Order.__table__


def test_events_are_read_only(engine, Listener):
    """No program that gets an event can change it for the next one."""
    _, Order, _ = order_and_item(engine, values="all")
    (inserted,) = received(engine, Order, "INSERT INTO orders VALUES (1, 'new')")
    with pytest.raises(AttributeError):
        inserted.identity = (2,)
    with pytest.raises(AttributeError):
        inserted.something = 1
    with pytest.raises(TypeError):
        inserted.new["status"] = "x"
    assert Change.__match_args__ == ("entity", "identity")
    match inserted:
        case Inserted(entity, identity):
            assert (entity, identity) == (Order, (1,))


def test_get_and_events_end_after_silence(engine, Listener):
    """get() gives None and events() ends after the timeout, not before and not much later."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        started = time.monotonic()
        assert listener.get(timeout=0.2) is None
        assert list(listener.events(timeout=0.2)) == []
        assert 0.4 <= time.monotonic() - started < 2
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 3) AS i")
        assert [e.identity for e in listener.events(timeout=0.5)] == [(1,), (2,), (3,)]


def test_plain_channels(engine, Listener):
    """Any channel can be listened to by its name, whatever its case and characters, with payload
    and sender."""
    names = ["test1", "Mixed Case", 'with"quote', "ünï.cödé", "select"]
    with Listener(engine, *names) as listener, engine.begin() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        for name in names:
            connection.execute(text("SELECT pg_notify(:name, 'it''s é')"), {"name": name})
        connection.commit()
        assert take(listener, len(names)) == [Notification(name, "it's é", pid) for name in names]


def test_handlers_are_called_in_order_by_what_they_ask_for(engine, Listener):
    """run() calls the handlers that fit, in the order of registration, and no others."""
    _, Order, Item = order_and_item(engine)
    calls = []
    listener = Listener(engine, Order, Item, "bye")
    listener.on(Order, Updated)(lambda e: calls.append(("updated order", e.identity)))
    listener.on(Order)(lambda e: calls.append(("order", e.identity)))
    listener.on(Deleted, Inserted)(lambda e: calls.append((type(e).__name__, e.entity.__name__)))
    listener.on("bye")(lambda _: listener.stop())
    listener.on(Item.__table__)(lambda e: calls.append(("item's table", e.identity)))
    listener.on(Item)(
        lambda _: listener.on(Updated)(lambda e: calls.append(("from now on", e.identity)))
    )
    with listener:
        run(engine, "INSERT INTO orders VALUES (1, '')", "UPDATE orders SET status = 'w'", "INSERT INTO items VALUES (5)",
            "UPDATE orders SET status = 'x'", "NOTIFY bye")  # fmt: skip
        listener.run()
    assert calls == [
        ("order", (1,)),
        ("Inserted", "Order"),
        ("updated order", (1,)),
        ("order", (1,)),
        ("Inserted", "Item"),
        ("item's table", (5,)),
        ("updated order", (1,)),
        ("order", (1,)),
        ("from now on", (1,)),
    ]


def test_handlers_are_not_remembered_for_each_channel_that_ever_was():
    """A listener that subscribes to channels that come and go, one for each visitor of a site, does
    not grow by them."""
    handlers = Handlers("Listener")
    handlers.on(("last",), lambda _: None)(print)
    for number in range(2 * MOST_REMEMBERED):
        assert handlers.of(Notification(str(number), "", 1)) == []
    assert handlers.of(Notification("last", "", 1)) == [print]
    assert len(handlers._known) <= MOST_REMEMBERED


def test_a_handlers_exception_loses_no_later_event(engine, Listener):
    """What a handler raises leaves run(), and the next run() goes on with the event after it."""
    _, Order, _ = order_and_item(engine)
    seen = []
    listener = Listener(engine, Order, "bye")

    @listener.on(Order)
    def handler(e):
        if e.identity == (2,):
            raise ZeroDivisionError
        seen.append(e.identity)

    listener.on("bye")(lambda _: listener.stop())
    with listener:
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 4) AS i", "NOTIFY bye")
        with pytest.raises(ZeroDivisionError):
            listener.run()
        listener.run()
    assert seen == [(1,), (3,), (4,)]


def test_on_error_gets_exception_and_event(engine, Listener):
    """With on_error, run() goes on by itself, and the error is not lost."""
    _, Order, _ = order_and_item(engine)
    errors = []
    listener = Listener(
        engine, Order, "bye", on_error=lambda error, e: errors.append((type(error), e.identity))
    )
    listener.on(Order)(lambda e: 1 / 0)
    listener.on("bye")(lambda _: listener.stop())
    with listener:
        run(engine, "INSERT INTO orders VALUES (1, ''), (2, '')", "NOTIFY bye")
        listener.run()
    assert errors == [(ZeroDivisionError, (1,)), (ZeroDivisionError, (2,))]


def test_idle_listener_asks_only_at_its_heartbeat(engine, Listener):
    """Between heartbeats an idle listener sends nothing: no polling."""
    with Listener(engine, "a", heartbeat=60) as listener:
        with engine.connect() as connection:
            query = text(
                "SELECT state_change FROM pg_stat_activity WHERE application_name = 'sa_pgnotify listener' AND datname = current_database()"
            )
            before = connection.scalar(query)
            assert listener.get(0.5) is None
            assert connection.scalar(query) == before
    with Listener(engine, "a", heartbeat=0.2) as listener:
        while listener.stats.queue_usage is None:
            assert listener.get(0.01) is None
        assert 0.0 <= listener.stats.queue_usage < 1.0


def test_stats(engine, Listener):
    """The figures say what came, what was taken, what waits, and how long it took."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        assert listener.stats.latency is None
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 10) AS i")
        take(listener, 4)
        stats = listener.stats
        assert (stats.received, stats.delivered, stats.buffered, stats.gaps, stats.reconnects) == (
            10,
            4,
            6,
            0,
            0,
        )
        assert stats.connected
        assert 0 <= stats.latency < 5
    assert not listener.stats.connected


def test_overflow_is_reported_in_its_place(engine, Listener):
    """What does not fit into the buffer is covered by one Gap after what fits, and later events
    come."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order, "a", buffer_size=100) as listener:
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 5000) AS i")
        while listener.stats.received < 5000:
            # a buffer that overflows cannot be waited for by taking from it
            threading.Event().wait(0.01)
        first = take(listener, 101)
        assert [e.identity for e in first[:100]] == [(i,) for i in range(1, 101)]
        assert isinstance(first[100], Gap)
        assert first[100].reason == "overflow"
        assert listener.stats.gaps == 1
        run(engine, "DELETE FROM orders WHERE id = 5000")
        assert [e.identity for e in take(listener, 1)] == [(5000,)]
        assert listener.stats.buffered == 0


def test_several_threads_share_the_events(engine, Listener):
    """Each event goes to exactly one of several threads that take from one listener."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        taken = [[] for _ in range(4)]
        threads = [
            threading.Thread(
                target=lambda mine=mine: mine.extend(e.identity[0] for e in listener.events(2))
            )
            for mine in taken
        ]
        for thread in threads:
            thread.start()
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 20000) AS i")
        for thread in threads:
            thread.join()
    assert sorted(sum(taken, [])) == list(range(1, 20001))


def test_a_gap_reaches_every_handler_that_asks_for_gaps(engine, Listener):
    """A Gap concerns whatever is listened to: a handler that names it gets it, whatever entities it
    names besides."""
    _, Order, _ = order_and_item(engine)
    gaps, others = [], []
    listener = Listener(engine, Order, "bye", buffer_size=1)
    listener.on(Order, Updated, Gap)(lambda e: gaps.append(type(e)))
    listener.on(Order)(lambda e: others.append(type(e)))
    listener.on("bye")(lambda _: listener.stop())
    with listener:
        run(engine, "INSERT INTO orders VALUES (1, ''), (2, '')")
        threading.Timer(0.3, lambda: run(engine, "NOTIFY bye")).start()
        listener.run()
    assert (gaps, others) == ([Gap], [Inserted])


def test_timeout_is_kept_while_unwanted_events_pass(engine, Listener):
    """get(timeout) ends in time although events of entities that nobody asked for keep coming."""

    class Base(DeclarativeBase):
        pass

    class Person(NotifyOnChange, Base):
        __tablename__ = "people"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Engineer(Person):
        __mapper_args__ = {"polymorphic_identity": "engineer"}

    Base.metadata.create_all(engine)
    stop = threading.Event()

    def write():
        with engine.connect() as connection:
            for number in range(1000):
                if stop.wait(0.02):
                    return
                connection.execute(text(f"INSERT INTO people VALUES ({number}, 'person')"))
                connection.commit()

    with Listener(engine, Engineer) as listener:
        writer = threading.Thread(target=write)
        writer.start()
        started = time.monotonic()
        assert listener.get(timeout=0.3) is None
        assert time.monotonic() - started < 1.0
        stop.set()
        writer.join()


def test_two_iterations_take_turns(engine, Listener):
    """Two iterations of one listener share its events, and neither makes the other lose any."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        for first in (1, 3, 5):
            run(engine, f"INSERT INTO orders VALUES ({first}, ''), ({first + 1}, '')")
        one, other = listener.events(10), listener.events(10)
        taken = [next(one), next(other), next(other), next(one), next(one), next(other)]
    assert [e.identity for e in taken] == [(1,), (2,), (3,), (4,), (5,), (6,)]


def test_the_programs_own_reader_of_booleans(url, kind, caplog):
    """A program may configure how booleans are read, for example as the texts t and f: a primary is
    not taken for a standby, and drift is still found."""
    own = create_engine(url, poolclass=NullPool)
    _, Order, _ = order_and_item(own)
    run(
        own,
        "ALTER FUNCTION sa_pgnotify_orders() RENAME TO sa_pgnotify_former",
        "CREATE FUNCTION sa_pgnotify_orders() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    engine = kind.engine(url)

    @event.listens_for(engine.sync_engine if kind.is_async else engine, "connect")
    def read_as_text(dbapi, _):
        if kind.driver == "psycopg2":
            psycopg2.extensions.register_type(
                psycopg2.extensions.new_type((16,), "TEXT", lambda value, _: value), dbapi
            )
        elif kind.driver == "psycopg":
            getattr(dbapi, "driver_connection", dbapi).adapters.register_loader("bool", TextLoader)
        else:
            dbapi.run_async(
                lambda raw: raw.set_type_codec(
                    "bool", schema="pg_catalog", encoder=str, decoder=str
                )
            )

    with kind.listener(engine, Order) as listener:
        run(own, "INSERT INTO orders VALUES (1, '')")
        assert [one.identity for one in take(listener, 1)] == [(1,)]
    assert "outdated: function" in caplog.text


def test_interrupted_while_decoding_it_loses_nothing(engine, monkeypatch, Listener):
    """Ctrl-C in the middle of making events leaves them to the next call."""
    _, Order, _ = order_and_item(engine)
    with Listener(engine, Order) as listener:
        stream = listener._receiver.stream
        events = stream.events
        monkeypatch.setattr(stream, "events", lambda batch: (_ for _ in ()).throw(Interrupted))
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 10) AS i")
        with pytest.raises(Interrupted):
            listener.get(10)
        monkeypatch.setattr(stream, "events", events)
        assert [event.identity for event in take(listener, 10)] == [(i,) for i in range(1, 11)]


class Interrupted(BaseException):
    """As KeyboardInterrupt, which an event loop would not only hand on."""
