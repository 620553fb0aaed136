"""The exceptions of sa_pgnotify, one tree under ``sqlalchemy.exc.SQLAlchemyError``.

Whoever already catches SQLAlchemy's errors catches these too; each one carries, as attributes, what its handler needs.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

__all__ = [
    "ChangeLogInUse",
    "ConnectionLost",
    "ListenUnavailable",
    "NotifyConfigError",
    "PgNotifyError",
    "TriggersMissing",
    "UndecodableValue",
    "ValuesNotCarried",
]


class PgNotifyError(SQLAlchemyError):
    """Base of every error that sa_pgnotify raises."""


class NotifyConfigError(PgNotifyError):
    """A declaration that cannot work; the message names the class or table and the mend.

    :ivar subject: name of the class or table, e.g. ``"Order"``.
    :ivar problem: the message without it.
    """

    def __init__(self, subject: str, problem: str) -> None:
        super().__init__(f"{subject}: {problem}")
        self.subject = subject
        self.problem = problem


class TriggersMissing(PgNotifyError):
    """The tables of a listener have no enabled triggers, so it would hear nothing.

    :ivar tables: the names of the tables, as SQLAlchemy gives them (``schema.table``).
    """

    def __init__(self, tables: tuple[str, ...], detail: str) -> None:
        super().__init__(f"events of {', '.join(tables)} would never come: {detail}")
        self.tables = tables


class ListenUnavailable(PgNotifyError):
    """This connection cannot receive notifications: a standby, a transaction pooler, a driver we do not know.

    :ivar reason: ``"connection"`` (there is none), ``"standby"``, ``"pooler"``, ``"driver"`` or ``"log"`` (there is no change log).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChangeLogInUse(PgNotifyError):
    """``drop_all`` would take away a change log that another program uses; nothing was dropped.

    :ivar tables: the names of the tables (``schema.table``) whose triggers write to the log and that are not in the MetaData.
    :ivar consumers: the names of the consumers that read changes of tables which are not in this MetaData.
    """

    def __init__(self, log: str, tables: tuple[str, ...], consumers: tuple[str, ...]) -> None:
        users = [f"triggers of {', '.join(tables)}"] if tables else []
        users += [f"consumers {', '.join(map(repr, consumers))} of other tables"] if consumers else []
        super().__init__(
            f"the change log {log} is still used by {' and '.join(users)}, and nothing was dropped. Drop those first, forget() the "
            "consumers, or leave the log: metadata.drop_all(engine, tables=[...]) without its tables. "
            "Programs that share a database can have a log each: ChangeLog(metadata, schema=...)"
        )
        self.tables = tables
        self.consumers = consumers


class ConnectionLost(PgNotifyError):
    """The listening connection broke while a caller waited for an answer through it."""


class ValuesNotCarried(PgNotifyError, KeyError):
    """The event does not hold the values that were asked of it; a KeyError, too, as they are asked of a mapping.

    :ivar missing: the attribute names that the event does not hold.
    """

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


class UndecodableValue(PgNotifyError):
    """A value of an event is not in the form that its column's type reads.

    What a SELECT of the same column would raise in a ``TypeDecorator`` arrives here as ``__cause__``.

    :ivar attribute: name of the attribute.
    :ivar text: the value as PostgreSQL's output function wrote it.
    """

    def __init__(self, attribute: str, text: str | None) -> None:
        shown = text if text is None or len(text) <= 80 else text[:77] + "..."
        super().__init__(f"cannot decode {attribute!r} from {shown!r}")
        self.attribute = attribute
        self.text = text
