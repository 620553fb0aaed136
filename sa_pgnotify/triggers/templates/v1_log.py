"""How the trigger functions of template version 1 write changes into the log.

Their siblings in :mod:`sa_pgnotify.triggers.templates.v1_send` send the changes instead. A row of
the log should be inserted outside of an exception block: within one, each statement would cost the
transaction a subtransaction id, and more than sixty-four of these slow down every other session. So
one block at the beginning does everything that may fail: it composes the changes, takes a number,
locks the slot of that number as the INSERT will, without waiting, names the slot's columns without
reading rows, and asks whether its rights and row-level security let the row in. The writer never
reads the log, so that a SERIALIZABLE transaction does not depend on the writes of others.

The failures that remain are handled in exception blocks: a locked slot (then another one takes the
changes), a number that is in use because the sequence was set back, a full lock table, a missing
right. If no slot can be written, a sequence that readers watch counts the loss, and each of them
reports a ``Gap``. A statement of many changes takes that way too, since one subtransaction id is
little beside it; its changes are cut, at the ends of rows, into pieces that a reader can hold.

At the end, a reader that sleeps is woken up: see :mod:`sa_pgnotify.protocol.doorbell`.
"""

from __future__ import annotations

import hashlib

from ...log.tables import SLOT_BITS, SLOTS, LogNames
from ...protocol.doorbell import DOORBELL_OFF, bell_channel, doorbell_key, lost_key
from ...sql import literal
from .v1_names import RETRY, TABLE, warning

__all__ = ["LogSql", "log_body"]

PIECE_BYTES = 60_000
"""A piece ends with the first row that ends after this many bytes. PostgreSQL stores pieces
uncompressed and out of line; 14 MB in pieces of 65 KB were written in a third of the time that
pieces of one page (8 KB) took."""
LONGEST_STATEMENT = 1 << 29
"""In bytes. PostgreSQL's values are shorter than 2**30 bytes, and each row of the log must be one
value."""
WINDOW = 2048
"""In how many bytes at a time the end of a row is searched."""
ROOM = int.from_bytes(hashlib.sha256(b"sa_pgnotify room").digest()[:4], "big") >> 1
"""The first key of an advisory lock that a writer takes and releases, to find out whether the lock
table has room for one more; the second is its process id."""


_TAKES_ROWS = (
    "pg_catalog.has_table_privilege({oid}, 'INSERT') AND NOT pg_catalog.row_security_active({oid})"
)
"""SQL for whether an INSERT into a slot fails neither for a missing right nor for row-level security."""


class LogSql:
    """The names of a log's relations within a function's body.

    If the log's schema is the one that ``search_path`` gives, only the server knows it: then a mark
    stands for it, which the installing statement replaces.
    """

    SCHEMA = "@the schema of the log@"

    def __init__(self, schema: str | None) -> None:
        self.names = LogNames(schema)
        self._is_known = schema is not None

    def identifier(self, name: str) -> str:
        """Return a name as SQL."""
        return name if self._is_known else f"{self.SCHEMA}.{name}"

    def literal(self, name: str) -> str:
        """Return a string literal that holds a name."""
        return literal(name) if self._is_known else self.mark(name)

    @staticmethod
    def mark(name: str) -> str:
        """Return the mark that stands for the literal of a name."""
        return f"@the literal of {name}@"

    @property
    def marked_literals(self) -> list[str]:
        """The names whose literals are marks."""
        names = self.names
        return [] if self._is_known else [names.head, names.sequence, names.lost, *names.slots]


def log_body(relation: str, context: str, chosen: str, log: LogSql, declared: str) -> str:
    """Return the function's source.

    :param relation: the statements that set the variable of that name; ``context`` likewise;
        ``chosen`` those that compose the message, up to their END IF.
    :param log: the names of the log's tables.
    :param declared: the declarations of the variables in ``chosen``.
    """
    oid = f"{log.literal(log.names.head)}::regclass::oid::bigint"
    columns = "id, xid, pid, relation, header, rows"
    read = ", ".join(f"s.{column}" for column in columns.split(", "))
    insert = f"INSERT INTO {{}} ({columns}) VALUES (place, xid, pid, relation, message, {{text}}) ON CONFLICT DO NOTHING;"
    return _BODY.format(
        relation=relation,
        context=context,
        chosen=chosen,
        declared=declared,
        retry=RETRY,
        **_warnings(),
        sequence=log.literal(log.names.sequence),
        lost=log.literal(log.names.lost),
        lock=_in_slot(
            log,
            f"LOCK TABLE {{}} IN ROW EXCLUSIVE MODE NOWAIT;\n      PERFORM {read} FROM {{}} AS s WHERE false;\n"
            f"      ready := {_TAKES_ROWS};",
            " " * 4,
        ),
        lock_other=_in_slot(log, "LOCK TABLE {} IN ROW EXCLUSIVE MODE NOWAIT;", " " * 8),
        insert_all=_in_slot(log, insert.replace("{text}", "rows"), " " * 4),
        insert_piece=_in_slot(log, insert.replace("{text}", "piece"), " " * 12),
        bits=SLOT_BITS,
        last=SLOTS - 1,
        most_skipped=SLOTS << SLOT_BITS,
        piece_bytes=PIECE_BYTES,
        longest=LONGEST_STATEMENT,
        window=WINDOW,
        key=doorbell_key("relation", oid),
        lost_key=lost_key(oid),
        channel=bell_channel(oid),
        off=literal(DOORBELL_OFF),
        room=ROOM,
    )


def _warnings() -> dict[str, str]:
    """Return the blocks that write a warning to the server's log."""
    could_not = f"pg_catalog.concat('sa_pgnotify could not log a change of ', {TABLE})"
    return {
        "not_composed": warning(
            message=could_not,
            detail="message",
            hint="'Your write is not affected. Compare tables and triggers with check().'",
            indent=" " * 6,
        ),
        "not_written": warning(
            message=could_not,
            detail="problem",
            hint="'Your write is not affected. See who locks the change log, and what rights the function''s owner has.'",
            indent=" " * 6,
        ),
        "not_rung": warning(
            message="'sa_pgnotify could not wake the readers of the change log'",
            detail="SQLSTATE || ' ' || SQLERRM",
            hint="'Your write is not affected. They find it at their heartbeat.'",
            indent=" " * 4,
        ),
    }


def _in_slot(log: LogSql, statement: str, indent: str) -> str:
    """Return the branches that run ``statement`` on the slot in the variable ``slot``."""
    branches = "".join(
        f"{indent}{'ELSIF' if slot else 'IF'} slot = {slot} THEN\n{indent}  "
        f"{statement.replace('{}', log.identifier(name)).replace('{oid}', f'{log.literal(name)}::regclass')}\n"
        for slot, name in enumerate(log.names.slots)
    )
    return f"{branches}{indent}END IF;"


# PL/pgSQL prepares each expression anew in each transaction, so the usual case, one piece, has few
# of them.
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
  slot int;
  skipped int;
  xid bigint;
  pid int;
  key bigint;
  composed boolean;
  ready boolean;
  written boolean;
  asleep boolean;
  problem text;
  again boolean;
{declared}BEGIN
  LOOP
  BEGIN
{relation}{context}{chosen}  END IF;
    IF pg_catalog.octet_length(rows) > {piece_bytes} OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > {longest} THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed {longest} bytes';
      END IF;
      -- Bytes that are not text fail here, since no reader could read them.
      IF pg_catalog.convert_to(message, 'UTF8') IS NOT NULL THEN bytes := pg_catalog.convert_to(rows, 'UTF8'); END IF;
      total := pg_catalog.octet_length(bytes);
    END IF;
    composed := true;
    -- The transaction has its id before it looks whether a reader sleeps: the doorbell depends on that.
    xid := pg_catalog.pg_current_xact_id()::text::bigint;
    pid := pg_catalog.pg_backend_pid();
    place := pg_catalog.nextval({sequence});
    slot := (place >> {bits}) & {last};
{lock}
    -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
    key := {key};
    asleep := CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN NOT pg_catalog.pg_advisory_unlock(key) ELSE true END;
    -- ON CONFLICT takes a lock of its own for each row: see whether the lock table has room for one.
    ready := ready AND bytes IS NULL AND pg_catalog.pg_try_advisory_lock({room}, pid) AND pg_catalog.pg_advisory_unlock({room}, pid);
    EXIT;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
{retry}    ready := false;
    -- The user's write goes on. With a full lock table, a notification would make its COMMIT fail: readers look at their heartbeat.
    asleep := SQLSTATE <> '53200';
    IF composed IS NULL THEN
      -- The readers of the log are informed that something is missing.
      message := 'failed ' || SQLSTATE || ' ';
      rows := '';
      bytes := NULL;
      problem := SQLERRM;
      BEGIN
        IF pg_catalog.getdatabaseencoding() <> 'SQL_ASCII' THEN message := message || pg_catalog.left(problem, 500); END IF;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
{not_composed}    END IF;
    EXIT;
  END;
  END LOOP;
  IF ready THEN
{insert_all}
    written := FOUND;
  END IF;
  IF written IS NOT TRUE THEN
    relation := coalesce(relation, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    FOR step IN 0 .. {last} LOOP
      BEGIN
        xid := coalesce(xid, pg_catalog.pg_current_xact_id()::text::bigint);
        pid := coalesce(pid, pg_catalog.pg_backend_pid());
        place := pg_catalog.nextval({sequence});
        slot := ((place >> {bits}) + step) & {last};
{lock_other}
        start := 1;
        LOOP
          IF bytes IS NULL THEN
            piece := rows;
          ELSE
            stop := start + {piece_bytes};
            WHILE stop <= total LOOP
              ahead := position(E'\\\\x1e'::bytea IN pg_catalog.substr(bytes, stop, {window}));
              stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE {window} END;
              EXIT WHEN ahead > 0;
            END LOOP;
            stop := least(stop, total + 1);
            piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
            start := stop + 1;
          END IF;
          skipped := 1;
          LOOP
{insert_piece}
            EXIT WHEN FOUND;
            -- The sequence is behind the rows: skip more and more numbers.
            place := (SELECT max(pg_catalog.nextval({sequence})) FROM pg_catalog.generate_series(1, skipped));
            skipped := skipped * 2;
            IF skipped > {most_skipped} THEN RAISE EXCEPTION 'no number of the log is free, or something else takes its rows'; END IF;
          END LOOP;
          EXIT WHEN bytes IS NULL OR start > total;
          place := pg_catalog.nextval({sequence});
        END LOOP;
        written := true;
        EXIT;
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        problem := SQLSTATE || ' ' || SQLERRM;
        asleep := asleep AND SQLSTATE <> '53200';
      END;
    END LOOP;
    IF written IS NOT TRUE THEN
{not_written}      -- Readers see the number, and by the lock whether this transaction has ended. The lock comes first.
      BEGIN
        PERFORM pg_catalog.pg_try_advisory_xact_lock_shared({lost_key});
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      BEGIN
        PERFORM pg_catalog.nextval({lost});
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
  END IF;
  IF NOT asleep THEN RETURN NULL; END IF;
  BEGIN
    IF pg_catalog.current_setting({off}, true) = 'off' THEN RETURN NULL; END IF;
    PERFORM pg_catalog.pg_notify({channel}, CASE WHEN written THEN 'sa1 ring' ELSE 'sa1 lost' END);
  EXCEPTION WHEN OTHERS OR assert_failure THEN
{not_rung}  END;
  RETURN NULL;
END
"""
