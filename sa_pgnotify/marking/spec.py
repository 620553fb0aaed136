"""What a developer declares (:class:`NotifySpec`), and what it means for one table
(:class:`Marking`).

MetaData is pickled with the markings in it, so ``Marking`` and ``Lookup`` keep this module's path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import ColumnElement, Table

from .options import OPERATIONS, OPTIONS, CaptureBy, ForEach, Operation, refuse_contradictions

__all__ = ["OPERATIONS", "Lookup", "Marking", "NotifySpec", "mark", "marking_of"]

INFO_KEY = "sa_pgnotify"


@dataclass(frozen=True, kw_only=True)
class NotifySpec:
    """Which changes of a table are published, and what travels with them.

    :param operations: which of ``"insert"``, ``"update"``, ``"delete"`` and ``"truncate"`` are
        published; by default all.
    :param values: names of the attributes whose values travel with each event, or ``"all"`` that
        are mapped (except those that a SELECT reads through an expression). By default none: only
        the identity and the names of the changed attributes travel, because PostgreSQL's channels
        have no privileges.
    :param update_of: names of attributes; an UPDATE is published only if it really changed one of
        them. Empty: any column.
    :param when: ``lambda old, new: <SQL expression>``, evaluated in the database; a change is
        published when it is true. ``old`` is a row of NULLs on INSERT, ``new`` on DELETE. A
        TRUNCATE is always published. Combine conditions by ``&``, ``|`` and ``~``; Python's
        ``and``, ``or`` and ``not`` raise an error.
    :param channel: name of the channel, at most 63 bytes of UTF-8. Default: one for each table,
        from its schema and name.
    :param durable: whether changes are written into the change log. A
        :class:`~sa_pgnotify.Consumer` reads them there, including those that were made while it did
        not run, and a Listener does too, so that it misses none across a lost connection.
    :param capture: what writes durable changes into the log: ``"triggers"`` in the transaction that
        makes them, or, with ``"wal"``, a :class:`~sa_pgnotify.Capture`, which reads PostgreSQL's
        write-ahead log. Then a write costs nothing more, ``when`` cannot be used, and a process has
        to run the capture.
    :param for_each: ``"statement"`` or ``"row"``, as in CREATE TRIGGER: whether the triggers run
        once for each statement, or for each row that it changes, which costs less if most
        statements change one row or two. The events are the same.
    :raises NotifyConfigError: if the declaration cannot work on any table.
    """

    operations: tuple[Operation, ...] = OPERATIONS
    values: tuple[str, ...] | Literal["all"] = ()
    update_of: tuple[str, ...] = ()
    when: Callable[[Any, Any], ColumnElement[bool]] | None = None
    channel: str | None = None
    durable: bool = False
    capture: CaptureBy = "triggers"
    for_each: ForEach = "statement"

    def __post_init__(self) -> None:
        for option in OPTIONS:
            declared = getattr(self, option.declared_as)
            object.__setattr__(self, option.declared_as, option.check(declared, "NotifySpec"))
        refuse_contradictions(vars(self), "NotifySpec")


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """The place of the discriminator of a joined-inheritance child's row: in its root table, found
    by the key.

    :ivar table: name of the root table; ``schema`` its schema as declared, or None.
    :ivar discriminator: the column that names the class.
    :ivar keys: pairs of column names, (the child's, the root's).
    :ivar beside: whether both tables are in one schema, so that ``Table.to_metadata(schema=...)``
        moves both.
    """

    table: str
    schema: str | None
    discriminator: str
    keys: tuple[tuple[str, str], ...]
    beside: bool = False


@dataclass(frozen=True, kw_only=True)
class Marking:
    """A :class:`NotifySpec` as it applies to one table, in the names of columns. It is plain data,
    kept in ``Table.info``.

    :ivar values: column names, or ``"all"`` for those that the table has when its trigger is made.
    :ivar condition: SQL text over ``new_row`` and ``old_row``, or None.
    :ivar key: the columns of the identity, in the mapper's order.
    :ivar discriminator: the column, or the :class:`Lookup`, that names the mapped class; None
        without inheritance.
    :ivar durable: whether changes go into the change log; ``log_schema`` is its schema as declared,
        or None.
    :ivar capture: what writes them there, see :class:`NotifySpec`.
    :ivar for_each: ``"statement"`` or ``"row"``.
    :ivar unmapped: the columns that no marked class of the table maps, which neither travel nor are
        compared.
    """

    operations: tuple[str, ...]
    values: tuple[str, ...] | Literal["all"]
    update_of: tuple[str, ...]
    condition: str | None
    channel: str | None
    key: tuple[str, ...]
    discriminator: str | Lookup | None = None
    durable: bool = False
    capture: str = "triggers"
    for_each: str = "statement"
    log_schema: str | None = None
    unmapped: tuple[str, ...] = ()

    @property
    def triggered(self) -> tuple[str, ...]:
        """The operations that have a trigger."""
        return () if self.capture == "wal" else self.operations

    def __repr__(self) -> str:
        # Alembic writes Table.info into revisions unless alembic_ops removes it. The NameError that
        # such a revision raises then names the fix.
        return f"import_alembic_ops_in_env_py({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in fields(self))})"


def marking_of(table: Table) -> Marking | None:
    """Return the marking of a table, or None if it is not marked."""
    found: Marking | None = table.info.get(INFO_KEY)
    return found


def mark(table: Table, marking: Marking | None) -> None:
    """Mark a table, or take its marking away if ``marking`` is None.

    Several tables may share one dict of the program as their ``Table.info``, so it is replaced and
    never written to.
    """
    if marking is None and INFO_KEY not in table.info:
        return
    kept = {key: value for key, value in table.info.items() if key != INFO_KEY}
    table.info = kept if marking is None else kept | {INFO_KEY: marking}
