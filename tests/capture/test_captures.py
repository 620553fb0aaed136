"""The life of a capture: one works, what is killed goes on, and a lost slot is reported."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from capturing import capturing, changes_in_log, until_captured
from durable_tables import objects
from durables import model_of
from kinds import driver_url
from receiving import take
from servers import Server, data_folder
from statements import rows, run
from waiting import wait_until

from sa_pgnotify import (
    Capture,
    Consumer,
    Gap,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifySpec,
    PgNotifyError,
    TriggersMissing,
    check,
    notify_on_change,
)
from sa_pgnotify.testing import CapturedChanges

WAL: dict[str, Any] = {"capture": "wal"}


def numbers_in_log(engine: sa.Engine) -> list[int]:
    return [int(row.split("\x1f")[0]) for *_, row in changes_in_log(engine, "public.items")]


def slots(engine: sa.Engine) -> list[Any]:
    return rows(
        engine,
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()",
    )


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_events(engine, url, driver):
    """A Listener and a Consumer get what a capture of either driver reads, each change once."""
    Item = model_of(engine, **WAL)
    reader = sa.create_engine(driver_url(url, driver))
    with (
        capturing(engine, Item.metadata, reader),
        Listener(engine, Item) as listener,
        Consumer(engine, "c", Item) as consumer,
    ):
        run(
            engine, "INSERT INTO items VALUES (1, 1), (2, 2)", "UPDATE items SET n = 3 WHERE id = 1"
        )
        assert [event.identity[0] for event in take(listener, 3)] == [1, 2, 1]
        for batch in consumer:
            with batch:
                assert [change.identity[0] for change in batch] == [1, 2, 1]
            break
    reader.dispose()


def test_nothing_is_kept_before_a_capture(engine):
    """Until the slot exists, a Listener and a Consumer refuse to start, and check() says why."""
    Item = model_of(engine, **WAL)
    with pytest.raises(TriggersMissing, match="No capture has run yet"):
        Listener(engine, Item).start()
    with pytest.raises(TriggersMissing, match="sa-pgnotify capture"):
        Consumer(engine, "c", Item).start()
    assert "replication slot" in check(engine, Item.metadata)[0].object
    Capture(engine, Item.metadata).create_slot()
    assert check(engine, Item.metadata) == []
    with Listener(engine, Item):
        pass


def test_create_all_again_changes_nothing(engine):
    """create_all() takes no lock if all is in place."""
    Item = model_of(engine, **WAL)
    with engine.begin() as blocker:
        blocker.exec_driver_sql("LOCK TABLE items IN ACCESS SHARE MODE")
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            Item.metadata.create_all(connection)


def test_drop_all_leaves_nothing(engine):
    """Neither publication nor slot nor function is left, and the slot cannot fill the disk."""
    Item = model_of(engine, **WAL)
    with capturing(engine, Item.metadata):
        run(engine, "INSERT INTO items VALUES (1, 1)")
        until_captured(engine)
    assert slots(engine) != []
    Item.metadata.drop_all(engine)
    assert slots(engine) == []
    assert rows(engine, "SELECT 1 FROM pg_publication") == []
    assert objects(engine) == set()


def test_one_works_and_others_stand_by(engine):
    """Of three captures one works; each takes over from the one that was stopped."""
    Item = model_of(engine, **WAL)
    captures = [Capture(engine, Item.metadata) for _ in range(3)]
    captures[0].create_slot()
    threads = [threading.Thread(target=capture.run) for capture in captures]
    for thread in threads:
        thread.start()
    for number, (capture, thread) in enumerate(zip(captures, threads)):
        run(engine, f"INSERT INTO items VALUES ({number}, 0)")
        until_captured(engine)
        capture.stop()
        thread.join()
    assert numbers_in_log(engine) == [0, 1, 2]


def test_in_a_thread(engine, caplog):
    """Two programs capture in a thread each: the second one takes over when the block of the first one
    ends. A failure is logged at once and raised when the block ends, unless that fails itself."""
    Item = model_of(engine, **WAL)
    with Capture(engine, Item.metadata) as second:
        with Capture(engine, Item.metadata):
            run(engine, "INSERT INTO items VALUES (1, 0)")
            until_captured(engine)
        with pytest.raises(NotifyConfigError, match="it runs already"), second:
            pass
        with Capture(engine, Item.metadata) as third:
            second.stop()
            run(engine, "INSERT INTO items VALUES (2, 0)")
            until_captured(engine)
    with third, Listener(engine, Item) as listener:  # once more
        run(engine, "INSERT INTO items VALUES (3, 0)")
        assert take(listener, 1)[0].identity == (3,)
    assert numbers_in_log(engine) == [1, 2, 3]

    def break_it() -> None:
        caplog.clear()
        run(engine, "CREATE TABLE strange (id int)")
        run(engine, "ALTER PUBLICATION sa_pgnotify_public ADD TABLE strange")
        run(engine, "INSERT INTO strange VALUES (1)")
        wait_until(lambda: "the capture has ended" in caplog.text)

    with pytest.raises(NotifyConfigError, match="strange.*would be lost"), third:
        break_it()
    with pytest.raises(NotifyConfigError, match="strange"), third:
        raise AssertionError("it was refused before")
    run(engine, "ALTER PUBLICATION sa_pgnotify_public DROP TABLE strange", "DROP TABLE strange")
    with pytest.raises(KeyError), third:
        break_it()
        raise KeyError


def test_sessions_are_ended(engine):
    """A capture whose sessions are ended anywhere loses and doubles nothing, and keeps the order of
    the commits."""
    Item = model_of(engine, **WAL)
    count = 60
    with capturing(engine, Item.metadata):
        for number in range(count):
            run(engine, f"INSERT INTO items VALUES ({number}, 0)")
            if number % 5 == 0:
                run(
                    engine,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
                )
        until_captured(engine)
    assert numbers_in_log(engine) == list(range(count))


def test_what_is_not_confirmed_comes_once(engine):
    """A capture that ended between its commit and the confirmation of the slot does not append the
    changes again."""
    Item = model_of(engine, **WAL)
    with capturing(engine, Item.metadata):
        pass
    ((slot,),) = slots(engine)
    run(engine, "INSERT INTO items VALUES (1, 0)")
    copy = f"{slot}_copy"
    run(engine, f"SELECT pg_copy_logical_replication_slot('{slot}', '{copy}')")
    with capturing(engine, Item.metadata):
        until_captured(engine)
    # the slot as it was before it was confirmed
    run(engine, f"SELECT pg_drop_replication_slot('{slot}')")
    run(engine, f"SELECT pg_copy_logical_replication_slot('{copy}', '{slot}')")
    run(engine, "INSERT INTO items VALUES (2, 0)")
    with capturing(engine, Item.metadata):
        until_captured(engine)
    assert numbers_in_log(engine) == [1, 2]


@pytest.mark.parametrize("how", ["dropped", "made anew", "advanced", "publication"])
def test_a_lost_slot_is_a_gap(engine, how):
    """If the slot was dropped, made anew or moved on by hand, or the publication was made anew,
    changes are missing: readers that run get a Gap, and those that do not run get it later."""
    Item = model_of(engine, **WAL)
    with capturing(engine, Item.metadata):
        with Consumer(engine, "c", Item):
            pass
        run(engine, "INSERT INTO items VALUES (1, 0)")
        until_captured(engine)
    ((slot,),) = slots(engine)
    run(engine, "INSERT INTO items VALUES (2, 0)")
    if how == "advanced":
        run(engine, f"SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")
    elif how == "publication":
        Item.metadata.tables["items"]
        run(engine, "DROP PUBLICATION sa_pgnotify_public")
        Item.metadata.create_all(engine)
    else:
        run(engine, f"SELECT pg_drop_replication_slot('{slot}')")
        if how == "made anew":
            run(engine, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    with capturing(engine, Item.metadata), Listener(engine, Item) as listener:
        run(engine, "INSERT INTO items VALUES (3, 0)")
        until_captured(engine)
        found: list[Any] = []
        with Consumer(engine, "c", Item) as consumer:
            for batch in consumer:
                with batch:
                    found += batch
                if any(isinstance(item, Inserted) and item.identity == (3,) for item in found):
                    break
        assert {event.identity for event in take(listener, 1) if isinstance(event, Inserted)} <= {
            (3,)
        }
    assert [type(item) for item in found if not isinstance(item, Gap)] == [Inserted, Inserted]
    assert {item.reason for item in found if isinstance(item, Gap)} == {"lost_position"}


def test_a_slot_that_is_dropped_while_it_is_read(engine):
    """The running capture makes the slot anew, and readers get a Gap."""
    Item = model_of(engine, **WAL)
    with capturing(engine, Item.metadata), Listener(engine, Item, heartbeat=0.2) as listener:
        end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()"
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database() AND NOT active"
        while slots(engine):  # the capture may have come back in between
            run(engine, end, drop)
        run(engine, "INSERT INTO items VALUES (1, 0)")
        until_captured(engine)
        run(engine, "INSERT INTO items VALUES (2, 0)")
        seen = []
        while (2,) not in [getattr(event, "identity", None) for event in seen]:
            seen += take(listener, 1)
    assert any(isinstance(event, Gap) and event.reason == "lost_position" for event in seen)


def test_every_table_of_the_publication_must_be_known(engine):
    """Two programs may share a log; a capture that does not know the tables of the other one would
    lose their changes, and refuses."""
    Item = model_of(engine, **WAL)
    other = sa.MetaData()
    table = sa.Table("others", other, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True, capture="wal"))
    other.create_all(engine)
    with pytest.raises(NotifyConfigError, match="others.*would be lost"):
        Capture(engine, Item.metadata).run()
    with capturing(engine, [Item.metadata, other]):
        run(engine, "INSERT INTO items VALUES (1, 0)", "INSERT INTO others VALUES (1)")
        until_captured(engine)
    assert len(changes_in_log(engine, "public.others")) == 1


def test_from_triggers_to_the_wal_and_back(engine):
    """A table that changes from one way to the other, in a transaction, loses and doubles nothing."""

    def model(**options: Any) -> Any:
        return model_of(engine, **options)

    Item = model(**WAL)
    with capturing(engine, Item.metadata):
        run(engine, "INSERT INTO items VALUES (1, 0)")
        Triggered = model()
        (idle,) = check(engine, Triggered.metadata)
        assert (idle.kind, "replication slot" in idle.object) == ("left over", True)
        run(engine, "INSERT INTO items VALUES (2, 0)")
        until_captured(engine)
        assert sorted(numbers_in_log(engine)) == [1, 2]
        model(**WAL)
        run(engine, "INSERT INTO items VALUES (3, 0)")
        until_captured(engine)
    assert sorted(numbers_in_log(engine)) == [1, 2, 3]
    assert check(engine, Item.metadata) == []


def test_drift(engine):
    """check() finds what was altered by hand, and create_all() brings it back."""
    Item = model_of(engine, **WAL)
    Capture(engine, Item.metadata).create_slot()
    for statement, what in (
        ("ALTER PUBLICATION sa_pgnotify_public DROP TABLE items", "the publication"),
        ("ALTER TABLE items REPLICA IDENTITY DEFAULT", "REPLICA IDENTITY"),
        ("DROP FUNCTION sa_pgnotify_items()", "function"),
    ):
        run(engine, statement)
        assert [what in drift.object for drift in check(engine, Item.metadata)] == [True]
        Item.metadata.create_all(engine)
        assert check(engine, Item.metadata) == []


class TestRefused:
    """What cannot be captured is refused, with the way out."""

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"capture": "wal"}, "durable is False"),
            ({"capture": "WAL", "durable": True}, 'Write "triggers" or "wal"'),
            ({"capture": "wal", "durable": True, "for_each": "row"}, "Leave out for_each='row'"),
            ({"capture": "wal", "durable": True, "when": lambda old, new: new.a == 1}, "Filter"),
        ],
    )
    def test_specs(self, options, says):
        """A declaration that cannot work."""
        with pytest.raises(NotifyConfigError, match=says):
            NotifySpec(**options)

    def test_no_table(self, engine):
        """A MetaData without captured tables."""
        with pytest.raises(NotifyConfigError, match="no table with capture"):
            Capture(engine, model_of(engine).metadata)

    def test_no_publication(self, engine):
        """A database without the publication."""
        Item = model_of(engine, **WAL)
        run(engine, "DROP PUBLICATION sa_pgnotify_public")
        with pytest.raises(PgNotifyError, match="metadata.create_all"):
            Capture(engine, Item.metadata).run()

    def test_generated_columns(self, engine):
        """A generated column that the write-ahead log does not have."""
        metadata = sa.MetaData()
        table = sa.Table(
            "t",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("n", sa.Integer, sa.Computed("id + 1", persisted=True)),
        )
        notify_on_change(table, NotifySpec(durable=True, capture="wal", values="all"))
        ((version,),) = rows(engine, "SELECT current_setting('server_version_num')::int")
        if version >= 180000:
            metadata.create_all(engine)
            with capturing(engine, metadata):
                run(engine, "INSERT INTO t VALUES (1)", "UPDATE t SET id = 2")
                until_captured(engine)
            assert [c[-1] for c in changes_in_log(engine, "public.t")] == [
                "1\x1f2",
                "3\x1f2\x1f3\x1f1\x1f2",
            ]
            return
        with pytest.raises(sa.exc.DBAPIError, match="has no values of the generated columns"):
            metadata.create_all(engine)

    def test_partitions_without_a_key(self, engine):
        """A partitioned table without a primary key in the database, where UPDATE would fail in a new
        partition."""
        metadata = sa.MetaData()
        table = sa.Table(
            "t",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            postgresql_partition_by="RANGE (id)",
        )
        run(engine, "CREATE TABLE t (id int NOT NULL) PARTITION BY RANGE (id)")
        notify_on_change(table, NotifySpec(durable=True, capture="wal"))
        with pytest.raises(sa.exc.DBAPIError, match="has no primary key in the database"):
            metadata.create_all(engine)


def test_transactions_are_those_of_the_writers(engine):
    """A capture appends many transactions in one of its own; a consumer gets them one by one, with
    their ids, in whole unless one is longer than a batch."""
    Item = model_of(engine, **WAL)
    Capture(engine, Item.metadata).create_slot()
    with Consumer(engine, "c", Item, batch_size=4) as consumer:
        ids = []
        for number in range(6):
            with engine.begin() as connection:
                ids.append(connection.scalar(sa.text("SELECT pg_current_xact_id()::text::bigint")))
                connection.exec_driver_sql(f"INSERT INTO items VALUES ({number}, 0)")
                connection.exec_driver_sql(f"UPDATE items SET n = 1 WHERE id = {number}")
                if number == 2:
                    connection.exec_driver_sql(
                        "INSERT INTO items VALUES (100, 0), (101, 0), (102, 0)"
                    )
        with capturing(engine, Item.metadata):
            found: list[Any] = []
            for batch in consumer:
                with batch:
                    found += batch.transactions()
                if found and found[-1].transaction_id == ids[-1]:
                    break
    sizes = [(part.transaction_id, len(part.changes)) for part in found]
    assert [size for size in sizes if size[0] != ids[2]] == [
        (xid, 2) for xid in ids if xid != ids[2]
    ]
    assert sum(count for xid, count in sizes if xid == ids[2]) == 5
    assert all(part.begins and part.ends for part in found if part.transaction_id != ids[2])


def test_ends_of_transactions(engine):
    """A consumer knows where a writer's transaction begins and ends, also where one is longer than a
    batch, and where a page of the log ends, though the log has all in one transaction."""
    Item = model_of(engine, **WAL)
    Capture(engine, Item.metadata).create_slot()
    with Consumer(engine, "c", Item, batch_size=7) as consumer:
        run(engine, "INSERT INTO items SELECT i, 0 FROM generate_series(-24, -5) AS i")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(
                "INSERT INTO items SELECT i, 0 FROM generate_series(-4, 0) AS i"
            )
            loop = "FOR i IN 1 .. 1100 LOOP INSERT INTO items VALUES (i, 0); COMMIT; END LOOP"
            connection.exec_driver_sql(f"DO $$ BEGIN {loop}; END $$")
        parts: list[Any] = []
        with capturing(engine, Item.metadata):
            until_captured(engine)
            for batch in consumer:
                with batch:
                    parts += batch.transactions()
                if parts[-1].changes[-1].identity == (1100,):
                    break
    edges = [(len(part.changes), part.begins, part.ends) for part in parts]
    assert edges[:3] == [(7, True, False), (7, False, False), (6, False, True)]
    assert edges[3] == (5, True, True)
    assert edges[4:] == [(1, True, True)] * 1100


def test_captured_changes_in_tests(engine):
    """CapturedChanges waits for the capture, and within a transaction that is rolled back it needs
    none."""
    Item = model_of(engine, **WAL)
    with capturing(engine, Item.metadata):
        with CapturedChanges(engine, Item) as changes:
            run(engine, "INSERT INTO items VALUES (1, 1)")
            assert [event.identity for event in changes.so_far()] == [(1,)]
        with engine.connect() as connection:
            connection.begin()
            with CapturedChanges(connection, Item) as changes:
                connection.exec_driver_sql("UPDATE items SET n = 2")
                assert [event.changed for event in changes.so_far()] == [{"n"}]
            connection.rollback()


def test_a_server_without_logical_wal(tmp_path):
    """create_all() says what the server lacks, and changes nothing."""
    with data_folder() as data, Server(data) as server:
        server.down("fast")
        server.up("-c wal_level=replica")
        engine = sa.create_engine(server.url, poolclass=sa.NullPool)
        with pytest.raises(sa.exc.DBAPIError, match="needs wal_level = logical"):
            model_of(engine, **WAL)
        assert objects(engine) == set()


def test_a_table_without_a_key_can_be_written_to(engine):
    """PostgreSQL refuses UPDATE and DELETE of a published table without an identity; a table whose
    key only the model knows has one, even if only its insertions are published."""
    run(engine, "CREATE TABLE keyless (id int)")
    metadata = sa.MetaData()
    table = sa.Table("keyless", metadata, sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True, capture="wal", operations=("insert",)))
    metadata.create_all(engine)
    run(
        engine, "INSERT INTO keyless VALUES (1)", "UPDATE keyless SET id = 2", "DELETE FROM keyless"
    )


def test_numbers_that_are_taken(engine):
    """Rows of the log that have the next numbers, as after a restore without its sequence, are left as
    they are, and the changes come behind them; any text can be a value."""
    Item = model_of(engine, **WAL)
    run(
        engine,
        "CREATE TABLE words (word text PRIMARY KEY)",
        "INSERT INTO sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) SELECT i, 3, 1, 'x', 'x', 'x' FROM generate_series(1, 40) AS i",
    )
    table = sa.Table("words", Item.metadata, sa.Column("word", sa.Text, primary_key=True))
    notify_on_change(table, NotifySpec(durable=True, values="all", **WAL))
    Item.metadata.create_all(engine)
    words = ["", "\x1b\x1b0;", "\x1b", "a\x1eb\x1f", "\\", "{1,2}", "'\n"]
    with capturing(engine, Item.metadata), Listener(engine, table) as listener:
        for word in words:
            with engine.begin() as connection:
                connection.execute(table.insert(), {"word": word})
        assert [event.new["word"] for event in take(listener, len(words))] == words
    assert rows(engine, "SELECT min(id) > 40 FROM sa_pgnotify_log_0 WHERE xid > 3") == [(True,)]
