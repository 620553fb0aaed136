"""The exceptions of sa_pgnotify, one tree under ``sqlalchemy.exc.SQLAlchemyError``.

Code that catches SQLAlchemy's errors catches these too. Each one carries, as attributes, what its
handler needs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import SQLAlchemyError

__all__ = [
    "ChangeLogInUse",
    "ConnectionLost",
    "ListenUnavailable",
    "NotifyConfigError",
    "PgNotifyError",
    "TriggersMissing",
    "UndecodableValue",
    "UnreadableData",
    "ValuesNotCarried",
]


class PgNotifyError(SQLAlchemyError):
    """Base of every error that sa_pgnotify raises. The message is ``subject: problem. fix``.

    :ivar problem: what happened.
    :ivar fix: how to fix it, as sentences without the last full stop; empty if the problem says it,
        or nobody knows.
    """

    def __init__(self, problem: str = "", fix: str = "", *, subject: str = "") -> None:
        message = f"{problem}. {fix}" if fix else problem
        super().__init__(f"{subject}: {message}" if subject else message)
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own would call the class with the message alone.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    class_: type[PgNotifyError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> PgNotifyError:
    """Return the error that another process pickled."""
    error = class_.__new__(class_, *args)
    error.__dict__.update(attributes)
    return error


class NotifyConfigError(PgNotifyError):
    """A declaration cannot work; the message names the class or table and the fix.

    :ivar subject: name of the class or table, e.g. ``"Order"``.
    """

    def __init__(self, subject: str, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix, subject=subject)
        self.subject = subject


class TriggersMissing(PgNotifyError):
    """The tables of a listener have no enabled triggers, so it would receive no events.

    :ivar tables: the names of the tables, as SQLAlchemy gives them (``schema.table``).
    """

    def __init__(self, tables: tuple[str, ...], problem: str, fix: str = "") -> None:
        super().__init__(f"events of {', '.join(tables)} cannot be delivered: {problem}", fix)
        self.tables = tables


class ListenUnavailable(PgNotifyError):
    """This connection cannot receive notifications: the server is a standby, a transaction pooler
    stands in between, or the driver is not supported.

    :ivar reason: ``"connection"`` (there is none), ``"standby"``, ``"pooler"``, ``"driver"``,
        ``"log"`` (there is no change log) or ``"lock"`` (another session holds an advisory lock
        that the listener needs).
    """

    def __init__(self, reason: str, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix)
        self.reason = reason


class ChangeLogInUse(PgNotifyError):
    """``drop_all`` would take away a change log that another program uses; nothing was dropped.

    :ivar tables: the names of the tables (``schema.table``) whose triggers write to the log and
        that are not in the MetaData.
    :ivar consumers: the names of the consumers that read changes of tables which are not in this
        MetaData.
    """

    def __init__(self, log: str, tables: tuple[str, ...], consumers: tuple[str, ...]) -> None:
        users = [f"triggers of {', '.join(tables)}"] if tables else []
        users += (
            [f"consumers {', '.join(map(repr, consumers))} of other tables"] if consumers else []
        )
        super().__init__(
            f"the change log {log} is still used by {' and '.join(users)}, and nothing was dropped",
            "Drop those first, forget() the consumers, or leave the log: metadata.drop_all(engine, tables=[...]) without its tables. "
            "Programs that share a database can have a log each: ChangeLog(metadata, schema=...)",
        )
        self.tables = tables
        self.consumers = consumers


class ConnectionLost(PgNotifyError):
    """The listening connection broke while a caller waited for an answer through it."""


class ValuesNotCarried(PgNotifyError, KeyError):
    """The event does not hold the values that were asked of it; also a KeyError, because they are
    asked of a mapping.

    :ivar missing: the attribute names that the event does not hold.
    """

    def __init__(self, problem: str, missing: tuple[str, ...]) -> None:
        super().__init__(problem)
        self.missing = missing


class UndecodableValue(PgNotifyError):
    """A value of an event does not have the form that its column's type reads. The other values of
    the event can be read.

    What a SELECT of the same column would raise, in the driver or in a ``TypeDecorator``, is the
    ``__cause__``.

    :ivar subject: name of the mapped class, or of the table for Core, e.g. ``"Order"``.
    :ivar attribute: name of the attribute; ``column`` that of its column.
    :ivar text: the value as PostgreSQL's output function wrote it.
    """

    def __init__(
        self, subject: str, attribute: str, column: str, text: str | None, error: Exception
    ) -> None:
        super().__init__(
            f"{subject}.{attribute} cannot be decoded: its column {column!r} holds {printable(repr(text), 80)}, and reading it raised "
            f"{type(error).__name__}: {printable(str(error), 200)}",
            "Compare the column's type with the model's; the event's other values can be read",
        )
        self.subject = subject
        self.attribute = attribute
        self.column = column
        self.text = text


class UnreadableData(PgNotifyError, ValueError):
    """What should be a position or an event, written as text or JSON, cannot be read; also a
    ValueError.

    :ivar subject: what was read, e.g. ``"Position"``, or the member of the event: ``"new.status"``.
    """

    def __init__(self, subject: str, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix, subject=subject)
        self.subject = subject


def printable(text: str, length: int = 500) -> str:
    """Return a text on one line, cut to ``length`` characters, that every database, broker and
    terminal accepts: what cannot be printed, such as NUL or half of a surrogate pair, is escaped.

    >>> printable("a\\n b\\0")
    'a b\\\\x00'
    """
    line = " ".join(text[: 2 * length].split())
    if not line.isprintable():
        line = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in line[:length]
        )
    return line if len(line) <= length else f"{line[: length - 3]}..."


def described(error: BaseException, length: int = 500) -> str:
    """Return an exception as text that can be stored and published, see :func:`printable`."""
    try:
        text = str(error)
    except Exception as failed:  # the program's own __str__
        text = f"its text cannot be had: {type(failed).__name__}"
    return printable(f"{type(error).__name__}: {text}", length)
