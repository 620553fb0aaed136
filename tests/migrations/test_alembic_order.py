"""The order of a revision's steps among several tables: what is read is there when it is needed,
and locks are taken as writers take them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from receiving import received
from revisions import apply, autogenerate, catalog, differences, upgrade
from sessions import HERE
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import Inserted, NotifyOnChange, NotifySpec, Updated, check, notify_on_change


def hierarchy(*, with_kind: bool, below: bool = True) -> sa.MetaData:
    """``party`` and, below it, ``account`` and ``gold``, whose triggers look up the class in
    ``party`` if it is there (``with_kind``)."""

    class Base(DeclarativeBase):
        pass

    class Party(NotifyOnChange, Base):
        __tablename__ = "party"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        if with_kind:
            kind: Mapped[str]
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "party"}

    if below:

        class Account(Party):
            __tablename__ = "account"
            id: Mapped[int] = mapped_column(sa.ForeignKey("party.id"), primary_key=True)
            balance: Mapped[int]
            if with_kind:
                __mapper_args__ = {"polymorphic_identity": "account"}

        class Gold(Account):
            __tablename__ = "gold"
            id: Mapped[int] = mapped_column(sa.ForeignKey("account.id"), primary_key=True)
            limit: Mapped[int]
            if with_kind:
                __mapper_args__ = {"polymorphic_identity": "gold"}

    return Base.metadata


def asking(*, limits: bool) -> sa.MetaData:
    """A table whose condition asks a table that sorts after it."""
    metadata = sa.MetaData()
    orders = sa.Table(
        "a_orders",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("total", sa.Integer),
    )
    if not limits:
        notify_on_change(orders)
        return metadata
    table = sa.Table("z_limits", metadata, sa.Column("most", sa.Integer))
    notify_on_change(
        orders,
        NotifySpec(
            when=lambda old, new: new.total > sa.select(sa.func.max(table.c.most)).scalar_subquery()
        ),
    )
    return metadata


STATES = {
    "empty": lambda: sa.MetaData(),
    "root": lambda: hierarchy(with_kind=False, below=False),
    "hierarchy": lambda: hierarchy(with_kind=False),
    "hierarchy with a discriminator": lambda: hierarchy(with_kind=True),
    "orders": lambda: asking(limits=False),
    "orders that ask": lambda: asking(limits=True),
}
STEPS = [
    *(("empty", name) for name in STATES if name != "empty"),
    ("root", "hierarchy"),
    ("root", "hierarchy with a discriminator"),
    ("hierarchy", "hierarchy with a discriminator"),
    ("hierarchy with a discriminator", "hierarchy"),
    ("orders", "orders that ask"),
    ("orders that ask", "orders"),
]
"""Without those that drop parents with their children, which Alembic itself does in any order."""


@pytest.mark.sample(2)
@pytest.mark.parametrize(("before", "after"), STEPS, ids=[f"{a}-{b}" for a, b in STEPS])
def test_triggers_that_read_other_tables(engine, before, after):
    """Whatever a revision makes and drops of the tables that a trigger reads, its own and others,
    both directions run through."""
    first = upgrade(engine, STATES[before]())
    declared = catalog(engine)
    revision = autogenerate(engine, STATES[after]())
    code = revision.upgrade.replace(
        "sa.Column('kind', sa.String(), nullable=False)",
        "sa.Column('kind', sa.String(), server_default='')",
    )
    apply(engine, code)
    assert check(engine, STATES[after]()) == []
    apply(engine, revision.downgrade)
    assert {kind: found for kind, found in catalog(engine).items() if kind != "columns"} == {
        kind: found for kind, found in declared.items() if kind != "columns"
    }
    apply(engine, first.downgrade)


def test_parents_come_before_children(engine):
    """Triggers are made, and dropped again, in the order in which a unit of work inserts, so that
    their locks cannot cross."""
    plain, marked = sa.MetaData(), sa.MetaData()
    for metadata in (plain, marked):
        parent = sa.Table("z_parent", metadata, sa.Column("id", sa.Integer, primary_key=True))
        child = sa.Table(
            "a_child", metadata, sa.Column("id", sa.ForeignKey("z_parent.id"), primary_key=True)
        )
    for table in (parent, child):
        notify_on_change(table)
    plain.create_all(engine)
    revision = autogenerate(engine, marked)
    for code in (revision.upgrade, revision.downgrade):
        assert (
            0
            < code.index("notify_triggers('z_parent'" if "drop" in code else "'z_parent'")
            < code.index("'a_child'")
        )


def test_an_alter_does_not_deadlock_with_writers(engine):
    """A migration that makes triggers and drops others takes the strongest lock first: a
    transaction that has read and wants to write waits for it, and neither is killed."""
    table = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(operations=("delete", "truncate")))
    upgrade(engine, table.metadata)
    other = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(other, NotifySpec(operations=("insert", "update")))
    code = autogenerate(engine, other.metadata).upgrade
    failed: list[Any] = []

    def migrate() -> None:
        try:
            apply(engine, code)
        except sa.exc.DBAPIError as error:
            failed.append(error)

    with engine.connect() as writer, engine.connect() as observer:
        # its transaction holds the weakest lock
        writer.execute(sa.text("SELECT count(*) FROM orders"))
        thread = threading.Thread(target=migrate)
        thread.start()
        waiting = sa.text(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass AND "
            + HERE
        )
        while not observer.scalar(waiting) and thread.is_alive():
            observer.rollback()
        writer.execute(sa.text("INSERT INTO orders VALUES (1)"))
        writer.commit()
        thread.join()
    assert failed == []
    assert differences(engine, other.metadata) == []


def test_a_new_table_takes_the_name_of_a_renamed_one(engine):
    """The renamed table's triggers keep their function, under another name, when a new table needs
    the one that they had."""
    before = sa.MetaData()
    notify_on_change(
        sa.Table(
            "orders",
            before,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.Integer),
        )
    )
    upgrade(engine, before)
    run(engine, "ALTER TABLE orders RENAME TO orders_old")
    after = sa.MetaData()
    new = notify_on_change(
        sa.Table(
            "orders",
            after,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("b", sa.Integer),
        )
    )
    old = sa.Table(
        "orders_old",
        after,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Integer),
    )
    script = autogenerate(engine, after)
    apply(engine, script.upgrade)  # only the new table: the old one is not marked any more
    assert [
        type(e)
        for e in received(
            engine, new, "INSERT INTO orders VALUES (1, 1)", "UPDATE orders SET b = 2"
        )
    ] == [Inserted, Updated]
    notify_on_change(old)
    upgrade(engine, after)
    assert [
        type(e)
        for e in received(
            engine, old, "INSERT INTO orders_old VALUES (1, 1)", "UPDATE orders_old SET a = 2"
        )
    ] == [
        Inserted,
        Updated,
    ]
    assert {row[0] for row in catalog(engine)["functions"]} == {
        "sa_pgnotify_orders()",
        "sa_pgnotify_orders_old()",
    }


def test_both_live_while_the_new_table_has_the_name(engine):
    """Between the two revisions, the old table's triggers publish valid events."""
    before = sa.MetaData()
    notify_on_change(
        sa.Table(
            "orders",
            before,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.Integer),
        )
    )
    upgrade(engine, before)
    apply(
        engine,
        "op.rename_table('orders', 'orders_old')\n"
        "    op.execute('CREATE TABLE orders (id int PRIMARY KEY, b int)')\n"
        "    op.create_notify_triggers('orders', columns={'id': 'integer', 'b': 'integer'}, key=['id'], version=1)",
    )
    old = notify_on_change(
        sa.Table(
            "orders_old",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.Integer),
        )
    )
    statements = ("INSERT INTO orders_old VALUES (1, 1)", "UPDATE orders_old SET a = 2")
    assert [type(event) for event in received(engine, old, *statements)] == [Inserted, Updated]
