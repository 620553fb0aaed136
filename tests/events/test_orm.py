"""Events and sessions: load, expire, instance, and change_context at work in a unit of work."""

import pytest
from receiving import received, take
from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    inspect,
    text,
)
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    composite,
    mapped_column,
    reconstructor,
    relationship,
    scoped_session,
    sessionmaker,
)
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    ValuesNotCarried,
    notify_on_change,
)


class Shop:
    """Customers and their orders, installed."""

    def __init__(self, engine, **options):
        class Base(DeclarativeBase):
            pass

        class Customer(NotifyOnChange, Base):
            __tablename__ = "customers"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]

        class Order(NotifyOnChange, Base):
            __tablename__ = "orders"
            __notify__ = NotifySpec(**options)
            id: Mapped[int] = mapped_column(primary_key=True)
            state: Mapped[str] = mapped_column("status")
            total: Mapped[int]
            data: Mapped[dict | None] = mapped_column(MutableDict.as_mutable(JSON))
            customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
            customer: Mapped[Customer | None] = relationship()

            @reconstructor
            def woken(self):
                self.is_woken = True

        Base.metadata.create_all(engine)
        run(
            engine,
            "INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob')",
            "INSERT INTO orders VALUES (1, 'new', 10, '{\"a\": 1}', 1), (2, 'new', 20, NULL, NULL)",
        )
        self.Customer, self.Order = Customer, Order


@pytest.fixture
def shop(engine):
    return Shop(engine, values="all")


def test_load_gives_the_row_as_it_is_now(engine, shop):
    """load() fetches the object, refreshes one that the session holds, and gives None once the row
    is gone."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    run(engine, "UPDATE orders SET total = 12 WHERE id = 1")
    with Session(engine) as session:
        order = updated.load(session)
        assert (type(order), order.total) == (shop.Order, 12)
        session.commit()
        assert order.total == 12
        run(engine, "UPDATE orders SET total = 13 WHERE id = 1")
        session.commit()
        order.total  # noqa: B018 (loaded, so that load() finds it present)
        run(engine, "UPDATE orders SET total = 14 WHERE id = 1")
        assert updated.load(session) is order
        assert order.total == 14
        run(engine, "DELETE FROM orders WHERE id = 1")
        session.commit()
        assert updated.load(session) is None
    with Session(engine) as session:
        assert updated.load(session) is None


def test_load_keeps_pending_changes_and_flushes_nothing(engine, shop):
    """load() of an object with changes that are not written yet leaves them as they are, and writes
    nothing."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    with Session(engine) as session:
        order = session.get(shop.Order, 1)
        order.state = "mine"
        statements = []
        event.listen(
            engine,
            "before_cursor_execute",
            lambda c, k, statement, *_: statements.append(statement),
        )
        run(engine, "UPDATE orders SET total = 15 WHERE id = 1")
        statements.clear()
        assert updated.load(session) is order
        assert (order.state, order.total) == ("mine", 15)
        assert not any(s.startswith("UPDATE") for s in statements)
        assert order in session.dirty


def test_load_of_core_rows(engine):
    """For a Core table load() gives the Row, through a session or a connection."""
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True, key="ident"),
        Column("name", String),
    )
    notify_on_change(table)
    table.metadata.create_all(engine)
    (inserted,) = received(engine, table, "INSERT INTO t VALUES (1, 'x')")
    assert inserted.entity is table
    with Session(engine) as session, engine.connect() as connection:
        assert tuple(inserted.load(session)) == (1, "x")
        assert tuple(inserted.load(connection)) == (1, "x")
        inserted.expire(session)
    with pytest.raises(ValuesNotCarried, match="Core"):
        inserted.instance()
    run(engine, "DELETE FROM t")
    with engine.connect() as connection:
        assert inserted.load(connection) is None


def test_load_of_a_class_needs_a_session(engine, shop):
    """load() with a connection for a mapped class says what it needs."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    with engine.connect() as connection, pytest.raises(TypeError, match="Session"):
        updated.load(connection)


def test_expire_touches_what_changed_and_nothing_else(engine, shop):
    """expire() makes the session read again what the event says changed, without SQL, and nothing
    else."""
    with Session(engine) as session:
        order = session.get(shop.Order, 1)
        other = session.get(shop.Order, 2)
        (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
        statements = []
        event.listen(
            engine,
            "before_cursor_execute",
            lambda c, k, statement, *_: statements.append(statement),
        )
        updated.expire(session)
        assert statements == []
        assert inspect(order).expired_attributes == {"total"}
        assert inspect(other).expired_attributes == set()
        assert order.total == 11


def test_expire_never_touches_a_pending_change(engine, shop):
    """What the session has yet to write stays, even if the same attribute changed in the
    database."""
    with Session(engine) as session:
        order = session.get(shop.Order, 1)
        order.total = 99
        (updated,) = received(
            engine, shop.Order, "UPDATE orders SET total = 11, status = 'x' WHERE id = 1"
        )
        updated.expire(session)
        assert inspect(order).expired_attributes == {"state"}
        assert order.total == 99


def test_expire_takes_the_relationship_of_a_changed_foreign_key(engine, shop):
    """When the foreign key changed, the object it pointed to is read again too."""
    with Session(engine) as session:
        order = session.get(shop.Order, 1)
        assert order.customer.name == "Ann"
        (updated,) = received(engine, shop.Order, "UPDATE orders SET customer_id = 2 WHERE id = 1")
        updated.expire(session)
        assert order.customer.name == "Bob"


def test_expire_by_the_previous_identity_and_of_deleted_and_truncated(engine, shop):
    """An object held under its old key is expired when the key changed; so are those deleted and
    truncated away."""
    with Session(engine, expire_on_commit=False) as session:
        first, second = session.get(shop.Order, 1), session.get(shop.Order, 2)
        session.commit()  # TRUNCATE waits for every transaction that has read the table
        updated, deleted, truncated = received(
            engine,
            shop.Order,
            "UPDATE orders SET id = 7 WHERE id = 1",
            "DELETE FROM orders WHERE id = 2",
            "TRUNCATE orders",
        )
        assert updated.previous_identity == (1,)
        updated.expire(session)
        assert {"state", "total"} <= inspect(first).expired_attributes
        assert isinstance(deleted, Deleted)
        deleted.expire(session)
        assert {"state", "total"} <= inspect(second).expired_attributes
        assert isinstance(truncated, Truncated)
        assert truncated.load(session) is None
        truncated.expire(session)
        assert {"state", "total"} <= inspect(first).expired_attributes
        assert (first.id, second.id) == (1, 2)


def test_expire_of_what_the_session_does_not_hold(engine, shop):
    """expire() on a session without the object does nothing."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    with Session(engine) as session:
        updated.expire(session)
        assert len(session.identity_map) == 0


def test_instance_is_a_detached_object_without_sql(engine, shop):
    """instance() gives what a load would: detached, typed, with @reconstructor run and Mutable
    values that track changes."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    statements = []
    event.listen(
        engine, "before_cursor_execute", lambda c, k, statement, *_: statements.append(statement)
    )
    order = updated.instance()
    assert statements == []
    state = inspect(order)
    assert state.detached
    assert not state.modified
    assert order.is_woken
    assert (order.id, order.state, order.total, order.data) == (1, "new", 11, {"a": 1})
    assert isinstance(order.data, MutableDict)
    with Session(engine) as session:
        session.add(order)
        order.data["b"] = 2
        assert order.customer.name == "Ann"
        session.commit()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT data->>'b' FROM orders WHERE id = 1")) == "2"


def test_instance_of_a_deleted_row_and_refusals(engine, shop):
    """instance() of a deleted row comes from its old values; without all values it says what is
    missing and the fix."""
    (deleted, truncated) = received(
        engine, shop.Order, "DELETE FROM orders WHERE id = 2", "TRUNCATE orders"
    )
    assert deleted.instance().total == 20
    with pytest.raises(ValuesNotCarried):
        truncated.instance()
    (inserted,) = received(engine, shop.Customer, "INSERT INTO customers VALUES (3, 'Cid')")
    with pytest.raises(ValuesNotCarried, match=r'name.*values="all"') as caught:
        inserted.instance()
    assert caught.value.missing == ("name",)


def test_instances_share_nothing_with_the_event(engine, shop):
    """A change to an instance's container changes neither the event nor the next instance."""
    (updated,) = received(engine, shop.Order, "UPDATE orders SET total = 11 WHERE id = 1")
    updated.instance().data["a"] = 2
    assert updated.new["data"] == {"a": 1}
    assert updated.instance().data == {"a": 1}


def test_scoped_sessions_are_sessions(engine, shop):
    """A scoped_session serves wherever a Session does."""
    from sa_pgnotify import NotifyConfigError, change_context

    session = scoped_session(sessionmaker(engine, autoflush=False))
    with Listener(engine, shop.Order) as listener:
        with change_context(session, {"user": "ann"}):
            session.get(shop.Order, 1).total = 5
        session.commit()
        (updated,) = take(listener, 1)
    assert updated.context == {"user": "ann"}
    order = updated.load(session)
    assert order.total == 5
    updated.expire(session)
    assert inspect(order).expired_attributes == {"total"}
    session.remove()
    with pytest.raises(NotifyConfigError, match="Engine"), change_context(engine, {}):
        pass


def test_composite_attributes_of_instances(engine):
    """A composite() attribute of an instance made from an event has its value, as after a load."""
    import dataclasses

    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    class Base(DeclarativeBase):
        pass

    class Vertex(NotifyOnChange, Base):
        __tablename__ = "vertices"
        __notify__ = NotifySpec(values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[Point] = composite(mapped_column("x"), mapped_column("y"))

    Base.metadata.create_all(engine)
    (inserted,) = received(engine, Vertex, "INSERT INTO vertices VALUES (1, 3, 4)")
    assert inserted.instance().at == Point(3, 4)


def test_a_unit_of_work_as_its_events(engine, shop):
    """What a session flushes arrives as the changes it made, in order, with the context that it
    gave."""
    from sa_pgnotify import change_context

    with Listener(engine, shop.Order, shop.Customer) as listener:
        with Session(engine) as session:
            session.get(shop.Order, 2).state = "before"
            with change_context(session, {"user": "ann", "request": 7}):
                cid = shop.Customer(id=3, name="Cid")
                session.add(shop.Order(id=3, state="new", total=1, customer=cid))
            session.get(shop.Order, 1).total = 0
            session.commit()
        events = take(listener, 4)
    assert [(type(e), e.entity, e.identity, dict(e.context)) for e in events] == [
        (Updated, shop.Order, (2,), {}),
        (Inserted, shop.Customer, (3,), {"user": "ann", "request": 7}),
        (Inserted, shop.Order, (3,), {"user": "ann", "request": 7}),
        (Updated, shop.Order, (1,), {}),
    ]
    assert events[0].changed == {"state"}
    assert (events[0].old["state"], events[0].new["state"]) == ("new", "before")


def test_repr_is_short_and_has_the_values(engine, shop):
    """An event in a log says kind, entity, identity and values, and never a megabyte."""
    (updated,) = received(
        engine, shop.Order, "UPDATE orders SET status = repeat('x', 100000) WHERE id = 1"
    )
    assert repr(updated).startswith("Updated(Order, (1,), changed=['state'], new={")
    assert len(repr(updated)) < 500
