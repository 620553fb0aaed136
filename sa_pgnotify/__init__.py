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
from .context import change_context
from .ddl import CreateNotifyTriggers, DropNotifyTriggers
from .errors import (
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
from .marker import NotifyOnChange, notify_on_change
from .reflection import Drift, check
from .spec import NotifySpec

__all__ = [
    "AsyncListener",
    "Change",
    "ConnectionLost",
    "CreateNotifyTriggers",
    "Deleted",
    "Drift",
    "DropNotifyTriggers",
    "Event",
    "Gap",
    "Inserted",
    "ListenUnavailable",
    "Listener",
    "Notification",
    "NotifyConfigError",
    "NotifyOnChange",
    "NotifySpec",
    "PgNotifyError",
    "Stats",
    "TriggersMissing",
    "Truncated",
    "UndecodableValue",
    "Updated",
    "ValuesNotCarried",
    "change_context",
    "check",
    "notify_on_change",
]
