"""Whole transactions, in the order of their commits, from what ``pgoutput`` sends.

Most transactions are sent when they commit. One that is larger than ``logical_decoding_work_mem``
may be streamed in blocks while it is open. It may then still be rolled back, wholly or to a
savepoint, and other transactions come in between. Its messages are kept in a file until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from tempfile import SpooledTemporaryFile
from typing import IO

from .pgoutput import (
    Begin,
    Commit,
    Decoder,
    Emitted,
    Relation,
    RowChange,
    StreamAbort,
    StreamCommit,
    StreamStart,
    StreamStop,
    Truncation,
)

__all__ = ["Plain", "WholeTransactions"]

Plain = Begin | Commit | Relation | RowChange | Truncation | Emitted
"""What a transaction consists of: it begins with a ``Begin`` and ends with a ``Commit``."""
_MOSTLY = frozenset((Begin, Commit, RowChange))
IN_MEMORY = 8 << 20
"""Bytes of an open transaction that are kept in memory."""
_LENGTH = Struct("!I")


class _Streamed:
    """The messages of an open transaction."""

    def __init__(self) -> None:
        self.file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (it lasts as long as the transaction)
        self.aborted: set[int] = set()

    def add(self, data: bytes) -> None:
        self.file.write(_LENGTH.pack(len(data)))
        self.file.write(data)

    def messages(self) -> Iterator[bytes]:
        self.file.seek(0)
        while head := self.file.read(_LENGTH.size):
            yield self.file.read(*_LENGTH.unpack(head))


class WholeTransactions:
    """Puts the messages of one slot in order."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._open: dict[int, _Streamed] = {}
        self._block: _Streamed | None = None

    def add(self, data: bytes) -> Iterable[Plain]:
        """Return what one message adds to whole transactions: mostly itself; nothing while its
        transaction is open; the whole transaction when it commits.

        :raises UnreadableData: see :meth:`Decoder.decode`.
        """
        message = self._decoder.decode(data)
        if message is None:
            return ()
        if type(message) in _MOSTLY and self._block is None:
            return (message,)  # type: ignore[return-value]  # as its type is one of these
        if isinstance(message, StreamStart):
            if message.xid not in self._open:
                self._open[message.xid] = _Streamed()
            self._block = self._open[message.xid]
        elif isinstance(message, StreamStop):
            self._block = None
        elif isinstance(message, StreamAbort):
            self._abort(message)
        elif isinstance(message, StreamCommit):
            return self._commit(message)
        elif self._block is None or _stands_alone(message):
            return (message,)
        else:
            self._block.add(data)
        return ()

    def close(self) -> None:
        """Forget the transactions that are open."""
        for streamed in self._open.values():
            streamed.file.close()
        self._open.clear()
        self._block = None

    def _abort(self, message: StreamAbort) -> None:
        if message.xid == message.subxid:
            if (streamed := self._open.pop(message.xid, None)) is not None:
                streamed.file.close()
        elif message.xid in self._open:
            self._open[message.xid].aborted.add(message.subxid)

    def _commit(self, message: StreamCommit) -> Iterator[Plain]:
        streamed = self._open.pop(message.xid)
        yield Begin(message.commit_lsn, message.microseconds, message.xid)
        decoder = Decoder()
        decoder.decode(b"S" + _LENGTH.pack(message.xid) + b"\1")
        with streamed.file:
            for data in streamed.messages():
                found = decoder.decode(data)
                assert isinstance(found, Relation | RowChange | Truncation | Emitted)
                # A relation's description stays valid even if its savepoint was rolled back.
                if isinstance(found, Relation) or found.xid not in streamed.aborted:
                    yield found
        yield Commit(message.commit_lsn, message.end_lsn, message.microseconds)


def _stands_alone(message: object) -> bool:
    """Return whether a message belongs to no transaction."""
    return isinstance(message, Emitted) and not message.is_transactional
