"""Alembic environments as people have them: made by ``alembic init``, with schemas, filters, other
programs and other drivers about."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.util import CommandError
from receiving import received
from revisions import (
    Project,
    autogenerate,
    catalog,
    differences,
    marked,
    shop,
    together,
    upgrade,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "options", [{}, {"render_as_batch": True}, {"transaction_per_migration": True}], ids=str
)
def test_base_to_head_to_base(engine, url, tmp_path, options):
    """Each of several revisions leaves nothing for the next to do, and each step down leaves the
    catalog as the step up found it."""
    project, left = Project(tmp_path, url, **options), []
    every = NotifySpec(values="all", when=lambda old, new: new.status != "draft", channel="Orders")
    for metadata in (
        shop(spec=None),
        shop(),
        shop("orders", "customers", spec=every),
        shop(
            "orders",
            "customers",
            spec=NotifySpec(operations=("update",), update_of=("status",)),
            more=("note",),
        ),
        together(shop("orders", spec=None), shop("customers")),
        shop("orders", spec=None),
        shop("items"),
    ):
        left.append(catalog(engine))
        project.upgrade(metadata)
        assert check(engine, metadata) == []
    while left:
        project.downgrade("-1")
        assert catalog(engine) == left.pop()
    command.upgrade(project.config, "head")
    command.check(project.config)
    project.downgrade()
    assert marked(engine) == set()


def test_check_says_what_differs(engine, url, tmp_path, capsys):
    """``alembic check`` names the table and what it lacks, and only that; after the upgrade it says
    that there is nothing."""
    project = Project(tmp_path, url)
    project.upgrade(shop(spec=None))
    project.config.attributes["metadata"] = shop()
    with pytest.raises(CommandError) as caught:
        command.check(project.config)
    parameters = {
        "columns": {"id": "integer", "status": "text"},
        "key": ["id"],
        "operations": ["insert", "update", "delete", "truncate"],
        "version": 1,
    }
    assert (
        str(caught.value)
        == f"New upgrade operations detected: [('add_notify_triggers', None, 'orders', {parameters})]"
    )
    project.upgrade()
    command.check(project.config)
    assert (
        "No new upgrade operations detected."
        in project.config.stdout.getvalue() + capsys.readouterr().out
    )


def test_diff_tuples(engine):
    """``compare_metadata`` returns what is added, changed and removed as tuples: kind, schema,
    table, former and new parameters."""
    run(engine, "CREATE SCHEMA audit")
    plain, options = shop(spec=None, schema="audit"), {"include_schemas": True}
    plain.create_all(engine)
    (added,) = differences(engine, shop(schema="audit"), **options)
    assert added[:3] == ("add_notify_triggers", "audit", "orders") and added[3]["key"] == ["id"]
    upgrade(engine, shop(schema="audit"), **options)
    (changed,) = differences(
        engine, shop(schema="audit", spec=NotifySpec(channel="Changes")), **options
    )
    assert changed == (
        "modify_notify_triggers",
        "audit",
        "orders",
        added[3],
        {**added[3], "channel": "Changes"},
    )
    (removed,) = differences(engine, plain, **options)
    assert removed == ("remove_notify_triggers", "audit", "orders", added[3])


def test_table_info(engine, url, tmp_path):
    """Our note in ``Table.info`` is not written into revisions and causes no drift; the user's own
    keys are written as ever."""
    project = Project(tmp_path, url)
    text = project.upgrade(together(shop("orders", info={"owner": "sales"}), shop("customers")))
    assert text.count("info=") == 1 and "info={'owner': 'sales'}" in text
    metadata = shop("orders", info={"owner": "sales"})
    autogenerate(engine, metadata)
    assert set(metadata.tables["orders"].info) == {"owner", "sa_pgnotify"}, (
        "the model itself keeps both"
    )


def test_two_schemas(engine, url, tmp_path):
    """Tables of one name in two schemas, and a class joined across them, get triggers of their own,
    with Alembic's table in a third."""
    run(engine, "CREATE SCHEMA sales", "CREATE SCHEMA hr", "CREATE SCHEMA meta")
    before = catalog(engine)
    project = Project(tmp_path, url, include_schemas=True, version_table_schema="meta")

    class Base(DeclarativeBase):
        pass

    class Person(NotifyOnChange, Base):
        __tablename__ = "people"
        __table_args__ = {"schema": "sales"}
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Employee(Person):
        __tablename__ = "people"
        __table_args__ = {"schema": "hr"}
        __mapper_args__ = {"polymorphic_identity": "employee"}
        id: Mapped[int] = mapped_column(sa.ForeignKey("sales.people.id"), primary_key=True)
        grade: Mapped[int]

    class Boss(Employee):
        __mapper_args__ = {"polymorphic_identity": "boss"}

    text = project.upgrade(Base.metadata)
    assert text.count("create_notify_triggers(") == 2
    assert marked(engine) == {"sales.people", "hr.people"}

    with Session(engine) as session:
        session.add(Boss(id=1, grade=1))
        session.commit()
    (event,) = received(engine, Person, "UPDATE hr.people SET grade = 2")
    assert isinstance(event, Updated) and (event.entity, event.identity) == (Boss, (1,))
    project.downgrade()
    assert catalog(engine) == before


@pytest.mark.sample(3)
@pytest.mark.parametrize("default", ["public", "app", "ünder \"score'"])
def test_default_schema_by_name(engine, url, tmp_path, default):
    """A model that names the default schema, whichever that is, is the same as one that does not:
    no drift, nothing proposed twice."""
    quoted = sa.dialects.postgresql.dialect().identifier_preparer.quote(default)
    run(
        engine,
        f"CREATE SCHEMA IF NOT EXISTS {quoted}",
        f"ALTER DATABASE {url.database} SET search_path = {quoted}",
    )
    before = catalog(engine)
    for i, include_schemas in enumerate((False, True)):
        project = Project(tmp_path / str(i), url, include_schemas=include_schemas)
        text = project.upgrade(shop(schema=default))
        assert text.count("create_notify_triggers(") == text.count("create_table(") == 1
        fresh = sa.create_engine(url, poolclass=sa.NullPool)  # it asks for the default schema anew
        assert differences(fresh, shop(), include_schemas=include_schemas) == []
        text = project.upgrade(shop(spec=NotifySpec(values="all")))
        assert text.count("alter_notify_triggers(") == 2, "one in upgrade and one in downgrade"
        assert (
            differences(
                fresh,
                shop(spec=NotifySpec(values="all"), schema=default),
                include_schemas=include_schemas,
            )
            == []
        )
        text = project.upgrade(shop(spec=None, schema=default))
        assert text.count("drop_notify_triggers(") == 1
        project.downgrade()
        assert catalog(engine) == before
        run(engine, "DROP TABLE alembic_version")


def test_table_further_on_the_search_path(engine, url, tmp_path):
    """A table that is found through the search path, but is not in its first schema, has its
    triggers changed and dropped like any."""
    run(engine, "CREATE SCHEMA app", "CREATE TABLE orders (id serial PRIMARY KEY, status text)")
    run(engine, f"ALTER DATABASE {url.database} SET search_path = app, public")
    project, left = Project(tmp_path, url), []
    for spec in (None, NotifySpec(), NotifySpec(values="all"), None):
        left.append(catalog(engine))
        text = project.upgrade(shop(spec=spec))
        assert text.count("notify_triggers(") == (2 if len(left) > 1 else 0)
    while left:
        project.downgrade("-1")
        assert catalog(engine) == left.pop()


def test_tenants(engine, url, tmp_path):
    """One history run for each tenant's schema, as Alembic's cookbook has it, installs and removes
    what is the tenant's alone."""
    run(engine, "CREATE SCHEMA one", "CREATE SCHEMA two")
    project = Project(tmp_path, url)
    env = tmp_path / "alembic" / "env.py"
    env.write_text(
        env.read_text().replace(
            "        context.configure(\n            connection=connection",
            """        tenant = config.attributes["tenant"]
        connection.exec_driver_sql(f"SET search_path TO {tenant}")
        connection.commit()
        connection.dialect.default_schema_name = tenant
        context.configure(
            connection=connection""",
        )
    )
    project.config.attributes["tenant"] = "one"
    text = project.upgrade(shop())
    assert "'one'" not in text
    project.config.attributes["tenant"] = "two"
    command.upgrade(project.config, "head")
    command.check(project.config)
    assert marked(engine) == {"one.orders", "two.orders"}
    project.downgrade()
    assert marked(engine) == {"one.orders"}
    project.config.attributes["tenant"] = "one"
    command.check(project.config)


def test_left_over_of_another_schema(engine):
    """What a dropped table left in another schema is proposed to be dropped only where other
    schemas are looked at."""
    run(engine, "CREATE SCHEMA other")
    shop(schema="other").create_all(engine)
    run(engine, "DROP TABLE other.orders")
    assert differences(engine, sa.MetaData()) == []
    revision = upgrade(engine, sa.MetaData(), include_schemas=True)
    assert "op.drop_notify_triggers('orders', schema='other', if_exists=True)" in revision.upgrade
    assert (
        differences(engine, sa.MetaData(), include_schemas=True) == []
        and not catalog(engine)["functions"]
    )
