"""psycopg2-pgevents: a row trigger that sends the key, and a loop around its ``poll()``.

It needs the extension uuid-ossp. A server that lacks it has gen_random_uuid() of its own, which
does the same and is no slower.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg2
from psycopg2_pgevents import (
    install_trigger,
    install_trigger_function,
    poll,
    register_event_channel,
    trigger,
)

from .protocol import Table, Tally, serve

EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";'


def connected() -> Any:
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def install(tables: list[Table]) -> None:
    connection = psycopg2.connect("")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'uuid-ossp'")
        if not cursor.fetchone()[0]:
            cursor.execute(
                "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE SQL AS 'SELECT gen_random_uuid()'"
            )
            trigger.INSTALL_TRIGGER_FUNCTION_STATEMENT = (
                trigger.INSTALL_TRIGGER_FUNCTION_STATEMENT.replace(EXTENSION, "")
            )
    install_trigger_function(connection, overwrite=True)
    for table in tables:
        install_trigger(connection, table.name)
    connection.close()


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    connections = [connected() for _ in range(options.get("subscribers", 1))]
    for connection in connections:
        register_event_channel(connection)
    tally.ready()
    received = tally.received
    if len(connections) == 1:
        while True:
            for event in poll(connections[0]):
                received(int(event.row_id))
    while True:
        for connection in select.select(connections, [], [])[0]:
            for event in poll(connection, timeout=0.0):
                if connection is connections[0]:
                    received(int(event.row_id))


if __name__ == "__main__":
    serve(install, listen)
