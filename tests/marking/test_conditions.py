"""What a condition of a NotifySpec means, whatever it compares with."""

import datetime as dt
import decimal

import pytest
import sqlalchemy as sa
from receiving import received, until_end
from spec_orders import FOUR, installed
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
)
from statements import run

from sa_pgnotify import (
    Deleted,
    Inserted,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    check,
    notify_on_change,
)

CONDITIONS = {
    "greater": (lambda old, new: new.qty > old.qty, ["U 1 2"]),
    "insert only": (lambda old, new: old.id.is_(None), ["I 1"]),
    "delete only": (lambda old, new: new.id.is_(None), ["D None"]),
    "either": (
        lambda old, new: sa.func.coalesce(new.qty, old.qty, 0) < 2,
        ["I 1", "U 2 1", "U 1 None", "D None"],
    ),
    "unknown": (lambda old, new: sa.and_(new.qty == old.qty), []),
    "all": (lambda old, new: sa.true(), ["I 1", "U 1 2", "U 2 1", "U 1 None", "D None"]),
    "none": (lambda old, new: sa.false(), []),
    "text": (lambda old, new: sa.text("new_row.qty % 2 = 0"), ["U 1 2"]),
    "precedence": (lambda old, new: sa.or_(new.qty == 2, old.qty == 2), ["U 1 2", "U 2 1"]),
}


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.parametrize(("when", "expected"), CONDITIONS.values(), ids=CONDITIONS.keys())
def test_when(engine, when, expected):
    """Changes are published if the condition is true, and not if it is false or NULL. The absent
    row is all NULL. TRUNCATE is always published."""
    Order = installed(engine, NotifySpec(when=when, values=("qty",)))
    updates = [f"UPDATE orders SET qty = {qty}" for qty in ("2", "1", "NULL")]
    *events, last = received(engine, Order, FOUR[0], *updates, *FOUR[2:])
    assert isinstance(last, Truncated)
    found = [
        " ".join(
            [
                type(e).__name__[0],
                *(str(getattr(e, r)["qty"]) for r in ("old", "new") if hasattr(e, r)),
            ]
        )
        for e in events
    ]
    assert found == expected


def test_when_with_correlated_subqueries(engine):
    """A condition may look into other tables, correlated to old and new, wherever the writer's
    search_path points."""

    class Base(DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customers"
        id: Mapped[int] = mapped_column(primary_key=True)
        vip: Mapped[bool]

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(
            when=lambda old, new: sa.or_(
                sa.select(Customer.vip).where(Customer.id == new.customer).scalar_subquery(),
                sa.exists().where(Customer.id == old.customer, Customer.vip),
            )
        )
        id: Mapped[int] = mapped_column(primary_key=True)
        customer: Mapped[int]

    Base.metadata.create_all(engine)
    run(
        engine,
        "INSERT INTO customers VALUES (1, true), (2, false)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.customers ()",
    )
    events = received(
        engine,
        Order,
        "SET LOCAL search_path = other",
        "INSERT INTO public.orders VALUES (1, 1), (2, 2), (3, 2)",
        "UPDATE public.orders SET customer = 3 - customer WHERE id < 3",
        "DELETE FROM public.orders",
    )
    assert [(type(e), e.identity) for e in events] == [
        (Inserted, (1,)),
        (Updated, (1,)),
        (Updated, (2,)),
        (Deleted, (2,)),
    ]


AWKWARD = [
    "it's", "''", "\\", "\\'", "a\\nb", "100%", "%s %(a)s %%", ":a ::b", '"', "$$", "$function$", "$sa_pgnotify$", "ü € 🎉", "line\n\ttab", "{a} {}",
    "--", "/*", "\x1b\x1e\x1f", " ",
]  # fmt: skip


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_literals_in_when(url, conforming):
    """Any text may be compared with in a condition: it means the same to the trigger as to the
    program, under both string syntaxes."""
    options = {
        "options": f"-c standard_conforming_strings={conforming} -c escape_string_warning=off"
    }
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
    Order = installed(
        engine,
        NotifySpec(
            when=lambda old, new: new.status.in_(AWKWARD),
            values=("status",),
            channel="back\\slash's",
        ),
    )
    with Listener(engine, Order, "end_of_test") as listener:
        with engine.begin() as connection:
            texts = [*AWKWARD, "other", "100", "\\\\", "'"]
            connection.execute(sa.insert(Order.__table__), [{"status": text} for text in texts])
        assert [e.new["status"] for e in until_end(engine, listener)] == AWKWARD
    engine.dispose()


@pytest.mark.parametrize("writing", ["on", "off"])
@pytest.mark.parametrize("installing", ["on", "off"])
def test_backslashes_under_both_string_syntaxes(url, installing, writing):
    """Names with backslashes mean the same, whichever string syntax the installing and the writing
    session use."""
    name = "back\\slash'\\n"
    engines = [
        sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={"options": f"-c standard_conforming_strings={syntax}"},
        )
        for syntax in (installing, writing)
    ]
    table = sa.Table(name, sa.MetaData(), sa.Column(name, sa.Integer, primary_key=True))
    notify_on_change(table, NotifySpec(channel=name))
    table.metadata.create_all(engines[0])
    (insert,) = received(engines[1], table, f'INSERT INTO "{name}" VALUES (1)')
    assert insert.new == {name: 1}
    assert [check(engine, table.metadata) for engine in engines] == [[], []]


def test_typed_literals_in_when(engine):
    """Dates, numbers, booleans and NULL may be compared with."""

    class Base(DeclarativeBase):
        pass

    class Bill(NotifyOnChange, Base):
        __tablename__ = "bills"
        __notify__ = NotifySpec(
            when=lambda old, new: sa.and_(
                new.day == dt.date(2024, 2, 29),
                new.at > dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
                new.sum.in_([decimal.Decimal("1.50"), -2]),
                new.paid == False,  # noqa: E712
                new.note == None,  # noqa: E711
                new.data["a"].as_string() == "b",
            )
        )
        id: Mapped[int] = mapped_column(primary_key=True)
        day: Mapped[dt.date]
        at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))
        sum: Mapped[decimal.Decimal]
        paid: Mapped[bool]
        note: Mapped[str | None]
        data: Mapped[dict] = mapped_column(JSONB)

    Base.metadata.create_all(engine)
    rows = [
        f"""({i}, '2024-02-29', '2024-03-01', {s}, false, NULL, '{{"a": "b"}}')"""
        for i, s in enumerate(("1.5", "-2", "3"))
    ]
    assert [
        e.identity for e in received(engine, Bill, f"INSERT INTO bills VALUES {', '.join(rows)}")
    ] == [(0,), (1,)]
