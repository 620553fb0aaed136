"""What a NotifySpec cannot mean is refused where it is declared."""

import threading
from contextlib import suppress

import pytest
import sqlalchemy as sa
from spec_orders import order
from sqlalchemy.orm import (
    DeclarativeBase,
    mapped_column,
)

from sa_pgnotify import (
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    notify_on_change,
)

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
