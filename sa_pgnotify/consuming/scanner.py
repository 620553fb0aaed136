"""Reading the rows that tables hold, for a snapshot or a backfill of a consumer.

A page of rows is read in the same snapshot as the changes before it, in a transaction on a
connection of its own. So the changes that this snapshot has seen come first, then the rows as it
has seen them, then the changes that it has not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, Engine, String, and_, or_
from sqlalchemy import literal as value_of
from sqlalchemy.exc import DBAPIError

from ..events.decoding import TableDecoder
from ..events.kinds import Gap
from ..events.stream import EventStream
from ..log.scans import Scan
from ..log.snapshots import Position, Snapshot
from ..marking.spec import marking_of
from ..scanning.entity_rows import EntityRows, root_table
from ..scanning.page_reader import Seen, events_of, read_page
from ..scanning.row_page import RowPage
from ..scanning.started import Key, only_started
from ..scanning.where import where_to_json
from ..sql import execute_on, sqlstate_of
from .captured_page import divided
from .chunks import Chunk, part_of
from .positions import ConsumerKey

__all__ = ["Scanner"]

LOCK_NOT_AVAILABLE = "55P03"
UNUSABLE_CONDITION = ("22", "42883")
"""How the SQLSTATE begins if PostgreSQL cannot evaluate a condition: a data exception, or an operator
that the type of a column does not have."""
_LIMIT_LOCK_WAIT = "SELECT pg_catalog.set_config('lock_timeout', '1s', true)"
"""Lets a transaction wait for a locked table only briefly, because ``stop()`` waits for it, and because
its snapshot keeps the server from removing old rows."""


class Scanner:
    """Reads rows for one consumer.

    :param stream: makes the gaps for what cannot be read.
    """

    def __init__(self, engine: Engine, key: ConsumerKey, stream: EventStream) -> None:
        self._engine = engine
        self._key = key
        self._stream = stream
        self._roots: dict[str, str] = {}
        self._decoders: dict[str, dict[str, TableDecoder]] = {}
        self._entities: dict[str, EntityRows] = {}

    def use(self, sources: Mapping[str, TableDecoder]) -> None:
        """Read the rows of the tables ``sources``, by their names in messages."""
        names = {id(source.table): name for name, source in sources.items()}
        self._roots = {
            name: names.get(id(root_table(source.table, source.mapper)), name)
            for name, source in sources.items()
        }
        self._decoders, self._entities = {}, {}
        for name, root in self._roots.items():
            self._decoders.setdefault(root, {})[name] = sources[name]

    @contextmanager
    def snapshot(self) -> Iterator[Seen]:
        """Yield a transaction that sees one snapshot, on a connection of its own."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._engine.connect().execution_options(**options) as connection:
            yield Seen.by(connection)

    def _entity(self, connection: Connection, root: str) -> EntityRows:
        known = self._entities.get(root)
        if known is None:
            decoders = self._decoders[root]
            at = decoders[root]
            known = self._entities[root] = EntityRows(
                connection, root, at.table, at, at.key, decoders.values()
            )
        return known

    def roots(self) -> list[str]:
        """Return the tables, by their names in messages, in which each row of an entity has a
        part."""
        return list(self._decoders)

    def beginning(self, tables: Collection[str] | None = None) -> tuple[Scan, ...]:
        """Return the scans of all entities, from their first rows.

        :param tables: only of those entities whose root table is among them.
        :raises NotifyConfigError: if the role cannot read the rows of an entity.
        """
        wanted = [root for root in self._decoders if tables is None or root in tables]
        with self.snapshot() as seen:
            at = seen.connection
            entities = [self._entity(at, root) for root in wanted]
            return tuple(
                Scan(entity.relation, starts=True, estimate=entity.estimate(at))
                for entity in entities
            )

    def again(self, relation: str, identities: Iterable[Sequence[str]]) -> Scan:
        """Return a scan of the rows with these identities.

        :param relation: the root table of an entity, by its name in messages.
        :param identities: PostgreSQL's texts of each.
        """
        with self.snapshot() as seen:
            entity = self._entity(seen.connection, relation)
            rows = [
                and_(*(column == value_of(text, String) for column, text in zip(entity.key, texts)))
                for texts in identities
            ]
            where = where_to_json(seen.connection, or_(*rows), entity.tables, relation)
        return Scan(relation, starts=False, where=where, estimate=len(rows))

    def pending(self, position: Position) -> Scan | None:
        """Return the scan to go on with, None if there is none."""
        return next(
            (scan for scan in position.scans if not scan.done and scan.relation in self._decoders),
            None,
        )

    def only_started(self, seen: Seen, position: Position, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Return chunks without the changes of rows that come with a scan later."""
        found = list(chunks)
        for scan in position.scans:
            if scan.done or not scan.starts or scan.relation not in self._decoders:
                continue
            order = self._entity(seen.connection, scan.relation).order
            places = [
                i for i, c in enumerate(found) if self._roots.get(c.row.relation) == scan.relation
            ]
            events = only_started(
                execute_on(seen.connection), order, scan.after, [found[i].events for i in places]
            )
            for i, each in zip(places, events):
                found[i] = replace(found[i], events=each)
        return found

    def is_captured(self, scan: Scan) -> bool:
        """Return whether the changes of a scan's rows are captured from the write-ahead log."""
        markings = (marking_of(at.table) for at in self._decoders[scan.relation].values())
        return any(marking is not None and marking.capture == "wal" for marking in markings)

    def divided(
        self, seen: Seen, scan: Scan, page: Chunk, chunks: Sequence[Chunk]
    ) -> tuple[list[Chunk], list[Chunk]] | None:
        """Return the changes before a page of a captured table and those after it, see
        :func:`~sa_pgnotify.consuming.captured_page.divided`."""
        assert isinstance(page.row, RowPage)
        order, row = self._entity(seen.connection, scan.relation).order, page.row
        execute = execute_on(seen.connection)

        def in_page(keys: Iterable[Key]) -> dict[Key, bool]:
            wanted = list(keys)
            before = [False] * len(wanted)
            if scan.after is not None:
                before = order.reached(execute, scan.after, wanted)
            within = [True] * len(wanted)
            if not row.is_last:
                within = order.reached(execute, row.key_texts(row.size - 1), wanted)
            return {
                key: is_in and not is_before
                for key, is_in, is_before in zip(wanted, within, before, strict=True)
            }

        own = {name for name, root in self._roots.items() if root == scan.relation}
        return divided(chunks, own, Snapshot.parse(seen.snapshot), in_page)

    def read(self, seen: Seen, scan: Scan, start: Position, number: int, size: int) -> Chunk | None:
        """Return the next page of a scan; None if it must be read in another snapshot, because a table
        was emptied since this one was taken, or because another session has locked a table.

        :param seen: the transaction with the snapshot up to which ``start`` has read.
        :param number: of the page, see :attr:`RowPage.number`.
        """
        entity = self._entity(seen.connection, scan.relation)
        execute_on(seen.connection)(_LIMIT_LOCK_WAIT)
        try:
            where = entity.condition(seen.connection, scan.where)
        except ValueError as error:
            return self._given_up(seen, entity, scan, start, number, str(error))
        try:
            size = max(size, entity.page_size(seen.connection))
            page = read_page(seen, entity, scan, where, start, number, size)
        except DBAPIError as error:
            state = sqlstate_of(error.orig) or ""
            if state == LOCK_NOT_AVAILABLE:
                return None
            if not scan.where or not state.startswith(UNUSABLE_CONDITION):
                raise
            return self._given_up(seen, entity, scan, start, number, str(error.orig).strip())
        if not entity.is_whole(seen.connection):
            return None
        events = events_of(page, self._unreadable)
        if self._key.parts > 1:
            events = [
                event if part_of(page.key_texts(row), self._key.parts) == self._key.part else None
                for row, event in enumerate(events)
            ]
        return Chunk(page, events or [None], 0, page.size)

    def _given_up(
        self, seen: Seen, entity: EntityRows, scan: Scan, start: Position, number: int, why: str
    ) -> Chunk:
        """Return the end of a backfill whose condition cannot be used: a ``Gap``."""
        gap = self._unreadable(f"a backfill is given up: {why}")
        page = RowPage(number, entity, scan, start, (), True, seen.at, seen.pid)
        return Chunk(page, [gap], 0, 1)

    def _unreadable(self, why: str) -> Gap:
        return self._stream.undecodable(why, self._stream.complete_until)
