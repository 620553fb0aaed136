"""Where a process begins that takes a relay over, given what the sink and the database know.

The process before it may have ended at any moment: between the sink's confirmation and the commit of
the position, or a year ago. The database may have been restored or failed over since, and the sink
emptied.
"""

from __future__ import annotations

from dataclasses import replace

from ..consuming.positions import ConsumerTable
from ..errors import NotifyConfigError
from ..log.tail import LOST_TO_CRASH
from ..sql import Execute
from .place import Place, adopt, is_lost, record, recorded
from .sink import Guarantee, Sink

__all__ = ["refuse_other_sink", "resume"]


def resume(
    sink: Sink, execute: Execute, table: ConsumerTable, log: str
) -> tuple[Place, str | None]:
    """Bring the stored position and the sink's place together.

    :param sink: a connected one, from which any earlier process is locked out here.
    :param log: the log that is read, see :func:`sa_pgnotify.log.origin.origin_of`.
    :returns: the place after which to publish, and why changes are missing there; None if none are.
    :raises NotifyConfigError: if the relay has published into another sink, if the sink has lost the
        relay's messages, or if it has those of another database.
    """
    relay, known = table.key.name, refuse_other_sink(sink, execute, table)
    text = sink.resume()
    keeps = sink.guarantee is Guarantee.EXACTLY_ONCE
    kept = Place.parse(text) if keeps and text is not None else None
    lost = None
    if kept is None:
        if keeps and known is not None and known.kept and known.number:
            raise NotifyConfigError(
                relay,
                f"{sink} has no message of this relay, which has published {known.number} times into it: it was emptied, or created again",
                "forget() the relay to begin anew, with start='snapshot' if the readers need what was there",
            )
        kept = replace(known or Place(str(sink), log), kept=keeps)
    elif kept.log != log and (known is None or known.log != kept.log):
        raise NotifyConfigError(
            relay,
            f"{sink} has messages of a relay of this name that reads another database",
            "Give each relay that publishes into it a name of its own",
        )
    elif known is not None and known != kept and kept.log == log:
        ahead = kept.number - known.number
        # The table is one publication behind, unless the server has lost commits.
        if (ahead in {0, 1} and kept.newest and is_lost(execute, table, kept.newest)) or ahead > 1:
            lost = LOST_TO_CRASH
        else:
            adopt(execute, table, kept, log)
    if kept != known:
        record(execute, table, kept)
    return replace(kept, log=log), lost


def refuse_other_sink(sink: Sink, execute: Execute, table: ConsumerTable) -> Place | None:
    """Return what the database knows to be published.

    :raises NotifyConfigError: if the relay has published into another sink.
    """
    known = recorded(execute, table)
    if known is not None and known.sink != str(sink):
        raise NotifyConfigError(
            table.key.name,
            f"this relay publishes into {known.sink}, not into {sink}",
            "Take another name for the other one, or forget() the relay to begin anew",
        )
    return known
