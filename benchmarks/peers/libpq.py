"""The floor: a statement trigger that sends the new keys in slices, and libpq's own functions to
read them.

No library can do less: it does not say what changed, does not pair OLD with NEW, and only counts
the keys.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg2
from psycopg import pq

from .protocol import Table, Tally, serve

FUNCTION = """
    CREATE FUNCTION tell_keys() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      bytes bytea;
      total int;
      start int := 1;
    BEGIN
      SELECT convert_to(string_agg(id::text || E'\\n', ''), 'UTF8') INTO bytes FROM new_rows;
      total := octet_length(bytes);
      WHILE start <= total LOOP
        PERFORM pg_notify('changes', concat(start, ' ', convert_from(substr(bytes, start, 7900), 'UTF8')));
        start := start + 7900;
      END LOOP;
      RETURN NULL;
    END $$"""


def install(tables: list[Table]) -> None:
    connection = psycopg2.connect("")
    with connection, connection.cursor() as cursor:
        cursor.execute(FUNCTION)
        for table in tables:
            for operation in ("INSERT", "UPDATE"):
                cursor.execute(
                    f"CREATE TRIGGER tell_{operation.lower()} AFTER {operation} ON {table.name} "
                    "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tell_keys()"
                )
    connection.close()


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    connection = pq.PGconn.connect(b"")
    if connection.status != pq.ConnStatus.OK:
        raise RuntimeError(connection.error_message.decode())
    connection.exec_(b"LISTEN changes")
    tally.ready()
    one_by_one = tally.received.__name__ != "_count"
    while True:
        select.select([connection.socket], [], [])
        connection.consume_input()
        while note := connection.notifies():
            if one_by_one:
                for key in note.extra.partition(b" ")[2].split():
                    tally.received(int(key))
            else:
                tally.many(note.extra.count(b"\n"))


if __name__ == "__main__":
    serve(install, listen)
