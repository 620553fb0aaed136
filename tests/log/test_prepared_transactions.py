"""Writers wake readers only if one sleeps, and transactions on durable tables can be prepared."""

from __future__ import annotations

import psycopg2
import pytest
import sqlalchemy as sa
from logs import sleepers
from receiving import take
from servers import Server, data_folder
from sqlalchemy import NullPool, create_engine
from statements import rows, run
from writes import ALL_EVENTS, WRITES, durable_orders, gist

from sa_pgnotify import (
    Consumer,
    Inserted,
    Listener,
)


def test_nobody_is_rung_while_nobody_sleeps(engine, url):
    """A writer sends a notification only if a reader sleeps."""
    Order = durable_orders(engine)
    channel = rows(engine, "SELECT 'sa_pgnotify_log_' || 'sa_pgnotify_log'::regclass::oid::text")[
        0
    ][0]
    watcher = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    watcher.autocommit = True
    with watcher.cursor() as cursor:
        cursor.execute(f"LISTEN {channel}")

        def rung() -> int:
            cursor.execute("SELECT 1")
            count = len(watcher.notifies)
            watcher.notifies.clear()
            return count

        run(engine, *WRITES)
        assert rung() == 0
        with Listener(engine, Order) as listener:
            sleepers(engine)
            run(engine, *WRITES)
            take(listener, 3)
            assert rung() == 1
            sleepers(engine)
        sleepers(engine, 0)
        run(engine, *WRITES)
        assert rung() == 0
    watcher.close()


@pytest.fixture(scope="module")
def two_phase():
    """An engine on a server that allows prepared transactions."""
    with data_folder() as data, Server(data) as server:
        server.hurry()
        with server.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions = 10")
        server.down("fast")
        server.up()
        yield create_engine(server.url, poolclass=NullPool)


@pytest.fixture
def two_phase_orders(two_phase):
    """The same, with a durable class whose table is there."""
    Order = durable_orders(two_phase)
    yield two_phase, Order
    Order.metadata.drop_all(two_phase)


def write_prepared(engine: sa.Engine, *statements: str) -> None:
    """Run statements in a transaction that is prepared, and not yet committed."""
    connection = engine.raw_connection()
    cursor = connection.cursor()
    for statement in (*statements, "PREPARE TRANSACTION 'two'"):
        cursor.execute(statement)
    connection.close()


def test_two_phase_commit(two_phase_orders):
    """While nobody sleeps a transaction can be prepared as before; its changes are consumed when it
    is committed, and only then."""
    engine, Order = two_phase_orders
    with Consumer(engine, "billing", Order) as consumer:
        pass
    write_prepared(engine, *WRITES)
    run(engine, "INSERT INTO orders VALUES (9)")
    with Consumer(engine, "billing", Order) as consumer:
        batches = iter(consumer)
        with next(batches) as session:
            assert session is not None
            first = rows(engine, "SELECT count(*) FROM pg_prepared_xacts")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("COMMIT PREPARED 'two'")
        batch = next(batches)
        with batch:
            assert gist(list(batch)) == ALL_EVENTS
    assert first == [(1,)]


@pytest.mark.parametrize("off", [True, False])
def test_two_phase_commit_while_a_reader_sleeps(two_phase_orders, off):
    """While a reader sleeps, PREPARE works in a session that has turned the doorbell off; the
    change is found at the heartbeat."""
    engine, Order = two_phase_orders
    with Listener(engine, Order, heartbeat=0.3) as listener:
        sleepers(engine)
        if not off:
            with pytest.raises(
                psycopg2.Error,
                match="cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY",
            ):
                write_prepared(engine, WRITES[0])
            return
        write_prepared(engine, "SET sa_pgnotify.doorbell = 'off'", WRITES[0])
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("COMMIT PREPARED 'two'")
        assert gist(take(listener, 1)) == [(Inserted, (1,))]
