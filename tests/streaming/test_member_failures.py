"""Handlers that fail, messages that cannot be read, and messages that are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker
from streams import HANDLED, done, envelope, record
from waiting import wait_until

from sa_pgnotify import NotifyConfigError, Updated
from sa_pgnotify.relay import JetStream
from sa_pgnotify.streaming import StreamConsumer


class Refused(Exception):
    """The handler's own error."""


def refusing(row, times=10**6):
    """A handler that refuses a row so many times."""
    left = [times]

    def handler(session, change):
        record(session, change)
        if change.identity == (row,) and left[0] > 0:
            left[0] -= 1
            raise Refused(f"row {row}")

    return handler


def test_an_error_is_raised(published, member, engine):
    """Without on_error, a handler's exception ends run(), and nothing of the batch is committed."""
    published.transaction(range(5))
    assert isinstance(member(refusing(3)).join(), Refused)
    assert done(engine) == {}
    member()
    wait_until(lambda: done(engine) == published.rows)


def test_a_change_is_retried_and_parked(published, member, engine):
    """on_error decides: a change that fails is tried again, and counted over all attempts; then it is
    parked with its message, and the others are handled."""
    published.transaction(range(5))
    attempts = []

    def on_error(error, change, failures):
        attempts.append((change.identity, failures))
        return "retry" if failures < 3 else "park"

    one = member(refusing(3), on_error=on_error)
    published.transaction(range(5))
    rows = {row: ns for row, ns in published.rows.items() if row != 3}
    wait_until(lambda: done(engine) == rows and len(one.consumer.parked()) == 2)
    assert attempts[:3] == [((3,), 1), ((3,), 2), ((3,), 3)]
    parked, _ = one.consumer.parked()
    assert (parked.failures, parked.error) == (3, "Refused: row 3")
    assert parked.subject.endswith(".items.3") and '"identity":[3]' in parked.body


def test_a_change_succeeds_later(published, member, engine):
    """A change that fails for a while is handled in its order."""
    published.transaction(range(5))
    published.transaction(range(5))
    member(refusing(3, times=3), on_error=lambda error, change, failures: "retry")
    wait_until(lambda: done(engine) == published.rows)


def gaps_of(found):
    """A handler that writes changes down, and gaps into ``found``."""

    def handler(session, change):
        if isinstance(change, Updated):
            record(session, change)
        else:
            found.append(change)

    return handler


def test_messages_that_are_gone_are_a_gap(nats, published, member, engine, stream):
    """If the stream does not have the messages after the place any more, or was created again, a Gap
    says so, and the later ones are handled."""
    published.transaction(range(3))
    gaps = []
    one = member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    one.stop()
    lost = dict(published.rows)
    published.transaction(range(10, 13))
    nats.api(f"STREAM.PURGE.{stream}", keep=1)
    published.rows = {**lost, 12: published.rows[12]}
    two = member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    assert [(gap.reason, "4 to 5" in gap.detail) for gap in gaps] == [("lost_position", True)]
    two.stop()
    nats.api(f"STREAM.DELETE.{stream}")
    nats.create(stream, subjects=[f"{stream}.>"])
    published.transaction([20])
    three = member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    assert [gap.reason for gap in gaps] == ["lost_position"] * 2
    assert three.has_been("lost position")


def test_a_message_that_cannot_be_read_is_a_gap(published, member, engine):
    """A message of a relay that this program cannot read is a Gap in its place; messages of others,
    and changes of other entities, are skipped; a relay's own Gap is delivered."""
    unread = published.message("items.1", {**envelope(1, 1, 1), "version": 99})
    other = published.message(
        "others.1", {**envelope(1, 1, 1), "table": "others", "entity": "Other"}
    )
    foreign = replace(published.message("items.2", {"some": "thing"}), headers={})
    gap = {"version": 1, "event": "gap", "reason": "lost_position", "since": "2026-01-01T00:00:00+00:00", "detail": "d"}  # fmt: skip
    published.publish([unread, other, foreign, published.message("gap", gap)])
    published.transaction([5])
    gaps = []
    member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    assert {(found.reason, found.detail[:9]) for found in gaps} == {
        ("undecodable", "message 1"),
        ("lost_position", "d"),
    }


def test_bad_arguments_are_refused(nats, stream, Item, sessions, member, published):
    """What cannot work is refused with what to do."""
    to = JetStream(nats.url, stream)
    for arguments, options in [
        (("nats://a", "billing", Item), {}),
        ((to, "bad.name", Item), {}),
        ((to, "billing", "channel"), {}),
        ((to, "billing", Item), {"partitions": 0}),
        ((to, "billing", Item), {"start": "snapshot"}),
        ((to, "billing", Item), {"session_factory": None}),
    ]:
        with pytest.raises(NotifyConfigError):
            StreamConsumer(*arguments, **{"session_factory": sessions, **options})
    missing = StreamConsumer(JetStream(nats.url, "NONE"), "billing", Item, session_factory=sessions)
    with pytest.raises(NotifyConfigError, match="there is no stream NONE"):
        missing.start()
    one = member()
    wait_until(lambda: one.parts == 16)
    assert "partitions" in str(member(partitions=8).join())
    autocommit = sessionmaker(create_engine(sessions.kw["bind"].url, isolation_level="AUTOCOMMIT"))
    one.stop()
    published.transaction([1])
    assert "autocommit" in str(member(session_factory=autocommit).join())


def test_another_database(published, member, tmp_path):
    """The handler's database may be another one than PostgreSQL."""
    engine = create_engine(f"sqlite:///{tmp_path}/handled.db")
    HANDLED.create_all(engine)
    published.transaction(range(20))
    own = {"session_factory": sessionmaker(engine), "on_error": lambda *_: "park"}
    one = member(refusing(7), **own)
    rows = {row: ns for row, ns in published.rows.items() if row != 7}
    wait_until(lambda: done(engine) == rows)
    assert [parked.failures for parked in one.consumer.parked()] == [1]
    engine.dispose()
