"""The tables of the change log, in the program's own MetaData, so that ``create_all``, ``drop_all``
and Alembic handle them.

::

    class Base(DeclarativeBase): ...

    ChangeLog(Base.metadata, schema="audit", max_age=timedelta(days=30))   # optional: the first durable table creates one

Removing changes must not slow down the writers. Deleting rows would make work for VACUUM.
Partitions that are created and dropped at run time would be tables that no migration knows, and a
write that finds no partition is lost. So there is a fixed number of tables, the slots. Changes fill
them in turn, by their numbers, and each slot is emptied as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
)

from ..errors import NotifyConfigError
from ..sql import quote

__all__ = ["ChangeLog", "LogNames", "LogSettings"]

SLOTS = 4
SLOT_BITS = 15
"""A slot takes 2**15 rows of the log before the next one is filled. A row has at most 64 KB, and
usually some hundred bytes."""
PREFIX = "sa_pgnotify_log"
INFO_KEY = "sa_pgnotify_log"
CONSUMERS = "sa_pgnotify_consumers"
PARKED = "sa_pgnotify_parked"
CAPTURES = "sa_pgnotify_captures"
SLOT_NAMES = tuple(f"{PREFIX}_{slot}" for slot in range(SLOTS))
ID_SEQUENCE, LOST_SEQUENCE = f"{PREFIX}_id_seq", f"{PREFIX}_lost_seq"
"""The names that PostgreSQL gives the sequences of the head's identity columns."""
PARKED_SEQUENCE = f"{PARKED}_id_seq"
TABLE_NAMES = frozenset({PREFIX, *SLOT_NAMES, CONSUMERS, PARKED, CAPTURES})
"""The bare names of all tables of a change log."""


@dataclass(frozen=True)
class LogNames:
    """The names of the log's tables, as SQL.

    :ivar schema: their schema as declared; None for the one that ``search_path`` gives.
    """

    schema: str | None = None

    def of(self, name: str) -> str:
        """Return a name in the log's schema, as SQL."""
        return quote(name) if self.schema is None else f"{quote(self.schema)}.{quote(name)}"

    @property
    def head(self) -> str:
        return self.of(PREFIX)

    @property
    def sequence(self) -> str:
        """The sequence that numbers the changes: that of the head's identity column."""
        return self.of(ID_SEQUENCE)

    @property
    def lost(self) -> str:
        """The sequence that counts the changes that a trigger could not write to any slot."""
        return self.of(LOST_SEQUENCE)

    @property
    def slots(self) -> list[str]:
        return [self.of(name) for name in SLOT_NAMES]

    @property
    def rows(self) -> str:
        """All rows of the log, for a FROM clause."""
        return f"({' UNION ALL '.join(f'SELECT * FROM {slot}' for slot in self.slots)})"

    @property
    def consumers(self) -> str:
        return self.of(CONSUMERS)

    @property
    def parked(self) -> str:
        return self.of(PARKED)

    @property
    def captures(self) -> str:
        """The table in which captures keep how far they have read the write-ahead log."""
        return self.of(CAPTURES)


@dataclass(frozen=True)
class LogSettings:
    """How long the log keeps changes that not every consumer has read.

    :ivar max_age: the greatest age of a slot's newest change; None for no limit.
    :ivar max_size: the most bytes of all slots, with their indexes; None for no limit.
    """

    max_age: timedelta | None = timedelta(days=7)
    max_size: int | None = 16 << 30


class ChangeLog:
    """The change log of a MetaData: one for all its durable tables.

    Create it before the first table is marked durable if you want other settings than the defaults.

    :param metadata: the MetaData that has its tables, or gets them.
    :param schema: the schema of its tables; by default that of the MetaData.
    :param max_age: how long a change is kept if a consumer has not read it; None for ever.
    :param max_size: how many bytes the log may take. Beyond that, changes are removed even if a
        consumer has not read them; None for no limit.
    :raises NotifyConfigError: if the MetaData has a log already, with other settings.
    :ivar tables: all tables of the log.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        schema: str | None = None,
        max_age: timedelta | None = LogSettings.max_age,
        max_size: int | None = LogSettings.max_size,
    ) -> None:
        known = find_log(metadata)
        settings = LogSettings(max_age, max_size)
        if known is not None and (known.names.schema, known.settings) != (
            schema or metadata.schema,
            settings,
        ):
            raise NotifyConfigError(
                "ChangeLog",
                "this MetaData has a change log already, with other settings: a table marked durable has created it",
                "Create yours right after the declarative base, before any model",
            )
        self._take(known.head if known is not None else _head(metadata, schema, settings))

    def _take(self, head: Table) -> None:
        self.head = head
        self.settings: LogSettings = head.info[INFO_KEY]
        self.names = LogNames(head.schema)
        metadata, schema = head.metadata, head.schema
        self.slots = [_slot(metadata, schema, number) for number in range(SLOTS)]
        self.tables = [
            self.head,
            *self.slots,
            _consumers(metadata, schema),
            _parked(metadata, schema),
        ]
        if _key(metadata, schema, CAPTURES) in metadata.tables:
            self.add_captures()

    def add_captures(self) -> None:
        """Add the table that only tables with ``capture="wal"`` need."""
        made = _captures(self.head.metadata, self.head.schema)
        if made not in self.tables:
            self.tables.append(made)

    @classmethod
    def _of(cls, head: Table) -> ChangeLog:
        made = cls.__new__(cls)
        made._take(head)
        return made


def find_log(metadata: MetaData) -> ChangeLog | None:
    """Return the log of a MetaData, even if its tables were copied from another MetaData; None if it
    has none."""
    head = _find_head(metadata)
    return None if head is None else ChangeLog._of(head)


def log_schema(metadata: MetaData, default: str | None) -> str | None:
    """Return the schema of a MetaData's log, which may differ from the original one if its tables were
    copied; ``default`` if it has no log."""
    head = _find_head(metadata)
    return default if head is None else head.schema


def _find_head(metadata: MetaData) -> Table | None:
    return next(
        (t for t in metadata.tables.values() if t.name == PREFIX and INFO_KEY in t.info), None
    )


def log_of(metadata: MetaData) -> ChangeLog:
    """Return the log of a MetaData, which gets one if it has none."""
    return find_log(metadata) or ChangeLog(metadata)


def _key(metadata: MetaData, schema: str | None, name: str) -> str:
    return name if (schema or metadata.schema) is None else f"{schema or metadata.schema}.{name}"


def _table(metadata: MetaData, schema: str | None, name: str, *parts: Any, **options: Any) -> Table:
    known = metadata.tables.get(_key(metadata, schema, name))
    return known if known is not None else Table(name, metadata, *parts, schema=schema, **options)


def _head(metadata: MetaData, schema: str | None, settings: LogSettings) -> Table:
    return Table(
        PREFIX,
        metadata,
        Column(
            "id",
            BigInteger,
            Identity(),
            primary_key=True,
            comment="its sequence numbers the rows of the log",
        ),
        Column(
            "removed",
            BigInteger,
            nullable=False,
            comment="the greatest transaction id among the changes that were removed",
        ),
        Column(
            "lost",
            BigInteger,
            Identity(),
            nullable=False,
            comment="its sequence counts the changes that could not be written",
        ),
        schema=schema,
        info={INFO_KEY: settings},
    )


def _slot(metadata: MetaData, schema: str | None, number: int) -> Table:
    name = SLOT_NAMES[number]
    return _table(
        metadata,
        schema,
        name,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("xid", BigInteger, nullable=False),
        Column("pid", Integer, nullable=False),
        Column("relation", Text, nullable=False),
        Column("header", Text, nullable=False),
        Column("rows", Text, nullable=False),
        Index(f"{name}_xid", "xid", "id"),
    )


def _consumers(metadata: MetaData, schema: str | None) -> Table:
    return _table(
        metadata, schema, CONSUMERS, *_key_columns(), *_position_columns(), *_state_columns()
    )


def _key_columns() -> list[Column[Any]]:
    relation = "empty: the consumer's position; else the table that has this place of its own"
    return [
        Column("name", Text, primary_key=True),
        Column("part", SmallInteger, primary_key=True, autoincrement=False),
        Column("parts", SmallInteger, primary_key=True, autoincrement=False),
        Column("relation", Text, primary_key=True, comment=relation),
    ]


def _position_columns() -> list[Column[Any]]:
    origin = "the server and the tables that its position is of"
    tx_end = "the last row of the transaction that it has reached"
    row_id = "the row of the log that it has reached"
    row_part = "how many changes of that row it has read"
    relations = "JSON: the tables read from here, each with the snapshot it is read from, or null"
    among = "JSON: the same of tables that only count for the order up to the target"
    scans = "JSON: how far the rows of tables were read, as a beginning or a backfill"
    return [
        Column("origin", Text, nullable=False, comment=origin),
        Column("last", Text, nullable=False, comment="the snapshot up to which it has read all"),
        Column("target", Text, comment="the snapshot up to which it reads"),
        Column("tx_end", BigInteger, nullable=False, comment=tx_end),
        Column("row_id", BigInteger, nullable=False, comment=row_id),
        Column("row_part", Integer, nullable=False, comment=row_part),
        Column("relations", Text, nullable=False, comment=relations),
        Column("among", Text, nullable=False, comment=among),
        Column("scans", Text, nullable=False, comment=scans),
    ]


def _state_columns() -> list[Column[Any]]:
    lost = "how many lost changes it has reported: a value of the sequence of that name"
    lock = "the key of the advisory lock of the process that works"
    retrying = "whether some of its parked changes are to be given out again"
    sink = "of a relay: what it has published last, and into what"
    return [
        Column("lost", BigInteger, nullable=False, comment=lost),
        Column("lock", BigInteger, nullable=False, comment=lock),
        Column("failing", Text, comment="the change that failed, and is tried again"),
        Column("failures", Integer, nullable=False, server_default="0"),
        Column("retrying", Boolean, nullable=False, server_default="false", comment=retrying),
        Column("moved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("sink", Text, comment=sink),
    ]


def _parked(metadata: MetaData, schema: str | None) -> Table:
    row_id = "the row of the log that the change was read from"
    row_part = "the number of the change in that row"
    about = "JSON: the rows that the change is about, whose later changes may have to wait"
    retry = "whether it is to be given out again"
    return _table(
        metadata,
        schema,
        PARKED,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("name", Text, nullable=False),
        Column("part", SmallInteger, nullable=False),
        Column("parts", SmallInteger, nullable=False),
        Column("relation", Text, nullable=False),
        Column("pid", Integer, nullable=False),
        Column("header", Text, nullable=False),
        Column("rows", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("row_id", BigInteger, nullable=False, comment=row_id),
        Column("row_part", Integer, nullable=False, comment=row_part),
        Column("about", Text, nullable=False, comment=about),
        Column("retry", Boolean, nullable=False, server_default="false", comment=retry),
        Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def _captures(metadata: MetaData, schema: str | None) -> Table:
    flushed = "bytes of the write-ahead log up to which all changes are in the log"
    return _table(
        metadata,
        schema,
        CAPTURES,
        Column("slot", Text, primary_key=True, comment="the replication slot"),
        Column("origin", Text, nullable=False, comment="the server and the tables of the log"),
        Column("flushed", BigInteger, nullable=False, comment=flushed),
        Column("moved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
