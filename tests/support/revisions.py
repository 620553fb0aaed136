"""Alembic as the tests use it: what autogenerate writes is run as it is written, and the catalog is
compared before and after."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations

import alembic_ops  # noqa: F401 (its operations)
from sa_pgnotify import NotifySpec, notify_on_change


@dataclass(frozen=True)
class Revision:
    """The bodies of ``upgrade`` and ``downgrade``, as autogenerate wrote them."""

    upgrade: str
    downgrade: str


def autogenerate(engine: sa.Engine, metadata: Any, **options: Any) -> Revision:
    """What autogenerate writes to bring the database to ``metadata`` (one, or a list), given
    options of ``context.configure()``."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"target_metadata": metadata, **options}
        )
        script = produce_migrations(context, metadata)
        batch = options.get("render_as_batch", False)
        return Revision(
            *(
                render_python_code(ops, render_as_batch=batch)
                for ops in (script.upgrade_ops, script.downgrade_ops)
            )
        )


def apply(engine: sa.Engine, code: str) -> None:
    """Run the body of an ``upgrade`` or ``downgrade`` in one transaction."""
    with (
        engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)) as op,
    ):
        exec(
            f"import sqlalchemy as sa\nfrom sqlalchemy.dialects import postgresql\nif True:\n    {code}",
            {"op": op},
        )


def upgrade(engine: sa.Engine, metadata: Any, **options: Any) -> Revision:
    """Autogenerate a revision and run its upgrade."""
    revision = autogenerate(engine, metadata, **options)
    apply(engine, revision.upgrade)
    return revision


def differences(engine: sa.Engine, metadata: sa.MetaData, **options: Any) -> list[Any]:
    """What ``alembic check`` would name; empty if the database is as the models say."""
    with engine.connect() as connection:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"target_metadata": metadata, **options}),
            metadata,
        )


_CATALOG = {
    "columns": "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute AS a"
    " JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    " AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
    "functions": "SELECT p.oid::regprocedure::text, p.prosrc, p.proconfig::text, obj_description(p.oid, 'pg_proc'), p.provolatile::text,"
    " p.prosecdef FROM pg_proc AS p WHERE p.pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
    "triggers": "SELECT t.tgrelid::regclass::text, t.tgname, t.tgfoid::regprocedure::text, t.tgtype, t.tgenabled::text, t.tgattr::text,"
    " encode(t.tgargs, 'hex'), t.tgoldtable, t.tgnewtable, pg_get_triggerdef(t.oid) FROM pg_trigger AS t WHERE NOT t.tgisinternal",
}


def catalog(engine: sa.Engine) -> dict[str, set[tuple[Any, ...]]]:
    """The tables' columns, the functions and the triggers that the database holds, in full; without
    Alembic's own table."""
    with engine.connect() as connection:
        return {
            kind: {
                tuple(row)
                for row in connection.execute(sa.text(sql))
                if "alembic_version" not in str(row[0])
            }
            for kind, sql in _CATALOG.items()
        }


class Project:
    """A folder as ``alembic init`` leaves it, but for an env.py that takes its metadata and options
    of ``configure()`` from the test."""

    def __init__(
        self, folder: Path, url: sa.URL, *, template: str = "generic", **options: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        command.init(Config(str(folder / "alembic.ini")), str(folder / "alembic"), template)
        env = folder / "alembic" / "env.py"
        text = env.read_text().replace(
            "target_metadata = None",
            'import alembic_ops  # noqa: F401\ntarget_metadata = config.attributes["metadata"]',
        )
        env.write_text(
            text.replace(
                "target_metadata=target_metadata",
                'target_metadata=target_metadata, **config.attributes["options"]',
            )
        )
        # Without the name of the file, so that env.py does not set up logging for the whole
        # process.
        self.config = Config(stdout=io.StringIO())
        self.config.set_main_option("script_location", str(folder / "alembic").replace("%", "%%"))
        self.config.set_main_option(
            "sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%")
        )
        self.config.attributes.update(metadata=sa.MetaData(), options=options)

    def revise(self, metadata: Any = None) -> str:
        """What ``alembic revision --autogenerate`` writes for ``metadata``."""
        if metadata is not None:
            self.config.attributes["metadata"] = metadata
        script: Any = command.revision(self.config, "change", autogenerate=True)
        return Path(script.path).read_text()

    def upgrade(self, metadata: Any = None) -> str:
        """The same, run, and checked to have left nothing to do."""
        text = self.revise(metadata)
        command.upgrade(self.config, "head")
        command.check(self.config)
        return text

    def downgrade(self, to: str = "base") -> None:
        command.downgrade(self.config, to)

    def sql(self, run: Callable[..., Any], revision: str) -> str:
        """What a command prints with ``--sql``."""
        self.config.output_buffer = io.StringIO()
        run(self.config, revision, sql=True)
        return self.config.output_buffer.getvalue()


def shop(
    *names: str,
    spec: NotifySpec | None = NotifySpec(),
    schema: str | None = None,
    more: tuple[str, ...] = (),
    **options: Any,
) -> sa.MetaData:
    """Tables ``names``, marked with ``spec`` if there is one."""
    metadata = sa.MetaData()
    for name in names or ("orders",):
        columns = [sa.Column(column, sa.Text) for column in ("status", *more)]
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            *columns,
            schema=schema,
            **options,
        )
        if spec is not None:
            notify_on_change(table, spec)
    return metadata


def together(*given: sa.MetaData) -> sa.MetaData:
    """One metadata with the tables of several."""
    metadata = sa.MetaData()
    for table in (table for each in given for table in each.tables.values()):
        table.to_metadata(metadata)
    return metadata


def marked(engine: sa.Engine) -> set[str]:
    """Return the tables that have triggers of sa_pgnotify."""
    with engine.connect() as connection:
        sql = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'sa\\_pgnotify\\_%'"
        return set(connection.scalars(sa.text(sql)))
