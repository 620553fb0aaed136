"""Whether the relations of a change log run code of roles that are not trusted.

The trigger function of a durable table writes to the log with its owner's rights, often those of a
superuser, and a consumer writes its position with those of its own role. So a role that can add code
to one of these relations can take over those rights. Code comes in many ways: a trigger, a rule, a
default, a CHECK constraint, an expression in an index, a policy, a column whose type is a domain, a
view or partitioned table in the place of a table. The owner of a relation can add all of these; a
role with the TRIGGER privilege can add a trigger.

Trusted are the owner of the trigger function and the roles that are its members, as superusers are;
and the owners of the log's schema and of the database, which could replace the log as a whole.

The statement that installs triggers refuses such a log, ``check`` and ``doctor`` find what was
changed later, and a reader of the log does not start on one. The trigger function itself does not
write to a slot that has a trigger or a rule (:mod:`sa_pgnotify.triggers.templates.v1_log`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..log.tables import (
    CONSUMERS,
    ID_SEQUENCE,
    LOST_SEQUENCE,
    PARKED,
    PARKED_SEQUENCE,
    PREFIX,
    SLOT_NAMES,
)
from ..sql import Execute, literal
from .code_owners import CODE_OWNERS, OWNER_TO_BE, class_of

__all__ = [
    "DO_LOG_WORK",
    "LOG_WORK",
    "REFUSE_UNTRUSTED_LOG",
    "LogFault",
    "log_faults",
    "table_faults",
]

_RELATIONS = ", ".join(
    f"({place}, {literal(name)}::name, '{kind}'::\"char\")"
    for place, (name, kind) in enumerate(
        [
            *((name, "r") for name in (PREFIX, *SLOT_NAMES, CONSUMERS, PARKED)),
            *((name, "S") for name in (ID_SEQUENCE, LOST_SEQUENCE, PARKED_SEQUENCE)),
        ]
    )
)
_KINDS = " ".join(
    f"WHEN '{kind}'::\"char\" THEN {literal(name)}"
    for kind, name in {
        "r": "a table",
        "p": "a partitioned table",
        "v": "a view",
        "m": "a materialized view",
        "f": "a foreign table",
        "S": "a sequence",
        "c": "a composite type",
        "i": "an index",
        "I": "an index",
        "t": "a TOAST table",
    }.items()
)

# Where an inserted row meets code: columns by their types, and what belongs to the relation.
_PARTS = f"""SELECT l.oid, d.refclassid, d.refobjid FROM log AS l JOIN pg_catalog.pg_depend AS d
          ON d.classid = {class_of("pg_class")} AND d.objid = l.oid
        UNION SELECT l.oid, d.refclassid, d.refobjid FROM log AS l JOIN pg_catalog.pg_index AS i ON i.indrelid = l.oid
          JOIN pg_catalog.pg_depend AS d ON d.classid = {class_of("pg_class")} AND d.objid = i.indexrelid
        UNION SELECT l.oid, {class_of("pg_attrdef")}, d.oid FROM log AS l JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = l.oid
        UNION SELECT l.oid, {class_of("pg_constraint")}, k.oid FROM log AS l JOIN pg_catalog.pg_constraint AS k
          ON k.conrelid = l.oid AND k.contype <> 't'::"char"
        UNION SELECT l.oid, {class_of("pg_policy")}, p.oid FROM log AS l JOIN pg_catalog.pg_policy AS p ON p.polrelid = l.oid"""

# A fault without a role is one whatever role has caused it.
LOG_FAULTS = f"""
    WITH log AS (
      SELECT c.oid, c.relkind, c.relowner, c.relacl, c.relhastriggers, c.relhasrules, w.place, w.kind,
        pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
      FROM (VALUES {_RELATIONS}) AS w (place, relation, kind)
      JOIN pg_catalog.pg_class AS c ON c.relname = w.relation AND c.relnamespace = {{schema}}::oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ), faults (place, kind, role, what, fix) AS (
      SELECT l.place, 'owner', l.relowner,
        pg_catalog.format('%s, which belongs to %I', l.name, pg_catalog.pg_get_userbyid(l.relowner)),
        pg_catalog.format('ALTER %s %s OWNER TO %I;', CASE l.relkind WHEN 'S'::"char" THEN 'SEQUENCE' ELSE 'TABLE' END, l.name,
          pg_catalog.pg_get_userbyid({{role}}::oid))
      FROM log AS l
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = {class_of("pg_class")} AND d.objid = l.oid
        AND d.refclassid = {class_of("pg_class")} AND d.deptype = 'i'::"char" AND d.refobjid IN (SELECT o.oid FROM log AS o))
      UNION ALL
      SELECT l.place, 'kind', NULL, pg_catalog.format('%s, which is %s', l.name,
          CASE l.relkind {_KINDS} ELSE 'another kind of relation' END),
        'Drop it, and create the log again by create_all or the migration.'
      FROM log AS l WHERE l.relkind <> l.kind
      UNION ALL
      SELECT DISTINCT l.place, 'kind', NULL::oid,
        pg_catalog.format('%s, which has parents or children by inheritance or partitioning', l.name),
        'Drop it, and create the log again by create_all or the migration.'
      FROM log AS l JOIN pg_catalog.pg_inherits AS i ON l.oid IN (i.inhrelid, i.inhparent)
      UNION ALL
      SELECT l.place, 'trigger', NULL, pg_catalog.format('%s, which has the trigger %I', l.name, t.tgname),
        pg_catalog.format('DROP TRIGGER %I ON %s;', t.tgname, l.name)
      FROM log AS l JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = l.oid AND NOT t.tgisinternal
      UNION ALL
      SELECT l.place, 'rule', NULL, pg_catalog.format('%s, which has the rule %I', l.name, r.rulename),
        pg_catalog.format('DROP RULE %I ON %s;', r.rulename, l.name)
      FROM log AS l JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = l.oid AND r.rulename <> '_RETURN'::name
      UNION ALL
      SELECT l.place, 'reference', NULL, pg_catalog.format('%s, which is part of the foreign key %I', l.name, k.conname),
        pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I;', k.conrelid::regclass, k.conname)
      FROM log AS l JOIN pg_catalog.pg_constraint AS k ON l.oid IN (k.conrelid, k.confrelid) AND k.contype = 'f'::"char"
      UNION ALL
      SELECT u.place, 'code', u.owner, pg_catalog.format('%s, which uses %s of %I', u.name,
          pg_catalog.pg_describe_object(u.class, u.id, 0), pg_catalog.pg_get_userbyid(u.owner)),
        'Drop it, and create the log again by create_all or the migration.'
      FROM (SELECT l.place, l.name, code.class, code.id, code.owner
        FROM ({CODE_OWNERS.replace("{start}", _PARTS)}) AS code JOIN log AS l ON l.oid = code.source
        WHERE NOT (code.class = {class_of("pg_class")} AND code.id IN (SELECT o.oid FROM log AS o))) AS u
      UNION ALL
      SELECT DISTINCT l.place, 'privilege', a.grantee,
        pg_catalog.format('%s, on which %s has the TRIGGER or REFERENCES privilege', l.name, g.name),
        pg_catalog.format('REVOKE TRIGGER, REFERENCES ON TABLE %s FROM %s CASCADE;', l.name, g.name)
      FROM log AS l CROSS JOIN LATERAL pg_catalog.aclexplode(l.relacl) AS a
      CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0::oid THEN 'PUBLIC'
        ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::text) END) AS g (name)
      WHERE a.privilege_type IN ('TRIGGER', 'REFERENCES') AND a.grantee <> l.relowner
    )
    SELECT f.place, f.kind, f.what, f.fix, l.relowner AS owner FROM faults AS f JOIN log AS l ON l.place = f.place
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = f.role
    WHERE f.role IS NULL OR r.oid IS NULL OR (r.rolname <> 'pg_database_owner'::name AND NOT EXISTS (
      SELECT FROM (
        SELECT n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.oid = {{schema}}::oid
        UNION ALL SELECT d.datdba FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
        UNION ALL SELECT {{role}}::oid
        {{others}}) AS trusted (oid)
      WHERE pg_catalog.pg_has_role(r.oid, trusted.oid, 'MEMBER')))
"""
"""A query for what is wrong with the relations of a log: ``place`` (for the order), ``kind`` (see
:class:`LogFault`), ``what``, ``fix`` and ``owner`` (the OID of the relation's).

``{schema}``: SQL for the OID of the log's schema; ``{role}``: SQL for the OID of the role whose
rights the code would have; ``{others}``: ``UNION ALL SELECT`` of more trusted roles, or nothing.
"""

_INSTALLER = "UNION ALL SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user"
_FOR_INSTALL = LOG_FAULTS.replace("{role}", "writer").replace("{others}", _INSTALLER)

# SQLAlchemy's tables cannot declare the storage: texts are stored uncompressed, in the row's own
# page if it has room, because compressing them takes longer than writing them.
LOG_WORK = f"""
    SELECT f.place, f.what, f.fix, f.owner FROM ({_FOR_INSTALL}) AS f WHERE f.kind = 'privilege'
    UNION ALL
    SELECT 100, pg_catalog.format('%I.%I, which compresses its texts', n.nspname, s.relname),
      pg_catalog.format('ALTER TABLE %I.%I ALTER COLUMN rows SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160);', n.nspname, s.relname),
      s.relowner
    FROM pg_catalog.pg_class AS s JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.oid AND a.attname = 'rows' AND a.attstorage <> 'e'
    WHERE s.relnamespace = {{schema}}::oid AND s.relname IN ({", ".join(map(literal, SLOT_NAMES))})
"""
"""A query for the statements that prepare a log for triggers, which only its owner can run: ``place,
what, fix, owner``. The variable ``writer`` holds the OID of the function's owner."""

DO_LOG_WORK = f"""DECLARE
  writer oid := {OWNER_TO_BE};
BEGIN
  FOR stray IN SELECT w.fix FROM ({LOG_WORK}) AS w LOOP
    EXECUTE stray;
  END LOOP;
END;"""
"""A PL/pgSQL block that runs the statements of :data:`LOG_WORK`, in the variable ``stray``."""

REFUSE_UNTRUSTED_LOG = f"""DECLARE
  faults text;
  fixes text;
  writer oid := {OWNER_TO_BE};
BEGIN
  SELECT pg_catalog.string_agg(f.what, '; ' ORDER BY f.place, f.what), pg_catalog.string_agg(DISTINCT f.fix, ' ')
  INTO faults, fixes FROM ({_FOR_INSTALL}) AS f
  WHERE f.kind <> 'privilege';
  IF faults IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.concat('sa_pgnotify: the change log is not to be trusted: ', faults),
      HINT = pg_catalog.concat('Nothing was installed. Code there would run with the rights of ', pg_catalog.pg_get_userbyid(writer),
        '. ', fixes, ' Or use ChangeLog(metadata, schema=...) with a schema of your own.');
  END IF;
END;"""
"""A PL/pgSQL block that refuses to install triggers on a log that is not to be trusted.

``{{function}}`` as in :data:`OWNER_TO_BE`; ``{{schema}}`` as in :data:`LOG_FAULTS`.
"""


@dataclass(frozen=True, slots=True)
class LogFault:
    """What is wrong with a relation of a change log.

    :ivar kind: ``"owner"``, ``"kind"`` (of relation), ``"trigger"``, ``"rule"``, ``"code"`` (a
        default, a constraint, an index, a policy or a type with code of another role),
        ``"reference"`` (a foreign key, which keeps slots from being emptied) or ``"privilege"``.
    :ivar what: the relation and the fault, as in a sentence.
    :ivar fix: how to fix it, as a statement or a sentence.
    :ivar role: the name of the role whose rights the code would have.
    """

    kind: Literal["owner", "kind", "trigger", "rule", "code", "reference", "privilege"]
    what: str
    fix: str
    role: str

    @property
    def effect(self) -> str:
        """What it does, in a sentence."""
        if self.kind == "reference":
            return "It keeps the log from being emptied."
        return f"Code there would run with the rights of {self.role}."


def log_faults(
    execute: Execute, logs: Iterable[tuple[int, str | None]], *, reading: bool = False
) -> dict[int, list[LogFault]]:
    """Return the faults of the logs that trigger functions write to, by the OID of the function;
    functions of one owner that write to the same log are represented by one of them.

    :param logs: the OID of each function, and the schema of the log that it writes to (None: the
        one that ``search_path`` finds).
    :param reading: leave out what does not matter to a reader now, and trust also the role that
        asks, and the owners of the functions' tables, because a program that reads the changes of
        their tables trusts them.
    """
    asked = ", ".join(
        f"({function}::oid, {'NULL' if schema is None else literal(schema)}::name)"
        for function, schema in logs
    )
    if not asked:
        return {}
    # A query for each log: the planner would estimate one for all of them so high that it compiles
    # it, which takes seconds.
    found: dict[int, list[LogFault]] = {}
    for function, owner, role, schema_oid in list(execute(_OWNERS_AND_LOGS.format(asked=asked))):
        others = _READERS_TRUST.format(asked=asked) if reading else ""
        faults = LOG_FAULTS.format(schema=f"{schema_oid}", role=f"{owner}", others=others)
        sql = f"""
SELECT faults.kind, faults.what, faults.fix FROM ({faults}) AS faults
{"WHERE faults.kind NOT IN ('privilege', 'reference')" if reading else ""}
ORDER BY faults.place, 1, 2
"""
        if every := [LogFault(kind, what, fix, role) for kind, what, fix in execute(sql)]:
            found[function] = every
    return found


def table_faults(execute: Execute, names: Iterable[str]) -> list[LogFault]:
    """Return the faults of other tables that a program writes to with the rights of its role, as those
    of a log.

    :param names: as SQL; those that do not exist have none.
    """
    found: list[LogFault] = []
    for name in names:
        asked = f"pg_catalog.to_regclass({literal(name)})::oid"
        where = f"SELECT relname::text, relnamespace::bigint FROM pg_catalog.pg_class WHERE oid = {asked}"
        for table, schema in list(execute(where)):
            me = "(SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)"
            faults = _TABLE_FAULTS.replace(
                "{relations}", f"(0, {literal(table)}::name, 'r'::\"char\")"
            )
            sql = (
                f"SELECT faults.kind, faults.what, faults.fix, current_user::text FROM ({faults}) AS faults "
                "WHERE faults.kind NOT IN ('privilege', 'reference') ORDER BY faults.what"
            ).format(schema=f"{schema}", role=me, others="")
            found += [LogFault(*fields) for fields in execute(sql)]
    return found


_TABLE_FAULTS = LOG_FAULTS.replace(_RELATIONS, "{relations}").replace(
    "and create the log again by create_all or the migration", "and let it be created again"
)
_OWNERS_AND_LOGS = f"""
SELECT pg_catalog.min(f.oid::bigint), f.proowner::bigint, pg_catalog.pg_get_userbyid(f.proowner)::text, h.relnamespace::bigint
FROM (VALUES {{asked}}) AS w (function, schema)
JOIN pg_catalog.pg_proc AS f ON f.oid = w.function
JOIN pg_catalog.pg_class AS h ON h.relname = {literal(PREFIX)}::name
  AND CASE WHEN w.schema IS NULL THEN pg_catalog.pg_table_is_visible(h.oid)
    ELSE h.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = w.schema) END
GROUP BY f.proowner, h.relnamespace ORDER BY 1
"""
_READERS_TRUST = f"""{_INSTALLER}
        UNION ALL SELECT c.relowner FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
          WHERE t.tgfoid IN (SELECT w.function FROM (VALUES {{asked}}) AS w (function, schema))"""
