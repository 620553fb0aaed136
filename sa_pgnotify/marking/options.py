"""The options of a declaration: one row for each, which is read in both directions.

An option is declared in a ``NotifySpec``, means something for one table in a ``Marking``, is an
argument in migrations, and is read back from there and from the comments in a database. Each of
these steps walks :data:`OPTIONS`, so a new option needs a field of both classes and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column

from ..errors import NotifyConfigError
from ..protocol.channels import check_channel
from ..sql import catalog_name
from .column_kinds import hidden, is_system
from .condition import condition_sql

__all__ = [
    "OPERATIONS",
    "OPTIONS",
    "CaptureBy",
    "ForEach",
    "Operation",
    "Option",
    "checked_list",
    "refuse_contradictions",
]

Operation = Literal["insert", "update", "delete", "truncate"]
CaptureBy = Literal["triggers", "wal"]
OPERATIONS: tuple[Operation, ...] = ("insert", "update", "delete", "truncate")
ForEach = Literal["statement", "row"]


@dataclass(frozen=True, slots=True)
class Option:
    """An option whose value is the same everywhere.

    :ivar name: of the field of ``Marking``, and of the parameter in migrations.
    :ivar check: takes a declared value and the subject of an error message; returns the value to
        keep, or raises a NotifyConfigError.
    :ivar default: the value of a marking whose migration does not name the option.
    :ivar field: of ``NotifySpec``; None if it is called like the field of ``Marking``.
    """

    name: str
    check: Callable[[Any, str], Any]
    default: Any = None
    field: str | None = None

    @property
    def declared_as(self) -> str:
        """The name of the field of ``NotifySpec``."""
        return self.field or self.name

    def resolve(self, value: Any, attributes: Mapping[str, Column[Any]], subject: str) -> Any:
        """Return what a declared value means for one table.

        :param attributes: attribute name to the table's column.
        :raises NotifyConfigError: if the value names what the table does not have.
        """
        return value

    def is_written(self, value: Any) -> bool:
        """Return whether migrations name this value."""
        return bool(value != self.default)

    def to_parameter(self, value: Any) -> Any:
        """Return the value of a marking in strings, numbers, lists and dicts."""
        return value

    def from_parameter(self, value: Any, columns: Collection[str], subject: str) -> Any:
        """Return the value of a marking from that of a parameter.

        :param columns: the names of the table's columns.
        :raises NotifyConfigError: if the parameter has another type, or names what does not exist.
        """
        return self.check(value, subject)


class ColumnsOption(Option):
    """An option that names columns: by their attributes where it is declared."""

    __slots__ = ()

    def resolve(self, value: Any, attributes: Mapping[str, Column[Any]], subject: str) -> Any:
        for name in value:
            if name not in attributes:
                raise NotifyConfigError(
                    subject,
                    f"{self.name} names {name!r}, which is not a column attribute of it",
                    f"It has: {', '.join(sorted(attributes))}",
                )
            if is_system(attributes[name]):
                raise NotifyConfigError(
                    subject,
                    f"{self.name} names {name!r}, which {hidden(attributes[name])}",
                    "Leave it out",
                )
        chosen = {attributes[name].name for name in value}
        # In the order of the table, because that of a set differs from one process to the next.
        return tuple(catalog_name(c.name) for c in attributes.values() if c.name in chosen)

    def to_parameter(self, value: Any) -> Any:
        return list(value)

    def from_parameter(self, value: Any, columns: Collection[str], subject: str) -> Any:
        return checked_list(self.name, value, columns, subject)


class ValuesOption(ColumnsOption):
    """The option that names the columns whose values travel, or ``"all"``."""

    __slots__ = ()

    def resolve(self, value: Any, attributes: Mapping[str, Column[Any]], subject: str) -> Any:
        if value == "all":
            return value
        for name in value:
            if name in attributes and (problem := hidden(attributes[name])):
                raise NotifyConfigError(
                    subject,
                    f"{self.name} names {name!r}, which {problem}",
                    "Leave it out, and use event.load(session) for its value",
                )
        return super().resolve(value, attributes, subject)

    def to_parameter(self, value: Any) -> Any:
        return value if value == "all" else list(value)

    def from_parameter(self, value: Any, columns: Collection[str], subject: str) -> Any:
        return value if value == "all" else checked_list(self.name, value, columns, subject)


class OperationsOption(Option):
    """The option that names the operations, which migrations always do."""

    __slots__ = ()

    def is_written(self, value: Any) -> bool:
        return True

    def resolve(self, value: Any, attributes: Mapping[str, Column[Any]], subject: str) -> Any:
        return _in_order(value)

    def to_parameter(self, value: Any) -> Any:
        return list(value)

    def from_parameter(self, value: Any, columns: Collection[str], subject: str) -> Any:
        chosen = checked_list(self.name, value, OPERATIONS, subject)
        if not chosen:
            raise NotifyConfigError(
                subject, "operations is empty", "Drop the triggers to publish nothing"
            )
        return _in_order(chosen)


class ConditionOption(Option):
    """The option that is declared as a function, and is SQL text from then on."""

    __slots__ = ()

    def resolve(self, value: Any, attributes: Mapping[str, Column[Any]], subject: str) -> Any:
        return None if value is None else condition_sql(value, attributes, subject)

    def from_parameter(self, value: Any, columns: Collection[str], subject: str) -> Any:
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise NotifyConfigError(
                subject,
                f"{self.name}={value!r} is not SQL text",
                "Leave it out to publish every change",
            )
        return value


def _in_order(operations: Collection[str]) -> tuple[str, ...]:
    return tuple(operation for operation in OPERATIONS if operation in operations)


def checked_list(name: str, value: Any, known: Collection[str], subject: str) -> tuple[str, ...]:
    """Return a list that is the value of a parameter.

    :param known: the names that may be in it.
    :raises NotifyConfigError: if it is not a list, or has an unknown name or one twice.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise NotifyConfigError(
            subject, f"{name}={value!r} is not a list", f"Write {name}=[{value!r}]"
        )
    chosen, known = tuple(value), list(known)
    for place, item in enumerate(chosen):
        if item not in known:
            raise NotifyConfigError(
                subject,
                f"{name} names {item!r}, which does not exist",
                f"Choose from {', '.join(known)}",
            )
        if item in chosen[:place]:
            raise NotifyConfigError(subject, f"{name} names {item!r} twice", "Name it once")
    return chosen


# -- declared values -------------------------------------------------------------------------------


def _tuple(field: str) -> Callable[[Any, str], Any]:
    def check(value: Any, subject: str) -> Any:
        if isinstance(value, str) or not isinstance(value, Iterable):
            fix = (
                f"{field}=({value!r},)"
                if isinstance(value, str)
                else f"{field} as a tuple of names"
            )
            raise NotifyConfigError(subject, f"{field}={value!r} is not a tuple", f"Write {fix}")
        return tuple(value)

    return check


def _values(value: Any, subject: str) -> Any:
    if value == "all":
        return value
    if value is True or value in ("*", ("*",), ["*"]) or str(value).lower() == "all":
        raise NotifyConfigError(
            subject, f"values={value!r} does not name columns", 'Write values="all" for all of them'
        )
    return _tuple("values")(value, subject)


def _operations(value: Any, subject: str) -> Any:
    chosen = _tuple("operations")(value, subject)
    if unknown := set(chosen) - set(OPERATIONS):
        raise NotifyConfigError(
            subject,
            f"unknown operation {min(unknown, key=str)!r}",
            f"The operations are {', '.join(OPERATIONS)}",
        )
    if not chosen:
        raise NotifyConfigError(
            subject, "operations is empty", "Write __notify__ = None to publish nothing"
        )
    return chosen


def _function(value: Any, subject: str) -> Any:
    if value is not None and not callable(value):
        raise NotifyConfigError(
            subject,
            f"when={value!r} is not a function of (old, new)",
            "Write when=lambda old, new: <SQL expression>",
        )
    return value


def _channel(value: Any, subject: str) -> Any:
    if value is not None:
        check_channel(value, subject)
    return value


def _durable(value: Any, subject: str) -> Any:
    if not isinstance(value, bool):
        raise NotifyConfigError(subject, f"durable={value!r} is not a bool", "Write True or False")
    return value


def _capture(value: Any, subject: str) -> Any:
    if value not in ("triggers", "wal"):
        raise NotifyConfigError(
            subject, f"capture={value!r} is not known", 'Write "triggers" or "wal"'
        )
    return value


def _for_each(value: Any, subject: str) -> Any:
    if value not in ("statement", "row"):
        raise NotifyConfigError(
            subject, f"for_each={value!r} is not possible", 'Write "statement" or "row"'
        )
    return value


def refuse_contradictions(options: Mapping[str, Any], subject: str) -> None:
    """Refuse options that exclude each other.

    :param options: the values by the names of the fields of ``NotifySpec`` or ``Marking``.
    :raises NotifyConfigError: if there are any.
    """
    if options["durable"] and options["channel"] is not None:
        raise NotifyConfigError(
            subject,
            "durable changes go into the change log and not to a channel",
            f"Leave out channel={options['channel']!r}",
        )
    if options["capture"] != "wal":
        return
    if not options["durable"]:
        raise NotifyConfigError(
            subject,
            'capture="wal" appends changes to the change log, and durable is False',
            'Write NotifySpec(durable=True, capture="wal")',
        )
    if options["for_each"] != "statement":
        raise NotifyConfigError(
            subject,
            'for_each says how often triggers run, and capture="wal" has none',
            f"Leave out for_each={options['for_each']!r}",
        )
    if options.get("when", options.get("condition")) is not None:
        raise NotifyConfigError(
            subject,
            'PostgreSQL evaluates when inside the write, and with capture="wal" nothing of '
            "sa_pgnotify runs there",
            "Filter the events where you read them, or leave out capture, so that triggers do it",
        )


OPTIONS: tuple[Option, ...] = (
    OperationsOption("operations", _operations, OPERATIONS),
    ValuesOption("values", _values, ()),
    ColumnsOption("update_of", _tuple("update_of"), ()),
    ConditionOption("condition", _function, field="when"),
    Option("channel", _channel),
    Option("durable", _durable, default=False),
    Option("capture", _capture, default="triggers"),
    Option("for_each", _for_each, default="statement"),
)
"""All options, in the order in which migrations write them."""
