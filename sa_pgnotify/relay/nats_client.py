"""A blocking client of NATS: nats-py in an event loop of its own thread.

The loop must run even while the relay waits for the database, because the server closes a connection
that does not answer its pings.
"""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64decode
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from ..errors import NotifyConfigError, printable
from .sink import SINK_SECONDS, Message, SinkUnavailable

__all__ = ["NatsClient", "NatsRefused"]

T = TypeVar("T")
NO_JETSTREAM = (10039, 10076)
"""JetStream is not enabled for the account, or not enabled."""
SCHEMES = ("nats", "tls", "ws", "wss")
ENABLE = "Start nats-server with -js, or enable JetStream for the account"


class NatsRefused(SinkUnavailable):
    """JetStream answered with an error.

    :ivar err_code: the number of the error.
    :ivar is_temporary: whether the same request may succeed later.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"JetStream answered: {error.get('description', error)}")
        self.err_code = int(error.get("err_code", 0))
        self.is_temporary = int(error.get("code", 500)) == 503


class NatsClient:
    """One connection at a time.

    :param servers: see :class:`~sa_pgnotify.relay.JetStream`.
    :param options: of ``nats.connect()``.
    """

    def __init__(self, servers: str | Sequence[str], options: Mapping[str, Any]) -> None:
        try:
            import nats.errors
        except ImportError as error:
            raise ImportError("JetStream needs nats-py: pip install 'sa_pgnotify[nats]'") from error
        self._nats: Any = nats
        self._servers = _split(servers)
        self._denied = self._failed = ""
        self._options = options
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- the connection ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect to one of the servers.

        :raises SinkUnavailable: if none can be reached.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="sa_pgnotify nats", daemon=True
            )
            self._thread.start()
        self._connection = self._run(self._connect())

    async def _connect(self) -> Any:
        options = {
            # The relay reconnects itself, because it must find out first what was stored.
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.1,
            "connect_timeout": max(1.0, SINK_SECONDS / 3 / len(self._servers)),
            "error_cb": self._note,
            "name": "sa_pgnotify",
            **self._options,
        }
        self._denied = self._failed = ""
        try:
            return await asyncio.wait_for(
                self._nats.connect(self._servers, **options), SINK_SECONDS
            )
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            why = self._failed or printable(str(error) or type(error).__name__)
            raise SinkUnavailable(
                f"NATS cannot be reached at {', '.join(map(_without_user, self._servers))}: {why}",
                "Start nats-server there, or correct the URL, the user or the options",
            ) from error

    async def _note(self, error: Exception) -> None:
        """Keep what the server reports outside its answers, for the call that fails because of it."""
        text = printable(str(error) or type(error).__name__)
        if "permissions violation" in text.lower():
            self._denied = text
        else:
            self._failed = text

    def close(self) -> None:
        """Disconnect, and end the thread."""
        loop, thread = self._loop, self._thread
        connection, self._connection = self._connection, None
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        if connection is not None:
            asyncio.run_coroutine_threadsafe(_close(connection, loop), loop)
        else:
            loop.call_soon_threadsafe(loop.stop)
        thread.join(SINK_SECONDS)
        if not thread.is_alive():
            loop.close()

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        version = self._connection.connected_server_version
        return int(version.major), int(version.minor)

    @property
    def version_text(self) -> str:
        return "{}.{}".format(*self.version)

    @property
    def max_payload(self) -> int:
        """The most bytes of a message with its headers."""
        return int(self._connection.max_payload)

    # -- JetStream ---------------------------------------------------------------------------------

    def api(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's API.

        :raises NotifyConfigError: if the server has no JetStream.
        """
        return self._run(self.call_api(what, body))

    async def call_api(self, what: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Call JetStream's API, in the loop of the client; see :meth:`api`."""
        sent = b"" if body is None else json.dumps(body).encode()
        try:
            return _answer(await self._request(f"$JS.API.{what}", sent))
        except NatsRefused as error:
            if error.err_code in NO_JETSTREAM:
                raise NotifyConfigError(
                    "JetStream", f"the server has none: {error}", ENABLE
                ) from None
            raise
        except self._nats.errors.NoRespondersError:  # also while a cluster has no leader
            raise SinkUnavailable("the server has no JetStream: nobody answers", ENABLE) from None

    def last_message(self, stream: str, subject: str) -> tuple[int, dict[str, str]]:
        """Return number and headers of the last message below a subject."""
        found = self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})["message"]
        lines = b64decode(found.get("hdrs", "")).decode(errors="replace").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        return int(found["seq"]), headers

    def publish_batch(self, messages: Sequence[Message], last: int, end: Mapping[str, str]) -> int:
        """Publish messages, all or none, and return the number of the last one in the stream.

        :param last: the number that the stream's last message must have.
        :param end: more headers of the last message.
        """
        return self._run(self._publish_batch(messages, last, end))

    async def _publish_batch(
        self, messages: Sequence[Message], last: int, end: Mapping[str, str]
    ) -> int:
        publish = self._connection.publish
        batch, more = uuid4().hex, {"Nats-Expected-Last-Sequence": str(last)}
        for number, message in enumerate(messages[:-1], 1):
            numbered = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            headers = {**message.headers, **numbered, **more}
            await publish(message.subject, message.body, headers=headers)
            more = {}
        if len(messages) > 1:
            more = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages))}
            more["Nats-Batch-Commit"] = "1"
        message = messages[-1]
        headers = {**message.headers, **more, **end}
        return int(_answer(await self._request(message.subject, message.body, headers))["seq"])

    def publish_each(self, messages: Sequence[Message]) -> None:
        """Publish messages one by one, each with its key. After one that fails, none follows."""
        self._run(self._publish_each(messages))

    async def _publish_each(self, messages: Sequence[Message]) -> None:
        stream = self._connection.jetstream(timeout=SINK_SECONDS)
        acknowledged, before = [], ""
        for message in messages:
            headers = {**message.headers, "Nats-Msg-Id": message.key}
            if before:
                headers["Nats-Expected-Last-Msg-Id"] = before
            before = message.key
            acknowledged.append(
                await stream.publish_async(message.subject, message.body, headers=headers)
            )
        for one in acknowledged:
            await asyncio.wait_for(one, SINK_SECONDS)

    async def _request(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None
    ) -> bytes:
        answer = await self._connection.request(
            subject, body, timeout=SINK_SECONDS, headers=headers
        )
        data: bytes = answer.data
        return data

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop.

        :raises SinkUnavailable: if it raises an error of the connection.
        """
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(2 * SINK_SECONDS)
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            future.cancel()
            denied, self._denied = self._denied, ""
            if denied:
                raise SinkUnavailable(
                    f"the user of NATS may not do it: {denied}", "Grant it that permission"
                ) from error
            text = printable(str(error) or type(error).__name__)
            raise SinkUnavailable(f"NATS does not answer: {text}") from error


def _answer(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        raise NatsRefused(answer["error"])
    return answer


async def _close(connection: Any, loop: asyncio.AbstractEventLoop) -> None:
    with suppress(Exception):  # the connection may be broken already
        await asyncio.wait_for(connection.close(), 1.0)
    loop.stop()


def _split(servers: str | Sequence[str]) -> list[str]:
    """Return the URLs of all servers; those after the first take its scheme and its user.

    >>> _split("nats://ann:secret@a:4222,b")
    ['nats://ann:secret@a:4222', 'nats://ann:secret@b']

    :raises NotifyConfigError: if a URL has another scheme than NATS has.
    """
    urls = _with_schemes(servers) if isinstance(servers, str) else list(servers)
    for url in urls:
        scheme, mark, _ = url.partition("://")
        if mark and scheme not in SCHEMES:
            raise NotifyConfigError(
                "JetStream",
                f"{scheme}://{_without_user(url)} is not a URL of NATS",
                f"Give one of {', '.join(f'{name}://' for name in SCHEMES)}",
            )
    return urls


def _with_schemes(servers: str) -> list[str]:
    first, *others = servers.split(",")
    scheme, mark, rest = first.rpartition("://")
    user, at, _ = rest.rpartition("@")
    return [first, *(o if "://" in o else f"{scheme}{mark}{user}{at}{o}" for o in others)]


def _without_user(url: str) -> str:
    """Return host and port of a URL, without a password.

    >>> _without_user("nats://ann:secret@a:4222")
    'a:4222'
    """
    return url.rpartition("://")[2].rpartition("@")[2]
