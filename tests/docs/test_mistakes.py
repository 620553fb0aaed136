"""Twenty-five common mistakes: each is answered by an error that names cause and fix.

The answers stand in ``mistakes.txt``, so that a changed one is seen beside the others; with
``WRITE_MISTAKES=1`` this test writes them anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import (
    AsyncListener,
    Consumer,
    Listener,
    LiveQuery,
    NotifyOnChange,
    NotifySpec,
    notify_on_change,
)
from sa_pgnotify.relay import JetStream, Relay

FILE = Path(__file__).with_name("mistakes.txt")
MISTAKES: dict[str, Callable[[Shop], Any]] = {}
"""The code that is wrong, by what it shows."""


class Shop(NamedTuple):
    """A database with two marked tables and an unmarked one."""

    engine: Any
    guest: Any
    Order: Any
    Payment: Any
    Plain: Any


def shop(engine: Any, guest: str) -> Shop:
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values=("status",))
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]
        total: Mapped[int]

    class Payment(NotifyOnChange, Base):
        __tablename__ = "payments"
        __notify__ = NotifySpec(durable=True)
        id: Mapped[int] = mapped_column(primary_key=True)

    class Plain(Base):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)

    Base.metadata.create_all(engine)
    run(engine, "INSERT INTO payments DEFAULT VALUES", f"GRANT USAGE ON SCHEMA public TO {guest}")
    return Shop(engine, create_engine(engine.url.set(username=guest)), Order, Payment, Plain)


def mistake(shown: str) -> Callable[[Callable[[Shop], Any]], None]:
    def remember(code: Callable[[Shop], Any]) -> None:
        MISTAKES[shown] = code

    return remember


def declared(**options: Any) -> Any:
    """A class with the attribute ``__notify__`` that ``options`` make."""

    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = options.pop("instead", None) or NotifySpec(**options)
        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]

    return Order


def received(shop: Shop) -> Any:
    with Listener(shop.engine, shop.Order) as listener:
        run(shop.engine, "INSERT INTO orders (status, total) VALUES ('new', 1)")
        return listener.get(10)


DECLARED: dict[str, dict[str, Any]] = {
    '__notify__ = {"values": "all"}': {"instead": {"values": "all"}},
    'NotifySpec(values="status")': {"values": "status"},
    'NotifySpec(values="*")': {"values": "*"},
    'NotifySpec(update_of=("state",))': {"update_of": ("state",)},
    'NotifySpec(when=lambda old, new: new.status == "a" and old.status == "b")': {
        "when": lambda old, new: new.status == "a" and old.status == "b"
    },
    'NotifySpec(when=lambda row: row.status == "a")': {"when": lambda row: row.status == "a"},
    'NotifySpec(durable=True, channel="orders")': {"durable": True, "channel": "orders"},
    'NotifySpec(capture="wal")': {"capture": "wal"},
}
for _shown, _options in DECLARED.items():
    MISTAKES[_shown] = lambda shop, options=_options: declared(**options)


@mistake("notify_on_change(Plain, values='all')")
def _(shop: Shop) -> None:
    notify_on_change(shop.Plain, values="all")  # type: ignore[call-overload]


@mistake("notify_on_change(a table without a primary key)")
def _(shop: Shop) -> None:
    notify_on_change(Table("nokey", MetaData(), Column("a", Integer))).metadata.create_all(
        shop.engine
    )


@mistake("create_all() by a role that does not own the table")
def _(shop: Shop) -> None:
    declared().metadata.create_all(shop.guest)


@mistake("Listener(engine, Order), before create_all()")
def _(shop: Shop) -> None:
    Listener(
        shop.engine,
        notify_on_change(Table("late", MetaData(), Column("id", Integer, primary_key=True))),
    ).start()


@mistake("Listener(engine, Plain), which is not marked")
def _(shop: Shop) -> None:
    Listener(shop.engine, shop.Plain)


@mistake("Listener(an asyncio engine, Order)")
def _(shop: Shop) -> None:
    Listener(create_async_engine(shop.engine.url.set(drivername="postgresql+asyncpg")), shop.Order)


@mistake("AsyncListener(a blocking engine, Order)")
def _(shop: Shop) -> None:
    AsyncListener(shop.engine, shop.Order)


@mistake("Listener(engine, Order), no server there")
def _(shop: Shop) -> None:
    Listener(create_engine("postgresql+psycopg2://localhost:1/shop"), shop.Order).start()


@mistake("for event in Listener(engine, Order), without with or start()")
def _(shop: Shop) -> None:
    for _event in Listener(shop.engine, shop.Order):
        break


@mistake("event.new.status")
def _(shop: Shop) -> None:
    received(shop).new.status  # noqa: B018


@mistake('event.new["total"], which does not travel')
def _(shop: Shop) -> None:
    received(shop).new["total"]  # noqa: B018


@mistake('Consumer(engine, "worker", Order), which is not durable')
def _(shop: Shop) -> None:
    Consumer(shop.engine, "worker", shop.Order)


@mistake("for change in batch, without `with batch`")
def _(shop: Shop) -> None:
    with Consumer(shop.engine, "a", shop.Payment, start="beginning") as consumer:
        for batch in consumer:
            for _change in batch:
                pass


@mistake("session.commit() within `with batch as session`")
def _(shop: Shop) -> None:
    with Consumer(shop.engine, "b", shop.Payment, start="beginning") as consumer:
        for batch in consumer:
            with batch as session:
                session.commit()


@mistake("Consumer() of a role without rights on the log")
def _(shop: Shop) -> None:
    Consumer(shop.guest, "c", shop.Payment).start()


@mistake("LiveQuery(engine, select(Plain)), which is not marked")
def _(shop: Shop) -> None:
    LiveQuery(shop.engine, select(shop.Plain)).start()


@mistake('Relay(engine, "orders", Order), which is not durable')
def _(shop: Shop) -> None:
    Relay(shop.engine, "orders", shop.Order, to=JetStream("nats://127.0.0.1:1", "orders"))


def answer(code: Callable[[Shop], Any], shop: Shop) -> str:
    """What somebody reads who runs ``code``: the last lines of the traceback."""
    try:
        code(shop)
    except DBAPIError as error:
        lines = str(error.orig).partition("CONTEXT:")[0]
        shown = f"{type(error).__name__}: {lines}"
    except Exception as error:
        shown = f"{type(error).__name__}: {error}"
    else:
        shown = "(no error)"
    return re.sub(r"stranger_\w+", "guest", shown).strip()


def test_mistakes(engine, stranger):
    """Each mistake is answered as the list says, and none is let through."""
    made = shop(engine, stranger)
    assert len(MISTAKES) == 25
    text = "\n\n".join(
        f"{shown}\n    {answer(code, made).replace(chr(10), chr(10) + '    ')}"
        for shown, code in MISTAKES.items()
    )
    assert "(no error)" not in text
    if os.environ.get("WRITE_MISTAKES"):
        FILE.write_text(text + "\n")
    assert text + "\n" == FILE.read_text()
