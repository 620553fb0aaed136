"""What is usually written first, and wrong: each is refused with what to write instead."""

from __future__ import annotations

import copy
import pickle

import pytest
from orders import order_class
from receiving import take
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from statements import run

from sa_pgnotify import (
    Consumer,
    Listener,
    NotifyConfigError,
    NotifyOnChange,
    NotifySpec,
    notify_on_change,
)

NOWHERE = create_engine("postgresql+psycopg2:///nowhere")


def order(spec: NotifySpec = NotifySpec(), *, schema: str | None = None):
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __table_args__ = {"schema": schema}
        __notify__ = spec
        id: Mapped[int] = mapped_column(primary_key=True)

    return Order


@pytest.mark.parametrize("values", ["*", True, ("*",), ["*"], "ALL", "All"])
def test_other_words_for_all_values(values):
    """Whoever writes another word for all columns reads the one that there is."""
    with pytest.raises(NotifyConfigError, match='Write values="all" for all of them'):
        order(NotifySpec(values=values))


@pytest.mark.parametrize("option", ["values", "update_of", "operations"])
def test_what_is_no_tuple_of_names(option):
    """A name is shown as a tuple; what is no name is not repeated within one."""
    with pytest.raises(NotifyConfigError, match=rf"Write {option}=\('id',\)$"):
        order(NotifySpec(**{option: "id"}))
    for wrong in (False, 1):
        with pytest.raises(NotifyConfigError, match=rf"Write {option} as a tuple of names$"):
            order(NotifySpec(**{option: wrong}))


@pytest.mark.parametrize("several", [list, tuple, set, iter])
def test_entities_in_one_argument(several):
    """A listener or a consumer that is given a list says to pass the entities one by one."""
    for make in (Listener, lambda engine, *given: Consumer(engine, "c", *given)):
        with pytest.raises(NotifyConfigError, match="Pass the entities one by one"):
            make(NOWHERE, several([order()]))


@pytest.mark.parametrize("name", ["Order", "orders", "shop.orders"])
def test_the_name_of_an_entity_instead_of_itself(name, caplog):
    """A plain channel with the name of a marked class or table is listened to with a warning; any
    other one without."""
    Order = order(schema="shop")
    listener = Listener(NOWHERE, name)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{name!r} is the name of a plain channel" in record.getMessage()
    assert "Pass the class or the Table itself" in record.getMessage()
    caplog.clear()
    Listener(NOWHERE, Order, "orders_of_others")
    assert caplog.records == []
    assert listener.stats.received == 0


@pytest.mark.parametrize("of_table", [False, True], ids=["class", "table"])
def test_options_beside_a_spec(of_table):
    """Options that are given to notify_on_change itself are shown within a NotifySpec."""
    Order = order(None)
    entity, name = (Order.__table__, "orders") if of_table else (Order, "Order")
    with pytest.raises(NotifyConfigError) as refused:
        notify_on_change(entity, values="all", durable=True)
    assert str(refused.value) == (
        f"{name}: values, durable cannot be given to notify_on_change(). "
        "Write notify_on_change(..., NotifySpec(values='all', durable=True))"
    )


def test_a_value_asked_for_as_an_attribute(engine):
    """The values of a row are items: an attribute says so, and a name that is not carried is told
    from one that is. Copies and pickles go on working."""
    Order = order_class(engine, NotifySpec(values=("status",)))
    with Listener(engine, Order) as listener:
        run(engine, "INSERT INTO orders (id, status) VALUES (1, 'new')")
        (event,) = take(listener, 1)
    with pytest.raises(AttributeError, match=r"not attributes: write \['status'\]"):
        event.new.status  # noqa: B018
    with pytest.raises(AttributeError, match="no value 'amount'; it carries .*status"):
        event.new.amount  # noqa: B018
    assert not hasattr(event.new, "_missing")
    assert copy.copy(event.new) == pickle.loads(pickle.dumps(event.new)) == event.new
