"""The module paths that pickled MetaData names."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from sa_pgnotify import NotifyOnChange, NotifySpec, notify_on_change


def test_pickled_metadata_names_these_modules():
    """Programs keep pickled MetaData, reflected once, in caches; it can be read only as long as the
    classes in ``Table.info`` are where they were when it was pickled."""
    metadata = sa.MetaData()
    key = sa.Column("id", sa.Integer, primary_key=True)
    notify_on_change(sa.Table("orders", metadata, key), NotifySpec(durable=True))
    found = {
        f"{type(value).__module__}.{type(value).__qualname__}"
        for table in metadata.tables.values()
        for value in table.info.values()
    }
    assert found == {"sa_pgnotify.marking.spec.Marking", "sa_pgnotify.log.tables.LogSettings"}


def test_pickled_lookup_names_this_module():
    """The marking of a joined child that has classes below it holds one class more."""

    class Base(DeclarativeBase):
        pass

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}
        id = sa.Column(sa.Integer, primary_key=True)
        kind = sa.Column(sa.Text)

    class Book(Item):
        __tablename__ = "books"
        __mapper_args__ = {"polymorphic_identity": "book"}
        id = sa.Column(sa.ForeignKey("items.id"), primary_key=True)
        title = sa.Column(sa.Text)

    class Novel(Book):
        __mapper_args__ = {"polymorphic_identity": "novel"}

    lookup = Book.__table__.info["sa_pgnotify"].discriminator
    assert f"{type(lookup).__module__}.{type(lookup).__qualname__}" == (
        "sa_pgnotify.marking.spec.Lookup"
    )
    assert Novel.__table__ is Book.__table__
