"""Relays that are wrong in one way each: the check of delivery must find them out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sa_pgnotify.consuming.consumer import ChangeBatch
from sa_pgnotify.relay.place import Known, Place, Sealed, newest_of, record, recorded
from sa_pgnotify.sql import execute_on
from sa_pgnotify.testing import ClusterCheck
from sa_pgnotify.testing.cluster.relays import RelayRows


def stores_first(relay: Any) -> Any:
    """Let a relay store its position, and publish then."""
    right, sink = relay._publisher, relay._sink

    def resume(execute: Any, table: Any, log: str) -> None:
        right._table = table
        sink.close()
        sink.connect(relay.name)
        sink.resume()
        sink.begin()
        right._known = recorded(execute, table) or Known(Place(str(sink), log))

    def publish(work: Any) -> None:
        messages, _ = right._messages.of(work)
        right._known = right._known.next(work.after, newest_of(work.chunks))
        batch: Any = ChangeBatch(right._worker, work)
        with batch as session:
            record(execute_on(session.connection()), right._table, right._known)
        time.sleep(0.2)  # most kills meet this moment
        sink.publish(messages, str(right._known.sealed()))

    right.resume, right._publish = resume, publish
    return relay


def skips_by_number(relay: Any) -> Any:
    """Let a relay go on after a failure by the number of messages that it has published: it reads the
    changes anew, up to a new snapshot, and skips as many, in whichever order they come then."""
    right, sink = relay._publisher, relay._sink
    of, publish, skip = right._messages.of, sink.publish, [0]

    def resume(execute: Any, table: Any, log: str) -> None:
        right._table = table
        sink.close()
        sink.connect(relay.name)
        text, known = sink.resume(), recorded(execute, table)
        kept = None if text is None else Sealed.parse(text).place
        right._known = Known(kept or Place(str(sink), log))
        sink.begin()
        if kept is not None and (known is None or kept.number > known.place.number):
            headers = sink._client.last_message(sink.stream, f"{relay.name}.>")[1]
            skip[0] = int(headers.get("Nats-Batch-Sequence", 1))

    def messages_of(work: Any) -> Any:
        messages, refused = of(work)
        skipped, skip[0] = min(skip[0], len(messages)), max(0, skip[0] - len(messages))
        return messages[skipped:], refused

    sink.publish = lambda messages, place: publish(messages, place) if messages else None
    right.resume, right._messages.of = resume, messages_of
    return relay


@dataclass(frozen=True)
class StoresFirst(RelayRows):
    """See :func:`stores_first`."""

    def relay(self, engine: Any, sink: Any) -> Any:
        return stores_first(super().relay(engine, sink))


class StoresFirstCheck(ClusterCheck):
    _job = StoresFirst
