"""Finding out what a statement reads, by compiling it.

The secondary table of a relationship, and the tables of joined classes and of subqueries, appear
only in the compiled statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, FunctionFilter, Select, Table, WithinGroup
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect

__all__ = ["Compiled", "compiled"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compiling a statement has found; it takes a quarter of the compiler's memory.

    :ivar core: the statement without the ORM: its entities are tables, joins and columns.
    :ivar loads_eagerly: whether it joins tables only to load relationships (``joinedload()``).
    :ivar tables: the tables in FROM, once for each occurrence, also in subqueries.
    :ivar columns: the columns of tables that occur anywhere.
    :ivar functions: the called functions, each as its schema ("" if not given) and its name.
    :ivar own: those of ``functions`` that are called in the statement itself, not in a subquery and
        not over a window.
    :ivar texts: the fragments of SQL text that the program wrote itself.
    :ivar has_windows: whether a window function occurs in the statement itself.
    :ivar has_parameters: whether a parameter occurs anywhere.
    """

    core: Select[Any]
    loads_eagerly: bool
    tables: list[Table]
    columns: set[Column[Any]]
    functions: set[tuple[str, str]]
    own: set[tuple[str, str]]
    texts: list[str]
    has_windows: bool
    has_parameters: bool


class _Compiler(PGCompiler):
    """Records what it visits, in attributes with the names of :class:`Compiled`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.tables: list[Table] = []
        self.columns: set[Column[Any]] = set()
        self.functions: set[tuple[str, str]] = set()
        self.own: set[tuple[str, str]] = set()
        self.texts: list[str] = []
        self.has_windows = False
        self._over_windows: list[Any] = []
        super().__init__(*args, **options)

    def visit_table(self, table: Any, *args: Any, **kw: Any) -> Any:
        if kw.get("asfrom") and isinstance(table, Table):
            self.tables.append(_plain(table))
        return super().visit_table(table, *args, **kw)  # type: ignore[no-untyped-call]

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        table = getattr(column, "table", None)
        if isinstance(table, Table):
            self.columns.add(_plain(table).c[column.key])
        elif isinstance(column, Column) or getattr(column, "base_columns", None):
            self.columns.update(base for base in column.base_columns if isinstance(base, Column))
        if column.is_literal:
            self.texts.append(column.name)
        return super().visit_column(column, *args, **kw)

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> Any:
        packages = getattr(func, "packagenames", ())
        name = (packages[-1] if packages else "", func.name)
        self.functions.add(name)
        if len(self.stack) == 1 and not any(func is other for other in self._over_windows):
            self.own.add(name)
        return super().visit_function(func, *args, **kw)

    def visit_textclause(self, textclause: Any, *args: Any, **kw: Any) -> Any:
        self.texts.append(textclause.text)
        return super().visit_textclause(textclause, *args, **kw)  # type: ignore[no-untyped-call]

    def visit_over(self, over: Any, **kw: Any) -> Any:
        self.has_windows |= len(self.stack) == 1
        function = over.element
        while isinstance(function, FunctionFilter | WithinGroup):
            function = function.element if isinstance(function, WithinGroup) else function.func
        self._over_windows.append(function)
        return super().visit_over(over, **kw)  # type: ignore[no-untyped-call]


def _plain(table: Table) -> Table:
    """Return the table of the MetaData in place of the ORM's annotated copy."""
    return table.metadata.tables.get(table.key, table)


def compiled(statement: Select[Any]) -> Compiled:
    """Compile ``statement``, and return what it reads."""
    seen = _Compiler(PGDialect(), statement)  # type: ignore[no-untyped-call]
    state: Any = seen.compile_state
    return Compiled(
        core=state.statement,
        loads_eagerly=bool(getattr(state, "eager_joins", None)),
        tables=seen.tables,
        columns=seen.columns,
        functions=seen.functions,
        own=seen.own,
        texts=seen.texts,
        has_windows=seen.has_windows,
        has_parameters=bool(seen.binds),
    )
