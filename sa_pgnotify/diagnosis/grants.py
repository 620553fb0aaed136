"""The GRANT statements that a role needs, from what a database has installed.

They name each table and sequence, because ``GRANT ... ON ALL TABLES`` would give a role the change
log as well, whose tables must not run code of other roles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from ..log.tables import LogNames
from ..sql import execute_on, quote
from ..triggers.catalog import functions

__all__ = ["PURPOSES", "Grants", "grants"]

PURPOSES = ("listen", "consume", "write")
"""What a role may need rights for."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Statements that belong together.

    :ivar reason: what they are for, as a sentence.
    :ivar statements: SQL, without semicolons.
    """

    reason: str
    statements: tuple[str, ...]


def grants(
    connection: Connection,
    role: str,
    purposes: Collection[str] = PURPOSES,
    tables: Collection[str] | None = None,
) -> list[Grants]:
    """Return the statements that give ``role`` the rights for ``purposes``.

    :param tables: the names of marked tables, as SQLAlchemy gives them (``schema.table``); None for
        all that the database has.
    """
    execute = execute_on(connection)
    ((default,),) = execute("SELECT pg_catalog.current_schema()::text")
    names: dict[str, str] = {}
    logs: set[LogNames] = set()
    captured: set[LogNames] = set()
    for f in functions(execute):
        if f.table is None or f.table_schema is None:
            continue
        called = f.table if f.visible else f"{f.table_schema}.{f.table}"
        if tables is None or called in tables:
            names[f"{quote(f.table_schema)}.{quote(f.table)}"] = quote(f.table_schema)
            if f.comment is not None and f.comment.get("durable"):
                logs.add(log := LogNames(f.comment.get("log_schema") or default))
                if f.comment.get("capture") == "wal":
                    captured.add(log)
    found = _Statements(role, names, sorted(logs, key=lambda log: str(log.schema)), captured)
    return [part for purpose in purposes for part in found.of(purpose) if part.statements]


@dataclass(frozen=True)
class _Statements:
    """
    :ivar tables: the names of the marked tables as SQL, each with its schema; ``logs`` those that
        they write to, ``captured`` those of them that captures fill.
    """

    role: str
    tables: dict[str, str]
    logs: list[LogNames]
    captured: set[LogNames]

    def of(self, purpose: str) -> Iterator[Grants]:
        if purpose == "write":
            yield Grants(
                "To write: the triggers add nothing to what the tables need.",
                (*self._usage(), self._grant("SELECT, INSERT, UPDATE, DELETE", self.tables)),
            )
            return
        if purpose == "listen":
            yield Grants("To listen.", (*self._usage(), *self._reading()))
            return
        yield Grants(
            "To consume: read the change log, and store positions.",
            (*self._usage(), *self._reading(), *self._each("INSERT", "head"),
             *self._each("SELECT, INSERT, UPDATE", "consumers")),
        )  # fmt: skip
        yield Grants(
            "To park changes that fail, and to retry them.",
            tuple(self._each("SELECT, INSERT, UPDATE, DELETE", "parked")),
        )
        yield Grants(
            "To empty the log: one consumer should, or sa-pgnotify prune.",
            (*self._each("TRUNCATE, DELETE", "slots"), *self._each("INSERT, UPDATE", "head")),
        )
        yield Grants(
            "To begin with a snapshot, or to backfill.",
            (self._grant("SELECT", self.tables),) if self.logs else (),
        )

    def _usage(self) -> Iterator[str]:
        """Return the rights on the schemas of tables and logs."""
        logs = {quote(log.schema) for log in self.logs if log.schema is not None}
        for schema in sorted({*self.tables.values(), *logs}):
            yield f"GRANT USAGE ON SCHEMA {schema} TO {quote(self.role)}"

    def _reading(self) -> Iterator[str]:
        for log in self.logs:
            captures = (log.captures,) if log in self.captured else ()
            yield self._grant("SELECT", (log.head, *log.slots, *captures))
            yield self._grant("SELECT", (log.lost,), "SEQUENCE ")

    def _each(self, privileges: str, part: str) -> Iterator[str]:
        """Return a statement for this part of each log."""
        for log in self.logs:
            names: str | list[str] = getattr(log, part)
            yield self._grant(privileges, [names] if isinstance(names, str) else names)

    def _grant(self, privileges: str, names: Collection[str], kind: str = "") -> str:
        return f"GRANT {privileges} ON {kind}{', '.join(names)} TO {quote(self.role)}"
