"""What production databases have and a laptop has not: roles, tenants, new values of an enum,
damage, an application ahead of its migration."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from receiving import received, take
from revisions import apply, autogenerate, catalog, differences, marked, shop, upgrade
from sampling import size
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import (
    Gap,
    Inserted,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    check,
    notify_on_change,
)


def test_a_schema_that_the_migrating_role_may_not_use(engine):
    """What the filters leave out is not asked for: a role without USAGE on another team's schema
    can autogenerate."""
    run(engine, "CREATE SCHEMA hr")
    both = shop("orders")
    shop("staff", schema="hr").tables["hr.staff"].to_metadata(both)
    both.create_all(engine)
    role = f"migrator_{engine.url.database}"
    run(engine, f"CREATE ROLE {role}", f"GRANT SELECT ON orders TO {role}")
    limited = sa.create_engine(engine.url, poolclass=sa.NullPool)
    sa.event.listen(
        limited, "connect", lambda connection, _: connection.cursor().execute(f"SET ROLE {role}")
    )
    try:
        options = {
            "include_schemas": True,
            "include_name": lambda name, type_, _: type_ != "schema" or name is None,
        }
        options["include_object"] = lambda thing, name, type_, *_: (
            getattr(thing, "schema", None) != "hr"
        )
        assert "notify_triggers" not in autogenerate(limited, both, **options).upgrade
    finally:
        run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_condition_over_a_value_that_the_same_revision_adds(engine):
    """PostgreSQL lets nobody use a new value of an enum before COMMIT, but a trigger that will use
    it can be made."""
    run(
        engine,
        "CREATE TYPE state AS ENUM ('new')",
        "CREATE TABLE orders (id int PRIMARY KEY, state state)",
    )
    type_ = ENUM("new", "paid", name="state", create_type=False)
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("state", type_),
    )
    notify_on_change(orders, NotifySpec(when=lambda old, new: new.state == "paid"))
    code = autogenerate(engine, orders.metadata).upgrade
    apply(
        engine,
        code.replace(
            "    op.create_notify",
            "    op.execute(\"ALTER TYPE state ADD VALUE 'paid'\")\n    op.create_notify",
            1,
        ),
    )
    events = received(
        engine,
        orders,
        "INSERT INTO orders VALUES (1, 'new')",
        "INSERT INTO orders VALUES (2, 'paid')",
    )
    assert [event.identity for event in events] == [(2,)]


def test_a_downgrade_is_possible_although_what_was_there_does_not_fit(engine, caplog):
    """Where a column was renamed by hand, the triggers that are replaced cannot be brought back;
    the downgrade leaves working ones."""
    upgrade(engine, shop())
    run(engine, "ALTER TABLE orders RENAME COLUMN status TO state")
    renamed = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("state", sa.Text),
    )
    notify_on_change(renamed)
    with caplog.at_level(logging.WARNING):
        revision = upgrade(engine, renamed.metadata)
    assert (
        "The downgrade cannot restore function 'sa_pgnotify_orders': the table lacks a column"
        in caplog.text
    )
    apply(engine, revision.downgrade)
    assert [type(e) for e in received(engine, renamed, "INSERT INTO orders VALUES (1, 'a')")] == [
        Inserted
    ]


def test_functions_without_comments_are_found(engine):
    """After a restore without comments, the triggers of a table that is not marked any more are
    ours all the same, and are dropped."""
    upgrade(engine, shop())
    run(engine, "COMMENT ON FUNCTION sa_pgnotify_orders() IS NULL")
    revision = upgrade(engine, shop(spec=None))
    assert marked(engine) == set() and catalog(engine)["functions"] == set()
    assert (
        "pass  # the triggers of 'orders' cannot be restored: their definition is not known"
        in revision.downgrade
    )


def test_create_all_of_a_model_that_is_ahead_of_its_migration(engine, caplog):
    """Triggers are not replaced by ones that need a column which does not exist yet: they go on,
    and ``check`` reports it."""
    upgrade(engine, shop())
    before = catalog(engine)
    ahead = shop(more=("note",), spec=NotifySpec(values="all"))
    with caplog.at_level(logging.WARNING):
        ahead.create_all(engine)
    assert catalog(engine) == before
    assert "orders lacks column note: its triggers are left as they are" in caplog.text
    assert "outdated: column note of orders. Add it, by a migration" in [
        str(drift).partition(";")[0] for drift in check(engine, ahead)
    ]
    assert [
        type(e)
        for e in received(engine, ahead.tables["orders"], "INSERT INTO orders VALUES (1, 'new')")
    ] == [Inserted]
    assert "alter_notify_triggers" in upgrade(engine, ahead).upgrade
    assert differences(engine, ahead) == [] == check(engine, ahead)


def test_tenants_made_by_to_metadata(engine):
    """A hierarchy that is copied into a tenant's schema looks its class up there, and not in the
    schema that it was copied from."""

    class Base(DeclarativeBase):
        pass

    class Party(NotifyOnChange, Base):
        __tablename__ = "party"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "party"}

    class Account(Party):
        __tablename__ = "account"
        id: Mapped[int] = mapped_column(sa.ForeignKey("party.id"), primary_key=True)
        balance: Mapped[int]
        __mapper_args__ = {"polymorphic_identity": "account"}

    class Gold(Account):
        __mapper_args__ = {"polymorphic_identity": "gold"}

    tenant = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(tenant, schema="tenant")
    run(engine, "CREATE SCHEMA tenant")
    revision = upgrade(engine, tenant, include_schemas=True)
    assert "'table': 'party', 'schema': 'tenant'" in revision.upgrade
    assert check(engine, tenant) == []


def test_a_running_listener_hears_a_table_that_was_dropped_and_is_back(engine):
    """Dropping the table is a gap; and when a downgrade brings table and triggers back, the same
    listener hears them."""
    models = shop()
    upgrade(engine, models)
    with Listener(engine, models.tables["orders"]) as listener:
        revision = upgrade(engine, sa.MetaData())
        (gap,) = take(listener, 1)
        assert isinstance(gap, Gap) and "the table orders is missing" in gap.detail
        apply(engine, revision.downgrade)
        run(engine, "INSERT INTO orders VALUES (1, 'new')")
        assert take(listener, 1)[0].identity == (1,)


def test_errors_are_short(engine):
    """The message stands in the first lines, and no screen of SQL that nobody wrote follows it."""
    run(engine, "CREATE VIEW seen AS SELECT 1 AS id")
    for call, said in (
        (
            "create_notify_triggers('nowhere', columns={'id': 'integer'}, key=['id'], version=1)",
            "the table nowhere does not exist",
        ),
        (
            "create_notify_triggers('seen', columns={'id': 'integer'}, key=['id'], version=1)",
            "seen is not a table",
        ),
    ):
        with pytest.raises((DBAPIError, NotifyConfigError), match=f"sa_pgnotify: {said}") as caught:
            apply(engine, f"op.{call}")
        assert len(str(caught.value)) < 600
    with pytest.raises(NotifyConfigError) as refused:
        apply(engine, "op.create_notify_triggers('orders', columns={}, key=['id'], version=1)")
    # which the command line prints without a traceback
    assert isinstance(refused.value, CommandError)


def test_sets_make_the_same_triggers_in_every_process():
    """The order of a set's elements differs between processes; what is made of them does not."""
    code = (
        "from sqlalchemy import *; from sa_pgnotify import *; from sa_pgnotify.marking.spec import marking_of;"
        "t = Table('t', MetaData(), *(Column(c, String, primary_key=c == 'a') for c in 'abcdefgh'));"
        "notify_on_change(t, NotifySpec(values=set('hgfedc'), when=lambda old, new: new.b.in_(set('xyzuvw')))); print(marking_of(t))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(size(4, 2))
    }
    assert len(made) == 1 and "values=('c', 'd', 'e', 'f', 'g', 'h')" in made.pop()


class Careless(sa.ColumnElement[bool]):
    """An SQL construct that forgets to write its value as a literal, as SQLAlchemy 2.1 does for
    ``func.pow``."""

    inherit_cache = False
    type = sa.Boolean()


@compiles(Careless)
def _write(element, compiler, literal_binds=False, **more):
    return f"new_row.id > {compiler.process(sa.bindparam('least', 5), **more)}"


def test_a_condition_that_keeps_a_bind_parameter_is_refused():
    """What SQLAlchemy could not write as a literal is found where it is declared, and not by
    PostgreSQL."""
    table = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    with pytest.raises(
        NotifyConfigError, match="when cannot be written as SQL text: :least is left in it"
    ):
        notify_on_change(table, NotifySpec(when=lambda old, new: Careless()))
