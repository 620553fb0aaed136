"""What autogenerate proposes, as the operations that it calls."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from receiving import received
from revisions import catalog

from sa_pgnotify import Deleted, Inserted, NotifySpec, Truncated, Updated, notify_on_change

OPERATIONS = ("insert", "update", "delete", "truncate")


DECLARED = {
    "columns": {"id": "integer", "status": "text"},
    "key": ["id"],
    "operations": list(OPERATIONS),
    "version": 1,
}


FUNCTION = "public.sa_pgnotify_orders()"


NOTHING = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"


Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def one_table(
    spec: NotifySpec | None = NotifySpec(),
    name: str = "orders",
    *,
    schema: str | None = None,
    status: str = "status",
) -> sa.MetaData:
    """One table, marked with ``spec`` if there is one."""
    metadata = sa.MetaData()
    columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column(status, sa.String(20))]
    table = sa.Table(name, metadata, *columns, schema=schema)
    if spec is not None:
        notify_on_change(table, spec)
    return metadata


class Recorder:
    """Stands for ``op`` and keeps what is called on it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def f(self, name: str) -> str:
        return name

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


def calls(code: str) -> list[Call]:
    """The operations that the body of a revision calls."""
    op = Recorder()
    exec(f"import sqlalchemy as sa\nif True:\n    {code}", {"op": op})
    return op.calls


def calls_in_short(code: str) -> list[tuple[str, str]]:
    """The same, in short: each operation and its table."""
    return [(name, args[0]) for name, args, _ in calls(code)]


def functions(engine: sa.Engine) -> set[str]:
    return {row[0] for row in catalog(engine)["functions"]}


def assert_all_delivered(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Check that each operation on the only table is delivered, once."""
    (table,) = metadata.tables.values()
    name = table.fullname
    _, second = table.columns
    events = received(
        engine, table, f"INSERT INTO {name} VALUES (1, 'new')", f"UPDATE {name} SET {second.name} = 'old'", f"DELETE FROM {name}",
        f"TRUNCATE {name}",
    )  # fmt: skip
    assert [type(event) for event in events] == [Inserted, Updated, Deleted, Truncated]
