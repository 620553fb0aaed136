"""What can be listened to: sources, engines and options that are refused, and subscriptions that come
and go while the listener runs."""

import threading

import pytest
from orders import order_and_item
from receiving import take
from servers import Server, data_folder
from sessions import sessions_end
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
    Inserted,
    Listener,
    ListenUnavailable,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    TriggersMissing,
)
from sa_pgnotify.diagnosis.doctor import diagnose


def test_subscribe_and_unsubscribe_while_running(engine, Listener):
    """Once subscribe() has returned nothing is missed, once unsubscribe() has returned nothing more
    comes; from any thread."""
    _, Order, Item = order_and_item(engine)
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
    Base, Order, Item = order_and_item(engine)
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
    """A listener that would never get an event does not start: its triggers are missing or
    disabled, or its table does not exist."""
    Base, Order, Item = order_and_item(engine)
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_update",
        "DROP TRIGGER sa_pgnotify_delete ON items",
    )
    with pytest.raises(
        TriggersMissing,
        match=r"items.*sa_pgnotify_update of orders is disabled.*create_all.*ENABLE TRIGGER",
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


def test_unreachable_server_is_an_error(url, Listener):
    """When there is no server, start() raises a ListenUnavailable with the driver's error as its
    cause."""
    with pytest.raises(ListenUnavailable, match="cannot connect") as caught:
        Listener(create_engine(url.set(database="no_such_database")), "a").start()
    assert caught.value.reason == "connection"
    assert "no_such_database" in str(caught.value.__cause__)


def test_mistaken_handlers_and_unsubscriptions_are_refused(engine, Listener):
    """What could never be called, or would change nothing, is refused where it is written."""
    Base, Order, _ = order_and_item(engine)
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


def test_the_channel_of_the_installed_trigger_is_listened_to(engine, caplog, Listener):
    """When the class asks for a channel that the installed trigger does not use yet, its events
    come all the same, and a warning says so."""
    order_and_item(engine)

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
    _, Order, _ = order_and_item(engine)
    table = Order.__table__.to_metadata(MetaData())
    with pytest.raises(NotifyConfigError, match="two of the sources"):
        Listener(engine, Order, table).start()


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
    """It is reported once, with the fix, and the rest of the examination goes on."""
    found = diagnose(create_engine(standby.url, poolclass=NullPool))
    (problem,) = [finding for finding in found if finding.severity == "problem"]
    assert (problem.subject, problem.fix) == ("listening", "Connect to the primary.")
    assert {"server", "queue", "triggers"} <= {finding.subject for finding in found}
