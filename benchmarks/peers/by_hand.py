"""A program without a library: a row trigger with pg_notify, and a loop of select(), poll() and,
for rows, json.loads().

``key`` sends the key, ``row`` the row as JSON, and ``typed`` is ``row`` with numbers and timestamps
converted to what a SELECT returns.
"""

from __future__ import annotations

import json
import select
import sys
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg2

from .protocol import Table, Tally, serve

MODE = sys.argv[1]
PAYLOAD = "NEW.id::text" if MODE == "key" else "row_to_json(NEW)::text"
FUNCTION = f"""
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_notify(TG_TABLE_NAME, {PAYLOAD});
      RETURN NULL;
    END $$"""


def connected() -> Any:
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def install(tables: list[Table]) -> None:
    with connected().cursor() as cursor:
        cursor.execute("SELECT to_regproc('tell') IS NULL")
        if cursor.fetchone()[0]:
            cursor.execute(FUNCTION)
        for table in tables:
            cursor.execute(
                f"CREATE TRIGGER tell AFTER INSERT OR UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION tell()"
            )


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    connections = [connected() for _ in range(options.get("subscribers", 1))]
    for connection in connections:
        for table in tables:
            connection.cursor().execute(f"LISTEN {table.name}")
    tally.ready()
    first, received = connections[0], tally.received
    while True:
        readable = select.select(connections, [], [])[0]
        for connection in readable:
            connection.poll()
            notes = connection.notifies[:]
            connection.notifies.clear()
            if connection is not first:
                continue
            for note in notes:
                if MODE == "key":
                    received(int(note.payload))
                elif MODE == "row":
                    row = json.loads(note.payload)
                    received(row["id"], row)
                else:
                    row = json.loads(note.payload, parse_float=Decimal)
                    row["placed_at"] = datetime.fromisoformat(row["placed_at"])
                    received(row["id"], row)


if __name__ == "__main__":
    serve(install, listen)
