"""What is around a listener: servers that fork, notebooks, tests, and interpreters that end.
docs/hosts.md says the same in words."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import re
import select
import signal
import socket
import threading
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
from kinds import address, driver_url
from programs import EXAMPLES, ROOT, Program
from receiving import take
from sessions import sessions, sessions_end
from sqlalchemy import NullPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import AsyncListener, Listener, Notification, PgNotifyError

CONF, SHOP, FIXTURE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "hosts.md").read_text(), re.DOTALL
)
FORK = multiprocessing.get_context("fork")

# that forking with threads is a risk: hosts take it
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


# -- servers ---------------------------------------------------------------------------------------


def get(port: int) -> str:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


@contextmanager
def gunicorn(folder, conf: str, shop: str, *options: str):
    """gunicorn with these two files, and its port."""
    (folder / "gunicorn.conf.py").write_text(conf)
    (folder / "shop.py").write_text(shop)
    arguments = [
        "--chdir",
        folder,
        "--config",
        folder / "gunicorn.conf.py",
        "--bind",
        "127.0.0.1:0",
        "--no-control-socket",
        *options,
    ]
    with Program("-m", "gunicorn", *arguments, "shop:application", merged=True) as program:
        yield program, int(program.wait_for("Listening at").partition("127.0.0.1:")[2].split()[0])


def finish(program) -> None:
    """End it as a supervisor does, without complaint."""
    program.send(signal.SIGTERM)
    code, *_ = program.end()
    log = "\n".join(program.output.lines)
    # uvicorn raises the signal again when it has cleaned up
    assert code in (0, -signal.SIGTERM), log
    assert "Traceback" not in log, log
    assert "sa_pgnotify" not in log, log


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["forked first", "preloaded"])
def test_gunicorn(url, engine, tmp_path, options):
    """The program of the page: each of two workers listens and is told everything, and ends with
    its server; none of them before."""
    shop = SHOP.replace('"postgresql+psycopg2:///shop"', repr(address(url)))
    assert shop != SHOP
    with gunicorn(tmp_path, CONF, shop, "--workers", "2", *options) as (program, port):
        wait_until(lambda: sessions(engine) == 2)
        run(engine, "NOTIFY news, 'one'", "NOTIFY news, 'two'")
        for _ in range(10):  # whichever worker answers
            wait_until(lambda: get(port) == "one two")
        finish(program)
    sessions_end(engine)


BEFORE_FORK = """
import sys
from sqlalchemy import create_engine
from sa_pgnotify import Listener, PgNotifyError
listener = Listener(create_engine({address!r}), "news")
listener.on("news")(lambda notification: print("the parent was told", notification.payload, flush=True))
listener.start()
import threading
threading.Thread(target=listener.run, daemon=True).start()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        return [repr(listener.get(20)).encode()]
    except PgNotifyError as error:
        listener.start()
        return [str(error).encode()]
"""


def test_gunicorn_with_a_listener_from_before_the_fork(url, engine, tmp_path):
    """A worker that reads a preloaded listener is told what to do, may start it anew, and ends
    without harm to the parent's."""
    with gunicorn(tmp_path, "", BEFORE_FORK.format(address=address(url)), "--preload") as (
        program,
        port,
    ):
        assert "before a fork" in get(port)
        assert sessions(engine) == 2
        run(engine, "NOTIFY news, 'one'")
        program.wait_for("the parent was told one")
        assert "payload='one'" in get(port)
        program.send(signal.SIGHUP)  # workers are replaced
        program.wait_for("Booting worker")
        wait_until(lambda: sessions(engine) == 1)
        run(engine, "NOTIFY news, 'two'")
        program.wait_for("the parent was told two")
        assert "before a fork" in get(port)
        finish(program)
    sessions_end(engine)


def test_uvicorn_with_workers(url, engine):
    """Each of two workers of the live page installs what is missing and listens, at the same time,
    and both end with their server."""
    run(
        engine,
        "CREATE TABLE orders (id serial PRIMARY KEY, customer varchar, total numeric(10, 2), status varchar)",
    )
    with Program(
        "-m", "uvicorn", "--app-dir", EXAMPLES / "live_orders", "app:app", "--port", "0", "--workers", "2",
        merged=True, DATABASE_URL=address(url, "psycopg"),
    ) as program:  # fmt: skip
        for _ in range(2):
            program.wait_for("startup complete")
        assert sessions(engine) == 2
        finish(program)
    sessions_end(engine)


# -- forks -----------------------------------------------------------------------------------------


def in_child(work) -> None:
    """Run ``work`` in a fork of this process, which ends as programs do; fails if that does."""
    child = FORK.Process(target=work)
    child.start()
    child.join(30)
    assert child.exitcode == 0


@forks
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_fork(url, engine, driver):
    """In a child the listener refuses to be used, can be started anew, and nothing of that touches
    the parent's connection."""
    listener = Listener(create_engine(driver_url(url, driver), poolclass=NullPool), "a")

    def child() -> None:
        for use in (
            listener.get,
            lambda: next(listener.events(0)),
            listener.fileno,
            lambda: listener.subscribe("b"),
            listener.run,
        ):
            with pytest.raises(PgNotifyError, match="before a fork"):
                use()
        with listener:
            mine = listener.fileno()
            assert os.fstat(mine).st_ino != parents
            run(engine, "NOTIFY a, 'child'")
            assert select.select([mine], [], [], 10)[0] == [mine]
            assert take(listener, 1)[0].payload == "child"
        gc.collect()

    with listener:
        parents = os.fstat(listener.fileno()).st_ino
        in_child(listener.stop)
        in_child(child)
        run(engine, "NOTIFY a, 'parent'")
        assert [event.payload for event in take(listener, 2)] == ["child", "parent"]
        assert listener.stats.gaps == 0
    sessions_end(engine)


@forks
def test_fork_while_locks_are_held(engine):
    """A fork that catches threads in the middle of taking events leaves no lock behind that would
    block the child."""
    listener = Listener(engine, "a")

    def child() -> None:
        with listener:
            run(engine, "NOTIFY a, 'child'")
            assert take(listener, 1)[0].payload == "child"

    with listener:
        takers = [threading.Thread(target=lambda: list(listener)) for _ in range(3)]
        for taker in takers:
            taker.start()
        for _ in range(5):
            in_child(child)
        listener.stop()
        for taker in takers:
            taker.join()


@forks
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_fork_within_a_loop(url, engine, driver):
    """An AsyncListener refuses in a child as well, starts anew in the child's own loop, and the
    parent's goes on."""
    made = create_async_engine(driver_url(url, driver), poolclass=NullPool)
    listener = AsyncListener(made, "a")

    async def in_the_child() -> None:
        for use in (
            listener.get(0),
            anext(listener.events(0)),
            listener.subscribe("b"),
            listener.run(),
        ):
            with pytest.raises(PgNotifyError, match="before a fork"):
                await use
        await listener.stop()
        async with listener:
            run(engine, "NOTIFY a, 'child'")
            event = await listener.get(10)
            assert isinstance(event, Notification)
            assert event.payload == "child"

    async def main() -> None:
        async with listener:
            in_child(lambda: asyncio.run(in_the_child()))
            run(engine, "NOTIFY a, 'parent'")
            assert [(await listener.get(10)).payload for _ in range(2)] == ["child", "parent"]
            assert listener.stats.gaps == 0

    asyncio.run(main())
    sessions_end(engine)


@pytest.mark.sample(2)
@pytest.mark.parametrize("way", ["sys.exit()", "return", "1 / 0", "await asyncio.sleep(0.01)"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_child_ends_within_the_parents_loop(url, engine, driver, way):
    """However a child ends that was forked within a loop, its asyncio.run() does no harm to the
    parent's listener."""
    program = f"""
import asyncio, os, sys
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener
async def main():
    listener = await AsyncListener(create_async_engine(sys.argv[1]), "a", heartbeat=60).start()
    await asyncio.sleep(0)  # the listener waits
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what it says at its end is of no interest
        {way}
        return
    os.waitpid(child, 0)
    print("ended", flush=True)
    print(await listener.get(20), listener.stats.reconnects)
    await listener.stop()
asyncio.run(main())
"""
    with Program("-c", program, address(url, driver)) as parent:
        parent.wait_for("ended")
        run(engine, "NOTIFY a, 'told'")
        code, printed, _ = parent.end()
    assert code == 0
    (line,) = printed
    assert "payload='told'" in line
    assert line.endswith(" 0")
    sessions_end(engine)


# -- pytest ----------------------------------------------------------------------------------------


def test_fixture(url, engine, tmp_path):
    """The fixture of the page works in a test, fails with a test, and leaves no session and no
    thread."""
    (tmp_path / "test_news.py").write_text(f"""
{FIXTURE}
import threading
from sqlalchemy import create_engine

@pytest.fixture
def engine():
    return create_engine({address(url)!r})

def test_failing(news):
    raise ValueError

def test_nothing_is_left():
    assert threading.enumerate() == [threading.current_thread()]
""")
    with Program(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tmp_path
    ) as program:
        code, printed, _ = program.end()
    assert code == 1
    assert "1 failed, 2 passed" in printed[-1]
    assert "test_failing" in printed[-2]
    sessions_end(engine)


# -- Jupyter ---------------------------------------------------------------------------------------


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


# -- the end of an interpreter ---------------------------------------------------------------------

HEAD = """
import asyncio, signal, sys, threading
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sa_pgnotify import AsyncListener, Listener
def listener():
    return Listener(create_engine(sys.argv[1]), "a")
def follow(listener):
    with listener:
        print("ready")
        for event in listener:
            pass
async def forget():
    global kept
    kept = await AsyncListener(create_async_engine(sys.argv[2]), "a").start()
"""
ENDS = {
    "never stopped": ("kept = listener().start()", 0),
    "never started": ("kept = listener()", 0),
    "daemon that iterates": (
        "threading.Thread(target=follow, args=[listener()], daemon=True).start(); sys.stdin.readline()",
        0,
    ),
    "sys.exit in a loop": (
        "with listener() as one:\n    for event in one.events(0.1): pass\n    sys.exit(3)",
        3,
    ),
    "sys.exit without a stop": ("kept = listener().start(); sys.exit(3)", 3),
    "a cycle of references": ("kept = listener().start(); kept.me = kept; del kept", 0),
    "stopped in a finalizer": (
        "class Holder:\n    def __init__(self): self.it = listener().start()\n    def __del__(self): self.it.stop()\nkept = Holder()",
        0,
    ),
    "asyncio.run ends": ("asyncio.run(forget())", 0),
    "asyncio.run ends, then stop": ("asyncio.run(forget()); kept.stop()", 0),
    "asyncio and sys.exit": (
        "async def main():\n    await forget()\n    sys.exit(3)\nasyncio.run(main())",
        3,
    ),
}


def ended(program) -> tuple[int, str]:
    code, _, errors = program.end()
    # asyncio's slow machine
    return code, "".join(
        line for line in errors.splitlines(keepends=True) if not line.startswith("Executing <")
    )


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
@pytest.mark.sample(2)
@pytest.mark.parametrize(("code", "status"), ENDS.values(), ids=ENDS.keys())
def test_end(url, engine, code, status, driver):
    """However a program ends that has not stopped its listener, it does so at once, with its own
    exit code and not a word."""
    async_driver = "psycopg" if driver == "psycopg" else "asyncpg"
    with Program("-c", HEAD + code, address(url, driver), address(url, async_driver)) as program:
        if "stdin" in code:
            program.wait_for("ready")
        assert ended(program) == (status, "")
    sessions_end(engine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_end_by_a_signal(url, engine, number):
    """Ctrl-C ends an iteration as it ends any loop, and SIGTERM a program that does not handle it;
    no session stays."""
    with Program("-c", HEAD + "follow(listener())", address(url)) as program:
        program.wait_for("ready")
        program.send(number)
        code, errors = ended(program)
        assert code == -number
        assert errors.splitlines()[-1:] == (
            ["KeyboardInterrupt"] if number == signal.SIGINT else []
        )
    sessions_end(engine)


def test_end_of_asyncio_by_ctrl_c(url, engine):
    """Ctrl-C ends asyncio.run() by KeyboardInterrupt, the connection closed before the loop."""
    code = "async def main():\n    await forget()\n    print('ready')\n    await kept.get()\nasyncio.run(main())"
    with Program("-c", HEAD + code, address(url), address(url, "asyncpg")) as program:
        program.wait_for("ready")
        program.send(signal.SIGINT)
        code, errors = ended(program)
        assert code == -signal.SIGINT
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert "Warning" not in errors
    sessions_end(engine)


def test_end_by_an_error(url, engine):
    """An exception out of a loop is the only thing that the program says."""
    with Program("-c", HEAD + "kept = listener().start()\n1 / 0", address(url)) as program:
        code, errors = ended(program)
    assert code == 1
    assert errors.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert errors.count("Traceback") == 1
    sessions_end(engine)


@pytest.mark.parametrize("state", ["stalled", "refused"])
def test_end_without_a_server(proxy, state):
    """A program ends in time while the server does not answer, and while it cannot be reached."""
    code = "kept = listener().start()\nprint('ready')\nsys.stdin.readline()\nkept = kept"
    with Program("-c", HEAD + code, address(proxy.url)) as program:
        program.wait_for("ready")
        if state == "stalled":
            proxy.stall()
        else:
            proxy.refuse()
            proxy.cut()
        code, errors = ended(program)
        assert code == 0
        assert "Traceback" not in errors


def test_end_within_an_attempt_to_connect(url):
    """A program ends within 5 seconds while its listeners try to connect to a host that never
    answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = f"""
made = create_engine(sys.argv[1])
from sqlalchemy import event
made.ready = False
@event.listens_for(made, "do_connect")
def connect(dialect, record, args, kwargs):
    if made.ready:
        kwargs.update(host="127.0.0.1", port={silent.getsockname()[1]}, sslmode="disable", gssencmode="disable")
kept = [Listener(made, "a").start() for _ in range(3)]
made.ready = True
print("ready")
sys.stdin.readline()
"""
        with Program("-c", HEAD + code, address(url)) as program:
            program.wait_for("ready")
            engine = create_engine(url, poolclass=NullPool)
            from sessions import terminate_listener

            terminate_listener(engine)
            silent.settimeout(20)
            attempts = [silent.accept()[0] for _ in range(3)]  # they are under way
            begun = time.monotonic()
            code, errors = ended(program)
            assert 4 < time.monotonic() - begun < 10
            for attempt in attempts:
                attempt.close()
            assert code == 0
            assert "Traceback" not in errors
