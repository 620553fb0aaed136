"""Listeners in notebooks: cells that run again, are interrupted, or fail."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from kinds import address
from sessions import sessions, sessions_end
from statements import run
from waiting import wait_until


class Notebook:
    """A kernel whose cells are run one by one."""

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    def interrupt(self) -> None:
        """The stop button, pressed a moment later: the kernel loses a cell that is interrupted in
        the middle of its printing."""
        threading.Timer(0.3, os.kill, (self.manager.provisioner.pid, signal.SIGINT)).start()

    def cell(self, code: str, on_print=lambda text: None) -> str:
        """What a cell prints, its result and its error included."""
        printed = []

        def output(message) -> None:
            content = message["content"]
            text = (
                content.get("text")
                or content.get("data", {}).get("text/plain")
                or "\n".join(content.get("traceback", ()))
            )
            if text:
                printed.append(text)
                on_print(text)

        reply = self.client.execute_interactive(
            code, timeout=60, output_hook=output, stop_on_error=False
        )
        assert reply["content"]["status"] in ("ok", "error"), reply
        return "".join(printed)


@pytest.fixture
def notebook():
    notebook = Notebook()
    yield notebook
    notebook.close()


def test_notebook(url, engine, notebook):
    """Cells that are run again, interrupted and failed leave one listener, which goes on; a restart
    of the kernel leaves none."""
    notebook.cell(f"""
import threading
from sqlalchemy import create_engine
from sa_pgnotify import Listener
engine = create_engine({address(url)!r})
""")
    start = "listener = Listener(engine, 'a').start(); listener.get(0)"
    for _ in range(3):
        assert notebook.cell(start) == ""
    wait_until(lambda: sessions(engine) == 1)
    count = "[thread.name for thread in threading.enumerate()].count('sa_pgnotify listener')"
    assert notebook.cell(count) == "1"

    run(engine, "NOTIFY a, 'one'")
    loop = "for event in listener: print(event.payload, flush=True)"
    shown = notebook.cell(
        loop, on_print=lambda text: notebook.interrupt() if text == "one\n" else None
    )
    assert "KeyboardInterrupt" in shown
    assert notebook.cell(start) == ""  # the notebook still holds the traceback
    wait_until(lambda: sessions(engine) == 1)
    assert notebook.cell(count) == "1"
    run(engine, "NOTIFY a, 'two'")
    assert notebook.cell("listener.get(10).payload") == "'two'"
    run(engine, "NOTIFY a, 'three'")
    assert "ZeroDivisionError" in notebook.cell("for event in listener: 1 / 0")
    assert notebook.cell(start) == ""
    wait_until(lambda: sessions(engine) == 1)
    assert notebook.cell(count) == "1"
    assert notebook.cell("listener.stop(); listener.get()") == ""
    assert notebook.cell(count) == "0"
    sessions_end(engine)
    assert notebook.cell(start) == ""
    assert sessions(engine) == 1
    notebook.manager.restart_kernel()
    sessions_end(engine)


@pytest.mark.thorough
def test_notebook_with_asyncio(url, engine, notebook):
    """AsyncListener works in the notebook's own loop, through cells that are run again, without a
    task or session left."""
    notebook.cell(f"""
import asyncio
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener
engine = create_async_engine({address(url, "asyncpg")!r})
""")
    # ipykernel interrupts at a wake-up
    start = (
        "listener = await AsyncListener(engine, 'a', heartbeat=2.0).start(); await listener.get(0)"
    )
    for _ in range(3):
        assert notebook.cell(start) == ""
    wait_until(lambda: sessions(engine) == 1)
    run(engine, "NOTIFY a, 'one'")
    assert notebook.cell("(await listener.get(10)).payload") == "'one'"
    count = "[task.get_name() for task in asyncio.all_tasks()].count('sa_pgnotify listener')"
    assert notebook.cell(count) == "1"
    loop = "async for event in listener: print(event.payload, flush=True)"
    run(engine, "NOTIFY a, 'two'")
    shown = notebook.cell(
        loop, on_print=lambda text: notebook.interrupt() if text == "two\n" else None
    )
    assert "two" in shown
    run(engine, "NOTIFY a, 'three'")
    assert notebook.cell("(await listener.get(10)).payload") == "'three'"
    assert notebook.cell(start) == ""
    wait_until(lambda: sessions(engine) == 1)
    notebook.cell("await listener.stop()")
    assert notebook.cell(count) == "0"
    sessions_end(engine)
