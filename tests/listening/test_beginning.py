"""Consumers that start at the beginning of a log from which something was removed before."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import ChangeLog, Consumer, Gap, NotifyOnChange, NotifySpec, forget, prune
from sa_pgnotify.log.origin import current_position
from sa_pgnotify.log.reader import LogReader
from sa_pgnotify.log.tables import LogNames
from sa_pgnotify.sql import execute_on

SLOT = 1 << 15


def items(engine: Engine, max_size: int | None) -> Any:
    """A durable table, whose log keeps that many bytes of what was not read."""

    class Base(DeclarativeBase):
        pass

    ChangeLog(Base.metadata, max_size=max_size)

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    return Item


def next_slot(engine: Engine, slot: int) -> None:
    run(engine, f"SELECT setval('sa_pgnotify_log_id_seq', {slot * SLOT})")


def read(consumer: Consumer, count: int) -> list[Any]:
    """What its next batches bring: keys, and the reasons of gaps; less, if no more comes for
    long."""
    found: list[Any] = []
    watchdog = threading.Timer(20.0, consumer.stop)
    watchdog.daemon = True
    watchdog.start()
    for batch in consumer:
        with batch:
            found += [
                change.reason if isinstance(change, Gap) else change.identity[0] for change in batch
            ]
        if len(found) >= count:
            break
    watchdog.cancel()
    return found


def was_there(engine: Engine, item: Any) -> None:
    """A consumer was there, and is known no more."""
    with Consumer(engine, "early", item):
        pass
    assert forget(engine, item.metadata, "early") == 1


def test_what_went_before_is_not_missed(engine):
    """A consumer that begins where the log begins gets what is there, and no gap for what was
    removed before it came; one for what is removed before it has read it."""
    item = items(engine, max_size=1)
    was_there(engine, item)
    run(engine, "INSERT INTO items VALUES (1)")
    next_slot(engine, 1)
    run(engine, "INSERT INTO items VALUES (2)")
    prune(engine, item.metadata)
    with Consumer(engine, "first", item, start="beginning", heartbeat=1000) as consumer:
        assert read(consumer, 1) == [2]
    with Consumer(engine, "second", item, start="beginning", heartbeat=1000) as consumer:
        next_slot(engine, 2)
        run(engine, "INSERT INTO items VALUES (3)")
        prune(engine, item.metadata)
        assert read(consumer, 2) == ["lost_position", 3]


def test_the_unread_is_kept_for_a_consumer_at_the_beginning(engine):
    """What a new consumer has not read is not removed because its transaction is older than others
    that were removed."""
    item = items(engine, max_size=None)
    was_there(engine, item)
    with engine.connect() as slow:
        slow.execute(text("SELECT pg_current_xact_id()"))
        run(engine, "INSERT INTO items VALUES (1)")
        next_slot(engine, 1)
        slow.execute(text("INSERT INTO items VALUES (2)"))
        slow.commit()
    next_slot(engine, 2)
    run(
        engine,
        "UPDATE sa_pgnotify_log SET removed = (SELECT max(xid) FROM sa_pgnotify_log_0)",
        "TRUNCATE sa_pgnotify_log_0",
    )
    with Consumer(engine, "late", item, start="beginning") as consumer:
        run(engine, "INSERT INTO items VALUES (3)")
        prune(engine, item.metadata)
        assert read(consumer, 2) == [2, 3]


def test_a_removal_is_reported_where_nobody_consumes(engine):
    """In a log that no consumer has ever read, listeners that follow it also notice when a limit
    removes unread changes."""
    item = items(engine, max_size=1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        execute = execute_on(connection)
        reader = LogReader(LogNames(), ["public.items"], current_position(execute))
        run(engine, "INSERT INTO items VALUES (1)")
        next_slot(engine, 1)
        run(engine, "INSERT INTO items VALUES (2)")
        prune(engine, item.metadata)
        assert [row.text for row in reader.read(execute)] == ["2"]
        assert reader.lost is not None
