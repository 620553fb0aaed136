"""Table.info belongs to the program: dicts that tables share are never written to."""

import ast
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sa
from receiving import received
from sqlalchemy.orm import DeclarativeBase, mapped_column

from sa_pgnotify import (
    NotifyOnChange,
    NotifySpec,
    notify_on_change,
)
from sa_pgnotify.marking.spec import marking_of

ROOT = Path(__file__).parent.parent.parent


def key() -> sa.Column:
    return sa.Column("id", sa.Integer, primary_key=True)


class Untouchable(dict):
    """A program's own dict: writing into it fails the test."""

    def _refuse(self, *_: object, **__: object) -> None:
        raise AssertionError("the program's own dict was written to")

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = __ior__ = _refuse


def shared_base(info: dict) -> type:
    class Base(DeclarativeBase):
        __table_args__ = {"info": info}

    return Base


def by_mixin(Base):
    return type(
        "A",
        (NotifyOnChange, Base),
        {"__tablename__": "a", "id": mapped_column(sa.Integer, primary_key=True)},
    ).__table__


def by_inheritance(Base):
    """Of joined tables three levels deep the middle one is marked twice: its class is looked up in
    the root."""
    args = {"polymorphic_on": "kind", "polymorphic_identity": "a"}
    members = {
        "id": mapped_column(sa.Integer, primary_key=True),
        "kind": mapped_column(sa.Text),
        "__mapper_args__": args,
    }
    above = type("A", (NotifyOnChange, Base), {"__tablename__": "a", **members})
    for name in ("b", "c"):
        link = mapped_column(sa.ForeignKey(f"{above.__tablename__}.id"), primary_key=True)
        above = type(
            name,
            (above,),
            {"__tablename__": name, "id": link, "__mapper_args__": {"polymorphic_identity": name}},
        )
    return Base.metadata.tables["a"]


def by_function(Base):
    return notify_on_change(sa.Table("a", Base.metadata, key(), info=Base.__table_args__["info"]))


def by_class(Base):
    return notify_on_change(
        type(
            "A", (Base,), {"__tablename__": "a", "id": mapped_column(sa.Integer, primary_key=True)}
        )
    ).__table__


def by_metadata(Base):
    table = sa.Table("a", Base.metadata, key(), info=Base.__table_args__["info"])
    notify_on_change(Base.metadata, NotifySpec(durable=True), skip=("audit",))
    return table


@pytest.mark.parametrize(
    "way",
    [by_mixin, by_inheritance, by_function, by_class, by_metadata],
    ids=lambda way: way.__name__,
)
def test_a_dict_that_tables_share_is_never_written_to(engine, way):
    """``info`` of a base's __table_args__ is one dict for all its tables: marking one marks no
    other, and the dict stays as it was."""
    info = Untouchable(owner="billing team")
    Base = shared_base(info)
    audit = type(
        "Audit",
        (Base,),
        {"__tablename__": "audit", "id": mapped_column(sa.Integer, primary_key=True)},
    ).__table__
    table = way(Base)
    assert info == {"owner": "billing team"}
    assert marking_of(audit) is None
    assert marking_of(table) is not None
    assert table.info["owner"] == "billing team"
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        marked = set(
            connection.scalars(
                sa.text(
                    "SELECT tgrelid::regclass::text FROM pg_trigger WHERE starts_with(tgname, 'sa_pgnotify')"
                )
            )
        )
    assert marked == {t.name for t in Base.metadata.tables.values() if marking_of(t) is not None}
    assert "audit" not in marked
    for copy in (
        table.to_metadata(sa.MetaData()),
        pickle.loads(pickle.dumps(sa.Table("p", sa.MetaData(), key(), info=table.info))),
    ):
        assert marking_of(copy) == marking_of(table)


def test_several_marked_classes_share_a_dict(engine):
    """Classes whose declarations differ may have one ``info``: each table has its own marking, and
    publishes by it."""
    Base = shared_base({})
    for name, values in (("a", ()), ("b", ("y",)), ("c", "all")):
        members = {"id": mapped_column(sa.Integer, primary_key=True), "y": mapped_column(sa.Text)}
        type(
            name,
            (NotifyOnChange, Base),
            {"__tablename__": name, "__notify__": NotifySpec(values=values), **members},
        )
    Base.metadata.create_all(engine)
    events = received(engine, Base, *(f"INSERT INTO {name} (y) VALUES ('hi')" for name in "abc"))
    assert [dict(e.new) for e in events] == [{"id": 1}, {"id": 1, "y": "hi"}, {"id": 1, "y": "hi"}]


def test_no_module_writes_into_a_dict_called_info():
    """Table.info belongs to the program: our code replaces it, and never assigns, deletes or
    updates a key of it."""
    found = []
    for path in [
        p for folder in ("sa_pgnotify", "alembic_ops") for p in (ROOT / folder).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Subscript)
                and not isinstance(node.ctx, ast.Load)
                and isinstance(node.value, ast.Attribute)
            ):
                found += [(path.name, node.lineno)] if node.value.attr == "info" else []
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Attribute)
            ):
                writes = node.func.attr in (
                    "update",
                    "pop",
                    "setdefault",
                    "clear",
                    "popitem",
                    "__setitem__",
                )
                found += (
                    [(path.name, node.lineno)] if writes and node.func.value.attr == "info" else []
                )
    assert found == []
