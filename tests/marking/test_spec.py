"""What a NotifySpec means, and that what it cannot mean is refused where it is declared."""

import datetime as dt
import decimal
import threading
from contextlib import nullcontext, suppress

import pytest
import sqlalchemy as sa
from receiving import received, until_end
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError, NotSupportedError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    configure_mappers,
    mapped_column,
    relationship,
)
from sqlalchemy.types import UserDefinedType
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Inserted,
    Listener,
    Notification,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    Truncated,
    Updated,
    change_context,
    check,
    notify_on_change,
)


def order(spec: object, *above: type) -> type:
    """A new class Order with ``spec``, on a base of its own."""

    class Base(DeclarativeBase):
        pass

    class Order(*above, NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str | None]
        qty: Mapped[int | None]
        items: Mapped[list["Item"]] = relationship()

    class Item(Base):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))

    configure_mappers()
    return Order


def installed(engine: sa.Engine, spec: NotifySpec) -> type:
    Order = order(spec)
    Order.metadata.create_all(engine)
    assert check(engine, Order.metadata) == []
    return Order


# -- what is refused -------------------------------------------------------------------------------

BAD_SPECS = {
    "unknown operation": ({"operations": ("upsert",)}, "insert, update, delete, truncate"),
    "operation of another type": (
        {"operations": ("upsert", 1)},
        "insert, update, delete, truncate",
    ),
    "operations is a string": ({"operations": "insert"}, "('insert',)"),
    "no operation": ({"operations": ()}, "__notify__ = None"),
    "operations is None": ({"operations": None}, "operations"),
    "values is a string": ({"values": "status"}, "('status',)"),
    "values is a number": ({"values": 1}, "values"),
    "values is None": ({"values": None}, "values"),
    "update_of is a string": ({"update_of": "status"}, "('status',)"),
    "when is SQL text": ({"when": "new.status = 'x'"}, "function of (old, new)"),
    "channel is empty": ({"channel": ""}, "1 to 63"),
    "channel of 64 bytes": ({"channel": "c" * 64}, "1 to 63"),
    "channel of 64 bytes in UTF-8": ({"channel": "ü" * 32}, "1 to 63"),
    "channel with NUL": ({"channel": "a\0b"}, "NUL"),
    "channel that UTF-8 has not": ({"channel": "\ud800"}, "channel"),
    "channel is no string": ({"channel": 7}, "channel"),
}


@pytest.mark.parametrize(("arguments", "fix"), BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_bad_spec_is_refused_at_construction(arguments, fix):
    """What can work on no table is refused by NotifySpec itself, with the fix."""
    with pytest.raises(NotifyConfigError) as caught:
        NotifySpec(**arguments)
    assert caught.value.subject == "NotifySpec"
    assert fix in str(caught.value)


class Elsewhere:
    """Columns that are not those of old and new."""

    status = sa.table("orders", sa.column("id"), sa.column("status")).c.status

    @staticmethod
    def both(one, other):
        return one and other


BAD_FOR_CLASS = {
    "no NotifySpec": ("insert", "NotifySpec"),
    "unknown value": (NotifySpec(values=("status", "statos")), "id, qty, status"),
    "relationship as value": (NotifySpec(values=("items",)), "id, qty, status"),
    "value is no name": (NotifySpec(values=(1,)), "id, qty, status"),
    "unknown in update_of": (NotifySpec(update_of=("statos",)), "id, qty, status"),
    "unknown in when": (NotifySpec(when=lambda old, new: new.statos == "x"), "id, qty, status"),
    "when gives a bool": (NotifySpec(when=lambda old, new: True), "SQL expression"),
    "when gives nothing": (NotifySpec(when=lambda old, new: None), "SQL expression"),
    "when gives a string": (NotifySpec(when=lambda old, new: "new.status = 'x'"), "SQL expression"),
    "when takes one argument": (NotifySpec(when=lambda new: new.status == "x"), "(old, new)"),
    "when uses Python's and": (
        NotifySpec(when=lambda old, new: new.qty > 1 and old.qty > 1),
        "and_()",
    ),
    "and of ==": (NotifySpec(when=lambda old, new: new.qty == 1 and old.qty == 1), "and_()"),
    "or of ==": (NotifySpec(when=lambda old, new: new.qty == 1 or old.qty == 1), "and_()"),
    "and of !=": (NotifySpec(when=lambda old, new: new.qty != 1 and old.qty != 1), "and_()"),
    "or of !=": (NotifySpec(when=lambda old, new: new.qty != 1 or old.qty != 1), "and_()"),
    "not": (NotifySpec(when=lambda old, new: not (new.qty == 1)), "not_()"),
    "chained ==": (NotifySpec(when=lambda old, new: new.qty == old.qty == 1), "and_()"),
    "chained <": (NotifySpec(when=lambda old, new: 1 < new.qty < 5), "and_()"),
    "in a tuple": (NotifySpec(when=lambda old, new: new.status in ("a", "b")), "and_()"),
    "if": (
        NotifySpec(when=lambda old, new: new.qty > 1 if new.status == "a" else new.qty > 2),
        "and_()",
    ),
    "all()": (NotifySpec(when=lambda old, new: all([new.qty == 1, old.qty == 1])), "and_()"),
    "filter()": (
        NotifySpec(when=lambda old, new: sa.and_(*filter(None, [new.qty != 1, new.qty == 2]))),
        "and_()",
    ),
    "and of functions": (
        NotifySpec(when=lambda old, new: sa.func.lower(new.status) == "x" and new.qty > 1),
        "and_()",
    ),
    "and of casts": (
        NotifySpec(when=lambda old, new: sa.cast(new.status, sa.Integer) == 1 and new.qty > 1),
        "and_()",
    ),
    "and of sums": (
        NotifySpec(when=lambda old, new: new.qty + old.qty + 1 != 1 and new.qty > 1),
        "and_()",
    ),
    "and of literals": (
        NotifySpec(when=lambda old, new: sa.literal(1) == new.qty and new.qty > 1),
        "and_()",
    ),
    "and of CASE": (
        NotifySpec(when=lambda old, new: sa.case((new.qty > 1, 1), else_=0) == 1 and new.qty > 1),
        "and_()",
    ),
    "and within a call": (
        NotifySpec(when=lambda old, new: sa.or_(new.qty == 1 and old.qty == 1, new.qty == 2)),
        "and_()",
    ),
    "and within a subquery": (
        NotifySpec(
            when=lambda old, new: sa.exists(
                sa.select(1).where(Elsewhere.status == new.status and new.qty == 1)
            )
        ),
        "and_()",
    ),
    "and in a helper": (
        NotifySpec(when=lambda old, new: Elsewhere.both(new.qty == 1, old.qty == 1)),
        "and_()",
    ),
    "when uses another table": (
        NotifySpec(when=lambda old, new: Elsewhere.status == "x"),
        "old and new",
    ),
    "when uses a class not yet made": (
        NotifySpec(when=lambda old, new: NotYet.status == "x"),  # noqa: F821
        "old and new",
    ),
    "unbound parameter": (
        NotifySpec(when=lambda old, new: new.status == sa.bindparam("wanted")),
        "literal",
    ),
    "unrenderable literal": (NotifySpec(when=lambda old, new: new.status == object()), "literal"),
    "unrenderable type": (
        NotifySpec(when=lambda old, new: sa.literal(object(), sa.PickleType()) == new.status),
        "literal",
    ),
}


@pytest.mark.parametrize(("spec", "fix"), BAD_FOR_CLASS.values(), ids=BAD_FOR_CLASS.keys())
def test_bad_spec_for_a_class_is_refused_with_the_class(spec, fix):
    """What cannot work on a class is refused when it is mapped, naming the class and the fix."""
    with pytest.raises(NotifyConfigError) as caught:
        order(spec)
    assert caught.value.subject == "Order"
    assert str(caught.value).startswith("Order: ")
    assert fix in str(caught.value)


def test_comparisons_have_a_truth_again_behind_when():
    """Only while a condition is built, in its thread, is Python's ``and`` refused: a program's own
    comparisons are as ever, afterwards and in other threads, and so are those of SQLAlchemy
    itself."""
    a, b = sa.column("a"), sa.column("b")
    heard = []

    def when(old, new):
        other = threading.Thread(target=lambda: heard.append(bool(a == b)))
        other.start()
        other.join()
        assert len({new.qty, old.qty, new.status}) == 3
        return sa.and_(
            sa.tuple_(new.qty, old.qty).in_([(1, 2)]), sa.select(a).where(a == new.qty).exists()
        )

    order(NotifySpec(when=when))
    assert heard == [False]
    answer = sa.BinaryExpression.__bool__
    with suppress(NotifyConfigError):
        order(NotifySpec(when=lambda old, new: new.qty == 1 and old.qty == 1))
    assert bool(a == b) is False
    assert bool(a != b) is True
    assert answer is sa.BinaryExpression.__bool__
    assert answer.__module__.startswith("sqlalchemy.")


def test_when_with_the_tables_own_columns_is_refused():
    """A condition over the table itself, which would be true for other rows, is refused for Core
    tables too."""
    orders = sa.Table(
        "orders",
        sa.MetaData(schema="shop"),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("status", sa.Text),
    )
    with pytest.raises(NotifyConfigError, match=r"^shop\.orders: .*old and new"):
        notify_on_change(orders, NotifySpec(when=lambda old, new: orders.c.status == "x"))
    with pytest.raises(NotifyConfigError, match=r"^shop\.orders: .*old and new"):
        notify_on_change(orders, NotifySpec(when=lambda old, new: orders.c.status == new.status))
    notify_on_change(orders)  # a refused declaration leaves no trace


BAD_TABLES = {
    "no primary key": (sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer)), "primary key"),
    **{
        prefix: (
            sa.Table(
                "t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), prefixes=[prefix]
            ),
            "temporary",
        )
        for prefix in ("TEMPORARY", "temp", "LOCAL TEMPORARY", "GLOBAL TEMP")
    },
}


@pytest.mark.parametrize(("table", "fix"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_tables_that_cannot_be_marked(table, fix):
    """Tables without a primary key and temporary tables are refused, in Core and mapped."""

    class Base(DeclarativeBase):
        pass

    members = {"__table__": table, "__mapper_args__": {"primary_key": [table.c.id]}}
    if fix == "temporary":
        with pytest.raises(NotifyConfigError, match=rf"^Mapped: .*{fix}|^t: .*{fix}"):
            type("Mapped", (NotifyOnChange, Base), members)
    with pytest.raises(NotifyConfigError, match=rf"^t: .*{fix}"):
        notify_on_change(table)


def test_a_mapping_to_a_join_is_refused():
    """No trigger can watch a join: the class is refused, with the way out."""

    class Base(DeclarativeBase):
        pass

    a = sa.Table("a", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    b = sa.Table("b", Base.metadata, sa.Column("id", sa.ForeignKey("a.id"), primary_key=True))
    with pytest.raises(NotifyConfigError, match=r"^Both: .*notify_on_change\(\)"):

        class Both(NotifyOnChange, Base):
            __table__ = a.join(b)
            id = sa.orm.column_property(a.c.id, b.c.id)


NO_TARGETS = {
    "a name": ("orders", "'orders': it is not a Table, a mapped class or a MetaData"),
    "a class that is not mapped": (DeclarativeBase, "DeclarativeBase: it is not a Table"),
    "an opted-out class": (lambda: order(None), "Order: its __notify__ is None, which opts it out"),
}


@pytest.mark.parametrize(("target", "problem"), NO_TARGETS.values(), ids=NO_TARGETS)
def test_what_cannot_be_marked_is_refused(target, problem):
    """notify_on_change says what it takes, and not AttributeError."""
    with pytest.raises(NotifyConfigError, match=problem):
        notify_on_change(target() if isinstance(target, type(lambda: 0)) else target)
    with pytest.raises(NotifyConfigError, match="t: 'all' is not a NotifySpec. Write NotifySpec"):
        notify_on_change(
            sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)), "all"
        )
    with pytest.raises(NotifyConfigError, match="t: skip leaves tables of a MetaData out"):
        notify_on_change(
            sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)), skip=("t",)
        )


INSERTS, UPDATES = NotifySpec(operations=("insert",)), NotifySpec(operations=("update",))


def core_twice():
    table = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    # twice the same is no contradiction
    notify_on_change(notify_on_change(table, INSERTS), INSERTS)
    notify_on_change(table, UPDATES)


def class_then_core():
    notify_on_change(order(INSERTS).__table__, UPDATES)


def core_then_class():
    class Base(DeclarativeBase):
        pass

    table = notify_on_change(
        sa.Table("orders", Base.metadata, sa.Column("id", sa.Integer, primary_key=True)), INSERTS
    )
    type("Order", (NotifyOnChange, Base), {"__table__": table, "__notify__": UPDATES})


def single_table_child():
    members = {"__mapper_args__": {"polymorphic_identity": "b"}, "__notify__": UPDATES}
    Parent = order(
        INSERTS,
        type(
            "Mixin",
            (),
            {"__mapper_args__": {"polymorphic_on": "status", "polymorphic_identity": "a"}},
        ),
    )
    type("Child", (Parent,), members)


def joined_siblings():
    Parent = order(
        None,
        type(
            "Mixin",
            (),
            {"__mapper_args__": {"polymorphic_on": "status", "polymorphic_identity": "a"}},
        ),
    )
    for name, spec in (("order_1", INSERTS), ("order_2", UPDATES)):
        key = mapped_column(sa.ForeignKey("orders.id"), primary_key=True)
        members = {
            "__tablename__": name,
            "id": key,
            "__notify__": spec,
            "__mapper_args__": {"polymorphic_identity": name},
        }
        type(name, (Parent,), members)


@pytest.mark.parametrize(
    "declare", [core_twice, class_then_core, core_then_class, single_table_child, joined_siblings]
)
def test_contradicting_declarations_of_one_table_are_refused(declare):
    """Two declarations of one table that say different things are refused in whatever order they
    come."""
    with pytest.raises(NotifyConfigError, match=r"orders.*(Mark it once|same __notify__)"):
        declare()


# -- what specs mean -------------------------------------------------------------------------------

FOUR = (
    "INSERT INTO orders (status, qty) VALUES ('new', 1)", "UPDATE orders SET status = 'paid'", "DELETE FROM orders", "TRUNCATE orders CASCADE",
)  # fmt: skip
KINDS = {"insert": Inserted, "update": Updated, "delete": Deleted, "truncate": Truncated}


@pytest.mark.parametrize(
    "operations", [*((name,) for name in KINDS), ("delete", "insert"), list(KINDS)], ids=", ".join
)
def test_operations(engine, operations):
    """Only the operations asked for are told, and only they have triggers; their order in the spec
    means nothing."""
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
    """An UPDATE is told if it changed one of the attributes, for types without an equality too, and
    not if it wrote the same."""

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


@pytest.mark.parametrize(("when", "expected"), CONDITIONS.values(), ids=CONDITIONS.keys())
def test_when(engine, when, expected):
    """Changes are told for which the condition is true, not false or NULL; the row that is absent
    is all NULL; TRUNCATE always is."""
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
    """Tables that share a channel are told apart, and keep their common order."""

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


# -- change_context --------------------------------------------------------------------------------

ANN = {"user": "ann", "more": [1, None, {"ü": "\x1b\x1e\x1f'\\%"}]}


@pytest.fixture(name="Order")
def plain_order(engine: sa.Engine) -> type:
    return installed(engine, NotifySpec())


def contexts(engine: sa.Engine, Order: type, work) -> list[dict]:
    with Listener(engine, Order, "end_of_test") as listener:
        work()
        events = until_end(engine, listener)
    assert all(isinstance(e, Change) for e in events)
    return [dict(e.context) for e in events]


@pytest.mark.parametrize("bound", [Session, sa.Connection])
def test_context_nested_and_over_several_transactions(engine, Order, bound):
    """The innermost context goes with each change, through every transaction of its block, and ends
    with it."""

    def work():
        with Session(engine, autoflush=False) if bound is Session else engine.connect() as bind:

            def write():
                bind.add(Order()) if bound is Session else bind.execute(sa.insert(Order))

            for _ in range(2):
                write()
                with change_context(bind, ANN):
                    write()
                    with change_context(bind, {"user": "bob"}):
                        write()
                    with change_context(bind, {}):
                        write()
                    write()
                write()
                bind.commit()
            with change_context(bind, ANN):
                write()
                bind.commit()
                write()
            bind.commit()

    once = [{}, ANN, {"user": "bob"}, {}, ANN, {}]
    assert contexts(engine, Order, work) == [*once, *once, ANN, ANN]


def test_context_after_an_error_in_the_program(engine, Order):
    """An error that leaves the block, and does not end the transaction, ends the context."""

    def work():
        with engine.begin() as connection, change_context(connection, ANN):
            with suppress(KeyError), change_context(connection, {"user": "bob"}):
                connection.execute(sa.insert(Order))
                raise KeyError
            connection.execute(sa.insert(Order))

    assert contexts(engine, Order, work) == [{"user": "bob"}, ANN]


@pytest.mark.parametrize("savepoint", [False, True])
def test_context_after_an_error_in_the_database(engine, Order, savepoint):
    """A statement that fails within the block raises its own error; after the rollback the context
    is what it was before."""

    def work():
        with Session(engine) as session:
            session.add(Order(id=1))
            session.commit()
            with change_context(session, {"user": "bob"}) if savepoint else nullcontext():
                with (
                    pytest.raises(IntegrityError),
                    session.begin_nested() if savepoint else nullcontext(),
                    change_context(session, ANN),
                ):
                    session.execute(sa.insert(Order).values(id=1))
                if not savepoint:
                    session.rollback()
                session.add(Order(id=2))
            session.commit()

    assert contexts(engine, Order, work) == [{}, {"user": "bob"} if savepoint else {}]


@pytest.mark.parametrize(
    "context", [{"a": object}, {"a": float("nan")}, ["a"], "a", None, {1: 2, (): 3}], ids=repr
)
def test_context_that_is_no_json_is_refused(engine, context):
    """What the listener could not read back is refused before anything is sent."""
    with engine.connect() as connection:
        with (
            pytest.raises(NotifyConfigError, match="change_context.*JSON"),
            change_context(connection, context),
        ):
            pytest.fail("the block was entered")
        assert not connection.in_transaction()
