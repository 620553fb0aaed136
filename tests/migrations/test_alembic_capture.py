"""Migrations of captured tables: the publication comes and goes as triggers do, and back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from capturing import capturing, changes_in_log, until_captured
from revisions import apply, autogenerate, catalog, differences, upgrade
from statements import rows, run
from test_alembic_log import durable, steps

from sa_pgnotify import Capture, NotifySpec, check

WAL = NotifySpec(durable=True, capture="wal", values="all")
TRIGGERS = NotifySpec(durable=True, values="all")


def published(engine: sa.Engine) -> list[tuple[str, ...]]:
    """What is published, and the REPLICA IDENTITY of each table of the program."""
    return rows(
        engine,
        "SELECT c.relname, c.relreplident::text, p.pubname FROM pg_class AS c LEFT JOIN pg_publication_rel AS r ON r.prrelid = c.oid"
        " LEFT JOIN pg_publication AS p ON p.oid = r.prpubid WHERE c.relname IN ('orders', 'items') ORDER BY 1",
    )


def test_there_and_back(engine):
    """The first captured table: everything is there after the upgrade, the check is clean, and the
    downgrade leaves nothing, the slot included."""
    before = catalog(engine)
    metadata = durable(spec=WAL)
    revision = upgrade(engine, metadata)
    assert steps(revision.upgrade)[-1] == "add_to_publication orders"
    assert "create_table sa_pgnotify_captures" in steps(revision.upgrade)
    assert "capture=" not in revision.upgrade
    assert steps(revision.downgrade)[0] == "remove_from_publication orders"
    assert differences(engine, metadata) == []
    assert published(engine) == [("orders", "f", "sa_pgnotify_public")]
    with capturing(engine, metadata):
        assert check(engine, metadata) == []
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        until_captured(engine)
    assert len(changes_in_log(engine, "public.orders")) == 1
    apply(engine, revision.downgrade)
    assert catalog(engine) == before
    assert rows(engine, "SELECT 1 FROM pg_publication") == []
    assert (
        rows(engine, "SELECT 1 FROM pg_replication_slots WHERE database = current_database()") == []
    )


def test_one_of_two(engine):
    """A table that is not marked any more leaves the publication, and the other one stays."""
    both, one = durable("orders", "items", spec=WAL), durable("orders", "items", spec=WAL)
    upgrade(engine, both)
    Capture(engine, both).create_slot()
    one.tables["items"].info = {}
    removed = upgrade(engine, one)
    assert steps(removed.upgrade) == ["remove_from_publication items"]
    assert published(engine) == [("items", "d", None), ("orders", "f", "sa_pgnotify_public")]
    assert differences(engine, one) == []
    apply(engine, removed.downgrade)
    assert {name for name, *_ in published(engine)} == {"items", "orders"}
    assert differences(engine, both) == []
    assert check(engine, both) == []


@pytest.mark.parametrize("first", [WAL, TRIGGERS], ids=["to triggers", "to the wal"])
def test_switching(engine, first):
    """A table changes from triggers to the write-ahead log or back, in one revision, and back by the
    downgrade; each change is in the log once."""
    second = TRIGGERS if first is WAL else WAL
    old, new = durable(spec=first), durable(spec=second)
    captured = old if first is WAL else new
    upgrade(engine, old)
    write = "INSERT INTO orders (status) VALUES ('new')"
    if first is not WAL:
        run(engine, write)
        revision = upgrade(engine, new)
    with capturing(engine, captured):
        if first is WAL:
            run(engine, write)
            revision = upgrade(engine, new)
        run(engine, write)
        until_captured(engine)
        assert "alter_notify_triggers orders" in steps(revision.upgrade)
        assert len(changes_in_log(engine, "public.orders")) == 2
    # the other way, the table of captures goes, too, and the slot is not wanted any more
    assert differences(engine, new) == []
    found = [drift.kind for drift in check(engine, new)]
    assert found == (["left over"] if first is WAL else [])


def test_altered_by_hand(engine):
    """What was altered by hand is proposed to be brought back."""
    metadata = durable(spec=WAL)
    upgrade(engine, metadata)
    for statement in (
        "ALTER TABLE orders REPLICA IDENTITY DEFAULT",
        "ALTER PUBLICATION sa_pgnotify_public DROP TABLE orders",
    ):
        run(engine, statement)
        assert steps(autogenerate(engine, metadata).upgrade) == ["alter_notify_triggers orders"]
        upgrade(engine, metadata)
        assert published(engine) == [("orders", "f", "sa_pgnotify_public")]
