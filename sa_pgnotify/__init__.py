"""Change events for SQLAlchemy models on PostgreSQL.

::

    class Order(NotifyOnChange, Base):
        ...

    Base.metadata.create_all(engine)
    with Listener(engine, Order) as listener:
        for event in listener:
            print(event)
"""

from .aio import AsyncListener
from .aio_consumer import AsyncChangeBatch, AsyncConsumer
from .changelog import ChangeLog
from .chunks import TransactionPart
from .consumer import ChangeBatch, Consumer
from .context import change_context
from .ddl import CreateNotifyTriggers, DropNotifyTriggers
from .errors import (
    ChangeLogInUse,
    ConnectionLost,
    ListenUnavailable,
    NotifyConfigError,
    PgNotifyError,
    TriggersMissing,
    UndecodableValue,
    ValuesNotCarried,
)
from .events import Change, Deleted, Event, Gap, Inserted, Notification, Truncated, Updated
from .listener import Listener
from .listening import Stats
from .logreader import Position
from .marker import NotifyOnChange, notify_on_change
from .overview import ConsumerStatus, Parked, consumers, forget, prune
from .positions import Lag
from .reflection import Drift, check
from .spec import NotifySpec
from .states import StateChange

__all__ = [
    "AsyncChangeBatch",
    "AsyncConsumer",
    "AsyncListener",
    "Change",
    "ChangeBatch",
    "ChangeLog",
    "ChangeLogInUse",
    "ConnectionLost",
    "Consumer",
    "ConsumerStatus",
    "CreateNotifyTriggers",
    "Deleted",
    "Drift",
    "DropNotifyTriggers",
    "Event",
    "Gap",
    "Inserted",
    "Lag",
    "ListenUnavailable",
    "Listener",
    "Notification",
    "NotifyConfigError",
    "NotifyOnChange",
    "NotifySpec",
    "Parked",
    "PgNotifyError",
    "Position",
    "StateChange",
    "Stats",
    "TransactionPart",
    "TriggersMissing",
    "Truncated",
    "UndecodableValue",
    "Updated",
    "ValuesNotCarried",
    "change_context",
    "check",
    "consumers",
    "forget",
    "notify_on_change",
    "prune",
]
