"""What a developer declares (:class:`NotifySpec`) and what it means for one table
(:class:`Marking`).

A declaration speaks of attributes and lambdas, a trigger of columns and SQL. Everything that can be
wrong with a declaration is found here, while the class or table that made it can still be named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Select,
    Table,
    TextClause,
    column,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import visitors

from ..errors import NotifyConfigError
from ..protocol.channels import check_channel
from ..sql import RENDERING, catalog_name
from .column_kinds import SYSTEM_COLUMNS, is_read_by_expression, is_system
from .python_logic import refusing

__all__ = ["OPERATIONS", "Marking", "NotifySpec", "mark", "marking_of"]

OPERATIONS = ("insert", "update", "delete", "truncate")

INFO_KEY = "sa_pgnotify"
NEW_ROW, OLD_ROW = "new_row", "old_row"
"""The aliases under which a trigger's SQL knows the two rows of a change."""


@dataclass(frozen=True, kw_only=True)
class NotifySpec:
    """Which changes of a table are published, and what travels with them.

    :param operations: which of ``"insert"``, ``"update"``, ``"delete"`` and ``"truncate"`` are
        published; by default all.
    :param values: names of the attributes whose values travel with each event, or ``"all"`` that
        are mapped (but for those that a SELECT reads through an expression). By default none: the
        identity and the names of what changed travel, no data, because PostgreSQL's channels know
        no privileges.
    :param update_of: names of attributes; an UPDATE is published only if it really changed one of
        them. Empty: any column.
    :param when: ``lambda old, new: <SQL expression>``, evaluated in the database; a change is
        published when it is true. ``old`` is a row of NULLs on INSERT, ``new`` on DELETE. A
        TRUNCATE is published without asking. Combine conditions by ``&``, ``|`` and ``~``; Python's
        ``and``, ``or`` and ``not`` raise an error.
    :param channel: name of the channel, at most 63 bytes of UTF-8. Default: one for each table,
        from its schema and name.
    :param durable: changes are written into the change log, from which a
        :class:`~sa_pgnotify.Consumer` reads them, also those that were made while it did not run; a
        Listener reads them there too, so that it misses none across a lost connection.
    :raises NotifyConfigError: if the declaration cannot work on any table.
    """

    operations: tuple[str, ...] = OPERATIONS
    values: tuple[str, ...] | Literal["all"] = ()
    update_of: tuple[str, ...] = ()
    when: Callable[[Any, Any], ColumnElement[bool]] | None = None
    channel: str | None = None
    durable: bool = False

    def __post_init__(self) -> None:
        for field in ("operations", "update_of", "values"):
            given = getattr(self, field)
            if field == "values" and given == "all":
                continue
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise _refused(f"{field}={given!r} is not a tuple; write {field}=({given!r},)")
            object.__setattr__(self, field, tuple(given))
        unknown = set(self.operations) - set(OPERATIONS)
        if unknown:
            raise _refused(
                f"unknown operation {min(unknown, key=str)!r}; the operations are {', '.join(OPERATIONS)}"
            )
        if not self.operations:
            raise _refused("operations is empty; write __notify__ = None to publish nothing")
        if self.when is not None and not callable(self.when):
            raise _refused("when must be a function of (old, new) that returns an SQL expression")
        if self.channel is not None:
            check_channel(self.channel, "NotifySpec")
        if not isinstance(self.durable, bool):
            raise _refused(f"durable={self.durable!r} is neither True nor False")
        if self.durable and self.channel is not None:
            raise _refused(
                f"durable changes go into the change log and not to a channel. Leave out channel={self.channel!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Where the discriminator of a joined-inheritance child's row stands: in its root table, found
    by the key.

    :ivar table: name of the root table; ``schema`` its schema as declared, or None.
    :ivar discriminator: the column that names the class.
    :ivar keys: pairs of column names, (the child's, the root's).
    :ivar beside: whether the two stand in one schema, wherever that is:
        ``Table.to_metadata(schema=...)`` moves them.
    """

    table: str
    schema: str | None
    discriminator: str
    keys: tuple[tuple[str, str], ...]
    beside: bool = False


@dataclass(frozen=True, kw_only=True)
class Marking:
    """A :class:`NotifySpec` as it applies to one table, in the names of columns: plain data, kept
    in ``Table.info``.

    :ivar values: column names, or ``"all"`` for those that the table has when its trigger is made.
    :ivar condition: SQL text over ``new_row`` and ``old_row``, or None.
    :ivar key: the columns of the identity, in the mapper's order.
    :ivar discriminator: the column, or the :class:`Lookup`, that names the mapped class; None
        without inheritance.
    :ivar durable: whether changes go into the change log; ``log_schema`` is its schema as declared,
        or None.
    :ivar unmapped: the columns that no marked class of the table maps, which neither travel nor are
        compared.
    """

    operations: tuple[str, ...]
    values: tuple[str, ...] | Literal["all"]
    update_of: tuple[str, ...]
    condition: str | None
    channel: str | None
    key: tuple[str, ...]
    discriminator: str | Lookup | None = None
    durable: bool = False
    log_schema: str | None = None
    unmapped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Alembic writes Table.info into revisions, unless alembic_ops takes it out: so that the
        # NameError there names the fix.
        return f"import_alembic_ops_in_env_py({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in fields(self))})"


def marking_of(table: Table) -> Marking | None:
    """The marking of a table, or None if it is not marked."""
    found: Marking | None = table.info.get(INFO_KEY)
    return found


def mark(table: Table, marking: Marking | None) -> None:
    """Mark a table; None takes its marking away.

    ``Table.info`` may be a dict of the program's own that several tables share, so it is replaced
    and never written to.
    """
    if marking is None and INFO_KEY not in table.info:
        return
    kept = {key: value for key, value in table.info.items() if key != INFO_KEY}
    table.info = kept if marking is None else kept | {INFO_KEY: marking}


class TableUnfit(NotifyConfigError):
    """No declaration can work on this table."""


def resolve(
    spec: NotifySpec,
    attributes: Mapping[str, Column[Any]],
    key: Iterable[Column[Any]],
    subject: str,
    log_schema: str | None = None,
) -> Marking:
    """What ``spec`` means for a table.

    :param attributes: attribute name to the table's column, for all columns of the table that have
        an attribute.
    :param key: the identity's columns.
    :param subject: name of the class or table, for messages.
    :param log_schema: that of the change log, if the spec is durable.
    :raises TableUnfit: if the table has no primary key, or one that a trigger cannot read.
    :raises NotifyConfigError: if the spec names what the table does not have.
    """
    key = tuple(key)
    if not key:
        raise TableUnfit(
            subject,
            "it has no primary key, so an event could not say which row changed. Give it a primary key to mark it",
        )
    for part in key:
        if problem := hidden(part):
            raise TableUnfit(
                subject,
                f"no event could say which row changed, as its primary key {part.name!r} {problem}. Unmark it",
            )
    return Marking(
        operations=tuple(operation for operation in OPERATIONS if operation in spec.operations),
        values="all"
        if spec.values == "all"
        else _columns(spec.values, attributes, subject, "values"),
        update_of=_columns(spec.update_of, attributes, subject, "update_of"),
        condition=None if spec.when is None else _condition(spec.when, attributes, subject),
        channel=spec.channel,
        key=tuple(catalog_name(part.name) for part in key),
        durable=spec.durable,
        log_schema=log_schema,
    )


def hidden(column: Column[Any]) -> str | None:
    """Return why no event can carry the value of a column, to be put behind its name; None if one
    can."""
    if is_system(column):
        return "is a system column of PostgreSQL: no trigger can compare or read it"
    if is_read_by_expression(column.type):
        return "is read through an SQL expression (column_expression() of its type): a trigger sees only what is stored"
    return None


def _columns(
    names: tuple[str, ...], attributes: Mapping[str, Column[Any]], subject: str, field: str
) -> tuple[str, ...]:
    for name in names:
        if name not in attributes:
            raise NotifyConfigError(
                subject,
                f"{field} names {name!r}, which is not a column attribute of it. It has: {', '.join(sorted(attributes))}",
            )
        problem = hidden(attributes[name])
        if problem and (field == "values" or is_system(attributes[name])):
            fix = (
                "Leave it out, and use event.load(session) for its value"
                if field == "values"
                else "Leave it out"
            )
            raise NotifyConfigError(subject, f"{field} names {name!r}, which {problem}. {fix}")
    chosen = {attributes[name].name for name in names}
    # In the table's order, whatever that of a set is.
    return tuple(catalog_name(c.name) for c in attributes.values() if c.name in chosen)


def _row(columns: Mapping[str, ColumnElement[Any]], system: set[str], subject: str) -> Any:
    """What ``when`` gets for ``old`` and ``new``: columns by attribute name, and no attribute else
    that one could be named like."""

    class Row:
        def __getattr__(self, name: str) -> ColumnElement[Any]:
            if name in system:
                raise NotifyConfigError(
                    subject,
                    f"when uses {name!r}, which is a system column of PostgreSQL: no trigger can read it. Leave it out",
                )
            try:
                return columns[name]
            except KeyError:
                raise NotifyConfigError(
                    subject,
                    f"when uses {name!r}, which is not a column attribute of it. It has: {', '.join(sorted(columns))}",
                ) from None

    return Row()


def _condition(
    when: Callable[[Any, Any], Any], attributes: Mapping[str, Column[Any]], subject: str
) -> str:
    """The SQL text of ``when``, every value written into it as a literal."""
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
    try:
        with refusing(lambda: NotifyConfigError(subject, _NO_TRUTH)):
            expression = when(*arguments)
    except NotifyConfigError:
        raise
    except Exception as error:  # it is the developer's own code
        raise NotifyConfigError(
            subject,
            f"when failed with {type(error).__name__}: {error}. It must be a function of (old, new) that combines conditions by & or "
            "and_(), not by Python's and, and takes its columns from its arguments old and new",
        ) from error
    if not isinstance(expression, ColumnElement | TextClause):
        raise NotifyConfigError(
            subject,
            f"when returned {expression!r}; it must return an SQL expression such as new.qty > old.qty",
        )
    for part in visitors.iterate(expression):
        if isinstance(part, BindParameter) and part.expanding and isinstance(part.value, list):
            # the values of IN: a set's order differs from one process to the next
            part.value.sort(key=repr)
        if (
            isinstance(part, BindParameter)
            and part.callable is None
            and (part.required or part.value is None)
        ):
            raise NotifyConfigError(
                subject,
                f"when has a bind parameter, {part.key!r}, without a value. Write the value itself, as a literal",
            )
    # Within a SELECT over both rows, so that subqueries correlate to them; what follows WHERE is
    # the condition.
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
            f"when cannot be written as SQL text, because {error}. Use literals of plain types, or literal_column()",
        ) from error
    if left := [f":{name}" for name in compiled.params if f":{name}" in text]:
        raise NotifyConfigError(
            subject,
            f"when cannot be written as SQL text: {left[0]} is left in it. Use literal_column() in its place",
        )
    if not text.startswith(prefix):
        raise NotifyConfigError(
            subject,
            "when uses columns of another table or of the class itself; use those of its arguments old and new",
        )
    condition = text[len(prefix) :]
    refuse_names(
        condition,
        SYSTEM_COLUMNS,
        subject,
        "a system column of PostgreSQL: no trigger can read it. Leave it out",
    )
    return condition


_NO_TRUTH = (
    "when asks an SQL comparison for its truth, by Python's and, or, not, if, in or a chained comparison, which would drop a part of "
    "the condition. Use &, | and ~, or and_(), or_() and not_()"
)


def refuse_names(condition: str, names: Iterable[str], subject: str, problem: str) -> None:
    """
    :raises NotifyConfigError: if the SQL text of a condition names one of these columns of
        ``old_row`` or ``new_row``.
    """
    for name in names:
        spelled = re.escape('"' + name.replace('"', '""') + '"')
        if name == name.lower():
            spelled += rf"|(?i:{re.escape(name)})(?![\w$])"
        if re.search(rf"(?<![\w$])(?i:{OLD_ROW}|{NEW_ROW})\s*\.\s*(?:{spelled})", condition):
            raise NotifyConfigError(subject, f"when names {name!r}, which is {problem}")


def _refused(problem: str) -> NotifyConfigError:
    return NotifyConfigError("NotifySpec", problem)
