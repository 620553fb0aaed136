"""The results of the queries of one shape as of their last evaluation, which the next results are
compared with."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

from .frozen import mark_of
from .steps import Enter, Leave, RowEvent, Update

__all__ = ["HeldResult", "Index"]

Key = Hashable


class HeldResult:
    """The result of one query as of its last evaluation.

    Rows are compared by marks, because the program may alter the rows that it was given.

    :param old: whether to hold the rows as well.
    :ivar rows: the rows by their keys, with None for each row if ``old`` is false. After a look-up
        of changed rows they are not in the order of the statement.
    """

    def __init__(self, index: Index, *, old: bool) -> None:
        self.rows: dict[Key, Any] = {}
        self.alone = (self,)
        self._marks: dict[Key, Hashable] = {}
        self._index = index
        self._old = old

    def differ(self, before: Collection[Key], rows: Mapping[Key, Any]) -> list[RowEvent]:
        """Replace the rows with the keys ``before`` by ``rows``, and return the difference."""
        events: list[RowEvent] = []
        for key in before:
            if key not in rows:
                del self._marks[key]
                self._index.remove(self, key)
                events.append(Leave(key, self.rows.pop(key)))
        for key, row in rows.items():
            mark = mark_of(row)
            held = row if self._old else None
            if key not in self._marks:
                self._index.add(self, key)
                events.append(Enter(key, row))
            elif self._marks[key] != mark:
                events.append(Update(key, row, self.rows[key]))
            else:
                continue
            self.rows[key], self._marks[key] = held, mark
        return events

    def replace(self, rows: Mapping[Key, Any]) -> list[RowEvent]:
        """Replace all rows by ``rows``, in this order, and return the difference."""
        events = self.differ([*self.rows], rows)
        self.rows = {key: self.rows[key] for key in rows}
        return events

    def clear(self) -> None:
        """Forget all rows."""
        self.differ([*self.rows], {})


class Index:
    """Finds the results that hold a row of a table.

    :param tables: the number of tables of which a key identifies a row each. With one table, the
        key is the identity of its row.
    """

    def __init__(self, tables: int) -> None:
        self._only: dict[Key, tuple[HeldResult, ...]] | None = {} if tables == 1 else None
        self._each: list[dict[Key, set[tuple[HeldResult, Key]]]] = [
            {} for _ in range(tables if tables > 1 else 0)
        ]

    def add(self, held: HeldResult, key: Key) -> None:
        if self._only is not None:
            others = self._only.get(key)
            self._only[key] = held.alone if others is None else (*others, held)
        for names, identity in self._parts(key):
            names.setdefault(identity, set()).add((held, key))

    def remove(self, held: HeldResult, key: Key) -> None:
        if self._only is not None:
            others = tuple(other for other in self._only.pop(key) if other is not held)
            if others:
                self._only[key] = others
        for names, identity in self._parts(key):
            names[identity].discard((held, key))
            if not names[identity]:
                del names[identity]

    def _parts(self, key: Any) -> Iterable[tuple[dict[Key, set[tuple[HeldResult, Key]]], Key]]:
        return zip(self._each, key) if self._each else ()

    def holding(self, table: int, identities: Iterable[Key]) -> dict[HeldResult, set[Key]]:
        """Return the results that hold a row with one of ``identities``, with the keys there.

        :param table: the place of the row's table in the keys.
        """
        found: dict[HeldResult, set[Key]] = {}
        for identity in identities:
            if self._only is not None:
                for held in self._only.get(identity, ()):
                    found.setdefault(held, set()).add(identity)
            else:
                for held, key in self._each[table].get(identity, ()):
                    found.setdefault(held, set()).add(key)
        return found
