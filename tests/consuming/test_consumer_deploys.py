"""Deploys that roll: while an old version of a program consumes, a new one with other entities starts
under the same name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from letters import insert, rows, started, tables, work
from programs import SUPPORT
from waiting import wait_until

from sa_pgnotify import Consumer


@contextmanager
def writing(engine: sa.Engine, names: Iterable[str]) -> Iterator[list[tuple[str, int]]]:
    """Somebody inserts into the tables all the while; gives what was committed."""
    committed: list[tuple[str, int]] = []
    stopped = threading.Event()

    def write() -> None:
        number = 0
        while not stopped.is_set():
            for name in names:
                number += 1
                insert(engine, (name, number))
                committed.append((name, number))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield committed
    finally:
        stopped.set()
        thread.join()


PROGRAM = """
    import sys, sqlalchemy as sa
    sys.path.insert(0, {here!r})
    from letters import tables, work
    from sa_pgnotify import Consumer
    engine = sa.create_engine({url!r}, poolclass=sa.NullPool)
    made = tables(engine)
    with Consumer(engine, "worker", *[made[name] for name in {names!r}], heartbeat=1.0, batch_size=7) as consumer:
        print("started", flush=True)
        consumer.run(work)
"""


@contextmanager
def version(engine: sa.Engine, names: str) -> Iterator[subprocess.Popen[str]]:
    """A process that consumes ``names``, started; killed at the end."""

    url = engine.url.render_as_string(hide_password=False)
    code = textwrap.dedent(PROGRAM).format(here=str(SUPPORT), url=url, names=list(names))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def done(engine: sa.Engine) -> set[str]:
    return {what for (what,) in rows(engine, "SELECT what FROM done")}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a", "ab", marks=pytest.mark.thorough),
        pytest.param("ab", "a", marks=pytest.mark.thorough),
        ("ab", "bc"),
    ],
)
def test_a_deploy_that_rolls(engine, before, after):
    """While an old version works, a new one with other entities stands by, and each entity has its
    place. The old one is killed during its work, and a last version with all entities processes the
    rest: each change is processed once."""
    made = tables(engine)
    started(engine, "worker", *[made[name] for name in before])
    with writing(engine, made) as committed:
        with version(engine, before), version(engine, after):
            registered = len(committed) + 1
            wait_until(lambda: len(done(engine)) > 30)
        with version(engine, after):
            count = len(done(engine))
            wait_until(lambda: len(done(engine)) > count + 30)
    late = {f"{name} {number}" for name, number in committed[registered:] if name in after}
    expected = late | {
        f"{name} {number}"
        for name in before
        for (number,) in rows(engine, f"SELECT id FROM {name}")
    }
    with version(engine, before + after):
        wait_until(lambda: done(engine) >= expected)  # twice is an error there


def test_a_consumer_that_stands_by_for_other_entities_says_so(engine):
    """While another one of its name works for other entities, its state names both sets, the
    session that works, and the way out."""
    t = tables(engine)
    states: list[Any] = []
    with Consumer(engine, "worker", t["a"]) as first:
        thread = threading.Thread(target=first.run, args=[work])
        thread.start()
        insert(engine, ("a", 1))
        wait_until(lambda: done(engine) == {"a 1"})
        with Consumer(engine, "worker", t["a"], t["b"], on_state=states.append) as second:
            waiting = threading.Thread(target=second.run, args=[work])
            waiting.start()
            wait_until(lambda: any(state.state == "standing by" for state in states))
            insert(engine, ("b", 2), ("a", 3))
            wait_until(lambda: "a 3" in done(engine))
            first.stop()
            thread.join()
            wait_until(lambda: "b 2" in done(engine))
            second.stop()
            waiting.join()
    (said,) = [state.detail for state in states if state.state == "standing by"]
    assert "another process is consuming under this name: session with PID " in said
    assert "It reads public.a, and this consumer would read public.a, public.b" in said
    assert "give this consumer another name" in said
