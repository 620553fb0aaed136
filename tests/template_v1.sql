-- template version 1: defaults
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('orders') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgrelid <> 'orders'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "sa_pgnotify_orders"() RETURNS trigger LANGUAGE plpgsql SET jit TO 'off' SET search_path TO pg_catalog, pg_temp AS $function$
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
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := relation;
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT pg_catalog.concat('I', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(new_row.id), E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT r.id, r.status FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r.id, r.status FROM sa_new_rows AS r) AS new_row
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT pg_catalog.concat('D', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(old_row.id), E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('T', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context);
    rows := '';
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION "sa_pgnotify_orders"() IS 'sa_pgnotify {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "version": 1}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('orders')
    AND tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 'orders'::regclass);
END LOOP;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON orders REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON orders REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '8 sa_old_rows  t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON orders REFERENCING OLD TABLE AS sa_old_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '32   t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'orders'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: all families
-- sha256 of the function d2a343fdbf6666c7173cd213f7a276d4c08d50cae435f4f6f8fad40cd5b8dc7b;

-- template version 1: every option, awkward names
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('"größe {0}"."it''s ""100%"" :t"') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"größe {0}"."sa_pgnotify_former name"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"größe {0}"."sa_pgnotify_former name"()') AND tgrelid <> '"größe {0}"."it''s ""100%"" :t"'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"größe {0}"."sa_pgnotify_former name"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"größe {0}"."sa_pgnotify_former name"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "größe {0}"."sa_pgnotify_former name"() RETURNS trigger LANGUAGE plpgsql SET jit TO 'off' SET search_path FROM CURRENT SET standard_conforming_strings TO 'on' AS $function_$
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
  door := (pg_catalog.hashname('orders'' 100% :changes	') & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := 'orders'' 100% :changes	';
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := 'orders'' 100% :changes	';
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', E'{"columns": ["a\\tb", "$$", "%(c)s"], "carried": 2, "key": 1, "types": "in"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row."a	b" IS DISTINCT FROM new_row."a	b" THEN 1 ELSE 0 END + CASE WHEN ROW(old_row."$$")::record *<> ROW(new_row."$$")::record THEN 2 ELSE 0 END + CASE WHEN old_row."%(c)s" COLLATE "C" IS DISTINCT FROM new_row."%(c)s" COLLATE "C" THEN 4 ELSE 0 END)::bigint AS mask0, new_row."a	b" AS new0, old_row."a	b" AS old0, new_row."$$" AS new1, old_row."$$" AS old1
        FROM (SELECT r."a	b", r."%(c)s", r."$$" FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r."a	b", r."%(c)s", r."$$" FROM sa_new_rows AS r) AS new_row
        WHERE CASE WHEN (new_row."%(c)s" = '$function$ 100% :a'
      ) THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 4 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', E'{"columns": ["a\\tb", "$$", "%(c)s"], "carried": 2, "key": 1, "types": "in"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, new1), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row."a	b" IS DISTINCT FROM new_row."a	b" THEN 1 ELSE 0 END + CASE WHEN ROW(old_row."$$")::record *<> ROW(new_row."$$")::record THEN 2 ELSE 0 END + CASE WHEN old_row."%(c)s" COLLATE "C" IS DISTINCT FROM new_row."%(c)s" COLLATE "C" THEN 4 ELSE 0 END)::bigint AS mask0, new_row."a	b" AS new0, old_row."a	b" AS old0, new_row."$$" AS new1, old_row."$$" AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r."a	b", r."%(c)s", r."$$" FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r."a	b", r."%(c)s", r."$$" FROM sa_new_rows AS r) AS new_row USING (position)
        WHERE CASE WHEN (new_row."%(c)s" = '$function$ 100% :a'
      ) THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 4 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT pg_catalog.concat('D', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', E'{"columns": ["a\\tb", "$$"], "carried": 2, "key": 1, "types": "in"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row."a	b", old_row."$$") = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row."a	b", old_row."$$") ELSE pg_catalog.concat(old_row."a	b", E'\x1f', old_row."$$") END, E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row LEFT JOIN sa_old_rows AS new_row ON false
      WHERE (new_row."%(c)s" = '$function$ 100% :a'
      );
    IF rows IS NULL THEN RETURN NULL; END IF;
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := 'orders'' 100% :changes	';
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function_$;
COMMENT ON FUNCTION "größe {0}"."sa_pgnotify_former name"() IS E'sa_pgnotify {"columns": {"a\\tb": "integer", "%(c)s": "text", "$$": "numeric"}, "key": ["a\\tb"], "operations": ["update", "delete"], "values": ["$$"], "update_of": ["%(c)s"], "condition": "new_row.\\"%(c)s\\" = ''$function$ 100% :a''", "channel": "orders'' 100% :changes\\t", "version": 1}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('"größe {0}"."it''s ""100%"" :t"')
    AND tgfoid = pg_catalog.to_regprocedure('"größe {0}"."sa_pgnotify_former name"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, '"größe {0}"."it''s ""100%"" :t"'::regclass);
END LOOP;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"größe {0}"."it''s ""100%"" :t"'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_insert ON "größe {0}"."it's ""100%"" :t";
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"größe {0}"."it''s ""100%"" :t"'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_truncate ON "größe {0}"."it's ""100%"" :t";
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"größe {0}"."it''s ""100%"" :t"'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"größe {0}"."sa_pgnotify_former name"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON "größe {0}"."it's ""100%"" :t" REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "größe {0}"."sa_pgnotify_former name"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"größe {0}"."it''s ""100%"" :t"'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal AND tgfoid = '"größe {0}"."sa_pgnotify_former name"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '8 sa_old_rows  t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON "größe {0}"."it's ""100%"" :t" REFERENCING OLD TABLE AS sa_old_rows FOR EACH STATEMENT EXECUTE FUNCTION "größe {0}"."sa_pgnotify_former name"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce('orders'' 100% :changes	', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = '"größe {0}"."it''s ""100%"" :t"'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: hashed name, key of two, one operation
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()') AND tgrelid <> 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"() RETURNS trigger LANGUAGE plpgsql SET datestyle TO 'ISO' SET timezone TO 'UTC' SET search_path TO pg_catalog, pg_temp AS $function$
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
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := relation;
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT pg_catalog.concat('I', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["a", "b"], "carried": 2, "key": 2, "types": "dt"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.a, new_row.b) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.a, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.b COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.b IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.a, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.b COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.b IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"() IS 'sa_pgnotify {"columns": {"b": "text", "a": "datetime"}, "key": ["a", "b"], "operations": ["insert"], "version": 1, "table": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')
    AND tgfoid = pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass);
END LOOP;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_update ON shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_delete ON shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_truncate ON shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = 'shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: discriminator
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('orders') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgrelid <> 'orders'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "sa_pgnotify_orders"() RETURNS trigger LANGUAGE plpgsql SET jit TO 'off' SET search_path TO pg_catalog, pg_temp AS $function$
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
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := relation;
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT pg_catalog.concat('I', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.id, new_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.kind COLLATE "C" IS DISTINCT FROM new_row.kind COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.kind AS new1, old_row.kind AS old1
        FROM (SELECT r.id, r.kind FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r.id, r.kind FROM sa_new_rows AS r) AS new_row
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END)), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.kind COLLATE "C" IS DISTINCT FROM new_row.kind COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.kind AS new1, old_row.kind AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT pg_catalog.concat('D', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.id, old_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(old_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('T', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}', E'\x1f', sa.context);
    rows := '';
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION "sa_pgnotify_orders"() IS 'sa_pgnotify {"columns": {"id": "integer", "kind": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "discriminator": "kind", "version": 1}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('orders')
    AND tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 'orders'::regclass);
END LOOP;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON orders REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON orders REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '8 sa_old_rows  t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON orders REFERENCING OLD TABLE AS sa_old_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '32   t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'orders'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: discriminator of another table
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('rush') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"sa_pgnotify_rush"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_rush"()') AND tgrelid <> 'rush'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"sa_pgnotify_rush"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"sa_pgnotify_rush"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "sa_pgnotify_rush"() RETURNS trigger LANGUAGE plpgsql SET jit TO 'off' SET search_path FROM CURRENT SET standard_conforming_strings TO 'on' AS $function$
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
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := relation;
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "note"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', looked_up, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.note COLLATE "C" IS DISTINCT FROM new_row.note COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, (SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E'\x1b0' END) FROM shop.orders AS root WHERE root.order_id = new_row.id) AS looked_up
        FROM (SELECT r.id, r.note FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r.id, r.note FROM sa_new_rows AS r) AS new_row
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "note"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, looked_up) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, looked_up), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', looked_up, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.note COLLATE "C" IS DISTINCT FROM new_row.note COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, (SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E'\x1b0' END) FROM shop.orders AS root WHERE root.order_id = new_row.id) AS looked_up
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.note FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.note FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('T', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}', E'\x1f', sa.context);
    rows := '';
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION "sa_pgnotify_rush"() IS 'sa_pgnotify {"columns": {"id": "integer", "note": "text"}, "key": ["id"], "operations": ["update", "truncate"], "discriminator": {"table": "orders", "schema": "shop", "column": "kind", "key": {"id": "order_id"}}, "version": 1}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('rush')
    AND tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_rush"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 'rush'::regclass);
END LOOP;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'rush'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_insert ON rush;
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'rush'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal) THEN
  DROP TRIGGER IF EXISTS sa_pgnotify_delete ON rush;
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'rush'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_rush"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON rush REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_rush"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'rush'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_rush"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '32   t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER TRUNCATE ON rush FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_rush"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'rush'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: computed
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('t') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"sa_pgnotify_t"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_t"()') AND tgrelid <> 't'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"sa_pgnotify_t"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"sa_pgnotify_t"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "sa_pgnotify_t"() RETURNS trigger LANGUAGE plpgsql SET jit TO 'off' SET search_path FROM CURRENT SET standard_conforming_strings TO 'on' AS $function$
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
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF pg_catalog.octet_length(relation) <= 63 THEN
    channel := relation;
  ELSE
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT pg_catalog.concat('I', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.id, new_row.twice) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.id, new_row.twice) ELSE pg_catalog.concat(new_row.id, E'\x1f', new_row.twice) END, E'\x1e') INTO message, rows
      FROM (SELECT r.id, (id * 2) AS twice FROM sa_new_rows AS r) AS new_row LEFT JOIN sa_new_rows AS old_row ON false
      WHERE (new_row.twice > 4
      );
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.twice IS DISTINCT FROM new_row.twice THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.twice AS new1, old_row.twice AS old1
        FROM (SELECT r.id, (id * 2) AS twice FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r.id, (id * 2) AS twice FROM sa_new_rows AS r) AS new_row
        WHERE CASE WHEN (new_row.twice > 4
      ) THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, new1), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.twice IS DISTINCT FROM new_row.twice THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.twice AS new1, old_row.twice AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, (id * 2) AS twice FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, (id * 2) AS twice FROM sa_new_rows AS r) AS new_row USING (position)
        WHERE CASE WHEN (new_row.twice > 4
      ) THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT pg_catalog.concat('D', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.id, old_row.twice) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.id, old_row.twice) ELSE pg_catalog.concat(old_row.id, E'\x1f', old_row.twice) END, E'\x1e') INTO message, rows
      FROM (SELECT r.id, (id * 2) AS twice FROM sa_old_rows AS r) AS old_row LEFT JOIN sa_old_rows AS new_row ON false
      WHERE (new_row.twice > 4
      );
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('T', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}', E'\x1f', sa.context);
    rows := '';
  END IF;
  -- Identical payloads of one transaction would be collapsed into one, so each message has something of its own.
  IF pg_catalog.octet_length(message) + pg_catalog.octet_length(rows) < 7900 THEN
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, ' 0 1', E'\x1e', message, E'\x1e', rows)) IS NULL
      THEN NULL; END IF;
    RETURN NULL;
  END IF;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
  bytes := pg_catalog.convert_to(message || E'\x1e' || rows, 'UTF8');
  rows := NULL;
  total := pg_catalog.octet_length(bytes);
  start := 1;
  part := 0;
  WHILE start <= total LOOP
    stop := start + 7900;
    -- A byte whose top bits are 10 continues a character: do not cut before it.
    WHILE stop <= total AND pg_catalog.get_byte(bytes, stop - 1) & 192
        = 128 LOOP
      stop := stop - 1;
    END LOOP;
    IF pg_catalog.pg_notify(channel, pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The user's write goes on. Its listeners are told that something is missing.
  RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not tell a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
    DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. Compare table and trigger with check().';
  message := pg_catalog.concat('sa1 failed ', SQLSTATE, ' ', pg_catalog.left(SQLERRM, 500));
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    PERFORM pg_catalog.pg_notify(channel, message);
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL; -- nobody can be told: the writer may not even call pg_notify()
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION "sa_pgnotify_t"() IS 'sa_pgnotify {"columns": {"id": "integer", "twice": "integer"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "values": "all", "condition": "new_row.twice > 4", "computed": {"twice": "id * 2"}, "version": 1}';
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('t')
    AND tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_t"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 't'::regclass);
END LOOP;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_t"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON t REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_t"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_t"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON t REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_t"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_t"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '8 sa_old_rows  t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON t REFERENCING OLD TABLE AS sa_old_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_t"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_t"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '32   t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_t"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 't'::regclass);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: durable
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  former oid[];
  channels text[];
  unused oid;
  stray text;
BEGIN
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = pg_catalog.to_regclass('orders') AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.', 'sa_pgnotify_log'))::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF pg_catalog.to_regclass('sa_pgnotify_log') IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the change log ' || 'sa_pgnotify_log' || ' does not exist',
    HINT = 'Durable changes are written there. Create all tables of the MetaData, or those of its ChangeLog, before the triggers.';
END IF;
FOR stray IN SELECT slot FROM unnest(ARRAY['sa_pgnotify_log_0', 'sa_pgnotify_log_1', 'sa_pgnotify_log_2', 'sa_pgnotify_log_3']) AS slot JOIN pg_catalog.pg_attribute AS a ON attrelid = slot::regclass
    WHERE attname = 'rows' AND attstorage <> 'e' LOOP
  EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN rows SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160)', stray);
END LOOP;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger
    WHERE tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgrelid <> 'orders'::regclass) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()'),
    pg_catalog.concat('sa_pgnotify_', pg_catalog.to_regprocedure('"sa_pgnotify_orders"()')::oid));
END IF;
CREATE OR REPLACE FUNCTION "sa_pgnotify_orders"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET jit TO 'off' SET search_path FROM CURRENT AS $function$
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
    place := pg_catalog.nextval('sa_pgnotify_log_id_seq');
    IF (place >> 15) & 3 = 0 THEN
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM sa_pgnotify_log_0 AS s WHERE s.id = place;
    ELSIF (place >> 15) & 3 = 1 THEN
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM sa_pgnotify_log_1 AS s WHERE s.id = place;
    ELSIF (place >> 15) & 3 = 2 THEN
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM sa_pgnotify_log_2 AS s WHERE s.id = place;
    ELSIF (place >> 15) & 3 = 3 THEN
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM sa_pgnotify_log_3 AS s WHERE s.id = place;
    END IF;
    IF FOUND THEN
      PERFORM pg_catalog.pg_advisory_xact_lock(3943224283504836608 + 'sa_pgnotify_log'::regclass::oid::bigint);
      newest := (SELECT max(id) FROM (SELECT max(s.id) AS id FROM sa_pgnotify_log_0 AS s UNION ALL SELECT max(s.id) AS id FROM sa_pgnotify_log_1 AS s UNION ALL SELECT max(s.id) AS id FROM sa_pgnotify_log_2 AS s UNION ALL SELECT max(s.id) AS id FROM sa_pgnotify_log_3 AS s) AS s);
      place := pg_catalog.nextval('sa_pgnotify_log_id_seq');
      IF place <= newest THEN
        -- Far enough for whoever takes a number meanwhile.
        place := pg_catalog.setval('sa_pgnotify_log_id_seq', newest + 10000);
      END IF;
    END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
    key := pg_catalog.hashtextextended(relation COLLATE "C", 'sa_pgnotify_log'::regclass::oid::bigint::bigint);
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT pg_catalog.concat('I', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(new_row.id), E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF (SELECT count(*) FROM (SELECT FROM sa_new_rows LIMIT 2) AS _) = 1 THEN
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END), E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT r.id, r.status FROM sa_old_rows AS r) AS old_row
        CROSS JOIN (SELECT r.id, r.status FROM sa_new_rows AS r) AS new_row
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    ELSE
    SELECT pg_catalog.concat('U', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    END IF;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT pg_catalog.concat('D', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(old_row.id), E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('T', E'\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f', '{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}', E'\x1f', sa.context);
    rows := '';
  END IF;
    IF pg_catalog.octet_length(rows) > 60000 OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > 536870912 THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed 536870912 bytes';
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
    IF (place >> 15) & 3 = 0 THEN
      INSERT INTO sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, rows);
    ELSIF (place >> 15) & 3 = 1 THEN
      INSERT INTO sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, rows);
    ELSIF (place >> 15) & 3 = 2 THEN
      INSERT INTO sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, rows);
    ELSIF (place >> 15) & 3 = 3 THEN
      INSERT INTO sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, rows);
    END IF;
  ELSE
    start := 1;
    LOOP
      stop := start + 60000;
      WHILE stop <= total LOOP
        ahead := position(E'\\x1e'::bytea IN pg_catalog.substr(bytes, stop, 2048));
        stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE 2048 END;
        EXIT WHEN ahead > 0;
      END LOOP;
      stop := least(stop, total + 1);
      piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
      start := stop + 1;
    IF (place >> 15) & 3 = 0 THEN
      INSERT INTO sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, piece);
    ELSIF (place >> 15) & 3 = 1 THEN
      INSERT INTO sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, piece);
    ELSIF (place >> 15) & 3 = 2 THEN
      INSERT INTO sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, piece);
    ELSIF (place >> 15) & 3 = 3 THEN
      INSERT INTO sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, pg_catalog.pg_current_xact_id()::text::bigint, pg_catalog.pg_backend_pid(), relation, message, piece);
    END IF;
      EXIT WHEN start > total;
      place := pg_catalog.nextval('sa_pgnotify_log_id_seq');
    END LOOP;
  END IF;
  -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN pg_catalog.pg_advisory_unlock(key) ELSE false END) THEN RETURN NULL; END IF;
  IF pg_catalog.current_setting('sa_pgnotify.doorbell', true) = 'off' THEN RETURN NULL; END IF;
  BEGIN
    PERFORM pg_catalog.pg_notify(pg_catalog.concat('sa_pgnotify_log_', 'sa_pgnotify_log'::regclass::oid::bigint), 'sa1 ring');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = 'sa_pgnotify could not wake the readers of the change log',
      DETAIL = pg_catalog.concat(SQLSTATE, ' ', SQLERRM), HINT = 'Your write is not affected. They find it at their heartbeat.';
  END;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION "sa_pgnotify_orders"() IS 'sa_pgnotify {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "durable": true, "version": 1}';
REVOKE EXECUTE ON FUNCTION "sa_pgnotify_orders"() FROM PUBLIC;
EXECUTE pg_catalog.format('ALTER FUNCTION %s SET search_path TO %s', '"sa_pgnotify_orders"()', (SELECT pg_catalog.concat('pg_catalog, ', pg_catalog.quote_ident(n.nspname), ', pg_temp') FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'sa_pgnotify_log'::regclass));
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass('orders')
    AND tgfoid = pg_catalog.to_regprocedure('"sa_pgnotify_orders"()') AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, 'orders'::regclass);
END LOOP;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON orders REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '16 sa_old_rows sa_new_rows t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_update AFTER UPDATE ON orders REFERENCING OLD TABLE AS sa_old_rows NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '8 sa_old_rows  t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_delete AFTER DELETE ON orders REFERENCING OLD TABLE AS sa_old_rows FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = 'orders'::regclass AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal AND tgfoid = '"sa_pgnotify_orders"()'::regprocedure AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '32   t') THEN
  CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION "sa_pgnotify_orders"();
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT pg_catalog.concat('sa_pgnotify_log_', 'sa_pgnotify_log'::regclass::oid));
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: listeners are not told that triggers changed, since pg_notify() is not allowed: start them anew';
END;
END
$sa_pgnotify$;

-- template version 1: durable, the log elsewhere, a condition
-- sha256 of the function 8b44ab5a24ae4626adfa4b0cb83f684bb0b4e0e686665f48859c0e485c1769d9;

-- template version 1: more columns than a SELECT takes
-- sha256 of the function c435cd353f27e3cfcab83feda91e9577352cd5ae478fb702c81721cd0889990d;
