"""The table of consumers: which position in the change log each consumer has reached.

A consumer has one row with an empty ``relation`` for its position, and one row for each table that
has a place of its own. These places are separate rows because the row of the position is locked
while a batch is processed, and a version of the program that starts meanwhile must register its
tables at once.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import PgNotifyError
from ..log.scans import Scan, scans_from_json, scans_to_json
from ..log.snapshots import Position, Snapshot, Tables
from ..log.tables import LogNames
from ..protocol.wire import RS, US
from ..sql import Execute, literal

__all__ = ["ConsumerKey", "ConsumerTable", "Lag", "StoredPosition"]


@dataclass(frozen=True)
class ConsumerKey:
    """The primary key of a consumer's rows, without the table.

    :ivar part: which of its ``parts`` the consumer reads, counted from 0.
    """

    name: str
    part: int
    parts: int

    def __str__(self) -> str:
        return self.name if self.parts == 1 else f"{self.name} ({self.part} of {self.parts})"

    @property
    def every(self) -> str:
        """An SQL condition for the row of its position and the rows of its tables' places."""
        return f"name = {literal(self.name)} AND part = {self.part} AND parts = {self.parts}"

    @property
    def condition(self) -> str:
        """An SQL condition for the row of its position."""
        return f"{self.every} AND relation = ''"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind.

    :ivar events: the number of committed changes that it has not finished.
    :ivar seconds: the age of the oldest of them by the server's clock; 0.0 if there is none.
    :ivar rows_done: how many rows its unfinished snapshot and backfills have read.
    :ivar rows_estimate: how many rows these have in all, as PostgreSQL's planner estimated when they
        began; 0 if none is unfinished.
    """

    events: int
    seconds: float
    rows_done: int = 0
    rows_estimate: int = 0


@dataclass(frozen=True)
class StoredPosition:
    """What the table of consumers holds for one consumer.

    :ivar origin: the log of ``position``, see :func:`sa_pgnotify.log.origin.origin_of`.
    :ivar lost: how many changes are known to be missing in the log, see
        :attr:`sa_pgnotify.log.losses.Losses.seen`.
    :ivar lock: the key of the advisory lock that the working process holds.
    :ivar failing: the change that failed last and has not been passed since, None if there is none;
        ``failures`` is how often it has failed.
    :ivar pid: the process id of the session that ran the query.
    :ivar patience: seconds after which PostgreSQL ends that session within a transaction; 0.0 if it
        does not.
    :ivar is_retrying: whether parked changes should be given out again.
    :ivar apart: the places of the tables that are not read from ``position``.
    :ivar origins: the log that each of these places belongs to.
    """

    origin: str
    position: Position
    lost: int = -1
    lock: int = 0
    failing: str | None = None
    failures: int = 0
    pid: int = 0
    patience: float = 0.0
    is_retrying: bool = False
    apart: Mapping[str, Position] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> tuple[str, ...]:
        """All tables that have a place under the consumer's name."""
        return tuple(sorted({*self.position.names, *self.apart}))


class ConsumerTable:
    """The rows of one consumer in the table of consumers.

    Each method takes a function that runs SQL, so that it works in a session of the program as well
    as on the consumer's own connection.
    """

    def __init__(self, names: LogNames, key: ConsumerKey) -> None:
        self.names = names
        self.key = key

    def forgotten(self) -> PgNotifyError:
        """Return the error to raise when nothing is stored any more."""
        return PgNotifyError(f"the consumer {self.key} was forgotten: its position was deleted")

    def unknown(self) -> PgNotifyError:
        """Return the error to raise when nothing has been stored."""
        return PgNotifyError(
            f"the consumer {self.key} is not known in this database: start() it first"
        )

    def load(self, execute: Execute) -> StoredPosition | None:
        """Return what is stored, with the places of all tables; None if nothing is stored."""
        return self._select(execute, f"{self.key.every} ORDER BY relation ")

    def load_known(self, execute: Execute) -> StoredPosition:
        """Return what is stored, with the places of all tables.

        :raises PgNotifyError: if nothing is stored.
        """
        stored = self.load(execute)
        if stored is None:
            raise self.unknown()
        return stored

    def lock(self, execute: Execute, *, skip_locked: bool = False) -> StoredPosition | None:
        """Lock the position until the transaction ends, and return it without the places of tables.

        :param skip_locked: whether to return None, instead of waiting, if another transaction has
            locked the position.
        :returns: None if nothing is stored.
        """
        lock = "FOR UPDATE SKIP LOCKED" if skip_locked else "FOR UPDATE"
        return self._select(execute, f"{self.key.condition} {lock}")

    def _select(self, execute: Execute, where: str) -> StoredPosition | None:
        found: StoredPosition | None = None
        apart: dict[str, Position] = {}
        origins: dict[str, str] = {}
        for row in execute(f"SELECT {_COLUMNS} FROM {self.names.consumers} WHERE {where}"):
            relation, origin, last, target, tx_end, row_id, row_part, tables, among, *rest = row
            scans, *rest = rest
            position = Position(
                last,
                target,
                tx_end,
                row_id,
                row_part,
                _parsed(tables),
                _parsed(among),
                scans_from_json(scans),
            )
            if not relation:
                found = StoredPosition(origin, position, *rest)
            elif found is not None and position.tables and relation not in found.position.names:
                apart[relation], origins[relation] = position, origin
        return None if found is None else replace(found, apart=apart, origins=origins)

    def create(self, execute: Execute, origin: str, position: Position, lost: int) -> None:
        """Store a position unless one is stored."""
        row = _row(self.key, "", origin, position, lost, new_lock())
        execute(
            f"INSERT INTO {self.names.consumers} ({_STORED}) VALUES ({row}) ON CONFLICT DO NOTHING"
        )

    def other_parts(self, execute: Execute) -> int | None:
        """Return the number of parts under this name if it differs from ``key.parts``, else
        None."""
        others = f"SELECT parts FROM {self.names.consumers} WHERE name = {literal(self.key.name)} AND parts <> {self.key.parts} LIMIT 1"
        return next((int(parts) for (parts,) in execute(others)), None)

    def move(self, execute: Execute, to: Position, *, origin: str, lost: int | None = None) -> None:
        """Store a position, and reset the failing change.

        :param lost: how many changes are known to be missing in the log; None to keep the stored
            number.
        """
        more = "" if lost is None else f", lost = {lost}"
        execute(
            f"UPDATE {self.names.consumers} SET {_set(to)}, origin = {literal(origin)}, failing = NULL, failures = 0, "
            f"moved_at = pg_catalog.clock_timestamp(){more} WHERE {self.key.condition}"
        )

    def arrange(
        self,
        execute: Execute,
        stored: StoredPosition,
        to: Position,
        *,
        keep: Mapping[str, Position] | None = None,
        origin: str | None = None,
        lost: int | None = None,
    ) -> bool:
        """Move the consumer although no batch was processed, and return whether it was moved.

        It is not moved if the position has changed since ``stored`` was loaded, or if another
        transaction has locked it.

        :param keep: the places of tables that are not read from the position.
        :param origin: the new origin, and ``lost`` the new number of missing changes; None to keep
            the stored ones.
        """
        consumers, key = self.names.consumers, self.key
        more = ("" if origin is None else f", origin = {literal(origin)}") + (
            "" if lost is None else f", lost = {lost}"
        )
        kept = {
            name: place for name, place in (keep or {}).items() if stored.apart.get(name) != place
        }
        still = f"{key.condition} AND {_still(stored.position)}"
        moved = f"{_set(to)}, moved_at = pg_catalog.clock_timestamp(){more} WHERE {key.condition} AND EXISTS (SELECT FROM free)"
        steps = [
            f"free AS MATERIALIZED (SELECT 1 FROM {consumers} WHERE {still} FOR UPDATE SKIP LOCKED)",
            f"moved AS (UPDATE {consumers} SET {moved} RETURNING 1)",
        ]
        if kept:
            rows = ", ".join(
                f"({_row(key, name, stored.origin, place, -1, 0)})" for name, place in kept.items()
            )
            steps.append(
                f"kept AS (INSERT INTO {consumers} ({_STORED}) SELECT v.* FROM (VALUES {rows}) AS v, moved "
                f"ON CONFLICT (name, part, parts, relation) DO UPDATE SET {_TAKEN})"
            )
        if to.names:
            steps.append(f"freed AS ({self._free(to.names)} AND EXISTS (SELECT FROM moved))")
        ((count,),) = execute(f"WITH {', '.join(steps)} SELECT pg_catalog.count(*)::int FROM moved")
        return bool(count)

    def free(self, execute: Execute, tables: Iterable[str]) -> None:
        """Free the places of tables that no longer need one of their own.

        Their rows stay, because a consumer need not have the right to DELETE.
        """
        execute(self._free(tables))

    def _free(self, tables: Iterable[str]) -> str:
        listed = ", ".join(map(literal, tables))
        return f"UPDATE {self.names.consumers} SET relations = '{{}}' WHERE {self.key.every} AND relation IN ({listed}) AND relation <> ''"

    def register(
        self,
        execute: Execute,
        tables: Iterable[str],
        beginning: Position | None,
        scans: Iterable[Scan] = (),
    ) -> None:
        """Give a place to each of ``tables`` that has none under the name, without waiting for a
        batch that is being processed.

        :param beginning: that place; None for the consumer's position, after which nothing of these
            tables has been read.
        :param scans: those with which tables begin.
        """
        consumers = self.names.consumers
        begin = {scan.relation: (scan,) for scan in scans}
        last = "last" if beginning is None else literal(beginning.last)
        wanted = ", ".join(
            f"({literal(name)}, {literal(scans_to_json(begin.get(name, ())))})"
            for name in sorted(tables)
        )
        execute(
            f"INSERT INTO {consumers} AS consumers ({_STORED}) "
            f"SELECT c.name, c.part, c.parts, new.relation, c.origin, {last}, NULL, 0, 0, 0, "
            f"pg_catalog.json_build_object(new.relation, NULL)::text, '{{}}', new.scans, -1, 0 "
            f"FROM {consumers} AS c CROSS JOIN (VALUES {wanted}) AS new (relation, scans) WHERE {self.key.every} AND c.relation = '' "
            "AND NOT EXISTS (SELECT FROM pg_catalog.json_object_keys(c.relations::json) AS known WHERE known = new.relation) "
            f"ON CONFLICT (name, part, parts, relation) DO UPDATE SET {_TAKEN} WHERE consumers.relations = '{{}}'"
        )

    def count_failure(self, execute: Execute, change: str) -> int | None:
        """Count a failure of a change, and return how often it has failed in a row; None if nothing
        is stored."""
        failing = f"failing = {literal(change)}"
        rows = execute(
            f"UPDATE {self.names.consumers} SET {failing}, failures = CASE WHEN {failing} THEN failures + 1 "
            f"ELSE 1 END WHERE {self.key.condition} RETURNING failures"
        )
        return next((int(failures) for (failures,) in rows), None)

    def replace_lock(self, execute: Execute, number: int) -> bool:
        """Replace the key ``number`` of the advisory lock, and return whether it was replaced.

        It is not replaced if the key has changed, or if a transaction has locked the position.
        """
        consumers, condition = self.names.consumers, self.key.condition
        free = f"SELECT 1 FROM {consumers} WHERE {condition} AND lock = {number} FOR UPDATE SKIP LOCKED"
        replaced = execute(
            f"WITH free AS MATERIALIZED ({free}) UPDATE {consumers} SET lock = {new_lock()} WHERE {condition} "
            "AND EXISTS (SELECT FROM free) RETURNING 1"
        )
        return bool(list(replaced))

    def dropped(self, execute: Execute, places: Mapping[str, Position]) -> dict[str, bool]:
        """Return the tables of ``places`` that no longer exist under their names, each with whether
        some of its changes were not read.

        :param places: the places of tables that are not read at the moment.
        """
        if not places:
            return {}
        listed = ", ".join(map(literal, sorted(places)))
        # In a schema that this role may not use, to_regclass() fails.
        schema = (
            "pg_catalog.to_regnamespace(pg_catalog.quote_ident((pg_catalog.parse_ident(name))[1]))"
        )
        usable = f"pg_catalog.has_schema_privilege({schema}, 'USAGE') IS NOT FALSE"
        missing = (
            f"SELECT name FROM pg_catalog.unnest(ARRAY[{listed}]::text[]) AS name "
            f"WHERE CASE WHEN {usable} THEN pg_catalog.to_regclass(name) IS NULL ELSE false END"
        )
        return {
            str(name): self.lag(execute, places[name]).events > 0
            for (name,) in list(execute(missing))
        }

    def lag(self, execute: Execute, at: Position) -> Lag:
        """Return how far a place is behind."""
        log = self.names.rows
        ((events, oldest),) = execute(
            f"SELECT coalesce(pg_catalog.sum(events), 0)::bigint, "
            f"coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) "
            f"- pg_catalog.min(made)::float8 / 1000000::float8, 0)::float8 "
            f"FROM (SELECT {_UNREAD_CHANGES}{_read_of_row(at)} AS events, {_MADE} AS made FROM {log} AS l "
            f"WHERE {at.unread}{_not_passed(at, log)}) AS behind WHERE events > 0"
        )
        scans = [scan for scan in at.scans if not scan.done]
        return Lag(
            int(events),
            float(oldest) if events else 0.0,
            sum(scan.rows for scan in scans),
            sum(scan.estimate for scan in scans),
        )


_STORED = "name, part, parts, relation, origin, last, target, tx_end, row_id, row_part, relations, among, scans, lost, lock"
_TAKEN = ", ".join(
    f"{column} = excluded.{column}" for column in (*_STORED.split(", ")[4:], "moved_at")
)
_PATIENCE = ", ".join(
    f"nullif(pg_catalog.date_part('epoch', coalesce(pg_catalog.current_setting('{name}', true), '0')::interval), 0::float8)"
    for name in ("idle_in_transaction_session_timeout", "transaction_timeout")
)
_COLUMNS = (
    "relation, origin, last, target, tx_end, row_id, row_part, relations, among, scans, lost, lock, failing, failures, "
    f"pg_catalog.pg_backend_pid(), coalesce(least({_PATIENCE}), 0)::float8, retrying"
)
_UNREAD_CHANGES = f"1 + pg_catalog.octet_length(rows) - pg_catalog.octet_length(pg_catalog.replace(rows, {literal(RS)}, ''))"
_MADE = f"CASE WHEN header LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part(header, {literal(US)}, 4)::bigint END"


def new_lock() -> int:
    """Return a new key for an advisory lock. It is random, so that only roles that may read the
    table know it before the lock is held."""
    return secrets.randbits(62)


def _parsed(text: str) -> Tables:
    return tuple(sorted(json.loads(text).items()))


def _json(tables: Tables) -> str:
    return literal(json.dumps(dict(tables), sort_keys=True))


def _scans(at: Position) -> str:
    return literal(scans_to_json(at.scans))


def _text(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


def _row(key: ConsumerKey, relation: str, origin: str, at: Position, lost: int, lock: int) -> str:
    return (
        f"{literal(key.name)}, {key.part}, {key.parts}, {literal(relation)}, {literal(origin)}, "
        f"{literal(at.last)}, {_text(at.target)}::text, {at.tx_end}, {at.row_id}, {at.row_part}, {_json(at.tables)}, {_json(at.among)}, "
        f"{_scans(at)}, {lost}, {lock}"
    )


def _set(at: Position) -> str:
    return (
        f"last = {literal(at.last)}, target = {_text(at.target)}, tx_end = {at.tx_end}, row_id = {at.row_id}, row_part = {at.row_part}, "
        f"relations = {_json(at.tables)}, among = {_json(at.among)}, scans = {_scans(at)}"
    )


def _still(at: Position) -> str:
    return (
        f"(last, tx_end, row_id, row_part, relations, among, scans) = ({literal(at.last)}, {at.tx_end}, {at.row_id}, {at.row_part}, "
        f"{_json(at.tables)}, {_json(at.among)}, {_scans(at)}) AND target IS NOT DISTINCT FROM {_text(at.target)}"
    )


def _read_of_row(at: Position) -> str:
    """SQL that subtracts the changes of the reached row that have been read."""
    if at.target is None:
        return ""
    return f" - CASE WHEN id = {at.row_id} THEN {at.row_part} ELSE 0 END"


def _not_passed(at: Position, log: str) -> str:
    """An SQL condition, with AND, that excludes the rows of a window that have been passed."""
    if at.target is None or not at.tx_end:
        return ""
    newest = f"(SELECT pg_catalog.max(id) FROM {log} AS m WHERE m.xid = l.xid AND {at.within(ordered=True)})"
    return f" AND NOT ({Snapshot.parse(at.target).seen} AND ({newest}, id) < ({at.tx_end}, {at.row_id}))"
