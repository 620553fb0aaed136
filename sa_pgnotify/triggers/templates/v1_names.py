"""The statements that set ``relation``, ``channel`` and ``context`` in a function of template version
1.

PL/pgSQL prepares each expression anew in each transaction, function by function. So the usual case
has few of them, and the general one, which has many, waits behind an IF. If quote_ident() changes a
name that needs no quotes (a keyword, say), only time is lost.
"""

from __future__ import annotations

from ...protocol.channels import CHANNEL_BYTES, RELATION
from ..column_sql import escaped

__all__ = ["CONTEXT", "FULL_RELATION", "RELATION_AND_CHANNEL", "RELATION_OF_LOG"]

_NAMES = "pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)"
FULL_RELATION = RELATION.format(schema="TG_TABLE_SCHEMA", table="TG_TABLE_NAME")
_GIVEN_CONTEXT = "pg_catalog.current_setting('sa_pgnotify.context', true)"

_RELATION = f"""\
  relation := CASE WHEN pg_catalog.quote_ident({_NAMES}) = {_NAMES}
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
"""
RELATION_OF_LOG = f"""\
{_RELATION}  IF relation IS NULL THEN
    relation := {FULL_RELATION};
  END IF;
"""
RELATION_AND_CHANNEL = f"""\
{_RELATION}  IF pg_catalog.octet_length(relation) <= {CHANNEL_BYTES} THEN
    channel := {{usual_channel}};
  ELSE
    relation := {FULL_RELATION};
    channel := {{channel}};
  END IF;
"""
CONTEXT = f"""\
  IF {_GIVEN_CONTEXT} <> '' THEN
    context := {escaped(_GIVEN_CONTEXT)};
  END IF;
"""
