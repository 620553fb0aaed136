"""How the trigger functions of template version 1 write changes into the log, where those of :mod:`sa_pgnotify.template_v1` send them.

It is hard because a row of the log can be written only outside of an exception block: in one, it would cost the transaction an id of
its own for each statement, and sixty-four of these make every other session slower. So the block around it composes all that may fail,
takes the row's number, and looks whether the slot that this falls in is there, and whether the number is free, which it is not where a
restored database has its sequence behind its rows; what follows can fail only where the user's own write would. The doorbell's key, which
needs the log's head, is made in there too, and says by being there that all this was found.

The changes of a statement are cut, at the ends of rows, into pieces that a reader can hold. Then a reader that sleeps is rung, if there is
one: see :mod:`sa_pgnotify.doorbell`.
"""

from __future__ import annotations

import hashlib

from .changelog import SLOT_BITS, SLOTS, LogNames
from .quoting import literal

__all__ = ["DOORBELL_OFF", "bell_channel", "doorbell_key", "log_body"]

PIECE_BYTES = 60_000
"""A piece ends with the first row that ends behind this many bytes. 14 MB in pieces of 65 KB were written in a third of the time that
pieces of one page (8 KB) took, where PostgreSQL stores them as they are, out of line."""
LONGEST_STATEMENT = 1 << 29
"""Bytes. PostgreSQL's values end at 2**30, and a row of the log must be one."""
WINDOW = 2048
"""Bytes in which the end of a row is looked for at a time."""
RENUMBER_KEY = (int.from_bytes(hashlib.sha256(b"sa_pgnotify renumber").digest()[:4], "big") >> 1) << 32
"""What the OID of the log's head is added to: the key of the advisory lock under which a sequence is put right."""
DOORBELL_OFF = "sa_pgnotify.doorbell"
"""A setting; ``off`` in a session that uses two-phase commit, which NOTIFY forbids: readers then find its changes at their heartbeat."""


def bell_channel(oid: str) -> str:
    """SQL for the channel on which sleeping readers are rung, given SQL for the OID of the log's head."""
    return f"pg_catalog.concat('sa_pgnotify_log_', {oid})"


def doorbell_key(relation: str, oid: str) -> str:
    """SQL for the key of the advisory lock that a sleeping reader holds for each table that it reads, so that who writes to others does not
    ring.

    :param relation: SQL for the table's name in messages; ``oid`` for the OID of the log's head.
    """
    return f'pg_catalog.hashtextextended({relation} COLLATE "C", {oid}::bigint)'


def log_body(relation: str, context: str, chosen: str, log: LogNames) -> str:
    """The function's source.

    :param relation: the statements that set the variable of that name; ``context`` the same; ``chosen`` those that compose the message,
        up to their END IF.
    :param log: the names of the log's tables.
    """
    oid = f"{literal(log.head)}::regclass::oid::bigint"
    columns = ("id", "xid", "pid", "relation", "header", "rows")
    insert = f"INSERT INTO {{}} ({', '.join(columns)}) VALUES (place, {_XID}, pg_catalog.pg_backend_pid(), relation, message, "
    read = ", ".join(f"s.{column}" for column in columns)
    looks = _in_slots(log, f"PERFORM {read} FROM {{}} AS s WHERE s.id = place;")
    newest = " UNION ALL ".join(f"SELECT max(s.id) AS id FROM {name} AS s" for name in log.slots)
    return _BODY.format(
        relation=relation,
        context=context,
        chosen=chosen,
        sequence=literal(log.sequence),
        insert_all=_in_slots(log, f"{insert}rows);"),
        insert_piece=_in_slots(log, f"{insert}piece);"),
        looks=looks,
        newest=newest,
        piece_bytes=PIECE_BYTES,
        longest=LONGEST_STATEMENT,
        window=WINDOW,
        key=doorbell_key("relation", oid),
        renumber=f"{RENUMBER_KEY} + {oid}",
        channel=bell_channel(oid),
        off=literal(DOORBELL_OFF),
    )


def _in_slots(names: LogNames, statement: str) -> str:
    """What does ``statement`` with the slot that ``place`` falls in, up to its END IF."""
    return "".join(
        f"    {'ELSIF' if slot else 'IF'} (place >> {SLOT_BITS}) & {SLOTS - 1} = {slot} THEN\n      {statement.format(name)}\n"
        for slot, name in enumerate(names.slots)
    )


_XID = "pg_catalog.pg_current_xact_id()::text::bigint"

# PL/pgSQL makes each expression ready anew in each transaction, so that the most usual way, one piece, has few of them.
_BODY = """
#variable_conflict use_column
<<sa>>
DECLARE
  relation text;
  context text;
  rows text;
  message text;
  bytes bytea;
  piece text;
  total int;
  start int;
  stop int;
  ahead int;
  place bigint;
  newest bigint;
  key bigint;
BEGIN
  BEGIN
    place := pg_catalog.nextval({sequence});
{looks}    END IF;
    IF FOUND THEN
      PERFORM pg_catalog.pg_advisory_xact_lock({renumber});
      newest := (SELECT max(id) FROM ({newest}) AS s);
      place := pg_catalog.nextval({sequence});
      IF place <= newest THEN
        -- Far enough for whoever takes a number meanwhile.
        place := pg_catalog.setval({sequence}, newest + 10000);
      END IF;
    END IF;
{relation}    key := {key};
{context}{chosen}  END IF;
    IF pg_catalog.octet_length(rows) > {piece_bytes} OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > {longest} THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed {longest} bytes';
      END IF;
      -- Bytes that are no text fail here, since no reader could read them.
      IF pg_catalog.convert_to(message, 'UTF8') IS NOT NULL THEN bytes := pg_catalog.convert_to(rows, 'UTF8'); END IF;
      total := pg_catalog.octet_length(bytes);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- The user's write goes on. The readers of the log are told that something is missing.
    RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
      DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare tables and triggers with check().';
    IF key IS NULL THEN RETURN NULL; END IF; -- there is no log to say it in
    message := pg_catalog.concat('failed ', SQLSTATE, ' ', CASE WHEN pg_catalog.getdatabaseencoding() <> 'SQL_ASCII'
      THEN pg_catalog.left(SQLERRM, 500) END);
    rows := '';
    bytes := NULL;
  END;
  IF bytes IS NULL THEN
{insert_all}    END IF;
  ELSE
    start := 1;
    LOOP
      stop := start + {piece_bytes};
      WHILE stop <= total LOOP
        ahead := position(E'\\\\x1e'::bytea IN pg_catalog.substr(bytes, stop, {window}));
        stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE {window} END;
        EXIT WHEN ahead > 0;
      END LOOP;
      stop := least(stop, total + 1);
      piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
      start := stop + 1;
{insert_piece}    END IF;
      EXIT WHEN start > total;
      place := pg_catalog.nextval({sequence});
    END LOOP;
  END IF;
  -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN pg_catalog.pg_advisory_unlock(key) ELSE false END) THEN RETURN NULL; END IF;
  IF pg_catalog.current_setting({off}, true) = 'off' THEN RETURN NULL; END IF;
  BEGIN
    PERFORM pg_catalog.pg_notify({channel}, 'sa1 ring');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = 'sa_pgnotify could not wake the readers of the change log',
      DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. They find it at their heartbeat.';
  END;
  RETURN NULL;
END
"""
