"""The publication and the replication slot by which a capture fills a change log.

There is one of each for a log, whatever the number of programs that share it, because each slot
decodes the whole write-ahead log of the server. Their names follow from the log's schema and from
the database, so that no program has to choose or to store them.

The publication belongs to the DDL of the tables. PostgreSQL does not make a slot in a transaction
that has written, so the first capture makes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..sql import Execute, literal
from .tables import LogNames

__all__ = ["PUBLICATION", "SLOT", "SLOT_PREFIX", "Slot", "covers", "find_slot"]

SLOT_PREFIX = "sa_pgnotify_"
PUBLICATION = (
    f"CASE WHEN pg_catalog.octet_length({{schema}}::text) <= {63 - len(SLOT_PREFIX)}"
    f" THEN pg_catalog.concat('{SLOT_PREFIX}', {{schema}})"
    f" ELSE pg_catalog.concat('{SLOT_PREFIX}', pg_catalog.md5({{schema}}::text)) END"
)
"""SQL for the name of a log's publication, given SQL for the name of the log's schema."""
SLOT = (
    f"pg_catalog.concat('{SLOT_PREFIX}', (SELECT d.oid FROM pg_catalog.pg_database AS d"
    " WHERE d.datname = pg_catalog.current_database()), '_',"
    " pg_catalog.substr(pg_catalog.md5({publication}::text), 1, 8))"
)
"""SQL for the name of a log's slot, which must be unique in the server, given SQL for the name of the
publication."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The replication slot of a log, as the server has it.

    :ivar name: its name; ``publication`` that of the publication which it reads.
    :ivar publication_oid: of the publication; None if it does not exist.
    :ivar confirmed: bytes of the write-ahead log that it will not send again; None if it does not
        exist.
    :ivar wal_status: ``reserved``, ``extended``, ``unreserved`` or ``lost``; None if it does not
        exist.
    :ivar active_pid: process id of the session that reads it; None if none does.
    :ivar retained: bytes of the write-ahead log that the server keeps for it.
    :ivar wal_level: the server's setting.
    """

    name: str
    publication: str
    publication_oid: int | None
    confirmed: int | None
    wal_status: str | None
    active_pid: int | None
    retained: int
    wal_level: str

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return self.wal_status is not None

    @property
    def is_lost(self) -> bool:
        """Whether the server has removed what the slot has not sent."""
        return self.wal_status == "lost"


_FIND = """
SELECT {slot}, n.publication, p.oid::bigint, (s.confirmed_flush_lsn - '0/0'::pg_lsn)::bigint,
  CASE WHEN s.slot_name IS NOT NULL THEN coalesce(s.wal_status, 'reserved') END, s.active_pid,
  coalesce(CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_lsn() - s.restart_lsn END, 0)::bigint,
  pg_catalog.current_setting('wal_level')
FROM (SELECT {publication} AS publication FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass({head})::oid) AS n
LEFT JOIN pg_catalog.pg_publication AS p ON p.pubname = n.publication
LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = {slot}
"""


def find_slot(execute: Execute, names: LogNames) -> Slot | None:
    """Return the slot of a log, which need not exist; None if the log does not."""
    sql = _FIND.format(
        slot=SLOT.format(publication="n.publication"),
        publication=PUBLICATION.format(schema="n.nspname"),
        head=literal(names.head),
    )
    return next((Slot(*row) for row in execute(sql)), None)


COVER_PREFIX = "sa_pgnotify.cover"
COVER_SECONDS = 5.0
"""How long a reader waits for the capture, which is usually some milliseconds behind."""
_LOOKS = 100
"""How often it looks meanwhile, at growing intervals."""


def covers(execute: Execute, names: LogNames, seconds: float = COVER_SECONDS) -> bool:
    """Wait until the log has all captured changes that were committed before this call, and return
    whether it has; False if the capture has not come that far in time.

    A snapshot of the tables sees changes that the capture has not appended yet. A reader that joins
    the two takes the snapshot, calls this, and then reads the log.

    :param execute: in autocommit.
    """
    # A message is decoded after all transactions that committed before it. The transaction of the
    # message waits for the disk, because only WAL that is on the disk is decoded.
    ((lsn, _),) = execute(
        f"SELECT (pg_catalog.pg_logical_emit_message(true, '{COVER_PREFIX}', '') - '0/0'::pg_lsn)::bigint,"
        " pg_catalog.set_config('synchronous_commit', 'local', true)"
    )
    reached = f"(SELECT pg_catalog.max(flushed) FROM {names.captures})"
    for look in range(_LOOKS):
        pause = 2 * seconds * look / _LOOKS**2
        # the server waits, so that this suits an event loop as well
        ((flushed,),) = execute(f"SELECT {reached} FROM pg_catalog.pg_sleep({pause})")
        if flushed is not None and flushed >= lsn:
            return True
    return False
