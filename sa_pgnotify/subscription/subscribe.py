"""Subscribing to tables: inspect their triggers, find the channels that carry them, and LISTEN.

LISTEN also succeeds on a channel to which nothing will ever be sent, and then looks like a table
that does not change. So the triggers are inspected first. If some are missing, a start fails, and a
reader that runs already reports it as a state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import Dialect, Engine, Table

from ..drivers import ListenConnection, TextReader
from ..errors import ListenUnavailable, NotifyConfigError, TriggersMissing
from ..events.decoding import TableDecoder
from ..events.stream import Route
from ..log.tail import Tail
from ..marking.sources import Wanted
from ..protocol.presence import Presence, holders
from ..sql import schema_translation, sqlstate_of
from ..states import State, States
from ..triggers.catalog import Installed, installed, marked_sets
from ..triggers.column_sql import FAMILIES
from ..triggers.drift import Drift, compare, slot_drifts, triggers_missing
from ..triggers.function_comment import read_comment
from ..triggers.log_trust import log_faults
from ..triggers.trigger_set import TriggerSet
from .trigger_watch import State as TriggerState
from .trigger_watch import states_of

__all__ = ["Inspection", "apply", "build_routes", "inspect", "read_again"]

SILENT = ("missing", "disabled")
"""The kinds of drift with which a table sends nothing."""
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Inspection:
    """What the database has for the wanted tables.

    :ivar sets: the trigger set that each table should have.
    :ivar states: the catalog state of each table, read before ``installed``.
    :ivar installed: the function and the triggers of each table that exists.
    :ivar missing: the error for tables without enabled triggers; None if all have them.
    """

    sets: Mapping[Table, TriggerSet]
    states: Mapping[TriggerSet, TriggerState]
    installed: Mapping[TriggerSet, Installed]
    missing: TriggersMissing | None


def inspect(
    connection: ListenConnection, engine: Engine, tables: Iterable[Table], states: States
) -> Inspection:
    """Compare what is installed for ``tables`` with their markings, and report what differs, except
    in the contents of functions.

    :raises ListenUnavailable: if their change log is not to be trusted.
    """
    ordered = sorted(tables, key=lambda table: table.fullname)
    sets = marked_sets(ordered, schema_translation(engine))
    before = states_of(connection.execute, sets.values())
    found = installed(connection.execute, sets.values())
    silent: dict[str, list[Drift]] = {}
    for table, triggers in sets.items():
        for drift in compare(triggers, found.get(triggers), table.fullname, contents=False):
            if drift.kind in SILENT:
                silent.setdefault(table.fullname, []).append(drift)
            else:
                states.report(State.TRIGGERS_DIFFER, drift)
    names = {triggers: table.fullname for table, triggers in sets.items() if triggers in found}
    for drift in slot_drifts(connection.execute, names):
        silent.setdefault(drift.table, []).append(drift)
    _refuse_untrusted_log(connection, found)
    missing = triggers_missing(silent) if silent else None
    return Inspection(sets, before, found, missing)


def _refuse_untrusted_log(
    connection: ListenConnection, found: Mapping[TriggerSet, Installed]
) -> None:
    logs = [
        (there.function_oid, there.log.schema)
        for there in found.values()
        if there.log is not None and there.function_oid is not None
    ]
    every = [
        fault
        for faults in log_faults(connection.execute, logs, reading=True).values()
        for fault in faults
    ]
    if every:
        what = "; ".join(dict.fromkeys(fault.what for fault in every))
        fix = " ".join(dict.fromkeys(fault.fix for fault in every))
        raise ListenUnavailable(
            "log",
            f"the change log is not to be trusted, because code there would run with this role's rights: {what}",
            fix.rstrip(".;"),
        )


def build_routes(
    inspection: Inspection,
    wanted: Wanted,
    known: Mapping[str, Route],
    connection: ListenConnection,
    dialect: Dialect,
) -> dict[str, Route]:
    """Return what each channel carries from now on.

    :param known: what channels carried until now. The routes of tables that are gone are kept,
        because the tables may come back.
    """
    routes: dict[str, Route] = {}
    readers = _readers(inspection.installed, connection)
    channel_of = cache(lambda log: Tail.channel(connection.execute, log))  # one query for each log
    for table, triggers in inspection.sets.items():
        if (there := inspection.installed.get(triggers)) is None:
            _keep(routes, known, table)
            continue
        log = there.log
        channel = there.channel if log is None else channel_of(log)
        route = routes.setdefault(channel, Route({}, plain=channel in wanted.channels, log=log))
        if there.relation in route.sources:
            raise NotifyConfigError(
                table.fullname,
                "two of the sources are this table, each from another MetaData",
                "Listen to one of them",
            )
        interest = wanted.tables[table]
        route.sources[there.relation] = TableDecoder(
            table,
            interest.mapper,
            interest.accepts,
            triggers.marking.key,
            dialect,
            there.types,
            readers,
            _families(there),
        )
    for channel in wanted.channels:
        routes.setdefault(channel, Route({}, plain=True))
    return routes


def _keep(routes: dict[str, Route], known: Mapping[str, Route], table: Table) -> None:
    """Keep the routes of a table that does not exist at the moment."""
    for channel, route in known.items():
        for relation, source in route.sources.items():
            if source.table is table:
                kept = routes.setdefault(channel, replace(route, sources={}))
                kept.sources.setdefault(relation, source)


def _readers(
    found: Mapping[TriggerSet, Installed], connection: ListenConnection
) -> Mapping[int, TextReader | None]:
    """Return how the driver reads the types of all columns, by OID."""
    return connection.readers(oid for there in found.values() for oid in there.types.values())


def _families(there: Installed) -> dict[str, str] | None:
    """Return the letter of each column's type family as the installed trigger knows it; None if the
    function's comment does not say."""
    families = (read_comment(there.comment) or {}).get("columns")
    if families is None:
        return None
    return {name: FAMILIES[family].code for name, family in families.items()}


def apply(connection: ListenConnection, routes: Mapping[str, Route], presence: Presence) -> None:
    """LISTEN to the channels of ``routes`` and to no others, and show writers that somebody listens.

    :raises ListenUnavailable: if another session holds the advisory locks that are needed for this.
    """
    listening = {row[0] for row in connection.execute("SELECT pg_catalog.pg_listening_channels()")}
    connection.listen([channel for channel in routes if channel not in listening])
    connection.unlisten([channel for channel in listening if channel not in routes])
    # A reader of a log shows itself by the doorbell, while it sleeps.
    shown = [channel for channel, route in routes.items() if route.log is None or route.plain]
    try:
        presence.show_on(connection.execute, shown, time.monotonic())
    except Exception as error:
        if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
            raise
        holder = holders(connection.execute) or "a session"
        raise ListenUnavailable(
            "lock",
            "the advisory locks by which writers see a listener cannot be taken: "
            f"{holder} holds them exclusively",
            "End that session by pg_terminate_backend()",
        ) from error


def read_again(
    connection: ListenConnection, engine: Engine, sources: Iterable[TableDecoder]
) -> dict[str, TableDecoder]:
    """Read the columns of ``sources`` again, and return those whose tables still exist, by their
    names in messages."""
    of_table = {source.table: source for source in sources}
    sets = marked_sets(of_table, schema_translation(engine))
    found = installed(connection.execute, sets.values())
    readers = _readers(found, connection)
    return {
        there.relation: of_table[table].with_types(there.types, readers, _families(there))
        for table, triggers in sets.items()
        if (there := found.get(triggers)) is not None
    }
