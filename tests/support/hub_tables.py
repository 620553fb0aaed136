"""What the tests of the hub follow: notes of users, and who may see them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import NotifyOnChange, NotifySpec
from sa_pgnotify.web import RowSecurity


def models(*, durable: bool = True) -> Any:
    """Return a base with the marked classes ``Note`` and ``Grant``."""

    class Base(DeclarativeBase):
        pass

    class Note(NotifyOnChange, Base):
        __tablename__ = "notes"
        __notify__ = NotifySpec(durable=durable)
        id: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[str] = mapped_column(Text)
        body: Mapped[str] = mapped_column(Text, default="")

    class Grant(NotifyOnChange, Base):
        __tablename__ = "grants"
        __notify__ = NotifySpec(durable=durable)
        reader: Mapped[str] = mapped_column(Text, primary_key=True)
        owner: Mapped[str] = mapped_column(Text, primary_key=True)

    Base.Note, Base.Grant = Note, Grant
    return Base


OWN = "owner = current_setting('app.user')"
GRANTED = "owner IN (SELECT g.owner FROM grants AS g WHERE g.reader = current_setting('app.user'))"


def secure(engine: Engine, role: str, policy: str = OWN) -> RowSecurity:
    """Let a role see the notes that a policy gives it."""
    run(
        engine,
        f"GRANT SELECT ON notes, grants TO {role}",
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY seen ON notes FOR SELECT TO {role} USING ({policy})",
    )
    return RowSecurity(role, "app.user")


def add(engine: Engine, owner: str, *ids: int, body: str = "") -> None:
    for number in ids:
        run(
            engine,
            "INSERT INTO notes (id, owner, body) VALUES (:id, :owner, :body)",
            id=number,
            owner=owner,
            body=body,
        )
