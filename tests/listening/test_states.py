"""The states that listeners and consumers report: one line for each change of state, none for an
event, no password; and the callback."""

import logging
import re
import threading

import pytest
from consumers import Running, done
from durables import model_of
from receiving import take
from sessions import sessions_end, terminate_listener
from sqlalchemy import create_engine
from statements import run
from waiting import wait_until

from sa_pgnotify import Gap, Listener, NotifyConfigError
from sa_pgnotify.events.stream import EventStream
from sa_pgnotify.states import State, States


@pytest.fixture
def lines(caplog):
    """The lines of the log so far: level, reporter and state of each."""
    caplog.set_level(logging.DEBUG, "sa_pgnotify")
    return lambda: [
        (r.levelname, *re.split(r": | in \d", r.getMessage())[:2])
        for r in caplog.records
        if r.name == "sa_pgnotify"
    ]


def test_a_listeners_life(engine, Listener, lines):
    """Connected, lost, reconnecting, reconnected with a gap, stopped: a line and a record each, and
    not one for the events between."""
    states = []
    with Listener(engine, "a", on_state=states.append) as listener:
        run(engine, *["SELECT pg_notify('a', '1')"] * 3)
        take(listener, 1)
        terminate_listener(engine)
        while not isinstance(listener.get(10), Gap):
            pass
        run(engine, "NOTIFY a")
        take(listener, 1)
    assert lines() == [(logging.getLevelName(s.level), "listener", s.state) for s in states]
    reported = [s for s in states if s.state != "reconnecting"]
    assert [(s.state, s.missed) for s in reported] == [
        ("connected", False),
        ("lost", False),
        ("reconnected", True),
        ("stopped", False),
    ]
    assert [s.level for s in reported] == [
        logging.INFO,
        logging.WARNING,
        logging.WARNING,
        logging.INFO,
    ]
    assert all(s.seconds is not None for s in states if s.state == "reconnecting")
    assert len(states) > len(reported)


@pytest.mark.kinds(1)
def test_a_consumers_life(engine, Item, Consumer, lines):
    """Working and standing by are reported once each, and so are a lost connection and the
    reconnect."""
    states = []
    with Running(Consumer(on_state=states.append)):
        wait_until(lambda: any(s.state == "working" for s in states))
        with Running(Consumer(on_state=states.append)):
            wait_until(lambda: any(s.state == "standing by" for s in states))
        run(engine, "INSERT INTO items (n) VALUES (1), (2)")
        wait_until(lambda: len(done(engine)) == 2)
        terminate_listener(engine)
        wait_until(lambda: [s.state for s in states].count("working") == 2)
    reported = [s.state for s in states if s.state != "reconnecting"]
    assert reported == [
        "connected",
        "working",
        "connected",
        "standing by",
        "stopped",
        "lost",
        "reconnected",
        "working",
        "stopped",
    ]
    assert {who for _, who, _ in lines()} == {states[0].who}
    assert states[0].who.startswith("consumer ")
    assert len(lines()) == len(states)


def test_an_overflow_is_reported_when_it_begins_and_when_it_ends(engine, lines):
    """There is no report for each event that does not fit."""
    with Listener(engine, "a", "b", buffer_size=4) as listener:
        run(engine, *[f"SELECT pg_notify('a', '{i}')" for i in range(20)])
        wait_until(lambda: listener.stats.received == 20)
        events = take(listener, 5)
        assert isinstance(events[-1], Gap)
        # The taker waits here, and reads the connection itself.
        threading.Timer(0.3, run, (engine, "NOTIFY b")).start()
        take(listener, 1)
    assert [state for _, _, state in lines()] == [
        "connected",
        "overflow",
        "overflow ended",
        "stopped",
    ]


def test_what_cannot_be_read_is_logged_once_a_minute(lines, monkeypatch):
    """A flood of forged messages makes a Gap each, and not a line each."""
    stream = EventStream()
    assert [stream.undecodable("x", 0.0).reason for _ in range(1000)] == ["undecodable"] * 1000
    assert lines() == [("WARNING", "listener", "undecodable")]
    monkeypatch.setattr(stream, "_undecodable_until", 0.0)
    stream.undecodable("x", 0.0)
    assert len(lines()) == 2


def test_no_password_is_reported(engine, caplog):
    """A driver's error may quote its arguments. Neither the log nor the callback gets the
    password."""
    reported = []
    mine = create_engine(engine.url.set(password="s3cret/%"))
    said = f"invalid dsn: {mine.url.render_as_string(hide_password=False).partition('@')[0]} or password={mine.url.password}"
    States("listener", mine, reported.append).report(State.RECONNECTING, said, seconds=1.0)
    assert (
        str(reported[0])
        == "listener: reconnecting in 1.0 s: invalid dsn: postgresql+psycopg2://postgres:*** or password=***"
    )
    assert "s3cret" not in caplog.text


def test_a_callback_that_fails_does_no_harm(engine, lines):
    """It is logged, and the listener goes on."""

    def fails(change):
        raise RuntimeError("mine")

    with Listener(engine, "a", on_state=fails) as listener:
        run(engine, "NOTIFY a")
        take(listener, 1)
    sessions_end(engine)
    assert [state for level, _, state in lines() if level == "ERROR"] == ["connected", "stopped"]


def test_what_is_no_callback_is_refused(engine):
    """It is refused by the constructor."""
    Item = model_of(engine)
    from sa_pgnotify import Consumer

    for make in (
        lambda: Listener(engine, "a", on_state="x"),
        lambda: Consumer(engine, "c", Item, on_state="x"),
    ):
        with pytest.raises(NotifyConfigError, match="function of a StateChange"):
            make()
