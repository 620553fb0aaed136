"""Values of events equal what a SELECT through the ORM gives, in type and value, whatever the
writer's session is set to."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from receiving import take
from selects import ODD_SESSION, Raw, attributes_of, row_differences, same, thing_class
from sqlalchemy import text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.exc import NotSupportedError
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import install_extension, run

from sa_pgnotify import Deleted, Inserted, Listener, NotifyOnChange, NotifySpec, Updated

pytestmark = pytest.mark.kinds(3)


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Mapping(sa.TypeDecorator[str]):
    """Reads NULL as a text, and any text as something else."""

    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str:
        return "none" if value is None else f"<{value}>"


# Control characters of the message layout, quotes, backslashes, characters of two, three and four
# bytes.
ODD_TEXT = "E'a\\x1b\\x1e\\x1f0\\x1b0 \\'\"\\\\ %s :x é\\u20ac\\U0001f600\\t\\n '"


ODD_TEXTS = [ODD_TEXT, "''", "' '", "E'\\x1b0'", "E'\\x1f'", "'NULL'", "'{a,b}'"]


PICKLED = "'\\x80049507000000000000007d948c0161944b01732e'"  # {"a": 1}


XML = 'xmlparse(document \'<?xml version="1.0"?><a b="1">é&amp;<c/></a>\')'


GROUPS: dict[str, dict[str, tuple[Any, list[str]]]] = {
    "numbers": {
        "smallint": (sa.SmallInteger(), ["-32768", "32767", "0"]),
        "integer": (sa.Integer(), ["-2147483648", "2147483647"]),
        "bigint": (sa.BigInteger(), ["-9223372036854775808", "9223372036854775807"]),
        "numeric": (sa.Numeric(), ["0.1", "1e100", "-0.000000000000000000001", "'NaN'", "1.10", "'Infinity'", "0"]),
        "scaled": (sa.Numeric(10, 2), ["1.10", "-99999999.99", "'NaN'", "0"]),
        "asfloat": (sa.Numeric(20, 10, asdecimal=False), ["0.1", "12345.6789"]),
        "asdecimal": (sa.Float(asdecimal=True), ["0.1", "1e-30", "'NaN'"]),
        "float4": (sa.REAL(), ["0.1", "3.4028235e38", "'NaN'", "'-Infinity'", "'-0'", "1e-45"]),
        "float8": (sa.Double(), ["0.1", "1.7976931348623157e308", "'NaN'", "'Infinity'", "'-0'", "5e-324", "0.30000000000000004"]),
        "boolean": (sa.Boolean(), ["true", "false"]),
        "money": (pg.MONEY(), ["'-1234.56'", "'0'", "'92233720368547758.07'"]),
        "oid": (pg.OID(), ["0", "4294967295"]),
        "regclass": (pg.REGCLASS(), ["'pg_class'", "0", "4000000000"]),
        "regconfig": (pg.REGCONFIG(), ["'english'"]),
        "bit": (pg.BIT(5), ["B'10101'"]),
        "varbit": (pg.BIT(varying=True), ["B''", "B'1'"]),
        "boolarray": (pg.ARRAY(sa.Boolean()), ["'{t,f,NULL}'"]),
    },
    "texts": {
        "varchar": (sa.String(200), ODD_TEXTS),
        "text_": (sa.Text(), [*ODD_TEXTS, "repeat('é€😀x', 9000)"]),
        "unicode_": (sa.Unicode(), ODD_TEXTS),
        "char_": (sa.CHAR(5), ["'a'", "''", "'  b'", "E'\\x1f'"]),
        "onechar": (Raw('"char"'), ["'a'", "''"]),
        "name_": (Raw("name"), ["'a'", "''"]),
        "collated": (sa.String(collation="C"), ODD_TEXTS),
        "bytea_": (sa.LargeBinary(), ["'\\x'", "'\\x00ff1b1e1f5c27'", "'abc'::bytea"]),
        "pickled": (sa.PickleType(), [PICKLED]),
        "native_enum": (sa.Enum(Color, name="color"), ["'RED'", "'BLUE'"]),
        "plain_enum": (sa.Enum("a b", "c,d", "", "'", name="plain"), ["'a b'", "'c,d'", "''", "''''"]),
        "checked_enum": (sa.Enum(Color, native_enum=False, values_callable=lambda e: [m.value for m in e]), ["'r'", "'b'"]),
        "pg_enum": (pg.ENUM("x", "y", name="small"), ["'x'"]),
        "decorated": (Mapping(), ["'a'", "''"]),
        "uuid_": (sa.Uuid(), ["'00000000-0000-0000-0000-000000000000'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
        "uuid_text": (sa.Uuid(as_uuid=False), ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
        "uuid_char": (sa.Uuid(native_uuid=False), ["'a0eebc999c0b4ef8bb6d6bb9bd380a11'"]),
    },
    "extensions": {
        "citext_": (pg.CITEXT(), ["'Ab'", "'aB'", "''", ODD_TEXT]),
        "hstore_": (pg.HSTORE(), ["'a=>1, b=>NULL'", "''", "hstore('c d', E'\"\\\\\\x1e')"]),
    },
    "times": {
        "date_": (sa.Date(), ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"]),
        "time_": (sa.Time(), ["'12:34:56.789012'", "'00:00'"]),
        "timetz": (sa.Time(timezone=True), ["'12:34:56.7+05:30'", "'00:00-12'"]),
        "timestamp_": (sa.DateTime(), ["'2024-02-29 12:34:56.789012'", "'0001-01-01'", "'9999-12-31 23:59:59.999999'"]),
        "timestamptz": (sa.DateTime(timezone=True), ["'2024-03-31 01:30:00.123456+00'", "'1900-01-01 00:00+02:03'"]),
        "rounded": (pg.TIMESTAMP(precision=0), ["'2024-02-29 12:34:56.9'"]),
        "interval_": (pg.INTERVAL(), ["'-1 day 02:03:04.5'", "'1 year 2 mons -3 days'", "'0'", "'-00:00:00.000001'", "'900 days 25:00'"]),
        "sa_interval": (sa.Interval(), ["'-1 day 02:03:04.5'", "'0'"]),
        "epoch_interval": (sa.Interval(native=False), ["'1970-01-02 00:00:01'"]),
        "daterange": (pg.DATERANGE(), ["'[2024-01-01,2024-02-01)'", "'empty'", "'(,)'", "'[,2024-01-01]'"]),
        "tsrange": (pg.TSRANGE(), ["'[2024-01-01 12:00,2024-02-01)'", "'(2024-01-01,)'"]),
        "tstzrange": (pg.TSTZRANGE(), ["'[2024-01-01 12:00+02,2024-02-01 00:00+00)'"]),
        "dates": (pg.ARRAY(sa.Date()), ["'{2024-02-29,NULL}'"]),
        "timestamps": (pg.ARRAY(sa.DateTime()), ["'{2024-02-29 12:34:56.7}'"]),
        "timestamptzs": (pg.ARRAY(sa.DateTime(timezone=True)), ["'{2024-02-29 12:34:56.7+03}'", "'{}'"]),
        "intervals": (pg.ARRAY(pg.INTERVAL()), ["'{-1 day 02:03:04.5,1 mon}'"]),
        "datemultirange": (pg.DATEMULTIRANGE(), ["'{[2024-01-01,2024-02-01),[2025-01-01,)}'", "'{}'"]),
        "tsmultirange": (pg.TSMULTIRANGE(), ["'{[2024-01-01 12:00,2024-02-01)}'"]),
        "tstzmultirange": (pg.TSTZMULTIRANGE(), ["'{[2024-01-01 12:00+00,2024-02-01 00:00+00)}'"]),
    },
    "documents": {
        "json_": (sa.JSON(), ["'{\"b\": 1, \"a\": [1.10, \"é\", null]}'", "'null'", "' \n1 '", "'\"\"'", "'[]'"]),
        "jsonb_": (pg.JSONB(), ["'{\"b\": 1, \"a\": [1.10, \"\\u001b\\u001e\", null]}'", "'null'", "'true'", "'\"NULL\"'"]),
        "json_none": (sa.JSON(none_as_null=True), ["'null'", "'{}'"]),
        "jsonb_none": (pg.JSONB(none_as_null=True), ["'null'", "'0'"]),
        "jsons": (pg.ARRAY(pg.JSONB()), ["array['{\"a\": 1}', NULL, '[]']::jsonb[]"]),
        "jsonpath_": (pg.JSONPATH(), ["'$.a[*] ? (@ > 1)'"]),
        "tsvector_": (pg.TSVECTOR(), ["to_tsvector('english', 'the quick ''brown'' foxes')", "''"]),
        "tsquery_": (pg.TSQUERY(), ["'a & !b | c'", "''"]),
        "variant": (sa.String().with_variant(pg.JSONB(), "postgresql"), ["'{\"a\": 1}'"]),
    },
    "regclass": {"regclass": (pg.REGCLASS(), ["'t'", "'\"Odd table\"'"])},
    "xml": {"xml_": (Raw("xml"), [XML, "''::xml", "xmlparse(content 'a<b/>')"])},
    "network and shapes": {
        "inet_": (pg.INET(), ["'10.0.0.1'", "'10.0.0.1/8'", "'::1/128'"]),
        "cidr_": (pg.CIDR(), ["'10.0.0.0/8'", "'10.0.0.1/32'", "'::/0'"]),
        "macaddr_": (pg.MACADDR(), ["'08:00:2b:01:02:03'"]),
        "macaddr8_": (pg.MACADDR8(), ["'08:00:2b:01:02:03:04:05'"]),
        "inets": (pg.ARRAY(pg.INET()), ["'{10.0.0.1,10.0.0.0/8}'"]),
        "point_": (Raw("point"), ["'(0.1,1e300)'"]),
        "polygon_": (Raw("polygon"), ["'((0,0),(0.1,1),(1,0))'"]),
        "composite": (Raw("pair"), ["row(1, 'x')", "row(NULL, NULL)", "row(0.1, ',()\"')"]),
        "composites": (Raw("pair[]"), ["array[row(1, 'x'), NULL]::pair[]"]),
        "domain_": (pg.DOMAIN("positive", sa.Integer()), ["1"]),
        "text_domain": (pg.DOMAIN("words", sa.Text()), ODD_TEXTS),
        "domain_of_domain": (Raw("more_positive"), ["7"]),
        "domains": (pg.ARRAY(Raw("positive")), ["'{1,2}'"]),
    },
    "arrays and ranges": {
        "ints": (pg.ARRAY(sa.Integer()), ["'{1,NULL,-3}'", "'{}'", "'[5:6]={1,2}'"]),
        "matrix": (pg.ARRAY(sa.Integer(), dimensions=2), ["'{{1,2},{3,4}}'"]),
        "cube_": (sa.ARRAY(sa.Text()), ["'{{{a,\"b,c\"},{\"\",\"NULL\"}},{{NULL,\"{\"},{\"\\\\\",\"\\\"\"}}}'"]),
        "tuples": (pg.ARRAY(sa.Integer(), as_tuple=True), ["'{1,2}'"]),
        "texts": (pg.ARRAY(sa.Text()), [f"array[{ODD_TEXT}, '', NULL, 'NULL']"]),
        "floats": (pg.ARRAY(sa.Double()), ["'{0.1,NaN,-Infinity,0.30000000000000004}'"]),
        "reals": (pg.ARRAY(sa.REAL()), ["'{0.1,3.4028235e38}'"]),
        "numerics": (pg.ARRAY(sa.Numeric(10, 2)), ["'{1.10,NaN}'"]),
        "uuids": (pg.ARRAY(sa.Uuid()), ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
        "blobs": (pg.ARRAY(sa.LargeBinary()), ["array['\\x00ff'::bytea, '\\x']"]),
        "enums": (pg.ARRAY(sa.Enum(Color, name="color_of_array")), ["'{RED,NULL,BLUE}'", "'{}'"]),
        "plain_enums": (pg.ARRAY(pg.ENUM("a b", "c,d", "", name="plain_of_array")), ["array['a b', 'c,d', '']::plain_of_array[]"]),
        "decorateds": (pg.ARRAY(Mapping()), ["'{a,NULL}'"]),
        "int4range": (pg.INT4RANGE(), ["'[1,5]'", "'empty'", "'(,3)'"]),
        "int8range": (pg.INT8RANGE(), ["'[1,9223372036854775806]'"]),
        "numrange": (pg.NUMRANGE(), ["'(0.10,2.5]'", "'(,)'"]),
        "ranges": (pg.ARRAY(pg.INT4RANGE()), ["array['[1,5)', 'empty']::int4range[]"]),
        "int4multirange": (pg.INT4MULTIRANGE(), ["'{[1,5),[7,9)}'", "'{}'"]),
        "int8multirange": (pg.INT8MULTIRANGE(), ["'{[1,5)}'"]),
        "nummultirange": (pg.NUMMULTIRANGE(), ["'{(0.10,2.5]}'"]),
    },
}  # fmt: skip


NEEDED = (
    'CREATE TABLE "Odd table" ()',
    "CREATE TYPE pair AS (a numeric, b text)",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN more_positive AS positive CHECK (VALUE > 5)",
)


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(7)
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
@pytest.mark.parametrize("group", GROUPS)
def test_values_equal_a_select(engine, url, kind, group, durable):
    """INSERT, UPDATE (old and new) and DELETE bring each type's values, NULL included, as a SELECT
    of the same rows gives them, although the writer's session writes dates, numbers and bytes
    differently."""
    run(engine, *NEEDED)
    cases = GROUPS[group]
    if group == "extensions":
        install_extension(engine, "hstore")
        install_extension(engine, "citext")
    if group == "xml":
        try:
            run(engine, f"SELECT {XML}")
        except NotSupportedError:
            pytest.skip("this server was built without libxml")
    Thing = thing_class({name: type_ for name, (type_, _) in cases.items()}, durable=durable)
    reader = kind.engine(url)  # it sees the extensions from its first connection on
    Thing.metadata.create_all(engine)
    rows = max(len(literals) for _, literals in cases.values())

    def values(row: int) -> list[str]:
        return [literals[row % len(literals)] for _, literals in cases.values()]

    names = ", ".join(cases)
    inserts = [
        f"INSERT INTO public.t (id, {names}) VALUES ({i}, {', '.join(values(i))})"
        for i in range(rows)
    ]
    inserts.append(f"INSERT INTO public.t (id) VALUES ({rows})")
    moved = ", ".join(f"{name} = {value}" for name, value in zip(cases, values(0)))
    updates = [
        f"UPDATE public.t SET ({names}) = (SELECT {names} FROM public.t WHERE id = {i + 1}) WHERE id = {i}"
        for i in range(rows)
    ]
    with kind.listener(reader, Thing) as listener:
        run(engine, *ODD_SESSION, *inserts)
        inserted, before = take(listener, rows + 1), attributes_of(kind, reader, Thing)
        run(engine, *ODD_SESSION, *updates, f"UPDATE public.t SET {moved} WHERE id = {rows}")
        updated, after = take(listener, rows + 1), attributes_of(kind, reader, Thing)
        run(engine, *ODD_SESSION, "DELETE FROM public.t")
        deleted = sorted(take(listener, rows + 1), key=lambda event: event.identity)
    kinds = [{type(event) for event in events} for events in (inserted, updated, deleted)]
    assert kinds == [{Inserted}, {Updated}, {Deleted}]
    assert row_differences(inserted, "new", before) == {}
    assert row_differences(updated, "old", before) == {}
    assert row_differences(updated, "new", after) == {}
    assert row_differences(deleted, "old", after) == {}
    for event, old, new in zip(updated, before, after):
        assert event.changed >= {name for name in cases if not same(old[name], new[name])}
    for event in updated[:-2]:
        assert event.changed <= {name for name, (_, literals) in cases.items() if len(literals) > 1}


@pytest.mark.parametrize("time_zone", ["America/St_Johns", "Asia/Tokyo"])
def test_values_in_the_readers_time_zone(url, engine, kind, time_zone):
    """Moments are the same moments where the reader's sessions have a time zone of their own."""
    Thing = thing_class(
        {
            "at": sa.DateTime(timezone=True),
            "during": pg.TSTZRANGE(),
            "all_at": pg.ARRAY(sa.DateTime(timezone=True)),
        }
    )
    settings = (
        {"server_settings": {"TimeZone": time_zone}}
        if kind.driver == "asyncpg"
        else {"options": f"-c TimeZone={time_zone}"}
    )
    reader = kind.engine(url, connect_args=settings)
    Thing.metadata.create_all(engine)
    with kind.listener(reader, Thing) as listener:
        run(engine, "INSERT INTO t VALUES ('2024-03-31 12:00+02', '[2024-01-01 00:00+00,)', '{2024-01-01 00:00+00}', 1)".replace(
            "t VALUES", "t (at, during, all_at, id) VALUES"))  # fmt: skip
        events = take(listener, 1)
    assert row_differences(events, "new", attributes_of(kind, reader, Thing)) == {}


def test_identity_is_what_session_get_takes(engine):
    """The identity is made of Python values in the mapper's order, for keys of types that are not
    plain."""

    class Base(DeclarativeBase):
        pass

    class Thing(NotifyOnChange, Base):
        __tablename__ = "t"
        word: Mapped[str] = mapped_column(sa.String, primary_key=True)
        key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        day: Mapped[dt.date] = mapped_column(primary_key=True)
        color: Mapped[Color] = mapped_column(primary_key=True)
        amount: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(5, 2), primary_key=True)

    Base.metadata.create_all(engine)
    made = Thing(
        word="\x1f",
        key=uuid.uuid4(),
        day=dt.date(2024, 2, 29),
        color=Color.BLUE,
        amount=decimal.Decimal("1.10"),
    )
    with Session(engine, expire_on_commit=False) as session, Listener(engine, Thing) as listener:
        session.add(made)
        session.commit()
        (event,) = take(listener, 1)
        assert same(event.identity, (made.word, made.key, made.day, made.color, made.amount))
        assert session.get(Thing, event.identity) is made


def test_mutable_columns_of_an_instance(engine):
    """MutableDict and MutableList in an object made of an event track changes, as in one that was
    loaded."""

    class Base(DeclarativeBase):
        pass

    class Thing(NotifyOnChange, Base):
        __tablename__ = "t"
        __notify__ = NotifySpec(values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(pg.JSONB))
        items: Mapped[list[int]] = mapped_column(MutableList.as_mutable(pg.ARRAY(sa.Integer)))

    Base.metadata.create_all(engine)
    with Listener(engine, Thing) as listener:
        run(engine, """INSERT INTO t VALUES (1, '{"a": 1}', '{1,2}')""")
        (event,) = take(listener, 1)
    held = event.instance()
    assert (type(held.data), type(held.items)) == (MutableDict, MutableList)
    held.data["b"] = 2
    held.items.append(3)
    with Session(engine) as session:
        session.add(held)
        assert session.is_modified(held)
        session.commit()
    with engine.connect() as connection:
        assert tuple(connection.execute(text("SELECT data, items FROM t")).one()) == (
            {"a": 1, "b": 2},
            [1, 2, 3],
        )
