-- template version 1: defaults
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 'orders' AND TG_TABLE_SCHEMA = 'public' THEN 'public.orders'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', new_row.id);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(pg_catalog.concat(new_row.id), E'\x1e') INTO message
      FROM sa_new_rows AS new_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.status INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, r.status INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.id, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.id INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', old_row.id);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(pg_catalog.concat(old_row.id), E'\x1e') INTO message
      FROM sa_old_rows AS old_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "version": 1}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET jit TO ''off'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement e8084cc1cc14521d26219d8aab2b91f814cf95b3b60d8b6302c4a6b89f618227;

-- template version 1: all families
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 't' AND TG_TABLE_SCHEMA = 'public' THEN 'public.t'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.a_uuid, r.a_integer, r.a_boolean, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', new_row.a_uuid, E'\x1f', new_row.a_integer, E'\x1f', new_row.a_boolean, E'\x1f', new_row.a_datetime, E'\x1f', new_row.a_numeric, E'\x1f', new_row.a_float, E'\x1f', new_row.a_interval, E'\x1f', new_row.a_bytes, E'\x1f', new_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.a_uuid, new_row.a_integer, new_row.a_boolean, new_row.a_datetime, new_row.a_numeric, new_row.a_float, new_row.a_interval, new_row.a_bytes, new_row.a_json, new_row.a_text, new_row.a_other) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.a_uuid, new_row.a_integer, new_row.a_boolean, new_row.a_datetime, new_row.a_numeric, new_row.a_float, new_row.a_interval, new_row.a_bytes, new_row.a_json, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.a_uuid, E'\x1f', new_row.a_integer, E'\x1f', new_row.a_boolean, E'\x1f', new_row.a_datetime, E'\x1f', new_row.a_numeric, E'\x1f', new_row.a_float, E'\x1f', new_row.a_interval, E'\x1f', new_row.a_bytes, E'\x1f', new_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message
      FROM sa_new_rows AS new_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.a_integer, r.a_boolean, r.a_uuid, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other, r.a_expression INTO new_row FROM sa_new_rows AS r;
    SELECT r.a_integer, r.a_boolean, r.a_uuid, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other, r.a_expression INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.a_uuid IS DISTINCT FROM new_row.a_uuid THEN 1 ELSE 0 END + CASE WHEN old_row.a_integer IS DISTINCT FROM new_row.a_integer THEN 2 ELSE 0 END + CASE WHEN old_row.a_boolean IS DISTINCT FROM new_row.a_boolean THEN 4 ELSE 0 END + CASE WHEN old_row.a_datetime IS DISTINCT FROM new_row.a_datetime THEN 8 ELSE 0 END + CASE WHEN ROW(old_row.a_numeric)::record *<> ROW(new_row.a_numeric)::record THEN 16 ELSE 0 END + CASE WHEN ROW(old_row.a_float)::record *<> ROW(new_row.a_float)::record THEN 32 ELSE 0 END + CASE WHEN ROW(old_row.a_interval)::record *<> ROW(new_row.a_interval)::record THEN 64 ELSE 0 END + CASE WHEN old_row.a_bytes IS DISTINCT FROM new_row.a_bytes THEN 128 ELSE 0 END + CASE WHEN ROW(old_row.a_json)::record *<> ROW(new_row.a_json)::record THEN 256 ELSE 0 END + CASE WHEN old_row.a_text COLLATE "C" IS DISTINCT FROM new_row.a_text COLLATE "C" THEN 512 ELSE 0 END + CASE WHEN ROW(old_row.a_other)::record *<> ROW(new_row.a_other)::record THEN 1024 ELSE 0 END + CASE WHEN ROW(old_row.a_expression)::record *<> ROW(new_row.a_expression)::record THEN 2048 ELSE 0 END)::bigint;
    IF NOT (mask0 & 4095 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other", "a_expression"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.a_uuid, E'\x1f', new_row.a_integer, E'\x1f', new_row.a_boolean, E'\x1f', new_row.a_datetime, E'\x1f', new_row.a_numeric, E'\x1f', new_row.a_float, E'\x1f', new_row.a_interval, E'\x1f', new_row.a_bytes, E'\x1f', new_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_uuid) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_integer) END, CASE WHEN mask0 & 4 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_boolean) END, CASE WHEN mask0 & 8 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_datetime) END, CASE WHEN mask0 & 16 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_numeric) END, CASE WHEN mask0 & 32 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_float) END, CASE WHEN mask0 & 64 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_interval) END, CASE WHEN mask0 & 128 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_bytes) END, CASE WHEN mask0 & 256 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_json) END, CASE WHEN mask0 & 512 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, CASE WHEN mask0 & 1024 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other", "a_expression"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1, new2, new3, new4, new5, new6, new7, new8, new9, new10) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, new1, new2, new3, new4, new5, new6, new7, new8, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new9 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new9 IS DISTINCT FROM NULL THEN E'\x1b0' END), coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new10) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new10 IS DISTINCT FROM NULL THEN E'\x1b0' END)), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END, CASE WHEN mask0 & 4 <> 0 THEN pg_catalog.concat(E'\x1f', old2) END, CASE WHEN mask0 & 8 <> 0 THEN pg_catalog.concat(E'\x1f', old3) END, CASE WHEN mask0 & 16 <> 0 THEN pg_catalog.concat(E'\x1f', old4) END, CASE WHEN mask0 & 32 <> 0 THEN pg_catalog.concat(E'\x1f', old5) END, CASE WHEN mask0 & 64 <> 0 THEN pg_catalog.concat(E'\x1f', old6) END, CASE WHEN mask0 & 128 <> 0 THEN pg_catalog.concat(E'\x1f', old7) END, CASE WHEN mask0 & 256 <> 0 THEN pg_catalog.concat(E'\x1f', old8) END, CASE WHEN mask0 & 512 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old9 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old9 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, CASE WHEN mask0 & 1024 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old10) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old10 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, E'\x1f', new2, E'\x1f', new3, E'\x1f', new4, E'\x1f', new5, E'\x1f', new6, E'\x1f', new7, E'\x1f', new8, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new9 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new9 IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new10) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new10 IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END, CASE WHEN mask0 & 4 <> 0 THEN pg_catalog.concat(E'\x1f', old2) END, CASE WHEN mask0 & 8 <> 0 THEN pg_catalog.concat(E'\x1f', old3) END, CASE WHEN mask0 & 16 <> 0 THEN pg_catalog.concat(E'\x1f', old4) END, CASE WHEN mask0 & 32 <> 0 THEN pg_catalog.concat(E'\x1f', old5) END, CASE WHEN mask0 & 64 <> 0 THEN pg_catalog.concat(E'\x1f', old6) END, CASE WHEN mask0 & 128 <> 0 THEN pg_catalog.concat(E'\x1f', old7) END, CASE WHEN mask0 & 256 <> 0 THEN pg_catalog.concat(E'\x1f', old8) END, CASE WHEN mask0 & 512 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old9 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old9 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, CASE WHEN mask0 & 1024 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old10) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old10 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row.a_uuid IS DISTINCT FROM new_row.a_uuid THEN 1 ELSE 0 END + CASE WHEN old_row.a_integer IS DISTINCT FROM new_row.a_integer THEN 2 ELSE 0 END + CASE WHEN old_row.a_boolean IS DISTINCT FROM new_row.a_boolean THEN 4 ELSE 0 END + CASE WHEN old_row.a_datetime IS DISTINCT FROM new_row.a_datetime THEN 8 ELSE 0 END + CASE WHEN ROW(old_row.a_numeric)::record *<> ROW(new_row.a_numeric)::record THEN 16 ELSE 0 END + CASE WHEN ROW(old_row.a_float)::record *<> ROW(new_row.a_float)::record THEN 32 ELSE 0 END + CASE WHEN ROW(old_row.a_interval)::record *<> ROW(new_row.a_interval)::record THEN 64 ELSE 0 END + CASE WHEN old_row.a_bytes IS DISTINCT FROM new_row.a_bytes THEN 128 ELSE 0 END + CASE WHEN ROW(old_row.a_json)::record *<> ROW(new_row.a_json)::record THEN 256 ELSE 0 END + CASE WHEN old_row.a_text COLLATE "C" IS DISTINCT FROM new_row.a_text COLLATE "C" THEN 512 ELSE 0 END + CASE WHEN ROW(old_row.a_other)::record *<> ROW(new_row.a_other)::record THEN 1024 ELSE 0 END + CASE WHEN ROW(old_row.a_expression)::record *<> ROW(new_row.a_expression)::record THEN 2048 ELSE 0 END)::bigint AS mask0, new_row.a_uuid AS new0, old_row.a_uuid AS old0, new_row.a_integer AS new1, old_row.a_integer AS old1, new_row.a_boolean AS new2, old_row.a_boolean AS old2, new_row.a_datetime AS new3, old_row.a_datetime AS old3, new_row.a_numeric AS new4, old_row.a_numeric AS old4, new_row.a_float AS new5, old_row.a_float AS old5, new_row.a_interval AS new6, old_row.a_interval AS old6, new_row.a_bytes AS new7, old_row.a_bytes AS old7, new_row.a_json AS new8, old_row.a_json AS old8, new_row.a_text AS new9, old_row.a_text AS old9, new_row.a_other AS new10, old_row.a_other AS old10
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.a_integer, r.a_boolean, r.a_uuid, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other, r.a_expression FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.a_integer, r.a_boolean, r.a_uuid, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other, r.a_expression FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 4095 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.a_uuid, r.a_integer, r.a_boolean, r.a_datetime, r.a_numeric, r.a_float, r.a_interval, r.a_bytes, r.a_json, r.a_text, r.a_other INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', old_row.a_uuid, E'\x1f', old_row.a_integer, E'\x1f', old_row.a_boolean, E'\x1f', old_row.a_datetime, E'\x1f', old_row.a_numeric, E'\x1f', old_row.a_float, E'\x1f', old_row.a_interval, E'\x1f', old_row.a_bytes, E'\x1f', old_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.a_uuid, old_row.a_integer, old_row.a_boolean, old_row.a_datetime, old_row.a_numeric, old_row.a_float, old_row.a_interval, old_row.a_bytes, old_row.a_json, old_row.a_text, old_row.a_other) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.a_uuid, old_row.a_integer, old_row.a_boolean, old_row.a_datetime, old_row.a_numeric, old_row.a_float, old_row.a_interval, old_row.a_bytes, old_row.a_json, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(old_row.a_uuid, E'\x1f', old_row.a_integer, E'\x1f', old_row.a_boolean, E'\x1f', old_row.a_datetime, E'\x1f', old_row.a_numeric, E'\x1f', old_row.a_float, E'\x1f', old_row.a_interval, E'\x1f', old_row.a_bytes, E'\x1f', old_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message
      FROM sa_old_rows AS old_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"a_integer": "integer", "a_boolean": "boolean", "a_uuid": "uuid", "a_datetime": "datetime", "a_numeric": "numeric", "a_float": "float", "a_interval": "interval", "a_bytes": "bytes", "a_json": "json", "a_text": "text", "a_other": "other", "a_expression": "expression"}, "key": ["a_uuid"], "operations": ["insert", "update", "delete", "truncate"], "values": "all", "version": 1}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET datestyle TO ''ISO'' SET timezone TO ''UTC'' SET intervalstyle TO ''postgres'' SET bytea_output TO ''hex'' SET extra_float_digits TO ''1'' SET quote_all_identifiers TO ''off'' SET lc_monetary FROM CURRENT SET jit TO ''off'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement e22e829436fd9f4519b1d1bd97b1ed60e1e2cbb354ac639233bc6e74e151376e;

-- template version 1: every option, awkward names
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname('orders'' 100% :changes	') & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r."a	b", r."%(c)s", r."$$" INTO new_row FROM sa_new_rows AS r;
    SELECT r."a	b", r."%(c)s", r."$$" INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row."a	b" IS DISTINCT FROM new_row."a	b" THEN 1 ELSE 0 END + CASE WHEN ROW(old_row."$$")::record *<> ROW(new_row."$$")::record THEN 2 ELSE 0 END + CASE WHEN old_row."%(c)s" COLLATE "C" IS DISTINCT FROM new_row."%(c)s" COLLATE "C" THEN 4 ELSE 0 END)::bigint;
    IF NOT (mask0 & 4 <> 0) THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a\\tb", "$$", "%(c)s"], "carried": 2, "key": 1, "types": "in"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row."a	b", E'\x1f', new_row."$$", CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row."a	b") END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old_row."$$") END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a\\tb", "$$", "%(c)s"], "carried": 2, "key": 1, "types": "in"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, new1), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row."a	b" IS DISTINCT FROM new_row."a	b" THEN 1 ELSE 0 END + CASE WHEN ROW(old_row."$$")::record *<> ROW(new_row."$$")::record THEN 2 ELSE 0 END + CASE WHEN old_row."%(c)s" COLLATE "C" IS DISTINCT FROM new_row."%(c)s" COLLATE "C" THEN 4 ELSE 0 END)::bigint AS mask0, new_row."a	b" AS new0, old_row."a	b" AS old0, new_row."$$" AS new1, old_row."$$" AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r."a	b", r."%(c)s", r."$$" FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r."a	b", r."%(c)s", r."$$" FROM sa_new_rows AS r) AS new_row USING (position)
        WHERE CASE WHEN @the condition@ THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 4 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r."a	b", r."%(c)s", r."$$" INTO new_row FROM sa_old_rows AS r WHERE false;
    SELECT r."a	b", r."%(c)s", r."$$" INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a\\tb", "$$"], "carried": 2, "key": 1, "types": "in"}\x1f', sa.context, E'\x1e', old_row."a	b", E'\x1f', old_row."$$");
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a\\tb", "$$"], "carried": 2, "key": 1, "types": "in"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row."a	b", old_row."$$") = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row."a	b", old_row."$$") ELSE pg_catalog.concat(old_row."a	b", E'\x1f', old_row."$$") END, E'\x1e') INTO message
      FROM sa_old_rows AS old_row LEFT JOIN sa_old_rows AS new_row ON false
      WHERE @the condition@;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify('orders'' 100% :changes	', pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := 'orders'' 100% :changes	';
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify('orders'' 100% :changes	', message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := E'sa_pgnotify {"columns": {"a\\tb": "integer", "%(c)s": "text", "$$": "numeric"}, "key": ["a\\tb"], "operations": ["update", "delete"], "values": ["$$"], "update_of": ["%(c)s"], "condition": "new_row.\\"%(c)s\\" = ''$function$ 100% :a''", "channel": "orders'' 100% :changes\\t", "version": 1}';
given := ARRAY['(new_row."%(c)s" = ''$function$ 100% :a''
      )']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['bool']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT "a	b", "%(c)s", "$$" FROM ', target, ') AS old_row, (SELECT "a	b", "%(c)s", "$$" FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) AND r.oid <> (SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = target));
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || '"größe {0}"."it''s ""100%"" :t"' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the condition@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT "a	b", "%(c)s", "$$" FROM ', target, ') AS old_row, (SELECT "a	b", "%(c)s", "$$" FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || '"größe {0}"."it''s ""100%"" :t"' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the condition@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET jit TO ''off'' SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement 0ca9b335f8655b4210d200c9a7a1dd5115df2dbc9aa0adc14a8562db8c77ca33;

-- template version 1: hashed name, key of two, one operation
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.a, r.b INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a", "b"], "carried": 2, "key": 2, "types": "dt"}\x1f', sa.context, E'\x1e', new_row.a, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.b COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.b IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a", "b"], "carried": 2, "key": 2, "types": "dt"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.a, new_row.b) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.a, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.b COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.b IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.a, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.b COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.b IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message
      FROM sa_new_rows AS new_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"b": "text", "a": "datetime"}, "key": ["a", "b"], "operations": ["insert"], "version": 1, "table": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET datestyle TO ''ISO'' SET timezone TO ''UTC'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement 8e6bb12f6f812d9e6324b31a956e03e559ce725b6859764a1ac760a765d75e0a;

-- template version 1: discriminator
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 'orders' AND TG_TABLE_SCHEMA = 'public' THEN 'public.orders'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e', new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.id, new_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message
      FROM sa_new_rows AS new_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, r.kind INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.kind COLLATE "C" IS DISTINCT FROM new_row.kind COLLATE "C" THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END)), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old1 COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.kind COLLATE "C" IS DISTINCT FROM new_row.kind COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.kind AS new1, old_row.kind AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e', old_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.id, old_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(old_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.kind COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message
      FROM sa_old_rows AS old_row;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "it", "discriminator": 1}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "kind": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "discriminator": "kind", "version": 1}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET jit TO ''off'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement 204a93b10cd7f754a264fceda36b80f0ff731b0bba398a34415d81ac95dfc896;

-- template version 1: discriminator of another table
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 'rush' AND TG_TABLE_SCHEMA = 'public' THEN 'public.rush'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.note INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, r.note INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.note COLLATE "C" IS DISTINCT FROM new_row.note COLLATE "C" THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "note"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.id, E'\x1f', @the class of new_row@, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "note"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, looked_up) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, looked_up), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', looked_up, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.note COLLATE "C" IS DISTINCT FROM new_row.note COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, @the class of new_row@ AS looked_up
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.note FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.note FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "note": "text"}, "key": ["id"], "operations": ["update", "truncate"], "discriminator": {"table": "orders", "schema": "shop", "column": "kind", "key": {"id": "order_id"}}, "version": 1}';
given := ARRAY[E'(SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E''\\x1b'', E''\\x1b1''), E''\\x1e'', E''\\x1b2''), E''\\x1f'', E''\\x1b3''), ''''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E''\\x1b0'' END) FROM shop.orders AS root WHERE root.order_id = new_row.id)', E'(SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E''\\x1b'', E''\\x1b1''), E''\\x1e'', E''\\x1b2''), E''\\x1f'', E''\\x1b3''), ''''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E''\\x1b0'' END) FROM shop.orders AS root WHERE root.order_id = old_row.id)']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['text', 'text']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT id, note FROM ', target, ') AS old_row, (SELECT id, note FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) );
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || 'rush' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the class of new_row@', '@the class of old_row@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT id, note FROM ', target, ') AS old_row, (SELECT id, note FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 'rush' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the class of new_row@', '@the class of old_row@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET jit TO ''off'' SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');
-- sha256 of the statement 82c96f6f16446959a05e58d95933eb8739896173c421471d9d97fb8889aedd57;

-- template version 1: computed
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 't' AND TG_TABLE_SCHEMA = 'public' THEN 'public.t'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, @the value of r.twice@ AS twice INTO old_row FROM sa_new_rows AS r WHERE false;
    SELECT r.id, @the value of r.twice@ AS twice INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e', new_row.id, E'\x1f', new_row.twice);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.id, new_row.twice) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.id, new_row.twice) ELSE pg_catalog.concat(new_row.id, E'\x1f', new_row.twice) END, E'\x1e') INTO message
      FROM (SELECT r.id, @the value of r.twice@ AS twice FROM sa_new_rows AS r) AS new_row LEFT JOIN sa_new_rows AS old_row ON false
      WHERE @the condition@;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, @the value of r.twice@ AS twice INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, @the value of r.twice@ AS twice INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.twice IS DISTINCT FROM new_row.twice THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.id, E'\x1f', new_row.twice, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.twice) END);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, new1), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', new1, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old1) END) END, E'\x1e') INTO message
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.twice IS DISTINCT FROM new_row.twice THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.twice AS new1, old_row.twice AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, @the value of r.twice@ AS twice FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, @the value of r.twice@ AS twice FROM sa_new_rows AS r) AS new_row USING (position)
        WHERE CASE WHEN @the condition@ THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.id, @the value of r.twice@ AS twice INTO new_row FROM sa_old_rows AS r WHERE false;
    SELECT r.id, @the value of r.twice@ AS twice INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e', old_row.id, E'\x1f', old_row.twice);
    ELSE
    SELECT pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e') || pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.id, old_row.twice) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.id, old_row.twice) ELSE pg_catalog.concat(old_row.id, E'\x1f', old_row.twice) END, E'\x1e') INTO message
      FROM (SELECT r.id, @the value of r.twice@ AS twice FROM sa_old_rows AS r) AS old_row LEFT JOIN sa_old_rows AS new_row ON false
      WHERE @the condition@;
    IF message IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 2, "key": 1, "types": "ii"}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "twice": "integer"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "values": "all", "condition": "new_row.twice > 4", "virtual": ["twice"], "version": 1}';
FOR place IN 1 .. pg_catalog.cardinality(ARRAY['twice']::text[]) LOOP
  meant := (SELECT pg_catalog.format('((%s)::%s)', pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.format_type(a.atttypid, a.atttypmod))
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = target AND a.attname = (ARRAY['twice']::text[])[place] AND a.attgenerated = 'v');
  body := pg_catalog.replace(body, (ARRAY['@the value of r.twice@']::text[])[place], coalesce(meant, (ARRAY['r.twice']::text[])[place]));
  IF meant IS NOT NULL THEN
    resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the value of r.twice@']::text[])[place], meant);
  END IF;
END LOOP;
given := ARRAY['(new_row.twice > 4
      )']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['bool']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT id, twice FROM ', target, ') AS old_row, (SELECT id, twice FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) AND r.oid <> (SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = target));
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || 't' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the condition@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT id, twice FROM ', target, ') AS old_row, (SELECT id, twice FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 't' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the condition@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET jit TO ''off'' SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement ae904379687d9d9ca7bf245aae78ef4b08af9d17c191077bcdc04ada08b23c41;

-- template version 1: durable
body := $function$
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
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  relation := CASE WHEN TG_TABLE_NAME = 'orders' AND TG_TABLE_SCHEMA = 'public' THEN 'public.orders'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'I\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context);
    rows := pg_catalog.concat(new_row.id);
    ELSE
    SELECT pg_catalog.concat(E'I\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(new_row.id), E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.status INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, r.status INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'U\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context);
    rows := pg_catalog.concat(mask0, E'\x1f', new_row.id, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END);
    ELSE
    SELECT pg_catalog.concat(E'U\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.status FROM sa_new_rows AS r) AS new_row USING (position)
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.id INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'D\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context);
    rows := pg_catalog.concat(old_row.id);
    ELSE
    SELECT pg_catalog.concat(E'D\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context), pg_catalog.string_agg(pg_catalog.concat(old_row.id), E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat(E'T\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context);
    rows := '';
  END IF;
    IF pg_catalog.octet_length(rows) > 60000 OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > 536870912 THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed 536870912 bytes';
      END IF;
      -- Bytes that are not text fail here, since no reader could read them.
      IF pg_catalog.convert_to(message, 'UTF8') IS NOT NULL THEN bytes := pg_catalog.convert_to(rows, 'UTF8'); END IF;
      total := pg_catalog.octet_length(bytes);
    END IF;
    composed := true;
    -- The transaction has its id before it looks whether a reader sleeps: the doorbell depends on that.
    xid := pg_catalog.pg_current_xact_id()::text::bigint;
    pid := pg_catalog.pg_backend_pid();
    place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
    slot := (place >> 15) & 3;
    IF slot = 0 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_0 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_0@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_0@::regclass);
    ELSIF slot = 1 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_1 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_1@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_1@::regclass);
    ELSIF slot = 2 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_2 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_2@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_2@::regclass);
    ELSIF slot = 3 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_3 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_3@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_3@::regclass);
    END IF;
    -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
    key := pg_catalog.hashtextextended(relation COLLATE "C", @the literal of sa_pgnotify_log@::regclass::oid::bigint::bigint);
    asleep := CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN NOT pg_catalog.pg_advisory_unlock(key) ELSE true END;
    -- ON CONFLICT takes a lock of its own for each row: see whether the lock table has room for one.
    ready := ready AND bytes IS NULL AND pg_catalog.pg_try_advisory_lock(674233087, pid) AND pg_catalog.pg_advisory_unlock(674233087, pid);
    EXIT;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    ready := false;
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
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = message, HINT = 'Your write is not affected. Compare tables and triggers with check().';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    EXIT;
  END;
  END LOOP;
  IF ready THEN
    IF slot = 0 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 1 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 2 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 3 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    END IF;
    written := FOUND;
  END IF;
  IF written IS NOT TRUE THEN
    relation := coalesce(relation, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    FOR step IN 0 .. 3 LOOP
      BEGIN
        xid := coalesce(xid, pg_catalog.pg_current_xact_id()::text::bigint);
        pid := coalesce(pid, pg_catalog.pg_backend_pid());
        place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
        slot := ((place >> 15) + step) & 3;
        IF slot = 0 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 1 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 2 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 3 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
        END IF;
        start := 1;
        LOOP
          IF bytes IS NULL THEN
            piece := rows;
          ELSE
            stop := start + 60000;
            WHILE stop <= total LOOP
              ahead := position(E'\\x1e'::bytea IN pg_catalog.substr(bytes, stop, 2048));
              stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE 2048 END;
              EXIT WHEN ahead > 0;
            END LOOP;
            stop := least(stop, total + 1);
            piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
            start := stop + 1;
          END IF;
          skipped := 1;
          LOOP
            IF slot = 0 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 1 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 2 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 3 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            END IF;
            EXIT WHEN FOUND;
            -- The sequence is behind the rows: skip more and more numbers.
            place := (SELECT max(pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@)) FROM pg_catalog.generate_series(1, skipped));
            skipped := skipped * 2;
            IF skipped > 131072 THEN RAISE EXCEPTION 'no number of the log is free, or something else takes its rows'; END IF;
          END LOOP;
          EXIT WHEN bytes IS NULL OR start > total;
          place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
        END LOOP;
        written := true;
        EXIT;
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        problem := SQLSTATE || ' ' || SQLERRM;
        asleep := asleep AND SQLSTATE <> '53200';
      END;
    END LOOP;
    IF written IS NOT TRUE THEN
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = problem, HINT = 'Your write is not affected. See who locks the change log, and what rights the function''s owner has.';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      -- Readers see the number, and by the lock whether this transaction has ended. The lock comes first.
      BEGIN
        PERFORM pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('sa_pgnotify lost'::text COLLATE "C", @the literal of sa_pgnotify_log@::regclass::oid::bigint::bigint));
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      BEGIN
        PERFORM pg_catalog.nextval(@the literal of sa_pgnotify_log_lost_seq@);
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
  END IF;
  IF NOT asleep THEN RETURN NULL; END IF;
  BEGIN
    IF pg_catalog.current_setting('sa_pgnotify.doorbell', true) = 'off' THEN RETURN NULL; END IF;
    PERFORM pg_catalog.pg_notify(pg_catalog.concat('sa_pgnotify_log_', @the literal of sa_pgnotify_log@::regclass::oid::bigint), CASE WHEN written THEN 'sa1 ring' ELSE 'sa1 lost' END);
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = 'sa_pgnotify could not wake the readers of the change log',
        DETAIL = SQLSTATE || ' ' || SQLERRM, HINT = 'Your write is not affected. They find it at their heartbeat.';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
  END;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "durable": true, "version": 1}';
body := pg_catalog.replace(body, '@the schema of the log@', (SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_id_seq@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_id_seq')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_lost_seq@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_lost_seq')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_0@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_0')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_1@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_1')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_2@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_2')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_3@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_3')));
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET jit TO ''off'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');
-- sha256 of the statement b23d7866581857fb31e1d84cda1079a5523cfc3230f512bc64b317c902f32da5;

-- template version 1: durable, the log elsewhere, a condition
body := $function$
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
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  relation := CASE WHEN TG_TABLE_NAME = 'orders' AND TG_TABLE_SCHEMA = 'public' THEN 'public.orders'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO old_row FROM sa_new_rows AS r WHERE false;
    SELECT r.id, r.kind INTO new_row FROM sa_new_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'I\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context);
    rows := pg_catalog.concat(new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat(E'I\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new_row.id, new_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', new_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message, rows
      FROM sa_new_rows AS new_row LEFT JOIN sa_new_rows AS old_row ON false
      WHERE @the condition@;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF NOT EXISTS (SELECT FROM sa_new_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO new_row FROM sa_new_rows AS r;
    SELECT r.id, r.kind INTO old_row FROM sa_old_rows AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN ROW(old_row.kind)::record *<> ROW(new_row.kind)::record THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'U\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context);
    rows := pg_catalog.concat(mask0, E'\x1f', new_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END);
    ELSE
    SELECT pg_catalog.concat(E'U\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(new0, new1) = 0 THEN pg_catalog.concat(pg_catalog.concat_ws(E'\x1f', mask0, new0, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new1) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END)), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old1) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) ELSE pg_catalog.concat(mask0, E'\x1f', new0, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new1) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new1 IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old0) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old1) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old1 IS DISTINCT FROM NULL THEN E'\x1b0' END)) END) END, E'\x1e') INTO message, rows
      FROM (SELECT (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN ROW(old_row.kind)::record *<> ROW(new_row.kind)::record THEN 2 ELSE 0 END)::bigint AS mask0, new_row.id AS new0, old_row.id AS old0, new_row.kind AS new1, old_row.kind AS old1
        FROM (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_old_rows AS r) AS old_row
        FULL JOIN (SELECT pg_catalog.row_number() OVER (ROWS UNBOUNDED PRECEDING) AS position, r.id, r.kind FROM sa_new_rows AS r) AS new_row USING (position)
        WHERE CASE WHEN @the condition@ THEN true ELSE false END
        OFFSET 0) AS pairs
      WHERE mask0 & 3 <> 0;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF NOT EXISTS (SELECT FROM sa_old_rows OFFSET 1) THEN
    SELECT r.id, r.kind INTO new_row FROM sa_old_rows AS r WHERE false;
    SELECT r.id, r.kind INTO old_row FROM sa_old_rows AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'D\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context);
    rows := pg_catalog.concat(old_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END));
    ELSE
    SELECT pg_catalog.concat(E'D\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context), pg_catalog.string_agg(CASE WHEN pg_catalog.num_nulls(old_row.id, old_row.kind) = 0 THEN pg_catalog.concat_ws(E'\x1f', old_row.id, coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) ELSE pg_catalog.concat(old_row.id, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.kind) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.kind IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, E'\x1e') INTO message, rows
      FROM sa_old_rows AS old_row LEFT JOIN sa_old_rows AS new_row ON false
      WHERE @the condition@;
    IF rows IS NULL THEN RETURN NULL; END IF;
    END IF;
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat(E'T\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "kind"], "carried": 2, "key": 1, "types": "io"}\x1f', sa.context);
    rows := '';
  END IF;
    IF pg_catalog.octet_length(rows) > 60000 OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > 536870912 THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed 536870912 bytes';
      END IF;
      -- Bytes that are not text fail here, since no reader could read them.
      IF pg_catalog.convert_to(message, 'UTF8') IS NOT NULL THEN bytes := pg_catalog.convert_to(rows, 'UTF8'); END IF;
      total := pg_catalog.octet_length(bytes);
    END IF;
    composed := true;
    -- The transaction has its id before it looks whether a reader sleeps: the doorbell depends on that.
    xid := pg_catalog.pg_current_xact_id()::text::bigint;
    pid := pg_catalog.pg_backend_pid();
    place := pg_catalog.nextval('"Audit".sa_pgnotify_log_id_seq');
    slot := (place >> 15) & 3;
    IF slot = 0 THEN
      LOCK TABLE "Audit".sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM "Audit".sa_pgnotify_log_0 AS s WHERE false;
      ready := pg_catalog.has_table_privilege('"Audit".sa_pgnotify_log_0'::regclass, 'INSERT') AND NOT pg_catalog.row_security_active('"Audit".sa_pgnotify_log_0'::regclass);
    ELSIF slot = 1 THEN
      LOCK TABLE "Audit".sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM "Audit".sa_pgnotify_log_1 AS s WHERE false;
      ready := pg_catalog.has_table_privilege('"Audit".sa_pgnotify_log_1'::regclass, 'INSERT') AND NOT pg_catalog.row_security_active('"Audit".sa_pgnotify_log_1'::regclass);
    ELSIF slot = 2 THEN
      LOCK TABLE "Audit".sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM "Audit".sa_pgnotify_log_2 AS s WHERE false;
      ready := pg_catalog.has_table_privilege('"Audit".sa_pgnotify_log_2'::regclass, 'INSERT') AND NOT pg_catalog.row_security_active('"Audit".sa_pgnotify_log_2'::regclass);
    ELSIF slot = 3 THEN
      LOCK TABLE "Audit".sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM "Audit".sa_pgnotify_log_3 AS s WHERE false;
      ready := pg_catalog.has_table_privilege('"Audit".sa_pgnotify_log_3'::regclass, 'INSERT') AND NOT pg_catalog.row_security_active('"Audit".sa_pgnotify_log_3'::regclass);
    END IF;
    -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
    key := pg_catalog.hashtextextended(relation COLLATE "C", '"Audit".sa_pgnotify_log'::regclass::oid::bigint::bigint);
    asleep := CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN NOT pg_catalog.pg_advisory_unlock(key) ELSE true END;
    -- ON CONFLICT takes a lock of its own for each row: see whether the lock table has room for one.
    ready := ready AND bytes IS NULL AND pg_catalog.pg_try_advisory_lock(674233087, pid) AND pg_catalog.pg_advisory_unlock(674233087, pid);
    EXIT;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    ready := false;
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
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = message, HINT = 'Your write is not affected. Compare tables and triggers with check().';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    EXIT;
  END;
  END LOOP;
  IF ready THEN
    IF slot = 0 THEN
      INSERT INTO "Audit".sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 1 THEN
      INSERT INTO "Audit".sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 2 THEN
      INSERT INTO "Audit".sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 3 THEN
      INSERT INTO "Audit".sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    END IF;
    written := FOUND;
  END IF;
  IF written IS NOT TRUE THEN
    relation := coalesce(relation, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    FOR step IN 0 .. 3 LOOP
      BEGIN
        xid := coalesce(xid, pg_catalog.pg_current_xact_id()::text::bigint);
        pid := coalesce(pid, pg_catalog.pg_backend_pid());
        place := pg_catalog.nextval('"Audit".sa_pgnotify_log_id_seq');
        slot := ((place >> 15) + step) & 3;
        IF slot = 0 THEN
          LOCK TABLE "Audit".sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 1 THEN
          LOCK TABLE "Audit".sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 2 THEN
          LOCK TABLE "Audit".sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 3 THEN
          LOCK TABLE "Audit".sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
        END IF;
        start := 1;
        LOOP
          IF bytes IS NULL THEN
            piece := rows;
          ELSE
            stop := start + 60000;
            WHILE stop <= total LOOP
              ahead := position(E'\\x1e'::bytea IN pg_catalog.substr(bytes, stop, 2048));
              stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE 2048 END;
              EXIT WHEN ahead > 0;
            END LOOP;
            stop := least(stop, total + 1);
            piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
            start := stop + 1;
          END IF;
          skipped := 1;
          LOOP
            IF slot = 0 THEN
              INSERT INTO "Audit".sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 1 THEN
              INSERT INTO "Audit".sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 2 THEN
              INSERT INTO "Audit".sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 3 THEN
              INSERT INTO "Audit".sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            END IF;
            EXIT WHEN FOUND;
            -- The sequence is behind the rows: skip more and more numbers.
            place := (SELECT max(pg_catalog.nextval('"Audit".sa_pgnotify_log_id_seq')) FROM pg_catalog.generate_series(1, skipped));
            skipped := skipped * 2;
            IF skipped > 131072 THEN RAISE EXCEPTION 'no number of the log is free, or something else takes its rows'; END IF;
          END LOOP;
          EXIT WHEN bytes IS NULL OR start > total;
          place := pg_catalog.nextval('"Audit".sa_pgnotify_log_id_seq');
        END LOOP;
        written := true;
        EXIT;
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        problem := SQLSTATE || ' ' || SQLERRM;
        asleep := asleep AND SQLSTATE <> '53200';
      END;
    END LOOP;
    IF written IS NOT TRUE THEN
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = problem, HINT = 'Your write is not affected. See who locks the change log, and what rights the function''s owner has.';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      -- Readers see the number, and by the lock whether this transaction has ended. The lock comes first.
      BEGIN
        PERFORM pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('sa_pgnotify lost'::text COLLATE "C", '"Audit".sa_pgnotify_log'::regclass::oid::bigint::bigint));
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      BEGIN
        PERFORM pg_catalog.nextval('"Audit".sa_pgnotify_log_lost_seq');
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
  END IF;
  IF NOT asleep THEN RETURN NULL; END IF;
  BEGIN
    IF pg_catalog.current_setting('sa_pgnotify.doorbell', true) = 'off' THEN RETURN NULL; END IF;
    PERFORM pg_catalog.pg_notify(pg_catalog.concat('sa_pgnotify_log_', '"Audit".sa_pgnotify_log'::regclass::oid::bigint), CASE WHEN written THEN 'sa1 ring' ELSE 'sa1 lost' END);
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = 'sa_pgnotify could not wake the readers of the change log',
        DETAIL = SQLSTATE || ' ' || SQLERRM, HINT = 'Your write is not affected. They find it at their heartbeat.';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
  END;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "kind": "other"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "values": "all", "condition": "new_row.id > 4", "durable": true, "log_schema": "Audit", "version": 1}';
given := ARRAY['(new_row.id > 4
      )']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['bool']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT id, kind FROM ', target, ') AS old_row, (SELECT id, kind FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) );
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || 'shop.orders' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the condition@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT id, kind FROM ', target, ') AS old_row, (SELECT id, kind FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 'shop.orders' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the condition@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET datestyle TO ''ISO'' SET timezone TO ''UTC'' SET intervalstyle TO ''postgres'' SET bytea_output TO ''hex'' SET extra_float_digits TO ''1'' SET quote_all_identifiers TO ''off'' SET lc_monetary FROM CURRENT SET jit TO ''off'' SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');
-- sha256 of the statement 9df70df704f0fcea34e1403a5d5a3410126b59de4dc4b8b4103e63f2c6127ec6;

-- template version 1: for each row
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row ALIAS FOR new;
  old_row ALIAS FOR old;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  IF pg_catalog.pg_partition_root(TG_RELID) IS NOT NULL AND TG_LEVEL = 'ROW' THEN
    -- A partition fires its copy of the trigger that the marked table has.
    SELECT n.nspname, c.relname INTO STRICT TG_TABLE_SCHEMA, TG_TABLE_NAME
      FROM pg_catalog.pg_partition_ancestors(TG_RELID) AS tree
      JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tree.relid::oid AND t.tgname = TG_NAME AND t.tgparentid = 0::oid
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
  END IF;
  door := (pg_catalog.hashname(TG_TABLE_NAME) & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 'orders' AND TG_TABLE_SCHEMA = 'public' THEN 'public.orders'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF (pg_catalog.octet_length(relation) <= 63) IS NOT TRUE THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
    channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', new_row.id);
  ELSIF TG_OP = 'UPDATE' THEN
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.status COLLATE "C" IS DISTINCT FROM new_row.status COLLATE "C" THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "status"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.id, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END);
  ELSIF TG_OP = 'DELETE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e', old_row.id);
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i"}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify(coalesce(channel, relation), pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := CASE WHEN pg_catalog.octet_length(relation) <= 63 THEN relation ELSE 'sa_pgnotify_' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(relation, 'UTF8')), 'hex'), 1, 40) END;
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify(coalesce(channel, relation), message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "for_each": "row", "version": 1}';
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement 3d56aab5b74c83d5133ba6d8bd0beb5c9d001b8e4f455e7c114f53a8fd43df75;

-- template version 1: for each row, all families
body := $function$
#variable_conflict use_column
<<sa>>
DECLARE
  door int;
  relation text;
  channel text;
  context text;
  message text;
  bytes bytea;
  nonce text;
  total int;
  start int;
  stop int;
  part int;
  again boolean;
  new_row ALIAS FOR new;
  old_row ALIAS FOR old;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  IF pg_catalog.pg_partition_root(TG_RELID) IS NOT NULL AND TG_LEVEL = 'ROW' THEN
    -- A partition fires its copy of the trigger that the marked table has.
    SELECT n.nspname, c.relname INTO STRICT TG_TABLE_SCHEMA, TG_TABLE_NAME
      FROM pg_catalog.pg_partition_ancestors(TG_RELID) AS tree
      JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tree.relid::oid AND t.tgname = TG_NAME AND t.tgparentid = 0::oid
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
  END IF;
  door := (pg_catalog.hashname('orders'' 100% :changes	') & 56) + (pg_catalog.pg_backend_pid() & 7);
  IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
  relation := CASE WHEN TG_TABLE_NAME = 't' AND TG_TABLE_SCHEMA = 'public' THEN 'public.t'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eI\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', new_row.a_uuid, E'\x1f', new_row.a_integer, E'\x1f', new_row.a_boolean, E'\x1f', new_row.a_datetime, E'\x1f', new_row.a_numeric, E'\x1f', new_row.a_float, E'\x1f', new_row.a_interval, E'\x1f', new_row.a_bytes, E'\x1f', new_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END));
  ELSIF TG_OP = 'UPDATE' THEN
    mask0 := (CASE WHEN old_row.a_uuid IS DISTINCT FROM new_row.a_uuid THEN 1 ELSE 0 END + CASE WHEN old_row.a_integer IS DISTINCT FROM new_row.a_integer THEN 2 ELSE 0 END + CASE WHEN old_row.a_boolean IS DISTINCT FROM new_row.a_boolean THEN 4 ELSE 0 END + CASE WHEN old_row.a_datetime IS DISTINCT FROM new_row.a_datetime THEN 8 ELSE 0 END + CASE WHEN ROW(old_row.a_numeric)::record *<> ROW(new_row.a_numeric)::record THEN 16 ELSE 0 END + CASE WHEN ROW(old_row.a_float)::record *<> ROW(new_row.a_float)::record THEN 32 ELSE 0 END + CASE WHEN ROW(old_row.a_interval)::record *<> ROW(new_row.a_interval)::record THEN 64 ELSE 0 END + CASE WHEN old_row.a_bytes IS DISTINCT FROM new_row.a_bytes THEN 128 ELSE 0 END + CASE WHEN ROW(old_row.a_json)::record *<> ROW(new_row.a_json)::record THEN 256 ELSE 0 END + CASE WHEN old_row.a_text COLLATE "C" IS DISTINCT FROM new_row.a_text COLLATE "C" THEN 512 ELSE 0 END + CASE WHEN ROW(old_row.a_other)::record *<> ROW(new_row.a_other)::record THEN 1024 ELSE 0 END + CASE WHEN ROW(old_row.a_expression)::record *<> ROW(new_row.a_expression)::record THEN 2048 ELSE 0 END)::bigint;
    IF NOT (mask0 & 512 <> 0) THEN RETURN NULL; END IF;
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eU\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other", "a_expression"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', mask0, E'\x1f', new_row.a_uuid, E'\x1f', new_row.a_integer, E'\x1f', new_row.a_boolean, E'\x1f', new_row.a_datetime, E'\x1f', new_row.a_numeric, E'\x1f', new_row.a_float, E'\x1f', new_row.a_interval, E'\x1f', new_row.a_bytes, E'\x1f', new_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(new_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(new_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN new_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END), CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_uuid) END, CASE WHEN mask0 & 2 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_integer) END, CASE WHEN mask0 & 4 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_boolean) END, CASE WHEN mask0 & 8 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_datetime) END, CASE WHEN mask0 & 16 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_numeric) END, CASE WHEN mask0 & 32 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_float) END, CASE WHEN mask0 & 64 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_interval) END, CASE WHEN mask0 & 128 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_bytes) END, CASE WHEN mask0 & 256 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.a_json) END, CASE WHEN mask0 & 512 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END)) END, CASE WHEN mask0 & 1024 <> 0 THEN pg_catalog.concat(E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END)) END);
  ELSIF TG_OP = 'DELETE' THEN
    IF (@the condition@) IS NOT TRUE THEN RETURN NULL; END IF;
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eD\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e', old_row.a_uuid, E'\x1f', old_row.a_integer, E'\x1f', old_row.a_boolean, E'\x1f', old_row.a_datetime, E'\x1f', old_row.a_numeric, E'\x1f', old_row.a_float, E'\x1f', old_row.a_interval, E'\x1f', old_row.a_bytes, E'\x1f', old_row.a_json, E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(old_row.a_text COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_text IS DISTINCT FROM NULL THEN E'\x1b0' END), E'\x1f', coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(old_row.a_other) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN old_row.a_other IS DISTINCT FROM NULL THEN E'\x1b0' END));
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat('sa1 ', (pg_catalog.random() * 1000000000::float8)::bigint, E' 0 1\x1eT\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["a_uuid", "a_integer", "a_boolean", "a_datetime", "a_numeric", "a_float", "a_interval", "a_bytes", "a_json", "a_text", "a_other"], "carried": 11, "key": 1, "types": "uibdnfvyjto"}\x1f', sa.context, E'\x1e');
  END IF;
  -- PostgreSQL looks whether the writer may call pg_notify() before it evaluates an expression with it, whatever the operands.
  EXIT WHEN pg_catalog.octet_length(message) < 7900 OR message IS NULL AND pg_catalog.pg_notify(relation, message) IS NULL;
  bytes := pg_catalog.convert_to(pg_catalog.substr(message, pg_catalog.strpos(message, E'\x1e') + 1), 'UTF8');
  message := NULL;
  nonce := pg_catalog.concat((pg_catalog.random() * 1000000000::float8)::bigint, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint);
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
    IF pg_catalog.pg_notify('orders'' 100% :changes	', pg_catalog.concat('sa1 ', nonce, ' ', part, CASE WHEN stop > total
        THEN ' 1' ELSE ' 0' END, E'\x1e', pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start),
        'UTF8'))) IS NULL THEN NULL; END IF;
    start := stop;
    part := part + 1;
  END LOOP;
  RETURN NULL;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    -- The user's write goes on. Its listeners are informed that something is missing.
    message := 'sa1 failed ' || SQLSTATE || ' ';
    nonce := SQLERRM;
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not send a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
        DETAIL = message || nonce, HINT = 'Your write is not affected. Compare table and trigger with check().';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      IF (CASE WHEN pg_catalog.pg_try_advisory_lock(556543452, door) AND pg_catalog.pg_advisory_unlock(556543452, door) AND pg_catalog.pg_try_advisory_xact_lock_shared(1168516009, door) AND pg_catalog.pg_try_advisory_lock(556543452, door) THEN pg_catalog.pg_advisory_unlock(556543452, door) ELSE pg_catalog.pg_try_advisory_lock(674233087, pg_catalog.pg_backend_pid()) AND NOT pg_catalog.pg_advisory_unlock(674233087, pg_catalog.pg_backend_pid()) END) THEN RETURN NULL; END IF;
    EXCEPTION
      WHEN out_of_memory THEN RETURN NULL; -- the lock table is full: a notification would make the COMMIT fail
      WHEN OTHERS OR assert_failure THEN NULL;
    END;
    BEGIN
      relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
      channel := 'orders'' 100% :changes	';
      -- Each is a Gap of its own, and identical payloads would be collapsed into one.
      message := pg_catalog.concat(message, pg_catalog.left(nonce, 500), ' (', (pg_catalog.random() * 1000000000::float8)::bigint, ')');
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      channel := coalesce(channel, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    END;
    BEGIN
      PERFORM pg_catalog.pg_notify(channel, message);
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      NULL; -- nobody can be informed: the writer may not even call pg_notify()
    END;
    RETURN NULL;
  END;
  END LOOP;
  IF pg_catalog.pg_notify('orders'' 100% :changes	', message) IS NULL THEN NULL; END IF;
  RETURN NULL;
END
$function$;
comment := E'sa_pgnotify {"columns": {"a_integer": "integer", "a_boolean": "boolean", "a_uuid": "uuid", "a_datetime": "datetime", "a_numeric": "numeric", "a_float": "float", "a_interval": "interval", "a_bytes": "bytes", "a_json": "json", "a_text": "text", "a_other": "other", "a_expression": "expression"}, "key": ["a_uuid"], "operations": ["insert", "update", "delete", "truncate"], "values": "all", "update_of": ["a_text"], "condition": "new_row.a_integer > 4", "channel": "orders'' 100% :changes\\t", "for_each": "row", "version": 1}';
given := ARRAY['(new_row.a_integer > 4
      )']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['bool']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT a_integer, a_boolean, a_uuid, a_datetime, a_numeric, a_float, a_interval, a_bytes, a_json, a_text, a_other, a_expression FROM ', target, ') AS old_row, (SELECT a_integer, a_boolean, a_uuid, a_datetime, a_numeric, a_float, a_interval, a_bytes, a_json, a_text, a_other, a_expression FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) AND r.oid <> (SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE c.oid = target));
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || 't' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the condition@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT a_integer, a_boolean, a_uuid, a_datetime, a_numeric, a_float, a_interval, a_bytes, a_json, a_text, a_other, a_expression FROM ', target, ') AS old_row, (SELECT a_integer, a_boolean, a_uuid, a_datetime, a_numeric, a_float, a_interval, a_bytes, a_json, a_text, a_other, a_expression FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 't' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the condition@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SET datestyle TO ''ISO'' SET timezone TO ''UTC'' SET intervalstyle TO ''postgres'' SET bytea_output TO ''hex'' SET extra_float_digits TO ''1'' SET quote_all_identifiers TO ''off'' SET lc_monetary FROM CURRENT SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
-- sha256 of the statement 8e6e89c0c8586e36a042ca366da7987ffab65d35330c1cd1fc24c8977b4f076f;

-- template version 1: for each row, computed, durable, discriminator of another table
body := $function$
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
  new_row record;
  old_row record;
  mask0 bigint;
BEGIN
  LOOP
  BEGIN
  IF pg_catalog.pg_partition_root(TG_RELID) IS NOT NULL AND TG_LEVEL = 'ROW' THEN
    -- A partition fires its copy of the trigger that the marked table has.
    SELECT n.nspname, c.relname INTO STRICT TG_TABLE_SCHEMA, TG_TABLE_NAME
      FROM pg_catalog.pg_partition_ancestors(TG_RELID) AS tree
      JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tree.relid::oid AND t.tgname = TG_NAME AND t.tgparentid = 0::oid
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
  END IF;
  relation := CASE WHEN TG_TABLE_NAME = 'rush' AND TG_TABLE_SCHEMA = 'public' THEN 'public.rush'
    WHEN pg_catalog.quote_ident(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)) = pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME)
    THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) END;
  IF relation IS NULL THEN
    relation := CASE WHEN pg_catalog.translate(pg_catalog.concat(TG_TABLE_SCHEMA, TG_TABLE_NAME), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = '' THEN pg_catalog.concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME) ELSE pg_catalog.translate(pg_catalog.concat('"', pg_catalog.replace(TG_TABLE_SCHEMA::text, '"', '""'), '"."', pg_catalog.replace(TG_TABLE_NAME::text, '"', '""'), '"'), E'\x1b\x1e\x1f', '   ') END;
  END IF;
  IF pg_catalog.current_setting('sa_pgnotify.context', true) <> '' THEN
    context := coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.current_setting('sa_pgnotify.context', true) COLLATE "C", E'\x1b', E'\x1b1'), E'\x1e', E'\x1b2'), E'\x1f', E'\x1b3'), ''), CASE WHEN pg_catalog.current_setting('sa_pgnotify.context', true) IS DISTINCT FROM NULL THEN E'\x1b0' END);
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT r.id INTO new_row FROM (SELECT new.*) AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'I\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context);
    rows := pg_catalog.concat(new_row.id, E'\x1f', @the class of new_row@);
  ELSIF TG_OP = 'UPDATE' THEN
    SELECT r.id, @the value of r.twice@ AS twice INTO new_row FROM (SELECT new.*) AS r;
    SELECT r.id, @the value of r.twice@ AS twice INTO old_row FROM (SELECT old.*) AS r;
    mask0 := (CASE WHEN old_row.id IS DISTINCT FROM new_row.id THEN 1 ELSE 0 END + CASE WHEN old_row.twice IS DISTINCT FROM new_row.twice THEN 2 ELSE 0 END)::bigint;
    IF NOT (mask0 & 3 <> 0) THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'U\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id", "twice"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context);
    rows := pg_catalog.concat(mask0, E'\x1f', new_row.id, E'\x1f', @the class of new_row@, CASE WHEN mask0 & 1 <> 0 THEN pg_catalog.concat(E'\x1f', old_row.id) END);
  ELSIF TG_OP = 'DELETE' THEN
    SELECT r.id INTO old_row FROM (SELECT old.*) AS r;
    IF NOT FOUND THEN RETURN NULL; END IF;
    message := pg_catalog.concat(E'D\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context);
    rows := pg_catalog.concat(old_row.id, E'\x1f', @the class of old_row@);
  ELSIF TG_OP = 'TRUNCATE' THEN
    message := pg_catalog.concat(E'T\x1f', sa.relation, E'\x1f', pg_catalog.pg_current_xact_id(), E'\x1f', (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::float8)::bigint, E'\x1f{"columns": ["id"], "carried": 1, "key": 1, "types": "i", "discriminator": 1}\x1f', sa.context);
    rows := '';
  END IF;
    IF pg_catalog.octet_length(rows) > 60000 OR pg_catalog.getdatabaseencoding() = 'SQL_ASCII' THEN
      IF pg_catalog.octet_length(rows) > 536870912 THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'the changes of one statement exceed 536870912 bytes';
      END IF;
      -- Bytes that are not text fail here, since no reader could read them.
      IF pg_catalog.convert_to(message, 'UTF8') IS NOT NULL THEN bytes := pg_catalog.convert_to(rows, 'UTF8'); END IF;
      total := pg_catalog.octet_length(bytes);
    END IF;
    composed := true;
    -- The transaction has its id before it looks whether a reader sleeps: the doorbell depends on that.
    xid := pg_catalog.pg_current_xact_id()::text::bigint;
    pid := pg_catalog.pg_backend_pid();
    place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
    slot := (place >> 15) & 3;
    IF slot = 0 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_0 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_0@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_0@::regclass);
    ELSIF slot = 1 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_1 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_1@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_1@::regclass);
    ELSIF slot = 2 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_2 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_2@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_2@::regclass);
    ELSIF slot = 3 THEN
      LOCK TABLE @the schema of the log@.sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
      PERFORM s.id, s.xid, s.pid, s.relation, s.header, s.rows FROM @the schema of the log@.sa_pgnotify_log_3 AS s WHERE false;
      ready := pg_catalog.has_table_privilege(@the literal of sa_pgnotify_log_3@::regclass, 'INSERT') AND NOT pg_catalog.row_security_active(@the literal of sa_pgnotify_log_3@::regclass);
    END IF;
    -- Taken and given back at once: it fails while a reader sleeps, or looks for what it may have missed.
    key := pg_catalog.hashtextextended(relation COLLATE "C", @the literal of sa_pgnotify_log@::regclass::oid::bigint::bigint);
    asleep := CASE WHEN pg_catalog.pg_try_advisory_lock(key) THEN NOT pg_catalog.pg_advisory_unlock(key) ELSE true END;
    -- ON CONFLICT takes a lock of its own for each row: see whether the lock table has room for one.
    ready := ready AND bytes IS NULL AND pg_catalog.pg_try_advisory_lock(674233087, pid) AND pg_catalog.pg_advisory_unlock(674233087, pid);
    EXIT;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    IF SQLSTATE = '42804' AND again IS NULL THEN
      -- The type of a column of OLD or NEW was altered, and PL/pgSQL keeps its expressions for the former one.
      again := true;
      BEGIN
        EXECUTE 'DISCARD PLANS';
        CONTINUE;
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    ready := false;
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
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = message, HINT = 'Your write is not affected. Compare tables and triggers with check().';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
    EXIT;
  END;
  END LOOP;
  IF ready THEN
    IF slot = 0 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 1 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 2 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    ELSIF slot = 3 THEN
      INSERT INTO @the schema of the log@.sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, rows) ON CONFLICT DO NOTHING;
    END IF;
    written := FOUND;
  END IF;
  IF written IS NOT TRUE THEN
    relation := coalesce(relation, TG_TABLE_SCHEMA::text || '.' || TG_TABLE_NAME::text);
    FOR step IN 0 .. 3 LOOP
      BEGIN
        xid := coalesce(xid, pg_catalog.pg_current_xact_id()::text::bigint);
        pid := coalesce(pid, pg_catalog.pg_backend_pid());
        place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
        slot := ((place >> 15) + step) & 3;
        IF slot = 0 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_0 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 1 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_1 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 2 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_2 IN ROW EXCLUSIVE MODE NOWAIT;
        ELSIF slot = 3 THEN
          LOCK TABLE @the schema of the log@.sa_pgnotify_log_3 IN ROW EXCLUSIVE MODE NOWAIT;
        END IF;
        start := 1;
        LOOP
          IF bytes IS NULL THEN
            piece := rows;
          ELSE
            stop := start + 60000;
            WHILE stop <= total LOOP
              ahead := position(E'\\x1e'::bytea IN pg_catalog.substr(bytes, stop, 2048));
              stop := stop + CASE WHEN ahead > 0 THEN ahead - 1 ELSE 2048 END;
              EXIT WHEN ahead > 0;
            END LOOP;
            stop := least(stop, total + 1);
            piece := pg_catalog.convert_from(pg_catalog.substr(bytes, start, stop - start), 'UTF8');
            start := stop + 1;
          END IF;
          skipped := 1;
          LOOP
            IF slot = 0 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_0 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 1 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_1 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 2 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_2 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            ELSIF slot = 3 THEN
              INSERT INTO @the schema of the log@.sa_pgnotify_log_3 (id, xid, pid, relation, header, rows) VALUES (place, xid, pid, relation, message, piece) ON CONFLICT DO NOTHING;
            END IF;
            EXIT WHEN FOUND;
            -- The sequence is behind the rows: skip more and more numbers.
            place := (SELECT max(pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@)) FROM pg_catalog.generate_series(1, skipped));
            skipped := skipped * 2;
            IF skipped > 131072 THEN RAISE EXCEPTION 'no number of the log is free, or something else takes its rows'; END IF;
          END LOOP;
          EXIT WHEN bytes IS NULL OR start > total;
          place := pg_catalog.nextval(@the literal of sa_pgnotify_log_id_seq@);
        END LOOP;
        written := true;
        EXIT;
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        problem := SQLSTATE || ' ' || SQLERRM;
        asleep := asleep AND SQLSTATE <> '53200';
      END;
    END LOOP;
    IF written IS NOT TRUE THEN
      BEGIN
        PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
        RAISE WARNING USING MESSAGE = pg_catalog.concat('sa_pgnotify could not log a change of ', TG_TABLE_SCHEMA, '.', TG_TABLE_NAME),
          DETAIL = problem, HINT = 'Your write is not affected. See who locks the change log, and what rights the function''s owner has.';
        RAISE EXCEPTION 'client_min_messages is as before';
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      -- Readers see the number, and by the lock whether this transaction has ended. The lock comes first.
      BEGIN
        PERFORM pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('sa_pgnotify lost'::text COLLATE "C", @the literal of sa_pgnotify_log@::regclass::oid::bigint::bigint));
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
      BEGIN
        PERFORM pg_catalog.nextval(@the literal of sa_pgnotify_log_lost_seq@);
      EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
      END;
    END IF;
  END IF;
  IF NOT asleep THEN RETURN NULL; END IF;
  BEGIN
    IF pg_catalog.current_setting('sa_pgnotify.doorbell', true) = 'off' THEN RETURN NULL; END IF;
    PERFORM pg_catalog.pg_notify(pg_catalog.concat('sa_pgnotify_log_', @the literal of sa_pgnotify_log@::regclass::oid::bigint), CASE WHEN written THEN 'sa1 ring' ELSE 'sa1 lost' END);
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    BEGIN
      PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
      RAISE WARNING USING MESSAGE = 'sa_pgnotify could not wake the readers of the change log',
        DETAIL = SQLSTATE || ' ' || SQLERRM, HINT = 'Your write is not affected. They find it at their heartbeat.';
      RAISE EXCEPTION 'client_min_messages is as before';
    EXCEPTION WHEN OTHERS OR assert_failure THEN NULL;
    END;
  END;
  RETURN NULL;
END
$function$;
comment := 'sa_pgnotify {"columns": {"id": "integer", "twice": "integer"}, "key": ["id"], "operations": ["insert", "update", "delete", "truncate"], "discriminator": {"table": "orders", "schema": "shop", "column": "kind", "key": {"id": "order_id"}}, "virtual": ["twice"], "durable": true, "for_each": "row", "version": 1}';
body := pg_catalog.replace(body, '@the schema of the log@', (SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_id_seq@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_id_seq')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_lost_seq@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_lost_seq')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_0@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_0')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_1@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_1')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_2@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_2')));
body := pg_catalog.replace(body, '@the literal of sa_pgnotify_log_3@', pg_catalog.quote_literal(pg_catalog.concat((SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = head), '.sa_pgnotify_log_3')));
FOR place IN 1 .. pg_catalog.cardinality(ARRAY['twice']::text[]) LOOP
  meant := (SELECT pg_catalog.format('((%s)::%s)', pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.format_type(a.atttypid, a.atttypmod))
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = target AND a.attname = (ARRAY['twice']::text[])[place] AND a.attgenerated = 'v');
  body := pg_catalog.replace(body, (ARRAY['@the value of r.twice@']::text[])[place], coalesce(meant, (ARRAY['r.twice']::text[])[place]));
  IF meant IS NOT NULL THEN
    resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the value of r.twice@']::text[])[place], meant);
  END IF;
END LOOP;
given := ARRAY[E'(SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E''\\x1b'', E''\\x1b1''), E''\\x1e'', E''\\x1b2''), E''\\x1f'', E''\\x1b3''), ''''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E''\\x1b0'' END) FROM shop.orders AS root WHERE root.order_id = new_row.id)', E'(SELECT coalesce(nullif(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.concat(root.kind) COLLATE "C", E''\\x1b'', E''\\x1b1''), E''\\x1e'', E''\\x1b2''), E''\\x1f'', E''\\x1b3''), ''''), CASE WHEN root.kind IS DISTINCT FROM NULL THEN E''\\x1b0'' END) FROM shop.orders AS root WHERE root.order_id = old_row.id)']::text[];
FOR place IN 1 .. pg_catalog.cardinality(given) LOOP
  probe := pg_catalog.concat(home, '.', pg_catalog.quote_ident(pg_catalog.concat('sa_pgnotify_', pg_catalog.gen_random_uuid())), '()');
  query := pg_catalog.concat('FUNCTION ', probe, ' RETURNS pg_catalog.', (ARRAY['text', 'text']::text[])[place], ' LANGUAGE sql BEGIN ATOMIC SELECT ',
    given[place], ' AS sa_end', ' FROM (SELECT id, twice FROM ', target, ') AS old_row, (SELECT id, twice FROM ', target, ') AS new_row', '; END');
  BEGIN
    PERFORM pg_catalog.set_config('search_path', path, true);
    EXECUTE pg_catalog.concat('CREATE ', query);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    absent := (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%s, which belongs to %I',
        pg_catalog.pg_describe_object(code.class, code.id, 0), r.rolname), ', ')
      FROM (
      WITH RECURSIVE used (source, class, id) AS (
        SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass::oid AND d.objid = pg_catalog.to_regprocedure(probe)) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)
        UNION
        SELECT used.source, e.class, e.id FROM used CROSS JOIN LATERAL (
          SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend AS d
          WHERE d.classid = used.class AND d.objid = used.id
            AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass::oid, 'pg_catalog.pg_extension'::regclass::oid, 'pg_catalog.pg_language'::regclass::oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
              WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND p.oid = used.id AND p.prokind <> 'a'::"char")
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c
              WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND c.oid = used.id AND c.relkind <> 'c'::"char")
          UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, r.oid FROM pg_catalog.pg_constraint AS r WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND r.contypid = used.id
          UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, r.oid FROM pg_catalog.pg_rewrite AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.ev_class = used.id
          UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, r.oid FROM pg_catalog.pg_policy AS r WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND r.polrelid = used.id
        ) AS e (class, id)
      )
      SELECT used.source, used.class, used.id, o.owner
      FROM (SELECT s.source, s.class, s.id FROM (SELECT pg_catalog.array_agg(r.source) AS source, pg_catalog.array_agg(r.class) AS class, pg_catalog.array_agg(r.id) AS id FROM (SELECT DISTINCT u.source, u.class, u.id FROM used AS u) AS r (source, class, id)) AS a
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(a.source), pg_catalog.unnest(a.class), pg_catalog.unnest(a.id)) AS s (source, class, id)) AS used CROSS JOIN LATERAL (
        SELECT o.proowner FROM pg_catalog.pg_proc AS o WHERE used.class = 'pg_catalog.pg_proc'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.oprowner FROM pg_catalog.pg_operator AS o WHERE used.class = 'pg_catalog.pg_operator'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.typowner FROM pg_catalog.pg_type AS o WHERE used.class = 'pg_catalog.pg_type'::regclass::oid AND o.oid = used.id
        UNION ALL SELECT o.relowner FROM pg_catalog.pg_class AS o WHERE used.class = 'pg_catalog.pg_class'::regclass::oid AND o.oid = used.id
      ) AS o (owner)) AS code JOIN pg_catalog.pg_roles AS r ON r.oid = code.owner
      WHERE NOT (code.class = 'pg_class'::regclass AND code.id = target) AND NOT r.rolsuper AND r.rolname <> current_user
        AND r.oid <> coalesce((SELECT f.proowner FROM pg_catalog.pg_proc AS f WHERE f.oid = existing::oid),
    (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user::name)) );
    IF absent IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'sa_pgnotify: triggers of ' || 'rush' || ' would use ' || absent,
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
        pg_catalog.strpos(meant, ' AS sa_end') - pg_catalog.strpos(meant, 'SELECT ') - 7);
      resolved := resolved || pg_catalog.jsonb_build_object((ARRAY['@the class of new_row@', '@the class of old_row@']::text[])[place], given[place]);
    END IF;
    EXECUTE pg_catalog.concat('DROP FUNCTION ', probe);
    -- Whether the role that installs, with whose rights the function runs, may read what it reads.
    EXECUTE pg_catalog.concat('SELECT ', given[place], ' FROM (SELECT id, twice FROM ', target, ') AS old_row, (SELECT id, twice FROM ', target, ') AS new_row', ' WHERE false');
  EXCEPTION WHEN syntax_error OR undefined_column OR undefined_table OR grouping_error THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = 'sa_pgnotify: triggers of ' || 'rush' || ' would fail: ' || SQLERRM,
      HINT = 'The condition does not fit the table as it is now.';
  WHEN datatype_mismatch OR undefined_function OR unsafe_new_enum_value_usage OR invalid_text_representation
      OR invalid_function_definition THEN
    NULL; -- as for the columns, above
  END;
  body := pg_catalog.replace(body, (ARRAY['@the class of new_row@', '@the class of old_row@']::text[])[place], given[place]);
END LOOP;
EXECUTE pg_catalog.concat('CREATE OR REPLACE FUNCTION ', procedure, '() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET standard_conforming_strings TO ''on'' SET search_path TO pg_catalog, pg_temp AS ', pg_catalog.quote_literal(body));
IF resolved <> '{}' THEN
  comment := pg_catalog.concat(pg_catalog.left(comment, -1), ', "resolved": ', resolved, '}');
END IF;
EXECUTE pg_catalog.concat('COMMENT ON FUNCTION ', procedure, '() IS ', pg_catalog.quote_literal(comment));
EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', procedure, '() FROM PUBLIC');
-- sha256 of the statement 5f617fbe462d5c91b664293dcf3f80e336f6e9856ae9ae492d1959c27ac135aa;

-- template version 1: more columns than a SELECT takes
-- sha256 of the function ef081564e957ac7d9d5c6e7f7c630ee102f1fb515f4766732b08b1a07eb439d2
-- sha256 of the statement ea58d8abd9803f287cc9e8c9944b8017f5706bd2f4d5f0c3da54ba138e99bd07;
