"""Migrations of durable tables: the log's tables before the triggers that write there, and after
them when they go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from logs import TABLES, received_from_log
from revisions import Project, apply, autogenerate, catalog, differences, shop, together, upgrade
from statements import run

from sa_pgnotify import ChangeLog, Inserted, NotifySpec, check, notify_on_change

DURABLE = NotifySpec(durable=True)
INSERT = "INSERT INTO orders (status) VALUES ('new')"


def durable(*names: str, spec: NotifySpec = DURABLE, log_schema: str | None = None) -> sa.MetaData:
    """Durable tables ``names``, and their log."""
    metadata = sa.MetaData()
    if log_schema is not None:
        ChangeLog(metadata, schema=log_schema)
    for name in names or ("orders",):
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        )
        notify_on_change(table, spec)
    return metadata


def steps(code: str) -> list[str]:
    """The operations that a revision calls, in order, with what they are about."""
    return [
        f"{name} {subject}"
        for name, subject in re.findall(r"op\.(\w+)\(\s*(?:op\.f\()?'(\w+)'", code)
    ]


def test_there_and_back(engine):
    """The first durable table: the log comes before the triggers, the check is clean afterwards,
    and the downgrade leaves nothing."""
    before = catalog(engine)
    metadata = durable()
    revision = upgrade(engine, metadata)
    done = steps(revision.upgrade)
    assert done[-1] == "create_notify_triggers orders"
    assert {f"create_table {name}" for name in TABLES} <= set(done)
    assert "durable=True" in revision.upgrade
    assert steps(revision.downgrade)[0] == "drop_notify_triggers orders"
    assert differences(engine, metadata) == []
    assert check(engine, metadata) == []
    assert [type(event) for event in received_from_log(engine, metadata, INSERT)] == [Inserted]
    apply(engine, revision.downgrade)
    assert catalog(engine) == before


def test_the_migration_makes_what_create_all_makes(engine):
    """After create_all there is nothing to migrate; and after the migration the catalog is the
    same."""
    metadata = durable()
    metadata.create_all(engine)
    assert differences(engine, metadata, compare_server_default=True) == []
    made = catalog(engine)
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    options = "SELECT relname, reloptions::text, obj_description(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    comments = "SELECT objoid::regclass::text, objsubid, description FROM pg_description WHERE classoid = 'pg_class'::regclass ORDER BY 1, 2"

    def rest() -> list[Any]:
        with engine.connect() as connection:
            found = [connection.exec_driver_sql(sql).all() for sql in (indexes, options)]
            return [
                *found,
                [
                    row
                    for row in connection.exec_driver_sql(comments)
                    if row[0].startswith("sa_pgnotify")
                ],
            ]

    others = rest()
    metadata.drop_all(engine)
    upgrade(engine, metadata)
    assert catalog(engine) == made
    assert rest() == others


@pytest.mark.parametrize(
    "values", [(), pytest.param("all", marks=pytest.mark.thorough), ("status",)]
)
def test_switching_durable_on_and_off(engine, values):
    """A table becomes durable and is no longer: each way, and back by the downgrade, triggers are
    never without the log they write to."""
    plain, logged = (
        shop(spec=NotifySpec(values=values)),
        durable(spec=NotifySpec(values=values, durable=True)),
    )
    upgrade(engine, plain)
    first = catalog(engine)
    on = upgrade(engine, logged)
    second = catalog(engine)
    assert steps(on.upgrade)[-1] == "alter_notify_triggers orders"
    assert steps(on.downgrade)[0] == "alter_notify_triggers orders"
    assert differences(engine, logged) == []
    off = upgrade(engine, plain)
    assert steps(off.upgrade)[0] == "alter_notify_triggers orders"
    assert {step for step in steps(off.upgrade)[1:] if step.startswith("drop_table")} == {
        f"drop_table {name}" for name in TABLES
    }
    assert steps(off.downgrade)[-1] == "alter_notify_triggers orders"
    assert differences(engine, plain) == []
    assert catalog(engine) == first
    apply(engine, off.downgrade)
    assert catalog(engine) == second
    apply(engine, on.downgrade)
    assert catalog(engine) == first


def test_one_of_two_durable_tables_goes(engine):
    """The log stays while a table needs it, and goes with the last one, after the triggers."""
    upgrade(engine, durable("orders", "others"))
    revision = upgrade(engine, durable("orders"))
    assert not any(name in revision.upgrade for name in TABLES)
    last = upgrade(engine, sa.MetaData())
    done = steps(last.upgrade)
    assert {f"drop_table {name}" for name in (*TABLES, "orders")} <= set(done)
    assert done[0] == "drop_notify_triggers orders"
    assert steps(last.downgrade)[-1] == "create_notify_triggers orders"
    apply(engine, last.downgrade)
    assert differences(engine, durable("orders")) == []


def test_a_durable_table_beside_another(engine):
    """In one revision: a table that becomes durable, one that is new and durable, one that is not;
    triggers in table order, after all tables."""
    upgrade(engine, shop("orders", "plain"))
    metadata = together(durable("orders", "added"), shop("plain"))
    revision = upgrade(engine, metadata)
    done = steps(revision.upgrade)
    assert done[-2:] in (
        ["create_notify_triggers added", "alter_notify_triggers orders"], ["alter_notify_triggers orders", "create_notify_triggers added"],
    )  # fmt: skip
    assert differences(engine, metadata) == []
    apply(engine, revision.downgrade)
    assert differences(engine, shop("orders", "plain")) == []


def test_a_log_in_a_schema_of_its_own(engine):
    """The schema of the log is written into the revision, and the triggers write there."""
    run(engine, 'CREATE SCHEMA "Audit"')
    before = catalog(engine)
    metadata = durable(log_schema="Audit")
    revision = upgrade(engine, metadata, include_schemas=True)
    assert "log_schema='Audit'" in revision.upgrade
    assert differences(engine, metadata, include_schemas=True) == []
    assert [
        type(event) for event in received_from_log(engine, metadata, INSERT, schema="Audit")
    ] == [Inserted]
    apply(engine, revision.downgrade)
    assert catalog(engine) == before


def test_moving_the_log(engine):
    """A log that moves to another schema is created there before the triggers use it, and the old
    one is dropped afterwards."""
    run(engine, "CREATE SCHEMA audit")
    upgrade(engine, durable(), include_schemas=True)
    moved = durable(log_schema="audit")
    revision = upgrade(engine, moved, include_schemas=True)
    kinds = [step.split()[0] for step in steps(revision.upgrade)]
    assert (
        kinds.index("create_table")
        < kinds.index("alter_notify_triggers")
        < kinds.index("drop_table")
    )
    assert differences(engine, moved, include_schemas=True) == []
    apply(engine, revision.downgrade)
    assert differences(engine, durable(), include_schemas=True) == []


def test_what_a_log_lacks_is_found(engine):
    """A table of the log that was dropped by hand is made again; an index too."""
    metadata = durable()
    upgrade(engine, metadata)
    run(engine, "DROP TABLE sa_pgnotify_log_1", "DROP INDEX sa_pgnotify_log_2_xid")
    revision = upgrade(engine, metadata)
    assert sorted(steps(revision.upgrade)) == [
        "create_index sa_pgnotify_log_1_xid", "create_index sa_pgnotify_log_2_xid", "create_table sa_pgnotify_log_1",
    ]  # fmt: skip
    assert differences(engine, metadata) == []


def test_offline(tmp_path, engine, url):
    """What `alembic upgrade --sql` prints makes the same, run as a script; and its downgrade undoes
    it."""
    before = catalog(engine)
    project = Project(tmp_path / "project", url)
    text = project.revise(durable())
    run(engine, "DROP TABLE IF EXISTS alembic_version")
    up = project.sql(command.upgrade, "head")
    assert up.index("CREATE TABLE sa_pgnotify_log_3") < up.index("CREATE OR REPLACE FUNCTION")
    revision = re.search(r"^revision: str = '(\w+)'|^revision = '(\w+)'", text, re.MULTILINE)
    assert revision is not None
    down = project.sql(command.downgrade, f"{revision[1] or revision[2]}:base")
    run(engine, up)
    command.check(project.config)
    assert check(engine, durable()) == []
    run(engine, down)
    run(engine, "DROP TABLE IF EXISTS alembic_version")
    assert catalog(engine) == before


def test_as_a_project(tmp_path: Path, url):
    """`alembic revision --autogenerate`, `upgrade`, `check` and `downgrade`, durable on and off."""
    project = Project(tmp_path / "project", url, compare_server_default=True)
    for metadata in (shop(), durable(), durable("orders", "others"), shop(), sa.MetaData()):
        project.upgrade(metadata)
    project.downgrade()


def test_data_of_the_settings_stays_out_of_the_script(engine):
    """The log's own notes in Table.info are not written into the revision."""
    revision = autogenerate(engine, durable())
    assert "info=" not in revision.upgrade
    assert "LogSettings" not in revision.upgrade
