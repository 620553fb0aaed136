"""Durable tables, what their change log consists of, and what it has recorded."""

from __future__ import annotations

import sqlalchemy as sa
from statements import rows

from sa_pgnotify import (
    NotifySpec,
    notify_on_change,
)

DURABLE = NotifySpec(values="all", durable=True)


def durable_tables(
    spec: NotifySpec | None = DURABLE, *, metadata: sa.MetaData | None = None, name: str = "orders"
) -> sa.MetaData:
    metadata = sa.MetaData() if metadata is None else metadata
    table = sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("status", sa.Text)
    )
    return metadata if spec is None else notify_on_change(table, spec).metadata


def objects(engine: sa.Engine) -> set[str]:
    """Names of all tables, indexes, sequences, functions and triggers that are not PostgreSQL's
    own."""
    ours = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    sql = (
        f"SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text {ours} UNION ALL SELECT tgname FROM pg_trigger "
        f"WHERE NOT tgisinternal UNION ALL SELECT proname || '()' FROM pg_proc WHERE pronamespace::regnamespace::text {ours}"
    )
    with engine.connect() as connection:
        return set(connection.scalars(sa.text(sql)))


def logged_changes(engine: sa.Engine, schema: str = "public") -> list[tuple[int]]:
    """One row for each of those that the log has of the table."""
    return rows(
        engine, f"SELECT 1 FROM \"{schema}\".sa_pgnotify_log_0 WHERE relation LIKE '%orders'"
    )
