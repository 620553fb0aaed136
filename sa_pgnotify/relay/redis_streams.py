"""The sink for Redis Streams.

A script appends the messages and stores the relay's place, and Redis runs a script alone and writes
it to its files as one transaction. Before it appends anything, it compares the stored place with
the one that this process knows: if another process has published meanwhile, they differ.

Redis confirms before its files are safe, unless ``appendfsync`` is ``always``, and before its
replicas have the messages. So a crash or a failover may take back what it has confirmed, but with
the messages it takes back the place, and the relay publishes them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import NotifyConfigError
from .sink import SINK_SECONDS, Limits, Message, Sink, SinkFenced, SinkUnavailable

__all__ = ["RedisStreams"]

logger = logging.getLogger("sa_pgnotify")

BODY = "body"
"""The field of an entry that has the JSON; the other fields are the headers."""
MOST_MESSAGES = 1000
"""How many entries one script may append, because Redis does nothing else meanwhile: some
milliseconds."""
MOST_STREAMS = 10_000
"""How many streams it remembers to be such."""
BULK_BYTES = 512 << 20
"""The longest value, unless ``proto-max-bulk-len`` is configured otherwise."""

RESUME = """
local place = redis.call('GET', KEYS[1])
if place then redis.call('SET', KEYS[1], place) end
return place
"""
"""Returns the place. It is written again, so that WAIT waits for replicas to have it."""

PUBLISH = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('the key ' .. KEYS[i] .. ' is not a stream, but a ' .. kind)
  end
end
local trim = ARGV[3] ~= ''
local at = 4
while at <= #ARGV do
  local stream, last = KEYS[tonumber(ARGV[at])], at + 1 + tonumber(ARGV[at + 1])
  if trim then
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, at + 2, last))
  else
    redis.call('XADD', stream, '*', unpack(ARGV, at + 2, last))
  end
  at = last + 1
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Appends messages and stores the place, if the stored one is ARGV[1].

KEYS: the place, then the streams. ARGV: the place that must be there, the new one, the length to
which streams are trimmed, and for each message the number of its stream, how many arguments follow,
and names and values. What could fail is checked first, because a script that fails is not undone.
"""


class RedisStreams(Sink):
    """Publishes into streams of Redis 5 or newer. Needs the extra ``redis``.

    ::

        RedisStreams("redis://localhost:6379/0")

    By default each table has a stream, ``NAME.TABLE`` with the relay's name. An entry has the field
    ``body`` and the headers of the message. The place is kept in the key ``sa_pgnotify:NAME``.

    :param server: a URL (``redis://``, ``rediss://``, ``unix://``), or a function that returns a new
        ``redis.Redis``, such as ``lambda: Sentinel([...]).master_for("shop")``.
    :param maxlen: to about how many entries each stream is trimmed, whether they were read or not.
        By default nothing is removed, and the readers, or a job of yours, should trim by ``XTRIM
        MINID``.
    :param replicas: how many replicas must have a message before it counts as published.
    :param options: of ``redis.Redis.from_url()``.
    :raises ImportError: without redis.
    :raises NotifyConfigError: if ``maxlen`` is so small that a publication could remove its own
        messages.
    """

    default_subject = "{relay}.{table}"

    def __init__(
        self,
        server: str | Callable[[], Any],
        *,
        maxlen: int | None = None,
        replicas: int = 0,
        **options: Any,
    ) -> None:
        try:
            import redis
        except ImportError as error:
            raise ImportError(
                "RedisStreams needs redis: pip install 'sa_pgnotify[redis]'"
            ) from error
        if maxlen is not None and maxlen < MOST_MESSAGES:
            raise NotifyConfigError(
                "RedisStreams",
                f"maxlen={maxlen} is less than the {MOST_MESSAGES} messages of one publication, which would remove some of its own",
                f"Give {MOST_MESSAGES} or more, and enough for your slowest reader",
            )
        self._redis: Any = redis
        self._server, self._options = server, options
        self._maxlen, self._replicas = maxlen, replicas
        self._client: Any = None
        self._key = self._place = ""
        self._streams: set[str] = set()  # that are known to be streams, or not to exist

    def __str__(self) -> str:
        return "Redis Streams"

    # -- connecting --------------------------------------------------------------------------------

    def connect(self, relay: str) -> None:
        self._key = f"sa_pgnotify:{relay}"
        self._streams.clear()
        with self._reaching():
            # one connection, because WAIT counts the replicas that have what was written on it
            self._client = self._made().client()
            info = self._client.info()
            _check(info, self._configured("save"))
            longest = self._configured("proto-max-bulk-len")
        if info["role"] != "master":
            raise SinkUnavailable("this Redis is a replica, and takes no messages")
        self.limits = Limits(MOST_MESSAGES, int(longest or BULK_BYTES))

    def _made(self) -> Any:
        if not isinstance(self._server, str):
            return self._server()
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # The relay tries again, because it must find out first what was stored.
        defaults = {
            "socket_timeout": SINK_SECONDS,
            "socket_connect_timeout": SINK_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            return self._redis.Redis.from_url(self._server, **{**defaults, **self._options})
        except (ValueError, TypeError) as error:
            raise NotifyConfigError(
                "RedisStreams", str(error), "Correct the URL or the options"
            ) from error

    def _configured(self, name: str) -> str | None:
        """Return a setting of the server; None if it does not show it, as hosted ones do."""
        with suppress(self._redis.ResponseError):
            return next(iter(map(_text, self._client.config_get(name).values())), None)
        return None

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (self._redis.RedisError, OSError) as error:
            raise SinkUnavailable(f"Redis: {error}") from error

    # -- publishing --------------------------------------------------------------------------------

    def resume(self) -> str | None:
        with self._reaching():
            self._place = _text(self._run(RESUME, [self._key], []) or "")
        return self._place or None

    def refusal(self, message: Message) -> str | None:
        if not message.subject or message.subject == self._key:
            return f"{message.subject!r} cannot be the name of a stream"
        return self._other_type(message.subject) or super().refusal(message)

    def _other_type(self, subject: str) -> str | None:
        """Return why a key cannot be appended to, because it is not a stream; None if it can."""
        if subject in self._streams:
            return None
        with self._reaching():
            kind = _text(self._client.type(subject))
        if kind not in ("none", "stream"):
            return f"the key {subject!r} of Redis is not a stream, but a {kind}"
        if len(self._streams) >= MOST_STREAMS:
            self._streams.clear()
        self._streams.add(subject)
        return None

    def place_found(self) -> tuple[str, str]:
        return f"the key {self._key} of Redis", "Write into it what stood there before"

    def publish(self, messages: Sequence[Message], place: str) -> None:
        keys = {self._key: 1}
        arguments: list[str | bytes | int] = [self._place, place, self._maxlen or ""]
        for message in messages:
            number = keys.setdefault(message.subject, len(keys) + 1)
            fields = [text for pair in message.headers.items() for text in pair]
            arguments += [number, len(fields) + 2, BODY, message.body, *fields]
        with self._reaching():
            if not self._run(PUBLISH, [*keys], arguments):
                raise SinkFenced(f"another process has published for this relay ({self._key})")
        self._place = place

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script, and wait for the replicas."""
        answer = self._client.register_script(script)(keys, arguments)
        if self._replicas:
            milliseconds = int(SINK_SECONDS * 500)
            confirmed = self._client.wait(self._replicas, milliseconds)
            if confirmed < self._replicas:
                raise SinkUnavailable(
                    f"{confirmed} replicas of Redis have confirmed, of {self._replicas}"
                )
        return answer


def _check(info: Mapping[str, Any], save: str | None) -> None:
    """Check that the server keeps what it has.

    :raises NotifyConfigError: if it does not.
    """
    for problem, fix in _problems(info, save):
        raise NotifyConfigError("Redis", problem, fix)
    if not info["aof_enabled"]:
        logger.warning(
            "relay: this Redis has appendonly no, so a crash takes back what was published since its last snapshot; the relay then "
            "publishes that again, as far as the log still has it"
        )


def _problems(info: Mapping[str, Any], save: str | None) -> Iterable[tuple[str, str]]:
    if info.get("cluster_enabled"):
        yield (
            "it is a cluster, in which streams and the place may be on different servers, so they cannot be stored in one step",
            "Publish into a server with replicas, or use JetStream or Kafka",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        yield (
            f"its maxmemory-policy is {policy}, which removes whole streams when memory is short",
            "CONFIG SET maxmemory-policy noeviction, or volatile-lru: Redis then refuses messages, and the relay waits",
        )
    if not info["aof_enabled"] and save == "" and not info.get("connected_slaves"):
        yield (
            'it stores nothing on disk (appendonly no, save "") and has no replica, so a restart removes all messages',
            "CONFIG SET appendonly yes",
        )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
