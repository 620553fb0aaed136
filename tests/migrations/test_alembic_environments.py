"""Alembic environments as people have them: made by ``alembic init``, with schemas, filters, other
programs and other drivers about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.util import CommandError
from receiving import received
from revisions import (
    Project,
    apply,
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

import alembic_ops
from sa_pgnotify import (
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)

# -- revisions and checks --------------------------------------------------------------------------


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
    """``compare_metadata`` tells what is added, changed and removed in tuples: kind, schema, table,
    former and new parameters."""
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


# -- schemas ---------------------------------------------------------------------------------------


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


# -- what is not ours ------------------------------------------------------------------------------


def _name(keep: Callable[..., bool]) -> dict[str, Any]:
    return {
        "include_name": lambda name, type_, parents: keep(name, type_, parents.get("schema_name"))
    }


def _object(keep: Callable[..., bool]) -> dict[str, Any]:
    return {
        "include_object": lambda item, name, type_, reflected, compare_to: keep(
            name, type_, getattr(item, "schema", None)
        )
    }


def by_table(name, type_, schema):
    return type_ != "table" or name != "theirs"


def by_schema(name, type_, schema):
    return schema != "other" and (type_, name) != ("schema", "other")


def by_our_type(name, type_, schema):
    return type_ != alembic_ops.FILTER_TYPE or (name != "theirs" and schema != "other")


@pytest.mark.parametrize("how", [_name, _object], ids=["include_name", "include_object"])
@pytest.mark.parametrize(
    ("keep", "schema"),
    [(by_table, None), (by_schema, "other"), (by_our_type, None), (by_our_type, "other")],
)
def test_filters(engine, how, keep, schema):
    """Triggers that a filter leaves out are not changed, not dropped with their marker, and not
    dropped when only their function is left; those beside them are."""
    run(engine, "CREATE SCHEMA other")
    options = {"include_schemas": True, **how(keep)}

    def models(spec: NotifySpec | None) -> sa.MetaData:
        # Alembic proposes to create a table that is in the metadata while include_name keeps it
        # from being looked for.
        absent = how is _name and keep is not by_our_type
        return together(
            shop("ours", spec=spec),
            sa.MetaData() if absent else shop("theirs", spec=spec, schema=schema),
        )

    together(shop("ours"), shop("theirs", schema=schema)).create_all(engine)
    for spec in (NotifySpec(values="all"), None):
        found = differences(engine, models(spec), **options)
        assert [diff[2] for diff in found if "notify" in diff[0]] == ["ours"]
    sql = "DROP TRIGGER sa_pgnotify_{0} ON ours; DROP TRIGGER sa_pgnotify_{0} ON {1}theirs"
    run(
        engine,
        *(
            sql.format(operation, "other." * bool(schema))
            for operation in ("insert", "update", "delete", "truncate")
        ),
    )
    found = differences(engine, models(None), **options)
    assert [diff[2] for diff in found if "notify" in diff[0]] == ["ours"], (
        "their function is left alone, ours is not"
    )


@pytest.mark.parametrize("how", [_name, _object], ids=["include_name", "include_object"])
def test_filter_of_our_type(engine, how):
    """A filter of our own type is asked by the table's name, and leaves the table itself to
    Alembic: made, without triggers."""
    revision = upgrade(engine, shop("ours", "theirs"), **_object(by_our_type))
    assert revision.upgrade.count("create_table(") == 2 and marked(engine) == {"ours"}
    assert differences(engine, shop("ours", "theirs"), **how(by_our_type)) == []
    assert [diff[2] for diff in differences(engine, shop("ours", "theirs"))] == ["theirs"], (
        "the filter is what kept it out"
    )


def test_filter_arguments(engine):
    """A filter is given the name of the table, its schema, and whether it stands in the database,
    in the models or in both."""
    asked = []

    def include_name(name, type_, parents):
        if type_ == alembic_ops.FILTER_TYPE:
            asked.append((name, dict(parents)))
        return True

    def include_object(item, name, type_, reflected, compare_to):
        if type_ == alembic_ops.FILTER_TYPE:
            asked.append(
                (item.name, name, reflected, None if compare_to is None else compare_to.name)
            )
        return True

    options = {"include_name": include_name, "include_object": include_object}
    parents = {"schema_name": None, "table_name": "orders", "schema_qualified_table_name": "orders"}
    upgrade(engine, shop(), **options)
    assert asked == [("orders", "orders", False, None)]
    asked.clear()
    differences(engine, shop(spec=None), **options)
    assert asked == [("orders", parents), ("orders", "orders", False, "orders")]
    asked.clear()
    differences(engine, sa.MetaData(), **options)
    assert asked == [("orders", parents), ("orders", "orders", True, None)]


@pytest.mark.parametrize("how", [_name, _object], ids=["include_name", "include_object"])
@pytest.mark.parametrize("spec", [NotifySpec(values="all"), None], ids=["changed", "removed"])
def test_filter_of_what_is_not_known(engine, how, spec):
    """A filter is asked first: triggers of another program, made by a newer library, are no error
    where they are left out."""
    shop("theirs").create_all(engine)
    run(engine, """COMMENT ON FUNCTION sa_pgnotify_theirs() IS 'sa_pgnotify {"version": 99}'""")
    assert differences(engine, shop("theirs", spec=spec), **how(by_our_type)) == []
    with pytest.raises(
        NotifyConfigError,
        match="theirs: its triggers are of template version 99, and this sa_pgnotify knows 1",
    ):
        differences(engine, shop("theirs", spec=spec))


def test_several_metadata(engine, url, tmp_path):
    """``target_metadata`` may be a list."""
    project = Project(tmp_path, url)
    text = project.upgrade([shop("orders"), shop("customers", spec=NotifySpec(values="all"))])
    assert text.count("create_notify_triggers(") == 2
    text = project.upgrade(
        [shop("orders", spec=None), shop("customers", spec=NotifySpec(values="all"))]
    )
    assert text.count("notify_triggers(") == 2 and marked(engine) == {"customers"}


def test_two_programs(engine, url, tmp_path):
    """Programs that share a database, each with its metadata, its version table and a filter, leave
    each other's triggers alone."""
    first, second = shop("orders"), shop("customers", spec=NotifySpec(values="all"))

    def program(name: str, mine: sa.MetaData) -> Project:
        def include_object(item, name, type_, reflected, compare_to):
            # as many have it: drop no unknown table
            return not (type_ == "table" and reflected and compare_to is None)

        return Project(
            tmp_path / name,
            url,
            version_table=f"alembic_version_{name}",
            include_object=include_object,
        )

    one, two = program("one", first), program("two", second)
    one.upgrade(first)
    text = two.upgrade(second)
    assert "orders" not in text
    command.check(one.config)
    run(engine, "DROP TABLE customers")
    command.check(one.config)
    two.upgrade()
    one.downgrade()
    assert marked(engine) == {"customers"}
    command.check(two.config)


FOREIGN = """
CREATE TABLE audited (id int PRIMARY KEY);
CREATE TABLE mine (id int PRIMARY KEY);
CREATE FUNCTION audit_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION sa_pgnotify_mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION sa_pgnotify_idle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION sa_pgnotify_said() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
COMMENT ON FUNCTION sa_pgnotify_said() IS 'sa_pgnotify is not what made this';
CREATE TRIGGER audit_insert AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit_insert();
CREATE TRIGGER sa_pgnotify_mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION sa_pgnotify_mine();
CREATE TRIGGER sa_pgnotify_said AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION sa_pgnotify_said();
"""


def test_foreign_triggers(engine, url, tmp_path):
    """Functions and triggers that are not ours, even those named alike, outlive every step up and
    down of the tables that they are on."""
    run(engine, FOREIGN)
    project = Project(tmp_path, url)
    plain = sa.MetaData()
    for name in ("audited", "mine"):
        sa.Table(name, plain, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    project.upgrade(plain)
    before = catalog(engine)

    def theirs() -> list[set[Any]]:
        now = catalog(engine)
        return [before["functions"] - now["functions"], before["triggers"] - now["triggers"]]

    models = together(plain)
    notify_on_change(models.tables["audited"])
    notify_on_change(models.tables["audited"].to_metadata(sa.MetaData(), name="fresh"))
    for metadata in (models, together(plain), models):
        text = project.upgrade(metadata)
        assert "mine" not in text and "audit_insert" not in text and theirs() == [set(), set()]
    for _ in range(3):
        project.downgrade("-1")
        assert theirs() == [set(), set()]
    assert catalog(engine) == before


@pytest.mark.parametrize(
    "call", ["drop_notify_triggers('idle', if_exists=True)", "drop_notify_triggers('mine')"]
)
def test_drop_by_hand_spares_what_is_not_ours(engine, call):
    """A drop takes what its table has of ours, and leaves a function named like ours that somebody
    else wrote."""
    run(engine, FOREIGN)
    before = catalog(engine)
    apply(engine, f"op.{call}")
    assert catalog(engine) == before
