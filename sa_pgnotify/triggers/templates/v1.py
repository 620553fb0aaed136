"""The trigger functions of template version 1: what they read, and what they send.

The trigger runs inside the user's write: whatever the names, types, sizes and number of rows, that
write must not fail, and should cost little more. So there is one statement-level trigger for each
operation, which reads the statement's transition tables in one set-based query, in static SQL
(dynamic SQL costs seven times as much a row), with one exception block around it, which sends a
*failed* message in place of an error; the listener turns that into a ``Gap``.

A function's ``search_path`` holds nothing but ``pg_catalog``, so that nobody who may create
operators and functions elsewhere can have theirs run. What needs another schema is named by it:
where only the server knows which that is (the log's, a condition's functions), the body holds a
mark, which the installing statement replaces.

A message is laid out in :mod:`sa_pgnotify.protocol.wire`, which reads it. Migrations name this
version: once released, its SQL stays as it is, and with it what it takes from columns.py,
channel.py and quoting.py, and the triggers' definitions in triggers.py. A better one is version 2,
in a file of its own; ``tests/migrations/template_v1.sql`` records this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...marking.spec import NEW_ROW, OLD_ROW, Lookup, Marking
from ...protocol.channels import CHANNEL_BYTES, DEFAULT_CHANNEL, RELATION
from ...protocol.presence import door, nobody_listens
from ...protocol.wire import MASK_BITS
from ...sql import literal, quote
from ..column_sql import FAMILIES, FIXED_SETTINGS, TriggerColumn, escaped, type_codes
from .v1_log import LogSql, log_body

__all__ = ["FunctionV1"]

WIDEST_SELECT = 1500
"""A SELECT list takes 1664 columns; some are needed for the masks."""
FUNCTION_ARGUMENTS = 100
"""As many as PostgreSQL passes to a function."""
PART_BYTES = 7900
"""A notification takes 7999 bytes; the rest is for the part's own header."""
CONDITION_MARK = "@the condition@"
CLASS_MARK = "@the class of {row}@"
MICROSECONDS = (
    "(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint"
)
RANDOM = "(pg_catalog.random() * 1000000000::float8)::bigint"
"""Together they tell messages apart, whose header tells the microseconds: a clock may be set back,
and random numbers be set anew."""


@dataclass(frozen=True)
class FunctionV1:
    """The function of one table, as SQL text ready to be sent as it stands (no driver's escaping in
    it).

    :ivar columns: those of the table, in its order.
    """

    marking: Marking
    columns: tuple[TriggerColumn, ...]

    @cached_property
    def carried(self) -> tuple[TriggerColumn, ...]:
        """The columns whose values travel: the key, the discriminator, the values asked for."""
        names = list(self.marking.key)
        if isinstance(self.marking.discriminator, str):
            names.append(self.marking.discriminator)
        every = [c.name for c in self.columns if c.family != "expression"]
        names.extend(every if self.marking.values == "all" else self.marking.values)
        by_name = {c.name: c for c in self.columns}
        return tuple(by_name[name] for name in dict.fromkeys(names))

    @cached_property
    def compared(self) -> tuple[TriggerColumn, ...]:
        """All columns, the carried ones first: bit i of an update's mask is the i-th of these."""
        return tuple(dict.fromkeys(self.carried + self.columns))

    @property
    def body(self) -> str:
        """The function's source, byte for byte what ``pg_proc.prosrc`` holds once it is
        installed."""
        branches = {
            "insert": self._single("INSERT", "sa_new_rows", NEW_ROW, OLD_ROW),
            "update": self._update(),
            "delete": self._single("DELETE", "sa_old_rows", OLD_ROW, NEW_ROW),
            "truncate": f"    message := {self._header('TRUNCATE')};\n    rows := '';",
        }
        told = [(operation, branches[operation]) for operation in self.marking.operations]
        chosen = "".join(
            f"  {'IF' if index == 0 else 'ELSIF'} TG_OP = '{operation.upper()}' THEN\n{branch}\n"
            for index, (operation, branch) in enumerate(told)
        )
        if self.marking.durable:
            return log_body(_RELATION_OF_LOG, _CONTEXT, chosen, self.log)
        given = None if self.marking.channel is None else literal(self.marking.channel)
        channel = given or DEFAULT_CHANNEL.format(name="relation")
        return _BODY.format(
            door=door(self.marking.channel),
            nobody_listens=nobody_listens("door"),
            names=_RELATION_AND_CHANNEL.format(usual_channel=given or "relation", channel=channel)
            + _CONTEXT,
            full_relation=_FULL_RELATION,
            channel=channel,
            chosen=chosen,
            part_bytes=PART_BYTES,
            random=RANDOM,
            microseconds=MICROSECONDS,
        )

    @property
    def row_alias(self) -> str:
        """The alias of a transition table's rows, which is not the name of a column."""
        return _unused("r", self.columns)

    @property
    def log(self) -> LogSql:
        """The log's names in the body."""
        return LogSql(self.marking.log_schema)

    @property
    def expressions(self) -> dict[str, tuple[str, str]]:
        """What the installing statement resolves: a mark in the body, the SQL over the two rows
        that it stands for, and its type."""
        found = {}
        if self.marking.condition is not None:
            # On lines of its own, as it may end in a comment.
            found[CONDITION_MARK] = (f"({self.marking.condition}\n      )", "bool")
        if isinstance(self.marking.discriminator, Lookup):
            for row in (NEW_ROW, OLD_ROW):
                found[CLASS_MARK.format(row=row)] = (
                    _looked_up(self.marking.discriminator, row),
                    "text",
                )
        return found

    @property
    def _condition(self) -> str:
        return "" if self.marking.condition is None else CONDITION_MARK

    @property
    def uses(self) -> list[str]:
        """SQL conditions over the two rows, which PostgreSQL refuses if the function would fail on
        their table."""
        return [c.differs(OLD_ROW, NEW_ROW) for c in self.columns]

    def _header(self, operation: str) -> str:
        columns = self.compared if operation == "UPDATE" else self.carried
        shape: dict[str, Any] = {
            "columns": [c.name for c in columns],
            "carried": len(self.carried),
            "key": len(self.marking.key),
        }
        shape["types"] = type_codes(c.family for c in self.carried)
        if isinstance(self.marking.discriminator, Lookup):
            shape["discriminator"] = len(self.carried)
        elif self.marking.discriminator is not None:
            shape["discriminator"] = [c.name for c in self.carried].index(
                self.marking.discriminator
            )
        return _joined(
            [
                f"'{operation[0]}'",
                "sa.relation",  # with the block's label, since a column may have that name
                "pg_catalog.pg_current_xact_id()",
                MICROSECONDS,
                literal(json.dumps(shape, ensure_ascii=False)),
                "sa.context",
            ]
        )

    @staticmethod
    def _branch(select: str) -> str:
        return f"{select}\n    IF rows IS NULL THEN RETURN NULL; END IF;"

    def _gather(self, operation: str, source: str, row: str) -> str:
        """The query that writes the header, and the rows of ``source`` into one text, NULL if there
        are none.

        :param row: SQL for the text of one row.
        """
        return f"    SELECT {self._header(operation)}, pg_catalog.string_agg({row}, E'\\x1e') INTO message, rows\n      FROM {source};"

    def _single(self, operation: str, rows: str, row: str, absent: str) -> str:
        """The branch of an operation that knows one row of each change."""
        source = f"{self._source(rows)} AS {row}"
        if self.marking.condition is not None:
            # The absent row: NULLs of the right types, without asking for a privilege on the table.
            source += f" LEFT JOIN {rows} AS {absent} ON false\n      WHERE {self._condition}"
        fields = [c.text(c.of(row)) for c in self.carried] + self._looked_up(row)
        values = (
            []
            if isinstance(self.marking.discriminator, Lookup)
            else [c.of(row) for c in self.carried]
        )
        return self._branch(self._gather(operation, source, _joined(fields, null_if_null=values)))

    def _update(self) -> str:
        """The branch that pairs OLD with NEW. A statement that changed one row, the most usual one,
        has a query of its own, without the numbering of rows, which costs it more than the UPDATE
        itself."""
        return self._branch(
            "    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN\n"
            f"{self._gather_pairs(one=True)}\n    ELSE\n{self._gather_pairs(one=False)}\n    END IF;",
        )

    def _gather_pairs(self, *, one: bool) -> str:
        """The query over pairs of rows: by position, for a join on the key would lose the rows
        whose key changed.

        The join is a FULL one, although every row has its partner, because a FULL join is never
        done by nested loops: the plan is kept from the session's first call, which may have had two
        rows where the next has a million.
        """
        position, whole, r = (
            _unused("position", self.columns),
            _unused("whole", self.columns),
            self.row_alias,
        )
        wide = 2 * len(self.carried) > WIDEST_SELECT
        extra = (
            ""
            if one
            else f"pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS {position}, "
        )
        extra += f"{r} AS {whole}, " if wide else ""
        old_side, new_side = (
            f"(SELECT {extra}{', '.join(c.read(r) for c in self.columns)} FROM {rows} AS {r}{' OFFSET 0' if wide else ''}) AS {row}"
            for rows, row in (("sa_old_rows", OLD_ROW), ("sa_new_rows", NEW_ROW))
        )
        pairs = f"{old_side}\n        " + (
            f"CROSS JOIN {new_side}" if one else f"FULL JOIN {new_side} USING ({position})"
        )
        # CASE, because a WHERE that rules out NULLs would let the planner take the FULL join for an
        # inner one.
        condition = (
            f"CASE WHEN {self._condition} THEN true ELSE false END" if self._condition else ""
        )
        watched = self.marking.update_of or tuple(c.name for c in self.columns)
        # no SELECT list may hold so many columns: they are read out of whole rows, and compared
        # where it matters
        if wide:
            old, new = f"({OLD_ROW}.{whole})", f"({NEW_ROW}.{whole})"
            told = [c.differs(old, new) for c in self.compared if c.name in watched]
            where = " AND ".join(part for part in (f"({' OR '.join(told)})", condition) if part)
            fields = [
                *self._masks(old, new),
                *(c.text(c.of(new)) for c in self.carried),
                *self._looked_up(NEW_ROW),
            ]
            olds = [(c.differs(old, new), c.text(c.of(old))) for c in self.carried]
            values: list[str] = []
            source = f"{pairs}\n      WHERE {where}"
        else:
            # Each column is compared once, in the inner SELECT; OFFSET 0 keeps the planner from
            # doing it again where a mask is used.
            bits = {
                c.name: (f"mask{i // MASK_BITS}", 1 << i % MASK_BITS)
                for i, c in enumerate(self.compared)
            }
            outputs = [f"{mask} AS mask{i}" for i, mask in enumerate(self._masks(OLD_ROW, NEW_ROW))]
            fields = [f"mask{i}" for i in range(len(outputs))] + [
                c.text(f"new{i}") for i, c in enumerate(self.carried)
            ]
            for i, column in enumerate(self.carried):
                outputs.append(f"{column.of(NEW_ROW)} AS new{i}, {column.of(OLD_ROW)} AS old{i}")
            values = [f"new{i}" for i in range(len(self.carried))]
            for looked_up in self._looked_up(NEW_ROW):
                values.append("looked_up")
                outputs.append(f"{looked_up} AS looked_up")
                fields.append("looked_up")
            olds = [
                ("{} & {} <> 0".format(*bits[c.name]), c.text(f"old{i}"))
                for i, c in enumerate(self.carried)
            ]
            masks = sorted({mask for mask, _ in bits.values()})
            told = [
                f"{mask} & {sum(bit for name, (of, bit) in bits.items() if of == mask and name in watched)} <> 0"
                for mask in masks
            ]
            where = f"\n        WHERE {condition}" if condition else ""
            source = (
                f"(SELECT {', '.join(outputs)}\n        FROM {pairs}{where}\n        OFFSET 0) AS pairs"
                f"\n      WHERE {' OR '.join(told)}"
            )
        # The old values of the columns that changed stand at the end of the row, so that the others
        # cost nothing.
        tail = [
            f"CASE WHEN {differs} THEN pg_catalog.concat(E'\\x1f', {old}) END"
            for differs, old in olds
        ]
        return self._gather(
            "UPDATE", source, _joined(fields, tail, null_if_null=() if one else values)
        )

    def _masks(self, old: str, new: str) -> list[str]:
        return [
            "("
            + " + ".join(
                f"CASE WHEN {c.differs(old, new)} THEN {1 << bit} ELSE 0 END"
                for bit, c in enumerate(self.compared[i : i + MASK_BITS])
            )
            + ")::bigint"
            for i in range(0, len(self.compared), MASK_BITS)
        ]

    def _source(self, rows: str) -> str:
        """The transition table, with the virtual generated columns computed, which PostgreSQL
        leaves NULL in it."""
        if not any(c.virtual for c in self.columns):
            return rows
        r = self.row_alias
        return f"(SELECT {', '.join(c.read(r) for c in self.columns)} FROM {rows} AS {r})"

    def _looked_up(self, row: str) -> list[str]:
        return (
            [CLASS_MARK.format(row=row)] if isinstance(self.marking.discriminator, Lookup) else []
        )

    @property
    def settings(self) -> dict[str, str | None]:
        """The function's own settings, so that the writer's session cannot change an event; None:
        the value that the installing role has.

        ``client_min_messages`` keeps our warnings in the server's log: sent to a client whose
        encoding lacks a character, they would make the write fail.
        """
        # whatever a condition makes of them
        written = self.carried if self.marking.condition is None else self.columns
        needed = {setting for c in written for setting in FAMILIES[c.family].settings}
        fixed: dict[str, str | None] = {
            name: value for name, value in FIXED_SETTINGS.items() if name in needed
        }
        if "update" in self.marking.operations:
            # the planner takes the pairs for the square of the rows, and would compile for that
            fixed["jit"] = "off"
        if self.expressions:
            fixed["standard_conforming_strings"] = "on"
        return fixed | {"client_min_messages": "error", "search_path": "pg_catalog, pg_temp"}

    @property
    def is_definer(self) -> bool:
        """Whether it runs with its owner's rights: for the log, and for the table in which the
        class is looked up."""
        return self.marking.durable or isinstance(self.marking.discriminator, Lookup)


def _looked_up(lookup: Lookup, row: str) -> str:
    """SQL for the discriminator of a row of a child's table."""
    root = (
        quote(lookup.table)
        if lookup.schema is None
        else f"{quote(lookup.schema)}.{quote(lookup.table)}"
    )
    match = " AND ".join(
        f"root.{quote(theirs)} = {row}.{quote(ours)}" for ours, theirs in lookup.keys
    )
    name = f"root.{quote(lookup.discriminator)}"
    return (
        f"(SELECT {escaped(f'pg_catalog.concat({name})', name)} FROM {root} AS root WHERE {match})"
    )


def _joined(
    fields: list[str], tail: Iterable[str] = (), *, null_if_null: Iterable[str] = ()
) -> str:
    """SQL that puts fields into one text with separators between them, and ``tail``, which brings
    its own, after them.

    :param null_if_null: the values of which a field is NULL only if one of them is: most rows have
        none, and are put together by one function that takes the separator once, in four fifths of
        the time.
    """
    tail, tested = list(tail), ", ".join(null_if_null)
    pieces = [piece for field in fields for piece in ("E'\\x1f'", field)][1:] + tail
    while len(pieces) > FUNCTION_ARGUMENTS:
        pieces = [
            _concat(pieces[i : i + FUNCTION_ARGUMENTS])
            for i in range(0, len(pieces), FUNCTION_ARGUMENTS)
        ]
    if not tested or not 1 < len(fields) < FUNCTION_ARGUMENTS:
        return _concat(pieces)
    quick = f"pg_catalog.concat_ws(E'\\x1f', {', '.join(fields)})"
    return f"CASE WHEN pg_catalog.num_nulls({tested}) = 0 THEN {_concat([quick, *tail]) if tail else quick} ELSE {_concat(pieces)} END"


def _concat(pieces: list[str]) -> str:
    return f"pg_catalog.concat({', '.join(pieces)})"


def _unused(name: str, columns: Iterable[TriggerColumn]) -> str:
    taken = {c.name for c in columns}
    while name in taken:
        name += "_"
    return name


_NAMES = "pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)"
_FULL_RELATION = RELATION.format(schema="TG_TABLE_SCHEMA", table="TG_TABLE_NAME")
_GIVEN_CONTEXT = "pg_catalog.current_setting('sa_pgnotify.context', true)"

# PL/pgSQL makes each expression ready anew in each transaction, function by function. So the usual
# case has few of them, and what takes many waits behind an IF. Where quote_ident() changes a name
# that needs no quotes (a keyword, say), no more than time is lost.
_RELATION = f"""\
  relation := CASE WHEN pg_catalog.quote_ident({_NAMES}) = {_NAMES}
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
"""
_RELATION_OF_LOG = f"""\
{_RELATION}  IF relation IS NULL THEN
    relation := {_FULL_RELATION};
  END IF;
"""
_RELATION_AND_CHANNEL = f"""\
{_RELATION}  IF pg_catalog.octet_length(relation) <= {CHANNEL_BYTES} THEN
    channel := {{usual_channel}};
  ELSE
    relation := {_FULL_RELATION};
    channel := {{channel}};
  END IF;
"""
_CONTEXT = f"""\
  IF {_GIVEN_CONTEXT} <> '' THEN
    context := {escaped(_GIVEN_CONTEXT)};
  END IF;
"""
_BODY = """
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  rows text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
BEGIN
  door := {door};
  IF {nobody_listens} THEN RETURN NULL; END IF;
{names}{chosen}  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < {part_bytes} THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', {random}, ' 0 1', E'\\x1e', message, E'\\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat({random}, {microseconds});
  bytes := pg_catalog.convert_to(message || E'\\x1e' || rows, 'UTF8');
  rows := NULL;
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
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are informed that something is missing.
  message := 'sa1 failed ' || SQLSTATE || ' ';
  nonce := SQLERRM;
  BEGIN
    RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
      DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN
    IF {nobody_listens} THEN RETURN NULL; END IF;
  EXCEPTION
    WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
    WHEN OTHERS THEN NULL;
  END;
  BEGIN
    IF channel IS NULL THEN
      relation := {full_relation};
      channel := {channel};
    END IF;
    -- Each is a Gap of its own, and identical payloads would be collapsed into one.
    message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', {random}, ')');
  EXCEPTION WHEN OTHERS THEN
    channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
  END;
  BEGIN
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be informed: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
"""
