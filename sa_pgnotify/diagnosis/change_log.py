"""Checks of the change log: whether it is emptied, and whether its consumers keep up."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from ..consuming.overview import ConsumerStatus, consumers, logs_of
from ..log.retention import LATE_SECONDS, state
from ..sql import execute_on
from .consumers import lost, name_of
from .findings import Finding

__all__ = ["change_log"]


def change_log(connection: Connection) -> Iterator[Finding]:
    """Report on all change logs of the database, and on all consumers."""
    yield from _logs(connection)
    for consumer in consumers(connection):
        yield _consumer(consumer)
        yield from _left_behind(consumer)


def _logs(connection: Connection) -> Iterator[Finding]:
    execute = execute_on(connection)
    for names in logs_of(execute):
        log = state(execute, names)
        text = f"{str(log)[:1].upper()}{str(log)[1:]}."
        is_late = log.hindmost is None or log.holder is not None or log.seconds > LATE_SECONDS
        yield Finding("warning" if log.is_held_up else "note" if is_late else "good", "log", text)


def _consumer(consumer: ConsumerStatus) -> Finding:
    name = name_of(consumer)
    if consumer.has_lost:
        return lost(consumer)
    if not consumer.lag.events and not consumer.parked:
        return Finding("good", "consumers", f"{name} has finished all changes.")
    text = f"{name} is {consumer.lag.events} changes behind; the oldest is from {consumer.lag.seconds:.0f} s ago."
    if consumer.failures:
        text = f"{text} Its next change has failed {consumer.failures} times."
        fix = "See its program's log for the error, and fix what it does with that change."
        return Finding("warning", "consumers", text, fix)
    if consumer.parked:
        text = f"{text} {consumer.parked} of its changes are parked."
        fix = (
            f"sa-pgnotify parked {consumer.name} lists them; with --retry they are given out again."
        )
        return Finding("warning", "consumers", text, fix)
    if consumer.lag.seconds > LATE_SECONDS:
        fix = "Run it, or start more partitions. If it will not come back: sa-pgnotify forget."
        return Finding("warning", "consumers", text, fix)
    return Finding("good", "consumers", text)


def _left_behind(consumer: ConsumerStatus) -> Iterator[Finding]:
    """Report the tables that have a place under the consumer's name and are not read."""
    for table, lag in consumer.left_behind.items():
        text = (
            f"{table} has a place under the name {consumer.name!r}, but no consumer reads it now:"
            f" {lag.events} changes wait, and the log keeps them."
        )
        fix = f"Run a version of it that reads the table, or forget(engine, metadata, {consumer.name!r}, {table!r})."
        yield Finding("warning" if lag.seconds > LATE_SECONDS else "note", "consumers", text, fix)
