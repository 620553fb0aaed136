"""expire() beside a session's own work: it drops no pending change, and makes no flush fail that
would go well without it."""

import itertools

import pytest
import sqlalchemy as sa
from receiving import take
from sampling import part
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, foreign, mapped_column, relationship
from sqlalchemy.orm.exc import StaleDataError
from statements import run

from sa_pgnotify import Listener, NotifyOnChange, NotifySpec


def models(version: str) -> type:
    """Documents and their notes, which name them without a constraint.

    :param version: what numbers a row's versions: nothing, a column, or PostgreSQL's own xmin.
    """

    class Base(DeclarativeBase):
        pass

    class Doc(NotifyOnChange, Base):
        __tablename__ = "docs"
        __notify__ = NotifySpec(values="all")
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        a: Mapped[str | None]
        b: Mapped[str | None]
        owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("owners.id"))
        if version == "column":
            number: Mapped[int] = mapped_column(server_default="1")
            __mapper_args__ = {"version_id_col": number}
        elif version == "xmin":
            xmin = mapped_column("xmin", sa.String, system=True, server_default=sa.FetchedValue())
            __mapper_args__ = {"version_id_col": xmin, "version_id_generator": False}
        owner: Mapped["Owner | None"] = relationship()
        notes: Mapped[list["Note"]] = relationship(
            back_populates="doc",
            primaryjoin=lambda: foreign(Note.doc_id) == Doc.id,
            cascade="all",
            passive_deletes=True,
        )

    class Owner(Base):
        __tablename__ = "owners"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        doc_id: Mapped[int | None]
        doc: Mapped[Doc | None] = relationship(
            back_populates="notes", primaryjoin=lambda: foreign(Note.doc_id) == Doc.id
        )

    Base.Doc, Base.Owner, Base.Note = Doc, Owner, Note
    return Base


VERSIONS = ["nothing", "column", "xmin"]
PENDING = {
    "nothing": lambda Base, session, doc: None,
    "a": lambda Base, session, doc: setattr(doc, "a", "mine"),
    "b": lambda Base, session, doc: setattr(doc, "b", "mine"),
    "owner_id": lambda Base, session, doc: setattr(doc, "owner_id", 2),
    "owner": lambda Base, session, doc: setattr(doc, "owner", session.get(Base.Owner, 2)),
    "a note": lambda Base, session, doc: session.add(Base.Note(doc=doc)),
    "its deletion": lambda Base, session, doc: session.delete(doc),
}
OTHERS = {
    "update a": ["UPDATE docs SET a = 'theirs', number = number + 1 WHERE id = 1"],
    "update b": ["UPDATE docs SET b = 'theirs', number = number + 1 WHERE id = 1"],
    "update owner": ["UPDATE docs SET owner_id = 1, number = number + 1 WHERE id = 1"],
    "move": ["UPDATE docs SET id = 7, number = number + 1 WHERE id = 1"],
    "delete": ["DELETE FROM docs WHERE id = 1"],
    "replace": ["DELETE FROM docs WHERE id = 1", "INSERT INTO docs (id, a) VALUES (1, 'new')"],
    "truncate": ["TRUNCATE docs"],
}


def flushed(
    engine: sa.Engine, Base: type, pending: str, others: str, *, expires: bool
) -> tuple[str, tuple | None]:
    """What the flush of a pending change comes to after another's change was committed, and the row
    behind it."""
    version = "number" in Base.metadata.tables["docs"].c
    run(
        engine,
        "TRUNCATE docs, owners, notes RESTART IDENTITY CASCADE",
        "INSERT INTO owners VALUES (1), (2)",
    )
    run(engine, "INSERT INTO docs (id, a, b) VALUES (1, 'a', 'b')")
    statements = [s if version else s.replace(", number = number + 1", "") for s in OTHERS[others]]
    with (
        Session(engine, expire_on_commit=False, autoflush=False) as session,
        Listener(engine, Base.Doc) as listener,
    ):
        doc = session.get(Base.Doc, 1)
        doc.owner  # noqa: B018 (loaded)
        session.commit()  # TRUNCATE waits for every reader
        PENDING[pending](Base, session, doc)
        run(engine, *statements)
        for event in take(listener, len(statements)):
            if expires:
                event.expire(session)
        if pending in ("a", "b", "owner_id"):
            assert sa.inspect(doc).attrs[pending].history.added == [
                "mine" if pending != "owner_id" else 2
            ]
        try:
            session.flush()
            outcome = "went well"
        except SQLAlchemyError as error:
            session.rollback()
            return type(error).__name__, None
        session.commit()
    with engine.connect() as connection:
        row = connection.execute(
            sa.text("SELECT a, b, owner_id FROM docs WHERE id = 1")
        ).one_or_none()
        return outcome, None if row is None else tuple(row)


@pytest.mark.sample(3)
@pytest.mark.filterwarnings("ignore:DELETE statement on table")
@pytest.mark.parametrize("version", VERSIONS)
def test_expire_makes_no_flush_fail(engine, version):
    """For every pending change of a session and every change of another: a flush that goes well
    without expire() goes well with it, and writes the same."""
    Base = models(version)
    Base.metadata.create_all(engine)
    found = {}
    for pending, others in part(itertools.product(PENDING, OTHERS), 6, VERSIONS.index(version)):
        without, behind = (
            flushed(engine, Base, pending, others, expires=expires) for expires in (False, True)
        )
        if without[0] == "went well" and behind != without:
            found[pending, others] = (without, behind)
    assert found == {}


@pytest.mark.parametrize("version", ["column", "xmin"])
def test_an_optimistic_lock_still_finds_the_conflict(engine, version):
    """An object without pending changes may be changed after expire(); a pending change of the
    attribute that another changed is found by the flush, and does not overwrite it."""
    Base = models(version)
    Base.metadata.create_all(engine)
    assert flushed(engine, Base, "a", "update a", expires=True) == ("StaleDataError", None)
    assert flushed(engine, Base, "a", "update b", expires=True) == (
        "went well",
        ("mine", "theirs", None),
    )
    run(engine, "TRUNCATE docs", "INSERT INTO docs (id, a) VALUES (1, 'a')")
    with Session(engine, expire_on_commit=False) as session, Listener(engine, Base.Doc) as listener:
        doc = session.get(Base.Doc, 1)
        session.commit()
        for number in range(3):
            with Session(engine) as other, other.begin():
                other.get(Base.Doc, 1).a = f"theirs {number}"
            for event in take(listener, 1):
                event.expire(session)
            doc.b = f"mine {number}"
            session.commit()
            take(listener, 1)
        assert (doc.a, doc.b) == ("theirs 2", "mine 2")
        with Session(engine) as other, other.begin():
            other.get(Base.Doc, 1).a = "unheard"
        doc.b = "mine"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()


def test_expire_where_a_foreign_key_is_not_mapped(engine):
    """A relationship over a column that the class leaves out does not cause an error."""

    class Base(DeclarativeBase):
        pass

    owners = sa.Table("owners", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    docs = sa.Table(
        "docs",
        Base.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Text),
        sa.Column("o", sa.ForeignKey("owners.id")),
    )
    Owner = type("Owner", (Base,), {"__table__": owners})
    members = {
        "__table__": docs,
        "__mapper_args__": {"include_properties": ["id", "a"]},
        "owner": relationship(Owner, viewonly=True),
    }
    Doc = type("Doc", (NotifyOnChange, Base), members)
    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO docs VALUES (1, 'a')")
    with Session(engine) as session, Listener(engine, Doc) as listener:
        doc = session.get(Doc, 1)
        session.commit()
        assert doc.a == "a"
        run(engine, "UPDATE docs SET a = 'b'")
        take(listener, 1)[0].expire(session)
        assert sa.inspect(doc).expired_attributes == {"a"}
