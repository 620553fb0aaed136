"""Streams as relays fill them, without a relay; and members of stream consumers in threads."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

from brokers import Nats
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from sa_pgnotify import NotifyOnChange, NotifySpec
from sa_pgnotify.events.json_encoder import text_of
from sa_pgnotify.relay import JetStream
from sa_pgnotify.relay.messages import KEY
from sa_pgnotify.relay.nats_client import NatsClient
from sa_pgnotify.relay.sink import Message
from sa_pgnotify.streaming import StreamConsumer

HANDLED = MetaData()
DONE = Table(
    "done",
    HANDLED,
    Column("number", Integer, primary_key=True),
    Column("id", Integer),
    Column("n", Integer),
    Column("relay", String(50)),
    comment="what handlers have done, in their order",
)


def item_of(metadata: MetaData) -> Any:
    """A mapped class of the durable table ``items``, which exists nowhere."""

    class Base(DeclarativeBase):
        pass

    Base.metadata = metadata

    class Item(NotifyOnChange, Base):
        __tablename__ = "items"
        __notify__: ClassVar = NotifySpec(durable=True, values="all")
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int]

    return Item


def record(session: Any, change: Any) -> None:
    """A handler that writes down what it was given."""
    session.execute(insert(DONE), {"id": change.identity[0], "n": change.new["n"], "relay": ""})


def envelope(row: int, n: int, xid: int, event: str = "updated", **more: Any) -> dict[str, Any]:
    values = {"id": row, "n": n}
    sides = {"inserted": ("new",), "updated": ("old", "new"), "deleted": ("old",)}[event]
    found = {
        "version": 1, "event": event, "entity": "Item", "table": "items", "identity": [row],
        "transaction_id": xid, "occurred_at": "2026-01-01T00:00:00+00:00", "backend_pid": 1,
        "context": {}, "position": None, "key": None, **dict.fromkeys(sides, values),
    }  # fmt: skip
    if event == "updated":
        found |= {"changed": ["n"], "previous_identity": None}
    return found | more


class Published:
    """Publishes as a relay does: whole transactions, each as an atomic batch.

    :ivar rows: the values of n that each row got, in their order.
    """

    def __init__(self, nats: Nats, stream: str, relay: str = "shop") -> None:
        self.client = NatsClient(nats.url, {})
        self.client.connect()
        self.stream, self.relay = stream, relay
        self.rows: dict[int, list[int]] = {}
        self._xids = itertools.count(1)
        self._ns = itertools.count(1)

    def transaction(self, ids: Iterable[int], **more: Any) -> None:
        """Publish a transaction that changes rows."""
        xid, messages = next(self._xids), []
        for row in ids:
            n = next(self._ns)
            self.rows.setdefault(row, []).append(n)
            messages.append(self.message(f"items.{row}", envelope(row, n, xid, **more)))
        self.publish(messages)

    def message(self, subject: str, body: Any) -> Message:
        key = f"{self.relay}-{next(self._ns)}"
        return Message(f"{self.relay}.{subject}", text_of(body).encode(), key, headers={KEY: key})

    def publish(self, messages: list[Message]) -> None:
        last = int(self.client.api(f"STREAM.INFO.{self.stream}")["state"]["last_seq"])
        end = {"Sa-Pgnotify-Relay": self.relay, "Sa-Pgnotify-Place": "x"}
        self.client.publish_batch(messages, last, end)

    def close(self) -> None:
        self.client.close()


class Member:
    """A member in a thread.

    :ivar states: the states that it has reported.
    """

    def __init__(self, consumer: StreamConsumer[Any], handler: Any, states: list[Any]) -> None:
        self.consumer, self.states = consumer, states
        self.error: BaseException | None = None
        self.handler = handler
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.consumer.run(self.handler)
        except BaseException as error:
            self.error = error

    def stop(self) -> BaseException | None:
        self.consumer.stop()
        return self.join()

    def join(self) -> BaseException | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error

    def has_been(self, state: str) -> bool:
        return any(change.state == state for change in self.states)

    @property
    def parts(self) -> int:
        """How many partitions it works."""
        return len(self.consumer._started()._adopted or ()) if self.consumer._worker else 0


class MemberProgram:
    """A member in a process of its own. Within its first batch it prints a line, and waits for one."""

    def __init__(self, url: str, stream: str, database: str, wrong: str = "") -> None:
        given = json.dumps([url, stream, database, wrong])
        self._process = subprocess.Popen(
            [sys.executable, __file__, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def wait_within(self) -> None:
        """Wait until it is within its first batch."""
        self.read("within")

    def read(self, wanted: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if wanted in line:
                return
        raise AssertionError(f"{wanted} did not come")

    def go_on(self) -> None:
        """Let it finish the batch."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        with self._process:
            self._process.kill()


def main(url: str, stream: str, database: str, wrong: str) -> None:
    waited = False

    def handler(session: Any, change: Any) -> None:
        nonlocal waited
        record(session, change)
        if not waited:
            waited = True
            session.flush()
            print("within", flush=True)
            sys.stdin.readline()

    if wrong:
        import wrong_members

        getattr(wrong_members, wrong)()
    StreamConsumer(
        JetStream(url, stream),
        "billing",
        item_of(MetaData()),
        session_factory=sessionmaker(create_engine(database)),
        start="beginning",
        lease=1.0,
        on_state=lambda change: print(change, flush=True),
    ).run(handler)


def done(engine: Engine) -> dict[int, list[int]]:
    """What was handled, by row, in its order."""
    found: dict[int, list[int]] = {}
    with engine.connect() as connection:
        for row, n in connection.execute(select(DONE.c.id, DONE.c.n).order_by(DONE.c.number)):
            found.setdefault(row, []).append(n)
    return found


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
