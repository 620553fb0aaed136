"""The rows of an entity: one SELECT of all its columns, and an event for each row.

SQLAlchemy runs the SELECT, so each value is the one that the ORM would load. With joined
inheritance the rows of all tables of the entity are joined, and each row becomes one event of its
most specific class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    Unicode,
    UnicodeText,
    func,
    inspect,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapper, with_polymorphic
from sqlalchemy.sql import ClauseElement, visitors

from ..errors import NotifyConfigError
from ..events.column_decoder import ColumnDecoder
from ..events.decoding import TableDecoder
from ..events.entity_layout import EntityLayout
from ..sql import Execute, catalog_name, execute_on, literal, table_name
from .key_order import KeyOrder
from .operators import operator_schemas
from .where import where_from_json

__all__ = ["EntityRows", "RowShape", "root_mapper", "root_table"]


PAGE_ROWS = 10_000
PAGE_BYTES = 8 << 20
"""The most rows, and about the most bytes, that are read at once. The queries around a page took 5 ms, as
long as reading 1,000 rows."""


def root_mapper(mapper: Mapper[Any]) -> Mapper[Any]:
    """Return the mapper of the table in which every row of an entity has a part."""
    while mapper.inherits is not None and not mapper.concrete:
        mapper = mapper.inherits
    return mapper


def root_table(table: Table, mapper: Mapper[Any] | None) -> Any:
    """Return the table in which every row of an entity has a part.

    :param table: one of the entity's tables; ``mapper`` that of its rows, None for Core.
    """
    return table if mapper is None else root_mapper(mapper).local_table


class Interest(Protocol):
    """Which rows are wanted: a :class:`TableDecoder`, or what a source was expanded to."""

    @property
    def mapper(self) -> Mapper[Any] | None: ...

    def accepts(self, class_: type, /) -> bool: ...


class RowShape:
    """How the rows of one class become events.

    :param columns: the columns of the SELECT.
    :param attributes: attribute name to column, of those that the class has.
    :param key: the columns of the identity.
    """

    def __init__(
        self,
        entity: Any,
        mapper: Mapper[Any] | None,
        columns: Sequence[Any],
        attributes: Mapping[str, Any],
        key: Sequence[Any],
    ) -> None:
        place_of = {id(column): place for place, column in enumerate(columns)}
        places = tuple(place_of[id(column)] for column in attributes.values())
        self.layout = EntityLayout(
            entity=entity,
            mapper=mapper,
            names=tuple(attributes),
            key=tuple(place_of[id(column)] for column in key),
            places=places,
            positions={name: position for position, name in enumerate(attributes)},
            accepted=True,
            types={name: column.type for name, column in attributes.items()},
        )
        self.values = _tuple_getter(places)
        """Returns the values of a row, in the order of the attributes."""
        self.identity = _tuple_getter(self.layout.key)


def _tuple_getter(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    if not places:
        return lambda _: ()
    if list(places) == list(range(places[0], places[0] + len(places))):
        return itemgetter(slice(places[0], places[0] + len(places)))
    return itemgetter(*places)


def _is_plain(column: Column[Any]) -> bool:
    """Whether a value of the column is as the driver gives it."""
    type_ = column.type
    return type(type_) in (String, Text, Unicode, UnicodeText) or (
        isinstance(type_, Integer) and not isinstance(type_, TypeDecorator)
    )


class EntityRows:
    """The rows of an entity as a role can read them.

    :param table: the one that every row has a part in; ``relation`` its name in messages.
    :param interest: the mapper of the rows, and the classes that are wanted.
    :param key: the names of the columns of the identity.
    :param decoders: those of the entity's tables, for values that cannot be read.
    :ivar order: the order of the rows.
    :ivar columns: the columns that are read, in the order of the SELECT.
    :ivar decisive: the indexes of those without which a row is of no use: they say which it is, and
        of which class.
    """

    def __init__(
        self,
        connection: Connection,
        relation: str,
        table: Table,
        interest: Interest,
        key: Sequence[str],
        decoders: Iterable[TableDecoder] = (),
    ) -> None:
        self.relation = relation
        self.table = table
        self._decoders = {id(decoder.table): decoder for decoder in decoders}
        self._mapper = None if interest.mapper is None else root_mapper(interest.mapper)
        self._accepts = interest.accepts
        execute = execute_on(connection)
        name = table_name(connection, self.table)
        self.order = KeyOrder(execute, name, key)
        by_name = {catalog_name(column.name): column for column in self.table.columns}
        self.key = [by_name[part] for part in key]
        self._classes = self._wanted_classes()
        self._readable = {
            id(table): _readable(execute, table_name(connection, table), table)
            for table in self.tables
        }
        self._discriminator = self._find_discriminator()
        self._refuse_unreadable(connection)
        self.from_clause = self._from_clause()
        self.columns = self._all_columns()
        place_of = {id(column): place for place, column in enumerate(self.columns)}
        self.decisive = [place_of[id(column)] for column in self.key]
        if self._discriminator is not None:
            self._discriminator_place = place_of[id(self._discriminator)]
            self.decisive.append(self._discriminator_place)
        self._texts: Sequence[Any] = (
            ()
            if self.order.is_plain and all(_is_plain(column) for column in self.key)
            else [func.pg_catalog.concat(column) for column in self.key]
        )
        """What is read beside the columns: the texts of the identity, where ``str()`` would not give them."""
        self._shapes: dict[Any, RowShape | None] = {}
        self._page_size: int | None = None

    # -- the SELECT --------------------------------------------------------------------------------

    def _wanted_classes(self) -> list[Mapper[Any]]:
        root = self._mapper
        if root is None:
            return []
        return [
            m
            for m in root.self_and_descendants
            if root_mapper(m) is root and self._accepts(m.class_)
        ]

    @property
    def tables(self) -> list[Table]:
        """The tables of the rows, the one that every row has a part in first."""
        tables = [self.table, *(t for m in self._classes for t in m.tables if isinstance(t, Table))]
        return list({id(table): table for table in tables}.values())

    def _from_clause(self) -> FromClause:
        if self._mapper is None or len(self.tables) == 1:
            return self.table
        poly = with_polymorphic(self._mapper.class_, [m.class_ for m in self._classes])
        joined: FromClause = inspect(poly).selectable
        return joined

    def estimate(self, connection: Connection, where: ColumnElement[bool] | None = None) -> int:
        """Return how many rows the planner expects."""
        return _plan(connection, self.select(None, where))["Plan Rows"]

    def page_size(self, connection: Connection) -> int:
        """Return how many rows are read at once, of about ``PAGE_BYTES`` as the planner expects."""
        if self._page_size is None:
            width = max(1, _plan(connection, self.select(None, None))["Plan Width"])
            self._page_size = max(1, min(PAGE_ROWS, PAGE_BYTES // width))
        return self._page_size

    def _find_discriminator(self) -> Any:
        """Return the column or expression that decides the class of a row; None if the rows do not
        hold it, for example because each class has a table of its own."""
        found = None if self._mapper is None else self._mapper.polymorphic_on
        if found is None:
            return None
        tables = set(map(id, self.tables))
        columns = [part for part in visitors.iterate(found) if isinstance(part, Column)]
        return found if all(id(column.table) in tables for column in columns) else None

    def _refuse_unreadable(self, connection: Connection) -> None:
        """
        :raises NotifyConfigError: if the role may not read a column without which no row can be read:
            one of the identity, of a join, or of what decides the class.
        """
        needed = [*self.key, *(c for table in self.tables[1:] for c in table.primary_key)]
        if self._discriminator is not None:
            needed += [c for c in visitors.iterate(self._discriminator) if isinstance(c, Column)]
        for table in self.tables:
            readable = self._readable[id(table)]
            missing = {c.name: None for c in needed if c.table is table and id(c) not in readable}
            if missing:
                raise NotifyConfigError(
                    table.fullname,
                    f"its rows cannot be read: the consumer's role has no SELECT right on {', '.join(missing)}",
                    f"GRANT SELECT ON {table_name(connection, table)} TO the role, or start without a snapshot",
                )

    def condition(self, connection: Connection, where: str) -> ColumnElement[bool] | None:
        """Return the condition that is stored as ``where``.

        :raises ValueError: if it is not one on these tables.
        """
        schemas: dict[int, dict[str, str]] = {}

        def schema_of(column: Column[Any]) -> str:
            of_table = schemas.get(id(column.table))
            if of_table is None:
                name = table_name(connection, column.table)
                of_table = operator_schemas(execute_on(connection), name)
                schemas[id(column.table)] = of_table
            # PostgreSQL reports a column that is missing
            return of_table.get(catalog_name(column.name), "pg_catalog")

        return where_from_json(where, self.tables, schema_of)

    def _is_readable(self, column: Any) -> bool:
        table = getattr(column, "table", None)
        return id(column) in self._readable.get(id(table), ())

    def _attributes(self, mapper: Mapper[Any] | None) -> dict[str, Any]:
        """Return the columns of a class that can be read, by attribute name."""
        if mapper is None:
            return {c.key: c for c in self.table.columns if self._is_readable(c)}
        found: dict[str, Any] = {}
        for attribute in mapper.column_attrs:
            column = next((c for c in attribute.columns if self._is_readable(c)), None)
            if column is not None:
                found[attribute.key] = column
        return found

    def _all_columns(self) -> list[Any]:
        every = [*self.key]
        if self._discriminator is not None:
            every.append(self._discriminator)
        classes: list[Mapper[Any] | None] = [*self._classes] or [None]
        for mapper in classes:
            every.extend(self._attributes(mapper).values())
        # The attributes of the first class come first and together, so that its values are a slice.
        first = list(self._attributes(self._classes[0] if self._classes else None).values())
        return list({id(column): column for column in (*first, *every)}.values())

    def select(
        self, after: tuple[str, ...] | None, where: ColumnElement[bool] | None
    ) -> Select[Any]:
        """Return the SELECT of the rows after a place, in order."""
        wanted: Any = select(*self.columns, *self._texts)
        found: Select[Any] = wanted.select_from(self.from_clause)
        if after is not None:
            found = found.where(self.order.behind(self.key, after))
        if where is not None:
            found = found.where(where)
        return found.order_by(*self.key)

    def every_column(self) -> Sequence[Any]:
        """Return what :meth:`select` reads."""
        return [*self.columns, *self._texts]

    def key_texts(self, row: Sequence[Any]) -> tuple[str, ...]:
        """Return PostgreSQL's texts of the identity of a row."""
        if self._texts:
            return tuple(row[len(self.columns) :])
        return tuple(str(row[place]) for place in self.decisive[: len(self.key)])

    def is_whole(self, connection: Connection) -> bool:
        """Return whether a page that was read in this transaction holds all rows of its snapshot.

        TRUNCATE and some forms of ALTER TABLE give a table another file. To a snapshot from before,
        the table is empty from then on. The page has locked the tables, so none follows.
        """
        names = (literal(table_name(connection, table)) for table in self.tables)
        roots = ", ".join(f"pg_catalog.to_regclass({name})" for name in names)
        rows = execute_on(connection)(
            f"WITH RECURSIVE part (oid) AS (SELECT pg_catalog.unnest(ARRAY[{roots}])::oid "
            "UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN part ON i.inhparent = part.oid) "
            "SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_class AS c JOIN part USING (oid) "
            "WHERE nullif(c.relfilenode, 0::oid) IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)::oid"
        )
        ((changed,),) = rows
        return not changed

    # -- events ------------------------------------------------------------------------------------

    def shape_of(self, row: Sequence[Any]) -> RowShape | None:
        """Return the shape of the most specific class that a row belongs to; None if its events are
        not wanted."""
        value = None if self._discriminator is None else row[self._discriminator_place]
        try:
            return self._shapes[value]
        except KeyError:
            shape = self._shapes[value] = self._make_shape(value)
            return shape

    def is_bare(self, shape: RowShape) -> bool:
        """Return whether a row of the SELECT holds the values of ``shape`` and nothing else."""
        return not self._texts and shape.layout.places == tuple(range(len(self.columns)))

    @property
    def only_shape(self) -> RowShape | None:
        """The shape of all rows; None if they are of several classes."""
        return self.shape_of(()) if self._discriminator is None else None

    def _make_shape(self, value: Any) -> RowShape | None:
        mapper = self._mapper
        if mapper is not None:
            found = mapper.polymorphic_map.get(value, mapper)
            mapper = found if found.isa(mapper) else mapper
            if not self._accepts(mapper.class_):
                return None
        entity = self.table if mapper is None else mapper.class_
        return RowShape(entity, mapper, self.columns, self._attributes(mapper), self.key)

    def decoder_of(self, column: Any) -> ColumnDecoder | None:
        """Return what decodes the texts of a column; None for one that is computed."""
        decoder = self._decoders.get(id(getattr(column, "table", None)))
        if decoder is None or not isinstance(column, Column):
            return None
        return decoder.decoder(catalog_name(column.name))


def _readable(execute: Execute, name: str, table: Table) -> set[int]:
    """Return the columns of a table that the role may read."""
    rows = execute(
        "SELECT attname FROM pg_catalog.pg_attribute "
        f"WHERE attrelid = pg_catalog.to_regclass({literal(name)})::oid AND NOT attisdropped AND "
        "pg_catalog.has_column_privilege(attrelid, attnum, 'SELECT')"
    )
    names = {row[0] for row in rows}
    return {id(column) for column in table.columns if catalog_name(column.name) in names}


def _plan(connection: Connection, statement: Select[Any]) -> dict[str, int]:
    found: Any = connection.execute(_Explain(statement)).scalar_one()
    plans = json.loads(found) if isinstance(found, str) else found
    plan: dict[str, int] = plans[0]["Plan"]
    return plan


class _Explain(Executable, ClauseElement):
    """EXPLAIN of a SELECT."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _explain(element: _Explain, compiler: Any, **kw: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, literal_binds=True, **kw)}"
