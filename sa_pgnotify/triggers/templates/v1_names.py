"""The statements that set ``relation``, ``channel`` and ``context`` in a function of template version
1.

PL/pgSQL prepares each expression anew in each transaction, function by function. So the usual case
has few of them, and the general one, which has many, waits behind an IF. If the table was renamed or
is not in the schema "public", or if quote_ident() changes a name that needs no quotes (a keyword,
say), only time is lost.
"""

from __future__ import annotations

import re

from ...protocol.channels import CHANNEL_BYTES, DEFAULT_CHANNEL, RELATION
from ..column_sql import escaped

__all__ = ["CONTEXT", "FULL_RELATION", "RETRY", "TABLE", "relation_of", "warning"]

_NAMES = "pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)"
FULL_RELATION = RELATION.format(schema="TG_TABLE_SCHEMA", table="TG_TABLE_NAME")
_SIMPLE = re.compile("[a-z_][a-z0-9_]{0,49}")
"""Names that need no quotes, and with "public" are short enough for a channel."""
TABLE = "TG_TABLE_SCHEMA, '.', TG_TABLE_NAME"
"""Operands of ``concat()`` that name the table for people."""
_GIVEN_CONTEXT = "pg_catalog.current_setting('sa_pgnotify.context', true)"

_RELATION = f"""\
  relation := CASE {{expected}}WHEN pg_catalog.quote_ident({_NAMES}) = {_NAMES}
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
"""
_RELATION_ONLY = f"""\
{_RELATION}  IF relation IS NULL THEN
    relation := {FULL_RELATION};
  END IF;
"""
_RELATION_AND_CHANNEL = f"""\
{_RELATION}  IF (pg_catalog.octet_length(relation) <= {CHANNEL_BYTES}) IS NOT TRUE THEN
    relation := {FULL_RELATION};
    channel := {DEFAULT_CHANNEL.format(name="relation")};
  END IF;
"""
CONTEXT = f"""\
  IF {_GIVEN_CONTEXT} <> '' THEN
    context := {escaped(_GIVEN_CONTEXT)};
  END IF;
"""


def relation_of(table: str, *, with_channel: bool) -> str:
    """Return the statements that set ``relation``.

    :param table: the table's name when the triggers are made; the statements do not rely on it.
    :param with_channel: whether to set ``channel`` too, if the relation cannot be its name.
    """
    sql = _RELATION_AND_CHANNEL if with_channel else _RELATION_ONLY
    expected = ""
    if _SIMPLE.fullmatch(table):
        expected = (
            f"WHEN TG_TABLE_NAME = '{table}' AND TG_TABLE_SCHEMA = 'public'"
            f" THEN 'public.{table}'\n    "
        )
    return sql.format(expected=expected)


def warning(*, message: str, detail: str, hint: str, indent: str) -> str:
    """Return a block that writes a warning to the server's log.

    It must not reach a client whose encoding lacks a character of it, because that would make the
    write fail. The error at the end of the block takes the setting back.

    :param message: SQL, as are ``detail`` and ``hint``.
    """
    lines = (
        "BEGIN",
        "  PERFORM pg_catalog.set_config('client_min_messages', 'error', true);",
        f"  RAISE WARNING USING MESSAGE = {message},",
        f"    DETAIL = {detail}, HINT = {hint};",
        "  RAISE EXCEPTION 'client_min_messages is as before';",
        "EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;",
        "END;",
    )
    return "".join(f"{indent}{line}\n" for line in lines)


RETRY = """\
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
"""
"""Begins the handler of an exception block in a loop."""
