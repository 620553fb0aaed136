"""A query on an indexed ``updated_at`` column every 100 ms. It reconnects when its connection is
lost."""

from __future__ import annotations

import time
from typing import Any

import psycopg2

from .protocol import Table, Tally, serve

PERIOD = 0.1
TOUCH = """
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      NEW.updated_at := clock_timestamp();
      RETURN NEW;
    END $$"""


def connected() -> Any:
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def install(tables: list[Table]) -> None:
    with connected().cursor() as cursor:
        cursor.execute(TOUCH)
        for table in tables:
            cursor.execute(
                f"ALTER TABLE {table.name} ADD updated_at timestamptz NOT NULL DEFAULT clock_timestamp()"
            )
            cursor.execute(f"CREATE INDEX ON {table.name} (updated_at)")
            cursor.execute(
                f"CREATE TRIGGER touch BEFORE UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION touch()"
            )


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    (table,) = tables
    columns = ", ".join(table.columns)
    query = (
        f"SELECT updated_at, {columns} FROM {table.name} WHERE updated_at > %s ORDER BY updated_at"
    )
    names = ["updated_at", *table.columns]
    connection = connected()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (last,) = cursor.fetchone()
    tally.ready()
    while True:
        time.sleep(PERIOD)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, (last,))
                found = cursor.fetchall()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            try:
                connection = connected()
            except psycopg2.OperationalError:
                time.sleep(PERIOD)
            continue
        for values in found:
            row = dict(zip(names, values))
            last = row["updated_at"]
            tally.received(row["id"], row)


if __name__ == "__main__":
    serve(install, listen)
