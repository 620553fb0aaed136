"""Writers of durable tables never wait for another session, whatever is done to the change log
meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from logs import SLOTS, received_from_log
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import rows, run

from sa_pgnotify import NotifyOnChange, NotifySpec


@pytest.fixture(name="Order")
def _order(engine: sa.Engine) -> Any:
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all", durable=True)
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class Invoice(NotifyOnChange, Base):
        __tablename__ = "invoices"
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    return Order


def lost(engine: sa.Engine) -> int:
    """How many changes the triggers counted as not written."""
    ((value, called),) = rows(engine, "SELECT last_value, is_called FROM sa_pgnotify_log_lost_seq")
    return value if called else 0


def identities(engine: sa.Engine) -> list[str]:
    """What the log holds of orders, in the order of its numbers, with whether it is in the slot of
    its number."""
    slots = " UNION ALL ".join(f"SELECT * FROM {slot}" for slot in SLOTS)
    return [
        row
        for (row,) in rows(
            engine,
            f"SELECT rows FROM ({slots}) AS log WHERE relation = 'public.orders' ORDER BY id",
        )
    ]


def test_serializable_writers_of_different_tables(engine, Order):
    """Two SERIALIZABLE transactions that write to different durable tables at once never fail
    because of the log: they read none of it."""
    failed = []

    def write(table: str) -> None:
        serializable = engine.execution_options(isolation_level="SERIALIZABLE")
        with serializable.connect() as connection:
            for number in range(60):
                try:
                    with connection.begin():
                        connection.exec_driver_sql(
                            f"INSERT INTO {table} (id) VALUES ({number + 1})"
                        )
                        barrier.wait(20)
                        connection.exec_driver_sql(
                            f"UPDATE {table} SET id = id + 1000 WHERE id = {number + 1}"
                        )
                except sa.exc.DBAPIError as error:
                    failed.append(str(error.orig))

    barrier = threading.Barrier(2)
    writers = [threading.Thread(target=write, args=(table,)) for table in ("orders", "invoices")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert len(identities(engine)) == 120


LOCKS = {
    "index being made": "CREATE INDEX more ON {slot} (pid)",
    "whole table": "LOCK TABLE {slot} IN ACCESS EXCLUSIVE MODE",
    "altered": "ALTER TABLE {slot} SET (fillfactor = 90); LOCK TABLE {slot} IN SHARE ROW EXCLUSIVE MODE",
}


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("size", [1, 30_000], ids=["one row", "pieces"])
def test_a_slot_that_is_locked(engine, Order, lock, size):
    """While a transaction locks the slot that is being written to, writers do not wait, even with a
    lock_timeout, and another slot takes their changes."""
    with engine.connect() as other:
        other.exec_driver_sql(LOCKS[lock].format(slot=SLOTS[0]))
        run(
            engine,
            "SET LOCAL lock_timeout = '50ms'",
            f"INSERT INTO orders SELECT generate_series(1, {size})",
        )
        assert rows(engine, "SELECT count(*) FROM orders") == [(size,)]
        other.rollback()
    assert sum(row.count("\x1e") + 1 for row in identities(engine)) == size
    assert lost(engine) == 0


def test_all_slots_locked(engine, Order):
    """Where no slot can be written without waiting, the write goes on, and a sequence counts what
    was not logged, also if that is rolled back; what can be logged later is."""
    with engine.connect() as other:
        other.exec_driver_sql(f"LOCK TABLE {', '.join(SLOTS)} IN SHARE MODE")
        run(
            engine,
            "SET LOCAL lock_timeout = '50ms'",
            "INSERT INTO orders VALUES (1)",
            "INSERT INTO orders VALUES (2)",
        )
        assert lost(engine) == 2
        other.rollback()
    run(engine, "INSERT INTO orders VALUES (3)")
    assert identities(engine) == ["3"]
    assert lost(engine) == 2


def test_a_sequence_behind_its_rows_is_passed_without_a_lock(engine, Order):
    """A writer that meets numbers in use takes others, and holds nothing up to its end that another
    writer would wait for."""
    run(
        engine,
        "INSERT INTO orders SELECT generate_series(1, 5)",
        *(f"UPDATE orders SET id = id + {10 * i}" for i in range(1, 40)),
    )
    before = len(identities(engine))
    run(engine, "ALTER SEQUENCE sa_pgnotify_log_id_seq RESTART")
    with engine.connect() as first:
        first.exec_driver_sql("INSERT INTO orders VALUES (-1)")
        run(engine, "SET LOCAL lock_timeout = '50ms'", "INSERT INTO orders VALUES (-2)")
        first.commit()
    assert identities(engine)[before:] in (["-1", "-2"], ["-2", "-1"])
    assert lost(engine) == 0


def test_events_of_other_slots_are_read(engine, Order):
    """Readers find what went into another slot than that of its number, in order."""
    with engine.connect() as other:
        other.exec_driver_sql(f"LOCK TABLE {SLOTS[0]} IN SHARE MODE")
        run(engine, "INSERT INTO orders VALUES (1)")
        other.rollback()
    events = received_from_log(
        engine, Order, "UPDATE orders SET id = 2", "UPDATE orders SET id = 3", "DELETE FROM orders"
    )
    assert [event.identity for event in events] == [(2,), (3,), (3,)]
