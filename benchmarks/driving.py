"""The suite's side of the conversation with a contestant, whose process may crash, hang, or receive
more events than it can handle.

The process leads a process group, which is killed at the end, or when an answer is overdue. Any
failure becomes one line of a table.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from contestants import Contestant
from environments import Failed

HERE = Path(__file__).parent


class Driven:
    """A contestant's process.

    :param place: PG* variables of its database.
    :param log: a file for what it prints.
    """

    def __init__(
        self, contestant: Contestant, python: str, place: dict[str, str], log: Path
    ) -> None:
        self.contestant = contestant
        self._log = log
        module, *arguments = contestant.module
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", f"peers.{module}", *arguments],
                cwd=HERE,
                env=os.environ | place | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._received = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, *, within: float, **fields: Any) -> dict[str, Any]:
        """Send a command and return the answer; raise Failed if it is an error or overdue, or the
        process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | fields).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(self._last_words()) from None
        answer = json.loads(self._line(within, do))
        if answer.get("error"):
            raise Failed(answer["error"])
        return answer

    def _line(self, within: float, do: str) -> bytes:
        assert self._process.stdout is not None
        until = time.monotonic() + within
        while b"\n" not in self._received:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.close()
                raise Failed(f"no answer to {do!r} within {within:.0f} s")
            more = os.read(self._process.stdout.fileno(), 1 << 20)
            if not more:
                raise Failed(self._last_words())
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        lines = [
            line
            for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.strip()
        ]
        said = next((line for line in reversed(lines) if not line[0].isspace()), "and said nothing")
        return f"its process ended with status {self._process.poll()}: {said[:300]}"

    def greet(self) -> None:
        """Wait until the process runs and has imported what it needs."""
        self.ask("hello", within=60)

    def expect(self, count: int) -> None:
        self.ask("expect", within=10, count=count)

    def wait(self, seconds: float, quiet: float = 0.0, enough: int = 1 << 40) -> dict[str, Any]:
        """Return what it received since :meth:`expect`: all, or enough, or what came before a
        silence."""
        quiet = quiet or self.contestant.quiet
        return self.ask("wait", within=seconds + 20, seconds=seconds, quiet=quiet, enough=enough)

    def close(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not written yet
                pipe.close()  # type: ignore[union-attr]


def cpu_and_switches(pid: int) -> tuple[float, int]:
    """Return the CPU seconds of a process, and how often one of its threads slept and was woken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    switches = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines = (thread / "status").read_text().splitlines()
            switches += next(
                int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches")
            )
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), switches


def memory(pid: int, what: str = "VmRSS") -> float:
    """Return the memory of a process in MB: ``VmRSS`` now, ``VmHWM`` at most until now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
