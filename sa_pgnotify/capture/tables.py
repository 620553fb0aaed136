"""The captured tables, as the database has them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, MetaData

from ..errors import NotifyConfigError
from ..log.captures import find_slot
from ..log.tables import LogNames
from ..sql import Execute, literal, schema_translation
from ..triggers.catalog import installed, marked_sets
from ..triggers.drift import compare, triggers_missing
from ..triggers.install_steps import BASE_TYPE
from .composing import CapturedTable
from .pgoutput import Relation

__all__ = ["CapturedTables"]


class CapturedTables:
    """The tables of one log that are marked with ``capture="wal"``.

    :ivar names: the log's.
    :raises NotifyConfigError: if there are none, or they belong to several logs.
    """

    def __init__(self, engine: Engine, every: Iterable[MetaData]) -> None:
        schema_of = schema_translation(engine)
        self._sets = {
            table.fullname: wanted
            for metadata in every
            for table, wanted in marked_sets(metadata.tables.values(), schema_of).items()
            if wanted.marking.capture == "wal"
        }
        schemas = {wanted.marking.log_schema for wanted in self._sets.values()}
        if len(schemas) != 1:
            what = "tables of several change logs" if schemas else 'no table with capture="wal"'
            raise NotifyConfigError(
                "Capture",
                f"the MetaData has {what}",
                'Mark one with NotifySpec(durable=True, capture="wal"), or run a Capture for each log',
            )
        self.names = LogNames(*schemas)
        self._by_oid: dict[int, CapturedTable] = {}
        self._types: dict[int, int] = {}
        self._newest = 0
        self._execute: Execute

    def read(self, execute: Execute) -> None:
        """Read which of the tables exist and are published.

        :raises TriggersMissing: if one of them is not published.
        :raises NotifyConfigError: if the publication has a table that no given MetaData has.
        """
        self._execute = execute
        found = installed(execute, self._sets.values())
        missing = {
            name: drifts
            for name, wanted in self._sets.items()
            if (
                drifts := [
                    d for d in compare(wanted, found.get(wanted), name) if d.kind == "missing"
                ]
            )
        }
        if missing:
            raise triggers_missing(missing)
        self._by_oid = {
            there.captured.oid: CapturedTable(there.relation, wanted)
            for wanted, there in found.items()
            if there.captured is not None
        }
        self._refuse_unknown(execute)

    def _refuse_unknown(self, execute: Execute) -> None:
        slot = find_slot(execute, self.names)
        known = ", ".join(map(str, self._by_oid)) or "0"
        others = [
            name
            for (name,) in execute(
                "SELECT r.prrelid::regclass::text FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS p"
                f" ON p.oid = r.prpubid WHERE p.pubname = {literal('' if slot is None else slot.publication)}"
                f" AND r.prrelid::bigint NOT IN ({known}) ORDER BY 1"
            )
        ]
        if others:
            raise NotifyConfigError(
                "Capture",
                f"the publication also has {', '.join(others)}, whose changes would be lost",
                "Give the Capture the MetaData of every program that shares the log: "
                "Capture(engine, [Base.metadata, Other.metadata])",
            )

    def table_of(self, relation: Relation) -> CapturedTable | None:
        """Return a captured table by its description in the write-ahead log; None if it was dropped
        since.

        :raises NotifyConfigError: if another program has added it.
        """
        if relation.oid not in self._by_oid:
            self.read(self._execute)
        return self._by_oid.get(relation.oid)

    def root_of(self, oid: int) -> int:
        """Return the OID of the partitioned table that a table is a partition of; 0 if it no longer
        exists, and its own if it is not a partition."""
        ((root,),) = self._execute(
            f"SELECT coalesce(pg_catalog.pg_partition_root({oid}::regclass)::oid::bigint, CASE WHEN"
            f" EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = {oid}::oid) THEN {oid} ELSE 0 END)"
        )
        return int(root)

    def type_of(self, oid: int) -> int:
        """Return the type under a domain; the type itself if it is not a domain."""
        if oid not in self._types:
            rows = self._execute(
                f"SELECT {BASE_TYPE} FROM pg_catalog.pg_type AS y WHERE y.oid = {oid}::oid"
            )
            self._types[oid] = next((base for (base,) in rows), oid)
        return self._types[oid]

    def full_xid(self, execute: Execute, xid: int) -> int:
        """Return a transaction id with its epoch, which the write-ahead log does not have."""
        self._execute = execute
        if not self._newest or abs(_difference(xid, self._newest)) > 1 << 30:
            ((self._newest,),) = execute(
                "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint"
            )
        return self._newest + _difference(xid, self._newest)


def _difference(xid: int, newest: int) -> int:
    """Return the signed distance of two transaction ids, given the lower 32 bits of the first."""
    ahead = (xid - newest) & 0xFFFFFFFF
    return ahead if ahead < 1 << 31 else ahead - (1 << 32)
