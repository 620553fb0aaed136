"""The listener in quiet times: taking events, handlers, subscriptions, stopping, its figures."""

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg2
import pytest
from psycopg.types.string import TextLoader
from receiving import received, take
from servers import Server, data_folder
from sessions import sessions, sessions_end, terminate_listener
from sqlalchemy import (
    AsyncAdaptedQueuePool,
    MetaData,
    NullPool,
    QueuePool,
    StaticPool,
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
    Listener,
    ListenUnavailable,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    PgNotifyError,
    TriggersMissing,
    Updated,
)
from sa_pgnotify.caching import MOST_REMEMBERED
from sa_pgnotify.diagnosis.doctor import diagnose
from sa_pgnotify.listening.handlers import Handlers


def models(engine, **options):
    """A base with Order and Item, installed."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(**options)
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    return Base, Order, Item


def test_events_carry_who_and_when(engine, Listener):
    """Every event says transaction, process and moment, and the changes of a transaction share
    their transaction id."""
    _, Order, _ = models(engine)
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
    """Nobody who gets an event can change it for the next one."""
    _, Order, _ = models(engine, values="all")
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
    _, Order, _ = models(engine)
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
    _, Order, Item = models(engine)
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
    _, Order, _ = models(engine)
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
    _, Order, _ = models(engine)
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


def test_subscribe_and_unsubscribe_while_running(engine, Listener):
    """Once subscribe() has returned nothing is missed, once unsubscribe() has returned nothing more
    comes; from any thread."""
    _, Order, Item = models(engine)
    with Listener(engine, Order) as listener:
        thread = threading.Thread(target=listener.subscribe, args=(Item, "extra"))
        thread.start()
        thread.join()
        run(engine, "INSERT INTO items VALUES (1)", "NOTIFY extra")
        assert [type(e) for e in take(listener, 2)] == [Inserted, Notification]
        listener.unsubscribe(Item)
        run(engine, "INSERT INTO items VALUES (2)", "NOTIFY extra")
        assert [type(e) for e in take(listener, 1)] == [Notification]
        listener.subscribe(Item)
        listener.subscribe(Item)
        run(engine, "INSERT INTO items VALUES (3)")
        assert [e.identity for e in take(listener, 1)] == [(3,)]
        listener.unsubscribe(Order, Item)
        run(engine, "INSERT INTO items VALUES (4)", "NOTIFY extra")
        assert [type(e) for e in take(listener, 1)] == [Notification]


def test_refused_subscriptions_change_nothing(engine, Listener):
    """A subscription that cannot work raises in the caller's thread, and the listener goes on as
    before."""
    Base, Order, Item = models(engine)
    run(engine, "DROP TABLE items")
    with Listener(engine, Order) as listener:
        with pytest.raises(TriggersMissing, match=r"items.*create_all") as caught:
            listener.subscribe(Item)
        assert caught.value.tables == ("items",)
        with pytest.raises(NotifyConfigError):
            listener.subscribe(42)
        run(engine, "INSERT INTO orders VALUES (1, '')")
        assert [e.identity for e in take(listener, 1)] == [(1,)]
        Base.metadata.create_all(engine)
        listener.subscribe(Item)
        run(engine, "INSERT INTO items VALUES (9)")
        assert [e.identity for e in take(listener, 1)] == [(9,)]


def test_missing_triggers_are_refused(engine, Listener):
    """A listener that would hear nothing for ever does not start: triggers missing, disabled, or
    the table not there."""
    Base, Order, Item = models(engine)
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_update",
        "DROP TRIGGER sa_pgnotify_delete ON items",
    )
    with pytest.raises(
        TriggersMissing,
        match=r"items.*create_all.*disabled: trigger sa_pgnotify_update.*ENABLE TRIGGER",
    ) as caught:
        Listener(engine, Base).start()
    assert set(caught.value.tables) == {"orders", "items"}
    Base.metadata.drop_all(engine)
    with pytest.raises(TriggersMissing, match="the table"):
        Listener(engine, Order).start()
    sessions_end(engine)


@pytest.mark.parametrize("source", [42, None, object(), int, "", "x" * 64, "a\0b"])
def test_impossible_sources_are_refused(engine, source, Listener):
    """A source that nothing can come from is refused where it is given, in words that say what is
    taken."""
    with pytest.raises(NotifyConfigError):
        Listener(engine, source)


def test_unmarked_sources_are_refused(engine, Listener):
    """A class, table or metadata without a mark would be silence, and is refused."""

    class Base(DeclarativeBase):
        pass

    class Plain(Base):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)

    for source in (Plain, Plain.__table__, Base, Base.metadata):
        with pytest.raises(NotifyConfigError, match="marked"):
            Listener(engine, source)


@pytest.mark.parametrize("options", [{"buffer_size": 0}, {"heartbeat": 0}, {"heartbeat": -1.0}])
def test_impossible_options_are_refused(engine, options, Listener):
    """Options that could not work are refused at once."""
    with pytest.raises(NotifyConfigError):
        Listener(engine, "a", **options)


def test_other_engines_are_refused():
    """An engine that cannot listen is refused with the URL that can."""
    with pytest.raises(ListenUnavailable, match=r"postgresql\+psycopg2") as caught:
        Listener(create_engine("sqlite://"), "a").start()
    assert caught.value.reason == "driver"
    with pytest.raises(NotifyConfigError, match="Engine"):
        Listener("postgresql://", "a")


def test_unreachable_server_is_told(url, Listener):
    """When there is no server, start() says so in an error of ours with the driver's as its
    cause."""
    with pytest.raises(ListenUnavailable, match="cannot connect") as caught:
        Listener(create_engine(url.set(database="no_such_database")), "a").start()
    assert caught.value.reason == "connection"
    assert "no_such_database" in str(caught.value.__cause__)


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
    _, Order, _ = models(engine)
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
    global told
    told = time.monotonic()
    listener.stop()
signal.signal(signal.SIGTERM, on_signal)
with listener:
    print("ready", flush=True)
    for event in listener:
        pass
print("took", time.monotonic() - told)
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
    with Listener(engine, "a", heartbeat=0.05) as listener:
        while listener.stats.queue_usage is None:
            assert listener.get(0.01) is None
        assert 0.0 <= listener.stats.queue_usage < 1.0


def test_stats(engine, Listener):
    """The figures say what came, what was taken, what waits, and how long it took."""
    _, Order, _ = models(engine)
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


def test_overflow_is_told_in_its_place(engine, Listener):
    """What the buffer cannot take is told by one Gap after what it could take, and later events
    come."""
    _, Order, _ = models(engine)
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
    _, Order, _ = models(engine)
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


def test_mistaken_handlers_and_unsubscriptions_are_refused(engine, Listener):
    """What could never be called, or would change nothing, is refused where it is written."""
    Base, Order, _ = models(engine)
    listener = Listener(engine, Base, "a")
    with pytest.raises(NotifyConfigError, match="brackets"):
        listener.on(lambda e: None)
    for target in (42, Base.metadata):
        with pytest.raises(NotifyConfigError, match="entity"):
            listener.on(target)
    with pytest.raises(NotifyConfigError, match="sources"):
        listener.unsubscribe(Order)
    with listener, pytest.raises(NotifyConfigError, match="sources"):
        listener.unsubscribe("b")


def test_a_gap_reaches_every_handler_that_asks_for_gaps(engine, Listener):
    """A Gap concerns whatever is listened to: a handler that names it gets it, whatever entities it
    names besides."""
    _, Order, _ = models(engine)
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


def test_the_channel_of_the_installed_trigger_is_listened_to(engine, caplog, Listener):
    """When the class asks for a channel that the installed trigger does not use yet, its events
    come all the same, and a warning says so."""
    models(engine)

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(channel="other")
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    with Listener(engine, Order) as listener:
        run(engine, "INSERT INTO orders VALUES (1, '')")
        assert [e.identity for e in take(listener, 1)] == [(1,)]
    assert "outdated" in caplog.text


def test_two_classes_of_two_metadata_on_one_table_are_refused(engine, Listener):
    """Two sources for one table would leave one of them silent: they are refused."""
    _, Order, _ = models(engine)
    table = Order.__table__.to_metadata(MetaData())
    with pytest.raises(NotifyConfigError, match="two of the sources"):
        Listener(engine, Order, table).start()


def test_two_iterations_take_turns(engine, Listener):
    """Two iterations of one listener share its events, and neither makes the other lose any."""
    _, Order, _ = models(engine)
    with Listener(engine, Order) as listener:
        for first in (1, 3, 5):
            run(engine, f"INSERT INTO orders VALUES ({first}, ''), ({first + 1}, '')")
        one, other = listener.events(10), listener.events(10)
        taken = [next(one), next(other), next(other), next(one), next(one), next(other)]
    assert [e.identity for e in taken] == [(1,), (2,), (3,), (4,), (5,), (6,)]


def named(kind, url) -> dict:
    """Arguments that make an engine's connections through a function of the program's."""
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    if kind.name == "psycopg2":
        import psycopg2

        return {"creator": lambda: psycopg2.connect(dsn, application_name="mine")}
    if kind.driver == "asyncpg":
        import asyncpg

        return {
            "async_creator": lambda: asyncpg.connect(
                dsn, server_settings={"application_name": "mine"}
            )
        }
    import psycopg

    if kind.is_async:
        return {
            "async_creator": lambda: psycopg.AsyncConnection.connect(dsn, application_name="mine")
        }
    return {"creator": lambda: psycopg.connect(dsn, application_name="mine")}


@pytest.mark.parametrize(
    "make", ["exhausted", "static", "creator", "connect_args", "do_connect", "connect"]
)
def test_the_engines_own_way_to_connect(url, kind, make):
    """The listener connects as its engine does, even when the engine's pool has nothing to give."""
    mine = (
        {"server_settings": {"application_name": "mine"}}
        if kind.driver == "asyncpg"
        else {"application_name": "mine"}
    )
    engine = kind.engine(
        url,
        **{
            "exhausted": {
                "poolclass": AsyncAdaptedQueuePool if kind.is_async else QueuePool,
                "pool_size": 1,
                "max_overflow": 0,
            },
            "static": {"poolclass": StaticPool},
            "creator": named(kind, url),
            "connect_args": {"connect_args": mine},
        }.get(make, {}),
    )
    hooks = engine.sync_engine if kind.is_async else engine
    if make == "do_connect":
        event.listen(hooks, "do_connect", lambda d, r, args, kwargs: kwargs.update(mine))
    if make == "connect":  # a hook that leaves a transaction open

        @event.listens_for(hooks, "connect")
        def name_it(raw, record):
            raw.cursor().execute("SET application_name TO 'mine'")

    other = create_engine(url, poolclass=NullPool)

    held = kind.wait(engine.connect()) if make in ("exhausted", "static") else None
    try:
        with kind.listener(engine, "a") as listener:
            with other.connect() as connection:
                names = connection.scalars(
                    text(
                        "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
                    )
                ).all()
            assert ("sa_pgnotify listener" if held else "mine") in names
            run(other, "NOTIFY a")
            assert isinstance(listener.get(10), Notification)
    finally:
        if held is not None:
            kind.wait(held.close())
        kind.wait(engine.dispose())


def test_the_programs_own_reader_of_booleans(url, kind, caplog):
    """A program may read booleans as it likes, say as the texts t and f: a primary is no standby
    for it, and drift is still seen."""
    own = create_engine(url, poolclass=NullPool)
    _, Order, _ = models(own)
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


@pytest.fixture(scope="module")
def standby():
    """A server that waits for a primary's changes, of which there are none."""
    with data_folder() as data:
        with Server(data):
            pass
        (data / "standby.signal").touch()
        with Server(data) as server:
            yield server


def test_standby_is_refused(standby, Listener):
    """On a hot standby, which cannot LISTEN, start() says so."""
    with pytest.raises(ListenUnavailable, match="primary") as caught:
        Listener(create_engine(standby.url, poolclass=NullPool), "a").start()
    assert caught.value.reason == "standby"


def test_standby_is_one_problem_for_the_doctor(standby):
    """It is told once, with what to do, and ends the examination of nothing else."""
    found = diagnose(create_engine(standby.url, poolclass=NullPool))
    (problem,) = [finding for finding in found if finding.severity == "problem"]
    assert (problem.subject, problem.fix) == ("listening", "Connect to the primary.")
    assert {"server", "queue", "triggers"} <= {finding.subject for finding in found}


def test_interrupted_while_decoding_it_loses_nothing(engine, monkeypatch, Listener):
    """Ctrl-C in the middle of making events leaves them to the next call."""
    _, Order, _ = models(engine)
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


def test_after_a_start_that_failed(engine, Listener):
    """Who takes events after start() has failed is told why there are none, and does not wait for
    ever."""
    _, Order, _ = models(engine)
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
