"""Members of a stream consumer divide the work, come and go, and each change is handled once."""

from __future__ import annotations

from streams import done
from waiting import wait_until


def test_changes_are_handled_once(published, member, engine):
    """Each change of the stream is handled once, in the order of its row, over a restart as well."""
    for _ in range(3):
        published.transaction(range(20))
    first = member()
    wait_until(lambda: done(engine) == published.rows)
    first.stop()
    published.transaction(range(10))
    member()
    wait_until(lambda: done(engine) == published.rows)


def test_members_join_and_leave(published, member, engine):
    """A new member gets its share of the partitions, and gives it back when it leaves."""
    first = member()
    wait_until(lambda: first.parts == 16)
    second = member()
    wait_until(lambda: (first.parts, second.parts) == (8, 8))
    third = member()
    wait_until(lambda: sorted((first.parts, second.parts, third.parts)) == [5, 5, 6])
    published.transaction(range(200))
    wait_until(lambda: done(engine) == published.rows)
    first.stop()
    wait_until(lambda: (second.parts, third.parts) == (8, 8))
    published.transaction(range(200))
    wait_until(lambda: done(engine) == published.rows)
    assert not second.has_been("batch failed") and not third.has_been("batch failed")
