"""Values at the edges of their types, types made of others, and models that declare other types
than the columns have: an event has what a SELECT through the same model gives; where that fails,
the event's value fails, alone."""

from __future__ import annotations

import enum
from typing import Any

import pytest
import sqlalchemy as sa
from receiving import take
from selects import FAILED, Raw, differences, same, selected
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase
from statements import run

from sa_pgnotify import Deleted, Inserted, NotifyOnChange, NotifySpec, UndecodableValue, Updated

LABELS = ["a b", "a'b", 'a"b', "", " ", "é", "a,b", "NULL", "{}", "\\", "1"]
MOMENTS = [
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 BC'",
    "'12024-02-29'",
    "'0001-01-01'",
    "'9999-12-31'",
]
TYPES = (
    f"CREATE TYPE label AS ENUM ({', '.join(chr(39) + label.replace(chr(39), chr(39) * 2) + chr(39) for label in LABELS)})",
    "CREATE TYPE inner_pair AS (a numeric, b text)",
    'CREATE TYPE odd AS (t text, "B c" numeric, d int[], e timestamptz, f inner_pair, "select" jsonb, g "char", h label, i bytea, j float8)',
    "CREATE DOMAIN ints AS int[]",
    "CREATE DOMAIN day AS date",
    "CREATE DOMAIN later AS day",
    "CREATE DOMAIN label_domain AS label",
    "CREATE DOMAIN pair_domain AS inner_pair",
    "CREATE DOMAIN word AS varchar(3)",
    "CREATE DOMAIN span AS int4range",
    "CREATE TYPE floats AS RANGE (subtype = float8)",
    "CREATE TYPE days AS RANGE (subtype = day)",
    'CREATE TYPE words AS RANGE (subtype = text, collation = "C")',
)
COLUMNS: dict[str, tuple[str, Any, list[str]]] = {
    "array_domain": ("ints", pg.ARRAY(sa.Integer), ["'{1,NULL,3}'", "'[0:1]={5,6}'", "'{}'", "'{{1,2},{3,4}}'"]),
    "array_domains": ("ints[]", Raw("ints[]"), ["array['{1}'::ints, '{2,NULL}', NULL]"]),
    "bounds": ("int[]", pg.ARRAY(sa.Integer), ["'[0:1][2:3]={{1,2},{NULL,4}}'", "'[-5:-5]={7}'", "'{NULL,NULL}'"]),
    "text_bounds": ("text[]", pg.ARRAY(sa.Text), ["'[2:4]={a,NULL,\"NULL\"}'", "array['', ' ', E'\\\\', '\"', '{}', 'a,b']"]),
    "domain": ("later", sa.Date(), MOMENTS),
    "domains": ("day[]", pg.ARRAY(sa.Date), ["'{2024-02-29,NULL}'", "'{infinity}'"]),
    "enum_domain": ("label_domain", Raw("label_domain"), [f"'{label.replace(chr(39), chr(39) * 2)}'" for label in LABELS]),
    "label": ("label", sa.Enum(*LABELS, name="label"), [f"'{label.replace(chr(39), chr(39) * 2)}'" for label in LABELS]),
    "labels": ("label[]", pg.ARRAY(sa.Enum(*LABELS, name="label")), ["enum_range(NULL::label)", "'{NULL,é}'"]),
    "pair_domain": ("pair_domain", Raw("pair_domain"), ["row(1.50, 'x,\"()')", "row(NULL, '')"]),
    "pairs": ("inner_pair[]", Raw("inner_pair[]"), ["array[row(1, 'a')::inner_pair, NULL, row(NULL, NULL)]"]),
    "odd": ("odd", Raw("odd"), [
        "row('', 1.50, '{1,NULL}', '2024-02-29 12:00+02', row(1, ' '), '{\"a\": [1]}', 'x', 'a,b', '\\x00ff', 'NaN')",
        "row(E'\\x1b\\x1e\\x1f(,)\"\\\\', 'NaN', '{}', 'infinity', NULL, 'null', '', '', '', '-0')", "row(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)",
    ]),
    "words": ("word", sa.String(3), ["'abc'", "''"]),
    "span_domain": ("span", pg.INT4RANGE, ["'[1,2]'", "'empty'"]),
    "float_range": ("floats", Raw("floats"), ["'[0.1,Infinity)'", "'[-0,1]'", "'empty'"]),
    "float_ranges": ("floats[]", Raw("floats[]"), ["array['[0.1,0.2)'::floats, NULL]"]),
    "day_range": ("days", Raw("days"), ["'[2024-02-29,infinity)'", "'(,0044-03-15 BC)'"]),
    "word_range": ("words", Raw("words"), ["'[\"a,b\",\"c\"\"d\"]'", "'[\"\",\")\"]'"]),
    "float_multirange": ("floats_multirange", Raw("floats_multirange"), ["'{[0.1,0.2),[1,)}'", "'{}'"]),
    "int_multiranges": ("int4multirange[]", Raw("int4multirange[]"), ["array['{[1,5),[7,9)}'::int4multirange, '{}', NULL]"]),
    "interval": ("interval", pg.INTERVAL, [
        "'-178000000 years'", "'1 mon -1 day'", "'00:00:59.999999'", "'-00:00:00.000001'", "'2147483647 days 23:59:59'", "'infinity'",
    ]),
    "intervals": ("interval[]", pg.ARRAY(pg.INTERVAL), ["'{1 year,NULL,-00:00:01.5}'"]),
    "native_interval": ("interval", sa.Interval(), ["'1 year'", "'-3 days 04:05'"]),
    "float4": ("real", sa.REAL(), ["'-0'", "'NaN'", "'-Infinity'", "1e-45", "3.4028235e38", "16777217"]),
    "float8": ("float8", sa.Double(), ["'-0'", "'NaN'", "'Infinity'", "5e-324", "1e22", "9007199254740993"]),
    "float8s": ("float8[]", pg.ARRAY(sa.Double()), ["'{-0,NaN,Infinity,5e-324}'"]),
    "numeric": ("numeric", sa.Numeric(), ["'NaN'", "'-Infinity'", "'1e-1000'", "'1e1000'", "0.00", "-0.0", "10000", "1.0000"]),
    "numerics": ("numeric[]", pg.ARRAY(sa.Numeric()), ["'{NaN,1.10,NULL,100000}'"]),
    "as_float": ("numeric", sa.Numeric(asdecimal=False), ["'NaN'", "'Infinity'", "0.1", "'1e1000'"]),
    "date": ("date", sa.Date(), MOMENTS),
    "timestamp": ("timestamp", sa.DateTime(), [*MOMENTS, "'2024-02-29 23:59:59.999999'"]),
    "timestamptz": ("timestamptz", sa.DateTime(timezone=True), [*MOMENTS, "'1850-01-01 00:00 Europe/Amsterdam'", "'9999-12-31 23:59:59.999999+00'"]),
    "timestamptzs": ("timestamptz[]", pg.ARRAY(sa.DateTime(timezone=True)), ["'{infinity}'", "'{2024-02-29 12:00+02,NULL}'", "'{0044-03-15 BC}'"]),
    "ranges_of_time": ("tstzrange", pg.TSTZRANGE, ["'[2024-02-29 12:00+02,infinity)'", "'[-infinity,)'", "'(,0044-03-15 BC]'"]),
    "time": ("time", sa.Time(), ["'24:00'", "'23:59:59.999999'"]),
    "timetz": ("timetz", sa.Time(timezone=True), ["'24:00+00'", "'12:00-15:59'", "'12:00+05:53:28'"]),
    "json": ("json", sa.JSON(), [
        "'{\"a\": 1, \"a\": 2}'", "'[1e400, -0, 1.0, 1E5, 123456789012345678901234567890, -0.0, 0.1e-7]'", "'\"\\u0000\"'", "'\"\\ud83d\\ude00\"'",
        "'\"\\ud800\"'", "(repeat('[', 200) || repeat(']', 200))::json", "' {} '", "(repeat('[', 5000) || repeat(']', 5000))::json",
        "('\"' || repeat('9', 5000) || '\"')::json", "repeat('9', 5000)::json",
    ]),
    "jsonb": ("jsonb", pg.JSONB, ["'{\"a\": 1, \"a\": 2}'", "'[1e400, -0, 1.0, 1E5, 123456789012345678901234567890, -0.0]'", "'18446744073709551616'"]),
    "jsonbs": ("jsonb[]", pg.ARRAY(pg.JSONB), ["array['{\"a,b\": \"\\\"{}\"}'::jsonb, 'null', NULL]"]),
    "padded": ("char(4)", sa.CHAR(4), ["'a'", "''", "'é'", "'abcd'"]),
    "paddeds": ("char(4)[]", pg.ARRAY(sa.CHAR(4)), ["'{a,\"\",NULL}'"]),
    "name": ("name", Raw("name"), ["repeat('é', 31)", "''"]),
    "high": ('"char"', Raw('"char"'), ['(-128)::"char"', '(-1)::"char"', '27::"char"', '31::"char"', '0::"char"', "'\\'"]),
    "highs": ('"char"[]', Raw('"char"[]'), ["array[(-1)::\"char\", 30::\"char\", '', NULL]"]),
    "oid": ("oid", pg.OID, ["4294967295"]),
    "xid": ("xid", Raw("xid"), ["'4294967295'"]),
    "xid8": ("xid8", Raw("xid8"), ["'18446744073709551615'"]),
    "tsvector": ("tsvector", pg.TSVECTOR, ["$$'it''s':1A,2 '\\\\':3 'a b'$$", "''"]),
    "bit": ("bit(9)", pg.BIT(9), ["B'101010101'"]),
    "bits": ("bit varying[]", pg.ARRAY(pg.BIT(varying=True)), ["array[B'1', B'', NULL]"]),
    "money": ("money", pg.MONEY, ["'-92233720368547758.08'", "'0.01'"]),
    "moneys": ("money[]", pg.ARRAY(pg.MONEY), ["array['1234.5'::money, NULL]"]),
    "nested": ("text", sa.Text(), ["E'\\x1b'", "E'\\x1b0'", "E'\\x1f\\x1e'", "'\\x1b0'", "repeat(E'\\x1b\\x1f', 5000)"]),
}  # fmt: skip


class Color(enum.Enum):
    RED = "r"
    a = "b"


def entities(engine: Any, columns: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """An ephemeral and a durable table of the columns, and their classes."""

    class Base(DeclarativeBase):
        pass

    found = {}
    for table, durable in (("plain", False), ("kept", True)):
        run(
            engine,
            f"CREATE TABLE {table} (id int PRIMARY KEY, {', '.join(f'{name} {type_}' for name, (type_, _) in columns.items())})",
        )
        body: dict[str, Any] = {name: sa.Column(type_) for name, (_, type_) in columns.items()}
        body |= {
            "__tablename__": table,
            "__notify__": NotifySpec(values="all", durable=durable),
            "id": sa.Column(sa.Integer, primary_key=True),
        }
        found[table] = type(table.title(), (NotifyOnChange, Base), body)
    Base.metadata.create_all(engine)
    return found


def compare(
    kind: Any, engine: Any, reader: Any, classes: dict[str, Any], rows: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Insert rows of literals, move each row's values to the next one, and delete all: the events'
    values are those of SELECTs."""
    names = ", ".join(dict.fromkeys(name for row in rows for name in row))
    inserts = [
        f"INSERT INTO {{0}} (id, {', '.join(row)}) VALUES ({number}, {', '.join(row.values())})"
        for number, row in enumerate(rows)
    ]
    move = f"UPDATE {{0}} SET ({names}) = (SELECT {names} FROM {{0}} AS o WHERE o.id = mod({{0}}.id + 1, {len(rows)}))"
    seen: list[list[dict[str, Any]]] = []
    delivered: dict[str, list[list[Any]]] = {table: [] for table in classes}
    with kind.listener(reader, *classes.values()) as listener:
        for step in (inserts, [move], ["DELETE FROM {0}"]):
            run(
                engine,
                *(statement.replace("{0}", table) for table in classes for statement in step),
            )
            events = take(listener, len(classes) * len(rows))
            assert [event for event in events if not hasattr(event, "table")] == []
            for table, entity in classes.items():
                delivered[table].append(
                    sorted(
                        (e for e in events if e.table is entity.__table__), key=lambda e: e.identity
                    )
                )
            seen.append(selected(kind, reader, classes["plain"]))  # both tables hold the same
    before, after, _ = seen
    for table in classes:
        assert [{type(event) for event in events} for events in delivered[table]] == [
            {Inserted},
            {Updated},
            {Deleted},
        ]
        found = [
            differences(delivered[table][step], side, held)
            for step, side, held in (
                (0, "new", before),
                (1, "old", before),
                (1, "new", after),
                (2, "old", after),
            )
        ]
        assert found == [{}] * 4
        for event, old, new in zip(delivered[table][1], before, after):
            assert event.changed >= {
                name
                for name in old
                if old[name] is not new[name] and not same(old[name], new[name])
            }
    return before


@pytest.mark.kinds(2)
def test_odd_values(engine, url, kind):
    """Each odd value of each type, in a row with those of the other types, some of which no driver
    reads."""
    run(engine, *TYPES)
    columns = {name: (type_, declared) for name, (type_, declared, _) in COLUMNS.items()}
    literals = {
        name: [f"{value}::{type_}" for value in values]
        for name, (type_, _, values) in COLUMNS.items()
    }
    with engine.connect() as connection:
        # from which on an interval may be infinite
        if connection.dialect.server_version_info < (17,):
            literals["interval"].remove("'infinity'::interval")
    rows = [
        {name: values[number % len(values)] for name, values in literals.items()}
        for number in range(max(map(len, literals.values())))
    ]
    read = compare(
        kind, engine, kind.engine(url), entities(engine, columns), [*rows, {"date": "NULL"}]
    )
    failed = {name for row in read for name, value in row.items() if value is FAILED}
    assert failed >= {"date", "timestamp"}
    assert len(failed) < 25


DECLARED: dict[str, Any] = {
    "Boolean": sa.Boolean(), "Integer": sa.Integer(), "Float": sa.Float(), "Numeric": sa.Numeric(), "Date": sa.Date(), "DateTime": sa.DateTime(),
    "Interval": sa.Interval(), "LargeBinary": sa.LargeBinary(), "Uuid": sa.Uuid(), "UuidText": sa.Uuid(as_uuid=False), "JSON": sa.JSON(),
    "ARRAY": pg.ARRAY(sa.Text), "Enum": sa.Enum(Color, name="color"), "String": sa.String(), "INET": pg.INET(), "CHAR": sa.CHAR(4),
}  # fmt: skip
REAL = {
    "bool": "true", "smallint": "1", "bigint": "7", "real": "1.5", "numeric": "10000", "date": "'2024-02-29'", "timestamptz": "'2024-02-29 12:00+02'",
    "interval": "'1 day'", "bytea": "'\\x00ff'", "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "jsonb": "'[1]'", "text[]": "'{a}'",
    "text": "'a'", "varchar(9)": "'1'", "char(4)": "'a'", "inet": "'10.0.0.1'", "label": "'1'", "name": "'RED'",
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.kinds(1)
def test_models_that_declare_other_types(engine, url, kind):
    """Models of common types over columns of other types: what SELECT reads is read, what it does
    not read fails alone."""
    run(engine, *TYPES[:1])
    columns = {
        f"c{number}_{name.lower()}": (real, declared)
        for number, real in enumerate(REAL)
        for name, declared in DECLARED.items()
        if (real, name) != ("bytea", "UuidText")  # the text of a memoryview has its address
    }  # fmt: skip
    values = {name: f"{REAL[real]}::{real}" for name, (real, _) in columns.items()}
    read = compare(
        kind, engine, kind.engine(url), entities(engine, columns), [values, {"c0_boolean": "false"}]
    )
    failed = [name for name, value in read[0].items() if value is FAILED]
    assert 20 < len(failed) < len(columns) // 2


@pytest.mark.kinds(3)
def test_names_in_the_database(engine, url, kind):
    """Names of tables and functions are written as the reader's search_path has them; that of a
    table which is gone spoils nothing else."""
    run(engine, "CREATE SCHEMA far", "CREATE TABLE near ()", "CREATE TABLE far.there ()", "CREATE TABLE gone ()",
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1'")  # fmt: skip
    columns = {
        "a": ("regclass", pg.REGCLASS()),
        "b": ("regclass[]", Raw("regclass[]")),
        "c": ("regprocedure", Raw("regprocedure")),
    }
    near = {"a": "'near'", "b": "array['near', 'far.there', NULL]::regclass[]", "c": "'twice(int)'"}
    classes = entities(engine, columns)
    reader = kind.engine(url)
    compare(
        kind,
        engine,
        reader,
        classes,
        [
            near,
            {"a": "'far.there'", "b": "'{}'", "c": "0"},
            {"a": "4000000000", "b": "NULL", "c": "'pg_catalog.now()'"},
        ],
    )
    with kind.listener(reader, classes["plain"]) as listener:
        run(
            engine,
            "INSERT INTO plain VALUES (1, 'gone', '{near}', 0), (2, 'near', '{}', 0)",
            "DROP TABLE gone",
        )
        gone, there = take(listener, 2)
    assert there.new["a"] == "near"
    assert "near" in str(gone.new["b"])
    if kind.driver == "asyncpg":
        with pytest.raises(UndecodableValue, match="public.gone"):
            gone.new["a"]
    else:
        assert gone.new["a"] == "public.gone"
