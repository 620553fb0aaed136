"""A batch of the log as messages for a sink.

Nothing is dropped: a change that cannot be published is parked, and a ``Gap`` stands in its place.

Headers of every message:

- ``Sa-Pgnotify-Key``: :attr:`Message.key`, by which a reader recognises a change that comes again.

Headers of the messages of a transaction that was divided because it has more changes than the sink
stores at once:

- ``Sa-Pgnotify-Transaction``: the transaction id;
- ``Sa-Pgnotify-Part``: ``begin``, ``middle`` or ``end``: which part of the transaction it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from sqlalchemy import Table

from ..consuming.batch import OpenBatch
from ..consuming.chunks import Chunk
from ..errors import described, printable
from ..events.changes import Change
from ..events.cloud_events import CloudEvents
from ..events.kinds import Gap
from ..log.reader import LogRow
from .sink import Message, Sink
from .subjects import Subject, id_of, root_of, samples, subject_function

__all__ = ["KEY", "PART", "TRANSACTION", "Format", "Messages", "Refused"]

KEY, TRANSACTION, PART = "Sa-Pgnotify-Key", "Sa-Pgnotify-Transaction", "Sa-Pgnotify-Part"

Format = Literal["envelope"] | CloudEvents
"""How a body is written: ``event.to_json()``, or a CloudEvent."""


WHY_LENGTH, GAP_LENGTH = 250, 400
"""The most characters of the reason why a change is refused, and of the detail of a ``Gap``."""


class Refused(NamedTuple):
    """A change that cannot be published.

    :ivar number: of the event in the chunk; ``why`` one line.
    """

    chunk: Chunk
    number: int
    why: str


class Messages:
    """Makes the messages of one relay.

    :ivar gap_subject: where a ``Gap`` is published.
    """

    def __init__(self, relay: str, sink: Sink, subject: Subject, format: Format) -> None:  # noqa: A002 (the public name)
        self._relay = relay
        self._sink = sink
        self._subject = subject_function(relay, subject)
        self._write: Callable[[Any], str] = (
            format.to_json if isinstance(format, CloudEvents) else _envelope
        )
        self._rows: dict[object, str] = {}
        self.gap_subject = f"{relay}.gap"

    def refused_subject(self, entities: Iterable[tuple[Any, Table]]) -> str | None:
        """Return why the sink would not take what is published of ``entities``, as far as that is known
        beforehand; None if it would."""
        subjects = [self.gap_subject, *samples(self._subject, entities)]
        whys = (self._sink.refusal(Message(subject, b"{}", "")) for subject in subjects)
        return next(filter(None, whys), None)

    def of(self, batch: OpenBatch) -> tuple[list[Message], list[Refused]]:
        """Return the messages of a batch, and the changes for which a ``Gap`` stands among them."""
        messages: list[Message] = []
        refused: list[Refused] = []
        for chunk, part in _parts(batch):
            for number, event in enumerate(chunk.events):
                if event is None:
                    continue
                if isinstance(event, Gap):
                    messages.append(self.gap(event))
                    continue
                made = self._message(chunk, number, event, part)
                if isinstance(made, str):
                    refused.append(Refused(chunk, number, made))
                    made = self.gap(_gap_for(event, self._key(chunk, number, event), made))
                messages.append(made)
        return messages, refused

    def gap(self, gap: Gap) -> Message:
        """Return the message of a ``Gap``, which is short, so that any sink takes it."""
        gap = replace(gap, detail=printable(gap.detail, GAP_LENGTH))
        key = f"{self._relay}-gap-{uuid4().hex}"
        return Message(self.gap_subject, self._write(gap).encode(), key, "", {KEY: key})

    def _message(
        self, chunk: Chunk, number: int, change: Change, part: dict[str, str]
    ) -> Message | str:
        """Return the message of a change, or why it cannot be published."""
        key = self._key(chunk, number, change)
        try:
            subject = self._subject(change)
            if not isinstance(subject, str):
                raise TypeError(f"the subject function returned {subject!r}, which is not a text")
            subject = str.__str__(subject)
            subject.encode()  # half of a surrogate pair cannot be encoded
            body = self._write(change).encode()
        except Exception as error:  # raised by the program's function, or by a value of its type
            return described(error, WHY_LENGTH)
        message = Message(subject, body, key, self._row(change), {KEY: key, **part})
        why = self._sink.refusal(message)
        return message if why is None else printable(why, WHY_LENGTH)

    def _key(self, chunk: Chunk, number: int, change: Change) -> str:
        first, second = chunk.key(number)
        if not isinstance(chunk.row, LogRow):  # a row that was read: each reading has its own key
            return f"{self._relay}-row{first}-{int(chunk.row.occurred_at.timestamp() * 1e6)}"
        if chunk.divisible:
            return f"{self._relay}-{first}-{second}"
        return (
            f"{self._relay}-{first}-{second}-{number}"  # a TRUNCATE, with an event for each class
        )

    def _row(self, change: Change) -> str:
        table = self._rows.get(change.entity)
        if table is None:
            table = self._rows[change.entity] = root_of(change.entity, change.table).name
        return table if change.identity is None else f"{table}/{id_of(change)}"


def _envelope(event: Change | Gap) -> str:
    return event.to_json()


def _gap_for(change: Change, key: str, why: str) -> Gap:
    what = f"the change {key} of {change.table.fullname} cannot be published, and is parked: {why}"
    return Gap("undecodable", change.occurred_at, what)


def _parts(batch: OpenBatch) -> Iterator[tuple[Chunk, dict[str, str]]]:
    """Return each chunk with the headers that say which part of its transaction the batch has."""
    chunks = batch.chunks
    first, last = chunks[0].row.tx_end, chunks[-1].row.tx_end
    goes_on, is_cut = first == batch.reached.tx_end, not chunks[-1].ends
    for chunk in chunks:
        end = chunk.row.tx_end
        after, before = goes_on and end == first, is_cut and end == last
        if not (after or before) or not isinstance(chunk.row, LogRow) or not chunk.row.xid:
            yield chunk, {}
            continue
        part = "middle" if after and before else "end" if after else "begin"
        yield chunk, {TRANSACTION: str(chunk.row.xid), PART: part}
