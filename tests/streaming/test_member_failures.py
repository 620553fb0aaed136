"""Handlers that fail, messages that cannot be read, and messages that are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker
from statements import run
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
    deep = replace(published.message("items.3", {}), body=b"[" * 50_000)
    binary = replace(published.message("items.4", {}), body=b"\xff\xfe\0")
    other = published.message(
        "others.1", {**envelope(1, 1, 1), "table": "others", "entity": "Other"}
    )
    foreign = replace(published.message("items.2", {"some": "thing"}), headers={})
    gap = {"version": 1, "event": "gap", "reason": "lost_position", "since": "2026-01-01T00:00:00+00:00", "detail": "d"}  # fmt: skip
    published.publish([unread, deep, binary, other, foreign, published.message("gap", gap)])
    published.transaction([5])
    gaps = []
    member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    assert {(found.reason, found.detail[:9]) for found in gaps} == {
        ("undecodable", "message 1"),
        ("undecodable", "message 2"),
        ("undecodable", "message 3"),
        ("lost_position", "d"),
    }


def test_whatever_fails_is_parked(published, member, engine):
    """A body that is not text, an error with NUL in its text, and a commit that fails when nothing is
    left in the batch do not end the members."""
    binary = replace(published.message("items.1", {}), body=b"\xff\xfe\0")
    published.publish([binary])
    published.transaction([2, 3])

    def handler(session, change):
        if not isinstance(change, Updated) or change.identity == (2,):
            raise ValueError("NUL \0, and half a pair \ud800")
        record(session, change)

    one = member(handler, on_error=lambda error, change, failures: "park")
    wait_until(lambda: list(done(engine)) == [3])
    parked = one.consumer.parked()
    assert [found.error for found in parked] == [
        r"ValueError: NUL \x00, and half a pair \ud800"
    ] * 2
    assert r"\xff\xfe\x00" in {found.body for found in parked}


def test_a_commit_that_fails_with_nothing_left_is_tried_again(published, member, engine, sessions):
    """If the only change of a batch is skipped, and the commit of its place fails, it is tried again,
    and the members go on."""
    published.transaction([1])
    deferred = "CREATE CONSTRAINT TRIGGER refused AFTER UPDATE ON sa_pgnotify_stream_places DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    function = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"

    def on_error(error, change, failures):
        run(engine, function, deferred)
        return "skip"

    one = member(refusing(1), on_error=on_error)
    wait_until(lambda: any("cannot be stored" in str(state) for state in one.states))
    run(engine, "DROP TRIGGER refused ON sa_pgnotify_stream_places")
    published.transaction([2])
    wait_until(lambda: list(done(engine)) == [2])


def test_a_lost_connection_does_not_end_a_member(published, member, engine):
    """Also without on_error, a batch whose connection is lost comes again."""
    published.transaction([1])
    first = [True]

    def handler(session, change):
        if first:
            first.clear()
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            run(engine, f"SELECT pg_terminate_backend({pid}, 5000)")
        record(session, change)

    member(handler)
    wait_until(lambda: done(engine) == published.rows)


def test_numbers_that_are_used_again_are_noticed(nats, stream, published, member, engine):
    """If the stream loses its last messages, and gives their numbers to others, a Gap says so, and the
    others are handled."""
    published.transaction([1])
    gaps = []
    one = member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    wait_until(lambda: one.consumer.lag().messages == 0)
    one.stop()
    place = "UPDATE sa_pgnotify_stream_places SET sequence = sequence + 2"  # two more, now lost
    run(engine, place)
    published.transaction([2, 3])
    published.transaction([4])
    member(gaps_of(gaps))
    wait_until(lambda: done(engine) == published.rows)
    assert [gap.reason for gap in gaps] == ["lost_position"]
    assert "numbers to others" in gaps[0].detail


def test_tables_of_another_role_are_refused(published, member, engine, sessions):
    """A role that may create tables cannot have its code run by the members, by making theirs before
    they do."""
    role = f"mallory_{engine.url.database}"
    run(engine, f"CREATE ROLE {role}", f"GRANT CREATE ON SCHEMA public TO {role}")
    try:
        run(engine, f"SET LOCAL ROLE {role}", "CREATE TABLE sa_pgnotify_stream_places (stream int)")
        error = member().join()
        assert isinstance(error, NotifyConfigError) and f"belongs to {role}" in str(error)
    finally:
        run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


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
