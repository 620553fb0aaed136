"""The streams of a hub from the first message to the last, as server-sent events and on
WebSockets."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest
from hub_site import Site, Stream, follow
from hub_tables import add, models
from sampling import size
from sessions import sessions
from sqlalchemy import select
from statements import run
from waiting import wait_until


@pytest.fixture(name="Note")
def _note(engine):
    base = models()
    base.metadata.create_all(engine)
    return base.Note


@pytest.fixture
def site(url, Note):
    with Site(url, select(Note.id, Note.body)) as site:
        yield site


def connect(site, **parameters):
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    client = pytest.importorskip("websockets.sync.client")
    return client.connect(f"ws://127.0.0.1:{site.port}/live?{query}", proxy=None)


def received(websocket):
    return json.loads(websocket.recv(20))


def test_rows_then_steps(site, engine):
    """A page is sent all rows, and then the changes; a row that leaves is named by its key."""
    add(engine, "a", 1, 2)
    with site.browse() as stream:
        assert stream.rows() == {"[1]": {"id": 1, "body": ""}, "[2]": {"id": 2, "body": ""}}
        run(engine, "UPDATE notes SET body = 'new' WHERE id = 2", "DELETE FROM notes WHERE id = 1")
        step = stream.next()
        assert step.name == "step"
        assert step.data == {"put": [["[2]", {"id": 2, "body": "new"}]], "gone": ["[1]"]}


def test_headers_and_heartbeats(url, Note):
    """Headers keep proxies from buffering or storing the stream, and comments are sent in
    silence."""
    with Site(url, select(Note), heartbeat=0.05) as site, site.browse() as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.rows() == {}
        for _ in range(3):
            assert stream.lines()[0].startswith(":")


def test_last_event_id_resumes(site, engine):
    """A browser that reconnects is sent what it has missed, but not the key of a row that entered
    and left in the meantime."""
    add(engine, "a", 1, 2)
    with site.browse() as stays:
        stays.rows()
        with site.browse() as leaves:
            last = leaves.next().id
        add(engine, "a", 3, 4)
        run(engine, "DELETE FROM notes WHERE id IN (1, 4)")
        follow(stays, rows := {"[1]": 0, "[2]": 0}, lambda rows: set(rows) == {"[2]", "[3]"})
        assert rows
        with site.browse(last_id=last) as again:
            step = again.next()
            assert step.name == "step"
            assert [key for key, _ in step.data["put"]] == ["[3]"]
            assert step.data["gone"] == ["[1]"]
        with site.browse(last_id=step.id) as again:  # it has missed nothing
            add(engine, "a", 5)
            assert again.next().data["put"][0][0] == "[5]"


HOSTILE = ["", "x", "{name}", "{name}.", "{name}.-1", "{name}.99999999", "{name}.²", "{name}.٣", "{name}.1_0",
           "{name}. 1", "{name}." + "9" * 5000, ".1", "0.0", "{name}.1.1", "{name}.1\0"]  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize("last", HOSTILE)
def test_unknown_last_event_id_gives_all_rows(site, engine, last):
    """A browser that sends any other last id is sent all rows, and the hub continues."""
    add(engine, "a", 1)
    with site.browse() as first:
        name = first.next().id.rpartition(".")[0]
        sent = last.replace("{name}", name).encode("utf-8")
        with site.browse(last_id=sent) as stream:
            if stream.status == 400:  # the server has refused it
                return
            assert stream.rows().keys() == {"[1]"}
    wait_until(lambda: site.is_empty)


def test_websocket_sends_the_same(site, engine):
    """A WebSocket carries the same events as a stream, and resumes after the id of the last one."""
    add(engine, "a", 1)
    with site.browse() as stream, connect(site) as websocket:
        for statement in (
            None,
            "UPDATE notes SET body = '</script>\n\u2028'",
            "DELETE FROM notes",
        ):
            if statement:
                run(engine, statement)
            event, message = stream.next(), received(websocket)
            assert message == {"event": event.name, "id": event.id, "data": event.data}
        add(engine, "a", 7)
        stream.next()
        with connect(site, last_event_id=message["id"]) as again:
            assert received(again)["data"] == {"put": [["[7]", {"id": 7, "body": ""}]], "gone": []}


def test_nothing_is_left(site, engine):
    """When the last browser has gone, however it ended, no query, task or session is left."""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(site.browse()).rows()
            websocket = stack.enter_context(connect(site))
            websocket.send("what a page may say")
            received(websocket)
        assert sessions(engine) == 1
        assert len(site.see(lambda: list(site.hub._channels))) == 1
        websocket.socket.shutdown(socket.SHUT_RDWR)  # without a closing handshake
    wait_until(lambda: site.is_empty)
    wait_until(lambda: sessions(engine) == 0)
    with site.browse() as stream:  # a new stream works
        assert stream.rows() == {}


def test_end_of_the_hub_closes_all(site, engine):
    """When the process ends, a stream ends without an event, and a WebSocket is closed with the
    code for a service restart."""
    with site.browse() as stream, connect(site) as websocket:
        stream.rows()
        received(websocket)
        site.call(site.hub.stop())
        assert stream.next() is None
        with pytest.raises(websockets_closed()) as closed:
            websocket.recv(20)
        assert closed.value.rcvd.code == 1012
    wait_until(lambda: sessions(engine) == 0)


def websockets_closed():
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


def test_many_browsers_share_one_query(site, engine):
    """Browsers that see the same rows share one query and one listening connection."""
    add(engine, "a", 1)
    streams = [site.browse() for _ in range(50)]
    for stream in streams:
        stream.rows()
    assert len(site.see(lambda: list(site.hub._channels))) == 1
    assert sessions(engine) == 1
    add(engine, "a", 2)
    for stream in streams:
        assert stream.next().data["put"][0][0] == "[2]"
        stream.close()


def test_slow_browser(site, engine):
    """A browser that does not read during many megabytes of changes is sent few steps, and has the right
    rows at the end."""
    add(engine, "a", 1, 2, 3)
    with Stream(site.port) as stream:
        rows = stream.rows()
        count = size(400, 160)
        for number in range(count):  # more than the buffer of a socket holds
            run(engine, f"UPDATE notes SET body = {number} || repeat('x', 100000) WHERE id = 2")
        run(engine, "DELETE FROM notes WHERE id = 1", "UPDATE notes SET body = 'end' WHERE id = 3")
        steps = follow(stream, rows, lambda rows: rows["[3]"]["body"] == "end")
        assert steps < count / 2
        assert set(rows) == {"[2]", "[3]"}
        assert rows["[2]"]["body"].startswith(f"{count - 1}x")


@pytest.mark.thorough
def test_slow_browser_of_rows_that_come_and_go(site, engine):
    """Neither a browser that does not read nor the steps that a channel remembers need memory for
    rows that entered and left, however many there were."""
    add(engine, "a", 1)
    with site.browse() as stays, Stream(site.port) as stream:
        seen, rows = stays.rows(), stream.rows()
        run(
            engine,
            "INSERT INTO notes SELECT i, 'a', repeat('x', 9000) FROM generate_series(2, 900) AS i",
        )
        follow(stays, seen, lambda seen: len(seen) == 900)
        for number in range(1, 9):
            begin = number * 1000
            run(
                engine,
                f"DELETE FROM notes WHERE id > 1; INSERT INTO notes SELECT i, 'a', repeat('x', 9000) FROM generate_series({begin}, {begin + 899}) AS i",
            )
            follow(stays, seen, lambda seen: f"[{begin + 899}]" in seen)
        (channel,) = site.see(lambda: list(site.hub._channels.values()))
        most = site.see(lambda: max(len(browser._has or ()) for browser in channel._browsers))
        assert most <= 1_000
        assert site.see(lambda: sum(len(changed) for _, changed in channel._steps)) <= 1_000
        run(engine, "UPDATE notes SET body = 'end' WHERE id = 1")
        follow(stream, rows, lambda rows: rows.get("[1]", {}).get("body") == "end")
        assert len(rows) == 901


def test_reconnects_leave_nothing(site, engine):
    """Browsers that disconnect before or in the middle of their rows leave nothing behind."""
    run(
        engine,
        "INSERT INTO notes SELECT i, 'a', repeat('x', 9000) FROM generate_series(1, 300) AS i",
    )
    for number in range(size(150, 60)):
        stream = socket.create_connection(("127.0.0.1", site.port))
        stream.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        if number % 3:
            stream.recv(number * 40)
        stream.close()
    wait_until(lambda: site.is_empty)
    wait_until(lambda: sessions(engine) == 0)
    with site.browse() as stream:
        assert len(stream.rows()) == 300
    wait_until(lambda: site.is_empty)
