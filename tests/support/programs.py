"""Programs that the tests start, talk to and wait for, as their users would run them."""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
SUPPORT = Path(__file__).parent
"""The modules that the tests share."""
PATIENCE = 30.0
"""Seconds that a line, or the end, may take."""


class Output:
    """What one or several programs print, as it comes.

    :ivar lines: what was printed and has been taken.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read(self, stream: IO[str]) -> None:
        for line in stream:
            self._printed.put(line.rstrip("\n"))
        self._printed.put(None)

    def wait_for(self, wanted: str) -> str:
        """The next line in which the regular expression ``wanted`` is found; fails if a program
        ends without one."""
        while (line := self._next()) is not None:
            if re.search(wanted, line):
                return line
        raise AssertionError("\n".join([f"{wanted!r} did not come:", *self.lines]))

    def rest(self) -> list[str]:
        """What is still to come, until a program has ended."""
        taken = len(self.lines)
        while self._next() is not None:
            pass
        return self.lines[taken:]

    def _next(self) -> str | None:
        try:
            line = self._printed.get(timeout=PATIENCE)
        except queue.Empty:
            return None
        if line is not None:
            self.lines.append(line)
        return line


def hear_ctrl_c() -> None:
    """For a process that is about to be: where the tests run as a shell's background job, it would
    inherit that it ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Program:
    """A process of Python in its development mode, which warns of what was not closed. If it still
    runs at the end, it is killed.

    :param output: where its lines go; by default to one of its own.
    :param merged: whether its error output comes among its lines, as servers log.
    """

    def __init__(
        self,
        *arguments: str | Path,
        output: Output | None = None,
        merged: bool = False,
        **environment: str,
    ) -> None:
        self.output = output or Output()
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", *arguments],
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": f"{EXAMPLES}{os.pathsep}{ROOT}",
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
        self._readers = [
            threading.Thread(target=self.output.read, args=(self.process.stdout,)),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ())),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._close()
        if error is not None:
            print("".join(self.errors), file=sys.stderr)

    def _close(self) -> None:
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def line(self) -> str:
        """The next line that it prints."""
        return self.output.wait_for("")

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def wait_for(self, wanted: str) -> str:
        return self.output.wait_for(wanted)

    def end(self) -> tuple[int, list[str], str]:
        """Its exit code, the lines that nobody has taken, and what it complained of; its input ends
        here."""
        self.process.stdin.close()
        rest = self.output.rest()
        self._close()
        return self.process.returncode, rest, "".join(self.errors)


def ended(program) -> tuple[int, str]:
    code, _, errors = program.end()
    # asyncio's slow machine
    return code, "".join(
        line for line in errors.splitlines(keepends=True) if not line.startswith("Executing <")
    )


@contextmanager
def imported(name: str) -> Iterator[Any]:
    """An example as a module, for what cannot be seen from outside."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module  # where SQLAlchemy looks up what annotations name
    try:
        yield module
    finally:
        del sys.modules[name]
