"""The table of consumers: where each of them is in the change log, and what is to be said of that.

A consumer has a row with an empty ``relation`` for its position, and one for each table that has a
place of its own. The places are rows by themselves because the position's row is locked while a
batch is worked off, and a version of the program that starts meanwhile must have its place at once.

Every statement here is one piece of SQL text, so that it runs on a session of the program's, and on
a consumer's own connection.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..log.snapshots import Position, Snapshot, Tables, beginning
from ..log.tables import LogNames
from ..protocol.wire import RS, US
from ..sql import Execute, literal

__all__ = ["ConsumerKey", "Lag", "StoredPosition"]


@dataclass(frozen=True)
class ConsumerKey:
    """Which consumer.

    :ivar part: of how many ``parts`` it reads, counted from 0.
    """

    name: str
    part: int
    parts: int

    def __str__(self) -> str:
        return self.name if self.parts == 1 else f"{self.name} ({self.part} of {self.parts})"

    @property
    def every(self) -> str:
        """An SQL condition on the rows of its position and of its tables' places."""
        return f"name = {literal(self.name)} AND part = {self.part} AND parts = {self.parts}"

    @property
    def condition(self) -> str:
        """An SQL condition on the row of its position."""
        return f"{self.every} AND relation = ''"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind.

    :ivar events: changes that are committed and that it has not finished.
    :ivar seconds: since the oldest of them was made, by the server's clock; 0.0 if there is none.
    """

    events: int
    seconds: float


@dataclass(frozen=True)
class StoredPosition:
    """What the table says of a consumer.

    :ivar origin: what the position is a position in, see :func:`sa_pgnotify.log.tail.origin_of`.
    :ivar apart: the places of the tables that are not read from ``position``.
    :ivar origins: what each of these is a place in.
    :ivar lost: how many changes are known to be missing in the log, see
        :attr:`sa_pgnotify.log.losses.Losses.seen`.
    :ivar lock: the key of the advisory lock that the process holds that works.
    :ivar failing: the change that failed last, and has not been passed since; ``failures`` how
        often.
    :ivar pid: the process id of the session that asked; ``patience`` seconds after which PostgreSQL
        ends it within a transaction, 0.0 if it does not.
    """

    origin: str
    position: Position
    lost: int = -1
    lock: int = 0
    failing: str | None = None
    failures: int = 0
    pid: int = 0
    patience: float = 0.0
    apart: Mapping[str, Position] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls, execute: Execute, names: LogNames, key: ConsumerKey, lock: str = ""
    ) -> StoredPosition | None:
        """What is stored, or None.

        :param lock: ``"FOR UPDATE"``, until the transaction ends; with ``SKIP LOCKED``, None also
            if somebody else has locked it. Then without the places of tables.
        """
        found: StoredPosition | None = None
        apart: dict[str, Position] = {}
        origins: dict[str, str] = {}
        which = key.condition if lock else f"{key.every} ORDER BY relation"
        for row in execute(f"SELECT {_COLUMNS} FROM {names.consumers} WHERE {which} {lock}"):
            relation, origin, last, target, tx_end, row_id, row_part, tables, among, *rest = row
            position = Position(
                last, target, tx_end, row_id, row_part, _parsed(tables), _parsed(among)
            )
            if not relation:
                found = cls(origin, position, *rest)
            elif found is not None and position.tables and relation not in found.position.names:
                apart[relation], origins[relation] = position, origin
        return None if found is None else replace(found, apart=apart, origins=origins)

    def create(self, names: LogNames, key: ConsumerKey) -> str:
        """SQL that stores it, if nothing is stored."""
        row = _row(key, "", self.origin, self.position, self.lost, new_lock())
        return f"INSERT INTO {names.consumers} ({_STORED}) VALUES ({row}) ON CONFLICT DO NOTHING"

    @property
    def known(self) -> tuple[str, ...]:
        """All tables that have a place under the name."""
        return tuple(sorted({*self.position.names, *self.apart}))


_STORED = "name, part, parts, relation, origin, last, target, tx_end, row_id, row_part, relations, among, lost, lock"
_TAKEN = ", ".join(
    f"{column} = excluded.{column}" for column in (*_STORED.split(", ")[4:], "moved_at")
)
_PATIENCE = ", ".join(
    f"nullif(pg_catalog.date_part('epoch', coalesce(pg_catalog.current_setting('{name}', true), '0')::interval), 0)"
    for name in ("idle_in_transaction_session_timeout", "transaction_timeout")
)
_COLUMNS = (
    "relation, origin, last, target, tx_end, row_id, row_part, relations, among, lost, lock, failing, failures, "
    f"pg_catalog.pg_backend_pid(), coalesce(least({_PATIENCE}), 0)::float8"
)


def new_lock() -> int:
    """Return a key of an advisory lock that no role can know that may not read the table, until the
    lock is held."""
    return secrets.randbits(62)


def _parsed(text: str) -> Tables:
    return tuple(sorted(json.loads(text).items()))


def _json(tables: Tables) -> str:
    return literal(json.dumps(dict(tables), sort_keys=True))


def _text(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


def _row(key: ConsumerKey, relation: str, origin: str, at: Position, lost: int, lock: int) -> str:
    return (
        f"{literal(key.name)}, {key.part}, {key.parts}, {literal(relation)}, {literal(origin)}, {literal(at.last)}, "
        f"{_text(at.target)}::text, {at.tx_end}, {at.row_id}, {at.row_part}, {_json(at.tables)}, {_json(at.among)}, {lost}, {lock}"
    )


def _set(at: Position) -> str:
    return (
        f"last = {literal(at.last)}, target = {_text(at.target)}, tx_end = {at.tx_end}, row_id = {at.row_id}, row_part = {at.row_part}, "
        f"relations = {_json(at.tables)}, among = {_json(at.among)}"
    )


def _still(at: Position) -> str:
    return (
        f"(last, tx_end, row_id, row_part, relations, among) = ({literal(at.last)}, {at.tx_end}, {at.row_id}, {at.row_part}, "
        f"{_json(at.tables)}, {_json(at.among)}) AND target IS NOT DISTINCT FROM {_text(at.target)}"
    )


def move(
    names: LogNames, key: ConsumerKey, to: Position, *, origin: str, lost: int | None = None
) -> str:
    """SQL that stores a position, and that nothing fails any more.

    :param lost: how many changes are known to be missing in the log, if that is more than before.
    """
    more = "" if lost is None else f", lost = {lost}"
    return (
        f"UPDATE {names.consumers} SET {_set(to)}, origin = {literal(origin)}, failing = NULL, failures = 0, "
        f"moved_at = pg_catalog.clock_timestamp(){more} WHERE {key.condition}"
    )


def arrange(
    names: LogNames,
    key: ConsumerKey,
    stored: StoredPosition,
    to: Position,
    *,
    keep: Mapping[str, Position] | None = None,
    origin: str | None = None,
    lost: int | None = None,
) -> str:
    """SQL that moves a consumer without anything having been worked off; it gives whether it did, 1
    or 0.

    It does not if the position is not the stored one any more, or if somebody has locked it.

    :param keep: places of tables that are not read at the position; ``origin`` and ``lost`` if they
        are others than stored.
    """
    more = ("" if origin is None else f", origin = {literal(origin)}") + (
        "" if lost is None else f", lost = {lost}"
    )
    kept = {name: place for name, place in (keep or {}).items() if stored.apart.get(name) != place}
    still = f"{key.condition} AND {_still(stored.position)}"
    moved = f"{_set(to)}, moved_at = pg_catalog.clock_timestamp(){more} WHERE {key.condition} AND EXISTS (SELECT FROM free)"
    steps = [
        f"free AS MATERIALIZED (SELECT 1 FROM {names.consumers} WHERE {still} FOR UPDATE SKIP LOCKED)",
        f"moved AS (UPDATE {names.consumers} SET {moved} RETURNING 1)",
    ]
    if kept:
        rows = ", ".join(
            f"({_row(key, name, stored.origin, place, -1, 0)})" for name, place in kept.items()
        )
        steps.append(
            f"kept AS (INSERT INTO {names.consumers} ({_STORED}) SELECT v.* FROM (VALUES {rows}) AS v, moved "
            f"ON CONFLICT (name, part, parts, relation) DO UPDATE SET {_TAKEN})"
        )
    if to.names:
        steps.append(
            f"freed AS ({free_places(names, key, to.names)} AND EXISTS (SELECT FROM moved))"
        )
    return f"WITH {', '.join(steps)} SELECT count(*)::int FROM moved"


def free_places(names: LogNames, key: ConsumerKey, tables: Iterable[str]) -> str:
    """SQL that frees the places of tables that need none of their own: their rows stay, because a
    consumer need not have the right to DELETE."""
    listed = ", ".join(map(literal, tables))
    return f"UPDATE {names.consumers} SET relations = '{{}}' WHERE {key.every} AND relation IN ({listed}) AND relation <> ''"


def register(
    names: LogNames, key: ConsumerKey, tables: Iterable[str], beginning: Position | None
) -> str:
    """SQL that gives a place to each of ``tables`` that has none under the name: it does not wait
    for a batch.

    :param beginning: that place; None for the one that the consumer is at, behind which nothing of
        them was read.
    """
    last = "last" if beginning is None else literal(beginning.last)
    wanted = ", ".join(f"({literal(name)})" for name in sorted(tables))
    return (
        f"INSERT INTO {names.consumers} AS consumers ({_STORED}) "
        f"SELECT c.name, c.part, c.parts, new.relation, c.origin, {last}, NULL, 0, 0, 0, "
        f"pg_catalog.json_build_object(new.relation, NULL)::text, '{{}}', -1, 0 "
        f"FROM {names.consumers} AS c CROSS JOIN (VALUES {wanted}) AS new (relation) WHERE {key.every} AND c.relation = '' "
        "AND NOT EXISTS (SELECT FROM pg_catalog.json_object_keys(c.relations::json) AS known WHERE known = new.relation) "
        f"ON CONFLICT (name, part, parts, relation) DO UPDATE SET {_TAKEN} WHERE consumers.relations = '{{}}'"
    )


def count_failure(names: LogNames, key: ConsumerKey, change: str) -> str:
    """SQL that counts a failure of a change, and gives how many in a row that makes."""
    return (
        f"UPDATE {names.consumers} SET failing = {literal(change)}, failures = CASE WHEN failing = {literal(change)} THEN failures + 1 "
        f"ELSE 1 END WHERE {key.condition} RETURNING failures"
    )


def gone(execute: Execute, names: LogNames, places: Mapping[str, Position]) -> dict[str, bool]:
    """The tables that are not there any more by their names; for each, whether some of its changes
    were not read.

    :param places: of the tables that are not read now.
    """
    if not places:
        return {}
    listed = ", ".join(map(literal, sorted(places)))
    # In a schema that this role may not use, to_regclass() fails.
    schema = "pg_catalog.to_regnamespace(pg_catalog.quote_ident((pg_catalog.parse_ident(name))[1]))"
    usable = f"pg_catalog.has_schema_privilege({schema}, 'USAGE') IS NOT FALSE"
    lacking = (
        f"SELECT name FROM unnest(ARRAY[{listed}]::text[]) AS name "
        f"WHERE CASE WHEN {usable} THEN pg_catalog.to_regclass(name) IS NULL ELSE false END"
    )
    found: dict[str, bool] = {}
    for (name,) in list(execute(lacking)):
        found[str(name)] = lag(execute, names, places[name]).events > 0
    return found


def lag(execute: Execute, names: LogNames, at: Position) -> Lag:
    """How far a place is behind."""
    log = names.rows
    done = ""
    if at.target is not None and at.tx_end:
        newest = (
            f"(SELECT max(id) FROM {log} AS m WHERE m.xid = l.xid AND {at.within(ordered=True)})"
        )
        done = f" AND NOT ({Snapshot.parse(at.target).seen} AND ({newest}, id) < ({at.tx_end}, {at.row_id}))"
    changes = f"1 + pg_catalog.octet_length(rows) - pg_catalog.octet_length(pg_catalog.replace(rows, {literal(RS)}, ''))"
    here = (
        f" - CASE WHEN id = {at.row_id} THEN {at.row_part} ELSE 0 END"
        if at.target is not None
        else ""
    )
    made = f"CASE WHEN header LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part(header, {literal(US)}, 4)::bigint END"
    ((events, oldest),) = execute(
        f"SELECT coalesce(sum(events), 0)::bigint, coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - min(made) "
        f"/ 1000000.0, 0)::float8 FROM (SELECT {changes}{here} AS events, {made} AS made FROM {log} AS l "
        f"WHERE {at.unread}{done}) AS behind WHERE events > 0"
    )
    return Lag(int(events), float(oldest) if events else 0.0)


def resolve(execute: Execute, names: LogNames, start: str | Position) -> Position:
    """The place that ``"beginning"``, ``"now"`` or a position means.

    :raises ValueError: if it means none.
    """
    if isinstance(start, Position):
        return start
    if start not in ("beginning", "now"):
        raise ValueError(
            f"{start!r} is no place in the log: give 'now', 'beginning' or the position of a change"
        )
    ((now, removed),) = execute(
        f"SELECT pg_catalog.pg_current_snapshot()::text, (SELECT removed FROM {names.head} WHERE id = 0)"
    )
    return Position(str(now if start == "now" else beginning(removed or 0)))
