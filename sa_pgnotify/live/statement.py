"""Analysing a statement for a live query.

This finds out which tables it reads, what identifies a row of its result, and for which tables the
changed rows can be looked up without running the whole statement again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Alias,
    BindParameter,
    ColumnElement,
    FromClause,
    Join,
    Select,
    Table,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import _textual_label_reference

from ..errors import NotifyConfigError
from ..marking.mapped_classes import general_mapper
from ..marking.spec import marking_of
from .compiled import Compiled, compiled
from .frozen import frozen_row, hashable

__all__ = ["KEY", "Leaf", "LiveStatement", "refuse_others", "root_of", "shape_of", "values_of"]

KEY = "sa_pgnotify_key_"
"""The prefix of the names of the key's columns."""


EAGER = {"joined", "subquery", "selectin", "immediate", False}
"""The values of ``lazy=`` by which the ORM loads a relationship together with an entity."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A table in the FROM clause of the statement itself.

    Each row of the result comes from one of its rows, or from none if an outer join has found none.

    :ivar source: the table, or its alias.
    :ivar key: the columns of the identity, in the mapper's order.
    :ivar is_inner: whether no outer join can leave the row out, so that changed rows of the table
        can be looked up by their identities.
    """

    table: Table
    source: FromClause
    key: tuple[ColumnElement[Any], ...]
    is_inner: bool


class LiveStatement:
    """A SELECT, and what a live query needs to know of it.

    :ivar tables: all tables that the statement reads.
    :ivar leaves: the tables of its FROM clause if they identify a row of the result; otherwise
        empty.
    :ivar key: the columns that identify a row: one tuple for each leaf, or with GROUP BY one tuple
        of the grouping columns; None if only its values identify a row.
    :ivar is_ordered: whether it has an ORDER BY.
    :ivar is_cut: whether it has a LIMIT, an OFFSET or a FETCH.
    :ivar shape: equal for statements that differ only in the values of their parameters.
    :ivar parameters: its parameters.
    :ivar values: the values of its parameters, frozen.
    :ivar width: the number of elements of a row.
    """

    def __init__(self, statement: Any, subject: str = "LiveQuery") -> None:
        """Compile and check the statement.

        :param subject: the name that error messages begin with.
        :raises NotifyConfigError: if it is not a SELECT that can be followed.
        """
        refuse_others(statement, subject)
        self.statement = statement
        self.compiled = compiled(statement)
        core: Any = self.compiled.core
        _refuse_what_is_not_compared(statement, self.compiled, subject)
        shape, self.parameters = shape_of(statement)
        self.shape = id(self) if shape is None else shape
        self.values = values_of(self.parameters)
        self.width = len(statement.column_descriptions)
        self.tables = frozenset(
            table
            for each in self.compiled.tables
            for table in (each, root_of(each))
            if table is not None
        )
        self.is_ordered = bool(core._order_by_clauses)
        self.is_cut = any(
            clause is not None
            for clause in (core._limit_clause, core._offset_clause, core._fetch_clause)
        )
        self.leaves: tuple[Leaf, ...] = ()
        self.key: tuple[tuple[ColumnElement[Any], ...], ...] | None = None
        self._classified: dict[str, bool] = {}

    def classify(self, *, aggregates: bool, sets: bool, is_unclear: bool) -> None:
        """Find out what identifies a row of the result.

        :param aggregates: whether the statement itself calls an aggregate function.
        :param sets: whether it calls a function that returns a set of rows.
        :param is_unclear: whether SQL text calls an aggregate or window function somewhere.
        """
        self.leaves, self.key = (), None
        self._classified = {"aggregates": aggregates, "sets": sets, "is_unclear": is_unclear}
        core: Any = self.compiled.core
        if sets or core._distinct:
            return
        if core._group_by_clauses or aggregates or core._having_criteria:
            groups = tuple(map(self._grouped, core._group_by_clauses))
            nested = any(not isinstance(group, ColumnElement) for group in groups)
            self.key = None if nested or _is_grouping_set(groups) else (groups,)
            return
        if is_unclear:
            return
        leaves = [leaf for source in core.get_final_froms() for leaf in _leaves(source, inner=True)]
        if all(leaf is not None for leaf in leaves):
            self.leaves = tuple(leaf for leaf in leaves if leaf is not None)
            self.key = tuple(leaf.key for leaf in self.leaves)

    def classify_as(self, other: LiveStatement) -> None:
        """Classify the statement in the same way as another one of its shape, if that is."""
        if other._classified:
            self.classify(**other._classified)

    def _grouped(self, group: Any) -> Any:
        """Return an element of GROUP BY, or the column that it refers to by the name of a label."""
        if not isinstance(group, _textual_label_reference):
            return group
        columns: Any = self.compiled.core.selected_columns
        return columns.get(group.element)

    @property
    def looked_up(self) -> tuple[Leaf, ...]:
        """The leaves whose changed rows can be looked up by their identities.

        A leaf is left out if the statement also reads its table in another place.
        """
        if self.is_cut or self.compiled.has_windows:
            return ()
        inner = [leaf for leaf in self.leaves if leaf.is_inner]
        here = Counter(leaf.table for leaf in inner)
        anywhere = Counter(self.compiled.tables)
        return tuple(leaf for leaf in inner if here[leaf.table] == anywhere[leaf.table])

    def keyed(self, *where: ColumnElement[bool]) -> Select[Any]:
        """Return the statement without the ORM, with the columns of the key at the end.

        :param where: conditions on the columns of leaves, to look rows up. With them, ORDER BY is
            left out.
        """
        keyed: Select[Any] = self._with_key(self.compiled.core, where)
        return keyed

    def _with_key(self, statement: Select[Any], where: Sequence[ColumnElement[bool]]) -> Any:
        columns = [column for part in self.key or () for column in part]
        labels = [column.label(f"{KEY}{i}") for i, column in enumerate(columns)]
        keyed = statement.add_columns(*labels)
        return keyed.where(*where).order_by(None) if where else keyed

    @cached_property
    def _joins_the_same(self) -> bool:
        """Whether the ORM still joins the same tables after the columns of the key are added.

        They can make the left side of a ``join()`` without a condition ambiguous.
        """
        try:
            return Counter(compiled(self._with_key(self.statement, ())).tables) == Counter(
                self.compiled.tables
            )
        except SQLAlchemyError:
            return False

    def loading(self, *where: ColumnElement[bool]) -> Any:
        """Return a statement that loads the rows of :meth:`keyed` with entities as objects."""
        descriptions: Any = self.statement.column_descriptions
        keyed = self.keyed(*where)
        if all(description.get("entity") is None for description in descriptions):
            return keyed  # it selects no entities
        if self._joins_the_same:
            return self._with_key(self.statement, where)
        elements = [description["expr"] for description in descriptions]
        keys = [column for column in keyed.selected_columns if str(column.key).startswith(KEY)]
        given: Any = select(*elements, *keys).from_statement(keyed)
        return given.options(*self.statement._with_options)

    def key_of(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the key of a row.

        :param values: the values of the key's columns.
        """
        assert self.key is not None
        values = tuple([hashable(value) for value in values])
        if len(self.key) == 1:
            return values
        parts, at = [], 0
        for part in self.key:
            parts.append(values[at : at + len(part)])
            at += len(part)
        return tuple(parts)


def shape_of(statement: Select[Any]) -> tuple[Hashable | None, list[BindParameter[Any]]]:
    """Return the shape of a statement, and its parameters.

    The shape is equal for statements that differ only in the values of their parameters. It is None
    if SQLAlchemy cannot cache the statement; there are no parameters then.
    """
    cache_key: Any = statement._generate_cache_key()
    return (None, []) if cache_key is None else (cache_key.key, list(cache_key.bindparams))


def values_of(parameters: list[BindParameter[Any]]) -> tuple[Hashable, ...]:
    """Return the values of a statement's parameters, frozen."""
    return frozen_row(parameter.effective_value for parameter in parameters)


def root_of(table: Table) -> Table | None:
    """Return the root table of the joined-table inheritance that ``table`` is a part of.

    The root table has the events of inserts and deletes. None for other tables, and for the root
    itself.
    """
    mapper = general_mapper(table)
    root = None if mapper is None or mapper.inherits is None else mapper.base_mapper.local_table
    return root if isinstance(root, Table) and root is not table else None


def _leaves(source: Any, *, inner: bool) -> Iterator[Leaf | None]:
    """Yield the tables that ``source`` joins; None for each source without an identity."""
    if isinstance(source, Join):
        yield from _leaves(source.left, inner=inner and not source.full)
        yield from _leaves(source.right, inner=inner and not source.full and not source.isouter)
        return
    table = source.element if isinstance(source, Alias) else source
    if not isinstance(table, Table):
        yield None
        return
    plain = table.metadata.tables.get(table.key, table)
    marking = marking_of(plain)
    names = [column.name for column in plain.primary_key] if marking is None else list(marking.key)
    columns = {column.name: column for column in source.c}
    yield Leaf(plain, source, tuple(columns[name] for name in names), inner) if names else None


def refuse_others(statement: Any, subject: str) -> None:
    """Refuse what is not a SELECT that can be followed.

    :raises NotifyConfigError: if it is not a SELECT, or has a ``schema_translate_map`` of its own.
    """
    if not isinstance(statement, Select):
        raise NotifyConfigError(
            subject,
            f"it follows a select(...), not {type(statement).__name__}",
            "Pass a select(); for a union, select() from its subquery()",
        )
    if "schema_translate_map" in statement.get_execution_options():
        raise NotifyConfigError(
            subject,
            "the statement has a schema_translate_map, so changes in other schemas would be missed",
            "Pass it to engine.execution_options()",
        )


def _refuse_what_is_not_compared(statement: Select[Any], seen: Compiled, subject: str) -> None:
    """Refuse a statement that locks rows or loads rows that are not compared.

    :raises NotifyConfigError: if the statement locks rows, or if the ORM loads rows that are not in
        its result.
    """
    core: Any = seen.core
    if core._for_update_arg is not None:
        raise NotifyConfigError(subject, "the statement locks rows", "Leave with_for_update() out")
    if seen.loads_eagerly or _loads_relationships(statement):
        raise NotifyConfigError(
            subject,
            "the statement loads a relationship into its entities, whose changes would be missed",
            "Add the other entity to select() and join it, and add .options(lazyload('*'))",
        )
    if (later := _loaded_later(statement)) is not None:
        raise NotifyConfigError(
            subject,
            f'{later} is loaded by a second SELECT (polymorphic_load="selectin"), whose changes would be missed',
            "Select with_polymorphic() of the base class and its subclasses",
        )


def _loads_relationships(statement: Select[Any]) -> bool:
    """Return whether an option, such as contains_eager(), loads a relationship with the statement."""
    options: Any = statement._with_options
    elements = [element for option in options for element in getattr(option, "context", ())]
    return any(
        dict(getattr(element, "strategy", None) or ()).get("lazy") in EAGER for element in elements
    )


def _loaded_later(statement: Select[Any]) -> str | None:
    """Return the name of a class whose columns the ORM loads by another SELECT; None if there is
    none."""
    for description in statement.column_descriptions:
        mapper: Any = getattr(inspect(description["expr"], raiseerr=False), "mapper", None)
        if isinstance(description["expr"], type) and mapper is not None:
            for below in mapper.self_and_descendants:
                if below.polymorphic_load == "selectin":
                    return str(below.class_.__name__)
    return None


def _is_grouping_set(groups: tuple[Any, ...]) -> bool:
    names = {"rollup", "cube", "grouping_sets"}
    return any(getattr(group, "name", None) in names for group in groups)
