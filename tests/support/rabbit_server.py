"""A RabbitMQ server that the tests start, if Debian's package ``rabbitmq-server`` is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers import free_port
from servers import data_folder


def _program() -> Path | None:
    """The server itself; what stands on the PATH would run as a user of its own."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return found[-1] if found and shutil.which("epmd") else None


PROGRAM = _program()
MISSING = "there is no RabbitMQ: apt-get install rabbitmq-server"


class RabbitServer:
    """A server.

    :ivar url: of its only virtual host.
    """

    def __init__(self, data: Path) -> None:
        names, self._port, distribution = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/"
        environment = {
            **os.environ,
            "HOME": str(data),
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(data / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(data / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(data / "none.conf"),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        # its own process, so that none is left: RabbitMQ would start one and leave it behind
        self._names = subprocess.Popen(["epmd", "-port", str(names)], **quiet)
        # a group, because a script starts the server
        self._server = subprocess.Popen([str(PROGRAM)], start_new_session=True, **quiet)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                    connection.sendall(b"AMQP\x00\x00\x09\x01")
                    assert connection.recv(1)
                    return
            except (OSError, AssertionError):
                assert time.monotonic() < deadline
                assert self._server.poll() is None
                time.sleep(0.05)

    def signal(self, number: int) -> None:
        os.killpg(self._server.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._server.wait()
        self._names.kill()
        self._names.wait()


@contextmanager
def rabbit_server() -> Iterator[RabbitServer]:
    """A server on data in memory, gone afterwards."""
    with data_folder() as data:
        data.mkdir()
        server = RabbitServer(data)
        try:
            server.wait()
            yield server
        finally:
            server.kill()
