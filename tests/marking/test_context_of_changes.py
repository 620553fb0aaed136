"""change_context over changes of a marked class: which changes have which context."""

from contextlib import nullcontext, suppress

import pytest
import sqlalchemy as sa
from receiving import until_end
from spec_orders import installed
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from sa_pgnotify import (
    Change,
    Listener,
    NotifyConfigError,
    NotifySpec,
    change_context,
)

ANN = {"user": "ann", "more": [1, None, {"ü": "\x1b\x1e\x1f'\\%"}]}


@pytest.fixture(name="Order")
def plain_order(engine: sa.Engine) -> type:
    return installed(engine, NotifySpec())


def contexts(engine: sa.Engine, Order: type, work) -> list[dict]:
    with Listener(engine, Order, "end_of_test") as listener:
        work()
        events = until_end(engine, listener)
    assert all(isinstance(e, Change) for e in events)
    return [dict(e.context) for e in events]


@pytest.mark.parametrize("bound", [Session, sa.Connection])
def test_context_nested_and_over_several_transactions(engine, Order, bound):
    """The innermost context goes with each change, through every transaction of its block, and ends
    with it."""

    def work():
        with Session(engine, autoflush=False) if bound is Session else engine.connect() as bind:

            def write():
                bind.add(Order()) if bound is Session else bind.execute(sa.insert(Order))

            for _ in range(2):
                write()
                with change_context(bind, ANN):
                    write()
                    with change_context(bind, {"user": "bob"}):
                        write()
                    with change_context(bind, {}):
                        write()
                    write()
                write()
                bind.commit()
            with change_context(bind, ANN):
                write()
                bind.commit()
                write()
            bind.commit()

    once = [{}, ANN, {"user": "bob"}, {}, ANN, {}]
    assert contexts(engine, Order, work) == [*once, *once, ANN, ANN]


def test_context_after_an_error_in_the_program(engine, Order):
    """An error that leaves the block, and does not end the transaction, ends the context."""

    def work():
        with engine.begin() as connection, change_context(connection, ANN):
            with suppress(KeyError), change_context(connection, {"user": "bob"}):
                connection.execute(sa.insert(Order))
                raise KeyError
            connection.execute(sa.insert(Order))

    assert contexts(engine, Order, work) == [{"user": "bob"}, ANN]


@pytest.mark.parametrize("savepoint", [False, True])
def test_context_after_an_error_in_the_database(engine, Order, savepoint):
    """A statement that fails within the block raises its own error; after the rollback the context
    is what it was before."""

    def work():
        with Session(engine) as session:
            session.add(Order(id=1))
            session.commit()
            with change_context(session, {"user": "bob"}) if savepoint else nullcontext():
                with (
                    pytest.raises(IntegrityError),
                    session.begin_nested() if savepoint else nullcontext(),
                    change_context(session, ANN),
                ):
                    session.execute(sa.insert(Order).values(id=1))
                if not savepoint:
                    session.rollback()
                session.add(Order(id=2))
            session.commit()

    assert contexts(engine, Order, work) == [{}, {"user": "bob"} if savepoint else {}]


@pytest.mark.parametrize(
    "context", [{"a": object}, {"a": float("nan")}, ["a"], "a", None, {1: 2, (): 3}], ids=repr
)
def test_context_that_is_no_json_is_refused(engine, context):
    """What the listener could not read back is refused before anything is sent."""
    with engine.connect() as connection:
        with (
            pytest.raises(NotifyConfigError, match="change_context.*JSON"),
            change_context(connection, context),
        ):
            pytest.fail("the block was entered")
        assert not connection.in_transaction()
