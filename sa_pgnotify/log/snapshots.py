"""Which transactions had ended at a moment, and places in the change log that are said by such
moments.

A place is between two snapshots rather than at a number, because rows become visible in another
order than they are numbered in; and tables that are read together may have come there from
different places.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..sql import literal

__all__ = ["HERE", "Position", "Snapshot", "Tables", "beginning"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had ended at a moment (PostgreSQL's ``pg_snapshot``).

    :ivar xmin: all below have ended; ``xmax``: none from here on has; ``running``: those between
        that had not.
    """

    xmin: int
    xmax: int
    running: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """
        >>> Snapshot.parse("10:14:10,12")
        Snapshot(xmin=10, xmax=14, running=(10, 12))
        """
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, running.split(","))) if running else ())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    @property
    def not_seen(self) -> str:
        """An SQL condition on a transaction id: it is not visible in this snapshot."""
        return f"(xid >= {self.xmax} OR xid = ANY ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    @property
    def seen(self) -> str:
        """An SQL condition on a transaction id: it is visible in this snapshot."""
        return f"(xid < {self.xmax} AND xid <> ALL ('{{{','.join(map(str, self.running))}}}'::bigint[]))"

    def until(self, xid: int) -> Snapshot:
        """The same, as if of the transactions from ``xid`` on none had ended.

        >>> str(Snapshot.parse("10:14:10,12").until(12))
        '10:12:10'
        """
        return (
            self
            if xid >= self.xmax
            else Snapshot(min(self.xmin, xid), xid, tuple(x for x in self.running if x < xid))
        )

    def both(self, other: Snapshot) -> Snapshot:
        """What had ended in either.

        >>> str(Snapshot.parse("10:14:10,12").both(Snapshot.parse("11:13:11")))
        '10:13:10,11,12'
        """
        xmax = min(self.xmax, other.xmax)
        running = tuple(sorted(x for x in {*self.running, *other.running} if x < xmax))
        return Snapshot(min(self.xmin, other.xmin), xmax, running)


HERE = "xid < (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint)"
"""An SQL condition on a transaction id: it is of this server. In a restored log are those of
another one, which would seem new for long."""


def beginning(removed: int) -> Snapshot:
    """A snapshot in which no change of the log is visible, and none is missed that had been removed
    by then.

    :param removed: the greatest transaction id among the changes that the log has removed.
    """
    return Snapshot(removed + 1, 1, ())


Tables = tuple[tuple[str, str | None], ...]
"""Tables by their names in messages, in order; each with the snapshot that it is read from, None
for the position's own ``last``."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the change log: all before it has been read, nothing after it.

    :ivar last: the snapshot (PostgreSQL's text form) up to which all was read.
    :ivar target: the one up to which it is being read; None between two.
    :ivar tx_end: number of the last row of the log of the transaction that was reached; 0 if none
        was.
    :ivar row_id: number of the row that was reached.
    :ivar row_part: how many changes of that row lie before the place.
    :ivar tables: the tables whose changes are read here; empty for those of whichever reader comes
        here.
    :ivar among: tables whose changes are not read here, though they count for the order of the
        transactions up to ``target``: they were read together with the others when that window was
        begun.
    """

    last: str
    target: str | None = None
    tx_end: int = 0
    row_id: int = 0
    row_part: int = 0
    tables: Tables = ()
    among: Tables = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tables whose changes are read here."""
        return tuple(name for name, _ in self.tables)

    @property
    def oldest(self) -> int:
        """The transaction id below which nothing is read from here."""
        return min(
            Snapshot.parse(since).xmin
            for since in {self.last, *(since for _, since in self.tables if since is not None)}
        )

    @property
    def unread(self) -> str:
        """An SQL condition on a row of the log: it is of a table that is read here, and was not
        visible in the snapshot of that."""
        return self._condition(self.tables)

    @property
    def ordered(self) -> str:
        """An SQL condition on a row of the log: it counts for the order of what is read here."""
        return self._condition((*self.tables, *self.among))

    def within(self, *, ordered: bool) -> str:
        """An SQL condition on a row of a transaction that has some that are :attr:`ordered`: it is
        as well, or it is :attr:`unread`."""
        tables = (*self.tables, *self.among)
        together = len({since or self.last for _, since in tables}) < 2
        return self._condition(tables if ordered else self.tables, with_id=not together)

    def _condition(self, tables: Tables, *, with_id: bool = True) -> str:
        groups: dict[str, list[str]] = {}
        for name, since in tables:
            groups.setdefault(since or self.last, []).append(literal(name))
        either = [
            f"{Snapshot.parse(since).not_seen} AND relation IN ({', '.join(names)})"
            if with_id
            else f"relation IN ({', '.join(names)})"
            for since, names in groups.items()
        ]
        return f"({' OR '.join(either) or 'relation IS NULL'})"  # which none is
