"""Proof that notifications arrive on a new connection.

LISTEN succeeds through a transaction pooler as well, on a session that the listener will not have a
moment later; then nothing ever arrives, and the pooler's session keeps the LISTEN when the listener is
long gone. So a notification is sent and awaited before anything else is done on the connection.
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
"""How long the notification may take before the connection is refused."""
PROBE_CHANNEL = "sa_pgnotify_probe"
"""One channel for all listeners: a pooler's session that is not found again keeps one LISTEN, however
often a start is tried."""
LEAVE_SECONDS, UNLISTEN_ATTEMPTS = 1.0, 50
"""How long, and how often, a refused start searches for the pooler's session that LISTENs for it."""
_FIRST_QUESTION = """
SELECT CASE WHEN pg_catalog.current_setting('application_name') = ''
  THEN pg_catalog.set_config('application_name', 'sa_pgnotify listener', false) END,
  pg_catalog.set_config('idle_session_timeout', '0', false), pg_catalog.set_config('default_transaction_isolation', 'read committed', false)
WHERE NOT pg_catalog.pg_is_in_recovery()
"""
"""Gives a row if the server can LISTEN: a row, because a program may map booleans to anything. The
session gets a name in pg_stat_activity, and may be idle for any time, which is its work."""


def greet(connection: ListenConnection) -> None:
    """Set up a new session.

    :raises ListenUnavailable: on a standby.
    """
    if not connection.execute(_FIRST_QUESTION):
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

    A transaction pooler may well deliver what a client sends to itself, hence the other connection.

    :param stopped: whether to give up.

    :raises ListenUnavailable: if it does not arrive.
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
                    f"LISTEN succeeded, but a notification did not arrive within {PROBE_SECONDS:.0f} s: a transaction pooler "
                    "(pgbouncer with pool_mode=transaction, say) stands in between",
                    "Give the listener an engine that connects "
                    "to PostgreSQL directly, or with session pooling",
                )
            waiting.wait(connection, left)
    except Exception as error:
        with suppress(Exception), waiting.deadline(connection, LEAVE_SECONDS):
            if not _unlisten(connection) and isinstance(error, ListenUnavailable):
                error.add_note(
                    f"One of the pooler's sessions still LISTENs on {PROBE_CHANNEL}; it had no turn to UNLISTEN. It does no harm."
                )
        raise
    with waiting.deadline(connection, PROBE_SECONDS):
        connection.unlisten([PROBE_CHANNEL])


def _unlisten(connection: ListenConnection) -> bool:
    """Undo the probe's LISTEN, in the session of a pooler that has it; return whether that was
    found."""
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
