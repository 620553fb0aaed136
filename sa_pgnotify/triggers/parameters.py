"""A marking as plain data: the arguments of a migration's operation, and the content of the comment
on a trigger function.

A migration must do in five years what it does today, without the models it was written from; so it
names everything that the trigger's SQL is made of, under the names that are listed here. The same
data in the comment lets a downgrade restore what an upgrade replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import NotifyConfigError
from ..marking.options import OPTIONS, checked_list, refuse_contradictions
from ..marking.spec import Lookup, Marking
from .column_sql import FAMILIES, TriggerColumn
from .names import FUNCTION_PREFIX, NAME_BYTES, is_function_name
from .templates import TEMPLATES

__all__ = ["check_arguments", "from_parameters", "to_parameters"]

REQUIRED = {"columns", "key"}
FOUND = {"discriminator", "virtual", "log_schema"}
"""Parameters that are not declared, but found in the classes and the MetaData of a table."""
OPTIONAL = {option.name for option in OPTIONS} | FOUND

ORDER = (
    "columns",
    "key",
    "operations",
    "values",
    "update_of",
    "condition",
    "channel",
    "discriminator",
    "virtual",
    "durable",
    "log_schema",
)
"""The order in which version 1 writes its parameters, which its comments keep byte for byte. Newer
parameters follow these, in the order of ``OPTIONS``."""


def to_parameters(marking: Marking, columns: Iterable[TriggerColumn]) -> dict[str, Any]:
    """Return all of a marking and its table's columns in strings, lists and dicts; options that
    have their default are left out."""
    columns = list(columns)
    written: dict[str, Any] = {
        "columns": {c.name: c.family for c in columns},
        "key": list(marking.key),
    }
    for option in OPTIONS:
        value = getattr(marking, option.name)
        if option.is_written(value):
            written[option.name] = option.to_parameter(value)
    found = {
        "discriminator": _discriminator_parameter(marking.discriminator),
        "virtual": [c.name for c in columns if c.virtual],
        "log_schema": marking.log_schema,
    }
    written |= {name: value for name, value in found.items() if value}
    return {name: written[name] for name in dict.fromkeys((*ORDER, *written)) if name in written}


def from_parameters(
    subject: str,
    *,
    columns: Mapping[str, str],
    key: Iterable[str],
    discriminator: str | Mapping[str, Any] | None = None,
    virtual: Iterable[str] = (),
    log_schema: str | None = None,
    **options: Any,
) -> tuple[Marking, tuple[TriggerColumn, ...]]:
    """Return the marking and the columns from which :func:`to_parameters` made the parameters.

    :param subject: name of the table, for messages.
    :raises NotifyConfigError: if they contradict each other or name what does not exist.
    """
    _check_columns(columns, subject)
    identity = checked_list("key", key, columns, subject)
    if not identity:
        raise NotifyConfigError(subject, "key is empty", "Drop the triggers to publish nothing")
    generated = checked_list("virtual", virtual, columns, subject)
    values = {
        option.name: option.from_parameter(options[option.name], columns, subject)
        if option.name in options
        else option.default
        for option in OPTIONS
    }
    marking = Marking(
        **values,
        key=identity,
        discriminator=_discriminator(discriminator, columns, subject),
        log_schema=log_schema,
    )
    refuse_contradictions(values, subject)
    if not isinstance(log_schema, str | None) or (log_schema is not None and not marking.durable):
        raise NotifyConfigError(
            subject,
            f"log_schema={log_schema!r} and durable={marking.durable!r} contradict each other",
            "Give the schema of the log, as text, with durable=True only",
        )
    return marking, tuple(
        TriggerColumn(name, family, name in generated) for name, family in columns.items()
    )


def check_arguments(
    table: str, *, version: int, function: str | None = None, **parameters: Any
) -> dict[str, Any]:
    """Return ``parameters`` if these are the arguments of a trigger set.

    :param function: the function's name, if it is not the one that goes with the table's name.
    :raises NotifyConfigError: if parameters are missing or unknown, a name is not possible, or this
        library does not know the template version.
    """
    if not isinstance(table, str):
        raise NotifyConfigError(repr(table), "it is not the name of a table", "Give text")
    if function is not None and not (isinstance(function, str) and is_function_name(function)):
        raise NotifyConfigError(
            table,
            f"function={function!r} is not the name of a trigger function",
            f"Give {FUNCTION_PREFIX} and more, in at most {NAME_BYTES} bytes",
        )
    if type(version) is not int or version not in TEMPLATES:
        raise NotifyConfigError(
            table,
            f"its triggers are of template version {version!r}, and this sa_pgnotify knows {', '.join(map(str, TEMPLATES))}",
            "Install the sa_pgnotify that wrote it, or a newer one",
        )
    for problem, names in (
        ("lack", REQUIRED - parameters.keys()),
        ("have an unknown", parameters.keys() - REQUIRED - OPTIONAL),
    ):
        if names:
            raise NotifyConfigError(
                table,
                f"the arguments of its triggers {problem} {min(names)!r}",
                f"They are {', '.join(sorted(REQUIRED))}, version, and optionally {', '.join(sorted(OPTIONAL))}, function",
            )
    return parameters


def _check_columns(columns: Any, subject: str) -> None:
    if not isinstance(columns, Mapping) or not columns:
        raise NotifyConfigError(
            subject,
            f"columns={columns!r} is not a dict of columns",
            "Write columns={'id': 'integer'}",
        )
    for name, family in columns.items():
        if not isinstance(family, str) or family not in FAMILIES:
            raise NotifyConfigError(
                subject,
                f"columns says that {name!r} is of the family {family!r}, which does not exist",
                f"The families are {', '.join(FAMILIES)}",
            )


def _discriminator_parameter(discriminator: str | Lookup | None) -> Any:
    if not isinstance(discriminator, Lookup):
        return discriminator
    return {
        "table": discriminator.table,
        "schema": discriminator.schema,
        "column": discriminator.discriminator,
        "key": dict(discriminator.keys),
    }


def _discriminator(given: Any, columns: Mapping[str, str], subject: str) -> str | Lookup | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return checked_list("discriminator", [given], columns, subject)[0]
    kinds: dict[str, Any] = {
        "table": str,
        "schema": (str, type(None)),
        "column": str,
        "key": Mapping,
    }
    if given.keys() != kinds.keys() or not all(
        isinstance(given[name], kind) for name, kind in kinds.items()
    ):
        raise NotifyConfigError(
            subject,
            f"discriminator={dict(given)!r} has the wrong form",
            "Give the name of a column, or a dict of table, schema, column and key",
        )
    checked_list("discriminator's key", given["key"], columns, subject)
    return Lookup(
        table=given["table"],
        schema=given["schema"],
        discriminator=given["column"],
        keys=tuple(given["key"].items()),
    )
