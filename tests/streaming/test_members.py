"""Members of a stream consumer divide the work, come and go, and each change is handled once."""

from __future__ import annotations

import signal

from streams import done, record
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


def test_a_killed_member_is_replaced(published, member, program, engine):
    """Of a member that is killed within a batch nothing remains, and the others do its work."""
    published.transaction(range(20))
    first = program()
    first.wait_within()
    first.signal(signal.SIGKILL)
    member()
    wait_until(lambda: done(engine) == published.rows)


def zombie(published, member, program, engine, wrong=""):
    """Let a member sleep within a batch while another one does its work, and wake then."""
    published.transaction(range(20))
    first = program(wrong)
    first.wait_within()
    first.signal(signal.SIGSTOP)
    second = member()
    wait_until(lambda: done(engine) == published.rows)
    first.go_on()
    first.signal(signal.SIGCONT)
    return first, second


def test_a_zombie_cannot_commit(published, member, program, engine):
    """A member that wakes after another one has taken its partitions over rolls back, and goes on as
    one of two."""
    first, second = zombie(published, member, program, engine)
    first.read("another member has taken a partition over")
    wait_until(lambda: second.parts == 8)
    published.transaction(range(40))
    wait_until(lambda: done(engine) == published.rows)


def test_a_zombie_without_epochs_is_found_out(published, member, program, engine):
    """Members that do not compare epochs handle the zombie's changes twice."""
    zombie(published, member, program, engine, "unfenced")
    wait_until(lambda: all(len(found) == 2 for found in list(done(engine).values())[:10]))


def test_a_member_that_stores_its_place_first_is_found_out(published, member, program, engine):
    """If a place were committed before the handler has ended, its changes would be lost."""
    published.transaction(range(20))
    first = program("stores_first")
    first.wait_within()
    first.signal(signal.SIGKILL)
    member()
    published.transaction([99])
    wait_until(lambda: 99 in done(engine))
    assert list(done(engine)) == [99]


def test_a_transaction_is_not_divided(published, member, engine):
    """The changes of a transaction come in one batch, as far as they belong to the member, even if
    that has more changes than a batch should."""
    published.transaction(range(50))
    published.transaction(range(50, 53))
    sizes = []

    def count(session, change):
        sizes.append(id(session))
        record(session, change)

    member(count, batch_size=10)
    wait_until(lambda: done(engine) == published.rows)
    assert [sizes.count(one) for one in dict.fromkeys(sizes)][0] >= 50
