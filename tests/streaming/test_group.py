"""The division of partitions among members, whatever comes in whichever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_pgnotify import UnreadableData
from sa_pgnotify.streaming.group import Group, partition_of

NAMES = ("ann", "bob", "cem", "dee")
STEPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["beat", "beat while busy", "leave", "fall silent"])),
    max_size=30,
)  # fmt: skip


def after(group, name, what):
    """The group after a step of a member, as :class:`Membership` makes it."""
    if what == "beat":
        return group.beaten(name).shared(name)
    if what == "beat while busy":
        return group.beaten(name).shared()
    return group.without({name}).shared()


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 9))
def test_partitions_are_divided(steps, partitions):
    """Nobody loses a partition but by giving it away, leaving, or falling silent; each change of owner
    has a new epoch; no partition stays free while there are members; and once all have had a
    heartbeat, their shares differ by one at most."""
    group = Group.of(partitions)
    for name, what in steps:
        before, group = group, after(group, name, what)
        assert Group.parse(group.to_json()) == group
        for old, new in zip(before.leases, group.leases):
            assert new.epoch >= old.epoch
            if new.owner != old.owner and new.owner:
                assert new.epoch > old.epoch
            if new.owner != old.owner and old.owner:
                assert old.owner == name and what != "beat while busy"
        assert all(lease.owner in group.beats for lease in group.leases) or not group.beats
    for _ in range(2):
        for name in group.beats:
            group = after(group, name, "beat")
    shares = [len(group.held_by(name)) for name in group.beats]
    assert not shares or (max(shares) - min(shares) <= 1 and sum(shares) == partitions)


def test_an_epoch_is_raised_above_the_database():
    """If the document was lost, its epochs begin anew, and must get above what a database knows."""
    group = Group.of(2).beaten("ann").shared().raised(1, 7)
    assert group.held_by("ann") == {0: 1, 1: 8}


def test_another_document_is_refused():
    """What is not a group, or of a newer version, is refused."""
    texts = (
        b"",
        b"[]",
        b"[2, [], {}]",
        b'[1, [["ann"]], {}]',
        b"[1, [], []]",
        b"\xff",
        b"[" * 9000,
    )
    for text in (*texts, b'[1, [["ann", 1e999]], {}]', b'[1, [["ann", 9223372036854775807]], {}]'):
        with pytest.raises(UnreadableData):
            Group.parse(text)


def test_the_partition_of_a_subject_stays():
    """It is stored by number in the handler's database, so it must be the same for ever."""
    assert [partition_of(f"shop.orders.{i}", 16) for i in range(6)] == [3, 5, 15, 9, 10, 12]
