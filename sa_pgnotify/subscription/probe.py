"""Proof that notifications arrive on a new connection.

Through a transaction pooler, LISTEN succeeds too, but on a session that the pooler gives to another
client a moment later. Nothing ever arrives then, and the pooler's session keeps the LISTEN after
the listener is gone. So a notification is sent and awaited before the connection is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from ..drivers.interface import ListenConnection
from ..drivers.waiting import Waiting
from ..errors import ListenUnavailable

PROBE_SECONDS = 5.0
"""Seconds that the notification may take before the connection is refused."""
PROBE_CHANNEL = "sa_pgnotify_probe"
"""All listeners use one channel, so that a pooler's session keeps at most one LISTEN, however often
a start is tried."""
LEAVE_SECONDS, UNLISTEN_ATTEMPTS = 1.0, 50
"""After a refused start: the most seconds, and the most attempts, to find the pooler's session that
has the LISTEN, and to undo it."""
_SET_UP = """
SELECT CASE WHEN pg_catalog.current_setting('application_name') = ''
  THEN pg_catalog.set_config('application_name', 'sa_pgnotify listener', false) END,
  pg_catalog.set_config('idle_session_timeout', '0', false), pg_catalog.set_config('default_transaction_isolation', 'read committed', false)
WHERE NOT pg_catalog.pg_is_in_recovery()
"""
"""Returns a row if the server can LISTEN. (It does not return a boolean, because the driver may be
configured to read booleans as anything.) The session gets a name in pg_stat_activity, and is
allowed to be idle for any time."""


def greet(connection: ListenConnection) -> None:
    """Set up a new session.

    :raises ListenUnavailable: on a standby.
    """
    if not connection.execute(_SET_UP):
        raise ListenUnavailable(
            "standby",
            "this server is a standby, and a standby cannot LISTEN",
            "Connect to the primary",
        )


def probe(
    connection: ListenConnection,
    open_another: Callable[[], ListenConnection],
    waiting: Waiting,
    stopped: Callable[[], bool],
) -> None:
    """Send a notification through another connection, and wait for it on this one.

    The other connection is needed because a transaction pooler may deliver a notification that a
    client sends to itself.

    :param stopped: returns whether to give up.
    :raises ListenUnavailable: if the notification does not arrive.
    """
    token = uuid4().hex
    with waiting.deadline(connection, PROBE_SECONDS):
        connection.listen([PROBE_CHANNEL])
    try:
        sender = open_another()
        try:
            with waiting.deadline(sender, PROBE_SECONDS):
                sender.execute(f"NOTIFY {PROBE_CHANNEL}, '{token}'")
        finally:
            sender.close()
        until = time.monotonic() + PROBE_SECONDS
        while not stopped() and (PROBE_CHANNEL, token) not in [
            (channel, payload) for channel, payload, _ in connection.receive()
        ]:
            left = until - time.monotonic()
            if left <= 0:
                raise ListenUnavailable(
                    "pooler",
                    f"LISTEN succeeded, but a notification did not arrive within {PROBE_SECONDS:.0f} s: there is a transaction "
                    "pooler in between (such as pgbouncer with pool_mode=transaction)",
                    "Give the listener an engine that connects "
                    "to PostgreSQL directly, or with session pooling",
                )
            waiting.wait(connection, left)
    except Exception as error:
        with suppress(Exception), waiting.deadline(connection, LEAVE_SECONDS):
            if not _unlisten(connection) and isinstance(error, ListenUnavailable):
                error.add_note(
                    f"One of the pooler's sessions still LISTENs on {PROBE_CHANNEL}, because it could not be reached again. "
                    "This is harmless."
                )
        raise
    with waiting.deadline(connection, PROBE_SECONDS):
        connection.unlisten([PROBE_CHANNEL])


def _unlisten(connection: ListenConnection) -> bool:
    """Undo the probe's LISTEN in the pooler's session that has it, and return whether that session
    was found."""
    for _ in range(UNLISTEN_ATTEMPTS):
        connection.execute("BEGIN")  # a pooler keeps its session for a transaction
        found = connection.execute(
            f"SELECT 1 FROM pg_catalog.pg_listening_channels() AS c WHERE c = '{PROBE_CHANNEL}'"
        )
        if found:
            connection.unlisten([PROBE_CHANNEL])
        connection.execute("COMMIT")
        if found:
            return True
    return False
