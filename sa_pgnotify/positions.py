"""The table of consumers: where each of them is in the change log, and what is to be said of that.

Every statement here is one piece of SQL text, so that it runs on a session of the program's, and on a consumer's own connection.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .changelog import LogNames
from .logreader import Execute, Position, Snapshot, beginning
from .quoting import literal
from .wire import RS, US

__all__ = ["ConsumerKey", "Lag", "Stored"]


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
    def condition(self) -> str:
        return f"name = {literal(self.name)} AND part = {self.part} AND parts = {self.parts}"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind.

    :ivar events: changes that are committed and that it has not finished.
    :ivar seconds: since the oldest of them was made, by the server's clock; 0.0 if there is none.
    """

    events: int
    seconds: float


@dataclass(frozen=True)
class Stored:
    """What the table says of a consumer.

    :ivar origin: what the position is a position in, see :func:`sa_pgnotify.tail.origin_of`.
    :ivar failing: the change that failed last, and has not been passed since; ``failures`` how often.
    """

    origin: str
    position: Position
    relations: tuple[str, ...] = ()
    failing: str | None = None
    failures: int = 0

    @classmethod
    def load(cls, execute: Execute, names: LogNames, key: ConsumerKey, lock: str = "") -> Stored | None:
        """What is stored, or None.

        :param lock: ``"FOR UPDATE"``, until the transaction ends; with ``SKIP LOCKED``, None also if somebody else has locked it.
        """
        for row in execute(f"SELECT {_COLUMNS} FROM {names.consumers} WHERE {key.condition} {lock}"):
            origin, last, target, tx_end, row_id, row_part, relations, failing, failures = row
            return cls(origin, Position(last, target, tx_end, row_id, row_part), tuple(json.loads(relations)), failing, failures)
        return None

    def create(self, names: LogNames, key: ConsumerKey) -> str:
        """SQL that stores it, if nothing is stored."""
        at = self.position
        return (
            f"INSERT INTO {names.consumers} (name, part, parts, origin, last, target, tx_end, row_id, row_part, relations) VALUES "
            f"({literal(key.name)}, {key.part}, {key.parts}, {literal(self.origin)}, {literal(at.last)}, {_text(at.target)}, {at.tx_end}, "
            f"{at.row_id}, {at.row_part}, {literal(json.dumps(self.relations))}) ON CONFLICT DO NOTHING"
        )


_COLUMNS = "origin, last, target, tx_end, row_id, row_part, relations, failing, failures"


def _text(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


def move(
    names: LogNames,
    key: ConsumerKey,
    to: Position,
    *,
    origin: str,
    relations: tuple[str, ...] | None = None,
    since: Position | None = None,
) -> str:
    """SQL that stores a position, and that nothing fails any more.

    :param relations: the tables among whose changes it is a place, if they may be others than are stored.
    :param since: if given, the position that must be stored still.
    """
    of = f", origin = {literal(origin)}"
    if relations is not None:
        of += f", relations = {literal(json.dumps(relations))}"
    still = ""
    if since is not None:
        still = (
            f" AND (last, tx_end, row_id, row_part) = ({literal(since.last)}, {since.tx_end}, {since.row_id}, {since.row_part})"
            f" AND target IS NOT DISTINCT FROM {_text(since.target)}"
        )
    return (
        f"UPDATE {names.consumers} SET last = {literal(to.last)}, target = {_text(to.target)}, tx_end = {to.tx_end}, row_id = {to.row_id}, "
        f"row_part = {to.row_part}, failing = NULL, failures = 0, moved_at = pg_catalog.clock_timestamp(){of} WHERE {key.condition}{still}"
    )


def fail(names: LogNames, key: ConsumerKey, change: str) -> str:
    """SQL that counts a failure of a change, and gives how many in a row that makes."""
    return (
        f"UPDATE {names.consumers} SET failing = {literal(change)}, failures = CASE WHEN failing = {literal(change)} THEN failures + 1 "
        f"ELSE 1 END WHERE {key.condition} RETURNING failures"
    )


def reads(names: LogNames, key: ConsumerKey, relations: tuple[str, ...]) -> str:
    """SQL that stores whose changes a consumer reads."""
    return f"UPDATE {names.consumers} SET relations = {literal(json.dumps(relations))} WHERE {key.condition}"


def unread_of_gone(execute: Execute, names: LogNames, stored: Stored, relations: tuple[str, ...]) -> list[str]:
    """Tables that a consumer has read, that are not there any more by their names, and of whose changes it has not read all.

    :param relations: the tables that it reads now.
    """
    former = [literal(name) for name in stored.relations if name not in relations]
    if not former:
        return []
    log = names.rows
    unread = f"SELECT FROM {log} AS l WHERE relation = name AND {Snapshot.parse(stored.position.last).not_seen}"
    sql = f"SELECT name FROM unnest(ARRAY[{', '.join(former)}]::text[]) AS name WHERE to_regclass(name) IS NULL AND EXISTS ({unread})"
    return [str(name) for (name,) in execute(sql)]


def lag(execute: Execute, names: LogNames, stored: Stored) -> Lag:
    """How far a consumer is behind."""
    at, last = stored.position, Snapshot.parse(stored.position.last)
    log = names.rows
    wanted = f" AND relation IN ({', '.join(map(literal, stored.relations))})" if stored.relations else ""
    done = ""
    if at.target is not None and at.tx_end:
        newest = f"(SELECT max(m.id) FROM {log} AS m WHERE m.xid = l.xid{wanted})"
        done = f" AND NOT ({Snapshot.parse(at.target).seen} AND ({newest}, id) < ({at.tx_end}, {at.row_id}))"
    changes = f"1 + pg_catalog.octet_length(rows) - pg_catalog.octet_length(pg_catalog.replace(rows, {literal(RS)}, ''))"
    here = f" - CASE WHEN id = {at.row_id} THEN {at.row_part} ELSE 0 END" if at.target is not None else ""
    made = f"CASE WHEN header LIKE '_' || {literal(US)} || '%' THEN pg_catalog.split_part(header, {literal(US)}, 4)::bigint END"
    ((events, oldest),) = execute(
        f"SELECT coalesce(sum(events), 0)::bigint, coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - min(made) "
        f"/ 1000000.0, 0)::float8 FROM (SELECT {changes}{here} AS events, {made} AS made FROM {log} AS l "
        f"WHERE {last.not_seen}{wanted}{done}) AS behind WHERE events > 0"
    )
    return Lag(int(events), float(oldest) if events else 0.0)


def where(execute: Execute, names: LogNames, start: str | Position) -> Position:
    """The place that ``"beginning"``, ``"now"`` or a position means.

    :raises ValueError: if it means none.
    """
    if isinstance(start, Position):
        return start
    if start not in ("beginning", "now"):
        raise ValueError(f"{start!r} is no place in the log: give 'now', 'beginning' or the position of a change")
    ((now, removed),) = execute(f"SELECT pg_catalog.pg_current_snapshot()::text, (SELECT removed FROM {names.head} WHERE id = 0)")
    return Position(str(now if start == "now" else beginning(removed or 0)))
