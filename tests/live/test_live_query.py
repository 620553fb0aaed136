"""LiveQuery: its steps for mapped classes, how steps merge, and how it starts, resumes and ends."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from live_shop import Status, kinds_and_keys, models, step
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import aliased, with_polymorphic
from statements import rows, run
from waiting import wait_until

from sa_pgnotify import Leave, LiveQuery, PgNotifyError, Position, Update


@pytest.fixture(params=[True, False], ids=["durable", "ephemeral"])
def shop(engine, request):
    """The marked classes, with two customers and three orders."""
    base = models(durable=request.param)
    base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO customers VALUES (1, 'ann'), (2, 'bob')",
        "INSERT INTO orders VALUES (1, 1, 'OPEN', 5), (2, 1, 'PAID', 6), (3, 2, 'OPEN', 7)",
        "INSERT INTO tags VALUES ('new', 'red'), ('old', 'blue')",
        "INSERT INTO taggings VALUES (1, 'new'), (3, 'new')",
        "INSERT INTO documents VALUES (1, 'document'), (2, 'invoice')",
        "INSERT INTO invoices VALUES (2, 100)",
    )
    return base


def test_entities_with_columns_of_others(engine, shop):
    """Rows are those of session.execute(): detached objects by the names of their classes."""
    Order, Customer = shop.Order, shop.Customer
    statement = select(Order, Customer.name).join(Order.customer).where(Order.status == Status.OPEN)
    with LiveQuery(engine, statement) as live:
        first = step(live)
        assert first.is_whole
        assert kinds_and_keys(first) == [("enter", ((1,), (1,))), ("enter", ((3,), (2,)))]
        row = first.events[0].row
        assert (row.Order.id, row.Order.total, row.name) == (1, Decimal(5), "ann")
        assert row._fields == ("Order", "name")
        run(engine, "UPDATE customers SET name = 'anna' WHERE id = 1")
        (event,) = step(live)
        assert isinstance(event, Update)
        assert (event.old.name, event.row.name, event.row.Order.id) == ("ann", "anna", 1)
        run(engine, "UPDATE orders SET status = 'PAID' WHERE id = 3")
        (event,) = step(live)
        assert isinstance(event, Leave)
        assert event.old.Order.status is Status.OPEN


def test_a_secondary_table(engine, shop):
    """The association table of a relationship is followed without being named in the statement."""
    statement = select(shop.Order.id).join(shop.Order.tags).where(shop.Tag.color == "red")
    with LiveQuery(engine, statement) as live:
        assert len(step(live)) == 2
        run(engine, "DELETE FROM taggings WHERE order_id = 1")
        assert [event.old.id for event in step(live)] == [1]
        run(
            engine,
            "UPDATE tags SET color = 'red' WHERE code = 'old'",
            "INSERT INTO taggings VALUES (2, 'old')",
        )
        rows_of = {event.row.id for event in step(live)}
        while rows_of != {2}:
            rows_of |= {event.row.id for event in step(live)}


def test_classes_that_share_an_inheritance(engine, shop):
    """A class with joined-table inheritance is followed in both of its tables, also if only its
    base class is selected."""
    both = with_polymorphic(shop.Document, [shop.Invoice])
    with LiveQuery(engine, select(shop.Invoice)) as one, LiveQuery(engine, select(both)) as every:
        assert [event.row.Invoice.amount for event in step(one)] == [100]
        assert {type(event.row[0]).__name__ for event in step(every)} == {"Document", "Invoice"}
        run(engine, "UPDATE invoices SET amount = 200")
        assert [event.row.Invoice.amount for event in step(one)] == [200]
        assert [event.row[0].amount for event in step(every)] == [200]


def test_aliases_and_types_of_the_program(engine, shop):
    """A table may occur twice, and keys may have a TypeDecorator."""
    one, other = aliased(shop.Order), aliased(shop.Order)
    pairs = select(one.id, other.id).where(one.customer_id == other.customer_id, one.id < other.id)
    with LiveQuery(engine, pairs) as live, LiveQuery(engine, select(shop.Tag)) as tags:
        assert kinds_and_keys(step(live)) == [("enter", ((1,), (2,)))]
        assert [key for _, key in kinds_and_keys(step(tags))] == [("NEW",), ("OLD",)]
        run(
            engine,
            "UPDATE orders SET customer_id = 2 WHERE id = 2",
            "UPDATE tags SET color = 'pink'",
        )
        events = kinds_and_keys(step(live))
        while len(events) < 2:
            events += kinds_and_keys(step(live))
        assert events == [("leave", ((1,), (2,))), ("enter", ((2,), (3,)))]
        assert [event.row.Tag.color for event in step(tags)] == ["pink", "pink"]


def test_groups_and_totals(engine, shop):
    """The key of a group has the grouping values, and that of a total is empty. Both get
    updated."""
    totals = select(shop.Order.status, func.sum(shop.Order.total)).group_by(shop.Order.status)
    count = select(func.count()).select_from(shop.Order)
    with LiveQuery(engine, totals) as live, LiveQuery(engine, count) as counted:
        assert min(step(live).events, key=lambda e: e.row[1]).key == (Status.PAID,)
        assert kinds_and_keys(step(counted)) == [("enter", ())]
        run(engine, "INSERT INTO orders VALUES (4, 1, 'PAID', 1)")
        assert [(event.key, event.row[1]) for event in step(live)] == [((Status.PAID,), Decimal(7))]
        assert [event.row[0] for event in step(counted)] == [4]


def test_a_page_of_the_newest(engine, shop):
    """With LIMIT, rows leave before others enter, and step.rows has the rows in order."""
    newest = select(shop.Order.id).order_by(shop.Order.id.desc()).limit(2)
    with LiveQuery(engine, newest, rows=True) as live:
        assert [row.id for row in step(live).rows] == [3, 2]
        run(engine, "INSERT INTO orders VALUES (9, 1, 'OPEN', 1)")
        one = step(live)
        assert kinds_and_keys(one) == [("leave", (2,)), ("enter", (9,))]
        assert [row.id for row in one.rows] == [9, 3]


def test_rows_without_an_identity(engine, shop):
    """Equal rows have different keys."""
    statement = select(shop.Order.customer_id).union_all(select(shop.Customer.id)).subquery()
    with LiveQuery(engine, select(statement)) as live:
        assert sorted(event.row[0] for event in step(live)) == [1, 1, 1, 2, 2]
        run(engine, "DELETE FROM orders WHERE id = 2")
        (event,) = step(live)
        assert isinstance(event, Leave)
        assert event.old[0] == 1


def test_steps_that_were_not_taken_are_merged(engine, shop):
    """A slow program gets one step for many changes, without the rows that entered and left in the
    meantime."""
    with (
        LiveQuery(engine, select(shop.Order.id, shop.Order.total)) as live,
        LiveQuery(engine, select(shop.Order.id)) as beside,
    ):
        step(live), step(beside)
        for number in range(10, 15):
            run(engine, f"INSERT INTO orders VALUES ({number}, 1, 'OPEN', 0)")
            step(beside)
        run(engine, "UPDATE orders SET total = total + 1 WHERE id IN (1, 10)")
        run(engine, "DELETE FROM orders WHERE id IN (2, 14)")
        entered = [("enter", (number,)) for number in range(10, 14)]
        expected = [*entered, ("leave", (2,)), ("update", (1,))]
        wait_until(lambda: sorted(kinds_and_keys(live._query.outlet._step)) == expected)
        assert sorted(kinds_and_keys(step(live))) == expected


def test_what_came_back_while_nothing_was_taken(engine, shop):
    """A row that changed and changed back, or left and entered again as it was, is not in a merged
    step."""
    statement = select(shop.Order.id, shop.Order.total)
    with LiveQuery(engine, statement) as live, LiveQuery(engine, statement) as beside:
        step(live), step(beside)
        for total in ("total + 1", "total - 1"):
            run(engine, f"UPDATE orders SET total = {total}")
            assert len(step(beside)) == 3
        run(engine, "DELETE FROM orders WHERE id = 2")
        step(beside)
        assert kinds_and_keys(step(live)) == [("leave", (2,))]


def test_a_program_that_resumes(engine, shop):
    """With the position of its last step it gets the next change, or the whole result if something
    has changed in the meantime."""
    statement = select(shop.Order.id)
    with LiveQuery(engine, statement) as live:
        position = step(live).position
    if position is None:
        return  # steps of tables that are not durable have no position
    again = Position.parse(str(position))
    with LiveQuery(engine, statement, position=again) as live:
        assert list(live.steps(timeout=0.3)) == []
        run(engine, "UPDATE customers SET name = 'x'", "DELETE FROM orders WHERE id = 2")
        later = step(live)
        assert (kinds_and_keys(later), later.is_whole) == ([("leave", (2,))], False)
    with LiveQuery(engine, statement, position=again) as live:
        assert step(live).is_whole
    with LiveQuery(engine, statement, position=later.position) as live:
        assert list(live.steps(timeout=0.3)) == []


def test_queries_of_one_shape_are_one_statement(engine, shop):
    """One statement looks a change up for all queries that differ only in their parameters, and
    each query gets its own rows, with entities and typed parameters."""
    sent = []
    live_engine = create_engine(engine.url)

    def statement(number: int, total: Decimal):
        return (
            select(shop.Order, shop.Customer.name)
            .join(shop.Order.customer)
            .where(
                shop.Order.customer_id == number,
                shop.Order.status == Status.OPEN,
                shop.Order.total >= total,
            )
        )

    lives = [LiveQuery(live_engine, statement(n % 4, Decimal("1.005"))).start() for n in range(8)]
    assert [len(step(live)) for live in lives] == [0, 1, 1, 0] * 2
    run(engine, "SELECT 1")
    from sqlalchemy import event

    event.listen(live_engine, "before_cursor_execute", lambda _c, _cu, sql, *_: sent.append(sql))
    run(
        engine,
        "INSERT INTO orders VALUES (10, 1, 'OPEN', 1.01), (11, 2, 'OPEN', 1.00), (12, 2, 'OPEN', 3)",
    )
    for place in (1, 2, 5, 6):
        (event_,) = step(lives[place])
        assert (event_.row.Order.id, event_.row.name) == (
            (10, "ann") if place % 4 == 1 else (12, "bob")
        )
    assert (
        sum("orders" in sql and "sa_pgnotify" in sql and "FROM unnest" in sql for sql in sent) == 1
    )
    for live in lives:
        live.stop()
    live_engine.dispose()


def test_what_is_shared_ends_with_the_last(engine, shop):
    """All queries of an engine share one listening connection, which ends with the last query."""
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND datname = current_database() AND pid <> pg_backend_pid()"
    threads = threading.active_count()
    lives = [
        LiveQuery(engine, select(shop.Order).where(shop.Order.id > n)).start() for n in range(5)
    ]
    lives.append(LiveQuery(engine, select(shop.Customer)).start())
    run(engine, "INSERT INTO customers VALUES (9, 'x')")
    assert len(step(lives[-1])) >= 2
    for live in lives:
        live.stop()
        assert list(live) == []
    assert threading.active_count() == threads
    assert rows(engine, listening)


def test_a_query_that_was_dropped_is_forgotten(engine, shop):
    """A query that the program drops without stop() leaves nothing behind."""
    with LiveQuery(engine, select(shop.Customer)) as other:
        step(other)
        live = LiveQuery(engine, select(shop.Order)).start()
        feed = live._feed
        del live
        run(engine, "INSERT INTO customers VALUES (9, 'x')")
        step(other)
        assert len(feed._evaluator._groups) == 1


def test_not_started_and_started_twice(engine, shop):
    """Both are errors that say what to do."""
    live = LiveQuery(engine, select(shop.Order))
    with pytest.raises(PgNotifyError, match="was not started. Use it in a with statement"):
        next(iter(live))
    with live, pytest.raises(PgNotifyError, match="was started before. Make another one"):
        live.start()


def test_without_old_rows(engine, shop):
    """With old=False, events have no old rows, and the differences are the same."""
    with LiveQuery(engine, select(shop.Order.id, shop.Order.total), old=False) as live:
        step(live)
        run(engine, "UPDATE orders SET total = 99 WHERE id = 1")
        (event,) = step(live)
        assert (type(event), event.old, event.row.total) == (Update, None, Decimal(99))
        run(engine, "DELETE FROM orders WHERE id = 2")
        assert list(step(live)) == [Leave((2,), None)]


def test_a_statement_that_fails_later(engine, shop):
    """A query that PostgreSQL refuses raises the error where its steps are taken, and the others
    continue."""
    statement = select(
        shop.Order.id, 10 / func.nullif(shop.Order.total - 8, -1) / (shop.Order.total - 8)
    )
    with LiveQuery(engine, statement) as broken, LiveQuery(engine, select(shop.Order.id)) as other:
        step(broken), step(other)
        run(engine, "INSERT INTO orders VALUES (8, 1, 'OPEN', 8)")
        assert kinds_and_keys(step(other)) == [("enter", (8,))]
        with pytest.raises(Exception, match="division by zero"):
            step(broken)
