"""Tables that are marked, and the triggers and functions that are installed for them."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from sa_pgnotify import (
    NotifySpec,
    notify_on_change,
)

OPERATIONS = ("insert", "update", "delete", "truncate")


def marked_tables(spec: NotifySpec | None = NotifySpec(), *names: str) -> sa.MetaData:
    """Tables ``names``, marked with ``spec`` if there is one."""
    metadata = sa.MetaData()
    for name in names or ("orders",):
        table = sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("status", sa.Text),
        )
        if spec is not None:
            notify_on_change(table, spec)
    return metadata


def objects(engine: sa.Engine) -> set[str]:
    """Names of all triggers and functions that are not PostgreSQL's own."""
    with engine.connect() as connection:
        return set(
            connection.scalars(
                sa.text(
                    "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
                    "SELECT proname || '()' FROM pg_proc WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
                )
            )
        )


ALL_OBJECTS = {"sa_pgnotify_orders()", *(f"sa_pgnotify_{operation}" for operation in OPERATIONS)}


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that are sent through ``engine`` within the block."""
    sent: list[str] = []

    def keep(connection, cursor, statement, *_):
        sent.append(statement)

    sa.event.listen(engine, "before_cursor_execute", keep)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", keep)
