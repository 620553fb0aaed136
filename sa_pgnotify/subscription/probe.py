"""Whether notifications arrive on a new connection at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from ..drivers.interface import ListenConnection
from ..drivers.waiting import Waiting
from ..errors import ListenUnavailable

PROBE_SECONDS = 5.0
"""How long a notification to ourselves may take before we call it swallowed."""
PROBE_CHANNEL = "sa_pgnotify_probe"
"""One for all: what a pooler's session keeps of it, if that is not found again, is one LISTEN,
however often a start is tried."""
LEAVE_SECONDS, UNLISTEN_ATTEMPTS = 1.0, 50
"""How long, and how often, a refused start looks for the session of a pooler that LISTENs for
it."""
_FIRST_QUESTION = """
SELECT CASE WHEN pg_catalog.current_setting('application_name') = ''
  THEN pg_catalog.set_config('application_name', 'sa_pgnotify listener', false) END,
  pg_catalog.set_config('idle_session_timeout', '0', false), pg_catalog.set_config('default_transaction_isolation', 'read committed', false)
WHERE NOT pg_catalog.pg_is_in_recovery()
"""
"""Can this server LISTEN at all? A row says yes, whatever the program makes of a boolean. Who looks
at pg_stat_activity shall know who it is that sits there, and sitting there is its work."""


def greet(connection: ListenConnection) -> None:
    """
    :raises ListenUnavailable: on a standby.
    """
    if not connection.execute(_FIRST_QUESTION):
        raise ListenUnavailable(
            "standby",
            "this server is a standby, and a standby cannot LISTEN. Connect to the primary",
        )


def probe(
    connection: ListenConnection,
    open_another: Callable[[], ListenConnection],
    waiting: Waiting,
    stopped: Callable[[], bool],
) -> None:
    """Send a notification through another connection and wait for it, on one that listens to
    nothing yet.

    Another connection, because a transaction pooler may well deliver what a client sends to itself.

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
                    "(pgbouncer with pool_mode=transaction, say) stands in between. Give the listener an engine that connects "
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
    """Take the probe's LISTEN back, in whichever of a pooler's sessions it is; returns whether that
    session was found."""
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
