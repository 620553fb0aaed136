"""The messages of a stream from a number on, in their order: an ephemeral pull consumer of JetStream,
which another replaces when anything is wrong.

The server keeps nothing about how far a member has come, because the handler's database does. So the
messages are not acknowledged. That none is missing is seen from the consumer's own numbers, which
have no holes.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import uuid4

from ..relay.nats_client import NatsRefused
from ..relay.sink import SinkUnavailable
from .stream_client import StreamClient

__all__ = ["Reader", "Received"]

FETCHED = 1000
"""How many messages are requested at once; as many again may wait for the program."""
FETCHED_BYTES = 16 << 20
SECONDS = 1_000_000_000
"""In nanoseconds, in which JetStream counts."""
EXPIRES, HEARTBEAT = 30, 1
"""Seconds that a request lasts, and between the server's heartbeats meanwhile."""
ENDED = ("408", "409 Batch Completed", "409 Message Size Exceeds MaxBytes")
"""How the server says that a request has ended, and the consumer is still there."""
SILENCE = 5.0
"""Seconds without a message or heartbeat after which the consumer counts as lost."""


class Received(NamedTuple):
    """A message of the stream.

    :ivar sequence: its number in the stream.
    :ivar pending: how many messages came after it when it was sent.
    :ivar stored: when the server has stored it, in nanoseconds since 1970, by its clock.
    """

    sequence: int
    subject: str
    body: bytes
    headers: Mapping[str, str]
    pending: int
    stored: int = 0


class Reader:
    """Reads the stream of a client. ``start``, ``take`` and ``close`` are the program's; everything
    else runs in the client's loop.

    :param arrived: called in the client's loop when messages have come.
    """

    def __init__(self, client: StreamClient, arrived: Callable[[], object]) -> None:
        self._client = client
        self._arrived = arrived
        self._buffer: deque[Received] = deque()
        self._name = ""
        self._subscription: Any = None
        self._count = 0  # of the consumer's messages
        self._open = 0  # of the request: how many messages may still come
        self._is_asked = False  # whether a request will be made soon
        self._heard = self._came = 0.0
        self._lost = ""

    def start(self, sequence: int) -> None:
        """Read from the message of that number on.

        :raises SinkUnavailable: if the broker does not answer.
        """
        self.close()
        self._buffer.clear()
        self._client.run(self._start(sequence))

    def close(self) -> None:
        """Stop reading."""
        if self._subscription is not None and self._client.is_connected:
            with suppress(SinkUnavailable):
                self._client.run(self._close(self._name, self._subscription))
        self._subscription = None

    @property
    def has_some(self) -> bool:
        """Whether :meth:`take` would return a message."""
        return bool(self._buffer)

    @property
    def silence(self) -> float:
        """Seconds since the last message."""
        return time.monotonic() - self._came

    def take(self) -> Received | None:
        """Return the next message; None if none has come yet.

        :raises SinkUnavailable: if reading was interrupted.
        """
        if self._buffer:
            message = self._buffer.popleft()
            if not self._open and not self._is_asked and len(self._buffer) <= FETCHED // 2:
                self._is_asked = True
                self._client.spawn(self._request())
            return message
        if self._lost or not self._client.is_connected:
            raise SinkUnavailable(f"reading was interrupted: {self._lost or 'connection lost'}")
        if time.monotonic() - self._heard > SILENCE:
            self._lost = f"nothing was heard for {SILENCE:g} s"
        return None

    # -- in the client's loop ----------------------------------------------------------------------

    async def _start(self, sequence: int) -> None:
        self._name, self._count, self._open, self._lost = f"sa_pgnotify_{uuid4().hex}", 0, 0, ""
        self._heard = self._came = time.monotonic()
        name, connection = self._name, self._client.connection
        inbox = connection.new_inbox()

        async def received(message: Any) -> None:
            self._receive(name, message)
            if self._open == 0 and len(self._buffer) <= FETCHED and name == self._name:
                await self._request()

        self._inbox, self._number = inbox, 0
        self._subscription = await connection.subscribe(
            f"{inbox}.*", cb=received, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": sequence,
            "inactive_threshold": 2 * EXPIRES * SECONDS,
            "num_replicas": 1,
            "mem_storage": True,
        }
        stream = self._client.stream
        body = {"stream_name": stream, "config": config, "action": "create"}
        await self._client.call_api(f"CONSUMER.CREATE.{stream}.{name}", body)
        await self._request()

    async def _request(self) -> None:
        self._is_asked = False
        if self._open or not self._client.is_connected:
            return
        self._open, self._number = FETCHED, self._number + 1
        wanted = {
            "batch": FETCHED,
            "max_bytes": max(FETCHED_BYTES, 2 * self._client.max_payload),
            "expires": EXPIRES * SECONDS,
            "idle_heartbeat": HEARTBEAT * SECONDS,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._client.stream}.{self._name}"
        await self._client.connection.publish(
            subject, json.dumps(wanted).encode(), reply=self._reply
        )

    @property
    def _reply(self) -> str:
        """Where the answers to the present request go."""
        return f"{self._inbox}.{self._number}"

    def _receive(self, name: str, message: Any) -> None:
        if name != self._name:
            return  # of a consumer before
        self._heard = time.monotonic()
        headers: Mapping[str, str] = message.headers or {}
        status = headers.get("Status")
        if message.reply.startswith("$JS.ACK."):
            sequence, count, stored, pending = _numbers(message.reply)
            if count != self._count + 1:
                self._lost = self._lost or "messages of the consumer are missing"
            if self._lost:
                return
            self._count, self._open, self._came = count, self._open - 1, self._heard
            self._buffer.append(
                Received(sequence, message.subject, message.data, headers, pending, stored)
            )
        elif (said := f"{status} {headers.get('Description', '')}").startswith(ENDED):
            if message.subject == self._reply:  # and not of a request before
                self._open = 0
            return
        elif status != "100":
            self._lost = self._lost or said
        self._arrived()

    async def _close(self, name: str, subscription: Any) -> None:
        await subscription.unsubscribe()
        with suppress(NatsRefused):
            await self._client.call_api(f"CONSUMER.DELETE.{self._client.stream}.{name}", None)


def _numbers(reply: str) -> tuple[int, int, int, int]:
    """Return the number of a message in the stream, that in the consumer, when it was stored, and how
    many come after.

    >>> _numbers("$JS.ACK.SHOP.c.1.7.3.1795960002295588752.5")
    (7, 3, 1795960002295588752, 5)
    """
    parts = reply.split(".")
    at = 5 if len(parts) == 9 else 7  # with a domain and an account
    sequence, count, stored, pending = map(int, parts[at : at + 4])
    return sequence, count, stored, pending
