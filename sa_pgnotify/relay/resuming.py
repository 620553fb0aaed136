"""Where a process begins that takes a relay over, given what the sink and the database know.

The process before it may have ended at any moment: between the sink's confirmation and the commit of
the position, or a year ago. The database may have been restored or failed over since, and the sink
emptied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..consuming.positions import ConsumerTable
from ..errors import NotifyConfigError, UnreadableData
from ..log.origin import copied_from, database_and_log
from ..log.tail import LOST_TO_CRASH
from ..sql import Execute
from .place import Known, Place, Sealed, adopt, is_lost, record, recorded
from .sink import Guarantee, Sink

__all__ = ["check_known", "resume"]


def resume(
    sink: Sink, execute: Execute, table: ConsumerTable, origin: str
) -> tuple[Known, str | None]:
    """Reconcile the stored position with the place that the sink keeps.

    :param sink: a connected one; this call locks any earlier process out of it.
    :param origin: the log that is read, see :func:`sa_pgnotify.log.origin.origin_of`.
    :returns: the place after which to publish, and why changes are missing there; None if none are.
    :raises NotifyConfigError: if the relay has published into another sink, if the sink has lost the
        relay's messages, if another program has written its place, or if it is that of another
        database.
    """
    log = database_and_log(execute, origin)
    known, text = check_known(sink, execute, table, log), sink.resume()
    is_kept = known is not None and known.place.kept
    sealed = None if text is None or not (text or is_kept) else Sealed.parse(text)
    lost = None
    if sink.guarantee is not Guarantee.EXACTLY_ONCE:
        now = _with(known or Known(Place(str(sink), log)), kept=False)
    elif known is None:
        now = _first(sink, table, log, sealed)
    else:
        now = _known_again(sink, table, known, sealed)
        if now.place.log not in (log, known.place.log):
            raise _of_another_database(sink, table)
        is_newer = sealed is not None and known.has_made(sealed) and now.place != known.place
        if is_newer and now.place.log == log:
            lost = _lost(execute, table, known, now, origin)
    if now != known:
        record(execute, table, now)
    return _with(now, log=log), lost


def _with(known: Known, **changes: Any) -> Known:
    return replace(known, place=replace(known.place, **changes))


def check_known(sink: Sink, execute: Execute, table: ConsumerTable, log: str) -> Known | None:
    """Return what the database knows to be published.

    :raises NotifyConfigError: if the relay has published into another sink, or the database is a copy
        of that which did.
    """
    known = recorded(execute, table)
    if known is None:
        return None
    if known.place.sink != str(sink):
        raise NotifyConfigError(
            table.key.name,
            f"this relay publishes into {known.place.sink}, not into {sink}",
            f"Take another name for the other one, or {_forget(table)} to begin anew",
        )
    original = copied_from(execute, known.place.log, log)
    if original is not None:
        raise NotifyConfigError(
            table.key.name,
            f"this database is a copy of {original!r} on the same server, whose relay of this name publishes into {sink}",
            f"Give its relay another name: {_forget(table)}, and start the relay under it; or drop {original!r}, if this one replaces it",
        )
    return known


def _first(sink: Sink, table: ConsumerTable, log: str, sealed: Sealed | None) -> Known:
    """Return what is known of a relay that begins; under its name another one, which was forgotten,
    may have published."""
    if sealed is None:
        return Known(Place(str(sink), log))
    try:
        place = sealed.place
    except UnreadableData:
        raise _foreign(sink, table) from None
    if place.log != log:
        raise _of_another_database(sink, table)
    return Known(Place(str(sink), log), found=sealed.seal)


def _known_again(sink: Sink, table: ConsumerTable, known: Known, sealed: Sealed | None) -> Known:
    """Return what the sink and the database together know of a relay that has begun before."""
    if sealed is None or (known.found and sealed.seal == known.found):
        if known.place.kept and known.place.number:
            raise NotifyConfigError(
                table.key.name,
                f"{sink} has no message of this relay, which has published {known.place.number} times into it: it was emptied, "
                "deleted, or created again",
                f"{_forget(table)} to begin anew, with start='snapshot' if the readers need what was there; with start='now' they "
                "miss the changes that are waiting in the log",
            )
        return _with(known, kept=True)
    if not known.has_made(sealed):
        raise _foreign(sink, table)
    return replace(known, place=sealed.place)


def _forget(table: ConsumerTable) -> str:
    return f"forget(engine, metadata, {table.key.name!r})"


def _foreign(sink: Sink, table: ConsumerTable) -> NotifyConfigError:
    where, fix = sink.place_found()
    return NotifyConfigError(
        table.key.name,
        f"{where} has a place that this relay has not written, so nothing says how far it has come",
        f"{fix}. Only the relay's user should be allowed to write there",
    )


def _of_another_database(sink: Sink, table: ConsumerTable) -> NotifyConfigError:
    return NotifyConfigError(
        table.key.name,
        f"{sink} has messages of a relay of this name that reads another database",
        "Give each relay that publishes into it a name of its own",
    )


def _lost(
    execute: Execute, table: ConsumerTable, known: Known, now: Known, origin: str
) -> str | None:
    """Adopt the sink's place; return why changes are missing if that is not possible."""
    ahead, newest = now.place.number - known.place.number, now.place.newest
    # The table is one publication behind, unless the server has lost commits.
    if ahead > 1 or (ahead >= 0 and newest and is_lost(execute, table, newest)):
        return LOST_TO_CRASH
    adopt(execute, table, now, origin)
    return None
