"""What Alembic leaves alone: what a filter leaves out, and the functions and triggers of other
programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from revisions import (
    Project,
    apply,
    catalog,
    differences,
    marked,
    shop,
    together,
    upgrade,
)
from statements import run

import alembic_ops
from sa_pgnotify import (
    NotifyConfigError,
    NotifySpec,
    notify_on_change,
)


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
    """A drop removes the triggers and the function of the table, and leaves a function with such a
    name that another program has created."""
    run(engine, FOREIGN)
    before = catalog(engine)
    apply(engine, f"op.{call}")
    assert catalog(engine) == before
