"""sa_pgnotify.testing for authors of tests: what is captured, of commits and of transactions that
are rolled back; and what its errors say."""

from __future__ import annotations

from typing import Any

import pytest
from hierarchies import order_and_rush
from joined_sessions import joined
from kinds import driver_url
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    Notification,
    NotifyConfigError,
    PgNotifyError,
    TriggersMissing,
    Truncated,
    Updated,
    change_context,
    check,
)
from sa_pgnotify.testing import CapturedChanges
from sa_pgnotify.testing.plugin import capture_changes

__all__ = ["capture_changes"]


DRIVERS = pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])


DURABLE = pytest.mark.parametrize("durable", [False, True], ids=["sent", "durable"])


def catalog(engine: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal UNION ALL SELECT proname, prosrc FROM pg_proc"
                    " WHERE proname LIKE 'sa_pgnotify%' UNION ALL SELECT relname, relnamespace::text FROM pg_class"
                    " WHERE relname LIKE 'sa_pgnotify%' ORDER BY 1, 2"
                )
            )
        )


@DRIVERS
@DURABLE
def test_of_a_transaction_that_is_rolled_back_the_same_is_captured_as_of_one_that_is_committed(
    engine, url, driver, durable
):
    """A test that is rolled back captures what a listener gets of the same work when it is
    committed: kinds, values, what changed, context."""
    Order, Rush = order_and_rush(engine, durable=durable)
    mine = create_engine(driver_url(url, driver), poolclass=NullPool)

    def work(session: Session) -> None:
        with change_context(session, {"user": "ann"}):
            session.add_all([Order(id=1, status="new\x1e"), Rush(id=2, status="🎉", days=3)])
            session.commit()
        session.get(Order, 1).status = "paid"
        session.delete(session.get(Order, 2))
        session.commit()
        session.execute(text("UPDATE orders SET id = 7 WHERE id = 1"))
        session.execute(text("TRUNCATE orders CASCADE"))
        session.commit()

    def said(events: list[Any]) -> list[Any]:
        return [
            (
                type(e),
                e.entity,
                e.identity,
                dict(e.context),
                *(getattr(e, n, None) for n in ("old", "new", "changed", "previous_identity")),
            )
            for e in events
        ]

    with mine.connect() as connection, connection.begin() as transaction:
        with CapturedChanges(connection, Order) as captured, joined(connection) as session:
            work(session)
            rolled_back = said(captured.so_far())
        transaction.rollback()
    with CapturedChanges(mine, Order) as captured, Session(mine) as session:
        work(session)
        assert said(captured.so_far()) == rolled_back
    assert [kind for kind, *_ in rolled_back if kind is not Truncated] == [
        Inserted,
        Inserted,
        Updated,
        Deleted,
        Updated,
    ]
    assert rolled_back[0][3] == {"user": "ann"}
    mine.dispose()


@DURABLE
def test_nothing_is_sent_and_nothing_stays(engine, outer, durable):
    """A listener hears nothing of a test that is rolled back; and triggers, functions and tables
    are afterwards as they were."""
    Order, _ = order_and_rush(engine, durable=durable)
    before = catalog(engine)
    with Listener(engine, Order, "fence") as listener:
        with CapturedChanges(outer, Order) as captured, joined(outer) as session:
            session.add(Order(status="new"))
            session.commit()
            captured.expect(Inserted, Order)
        outer.get_transaction().rollback()
        run(engine, "NOTIFY fence")
        assert isinstance(listener.get(10), Notification)
    assert catalog(engine) == before
    assert check(engine, Order.metadata) == []


def test_a_savepoint_that_is_rolled_back_was_never_captured(engine, outer):
    """Changes that the test's own code rolls back are not captured, because they would not be
    published. What was expected before stays expected."""
    Order, _ = order_and_rush(engine)
    with joined(outer) as session:
        captured = CapturedChanges(session, Order).__enter__()
        session.add(Order(id=1, status="new"))
        session.flush()
        captured.expect(Inserted, identity=(1,))
        session.rollback()
        session.add(Order(id=2, status="new"))
        session.commit()
        captured.expect(Inserted, identity=(2,))
        captured.none()
        session.rollback()
        captured.none()
        captured.__exit__(None, None, None)


def test_two_captures_in_one_transaction(engine, outer):
    """Each gets its own entities' events, from its beginning on, and no event twice."""
    Order, Rush = order_and_rush(engine)
    with CapturedChanges(outer, Order) as first, joined(outer) as session:
        session.add(Order(id=1, status="new"))
        session.commit()
        with CapturedChanges(session, Rush) as second:
            session.add_all([Rush(id=2, status="new", days=1), Order(id=3, status="new")])
            session.commit()
            assert [event.identity for event in second.so_far()] == [(2,)]
        assert sorted(event.identity for event in first.so_far()) == [(1,), (2,), (3,)]


def test_two_captures_are_there_again_after_a_rollback_to_a_savepoint(engine, outer):
    """A session's rollback takes both captures' triggers with it; with its next savepoint both are
    there again."""
    Order, Rush = order_and_rush(engine)
    with (
        joined(outer) as session,
        CapturedChanges(session, Rush) as rushes,
        CapturedChanges(session, Order) as orders,
    ):
        session.rollback()
        session.add_all([Rush(id=1, status="new", days=1), Order(id=2, status="new")])
        session.commit()
        assert [event.identity for event in rushes.so_far()] == [(1,)]
        assert sorted(event.identity for event in orders.so_far()) == [(1,), (2,)]


def test_a_commit_is_refused(engine):
    """A transaction whose triggers must not stay cannot be committed, and the error says what to
    do; nothing stays."""
    Order, _ = order_and_rush(engine)
    before = catalog(engine)
    with Session(engine) as session, CapturedChanges(session, Order):
        session.add(Order(status="new"))
        with pytest.raises(
            PgNotifyError, match="create_savepoint.*give CapturedChanges the Engine"
        ):
            session.commit()
        session.rollback()
    assert catalog(engine) == before


def test_the_error_of_a_session_without_connection_says_how_to_bind_it(engine):
    """Of a session with a transaction of its own, nothing can be read after that transaction."""
    Order, _ = order_and_rush(engine)
    with Session(engine) as session, CapturedChanges(session, Order) as captured:
        session.add(Order(id=1, status="new"))
        session.flush()
        captured.expect(Inserted)
        session.rollback()
        with pytest.raises(
            PgNotifyError,
            match='Bind the session to a connection.*join_transaction_mode="create_savepoint"',
        ):
            captured.none()


def test_what_cannot_be_captured_is_refused(engine, outer):
    """No transaction, a plain channel in one, something else than a bind, missing triggers: each
    error names the fix."""
    Order, _ = order_and_rush(engine)
    with (
        engine.connect() as connection,
        pytest.raises(
            NotifyConfigError, match=r"call connection.begin\(\)|Call connection.begin\(\)"
        ),
    ):
        CapturedChanges(connection, Order).__enter__()
    with pytest.raises(NotifyConfigError, match="before COMMIT"):
        CapturedChanges(outer, Order, "channel").__enter__()
    with pytest.raises(NotifyConfigError, match="not str"):
        CapturedChanges("engine", Order).__enter__()
    run(engine, "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_insert")
    with pytest.raises(TriggersMissing, match="ENABLE TRIGGER"):
        CapturedChanges(outer, Order).__enter__()
