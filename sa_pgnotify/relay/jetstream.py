"""The sink for NATS JetStream, the recommended broker.

From NATS 2.12 on, a transaction is an atomic batch: all its messages are stored, or none, and only if
the stream's last message is still the one that this process knows. So a process that was replaced
while it slept cannot publish. The last message of each batch has the relay's place in a header.

Older servers have no atomic batches. There each message carries its key as ``Nats-Msg-Id``, which the
server recognises for as long as the stream's ``duplicate_window`` (2 minutes, unless it is set):
at least once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from ..errors import NotifyConfigError
from .messages import KEY
from .nats_client import NatsClient, NatsRefused
from .sink import Guarantee, Limits, Message, Sink, SinkFenced, SinkUnavailable
from .stream_config import check_stream, new_stream, takes

__all__ = ["JetStream"]

logger = logging.getLogger("sa_pgnotify")

RELAY, PLACE = "Sa-Pgnotify-Relay", "Sa-Pgnotify-Place"
"""The headers of the last message of each publication: the relay's name, and its place."""
MOST_MESSAGES = 1000
"""How many messages an atomic batch may have, unless the server is configured otherwise."""
PLACE_BYTES, END_BYTES = 49_152, 1024
"""Bytes that a message leaves free for the place, which names the relay's tables, and for the other
headers of the last message. A server takes 65,535 bytes of headers."""
SUBJECT_BYTES = 2048
"""The longest subject; the server takes a line of 4096 bytes for subject and reply together."""
MOST_FOREIGN = 100
"""How often a batch is sent again because others have published into the stream meanwhile."""
STREAM_NOT_FOUND, WRONG_LAST_SEQUENCE, NO_MESSAGE = 10059, 10071, 10037


class JetStream(Sink):
    """Publishes into a stream of NATS JetStream. Needs the extra ``nats``.

    ::

        JetStream("nats://a,b,c", stream="SHOP")

    The stream is created if it does not exist, without limits and on disk. Every subject begins with
    the relay's name, so that several relays may publish into one stream.

    :param servers: the URL of a server (``nats://``, ``tls://``, ``ws://``, ``wss://``), or of several
        with commas between the hosts, or a sequence of URLs.
    :param stream: the name of the stream.
    :param subjects: the subjects of the stream, if it has to be created; by default ``NAME.>``, with
        the relay's name.
    :param replicas: on how many servers the stream is kept, if it has to be created.
    :param options: of ``nats.connect()``, such as ``user_credentials=`` and ``tls=``.
    :raises ImportError: without nats-py.
    :raises NotifyConfigError: if the name cannot be that of a stream, or a URL that of a server.
    """

    default_subject = "{relay}.{table}.{id}"

    def __init__(
        self,
        servers: str | Sequence[str],
        stream: str,
        *,
        subjects: Sequence[str] = (),
        replicas: int = 1,
        **options: Any,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", stream):
            raise NotifyConfigError(
                "JetStream",
                f"{stream!r} is not the name of a stream",
                "Use letters, digits, - and _",
            )
        self.servers, self.options = servers, options
        self._client = NatsClient(servers, options)
        self.stream = stream
        self._subjects = tuple(subjects)
        self._replicas = replicas
        self._is_atomic = True
        self._last = self._own = 0  # the stream's last message, and the last one of this relay
        self._taken: tuple[str, ...] = ()
        self._takes_all = False
        self._valid = re.compile("")
        self._relay = ""

    def __str__(self) -> str:
        return f"JetStream stream {self.stream}"

    # -- connecting --------------------------------------------------------------------------------

    def connect(self, relay: str) -> None:
        client = self._client
        client.connect()
        self._relay = relay
        self._valid = re.compile(re.escape(relay) + r"(\.[^\s.*>\x00-\x20\x7f]+)+")
        config = self._config(relay)
        self._is_atomic = check_stream(self.stream, config, client.version)
        self._taken = tuple(config.get("subjects") or ())
        self._takes_all = f"{relay}.>" in self._taken or ">" in self._taken
        self.guarantee = Guarantee.EXACTLY_ONCE if self._is_atomic else Guarantee.AT_LEAST_ONCE
        if not self._is_atomic:
            window = config.get("duplicate_window", 0) / 1e9
            logger.warning(
                "relay %s: NATS %s has no atomic batches (2.12 does): each change is published at least once, and the server "
                "recognises a repeated one only within the stream's duplicate_window of %.0f s",
                relay,
                client.version_text,
                window,
            )
        most = config.get("max_msg_size", -1)
        size = min(client.max_payload, most if most > 0 else client.max_payload)
        free = min(PLACE_BYTES + END_BYTES, size // 2)
        self.limits = Limits(MOST_MESSAGES, size - free, free - END_BYTES)

    def _config(self, relay: str) -> dict[str, Any]:
        """Return the stream's configuration, or the one with which it will be created."""
        info = self._info()
        if info is None:
            return new_stream(
                self.stream, self._wanted(relay), self._replicas, self._client.version
            )
        config: dict[str, Any] = info["config"]
        return config

    def _info(self) -> dict[str, Any] | None:
        """Return what the server says about the stream; None if there is none."""
        try:
            return self._client.api(f"STREAM.INFO.{self.stream}")
        except NatsRefused as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return None

    def _wanted(self, relay: str) -> Sequence[str]:
        return self._subjects or (f"{relay}.>",)

    def begin(self) -> None:
        if self._info() is not None:
            return
        subjects = self._wanted(self._relay)
        wanted = new_stream(self.stream, subjects, self._replicas, self._client.version)
        try:
            self._client.api(f"STREAM.CREATE.{self.stream}", wanted)
        except NatsRefused as error:
            if error.is_temporary:
                raise
            raise NotifyConfigError(
                str(self),
                f"it cannot be created with the subjects {', '.join(subjects)}: {error}",
                f"Give JetStream(subjects=..., replicas=...) that the server takes, such as subjects=['{self._relay}.>'], or create "
                "the stream yourself. Subjects of one stream may not overlap with those of another",
            ) from error

    def close(self) -> None:
        self._client.close()

    # -- taking over -------------------------------------------------------------------------------

    def resume(self) -> str | None:
        place, self._own, self._last = self._read()
        if not self._is_atomic:
            return None
        return "" if place is None and self._own else place

    def place_found(self) -> tuple[str, str]:
        return (
            f"message {self._own} of {self}, the last one below {self._relay}.>,",
            f"Remove it: nats stream rmm {self.stream} {self._own}",
        )

    def _read(self) -> tuple[str | None, int, int]:
        """Return the relay's place, the number of its last message, and that of the stream's."""
        # first the stream's: a message that comes in between is then noticed when publishing
        info = self._info()
        if info is None:
            return None, 0, 0
        last = int(info["state"]["last_seq"])
        try:
            number, headers = self._client.last_message(self.stream, f"{self._relay}.>")
        except NatsRefused as error:
            if error.err_code != NO_MESSAGE:
                raise
            return None, 0, last
        place = headers.get(PLACE)
        # an older server's messages have no places, but their keys as ids
        key = headers.get(KEY, "")
        is_older = headers.get("Nats-Msg-Id") == key and key.startswith(f"{self._relay}-")
        if self._is_atomic and headers.get(RELAY) != self._relay and not is_older:
            raise NotifyConfigError(
                self._relay,
                f"message {number} of {self}, the last one below {self._relay}.>, is not of this relay",
                f"Remove it: nats stream rmm {self.stream} {number}. Only the relay may publish subjects that begin with its "
                "name: rename the subjects of the other publisher, and let no other user of NATS publish there",
            )
        return place, number, last

    # -- publishing --------------------------------------------------------------------------------

    def refusal(self, message: Message) -> str | None:
        subject = message.subject
        if not self._valid.fullmatch(subject) or len(subject.encode()) > SUBJECT_BYTES:
            return f"{subject[:200]!r} is not a subject below {self._relay}. (at most {SUBJECT_BYTES} bytes, without blanks, * and >)"
        if not self._takes_all and not takes(self._taken, subject):
            return f"{self} does not take the subject {subject!r}, but {', '.join(self._taken)}"
        return super().refusal(message)

    def publish(self, messages: Sequence[Message], place: str) -> None:
        if not self._is_atomic:
            self._client.publish_each(messages)
            return
        end = {RELAY: self._relay, PLACE: place}
        for _ in range(MOST_FOREIGN):
            try:
                self._last = self._own = self._client.publish_batch(messages, self._last, end)
                return
            except NatsRefused as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            _, own, last = self._read()
            if own != self._own:
                raise SinkFenced(
                    f"another process has published for this relay into {self}, up to message {own}"
                )
            self._last = last
        raise SinkUnavailable(f"others publish into {self} without a pause")
