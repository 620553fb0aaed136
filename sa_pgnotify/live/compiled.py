"""What a statement reads, as SQLAlchemy compiles it: a relationship's secondary table, the tables of
joined classes and those of subqueries have names only there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, FunctionFilter, Select, Table, WithinGroup
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect

__all__ = ["Compiled", "compiled"]


class Compiled(PGCompiler):
    """A compiled statement that remembers what it saw.

    :ivar tables: the tables in FROM, once for each occurrence.
    :ivar columns: the columns of tables that occur anywhere.
    :ivar functions: the names of functions, with the schemas that qualify them ("" if none does);
        those in ``own`` are called in the statement itself, not in a subquery or over a window.
    :ivar texts: the fragments of SQL that the program wrote itself.
    :ivar has_windows: whether a window function occurs in the statement itself.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.tables: list[Table] = []
        self.columns: set[Column[Any]] = set()
        self.functions: set[tuple[str, str]] = set()
        self.own: set[tuple[str, str]] = set()
        self.texts: list[str] = []
        self.has_windows = False
        self._over_windows: list[Any] = []
        super().__init__(*args, **options)

    @property
    def core(self) -> Select[Any]:
        """The statement without the ORM: its entities are tables, joins and columns."""
        state: Any = self.compile_state
        core: Select[Any] = state.statement
        return core

    @property
    def loads_eagerly(self) -> bool:
        """Whether it joins tables only to load relationships (``joinedload()``)."""
        return bool(getattr(self.compile_state, "eager_joins", None))

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
    """Return the table of the MetaData, and not the ORM's annotated copy of it."""
    return table.metadata.tables.get(table.key, table)


def compiled(statement: Select[Any]) -> Compiled:
    """Return ``statement`` as it would be sent to PostgreSQL."""
    return Compiled(PGDialect(), statement)  # type: ignore[no-untyped-call]
