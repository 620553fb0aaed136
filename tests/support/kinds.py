"""The listeners and drivers that the behavioural tests run over, each with the face of the blocking
:class:`sa_pgnotify.Listener`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from sqlalchemy import URL, Engine, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sa_pgnotify import AsyncListener, Event, Listener

NAMES = ["psycopg2", "psycopg", "psycopg-asyncio", "asyncpg", "asyncpg-uvloop"]


def driver_url(url: URL, driver: str) -> URL:
    """A psycopg2 URL for another driver; asyncpg spells libpq's options in its own way."""
    query = dict(url.query)
    if driver == "asyncpg" and query.pop("gssencmode", None):
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername=f"postgresql+{driver}", query=query)


def address(url: URL, driver: str = "psycopg2") -> str:
    """The same in words, as a program takes it."""
    return driver_url(url, driver).render_as_string(hide_password=False)


class Kind:
    """
    :ivar name: one of :data:`NAMES`; ``driver`` SQLAlchemy's name of the driver.
    :ivar loop: the event loop of an asyncio kind, which runs in a thread of its own; None for the
        others.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.driver, _, host = name.partition("-")
        self.loop: asyncio.AbstractEventLoop | None = None
        if self.driver == "asyncpg" or host:
            if host == "uvloop":
                import uvloop

                self.loop = uvloop.new_event_loop()
            else:
                self.loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self.loop.run_forever, name="the test's event loop", daemon=True
            )
            self._thread.start()

    @property
    def is_async(self) -> bool:
        return self.loop is not None

    def engine(self, url: URL, **options: Any) -> Any:
        """An engine of this kind; without a pool, unless the arguments say otherwise."""
        make: Any = create_async_engine if self.is_async else create_engine
        return make(driver_url(url, self.driver), **{"poolclass": NullPool, **options})

    def listener(self, engine: Any, *sources: Any, **options: Any) -> Any:
        """A listener on the engine, or on one of this kind for the same database if it is
        psycopg2's."""
        if (
            isinstance(engine, Engine)
            and engine.dialect.driver == "psycopg2"
            and self.driver + str(self.is_async) != "psycopg2False"
        ):
            engine = self.engine(engine.url)
        return (
            Blocking(self, engine, *sources, **options)
            if self.is_async
            else Listener(engine, *sources, **options)
        )

    def wait(self, result: Any) -> Any:
        """What a call gives, which for an asyncio kind is awaited in the loop."""
        if self.loop is None:
            return result

        async def go() -> Any:
            return await result

        return asyncio.run_coroutine_threadsafe(go(), self.loop).result()

    def select(self, engine: Any, work: Callable[[Any], Any]) -> Any:
        """What ``work`` gives of a connection of ``engine``, whichever kind it is."""
        if not isinstance(engine, AsyncEngine):
            with engine.connect() as connection:
                return work(connection)

        async def go() -> Any:
            async with engine.connect() as connection:
                return await connection.run_sync(work)

        return self.wait(go())

    def close(self) -> None:
        """
        :raises AssertionError: if a task is left behind.
        """
        if self.loop is not None:
            left = self.wait(_others())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
            assert left == []


async def _others() -> list[str]:
    """The tasks that are still there after some turns of the loop, in which finished ones go."""
    for _ in range(100):
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if not tasks:
            return []
        await asyncio.wait(tasks, timeout=0.05)
    return [repr(task) for task in tasks]


class Blocking:
    """An AsyncListener in the loop of a kind, called as a Listener is."""

    def __init__(self, kind: Kind, engine: Any, *sources: Any, **options: Any) -> None:
        self._kind = kind
        self._listener = AsyncListener(engine, *sources, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def start(self) -> Self:
        self._kind.wait(self._listener.start())
        return self

    def stop(self) -> None:
        stopping = self._listener.stop()
        if threading.current_thread() is not self._kind._thread:  # else it is a handler's call
            self._kind.wait(stopping)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        iteration = self._listener.events(timeout)

        while (event := self._kind.wait(anext(iteration, None))) is not None:
            yield event

    def get(self, timeout: float | None = None) -> Event | None:
        return self._kind.wait(self._listener.get(timeout))

    def run(self) -> None:
        self._kind.wait(self._listener.run())

    def subscribe(self, *sources: Any) -> None:
        self._kind.wait(self._listener.subscribe(*sources))

    def unsubscribe(self, *sources: Any) -> None:
        self._kind.wait(self._listener.unsubscribe(*sources))
