"""Change events for SQLAlchemy models on PostgreSQL.

::

    class Order(NotifyOnChange, Base):
        ...

    Base.metadata.create_all(engine)
    with Listener(engine, Order) as listener:
        for event in listener:
            print(event)
"""

from typing import TYPE_CHECKING

from .lazy_exports import lazy_exports
from .triggers import hooks as _hooks  # noqa: F401 (so that create_all and drop_all have them)

if TYPE_CHECKING:
    from .capture.capture import Capture
    from .consuming.admin import forget, prune
    from .consuming.async_consumer import AsyncChangeBatch, AsyncConsumer
    from .consuming.chunks import TransactionPart
    from .consuming.consumer import ChangeBatch, Consumer
    from .consuming.overview import ConsumerStatus, consumers
    from .consuming.parked import Parked
    from .consuming.positions import Lag
    from .errors import (
        ChangeLogInUse,
        ConnectionLost,
        ListenUnavailable,
        NotifyConfigError,
        PgNotifyError,
        TriggersMissing,
        UndecodableValue,
        UnreadableData,
        ValuesNotCarried,
    )
    from .events.changes import Change, Deleted, Existing, Inserted, Truncated, Updated
    from .events.cloud_events import CloudEvents
    from .events.kinds import Event, Gap, Notification
    from .events.schema import event_schema
    from .listening.async_listener import AsyncListener
    from .listening.interface import Stats
    from .listening.listener import Listener
    from .live.async_live_query import AsyncLiveQuery
    from .live.live_query import LiveQuery
    from .live.steps import Enter, Leave, Step, Update
    from .log.snapshots import Position, Snapshot
    from .log.tables import ChangeLog
    from .marking.context import change_context
    from .marking.mapped_classes import NotifyOnChange
    from .marking.marker import notify_on_change
    from .marking.spec import NotifySpec
    from .states import StateChange
    from .triggers.ddl import CreateNotifyTriggers, DropNotifyTriggers
    from .triggers.drift import Drift, check

__all__ = [
    "AsyncChangeBatch",
    "AsyncConsumer",
    "AsyncListener",
    "AsyncLiveQuery",
    "Capture",
    "Change",
    "ChangeBatch",
    "ChangeLog",
    "ChangeLogInUse",
    "CloudEvents",
    "ConnectionLost",
    "Consumer",
    "ConsumerStatus",
    "CreateNotifyTriggers",
    "Deleted",
    "Drift",
    "DropNotifyTriggers",
    "Enter",
    "Event",
    "Existing",
    "Gap",
    "Inserted",
    "Lag",
    "Leave",
    "ListenUnavailable",
    "Listener",
    "LiveQuery",
    "Notification",
    "NotifyConfigError",
    "NotifyOnChange",
    "NotifySpec",
    "Parked",
    "PgNotifyError",
    "Position",
    "Snapshot",
    "StateChange",
    "Stats",
    "Step",
    "TransactionPart",
    "TriggersMissing",
    "Truncated",
    "UndecodableValue",
    "UnreadableData",
    "Update",
    "Updated",
    "ValuesNotCarried",
    "change_context",
    "check",
    "consumers",
    "event_schema",
    "forget",
    "notify_on_change",
    "prune",
]

_PLACES = {
    "capture.capture": ("Capture",),
    "consuming.admin": ("forget", "prune"),
    "consuming.async_consumer": ("AsyncChangeBatch", "AsyncConsumer"),
    "consuming.chunks": ("TransactionPart",),
    "consuming.consumer": ("ChangeBatch", "Consumer"),
    "consuming.overview": ("ConsumerStatus", "consumers"),
    "consuming.parked": ("Parked",),
    "consuming.positions": ("Lag",),
    "errors": (
        "ChangeLogInUse",
        "ConnectionLost",
        "ListenUnavailable",
        "NotifyConfigError",
        "PgNotifyError",
        "TriggersMissing",
        "UndecodableValue",
        "UnreadableData",
        "ValuesNotCarried",
    ),
    "events.changes": ("Change", "Deleted", "Existing", "Inserted", "Truncated", "Updated"),
    "events.cloud_events": ("CloudEvents",),
    "events.kinds": ("Event", "Gap", "Notification"),
    "events.schema": ("event_schema",),
    "listening.async_listener": ("AsyncListener",),
    "listening.interface": ("Stats",),
    "listening.listener": ("Listener",),
    "live.async_live_query": ("AsyncLiveQuery",),
    "live.live_query": ("LiveQuery",),
    "live.steps": ("Enter", "Leave", "Step", "Update"),
    "log.snapshots": ("Position", "Snapshot"),
    "log.tables": ("ChangeLog",),
    "marking.context": ("change_context",),
    "marking.mapped_classes": ("NotifyOnChange",),
    "marking.marker": ("notify_on_change",),
    "marking.spec": ("NotifySpec",),
    "states": ("StateChange",),
    "triggers.ddl": ("CreateNotifyTriggers", "DropNotifyTriggers"),
    "triggers.drift": ("Drift", "check"),
}

if not TYPE_CHECKING:  # a type checker would accept any name
    __getattr__, __dir__ = lazy_exports(globals(), _PLACES)
