"""How the trigger functions of template version 1 send changes.

Their siblings in :mod:`sa_pgnotify.triggers.templates.v1_log` write the changes into the log
instead. A notification holds less than 8000 bytes, so a message that is longer is sent in parts. An
error within the function must not fail the write, so an exception block around everything sends a
*failed* message in place of an error.

At the end of an exception block, PostgreSQL merges the notifications of the block into those of the
transaction, one by one, which costs more than all the rest. So a message that fits into one
notification is sent behind the block. Nothing can fail there: the length of the message and the name
of the channel are known, and the block has found out whether the writer may call pg_notify().
"""

from __future__ import annotations

from ...protocol.channels import DEFAULT_CHANNEL
from ...protocol.presence import door, nobody_listens
from ...sql import literal
from .v1_names import FULL_RELATION, RETRY, TABLE, warning
from .v1_rows import MICROSECONDS, RANDOM

__all__ = ["PART_BYTES", "send_body"]

PART_BYTES = 7900
"""A notification takes 7999 bytes; the rest is for the part's own header."""


def send_body(
    given_channel: str | None, marked: str, names: str, chosen: str, declared: str
) -> str:
    """Return the function's source.

    :param given_channel: the channel, if it is not the table's own.
    :param marked: the statements that find the marked table, if another one fires the triggers.
    :param names: the statements that set ``relation``, ``channel`` and ``context``.
    :param chosen: the statements that compose the message, up to their END IF; ``declared``: the
        declarations of their variables.
    """
    given = None if given_channel is None else literal(given_channel)
    return _BODY.format(
        door=door(given_channel),
        nobody_listens=nobody_listens("door"),
        names=names,
        warning=warning(
            message=f"pg_catalog.concat('sa_pgnotify could not send a change of ', {TABLE})",
            detail="message || nonce",
            hint="'Your write is not affected. Compare table and trigger with check().'",
            indent=" " * 4,
        ),
        full_relation=FULL_RELATION,
        channel=given or DEFAULT_CHANNEL.format(name="relation"),
        usual_channel=given or "coalesce(channel, relation)",
        marked=marked,
        chosen=chosen,
        declared=declared,
        retry=RETRY,
        part_bytes=PART_BYTES,
        random=RANDOM,
        microseconds=MICROSECONDS,
    )


_BODY = """
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
{declared}BEGIN
  LOOP
  BEGIN
{marked}  door := {door};
  IF {nobody_listens} THEN RETURN NULL; END IF;
{names}{chosen}  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < {part_bytes} OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat({random}, {microseconds});
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + {part_bytes};
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify({usual_channel}, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
{retry}    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
{warning}    BEGIN
      IF {nobody_listens} THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := {full_relation};
      channel := {channel};
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', {random}, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify({usual_channel}, message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
"""
