"""The pages of the documentation as the tests run them: their blocks, in order, in one namespace
and one database for each page.

Most programs of the pages never end, and readers should not see what only a test needs. So HTML
comments, which no reader sees, say how the block below them is run, or hold code of the test:

    <!-- hidden ... -->             Python that is run and not shown
    <!-- in the background -->      the block below runs until the next Python that is shown, or
                                    until the end of the page
    <!-- not run: why -->           the block below is not run
    <!-- run by tests/test_x.py --> the blocks of the whole page are run there

``python`` is executed, or written to a file if it begins with ``# name.py``; ``sql`` is run, one
statement after the other; ``sh`` is run line by line in a folder of the page's own; ``text`` is
what was printed since the last such block.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kinds import address
from sqlalchemy import URL, Engine, text
from statements import run
from waiting import wait_until

import sa_pgnotify

ROOT = Path(__file__).parent.parent.parent
PIECE = re.compile(
    r"^<!-- (?P<comment>.*?)-->\n|^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
STATEMENT = re.compile(r"(?=[^;\s])(?:\$\$.*?\$\$|'[^']*'|[^;])*", re.DOTALL)
DRIVERS = ("psycopg2", "psycopg", "asyncpg")


@dataclass(frozen=True)
class Block:
    """A fenced block, or hidden code.

    :ivar language: as the fence names it, or ``"hidden"``; ``mark`` is the comment above it, or
        empty.
    :ivar line: the number of its fence's line in the page.
    """

    language: str
    code: str
    mark: str
    line: int

    @property
    def reason(self) -> str | None:
        """Why it is not run; None if it is."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else None


def blocks(page: Path) -> list[Block]:
    found, mark = [], ""
    text = page.read_text()
    for piece in PIECE.finditer(text):
        comment, line = piece["comment"], text.count("\n", 0, piece.start()) + 1
        if comment is None:
            assert not piece["indent"], (
                f"{page.name}:{line} is indented: the tests and other readers of Markdown do not agree on such"
            )
            found.append(Block(piece["language"], piece["code"], mark, line))
            mark = ""
        elif comment.startswith("hidden\n"):
            found.append(Block("hidden", comment.removeprefix("hidden\n"), "", line))
        else:
            mark = comment.strip()
    return found


def run_elsewhere(page: Path) -> str | None:
    """The test file that runs the page, if it is not run here."""
    mark = re.search(r"^<!-- run by (tests/[\w/]+\.py) -->$", page.read_text(), re.MULTILINE)
    return mark and mark[1]


class Page:
    """A page that is being run.

    :ivar names: what hidden code finds besides the page's own: ``run`` (statements, in one
        transaction), ``query``, ``wait_until``, ``printed`` (the next lines that were printed),
        ``rows`` of the last SELECT, ``status`` of the last command.
    """

    def __init__(
        self, path: Path, url: URL, engine: Engine, folder: Path, monkeypatch: Any
    ) -> None:
        self.path, self.url, self.engine, self.folder = path, url, engine, folder
        self.lines: list[str] = []
        module = ModuleType("page")
        monkeypatch.setitem(sys.modules, "page", module)
        self.names: dict[str, Any] = module.__dict__
        self.names |= {
            "print": self._print,
            "printed": self._printed,
            "query": self._query,
            "run": lambda *statements: run(engine, *statements),
            "wait_until": wait_until,
        }
        self._background: list[threading.Thread] = []
        self._started: list[Any] = []
        self._errors: list[BaseException] = []
        monkeypatch.syspath_prepend(folder)
        for kind in (
            sa_pgnotify.Listener,
            sa_pgnotify.AsyncListener,
            sa_pgnotify.Consumer,
            sa_pgnotify.AsyncConsumer,
            sa_pgnotify.LiveQuery,
        ):
            monkeypatch.setattr(kind, "start", self._watched(kind.start))

    def run(self) -> None:
        try:
            for block in blocks(self.path):
                if block.reason is None:
                    self._run(block)
        finally:
            for one in self._started:
                one.stop()
            self._end()

    def _run(self, block: Block) -> None:
        if block.language == "hidden":
            self._execute(block)
        elif block.language == "python":
            self._end()
            name = re.match(r"# ([\w/]+\.py)\n", block.code)
            if name:
                (self.folder / name[1]).write_text(self._here(block.code))
            elif block.mark == "in the background":
                self._begin(block)
            else:
                self._execute(block)
        elif block.language == "sql":
            for statement in STATEMENT.findall(re.sub(r"--.*", "", block.code)):
                self._statement(statement)
        elif block.language == "sh":
            self._shell(block)
        elif block.language == "text":
            expected = block.code.splitlines()
            wait_until(lambda: len(self.lines) >= len(expected) or self._errors)
            self._raise()
            assert self.lines == expected, f"{self.path.name}:{block.line}"
            self.lines.clear()
        else:
            raise AssertionError(
                f"{self.path.name}:{block.line}: nobody knows how to run {block.language!r}; say why it is not run"
            )

    def _here(self, code: str) -> str:
        """The code, on this page's database and in its folder."""
        for driver in DRIVERS:
            code = code.replace(f"postgresql+{driver}:///shop", address(self.url, driver))
        return code.replace("sqlite:///", f"sqlite:///{self.folder}/")

    def _execute(self, block: Block) -> None:
        exec(
            compile(
                "\n" * block.line + self._here(block.code), self.path, "exec", dont_inherit=True
            ),
            self.names,
        )

    def _begin(self, block: Block) -> None:
        """Start it, and wait until it listens or consumes."""

        def target() -> None:
            try:
                self._execute(block)
            except BaseException as error:
                self._errors.append(error)

        before = len(self._started)
        thread = threading.Thread(target=target, name=f"{self.path.name}:{block.line}")
        self._background.append(thread)
        thread.start()
        wait_until(lambda: len(self._started) > before or not thread.is_alive())
        self._raise()

    def _end(self) -> None:
        """End what runs in the background."""
        if self._background:
            for one in self._started:
                one.stop()
        while self._background:
            thread = self._background.pop()
            thread.join(20)
            assert not thread.is_alive(), thread.name
        self._raise()

    def _raise(self) -> None:
        while self._errors:
            raise self._errors.pop()

    def _watched(self, start: Any) -> Any:
        if sa_pgnotify.AsyncListener.start is start or sa_pgnotify.AsyncConsumer.start is start:

            async def watched_start(one: Any) -> Any:
                await start(one)
                self._started.append(one)
                return one
        else:

            def watched_start(one: Any) -> Any:
                start(one)
                self._started.append(one)
                return one

        return watched_start

    def _shell(self, block: Block) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "DATABASE_URL": address(self.url),
            "COLUMNS": "80",
        }
        for line in block.code.splitlines():
            command = shlex.split(self._here(line), comments=True)
            if command:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                self.names["status"] = done.returncode
                self.lines += (done.stdout + done.stderr).splitlines()

    def _statement(self, sql: str) -> None:
        with self.engine.begin() as connection:
            result = connection.exec_driver_sql(sql.replace("%", "%%"))
            if result.returns_rows:
                self.names["rows"] = result.all()

    def _print(self, *words: object, end: str = "\n", **_: Any) -> None:
        self.lines += " ".join(map(str, words)).splitlines() or [""]

    def _printed(self, count: int) -> list[str]:
        """The next lines that were printed, so many, waited for."""
        wait_until(lambda: len(self.lines) >= count or self._errors)
        self._raise()
        taken, self.lines[:] = self.lines[:count], self.lines[count:]
        return taken

    def _query(self, sql: str) -> list[Any]:
        """The first column of what an SQL query gives."""
        with self.engine.connect() as connection:
            return list(connection.scalars(text(sql)))
