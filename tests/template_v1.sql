-- template version 1: defaults
-- sha256 of the function 0e83a67a343e532859d77a2c3f83e37d25b155881aaa2325a10bf4addebbc084;

-- template version 1: all families
-- sha256 of the function 907d1200e7a2e14d0eabda32e7f25d7d2074d256698d41ce5820eb70a51f1555;

-- template version 1: every option, awkward names
-- sha256 of the function fe73ebf1eafb726b6a75c1e45600eae9dbf27b9394172976cb0ed716a150c059;

-- template version 1: hashed name, key of two, one operation
DO $sa_pgnotify$
#variable_conflict use_column
DECLARE
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  strings pg_catalog.text := pg_catalog.current_setting('standard_conforming_strings');
  target pg_catalog.regclass := pg_catalog.to_regclass('shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx');
  existing pg_catalog.oid := pg_catalog.to_regprocedure('shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()');
  head pg_catalog.regclass := pg_catalog.to_regclass('sa_pgnotify_log');
  near_log pg_catalog.regclass := pg_catalog.to_regclass('sa_pgnotify_log');
  home pg_catalog.text := 'shop';
  procedure pg_catalog.text := pg_catalog.concat(home, '."sa_pgnotify_42f2d97335669f86846b721a8aa58551"');
  former pg_catalog.oid[];
  channels pg_catalog.text[];
  unused pg_catalog.oid;
  stray pg_catalog.text;
  absent pg_catalog.text;
  body pg_catalog.text;
  comment pg_catalog.text;
  resolved pg_catalog.jsonb := '{}';
  probe pg_catalog.text;
  query pg_catalog.text;
  given pg_catalog.text[];
  meant pg_catalog.text;
  same pg_catalog.bool;
BEGIN
PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
PERFORM pg_catalog.set_config('standard_conforming_strings', 'on', true);
PERFORM pg_catalog.pg_advisory_xact_lock(45285821179371306);
IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = target AND relkind NOT IN ('r', 'p')) THEN
  RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = 'sa_pgnotify: ' || 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || ' is not a table',
    HINT = 'Statement triggers that see the rows are for tables only: mark those that the view reads.';
END IF;
IF target IS NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'sa_pgnotify: the table ' || 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || ' does not exist',
    HINT = 'Create the table before its triggers, and drop its triggers before the table.';
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND NOT pg_catalog.starts_with(coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), ''), 'sa_pgnotify ')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = f.oid AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate'))) THEN
  RAISE EXCEPTION USING ERRCODE = 'duplicate_function', MESSAGE = 'sa_pgnotify: the function ' || 'shop."sa_pgnotify_42f2d97335669f86846b721a8aa58551"()' || ' is not ours',
    HINT = 'Ours for this table needs its name: rename the other one.';
END IF;
SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ') INTO absent FROM pg_catalog.unnest(ARRAY['b', 'a']::text[]) AS name
  WHERE name NOT IN (SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped);
IF absent IS NOT NULL THEN
  RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = 'sa_pgnotify: the table ' || 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || ' has no column ' || absent,
    HINT = 'Add columns before the triggers that read them, and drop columns after.';
END IF;
BEGIN
  EXECUTE pg_catalog.concat('SELECT 1 FROM (SELECT b, a FROM ', target, ') AS old_row, (SELECT b, a FROM ', target, ') AS new_row WHERE false AND (old_row.b COLLATE "C" IS DISTINCT FROM new_row.b COLLATE "C" OR old_row.a IS DISTINCT FROM new_row.a)');
EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 'shop.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || ' would fail: ' || SQLERRM,
    HINT = 'The columns do not fit the table as it is now.';
WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation THEN
  NULL;
END;
former := ARRAY(SELECT tgfoid FROM pg_catalog.pg_trigger
  WHERE tgrelid = target AND tgname IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate') AND NOT tgisinternal
  UNION SELECT f.oid FROM pg_catalog.pg_proc AS f WHERE f.oid = existing
    AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
BEGIN
  channels := ARRAY(SELECT CASE WHEN (said.it ->> 'durable')::boolean
      THEN pg_catalog.concat('sa_pgnotify_log_', (CASE WHEN said.it ->> 'log_schema' IS NULL THEN near_log ELSE pg_catalog.to_regclass(pg_catalog.quote_ident(said.it ->> 'log_schema') || '.sa_pgnotify_log') END)::oid)
      ELSE coalesce(said.it ->> 'channel', CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, coalesce(said.it ->> 'table', substr(f.proname, 13))), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', coalesce(said.it ->> 'table', substr(f.proname, 13))) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(coalesce(said.it ->> 'table', substr(f.proname, 13))::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) END
    FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
    CROSS JOIN LATERAL (SELECT substr(pg_catalog.obj_description(f.oid, 'pg_proc'), 13)::json AS it) AS said
    WHERE f.oid = ANY (former) AND pg_catalog.starts_with(pg_catalog.obj_description(f.oid, 'pg_proc'), 'sa_pgnotify '));
EXCEPTION WHEN data_exception THEN
  channels := ARRAY[]::text[]; -- a comment is damaged
END;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = existing AND tgrelid <> target) THEN
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', existing::regprocedure, pg_catalog.concat('sa_pgnotify_', existing));
END IF;
body := $function$
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
  -- The user's write goes on. Its listeners are informed that something is missing.
  message := 'sa1 failed ' || SQLSTATE || ' ';
  nonce := SQLERRM;
  BEGIN
    RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
      DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN
    IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE false END) THEN RETURN NULL; END IF;
  EXCEPTION
    WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
    WHEN OTHERS THEN NULL;
  END;
  BEGIN
    IF channel IS NULL THEN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
    END IF;
    -- Each is a Gap of its own, and identical payloads would be collapsed into one.
    message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
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
$function$;
comment := 'sa_pgnotify {"columns": {"b": "text", "a": "datetime"}, "key": ["a", "b"], "operations": ["insert"], "version": 1, "table": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET datestyle TO ''ISO'' SET timezone TO ''UTC'' SET client_min_messages TO ''error'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
existing := pg_catalog.to_regprocedure(pg_catalog.concat(procedure, '()'));
FOR stray IN SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = target
    AND tgfoid = existing AND tgname NOT IN ('sa_pgnotify_insert', 'sa_pgnotify_update', 'sa_pgnotify_delete', 'sa_pgnotify_truncate')
    AND pg_catalog.starts_with(pg_catalog.obj_description(tgfoid, 'pg_proc'), 'sa_pgnotify ') LOOP
  EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', stray, target);
END LOOP;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = 'sa_pgnotify_update' AND NOT tgisinternal) THEN
  EXECUTE pg_catalog.concat('DROP TRIGGER IF EXISTS sa_pgnotify_update ON ', target);
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = 'sa_pgnotify_delete' AND NOT tgisinternal) THEN
  EXECUTE pg_catalog.concat('DROP TRIGGER IF EXISTS sa_pgnotify_delete ON ', target);
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = 'sa_pgnotify_truncate' AND NOT tgisinternal) THEN
  EXECUTE pg_catalog.concat('DROP TRIGGER IF EXISTS sa_pgnotify_truncate ON ', target);
END IF;
IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = target AND tgname = 'sa_pgnotify_insert' AND NOT tgisinternal AND tgfoid = existing AND pg_catalog.concat(tgtype, ' ', tgoldtable, ' ', tgnewtable, ' ', tgqual IS NULL) = '4  sa_new_rows t') THEN
  EXECUTE pg_catalog.concat('CREATE OR REPLACE TRIGGER sa_pgnotify_insert AFTER INSERT ON ', target, ' REFERENCING NEW TABLE AS sa_new_rows FOR EACH STATEMENT EXECUTE FUNCTION ', procedure, '()');
END IF;
FOREACH unused IN ARRAY former LOOP
  IF EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.oid = unused AND pg_catalog.starts_with(f.proname, 'sa_pgnotify_'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = unused) THEN
    EXECUTE pg_catalog.concat('DROP FUNCTION ', unused::regprocedure);
  END IF;
END LOOP;
BEGIN
  PERFORM pg_catalog.pg_notify(channel, 'sa1 moved') FROM pg_catalog.unnest(channels) AS channel WHERE channel IS DISTINCT FROM (SELECT coalesce(NULL, CASE WHEN pg_catalog.octet_length(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END) <= 63 THEN CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(CASE WHEN pg_catalog.translate(pg_catalog.concat(n.nspname, c.relname), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(n.nspname, '.', c.relname) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(n.nspname::text, '"', '""'), '"."', pg_catalog.replace(c.relname::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END, 'UTF8')), 'hex'), 1, 40) END) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target);
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'sa_pgnotify: running listeners do not hear that triggers changed, since pg_notify() is not allowed: restart them';
END;
PERFORM pg_catalog.set_config('standard_conforming_strings', strings, true);
PERFORM pg_catalog.set_config('search_path', path, true);
END
$sa_pgnotify$;

-- template version 1: discriminator
-- sha256 of the function 926449ef4656ba620f24b9f6557e28acd71ba260c9eada5acd9c285cf976fc0f;

-- template version 1: discriminator of another table
-- sha256 of the function c71c7edf00c5d55c3862ac70c3a848498cfdcfdea8b393f315156905e2db29ed;

-- template version 1: computed
-- sha256 of the function 8fcf75c3d1c1fa1fc8c85622985f32d0166a5e0a57da79f4fa00031d401459ee;

-- template version 1: durable
-- sha256 of the function 4190f34c15c78e3ac6f2a4b13be6b8818bde3911f955c29c4947c883b5eabd25;

-- template version 1: durable, the log elsewhere, a condition
-- sha256 of the function 80e3676b80f37305283dee470b057dc19f0fd0b8559d5a49a28653e35e0ee761;

-- template version 1: more columns than a SELECT takes
-- sha256 of the function 68d9d5d6741c40bca242eaac743715a441179442cfe608b33d3854b7ee8e086d;
