"""Alembic as the tests use it: what autogenerate writes is run as it is written, and the catalog is compared before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, MetaData, text

import alembic_ops  # noqa: F401 (its operations)


@dataclass(frozen=True)
class Revision:
    """The bodies of ``upgrade`` and ``downgrade``, as autogenerate wrote them."""

    upgrade: str
    downgrade: str


def autogenerate(engine: Engine, metadata: Any, **options: Any) -> Revision:
    """What autogenerate writes to bring the database to ``metadata`` (one, or a list), given options of ``context.configure()``."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, **options})
        script = produce_migrations(context, metadata)
        batch = options.get("render_as_batch", False)
        return Revision(*(render_python_code(ops, render_as_batch=batch) for ops in (script.upgrade_ops, script.downgrade_ops)))


def apply(engine: Engine, code: str) -> None:
    """Run the body of an ``upgrade`` or ``downgrade`` in one transaction."""
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        exec(f"import sqlalchemy as sa\nfrom sqlalchemy.dialects import postgresql\nif True:\n    {code}", {"op": op})


def upgrade(engine: Engine, metadata: Any, **options: Any) -> Revision:
    """Autogenerate a revision and run its upgrade."""
    revision = autogenerate(engine, metadata, **options)
    apply(engine, revision.upgrade)
    return revision


def differences(engine: Engine, metadata: MetaData, **options: Any) -> list[Any]:
    """What ``alembic check`` would name; empty if the database is as the models say."""
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts={"target_metadata": metadata, **options}), metadata)


_CATALOG = {
    "columns": "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute AS a"
    " JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    " AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
    "functions": "SELECT p.oid::regprocedure::text, p.prosrc, p.proconfig::text, obj_description(p.oid, 'pg_proc'), p.provolatile::text,"
    " p.prosecdef FROM pg_proc AS p WHERE p.pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')",
    "triggers": "SELECT t.tgrelid::regclass::text, t.tgname, t.tgfoid::regprocedure::text, t.tgtype, t.tgenabled::text, t.tgattr::text,"
    " encode(t.tgargs, 'hex'), t.tgoldtable, t.tgnewtable, pg_get_triggerdef(t.oid) FROM pg_trigger AS t WHERE NOT t.tgisinternal",
}


def catalog(engine: Engine) -> dict[str, set[tuple[Any, ...]]]:
    """The tables' columns, the functions and the triggers that the database holds, in full; without Alembic's own table."""
    with engine.connect() as connection:
        return {
            kind: {tuple(row) for row in connection.execute(text(sql)) if "alembic_version" not in str(row[0])}
            for kind, sql in _CATALOG.items()
        }
