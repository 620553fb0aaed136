"""Versions of a program under one consumer's name that do not read the same entities: each entity
has its own place, and loses nothing."""

from __future__ import annotations

import itertools
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letters import NAMES, insert, read, rows, started, tables
from statements import run
from waiting import wait_until

from sa_pgnotify import (
    Consumer,
    PgNotifyError,
    consumers,
    forget,
    prune,
)
from sa_pgnotify.log import reader

# the log keeps what a transaction in any database may still write
pytestmark = pytest.mark.undisturbed


def test_entities_that_take_turns_under_one_name(engine):
    """What one version does not read waits for the one that does: a batch of the other passes
    nothing of it by."""
    t = tables(engine)
    started(engine, "worker", t["a"])
    insert(engine, ("a", 1))
    started(engine, "worker", t["b"])
    insert(engine, ("a", 2), ("b", 3))
    assert read(engine, "worker", t["b"], count=1) == [("b", 3)]
    insert(engine, ("b", 4), ("a", 5))
    assert read(engine, "worker", t["a"], count=3) == [("a", 1), ("a", 2), ("a", 5)]
    insert(engine, ("a", 6))
    assert read(engine, "worker", t["b"], t["a"], count=2) == [("b", 4), ("a", 6)]


def test_an_entity_that_is_added_begins_where_the_name_is(engine):
    """Between a version that does not know an entity and one that reads it, nothing of that is
    passed by."""
    t = tables(engine)
    started(engine, "worker", t["a"])
    insert(engine, ("a", 1), ("b", 2))
    assert read(engine, "worker", t["a"], t["b"], count=2) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("start", ["now", "beginning"])
def test_start_is_for_an_entity_that_is_new_under_the_name(engine, start):
    """With ``start="beginning"``, an entity that is added gets what the log still holds of it; by
    default what came since the name was."""
    t = tables(engine)
    insert(engine, ("b", 1), ("a", 2))
    started(engine, "worker", t["a"])
    insert(engine, ("b", 3))
    expected = [("b", 1), ("b", 3)] if start == "beginning" else [("b", 3)]
    assert read(engine, "worker", t["a"], t["b"], count=len(expected), start=start) == expected


@pytest.mark.sample(4)
@pytest.mark.parametrize("reached", range(1, 6))
@pytest.mark.parametrize("second", ["a", "b", "ac"])
def test_within_a_window(engine, monkeypatch, reached, second):
    """A window that was begun with other entities is finished for those that are still read, and
    for each other one when it is read again: also where a batch has ended in the midst of a
    transaction."""
    monkeypatch.setattr(reader, "PAGE", 2)
    t = tables(engine)
    started(engine, "worker", t["a"], t["b"])
    with engine.connect() as one, engine.connect() as other:
        for connection, table, number in [
            (one, "a", 1),
            (other, "b", 2),
            (other, "a", 3),
            (one, "b", 4),
            (other, "b", 5),
            (one, "a", 6),
        ]:
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({number})")
        other.commit()
        one.commit()
    every = [("b", 2), ("a", 3), ("b", 5), ("a", 1), ("b", 4), ("a", 6)]
    first = read(engine, "worker", t["a"], t["b"], count=reached, batch_size=1)
    assert first == every[:reached]
    insert(engine, ("a", 7), ("b", 8), ("c", 9))
    new = [("a", 7), ("b", 8), ("c", 9)]
    wanted = [row for row in every[reached:] + new if row[0] in second]
    assert read(engine, "worker", *[t[name] for name in second], count=len(wanted)) == wanted
    # c was not known under the name until now
    left = [row for row in every[reached:] + new if row[0] not in second + "c"]
    assert sorted(read(engine, "worker", *t.values(), count=len(left))) == sorted(left)


numbers = itertools.count(1)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from(NAMES), st.integers(1, 3)),
        st.tuples(st.just("end"), st.integers(0, 2)),
        st.tuples(
            st.just("consume"),
            st.sets(st.sampled_from(NAMES), min_size=1),
            st.integers(1, 4),
            st.integers(1, 6),
        ),
        st.tuples(st.just("seek")),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_any_sets_in_any_order(engine, steps):
    """Whichever entities the versions read, wherever they stop, and whatever is committed
    meanwhile: at the end each change was processed once, and after a seek to now none of the
    earlier ones. The test compares lists of what was committed and what was consumed."""
    t = tables(engine)
    run(engine, "DELETE FROM sa_pgnotify_consumers")
    started(engine, "p", *t.values())
    open_rows: list[list[tuple[str, int]]] = [[], [], []]
    committed: list[tuple[str, int]] = []
    found: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(reader, "PAGE", 2)
        writers = [stack.enter_context(engine.connect()) for _ in open_rows]
        for step in [*steps, ("end", 0), ("end", 1), ("end", 2), ("consume", set(NAMES), 1, None)]:
            match step:
                case "write", writer, table, count:
                    for number in itertools.islice(numbers, count):
                        writers[writer].exec_driver_sql(f"INSERT INTO {table} VALUES ({number})")
                        open_rows[writer].append((table, number))
                case "end", writer:
                    writers[writer].commit()
                    committed += open_rows[writer]
                    open_rows[writer] = []
                case "consume", chosen, size, batches:
                    mark = (min(chosen), next(numbers))
                    insert(engine, mark)
                    committed.append(mark)
                    with Consumer(
                        engine, "p", *[t[name] for name in chosen], batch_size=size, heartbeat=60
                    ) as consumer:
                        for count, batch in enumerate(consumer, 1):
                            with batch:
                                found += [
                                    (change.table.name, change.identity[0]) for change in batch
                                ]
                            if (
                                count == batches
                                or mark in found
                                and set(committed)
                                <= set(found) | {r for r in committed if r[0] not in chosen}
                            ):
                                break
                case _:
                    Consumer(engine, "p", t["a"]).seek("now")
                    found = list(committed)
    assert sorted(found) == sorted(committed)


def test_an_entity_that_was_removed_holds_the_log_and_is_forgotten(engine):
    """The place of an entity that no version reads any more keeps its changes, is listed with how
    far it is behind, and is named where the log is held up; forget() frees it, by name, Table or
    class, and refuses what has no place."""
    t = tables(engine)
    started(engine, "worker", t["a"], t["b"])
    insert(engine, ("b", 1), ("a", 2), ("b", 3))
    assert read(engine, "worker", t["a"], count=1) == [("a", 2)]
    (status,) = consumers(engine)
    assert status.lag.events == 0
    assert {name: lag.events for name, lag in status.left_behind.items()} == {"public.b": 2}
    run(
        engine,
        "UPDATE sa_pgnotify_consumers SET moved_at = now() - interval '1 hour' WHERE relation <> ''",
    )
    state = prune(engine, t["a"].metadata)
    assert (state.hindmost, state.table) == ("worker", "public.b")
    assert "public.b has not been read under the name 'worker' for 36" in str(state)
    assert "forget(engine, metadata, 'worker', 'public.b')" in str(state)
    with pytest.raises(
        PgNotifyError,
        match=r"c has no place under the name 'worker', which knows public\.a, public\.b",
    ):
        forget(engine, t["a"].metadata, "worker", t["c"])
    assert forget(engine, t["a"].metadata, "worker", t["b"]) == 1
    assert consumers(engine)[0].left_behind == {}
    state = prune(engine, t["a"].metadata)
    assert (state.hindmost, state.table) == ("worker", None)
    insert(engine, ("b", 4))
    assert read(engine, "worker", t["a"], t["b"], count=1) == [("b", 4)]


def test_what_a_limit_took_of_an_entity_is_a_gap_when_it_is_read_again(engine):
    """A place that no version reads keeps the log only within the limits; beyond, the version that
    reads it again gets a Gap."""
    t = tables(engine)
    started(engine, "worker", t["a"], t["b"])
    insert(engine, ("b", 1), ("a", 2))
    assert read(engine, "worker", t["a"], count=1) == [("a", 2)]
    snapshot = "SELECT pg_current_snapshot()::text"
    # nothing runs, also in other databases
    wait_until(lambda: rows(engine, snapshot)[0][0].endswith(":"))
    run(engine, f"UPDATE sa_pgnotify_consumers SET last = ({snapshot}) WHERE relation = ''")
    run(
        engine,
        "UPDATE sa_pgnotify_log SET removed = (SELECT max(xid) FROM sa_pgnotify_log_0)",
        "TRUNCATE sa_pgnotify_log_0",
    )
    insert(engine, ("a", 3))
    assert read(engine, "worker", t["a"], count=1) == [("a", 3)]
    insert(engine, ("b", 4))
    assert read(engine, "worker", t["a"], t["b"], count=2) == ["lost_position", ("b", 4)]


def test_lag_and_seek_know_all_places(engine):
    """How far a version is behind counts the entities that wait for it; to seek moves those, too,
    and what no version reads just now."""
    t = tables(engine)
    started(engine, "worker", t["a"], t["b"])
    insert(engine, ("b", 1), ("a", 2))
    assert read(engine, "worker", t["a"], count=1) == [("a", 2)]
    assert Consumer(engine, "worker", t["a"]).lag().events == 0
    assert Consumer(engine, "worker", t["a"], t["b"]).lag().events == 1
    Consumer(engine, "worker", t["a"]).seek("now")
    assert Consumer(engine, "worker", t["a"], t["b"]).lag().events == 0
    Consumer(engine, "worker", t["a"]).seek("beginning")
    assert sorted(read(engine, "worker", t["a"], t["b"], count=2)) == [("a", 2), ("b", 1)]
