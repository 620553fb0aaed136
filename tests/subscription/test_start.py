"""Starting a listener of many tables."""

from __future__ import annotations

from typing import Any

import pytest
from receiving import take
from sqlalchemy import BigInteger, Column, MetaData, Table
from statements import run

import sa_pgnotify.subscription.late_comparison
import sa_pgnotify.subscription.link
from sa_pgnotify import Listener, NotifySpec, notify_on_change
from sa_pgnotify.subscription.late_comparison import compare_contents


def tables(engine, count: int, **options: Any) -> MetaData:
    metadata = MetaData()
    for i in range(count):
        table = Table(f"orders_{i}", metadata, Column("id", BigInteger, primary_key=True))
        notify_on_change(table, NotifySpec(**options))
    metadata.create_all(engine)
    return metadata


@pytest.mark.parametrize("durable", [False, True])
def test_a_start_asks_as_often_for_many_tables_as_for_one(engine, monkeypatch, durable):
    """The time of a start does not grow by a round trip for each table."""
    metadata = tables(engine, 5, durable=durable)
    asked: list[str] = []
    connect = sa_pgnotify.subscription.link.connect

    def recording(*given: Any) -> Any:
        connection = connect(*given)
        execute = connection.execute
        connection.execute = lambda sql: (asked.append(sql), execute(sql))[1]
        return connection

    def statements(count: int) -> int:
        asked.clear()
        at_start = []
        listener = Listener(
            engine,
            *metadata.sorted_tables[:count],
            on_state=lambda change: at_start.append(len(asked)),
        )
        listener.start()
        listener.stop()
        return at_start[0]

    monkeypatch.setattr(sa_pgnotify.subscription.link, "connect", recording)
    assert statements(5) == statements(1) > 5


@pytest.mark.parametrize("durable", [False, True])
def test_functions_are_compared_after_the_start(engine, monkeypatch, caplog, durable):
    """A start does not wait for the comparison of many functions, whose differences are reported
    all the same, and events come meanwhile."""
    metadata = tables(engine, 4, durable=durable)
    changed = "CREATE OR REPLACE FUNCTION sa_pgnotify_{0}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    run(engine, *(changed.format(f"orders_{i}") for i in (0, 2, 3)))
    compared = []

    def noted(wanted, *given):
        compared.append(wanted.table)
        return compare_contents(wanted, *given)

    module = sa_pgnotify.subscription.late_comparison
    monkeypatch.setattr(module, "SLICE_SECONDS", -1.0)  # one in each turn
    monkeypatch.setattr(module, "compare_contents", noted)
    with Listener(engine, metadata) as listener:
        run(engine, "INSERT INTO orders_1 VALUES (7)")
        assert [event.identity for event in take(listener, 1)] == [(7,)]
        listener.subscribe("other")  # a command is run between two turns
        while len(compared) < 8:
            run(engine, "NOTIFY other")
            take(listener, 1)
    outdated = [r.getMessage() for r in caplog.records if "outdated: function" in r.getMessage()]
    assert {f"sa_pgnotify_orders_{i} " in "".join(outdated) for i in (0, 2, 3)} == {True}
    assert "sa_pgnotify_orders_1 " not in "".join(outdated)
