"""A standby takes over: what was captured goes on, or readers get a Gap, and never silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from capturing import capturing
from durables import model_of
from proxy import Proxy
from servers import Server, data_folder
from statements import rows, run
from waiting import wait_until

from sa_pgnotify import Consumer, Gap, Inserted

SLOTS = "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT temporary"


def follow(primary: Server, standby: Server) -> None:
    """Let the primary's slots follow a failover, and wait until the one of the capture does, with all
    that it has captured."""
    settings = {
        "hot_standby_feedback": "on",
        "primary_slot_name": "standby",
        "primary_conninfo": f"host={primary.url.query['host']} user=postgres dbname=postgres",
        "sync_replication_slots": "on",
    }
    with standby.engine.connect() as connection:
        for name, value in settings.items():
            connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")

    def is_there() -> bool:
        run(
            primary.engine,
            "SELECT pg_log_standby_snapshot()",
            "INSERT INTO items SELECT max(id) + 1, 0 FROM items",
        )
        return rows(standby.engine, SLOTS) != []

    run(primary.engine, "INSERT INTO items VALUES (100, 0)")
    wait_until(is_there)


def until_caught_up(primary: Server, standby: Server) -> None:
    """Wait until the standby has what the primary has, with the slots."""
    ((now,),) = rows(primary.engine, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    caught_up = f"SELECT 1 WHERE pg_last_wal_replay_lsn() - '0/0' >= {now}"
    wait_until(lambda: rows(standby.engine, caught_up))
    if rows(standby.engine, SLOTS):
        wait_until(lambda: rows(standby.engine, SLOTS) == rows(primary.engine, SLOTS))


def taken(consumer: Any, last: int) -> Iterator[Any]:
    """What a consumer gets up to the insertion of ``last``."""
    for batch in consumer:
        with batch:
            yield from batch
            if any(isinstance(c, Inserted) and c.identity == (last,) for c in batch):
                return


@pytest.mark.parametrize("follows", [False, True])
def test_failover(follows):
    """The slot follows to the standby, if that is set up for it, and nothing is missing. If it does not,
    what was not captured is missing, and readers get a Gap."""
    with data_folder() as data, data_folder() as other, Server(data) as primary:
        ((version,),) = rows(primary.engine, "SELECT current_setting('server_version_num')::int")
        if follows and version < 170000:
            pytest.skip("PostgreSQL has failover slots since 17")
        direct = sa.create_engine(primary.url, poolclass=sa.NullPool)
        Item = model_of(direct, capture="wal")
        run(direct, "SELECT pg_create_physical_replication_slot('standby')")
        with Proxy(primary.url) as proxy, primary.standby(other) as standby:
            engine = sa.create_engine(proxy.url, poolclass=sa.NullPool)
            with (
                capturing(engine, Item.metadata),
                Consumer(engine, "c", Item, heartbeat=1.0) as consumer,
            ):
                run(direct, "INSERT INTO items VALUES (1, 0)")
                assert [c.identity for c in taken(consumer, 1)] == [(1,)]
                if follows:
                    follow(primary, standby)
                run(direct, "INSERT INTO items VALUES (-1, 0)")
                found = list(taken(consumer, -1))
                until_caught_up(primary, standby)
                primary.down("immediate")
                proxy.refuse()
                standby.promote()
                run(standby.engine, "INSERT INTO items VALUES (-2, 0)")
                proxy.lead_to(standby.url)
                proxy.accept()
                proxy.cut()
                until_slot = "SELECT 1 FROM pg_replication_slots WHERE active"
                wait_until(lambda: rows(standby.engine, until_slot))
                run(standby.engine, "INSERT INTO items VALUES (-3, 0)")
                found += taken(consumer, -3)
    gaps = [item.reason for item in found if isinstance(item, Gap)]
    identities = [item.identity[0] for item in found if isinstance(item, Inserted)]
    assert len(identities) == len(set(identities))
    if follows:
        assert gaps == []
        assert identities[-3:] == [-1, -2, -3]
    else:
        assert set(gaps) == {"lost_position"}
        assert identities == [-1, -3]
