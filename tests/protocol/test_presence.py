"""Nothing is lost while listeners come and go: a listener that comes sees the transactions that sent
nothing before."""

from __future__ import annotations

import itertools
import re
import threading
from math import inf
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from durables import model_of
from kinds import address
from pooler import Pooler
from sessions import HERE
from statements import run

from sa_pgnotify import Gap, Inserted, Listener, ListenUnavailable, NotifyOnChange
from sa_pgnotify.drivers.libpq import LibpqConnection
from sa_pgnotify.drivers.waiting import ThreadWaiting
from sa_pgnotify.listening.source_list import SILENT_WRITERS_SECONDS
from sa_pgnotify.protocol.channels import DEFAULT_CHANNEL, RELATION
from sa_pgnotify.protocol.presence import LOOK, PRESENT, UNTOLD, Presence, door
from sa_pgnotify.sql import literal
from sa_pgnotify.subscription import probe


def test_a_listener_is_at_all_doors_that_triggers_take(engine):
    """Whatever the names of schema and table are, the trigger, which knows these, uses a lock that
    a listener holds, which knows only the channel's name; also if the channel is given. A listener
    releases all the locks that it took."""
    names = [
        "items",
        "user",
        "Items",
        "a.b",
        ".",
        '"',
        '"."',
        'x"."y',
        '".',
        "a b",
        " ",
        "\x1b\x1e\x1f",
        "größe",
        "x" * 63,
        "sa_pgnotify_x",
    ]
    with engine.connect() as connection:
        kept = f"SELECT objid FROM pg_locks WHERE classid = {PRESENT} AND pid = pg_backend_pid()"

        def execute(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

        def keeps(channel: str, taken: str) -> bool:
            presence = Presence()
            presence.show_on(execute, [channel], 0)
            keeps = execute(f"SELECT {taken}")[0] in execute(kept)
            presence.show_on(execute, [], 0)
            return keeps

        for schema, table in itertools.product(names, names):
            relation = RELATION.format(schema="s", table="t")
            named = f"(SELECT {literal(schema)}::name AS s, {literal(table)}::name AS t) AS n"
            ((channel,),) = execute(
                f"SELECT {DEFAULT_CHANNEL.format(name='r')} FROM (SELECT {relation} AS r FROM {named}) AS r"
            )
            assert keeps(channel, door(None).replace("TG_TABLE_NAME", f"{literal(table)}::name")), (
                schema,
                table,
            )
        assert [name for name in names if not keeps(name, door(name))] == []
        assert execute(kept) == []


@pytest.fixture(name="Item")
def _item(engine):
    """A mapped class of the table ``items``."""
    return model_of(engine, durable=False)


def heard(engine: sa.Engine, channel: str) -> psycopg2.extensions.connection:
    """A session that LISTENs without sa_pgnotify."""
    raw = psycopg2.connect(
        engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    raw.autocommit = True
    raw.cursor().execute(f'LISTEN "{channel}"')
    return raw


def test_nothing_is_sent_while_nobody_listens(engine, Item):
    """A write to a table that nobody listens to sends nothing; with a listener it is sent."""
    raw = heard(engine, "public.items")
    try:
        run(engine, "INSERT INTO items (id, n) VALUES (1, 0)")
        run(engine, "SELECT pg_notify('public.items', 'end')")
        with Listener(engine, Item) as listener:
            run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
            assert listener.get(10).identity == (2,)
        raw.cursor().execute("SELECT 1")
        assert [note.payload[:4] for note in raw.notifies] == ["end", "sa1 "]
    finally:
        raw.close()


def test_a_listener_holds_few_locks_and_leaves_none(engine):
    """However many tables a listener listens to, it holds 64 locks at most; none when it has
    stopped, none of *untold* ever for long."""

    class Base(sa.orm.DeclarativeBase):
        pass

    made = [  # and kept: nothing else holds these classes
        type(
            f"T{number}",
            (NotifyOnChange, Base),
            {"__tablename__": f"t{number}", "id": sa.Column(sa.Integer, primary_key=True)},
        )
        for number in range(60)
    ]
    Base.metadata.create_all(engine)
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid IN ({PRESENT}, {UNTOLD}) AND {HERE}"
    with Listener(engine, *made) as listener, engine.connect() as connection:
        assert 0 < connection.scalar(sa.text(held)) <= 64
        listener.unsubscribe(*[c for c in made if c.__name__ != "T1"])
        assert connection.scalar(sa.text(held)) == 8
        listener.stop()
        while connection.scalar(sa.text(held)):  # the server notices in its own time
            pass


def test_a_transaction_that_wrote_before_is_waited_for(engine, Item):
    """A transaction that wrote while nobody listened and commits a moment later makes start() wait,
    and causes no gap."""
    with engine.connect() as early:
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        timer = threading.Timer(0.1, early.commit)
        timer.start()
        with Listener(engine, Item) as listener:
            timer.join()
            run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
            event = listener.get(10)
            assert (type(event), event.identity, listener.stats.gaps) == (Inserted, (2,), 0)


def test_what_a_long_transaction_did_not_send_is_a_gap(engine, Item, Listener):
    """A transaction that wrote while nobody listened, and commits long after, causes a Gap once it
    has ended and its changes can be read. Changes of others are delivered before and after."""
    with engine.connect() as early:
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        with Listener(engine, Item) as listener:
            run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
            assert listener.get(10).identity == (2,)
            early.commit()
            gap = listener.get(10)
            assert isinstance(gap, Gap)
            assert (gap.reason, listener.stats.gaps) == ("started", 1)
            run(engine, "INSERT INTO items (id, n) VALUES (3, 0)")
            assert listener.get(10).identity == (3,)


def test_a_table_subscribed_to_later_is_looked_after_as_well(engine, Item):
    """What was written to a table before subscribe(), and is committed after it, is a gap too."""
    with Listener(engine, "other") as listener, engine.connect() as early:
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        listener.subscribe(Item)
        early.rollback()
        gap = listener.get(10)
        assert (type(gap), gap.reason) == (Gap, "started")


@pytest.mark.parametrize("change", ["subscribe", "unsubscribe"])
def test_the_end_of_a_long_transaction_is_a_gap_however_it_is_noticed(engine, Item, change):
    """A transaction that has ended since the last check causes a Gap, also if its end is noticed
    while sources are subscribed to or unsubscribed from."""
    with engine.connect() as early:
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        with Listener(engine, Item, "some") as listener:
            run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
            # it has looked, and looks again some time later
            assert listener.get(10).identity == (2,)
            early.commit()
            getattr(listener, change)("some" if change == "unsubscribe" else "more")
            gap = listener.get(10)
            assert (type(gap), gap.reason) == (Gap, "started")
            assert listener.get(0) is None


def test_a_writer_during_a_lost_connection_is_a_second_gap(engine, Item, proxy, proxied):
    """After the Gap of a reconnect, a transaction that wrote meanwhile and commits later causes
    another one."""
    with Listener(proxied, Item) as listener, engine.connect() as early:
        proxy.refuse()
        proxy.cut()
        early.execute(sa.text("SELECT pg_advisory_lock(1)"))
        held = sa.text(
            f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {PRESENT} AND {HERE}"
        )
        while early.scalar(held):
            pass
        early.execute(sa.text("INSERT INTO items (id, n) VALUES (1, 0)"))
        proxy.accept()
        assert listener.get(30).reason == "reconnected"
        early.commit()
        assert listener.get(30).reason == "reconnected"
        run(engine, "INSERT INTO items (id, n) VALUES (2, 0)")
        assert listener.get(10).identity == (2,)


SHOWN = "SELECT pg_listening_channels() UNION SELECT objid::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"


def test_a_start_that_finds_a_pooler_shows_itself_to_nobody(Item, proxy, proxied, monkeypatch):
    """A pooler's session lives on: it gets no lock by which writers would think that somebody
    listens, and its LISTEN is taken back."""
    proxy.censor_notifications = True
    left: list[set[str]] = []

    def look(_: object, connection: Any, *__: object) -> None:
        left.append({name for (name,) in connection.execute(SHOWN)})

    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(ThreadWaiting, "wait", look)
    closed: list[set[str]] = []
    monkeypatch.setattr(
        LibpqConnection,
        "close",
        lambda self: closed.append({name for (name,) in self.execute(SHOWN)}),
    )
    with pytest.raises(ListenUnavailable, match="pool_mode"):
        Listener(proxied, Item).start()
    assert left[0] == {"sa_pgnotify_probe"}
    assert closed == [set(), set()]


@pytest.mark.parametrize("busy", [False, True])
def test_starts_behind_a_pooler_leave_no_listen(engine, url, busy, monkeypatch):
    """However often a start is refused behind a transaction pooler, whose sessions take turns, none
    of them LISTENs afterwards; or each to one channel at most, if the one that does is not given
    out in time: the error says so."""
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.2)
    if busy:
        monkeypatch.setattr(probe, "UNLISTEN_ATTEMPTS", 0)
    with Pooler(url) as pooler:
        pooled = sa.create_engine(pooler.url, poolclass=sa.NullPool)
        for _ in range(4):
            with pytest.raises(ListenUnavailable) as raised:
                Listener(pooled, "a").start()
            assert raised.value.reason == "pooler"
            assert bool(getattr(raised.value, "__notes__", ())) == busy
        listening = []
        with pooled.connect() as connection:
            for _ in range(6):
                listening += connection.execute(sa.text(SHOWN)).scalars()
                connection.rollback()
        assert set(listening) == ({"sa_pgnotify_probe"} if busy else set())


class Server:
    """Answers the questions of a Presence.

    :ivar open: the transactions that hold *untold*.
    """

    def __init__(self, *ids: int) -> None:
        self.open = set(ids)

    def __call__(self, sql: str) -> list[tuple[Any, ...]]:
        if "advisory_lock_shared" in sql:
            return [(1,)]
        if "pg_locks" in sql:
            return [(id_,) for id_ in self.open]
        return [
            (id_,)
            for id_ in map(int, re.findall(r"\d+", sql.partition("ARRAY[")[2].partition("]")[0]))
            if id_ not in self.open
        ]


def test_each_end_is_a_gap_since_the_transaction_was_known():
    """Gaps come in the order in which the transactions end, each since its transaction was known.
    One that ended before the listener had started causes none."""
    server, presence = Server(1, 2, 3), Presence()
    presence.show_on(server, ["public.a"], 10.0)
    presence.look(server, 10.0)
    server.open = {1, 2}
    presence.look(server, 10.5)
    presence.wait_no_longer()
    assert (presence.take_ended(), presence.is_in_doubt, presence.has_new) == (None, True, False)
    server.open = {1, 4}
    presence.show_on(server, ["public.a", "public.b"], 20.0)
    presence.look(server, 20.0)
    assert (presence.take_ended(), presence.take_ended(), presence.has_new) == (10.0, None, True)
    presence.wait_no_longer()
    server.open = {1}
    presence.look(server, 30.0)
    assert presence.take_ended() == 20.0
    server.open = set()
    presence.look(server, 40.0)
    assert (presence.take_ended(), presence.is_in_doubt, presence.due) == (10.0, False, inf)


def test_a_subscription_does_not_wait_for_a_transaction_that_is_known_to_be_long():
    """What has been waited for in vain when the listener started holds up no later subscription:
    only what is new there does."""
    server, presence = Server(1), Presence()
    presence.show_on(server, ["public.a"], 10.0)
    presence.look(server, 15.0)
    presence.wait_no_longer()
    server.open = {1, 2}
    presence.show_on(server, ["public.a", "public.b"], 20.0)
    presence.look(server, 20.0)
    assert (presence.due, presence.has_new) == (20.0 + LOOK, True)
    server.open = {1}
    presence.look(server, presence.due)
    assert (presence.due > 20.0 + SILENT_WRITERS_SECONDS, presence.has_new) == (True, False)


def test_nothing_is_lost_while_listeners_come_and_go(engine, Item):
    """Four writers, three listeners at a time that come and go: each gets all that is committed
    between its start and its stop, or a Gap."""
    committed: list[tuple[int, int]] = []
    stopping = threading.Event()
    failures: list[BaseException] = []
    ticks = iter(range(1, 1 << 30))

    def write(number: int) -> None:
        try:
            raw = psycopg2.connect(
                engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            )
            with raw, raw.cursor() as cursor:
                for count in range(1 << 20):
                    if stopping.is_set():
                        break
                    key = count * 4 + number
                    cursor.execute("INSERT INTO items (id, n) VALUES (%s, 0)", (key,))
                    committed.append((next(ticks), key))
                    raw.commit()
            raw.close()
        except BaseException as error:
            failures.append(error)
            raise

    def listen() -> int:
        own = sa.create_engine(address(engine.url))
        with Listener(own, Item) as listener:
            begun, first = next(ticks), listener.get(10)
            assert first is not None
            got = {
                event.identity[0]
                for event in [first, *(listener.get(1) for _ in range(200))]
                if isinstance(event, Inserted)
            }
            gaps, ended = listener.stats.gaps, next(ticks)
            assert got
            while (event := listener.get(0.5)) is not None and not {
                key for at, key in list(committed) if begun < at < ended
            } <= got:
                got |= {event.identity[0]} if isinstance(event, Inserted) else set()
        own.dispose()
        missing = {key for at, key in list(committed) if begun < at < ended} - got
        assert gaps or not missing
        return len(got)

    def many() -> None:
        try:
            for _ in range(6):
                listen()
        except BaseException as error:
            failures.append(error)
            raise

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    listeners = [threading.Thread(target=many) for _ in range(3)]
    for thread in (*writers, *listeners):
        thread.start()
    for thread in listeners:
        thread.join()
    stopping.set()
    for thread in writers:
        thread.join()
    assert failures == []
