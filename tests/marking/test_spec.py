"""What a NotifySpec means: operations, values, update_of and channels."""

import pytest
import sqlalchemy as sa
from receiving import received
from spec_orders import FOUR, installed
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import NotSupportedError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
)
from sqlalchemy.types import UserDefinedType
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Notification,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
)

KINDS = {"insert": Inserted, "update": Updated, "delete": Deleted, "truncate": Truncated}


@pytest.mark.parametrize(
    "operations", [*((name,) for name in KINDS), ("delete", "insert"), list(KINDS)], ids=", ".join
)
def test_operations(engine, operations):
    """Only the requested operations are published and have triggers; their order in the spec means
    nothing."""
    Order = installed(engine, NotifySpec(operations=operations))
    assert [type(e) for e in received(engine, Order, *FOUR)] == [
        kind for name, kind in KINDS.items() if name in operations
    ]
    with engine.connect() as connection:
        found = connection.scalars(
            sa.text(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal"
            )
        )
        assert set(found) == {f"sa_pgnotify_{name}" for name in operations}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((), {"id"}),
        (("qty",), {"id", "qty"}),
        (["qty", "id"], {"id", "qty"}),
        ("all", {"id", "status", "qty"}),
    ],
)
def test_values(engine, values, names):
    """The identity and the values asked for travel, before and after, and no others; the names of
    what changed always do."""
    Order = installed(engine, NotifySpec(values=values))
    insert, update, delete, _ = received(engine, Order, *FOUR)
    before = {"id": 1, "status": "new", "qty": 1}
    after = before | {"status": "paid"}
    assert insert.new == update.old == {name: before[name] for name in names}
    assert update.new == delete.old == {name: after[name] for name in names}
    assert update.changed == {"status"}


class Xml(UserDefinedType):
    cache_ok = True

    def get_col_spec(self, **_):
        return type(self).__name__


class Point(Xml):
    pass


CHANGES = [
    (sa.JSON(), """'{"a": 1}'""", """'{"a":2}'"""), (JSONB(), """'{"a": 1}'""", """'{"a":2}'"""), (Xml(), "'<a/>'", "'<b/>'"),
    (Point(), "'(1,2)'", "'(1,3)'"), (sa.Text(), "'a'", "'A'"), (sa.CHAR(4), "'a'", "'b'"), (sa.Numeric(), "1.0", "1.00"),
    (sa.ARRAY(sa.Integer), "'{1,2}'", "'{2,1}'"), (sa.Float(), "'NaN'", "'Infinity'"), (sa.LargeBinary(), r"'\x00'", r"'\x01'"),
    (sa.Text(), "NULL", "''"), (sa.JSON(), "NULL", "'null'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "one", "two"),
    CHANGES,
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_update_of_goes_by_real_change(engine, type_, one, two):
    """An UPDATE is published if it changed one of the attributes, for types without an equality
    too, and not if it wrote the same value."""

    class Base(DeclarativeBase):
        pass

    class Doc(NotifyOnChange, Base):
        __tablename__ = "docs"
        __notify__ = NotifySpec(update_of=("body",))
        id: Mapped[int] = mapped_column(primary_key=True)
        body = mapped_column("the body", type_)
        other: Mapped[int | None]

    Base.metadata.create_all(engine)
    if type(type_) is Xml:
        try:
            run(engine, "SELECT '<a/>'::xml")
        except NotSupportedError:
            pytest.skip("this server was built without libxml")
    run(
        engine,
        *(
            f'INSERT INTO docs (id, "the body", other) VALUES ({i}, {body}, {i})'
            for i, body in ((1, one), (2, two))
        ),
    )
    set_to = 'UPDATE docs SET "the body" = {}, other = other + 1'.format
    events = received(
        engine,
        Doc,
        set_to('"the body"'),
        "UPDATE docs SET other = 0",
        set_to(one),
        set_to(one),
        set_to(two),
    )
    assert [(e.identity, e.changed) for e in events] == [
        ((2,), {"body", "other"}),
        ((1,), {"body", "other"}),
        ((2,), {"body", "other"}),
    ]


@pytest.mark.parametrize(
    "channel",
    [
        "orders",
        "Mixed Case",
        'qu"ot',
        "it's",
        "ü" * 31,
        "x" * 63,
        "back\\slash",
        "100%s",
        "$$",
        "select",
        "{a}",
    ],
)
def test_channel(engine, channel):
    """Events go to the channel that the spec names, as it is written, and the listener finds them
    there."""
    Order = installed(engine, NotifySpec(channel=channel))
    assert [e.identity for e in received(engine, Order, FOUR[0])] == [(1,)]
    (raw,) = received(engine, channel, FOUR[0])
    assert isinstance(raw, Notification)
    assert raw.channel == channel


def test_two_tables_on_one_channel(engine):
    """Tables that share a channel are distinguished, and their events keep their common order."""

    class Base(DeclarativeBase):
        pass

    class A(NotifyOnChange, Base):
        __tablename__ = "a"
        __notify__ = NotifySpec(channel="shared", values="all")
        id: Mapped[int] = mapped_column(primary_key=True)

    class B(NotifyOnChange, Base):
        __tablename__ = "b"
        __notify__ = NotifySpec(channel="shared")
        key: Mapped[str] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    statements = ["INSERT INTO b VALUES ('x')", "INSERT INTO a VALUES (1)", "DELETE FROM b"]
    assert [(e.entity, e.identity) for e in received(engine, Base, *statements)] == [
        (B, ("x",)),
        (A, (1,)),
        (B, ("x",)),
    ]
    run(engine, "TRUNCATE a")
    assert [(e.entity, e.identity) for e in received(engine, A, *statements)] == [(A, (1,))]
