"""Consumers of each kind and driver, with the face of the blocking
:class:`sa_pgnotify.Consumer`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from kinds import Kind
from sqlalchemy import Engine, text

from sa_pgnotify import AsyncConsumer, Consumer


def consumer_of(kind: Kind, engine: Engine, *arguments: Any, **options: Any) -> Any:
    """A consumer on an engine of the kind, for the database of ``engine``."""
    made = kind.engine(engine.url)
    return (
        BlockingConsumer(kind, AsyncConsumer(made, *arguments, **options))
        if kind.is_async
        else Consumer(made, *arguments, **options)
    )


class BlockingConsumer:
    """An AsyncConsumer in the loop of a kind, called as a Consumer is."""

    def __init__(self, kind: Kind, consumer: AsyncConsumer) -> None:
        self._kind = kind
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def start(self) -> Self:
        self._kind.wait(self._consumer.start())
        return self

    def __enter__(self) -> Self:
        self._kind.wait(self._consumer.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._kind.wait(self._consumer.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        iteration: Any = aiter(self._consumer)
        try:
            while (batch := self._kind.wait(anext(iteration, None))) is not None:
                yield BlockingBatch(self._kind, batch)
        finally:
            self._kind.wait(iteration.aclose())

    def run(self, handler: Callable[[Any, Any], object]) -> None:
        async def work(session: Any, change: Any) -> None:
            await session.run_sync(handler, change)

        self._kind.wait(self._consumer.run(work))

    def lag(self) -> Any:
        return self._kind.wait(self._consumer.lag())

    def seek(self, place: Any) -> None:
        self._kind.wait(self._consumer.seek(place))

    def backfill(self, entity: Any, where: Any = None) -> None:
        self._kind.wait(self._consumer.backfill(entity, where))

    def parked(self) -> Any:
        return self._kind.wait(self._consumer.parked())

    def retry_parked(self) -> int:
        return self._kind.wait(self._consumer.retry_parked())


class BlockingBatch:
    def __init__(self, kind: Kind, batch: Any) -> None:
        self._kind = kind
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Any:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)

    def __enter__(self) -> Any:
        return BlockingSession(self._kind, self._kind.wait(self._batch.__aenter__()))

    def __exit__(self, *error: object) -> Any:
        return self._kind.wait(self._batch.__aexit__(*error))


class BlockingSession:
    def __init__(self, kind: Kind, session: Any) -> None:
        self._kind = kind
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._kind.wait(
            self._session.run_sync(lambda session: getattr(session, name)(*arguments))
        )


def record(session: Any, change: Any) -> None:
    """Some work: a row in the table ``done``, for each change and in order."""
    session.execute(
        text(f"INSERT INTO done (what) VALUES ('{type(change).__name__} {change.identity[0]}')")
    )


def done(engine: Engine) -> list[str]:
    """What work was committed."""
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT what FROM done ORDER BY id")))


def consume(consumer: Any, count: int) -> list[Any]:
    """Process batches until ``count`` changes have come, and return these."""
    changes: list[Any] = []
    for batch in consumer:
        with batch as session:
            for change in batch:
                record(session, change)
                changes.append(change)
        if len(changes) >= count:
            break
    return changes


def until(met: Callable[[], object]) -> None:
    """Wait for a condition. The test's timeout ends a wait that never succeeds."""
    while not met():
        pass


def numbers(changes: Any) -> list[int]:
    """The identities, of one column each."""
    return [change.identity[0] for change in changes]


class Running:
    """A consumer that works in a thread of its own, until its block is left.

    :ivar error: what it raised.
    """

    def __init__(self, consumer: Any, handler: Callable[[Any, Any], object] = record) -> None:
        self.consumer = consumer
        self.error: BaseException | None = None
        self._handler = handler
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with self.consumer:
                self._ready.set()
                self.consumer.run(self._handler)
        except BaseException as error:
            self.error = error
            self._ready.set()

    def __enter__(self) -> Self:
        self.thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.stop()
        self.thread.join()
