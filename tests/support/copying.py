"""A copy of a table in a dict, kept by the events of a consumer that begins with a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, text

from sa_pgnotify import Deleted, Existing, Inserted, Truncated, Updated


class Copy(dict[Any, dict[str, Any]]):
    """Rows by identity. What does not fit raises: a row that is there already, or one that is not
    as it was before the change."""

    def apply(self, change: Any) -> None:
        match change:
            case Existing(_, identity) | Inserted(_, identity):
                assert identity not in self, change
                self[identity] = dict(change.new)
            case Updated(_, identity):
                before = self.pop(change.previous_identity or identity)
                assert before == dict(change.old), change
                assert identity not in self, change
                self[identity] = dict(change.new)
            case Deleted(_, identity):
                assert self.pop(identity) == dict(change.old), change
            case Truncated():
                self.clear()
            case _:
                raise AssertionError(change)


def is_over(consumer: Any) -> bool:
    """Whether the snapshot is done and nothing is behind."""
    lag = consumer.lag()
    return not (lag.events or lag.rows_estimate)


def copied(
    consumer: Any,
    *,
    until: Callable[[Copy], bool] | None = None,
    copy: Copy | None = None,
    between: Iterable[Callable[[], object]] = (),
) -> tuple[Copy, list[Any]]:
    """Work through batches until the snapshot is done and nothing is behind, or until ``until``.

    :param between: called one after the other, each when a batch has been committed.
    :returns: the copy, and all changes that came.
    """
    found, changes, steps = Copy() if copy is None else copy, [], iter(between)
    for batch in consumer:
        with batch:
            for change in batch:
                changes.append(change)
                found.apply(change)
        step = next(steps, None)
        if step is not None:
            step()
            continue
        if until(found) if until is not None else is_over(consumer):
            break
    return found, changes


def table_of(engine: Engine, name: str, *columns: str) -> dict[Any, dict[str, Any]]:
    """What a SELECT gives of a table, as a copy has it: the first column is the identity."""
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {', '.join(columns)} FROM {name}")).mappings()
        return {(row[columns[0]],): dict(row) for row in rows}
