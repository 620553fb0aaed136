"""The marker in every form in which a class or table can come about, and what the events of it are
about."""

import pytest
import sqlalchemy as sa
from marking_forms import (
    kinds_entities_identities,
    mixin_before_base,
    new_base,
    order,
    received_by_session,
)
from receiving import received
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import (
    Mapped,
    MappedAsDataclass,
    declarative_base,
    mapped_column,
    registry,
)
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)


def mixin_after_base(engine):
    return order(new_base(), NotifyOnChange)


def marked_base(engine):
    return order(new_base(NotifyOnChange))


def abstract_base(engine):
    class Marked(NotifyOnChange, new_base()):
        __abstract__ = True

    return order(Marked)


def classic(engine):
    return order(NotifyOnChange, declarative_base())


def dataclass(engine):
    class Order(NotifyOnChange, new_base(MappedAsDataclass)):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        status: Mapped[str]

    return Order


def registry_mapped(engine):
    @registry().mapped
    class Order(NotifyOnChange):
        __table__ = sa.Table(
            "orders",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        )

    return Order


def imperative(engine):
    class Order(NotifyOnChange):
        def __init__(self, status):
            self.status = status

    registry().map_imperatively(
        Order,
        sa.Table(
            "orders",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        ),
    )
    return Order


def deferred_reflection(engine):
    class Reflected(DeferredReflection, new_base()):
        __abstract__ = True

    class Order(NotifyOnChange, Reflected):
        __tablename__ = "orders"

    run(engine, "CREATE TABLE orders (id serial PRIMARY KEY, status text NOT NULL)")
    Reflected.prepare(engine)
    return Order


def own_table_marked(engine):
    Order = order(new_base())
    notify_on_change(Order.__table__)
    return Order


FORMS = [
    mixin_before_base, mixin_after_base, marked_base, abstract_base, classic, dataclass, registry_mapped, imperative,
    deferred_reflection, own_table_marked,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_marking_publishes_the_class(engine, form):
    """A class marked in any form publishes its own inserts, updates and deletes, and drop_all
    leaves nothing behind."""
    Order = form(engine)
    metadata = Order.__table__.metadata
    metadata.create_all(engine)
    assert check(engine, metadata) == []

    def work(session):
        order = Order(status="new")
        session.add(order)
        session.flush()
        order.status = "paid"
        session.flush()
        session.delete(order)

    events = received_by_session(engine, Order, work)
    assert kinds_entities_identities(events) == [
        (Inserted, Order, (1,)),
        (Updated, Order, (1,)),
        (Deleted, Order, (1,)),
    ]
    assert events[1].changed == {"status"}
    assert {e.table for e in events} == {Order.__table__}
    metadata.drop_all(engine)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%'")
            )
            == 0
        )


def test_core_table_publishes_the_table(engine):
    """The events of a table that no class maps are about the Table, with the columns' keys as
    names."""
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("the status", sa.Text, key="status"),
    )
    assert notify_on_change(orders, NotifySpec(values=("status",))) is orders
    orders.metadata.create_all(engine)
    for source in (orders, orders.metadata):
        insert, update = received(
            engine,
            source,
            "TRUNCATE orders",
            "INSERT INTO orders VALUES (1, 'a')",
            "UPDATE orders SET \"the status\" = 'b'",
        )[1:]
        assert kinds_entities_identities([insert, update]) == [
            (Inserted, orders, (1,)),
            (Updated, orders, (1,)),
        ]
        assert insert.new == {"id": 1, "status": "a"}
        assert (update.changed, update.old, update.new) == (
            {"status"},
            {"id": 1, "status": "a"},
            {"id": 1, "status": "b"},
        )


@pytest.mark.parametrize(
    "form", [mixin_before_base, own_table_marked], ids=lambda form: form.__name__
)
def test_entity_is_what_was_asked_for(engine, form):
    """A listener to a class gets events of the class, and a listener to its table gets events of
    the table."""
    Order = form(engine)
    Order.metadata.create_all(engine)
    insert = "INSERT INTO orders (status) VALUES ('new')"
    assert [e.entity for e in received(engine, Order, insert)] == [Order]
    assert [e.entity for e in received(engine, Order.__table__, insert)] == [Order.__table__]


@pytest.mark.parametrize("inherited", [True, False])
def test_none_opts_out(engine, Base, inherited):
    """A class with __notify__ = None under a marked base has no trigger, publishes nothing, and is
    refused as a source."""

    class Marked(NotifyOnChange, Base):
        __abstract__ = True

    class Order(Marked):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Quiet(Marked):
        __abstract__ = inherited
        __notify__ = None
        if not inherited:
            __tablename__ = "audit"
            id: Mapped[int] = mapped_column(primary_key=True)

    class Audit(Quiet):
        if inherited:
            __tablename__ = "audit"
            id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    for source in (Base, Base.metadata, Marked):
        assert {
            e.entity
            for e in received(
                engine,
                source,
                "INSERT INTO audit DEFAULT VALUES",
                "INSERT INTO orders DEFAULT VALUES",
            )
        } == {Order}
    with pytest.raises(NotifyConfigError, match="Audit"):
        Listener(engine, Audit)
    with engine.connect() as connection:
        assert (
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'audit'::regclass AND NOT tgisinternal"
                )
            )
            == 0
        )


def test_base_abstract_base_and_metadata_mean_all_that_is_marked(engine, Base):
    """An abstract base stands for the classes below it; base and sa.MetaData stand for everything
    marked, Core tables included."""

    class Marked(NotifyOnChange, Base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True)

    class A(Marked):
        __tablename__ = "a"

    class B(Marked):
        __tablename__ = "b"

    class C(NotifyOnChange, Base):
        __tablename__ = "c"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Unmarked(Base):
        __tablename__ = "u"
        id: Mapped[int] = mapped_column(primary_key=True)

    core = notify_on_change(
        sa.Table("core", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    )
    Base.metadata.create_all(engine)
    inserts = [
        f"INSERT INTO {name} (id) SELECT coalesce(max(id), 0) + 1 FROM {name}"
        for name in ("a", "b", "c", "u", "core")
    ]
    assert [e.entity for e in received(engine, Marked, *inserts)] == [A, B]
    assert [e.entity for e in received(engine, Base, *inserts)] == [A, B, C, core]
    assert [e.entity for e in received(engine, Base.metadata, *inserts)] == [A, B, C, core]
