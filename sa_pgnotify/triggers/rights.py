"""The rights on the change log that the owner of a durable trigger function needs, and those that
it lacks.

The trigger function writes the log with its owner's rights. Half of these rights are worse than
none: the function runs, and either every write of the user fails, or no change ever reaches the log
and nothing reports it. So the statement that installs the triggers checks them first, and ``check``
and ``doctor`` check them again, because rights can be revoked later.

All SQL here runs under ``search_path = pg_catalog, pg_temp`` and under any other: functions are
qualified, and each operator has operands of exactly the types that it has in ``pg_catalog``, so
that an operator of another schema is never a better match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..log.tables import ID_SEQUENCE, LOST_SEQUENCE, PREFIX, SLOT_NAMES
from ..sql import Execute, literal
from .code_owners import OWNER_TO_BE
from .log_trust import LOG_WORK

__all__ = [
    "LACKING_RIGHTS",
    "REFUSE_LACKING_RIGHTS",
    "LackingRights",
    "lacking_rights",
]

_NEEDED = ", ".join(
    f"({literal(name)}, {literal(kind)}, {literal(privilege)})"
    for name, kind, privilege in (
        *((name, "TABLE", "INSERT") for name in SLOT_NAMES),
        *((name, "TABLE", "SELECT") for name in SLOT_NAMES),
        (ID_SEQUENCE, "SEQUENCE", "USAGE"),
        (LOST_SEQUENCE, "SEQUENCE", "USAGE"),
    )
)

_SLOTS = ", ".join(f"{literal(name)}::name" for name in SLOT_NAMES)

LACKING_RIGHTS = f"""
    SELECT pg_catalog.string_agg(needs.what, ', ' ORDER BY needs.place, needs.what) AS lacking,
      pg_catalog.string_agg(needs.grants, ' ' ORDER BY needs.place, needs.what) AS grants
    FROM (
      SELECT 0 AS place, pg_catalog.concat('USAGE on schema ', n.nspname) AS what,
        pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, r.rolname) AS grants
      FROM pg_catalog.pg_namespace AS n, pg_catalog.pg_roles AS r
      WHERE n.oid = {{schema}}::oid AND r.oid = {{role}}::oid
        AND NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
      UNION ALL
      SELECT CASE WHEN o.kind = 'TABLE' THEN 1 ELSE 2 END,
        pg_catalog.concat(o.privilege, ' on ', pg_catalog.string_agg(o.name, ', ' ORDER BY o.name)),
        pg_catalog.format('GRANT %s ON %s %s TO %I;', o.privilege, o.kind,
          pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, o.name), ', ' ORDER BY o.name), r.rolname)
      FROM (VALUES {_NEEDED}) AS o (name, kind, privilege)
      JOIN pg_catalog.pg_class AS c ON c.relname = o.name::name
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_roles AS r ON r.oid = {{role}}::oid
      WHERE c.relnamespace = {{schema}}::oid
        AND CASE WHEN o.kind = 'TABLE' THEN NOT pg_catalog.has_table_privilege(r.oid, c.oid, o.privilege)
          ELSE NOT pg_catalog.has_sequence_privilege(r.oid, c.oid, o.privilege) END
      GROUP BY o.kind, o.privilege, n.nspname, r.rolname
      UNION ALL
      SELECT 3, pg_catalog.concat('a way past the row-level security of ', pg_catalog.string_agg(c.relname::text, ', ' ORDER BY c.relname)),
        pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY;', n.nspname, c.relname),
          ' ' ORDER BY c.relname)
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_roles AS r ON r.oid = {{role}}::oid
      WHERE c.relnamespace = {{schema}}::oid AND c.relname IN ({_SLOTS}) AND c.relrowsecurity
        AND NOT r.rolsuper AND NOT r.rolbypassrls
        AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))
      HAVING pg_catalog.count(*) > 0::bigint
    ) AS needs
"""
"""A query of one row: the rights on a change log that a role does not have, and the GRANT
statements that give them; NULL, NULL if it has all.

``{schema}``: SQL for the OID of the log's schema (``regnamespace`` does as well); ``{role}``: SQL
for the role's OID.
"""

_INTO_VARIABLES = LACKING_RIGHTS.replace(
    " AS grants\n", " AS grants\n    INTO lacking, grants\n", 1
).replace("{role}", "writer")
REFUSE_LACKING_RIGHTS = f"""DECLARE
  lacking text;
  grants text;
  undone text;
  work text;
  writer oid := {OWNER_TO_BE};
BEGIN{_INTO_VARIABLES}    ;
  SELECT pg_catalog.string_agg(w.what, ', ' ORDER BY w.place, w.what), pg_catalog.string_agg(w.fix, ' ' ORDER BY w.place, w.what)
  INTO undone, work FROM ({LOG_WORK}) AS w WHERE NOT pg_catalog.pg_has_role(current_user, w.owner, 'USAGE');
  IF lacking IS NOT NULL OR undone IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.concat_ws('; ', CASE WHEN lacking IS NOT NULL THEN
          pg_catalog.format('sa_pgnotify: the role %s, which owns the trigger function of %s, '
          'cannot write to the change log: it lacks %s', pg_catalog.pg_get_userbyid(writer), {{table}}, lacking) END,
        CASE WHEN lacking IS NULL THEN pg_catalog.format('sa_pgnotify: the change log is not ready for the triggers of %s: %s',
          {{table}}, undone) ELSE undone END),
      HINT = pg_catalog.concat('Nothing was installed. As the owner of the change log, run: ', pg_catalog.concat_ws(' ', grants, work));
  END IF;
END;"""
"""A PL/pgSQL block that refuses to install a durable table's triggers if their function could not
write to the log, or if the log needs something that only its owner can do.

``{table}``: an SQL literal that names the table; ``{function}`` as in :data:`OWNER_TO_BE`;
``{schema}`` as in :data:`LACKING_RIGHTS`.
"""


@dataclass(frozen=True, slots=True)
class LackingRights:
    """The rights that the owner of a durable trigger function lacks.

    :ivar role: the function's owner; ``lacking`` the rights, as in a sentence; ``grants`` the
        statements that give them.
    """

    role: str
    lacking: str
    grants: str


def lacking_rights(
    execute: Execute, logs: Iterable[tuple[int, str | None]]
) -> dict[int, LackingRights]:
    """Return what the owners of trigger functions lack, by the function's OID; those that lack
    nothing are left out.

    :param logs: the OID of each function, and the schema of the log that it writes to (None: the
        one that ``search_path`` finds).
    """
    asked = ", ".join(
        f"({function}::oid, {'NULL' if schema is None else literal(schema)}::name)"
        for function, schema in logs
    )
    if not asked:
        return {}
    needs = LACKING_RIGHTS.format(schema="h.relnamespace", role="f.proowner")
    sql = f"""
SELECT f.oid::bigint, pg_catalog.pg_get_userbyid(f.proowner)::text, needed.lacking, needed.grants
FROM (VALUES {asked}) AS w (function, schema)
JOIN pg_catalog.pg_proc AS f ON f.oid = w.function
JOIN pg_catalog.pg_class AS h ON h.relname = {literal(PREFIX)}::name
  AND CASE WHEN w.schema IS NULL THEN pg_catalog.pg_table_is_visible(h.oid)
    ELSE h.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = w.schema) END
CROSS JOIN LATERAL ({needs}) AS needed
WHERE needed.lacking IS NOT NULL
"""
    return {
        function: LackingRights(role, lacking, grants)
        for function, role, lacking, grants in execute(sql)
    }
