"""A hub when the database, the pool or the program around it fails."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hub_site import Site, follow
from hub_tables import add, models
from kinds import driver_url
from servers import Server, data_folder
from sessions import terminate_listener
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import create_async_engine
from statements import run
from waiting import wait_until

from sa_pgnotify.web import Hub


@pytest.fixture(name="Note")
def _note(engine):
    base = models()
    base.metadata.create_all(engine)
    return base.Note


async def connected(engine):
    return await engine.connect()


def failed(stream) -> None:
    event = stream.next()
    assert (event.name, event.data) == ("failed", {})
    assert stream.next() is None


def test_no_triggers(url, engine, caplog):
    """Without the triggers no change would be sent, so the stream fails, and the log names the
    table and the fix; the browser is asked not to come back at once. After the fix the page
    works."""
    base = models()
    with Site(url, select(base.Note)) as site:
        with site.browse() as stream:
            event = stream.next()
            assert (event.name, event.data) == ("failed", {})
            assert "retry: 30000" in event.lines  # a browser would log an error each second
            assert stream.next() is None
        assert "create_all" in caplog.text
        base.metadata.create_all(engine)
        add(engine, "a", 1)
        with site.browse() as stream:
            event = stream.next()
            assert [key for key, _ in event.data] == ["[1]"]
            assert "retry: 2000" in event.lines
        wait_until(lambda: site.is_empty)


def test_pool_is_exhausted(url, engine, Note, caplog):
    """If no connection is free, a new stream fails and the log says why; open streams wait, and
    continue when one is free."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    with Site(url, select(Note.id), engine=options, heartbeat=0.05) as site:
        with site.browse() as stream:
            stream.rows()
            held = site.call(connected(site.engine))  # the listener has a connection of its own
            add(engine, "a", 1)
            site._statement = select(Note.body)
            with site.browse() as other:
                failed(other)
            assert "QueuePool limit" in caplog.text
            assert other.comments > 0
            site.call(held.close())
            assert stream.next().data["put"][0][0] == "[1]"


def test_database_that_does_not_answer(proxy, engine, Note):
    """While the database does not answer, a page is sent heartbeats, and stopping the hub does not
    wait."""
    with Site(proxy.url, select(Note.id), heartbeat=0.05) as site:
        with site.browse() as stream:
            stream.rows()
            proxy.stall()
            add(engine, "a", 1)
            site._statement = select(Note.body)
            with site.browse() as other:
                assert other.lines() == [": "]
                assert stream.lines() == [": "]
                began = time.monotonic()
                site.call(site.hub.stop())
                assert stream.next() is None
                assert other.next() is None
                assert time.monotonic() - began < 1
            proxy.flow()
            add(engine, "a", 2)  # the feed wakes up, and finds no browsers
        wait_until(lambda: site.is_empty)


def test_listener_is_cut(url, engine, Note):
    """A page shows the changes that were made while the listening connection was lost."""
    with Site(url, select(Note.id)) as site, site.browse() as stream:
        rows = stream.rows()
        terminate_listener(engine)
        add(engine, "a", 1)
        follow(stream, rows, lambda rows: set(rows) == {"[1]"})


def test_server_is_restarted():
    """A page continues after a restart of the database server, without another request of the
    browser."""
    with data_folder() as data, Server(data) as server:
        base = models()
        engine = create_engine(server.url)
        base.metadata.create_all(engine)
        with Site(server.url, select(base.Note.id)) as site, site.browse() as stream:
            rows = stream.rows()
            server.down("fast")
            server.up()
            engine.dispose()
            add(engine, "a", 1)
            follow(stream, rows, lambda rows: set(rows) == {"[1]"})
        engine.dispose()


def test_engine_is_disposed(url, engine, Note):
    """engine.dispose(), which some programs call after a fork, ends no page."""
    with Site(url, select(Note.id)) as site, site.browse() as stream:
        stream.rows()
        site.call(site.engine.dispose())
        add(engine, "a", 1)
        assert stream.next().data["put"][0][0] == "[1]"


@pytest.mark.thorough
def test_table_is_dropped(url, engine, Note, caplog):
    """A page whose table is dropped fails, and the log says why."""
    with Site(url, select(Note.id)) as site, site.browse() as stream:
        stream.rows()
        run(engine, "INSERT INTO notes VALUES (1, 'a', '')")
        stream.next()
        run(engine, "ALTER TABLE notes RENAME TO old_notes")
        run(engine, "INSERT INTO old_notes VALUES (2, 'a', '')")
        failed(stream)
        assert 'relation "notes" does not exist' in caplog.text


def test_lifespan(url, engine, Note):
    """``async with hub`` ends the streams at its end. It may be entered again, as the tests of a
    program do with the hub of a module."""
    add(engine, "a", 1)
    with Site(url, select(Note.id)) as site:

        async def enter():
            await site.hub.__aenter__()

        async def leave():
            await site.hub.__aexit__(None, None, None)

        for _ in range(2):
            site.call(enter())
            with site.browse() as stream:
                assert set(stream.rows()) == {"[1]"}
                site.call(leave())
                assert stream.next() is None
            with site.browse() as late:
                assert late.next() is None
            wait_until(lambda: site.is_empty)


def test_stop_twice_and_unused(url, engine, Note):
    """stop() may be called without streams, and does nothing the second time."""

    async def use():
        async with Hub(create_async_engine(driver_url(url, "psycopg"))) as hub:
            await hub.stop()
        await hub.stop()

    asyncio.run(use())


def test_browsers_that_do_not_read_share_the_rows(url, engine, Note):
    """Forty browsers that do not read 10 MB of rows share them in memory."""
    add(engine, "a", 1, body="x" * 10_000_000)
    with Site(url, select(Note)) as site, site.browse() as reads, ExitStack() as stack:
        reads.rows()
        before = resident()
        streams = [stack.enter_context(site.browse()) for _ in range(40)]
        assert {stream.status for stream in streams} == {200}
        add(engine, "a", 2)
        assert reads.next().data["put"][0][0] == "[2]"
        assert resident() - before < 200_000
        rows = streams[0].rows()
        follow(streams[0], rows, lambda rows: set(rows) == {"[1]", "[2]"})


def resident() -> int:
    """Return the memory of this process in kilobytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])
