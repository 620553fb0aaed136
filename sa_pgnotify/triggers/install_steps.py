"""The steps of the statements that install and remove triggers, as PL/pgSQL with places to fill in.

They run in a ``DO`` block whose variables :data:`DECLARED` names, with nothing but ``pg_catalog``
on its ``search_path``; each step looks before it acts, or refuses what cannot work with one error
that says how to fix it. :mod:`sa_pgnotify.triggers.install_statement` puts them together.
"""

from __future__ import annotations

from ..log.captures import PUBLICATION, SLOT, SLOT_PREFIX
from ..log.tables import PREFIX as LOG
from ..protocol.channels import DEFAULT_CHANNEL, RELATION
from ..protocol.doorbell import bell_channel
from .code_owners import class_of
from .names import COMMENT_PREFIX, FUNCTION_PREFIX

TRIGGER_EXISTS = (
    "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = '{trigger}'"
    " AND NOT tgisinternal{condition})"
)

# These expressions run under the installing role's search_path, so types have their schema, and the
# functions get arguments of exactly their types.
DECLARED = """\
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  strings pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
  target pg_catalog.regclass := pg_catalog.to_regclass({table});
  visible pg_catalog.oid := pg_catalog.to_regprocedure({function});
  existing pg_catalog.oid;
  head pg_catalog.regclass := pg_catalog.to_regclass({head});
  near_log pg_catalog.regclass := pg_catalog.to_regclass({near});
  current pg_catalog.text := pg_catalog.current_schema();
  home pg_catalog.text;
  procedure pg_catalog.text;
  former pg_catalog.oid[];
  channels pg_catalog.text[];
  unused pg_catalog.oid;
  stray pg_catalog.text;
  absent pg_catalog.text;
  body pg_catalog.text;
  comment pg_catalog.text;
  resolved pg_catalog.jsonb := '{{}}';
  probe pg_catalog.text;
  query pg_catalog.text;
  given pg_catalog.text[];
  meant pg_catalog.text;
  same pg_catalog.bool;
"""
SAFE = """PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
PERFORM pg_catalog.set_config('standard_conforming_strings', 'on', true);"""
HOME = """home := pg_catalog.quote_ident(coalesce((SELECT n.nspname FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target)::text, current));"""
PROCEDURE = """procedure := pg_catalog.concat(home, {name});
existing := coalesce(pg_catalog.to_regprocedure(pg_catalog.concat(procedure, '()')), CASE WHEN target IS NULL THEN visible END);"""
AS_BEFORE = """PERFORM pg_catalog.set_config('standard_conforming_strings', strings, true);
PERFORM pg_catalog.set_config('search_path', path, true);"""

TAKE_LOCK = """FOR tenth IN 1 .. {seconds} * 10 LOOP
  EXIT WHEN pg_catalog.pg_try_advisory_xact_lock({key});
  IF tenth = {seconds} * 10 THEN
    RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
      MESSAGE = pg_catalog.format('sa_pgnotify: process %s holds the advisory lock of installing triggers, for more than {seconds} s',
        (SELECT pid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
          AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          AND (classid::bigint << 32) + objid::bigint = {key} LIMIT 1)),
      HINT = 'Nothing was changed. Wait for its transaction to end, or end it by pg_terminate_backend(), and try again.';
  END IF;
  PERFORM pg_catalog.pg_sleep(0.1);
END LOOP;"""

NO_TABLE = """IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = target AND relkind NOT IN ('r', 'p')) THEN
  RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = 'sa_pgnotify: ' || {table} || ' is not a table',
    HINT = 'Statement triggers that see the rows are for tables only: mark those that the view reads.';
END IF;
IF target IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' does not exist',
    HINT = 'Create the table before its triggers, and drop its triggers before the table.';
END IF;"""

NOT_ALLOWED = """IF NOT (pg_catalog.has_table_privilege(target, 'TRIGGER') AND pg_catalog.has_any_column_privilege(target, 'SELECT')) THEN
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
    MESSAGE = pg_catalog.format('sa_pgnotify: the role %I may not make triggers of %s', current_user, {table}),
    HINT = pg_catalog.format('Run this as the owner of the table, or GRANT SELECT, TRIGGER ON %s TO %I, and CREATE ON its schema.',
      target::regclass, current_user);
END IF;"""

# After ALTER TABLE ... RENAME, the triggers of the renamed table still run the function that has the
# old name. A new table of that name needs it, so the old function is renamed.
GIVE_WAY = """IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = existing AND tgrelid <> target) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', existing::regprocedure, pg_catalog.concat({prefix}, existing));
  existing := NULL;
END IF;"""
KEPT = "former := pg_catalog.array_remove(former, existing); -- no trigger runs it"
CREATED = "existing := pg_catalog.to_regprocedure(pg_catalog.concat(procedure, '()'));"

DROP_STRAY = """FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = target
    AND tgfoid = existing AND tgname NOT IN ({triggers})
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), {ours}) LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, target);
END LOOP;"""

NOT_OURS = """IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND NOT pg_catalog.starts_with(coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), ''), {ours})
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = f.oid AND tgname IN ({triggers}))) THEN
  RAISE EXCEPTION USING ERRCODE = 'duplicate_function', MESSAGE = 'sa_pgnotify: the function ' || {function} || ' is not ours',
    HINT = 'Ours for this table needs its name: rename the other one.';
END IF;"""

NOT_TRUSTED = """absent := (SELECT r.rolname FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_roles AS r ON r.oid = f.proowner
  JOIN pg_catalog.pg_class AS c ON c.oid = target
  WHERE f.oid = existing AND NOT r.rolsuper AND r.rolname <> current_user AND f.proowner <> c.relowner);
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
    MESSAGE = pg_catalog.format('sa_pgnotify: the function %s belongs to %I, which could replace it by code that runs as the writers of %s',
      existing::regprocedure, absent, {table}),
    HINT = pg_catalog.format('Nothing was installed. DROP FUNCTION %s CASCADE, or have the owner of the table own it.',
      existing::regprocedure);
END IF;"""

NO_LOG = """IF head IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the change log ' || {head} || ' does not exist',
    HINT = 'Durable changes are written there. Create all tables of the MetaData, or those of its ChangeLog, before the triggers.';
END IF;"""

NO_COLUMN = """SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ') INTO absent FROM pg_catalog.unnest({columns}) AS name
  WHERE name NOT IN (SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped);
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = 'sa_pgnotify: the table ' || {table} || ' has no column ' || absent,
    HINT = 'Add columns before the triggers that read them, and drop columns after.';
END IF;"""

BASE_TYPE = """CASE WHEN y.typtype = 'd' THEN (
       WITH RECURSIVE b (oid, base) AS (
         SELECT y.oid, y.typbasetype
         UNION ALL SELECT z.oid, z.typbasetype FROM b JOIN pg_catalog.pg_type AS z ON z.oid = b.base)
       SELECT b.oid::bigint FROM b WHERE b.base = 0::oid) ELSE y.oid::bigint END"""
"""SQL for the OID of a type, given its row ``y`` of pg_type; of a domain, the OID of the type under
it."""
NO_FIT = """SELECT pg_catalog.string_agg(pg_catalog.format('column %I is of type %s', a.attname,
    pg_catalog.format_type(a.atttypid, a.atttypmod)), ', ')
  INTO absent FROM pg_catalog.jsonb_each({families}::jsonb) AS f JOIN pg_catalog.pg_attribute AS a ON a.attname = f.key
  JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid
  WHERE a.attrelid = target AND NOT f.value @> pg_catalog.to_jsonb({base_type});
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch', MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || absent
      || ', and the model says otherwise',
    HINT = 'Declare the types that the columns have, or install by metadata.create_all(engine), which looks them up.';
END IF;"""

# Only objects that do not exist are errors: types and new values of an enum may yet change, in this
# revision or, in its downgrade, after this step.
NO_USE = """BEGIN
  EXECUTE {query};
EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || SQLERRM,
    HINT = 'The columns do not fit the table as it is now.';
WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation THEN
  NULL;
END;"""

LOG_NAMESPACE = "(SELECT c.relnamespace FROM pg_catalog.pg_class AS c WHERE c.oid = head)"
LOG_SCHEMA = """(SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head)"""
NEAR_LOG = f"body := pg_catalog.replace(body, {{mark}}, {LOG_SCHEMA});"
NEAR_LITERAL = f"body := pg_catalog.replace(body, {{mark}}, pg_catalog.quote_literal(pg_catalog.concat({LOG_SCHEMA}, {{name}})));"

# A virtual generated column is NULL in a transition table, so it is computed from the table's own
# expression.
VIRTUAL = "pg_catalog.format('((%s)::%s)', pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.format_type(a.atttypid, a.atttypmod))"
"""SQL for the value of a virtual generated column, given its rows ``a`` of pg_attribute and ``d``
of pg_attrdef."""
RESOLVE_VIRTUAL = """FOR place IN 1 .. pg_catalog.cardinality({names}) LOOP
  meant := (SELECT {virtual}
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = target AND a.attname = ({names})[place] AND a.attgenerated = 'v');
  body := pg_catalog.replace(body, ({marks})[place], coalesce(meant, ({plain})[place]));
  IF meant IS NOT NULL THEN
    resolved := resolved || pg_catalog.jsonb_build_object(({marks})[place], meant);
  END IF;
END LOOP;"""

# The names in a condition keep the meaning that they have for the installing role: PostgreSQL binds
# them in the body of an SQL function, and writes them with their schemas where pg_catalog alone
# would not find the same objects.
RESOLVE_USES = f"""SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = {class_of("pg_proc")} AND d.objid = pg_catalog.to_regprocedure(probe)"""
# Its triggers run as the writers anyway, as does a function that is not SECURITY DEFINER.
NOT_TABLE_OWNER = (
    "AND r.oid <> (SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = target)"
)
RESOLVE = """given := {given};
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat({prefix}, pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', ({kinds})[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS {end}', {rows}, '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM ({used}) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> {owner} {and_others});
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would use ' || absent,
        HINT = 'That role could change what it does. Cast the operands so that what pg_catalog has fits exactly, or let a superuser '
          'or the role that installs the triggers own it.';
    END IF;
    meant := pg_catalog.pg_get_function_sqlbody(pg_catalog.to_regprocedure(probe));
    BEGIN
      EXECUTE pg_catalog.concat('CREATE OR REPLACE ', query);
      same := pg_catalog.pg_get_function_sqlbody(pg_catalog.to_regprocedure(probe)) = meant;
    EXCEPTION WHEN OTHERS THEN
      same := false;
    END;
    IF NOT same THEN
      given[place] := pg_catalog.substr(meant, pg_catalog.strpos(meant, 'SELECT ') + 7,
        pg_catalog.strpos(meant, ' AS {end}') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object(({marks})[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], {rows}, ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || {table} || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, ({marks})[place], given[place]);
END LOOP;"""

COMMENT = """IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));"""


def _channel(given: str, schema: str, table: str) -> str:
    """SQL for the channel of triggers: the given one, which may be NULL, or that of a table."""
    return f"coalesce({given}, {DEFAULT_CHANNEL.format(name=RELATION.format(schema=schema, table=table))})"


CHANNEL = f"""SELECT {_channel("{given}", "n.nspname", "c.relname")} FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target"""

BELL = f"SELECT {bell_channel('head::oid')}"

NAMED_AFTER = f"coalesce(said.it ->> 'table', substr(f.proname, {len(FUNCTION_PREFIX) + 1}))"
LOG_OF_COMMENT = (
    "CASE WHEN said.it ->> 'log_schema' IS NULL THEN near_log "
    f"ELSE pg_catalog.to_regclass(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.{LOG}') END"
)
# A function is named after the name that its table had when it was made; if the name cannot hold
# it, the comment does.
FORMER = f"""former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = target AND tgname IN ({{triggers}}) AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), {{ours}}));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN {bell_channel(f"({LOG_OF_COMMENT})::oid")}
      ELSE {_channel("said.it ->> 'channel'", "n.nspname", NAMED_AFTER)} END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), {len(COMMENT_PREFIX) + 1})::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), {{ours}}));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;"""

DROP_UNUSED = """FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, {prefix}))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;"""

REPORT_MOVED = """BEGIN
  PERFORM pg_catalog.pg_notify(channel, {moved}) FROM pg_catalog.unnest(channels) AS channel WHERE channel IS DISTINCT FROM ({channel});
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: running listeners do not hear that triggers changed, since pg_notify() is not allowed: restart them';
END;"""

# -- capture="wal": a publication in place of triggers ----------------------------------------------

_HEAD_SCHEMA = """(SELECT n.nspname::text FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head)"""
_PARTS = """pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p') AND (c.oid = target
    OR c.oid IN (SELECT tree.relid::oid FROM pg_catalog.pg_partition_tree(target) AS tree))"""
NOT_GENERATED = """SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ') INTO absent FROM pg_catalog.pg_attribute AS a
  WHERE a.attrelid = target AND a.attname = ANY ({columns}) AND NOT a.attisdropped
    AND (a.attgenerated = 'v' OR (a.attgenerated = 's' AND pg_catalog.current_setting('server_version_num')::int < 180000));
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
    MESSAGE = 'sa_pgnotify: the write-ahead log has no values of the generated columns of ' || {table} || ': ' || absent,
    HINT = 'Leave them out of values. PostgreSQL 18 publishes those that are STORED, and older versions none.';
END IF;"""
NO_KEY = """IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = target AND relkind = 'p')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = target AND indisprimary) THEN
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = 'sa_pgnotify: the partitioned table ' || {table} || ' has no primary key in the database',
    HINT = 'PostgreSQL would refuse UPDATE and DELETE in a partition that is made later. Give it one, or leave out capture.';
END IF;"""
NO_LOGICAL_WAL = """IF pg_catalog.current_setting('wal_level') <> 'logical' THEN
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = 'sa_pgnotify: capture="wal" of ' || {table} || ' needs wal_level = logical, and the server has '
      || pg_catalog.current_setting('wal_level'),
    HINT = 'Run ALTER SYSTEM SET wal_level = logical and restart the server, or leave out capture.';
END IF;"""
# The stronger lock first. Without an identity, PostgreSQL would refuse UPDATE and DELETE of a published
# table, so a table without a primary key gets one even if only its insertions are published.
PUBLISH = f"""IF {{needs_old}} OR NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = target AND indisprimary) THEN
  FOR stray IN SELECT c.oid::regclass::text FROM {_PARTS} AND c.relreplident <> 'f' LOOP
    EXECUTE pg_catalog.concat('ALTER TABLE ONLY ', stray, ' REPLICA IDENTITY FULL');
  END LOOP;
END IF;
stray := {PUBLICATION.format(schema=_HEAD_SCHEMA)};
query := CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 180000 THEN ', publish_generated_columns = stored' ELSE '' END;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = stray) THEN
  EXECUTE pg_catalog.format('CREATE PUBLICATION %I WITH (publish_via_partition_root = true%s)', stray, query);
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
    WHERE p.pubname = stray AND r.prrelid = target) THEN
  EXECUTE pg_catalog.format('ALTER PUBLICATION %I ADD TABLE ONLY %s', stray, target);
END IF;"""
UNPUBLISH = f"""FOR stray IN SELECT p.pubname FROM pg_catalog.pg_publication AS p
    JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
    WHERE r.prrelid = target AND pg_catalog.starts_with(p.pubname::text, '{SLOT_PREFIX}') LOOP
  EXECUTE pg_catalog.format('ALTER PUBLICATION %I DROP TABLE ONLY %s', stray, target);
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel WHERE prrelid = target) THEN
    FOR query IN SELECT c.oid::regclass::text FROM {_PARTS} AND c.relreplident = 'f' LOOP
      EXECUTE pg_catalog.concat('ALTER TABLE ONLY ', query, ' REPLICA IDENTITY DEFAULT');
    END LOOP;
  END IF;
END LOOP;"""
# A publication without tables is dropped with its slot, which would otherwise keep the whole
# write-ahead log. If its tables have triggers now, it stays until its capture has read everything.
OF_TABLE = f"""given := ARRAY(SELECT p.pubname::text FROM pg_catalog.pg_publication AS p
  JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
  WHERE r.prrelid = target AND pg_catalog.starts_with(p.pubname::text, '{SLOT_PREFIX}')
  UNION SELECT {PUBLICATION.format(schema=_HEAD_SCHEMA)} WHERE head IS NOT NULL);"""
DROP_CAPTURE = f"""FOREACH stray IN ARRAY given LOOP
  CONTINUE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = stray
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel WHERE prpubid = p.oid));
  EXECUTE pg_catalog.format('DROP PUBLICATION %I', stray);
  query := {SLOT.format(publication="stray")};
  FOR tenth IN 1 .. 50 LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = query);
    BEGIN
      PERFORM pg_catalog.pg_drop_replication_slot(query);
    EXCEPTION WHEN object_in_use THEN
      IF tenth = 50 THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use',
          MESSAGE = 'sa_pgnotify: a capture reads the replication slot ' || query || ', and nothing was dropped',
          HINT = 'Stop the capture first.';
      END IF;
      PERFORM pg_catalog.pg_sleep(0.1);
    WHEN undefined_object THEN NULL;
    END;
  END LOOP;
END LOOP;"""
