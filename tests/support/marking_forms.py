"""Forms in which a class can be marked, and the events of what a session writes."""

import types
from collections.abc import Callable

import sqlalchemy as sa
from receiving import until_end
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
)

from sa_pgnotify import (
    Change,
    Listener,
    NotifyOnChange,
)


def received_by_session(
    engine: sa.Engine, source: object, work: Callable[[Session], object]
) -> list[Change]:
    """The events of ``source`` that ``work`` causes with a session, committed at its end."""
    with Listener(engine, source, "end_of_test") as listener:
        with Session(engine) as session:
            work(session)
            session.commit()
        return until_end(engine, listener)


def kinds_entities_identities(events: list[Change]) -> list[tuple]:
    return [(type(e), e.entity, e.identity) for e in events]


def order(*bases: type) -> type:
    class Order(*bases):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    return Order


def new_base(*mixins: type) -> type:
    return types.new_class("Base", (*mixins, DeclarativeBase))


def mixin_before_base(engine):
    return order(NotifyOnChange, new_base())
