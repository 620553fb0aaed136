"""What a member needs of NATS beyond a relay's client: a document that is replaced by compare-and-set,
and the messages of a stream in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from ..relay.jetstream import NO_MESSAGE, JetStream
from ..relay.nats_client import NatsClient, NatsRefused
from ..relay.sink import SINK_SECONDS, SinkUnavailable

__all__ = ["BUCKET", "Blocking", "StreamClient", "StreamState"]

T = TypeVar("T")
BUCKET = "sa_pgnotify_groups"
"""The key-value bucket of all groups."""
Blocking = Callable[[Callable[[], Any]], Any]
"""Calls a function that blocks: in this thread, or in another one while a greenlet waits for it."""


class StreamState(NamedTuple):
    """What a stream holds.

    :ivar created: identifies it among streams of its name.
    :ivar first: the number of the first message that is there; ``last`` that of the last one that
        was published.
    :ivar stored: when the last one was stored, see :attr:`Received.stored`; 0 if there is none.
    """

    created: str
    first: int
    last: int
    stored: int = 0


class StreamClient(NatsClient):
    """A client for one stream.

    :ivar blocking: see :data:`Blocking`.
    """

    def __init__(self, stream: JetStream, blocking: Blocking) -> None:
        super().__init__(stream.servers, stream.options)
        self.stream = stream.stream
        self.blocking = blocking
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    @property
    def connection(self) -> Any:
        """The connection of nats-py, for coroutines that :meth:`run` runs."""
        return self._connection

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the client's loop.

        :raises SinkUnavailable: if it raises an error of the connection or of JetStream.
        """
        return self._run(work)

    def spawn(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine in the client's loop, and do not wait for it."""
        assert self._loop is not None, "not connected"
        return asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)

    async def _tracked(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await work
        finally:
            self._tasks.discard(task)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        run = super()._run
        result: T = self.blocking(lambda: run(work))
        return result

    def close(self) -> None:
        self.blocking(self._close)

    def _close(self) -> None:
        if self._loop is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop).result(1.0)
        super().close()

    async def _end_tasks(self) -> None:
        """End what :meth:`spawn` has begun, before the loop ends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self, work: Future[None]) -> None:
        """Raise what has ended a coroutine of :meth:`spawn`, if anything has.

        :raises SinkUnavailable: if it was an error of the connection or of JetStream.
        """
        if not work.done() or work.cancelled():
            return
        error = work.exception()
        if isinstance(error, (self._nats.errors.Error, OSError, TimeoutError)):
            raise SinkUnavailable(self._denied or f"NATS cannot be reached: {error}") from error
        if error is not None:
            raise error

    def state(self) -> StreamState:
        """Return what the stream holds.

        :raises NatsRefused: if there is no such stream.
        """
        info = self.api(f"STREAM.INFO.{self.stream}")
        state = info["state"]
        first = max(1, int(state["first_seq"]))  # 0 before the first message
        return StreamState(
            str(info["created"]), first, int(state["last_seq"]), _nanoseconds(state["last_ts"])
        )

    def message_from(self, sequence: int) -> tuple[int, int] | None:
        """Return the number of the first message from a number on, and when it was stored; None if
        there is none."""
        wanted = {"seq": sequence, "next_by_subj": ">"}
        try:
            found = self.api(f"STREAM.MSG.GET.{self.stream}", wanted)["message"]
        except NatsRefused as error:
            if error.err_code != NO_MESSAGE:
                raise
            return None
        return int(found["seq"]), _nanoseconds(found["time"])

    def first_after(self, moment: int, state: StreamState) -> int:
        """Return the number of the first message that was stored after a moment; the one after the
        last if none was."""
        low, high = state.first, state.last + 1
        while low < high:
            middle = (low + high) // 2
            found = self.message_from(middle)
            if found is None or found[1] > moment:
                high = middle
            else:
                low = found[0] + 1
        return low

    # -- the document of a group -------------------------------------------------------------------

    async def bucket(self) -> Any:
        """Return the bucket of all groups; create it if there is none, on as many servers as the
        stream."""
        js = self._connection.jetstream(timeout=SINK_SECONDS)
        try:
            return await js.key_value(BUCKET)
        except self._nats.js.errors.NotFoundError:
            info = await js.stream_info(self.stream)
            return await js.create_key_value(
                bucket=BUCKET, history=1, replicas=info.config.num_replicas or 1
            )

    async def load(self, bucket: Any, key: str) -> tuple[bytes | None, int]:
        """Return a document and its revision; None and the revision that a new one must name."""
        errors = self._nats.js.errors
        try:
            entry = await bucket.get(key)
            return entry.value, entry.revision
        except errors.KeyNotFoundError as error:
            return None, getattr(error.entry, "revision", None) or 0

    async def replace(self, bucket: Any, key: str, value: bytes, revision: int) -> bool:
        """Replace a document, and return whether it was still of that revision."""
        try:
            await bucket.update(key, value, last=revision)
        except self._nats.js.errors.KeyWrongLastSequenceError:
            return False
        return True


def _nanoseconds(text: str) -> int:
    """Return a moment in nanoseconds since 1970; 0 for the moment that stands for none.

    >>> _nanoseconds("1970-01-01T00:00:01.00000002Z"), _nanoseconds("0001-01-01T00:00:00Z")
    (1000000020, 0)
    """
    date, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{date}+00:00").timestamp())
    return max(0, seconds * 1_000_000_000 + int(f"{fraction:0<9}"))
