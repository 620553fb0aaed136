"""What is done on a new connection before its notifications are trusted: ask who it is, see a
notification arrive, and LISTEN.

LISTEN succeeds where nothing will ever come: through a transaction pooler, on a table without
triggers. Both look like peace, so both are looked for; the pooler first, whose sessions keep what
is done in them, LISTEN and locks, when the listener is long gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Engine

from ..drivers import ListenConnection, sqlstate_of
from ..errors import ListenUnavailable, NotifyConfigError, TriggersMissing
from ..events.decoding import TableDecoder
from ..events.stream import Route
from ..log.tail import Tail
from ..marking.sources import Wanted
from ..protocol.presence import Presence, holders
from ..sql import schema_translation
from ..states import States
from ..triggers.catalog import Installed, installed, marked_sets
from ..triggers.column_sql import FAMILIES
from ..triggers.drift import compare
from ..triggers.trigger_set import read_comment
from .trigger_watch import TriggerWatch, states_of

__all__ = ["listen", "read_again"]


def listen(
    connection: ListenConnection,
    engine: Engine,
    wanted: Wanted,
    known: Mapping[str, Route],
    presence: Presence,
    states: States,
    watch: TriggerWatch,
    *,
    strict: bool,
) -> tuple[dict[str, Route], TriggersMissing | None]:
    """LISTEN to what is wanted and not yet listened to, show it to writers, and the reverse for the
    rest.

    :param known: what channels carried until now; of tables that are gone these are kept, since
        they may come back.
    :param watch: what finds out later whether the triggers are still those that are found now.
    :param strict: whether to refuse tables without enabled triggers; otherwise the error is
        returned and not raised.
    :returns: what each channel carries from now on, and what was found missing.
    """
    tables = sorted(wanted.tables, key=lambda table: table.fullname)
    sets = marked_sets(tables, schema_translation(engine))
    states_before = states_of(connection.execute, sets.values())
    found = installed(connection.execute, sets.values())
    silent: dict[str, list[str]] = {}
    for table, triggers in sets.items():
        for drift in compare(triggers, found.get(triggers), table.fullname):
            if drift.kind in ("missing", "disabled"):
                silent.setdefault(table.fullname, []).append(str(drift))
            else:
                states.report("triggers differ", drift)
    readers = connection.readers(oid for there in found.values() for oid in there.types.values())
    missing = None
    if silent:
        missing = TriggersMissing(
            tuple(silent), " ".join(line for lines in silent.values() for line in lines)
        )
        if strict:
            raise missing
    routes: dict[str, Route] = {}
    for table, triggers in sets.items():
        if (there := found.get(triggers)) is None:
            for channel, relation, source in [
                (c, n, s)
                for c, r in known.items()
                for n, s in r.sources.items()
                if s.table is table
            ]:
                routes.setdefault(channel, replace(known[channel], sources={})).sources.setdefault(
                    relation, source
                )
            continue
        interest = wanted.tables[table]
        channel = (
            there.channel if there.log is None else Tail.channel(connection.execute, there.log)
        )
        route = routes.setdefault(
            channel, Route({}, plain=channel in wanted.channels, log=there.log)
        )
        if there.relation in route.sources:
            raise NotifyConfigError(
                table.fullname,
                "two of the sources are this table, from two MetaData. Listen to one of them",
            )
        route.sources[there.relation] = TableDecoder(
            table,
            interest.mapper,
            interest.accepts,
            triggers.marking.key,
            engine.dialect,
            there.types,
            readers,
            _types(there),
        )
    for channel in wanted.channels:
        routes.setdefault(channel, Route({}, plain=True))
    listening = {row[0] for row in connection.execute("SELECT pg_catalog.pg_listening_channels()")}
    connection.listen([channel for channel in routes if channel not in listening])
    connection.unlisten([channel for channel in listening if channel not in routes])
    told_on = [channel for channel, route in routes.items() if route.log is None or route.plain]
    try:
        presence.show_on(connection.execute, told_on, time.monotonic())
    except Exception as error:
        if sqlstate_of(error) != "55P03":  # lock_not_available
            raise
        raise ListenUnavailable(
            "lock",
            f"the advisory locks by which writers see a listener cannot be had: {holders(connection.execute) or 'a session'} holds them "
            "exclusively. End that session by pg_terminate_backend()",
        ) from error
    watch.rely_on(states_before, found, sets.values())
    return routes, missing


def read_again(
    connection: ListenConnection, engine: Engine, sources: Iterable[TableDecoder]
) -> dict[str, TableDecoder]:
    """``sources`` with the columns that their tables have by now, by the name in the message's
    header; without those that are gone."""
    of_table = {source.table: source for source in sources}
    sets = marked_sets(of_table, schema_translation(engine))
    found = installed(connection.execute, sets.values())
    readers = connection.readers(oid for there in found.values() for oid in there.types.values())
    return {
        there.relation: of_table[table].with_types(there.types, readers, _types(there))
        for table, triggers in sets.items()
        if (there := found.get(triggers)) is not None
    }


def _types(there: Installed) -> dict[str, str] | None:
    """The letter of each column's family, as the trigger that is there knows it; None if its
    comment does not tell."""
    families = (read_comment(there.comment) or {}).get("columns")
    return (
        None
        if families is None
        else {name: FAMILIES[family].code for name, family in families.items()}
    )
