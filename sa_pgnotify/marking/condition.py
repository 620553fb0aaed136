"""From the function ``when`` of a declaration to the SQL text of a trigger's condition.

The function builds an SQL expression over two rows that do not exist yet, and a trigger function
cannot take parameters, so every value is written into the text as a literal. Much of what Python and
SQLAlchemy allow has no meaning there, and is refused with the name of the class or table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Select,
    TextClause,
    column,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import visitors

from ..errors import NotifyConfigError
from ..sql import RENDERING, catalog_name
from .column_kinds import SYSTEM_COLUMNS, is_system
from .python_logic import refusing

__all__ = ["NEW_ROW", "OLD_ROW", "condition_sql", "refuse_names"]

NEW_ROW, OLD_ROW = "new_row", "old_row"
"""The aliases under which a trigger's SQL knows the two rows of a change."""

When = Callable[[Any, Any], Any]


def condition_sql(when: When, attributes: Mapping[str, Column[Any]], subject: str) -> str:
    """Return the SQL text of ``when``, every value written into it as a literal.

    :param attributes: attribute name to the table's column.
    :param subject: name of the class or table, for messages.
    :raises NotifyConfigError: if ``when`` cannot be written as a condition over two rows.
    """
    system = {name for name, c in attributes.items() if is_system(c)}
    named = {name: catalog_name(c.name) for name, c in attributes.items() if name not in system}
    types = {catalog_name(c.name): c.type for c in attributes.values()}
    rows = table(
        "sa_pgnotify_rows", *(column(name, types[name]) for name in dict.fromkeys(named.values()))
    )
    old, new = rows.alias(OLD_ROW), rows.alias(NEW_ROW)
    arguments = [
        _row({name: alias.c[c] for name, c in named.items()}, system, subject)
        for alias in (old, new)
    ]
    expression = _call(when, arguments, subject)
    _settle_parameters(expression, subject)
    condition = _rendered(expression, old, new, subject)
    refuse_names(
        condition,
        SYSTEM_COLUMNS,
        subject,
        "a system column of PostgreSQL: no trigger can read it",
        "Leave it out",
    )
    return condition


def _row(columns: Mapping[str, ColumnElement[Any]], system: set[str], subject: str) -> Any:
    """Return what ``when`` gets for ``old`` and ``new``: an object whose only attributes are the
    columns, so that none of them is hidden by an attribute of its class."""

    class Row:
        def __getattr__(self, name: str) -> ColumnElement[Any]:
            if name in system:
                raise NotifyConfigError(
                    subject,
                    f"when uses {name!r}, which is a system column of PostgreSQL: no trigger can read it",
                    "Leave it out",
                )
            try:
                return columns[name]
            except KeyError:
                raise NotifyConfigError(
                    subject,
                    f"when uses {name!r}, which is not a column attribute of it",
                    f"It has: {', '.join(sorted(columns))}",
                ) from None

    return Row()


def _call(when: When, arguments: list[Any], subject: str) -> ColumnElement[Any] | TextClause:
    """Return the expression that ``when`` builds."""
    no_truth = NotifyConfigError(
        subject,
        "when asks an SQL comparison for its truth, by Python's and, or, not, if, in or a chained comparison, which would drop a part of "
        "the condition",
        "Use &, | and ~, or and_(), or_() and not_()",
    )
    try:
        with refusing(lambda: no_truth):
            expression = when(*arguments)
    except NotifyConfigError:
        raise
    except Exception as error:  # it is the developer's own code
        raise NotifyConfigError(
            subject,
            f"when failed with {type(error).__name__}: {error}",
            "It must be a function of (old, new) that combines conditions by & or and_(), not by Python's and, and takes its columns "
            "from its arguments old and new",
        ) from error
    if not isinstance(expression, ColumnElement | TextClause):
        raise NotifyConfigError(
            subject,
            f"when returned {expression!r}",
            "It must return an SQL expression such as new.qty > old.qty",
        )
    return expression


def _settle_parameters(expression: ColumnElement[Any] | TextClause, subject: str) -> None:
    """Sort the values of each IN, because the order of a set differs from one process to the next,
    and refuse parameters that have no value."""
    for part in visitors.iterate(expression):
        if not isinstance(part, BindParameter):
            continue
        if part.expanding and isinstance(part.value, list):
            part.value.sort(key=repr)
        if part.callable is None and (part.required or part.value is None):
            raise NotifyConfigError(
                subject,
                f"when has a bind parameter, {part.key!r}, without a value",
                "Write the value itself, as a literal",
            )


def _rendered(
    expression: ColumnElement[Any] | TextClause, old: FromClause, new: FromClause, subject: str
) -> str:
    """Return the SQL text of a condition over two rows.

    It is rendered in a SELECT over both, so that subqueries correlate to them; the condition is
    what follows WHERE.
    """
    both: Select[Any] = select(literal_column("1")).select_from(old, new)
    try:
        prefix = f"{both.compile(dialect=RENDERING)} \nWHERE "
        compiled = both.where(expression).compile(
            dialect=RENDERING, compile_kwargs={"literal_binds": True}
        )
        text = str(compiled)
    except (SQLAlchemyError, NotImplementedError) as error:
        raise NotifyConfigError(
            subject,
            f"when cannot be written as SQL text, because {error}",
            "Use literals of plain types, or literal_column()",
        ) from error
    if left := [f":{name}" for name in compiled.params if f":{name}" in text]:
        raise NotifyConfigError(
            subject,
            f"when cannot be written as SQL text: {left[0]} is left in it",
            "Use literal_column() in its place",
        )
    if not text.startswith(prefix):
        raise NotifyConfigError(
            subject,
            "when uses columns of another table or of the class itself",
            "Use those of its arguments old and new",
        )
    return text[len(prefix) :]


def refuse_names(
    condition: str, names: Iterable[str], subject: str, problem: str, fix: str
) -> None:
    """Refuse a condition that names one of these columns of ``old_row`` or ``new_row``.

    :param condition: SQL text.
    :param problem: what such a column is, to be put behind its name.
    :raises NotifyConfigError: if it names one of them.
    """
    for name in names:
        spelled = re.escape('"' + name.replace('"', '""') + '"')
        if name == name.lower():
            spelled += rf"|(?i:{re.escape(name)})(?![\w$])"
        if re.search(rf"(?<![\w$])(?i:{OLD_ROW}|{NEW_ROW})\s*\.\s*(?:{spelled})", condition):
            raise NotifyConfigError(subject, f"when names {name!r}, which is {problem}", fix)
