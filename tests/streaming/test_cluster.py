"""Relays and members are killed and stopped at random: each committed change is handled once; and a
member that is wrong is found out."""

from __future__ import annotations

import json

import pytest
from wrong_members import StoresFirstCheck, UnfencedCheck

from sa_pgnotify.testing import ClusterCheck


def check(url, nats, stream, kind=ClusterCheck, **options):
    name = f"{stream}C"  # the relay creates it

    def read():
        found = nats.messages(name) if nats.count(name) else []
        return [json.dumps(message.body).encode() for message in found]

    own = {"seconds": 4.0, "every": 10.0, "lease": 0.5, "batch_size": 100, **options}
    few = {"members": 2, "processes": 1, "writers": 2, "partitions": 4}  # they take long to start
    return kind(url, nats.url, name, read, **{**few, **own})


@pytest.mark.thorough
def test_members_are_killed_and_replaced(url, nats, stream):
    """Relays and members are killed, lose their sessions and wake as zombies: what the members have
    handled is what was committed, each change once, in order, in whole transactions."""
    report = check(url, nats, stream).run()
    report.raise_if_wrong()
    assert report.delivered["members"] > 20
    assert {"kill of a member", "zombie member"} & set(report.disturbances), report


@pytest.mark.thorough
@pytest.mark.parametrize("kind, found", [(UnfencedCheck, "doubled"), (StoresFirstCheck, "missing")])
def test_a_wrong_member_is_found_out(url, nats, stream, kind, found):
    """The check finds changes twice if a member commits without its epoch, and misses some if it
    stores its place before it handles them."""
    report = check(url, nats, stream, kind).run()
    assert getattr(report, found), report
