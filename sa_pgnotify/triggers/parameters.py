"""A marking as plain data: what a migration's operation takes as arguments, and what the comment on
a trigger function holds.

A migration has to do in five years what it does today, without the models it was written from; so
all that the trigger's SQL is made of is in it, under the names that are listed here. The same data
in the comment lets a downgrade restore what an upgrade replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import NotifyConfigError
from ..marking.spec import OPERATIONS, Lookup, Marking
from ..protocol.channels import check_channel
from .column_sql import FAMILIES, TriggerColumn
from .names import FUNCTION_PREFIX, NAME_BYTES, is_function_name
from .templates import TEMPLATES

__all__ = ["check_arguments", "from_parameters", "to_parameters"]

REQUIRED = {"columns", "key"}
OPTIONAL = {
    "operations",
    "values",
    "update_of",
    "condition",
    "channel",
    "discriminator",
    "virtual",
    "durable",
    "log_schema",
}
"""Names of the parameters."""


def check_arguments(
    table: str, *, version: int, function: str | None = None, **parameters: Any
) -> dict[str, Any]:
    """Return ``parameters`` if these are the arguments of a trigger set.

    :param table: name of the table; ``function`` that of the function, if it does not go with it.
    :raises NotifyConfigError: if names of parameters are missing or unknown, a name is not one, or
        this library does not know the template version.
    """
    if not isinstance(table, str):
        raise NotifyConfigError(repr(table), "it is no name of a table. Give text")
    if function is not None and not (isinstance(function, str) and is_function_name(function)):
        raise NotifyConfigError(
            table,
            f"function={function!r} is no name of ours: {FUNCTION_PREFIX} and more, in at most {NAME_BYTES} bytes",
        )
    if type(version) is not int or version not in TEMPLATES:
        raise NotifyConfigError(
            table,
            f"its triggers are of template version {version!r}, and this sa_pgnotify knows {', '.join(map(str, TEMPLATES))}. "
            "Install the sa_pgnotify that wrote it, or a newer one",
        )
    for problem, names in (
        ("lack", REQUIRED - parameters.keys()),
        ("have an unknown", parameters.keys() - REQUIRED - OPTIONAL),
    ):
        if names:
            raise NotifyConfigError(
                table,
                f"the arguments of its triggers {problem} {min(names)!r}; they are {', '.join(sorted(REQUIRED))}, version, "
                f"and optionally {', '.join(sorted(OPTIONAL))}, function",
            )
    return parameters


def to_parameters(marking: Marking, columns: Iterable[TriggerColumn]) -> dict[str, Any]:
    """What says all of a marking and its table's columns, in strings, lists and dicts; what is not
    set is left out."""
    columns = list(columns)
    discriminator: Any = marking.discriminator
    if isinstance(discriminator, Lookup):
        discriminator = {
            "table": discriminator.table,
            "schema": discriminator.schema,
            "column": discriminator.discriminator,
            "key": dict(discriminator.keys),
        }
    optional = {
        "values": marking.values if marking.values == "all" else list(marking.values),
        "update_of": list(marking.update_of),
        "condition": marking.condition,
        "channel": marking.channel,
        "discriminator": discriminator,
        "virtual": [c.name for c in columns if c.virtual],
        "durable": marking.durable,
        "log_schema": marking.log_schema,
    }
    return {
        "columns": {c.name: c.family for c in columns},
        "key": list(marking.key),
        "operations": list(marking.operations),
        **{name: value for name, value in optional.items() if value},
    }


def from_parameters(
    subject: str,
    *,
    columns: Mapping[str, str],
    key: Iterable[str],
    operations: Iterable[str] = OPERATIONS,
    values: Iterable[str] = (),
    update_of: Iterable[str] = (),
    condition: str | None = None,
    channel: str | None = None,
    discriminator: str | Mapping[str, Any] | None = None,
    virtual: Iterable[str] = (),
    durable: bool = False,
    log_schema: str | None = None,
) -> tuple[Marking, tuple[TriggerColumn, ...]]:
    """The marking and the columns that :func:`to_parameters` made ``**parameters`` from.

    :param subject: name of the table, for messages.
    :raises NotifyConfigError: if they contradict each other or name what does not exist.
    """

    def refused(problem: str) -> NotifyConfigError:
        return NotifyConfigError(subject, problem)

    if not isinstance(columns, Mapping) or not columns:
        raise refused(
            f"columns={columns!r} is no dict of columns; write columns={{'id': 'integer'}}"
        )
    for name, family in columns.items():
        if not isinstance(family, str) or family not in FAMILIES:
            raise refused(
                f"columns says that {name!r} is of the family {family!r}; the families are {', '.join(FAMILIES)}"
            )

    def names(field: str, given: Any, known: Iterable[str] = columns) -> tuple[str, ...]:
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise refused(f"{field}={given!r} is no list; write {field}=[{given!r}]")
        chosen, known = tuple(given), list(known)
        for place, name in enumerate(chosen):
            if name not in known:
                raise refused(f"{field} names {name!r}, which is none of {', '.join(known)}")
            if name in chosen[:place]:
                raise refused(f"{field} names {name!r} twice")
        return chosen

    told, identity = names("operations", operations, OPERATIONS), names("key", key)
    if not told or not identity:
        raise refused(
            f"{'operations' if identity else 'key'} is empty; to tell nothing, drop the triggers"
        )
    if condition is not None and not (isinstance(condition, str) and condition.strip()):
        raise refused(f"condition={condition!r} is no SQL text; leave it out to tell every change")
    if channel is not None:
        check_channel(channel, subject)
    generated = names("virtual", virtual)
    if (
        type(durable) is not bool
        or not isinstance(log_schema, str | None)
        or (log_schema is not None and not durable)
    ):
        raise refused(
            f"durable={durable!r} and log_schema={log_schema!r} do not fit; the log's schema is given with durable=True"
        )
    if durable and channel is not None:
        raise refused(
            f"durable changes go into the change log and not to a channel; leave out channel={channel!r}"
        )
    if discriminator is not None and not isinstance(discriminator, Mapping):
        names("discriminator", [discriminator])
    marking = Marking(
        operations=tuple(operation for operation in OPERATIONS if operation in told),
        values="all" if values == "all" else names("values", values),
        update_of=names("update_of", update_of),
        condition=condition,
        channel=channel,
        key=identity,
        discriminator=_lookup(discriminator, names, refused)
        if isinstance(discriminator, Mapping)
        else discriminator,
        durable=durable,
        log_schema=log_schema,
    )
    return marking, tuple(
        TriggerColumn(name, family, name in generated) for name, family in columns.items()
    )


def _lookup(
    said: Mapping[str, Any],
    names: Callable[[str, Any], object],
    refused: Callable[[str], NotifyConfigError],
) -> Lookup:
    kinds: dict[str, Any] = {
        "table": str,
        "schema": (str, type(None)),
        "column": str,
        "key": Mapping,
    }
    if said.keys() != kinds.keys() or not all(
        isinstance(said[name], kind) for name, kind in kinds.items()
    ):
        raise refused(
            f"discriminator={dict(said)!r} is neither a column's name nor a dict of table, schema, column and key"
        )
    names("discriminator's key", said["key"])
    return Lookup(
        table=said["table"],
        schema=said["schema"],
        discriminator=said["column"],
        keys=tuple(said["key"].items()),
    )
