"""A relay publishes each committed change once, whatever is killed, and whenever; and a relay that is
wrong is found out."""

from __future__ import annotations

import json

import pytest
from wrong_relays import SkipsByNumberCheck, StoresFirstCheck

from sa_pgnotify.testing import ClusterCheck


def check(url, nats, stream, kind=ClusterCheck, **options):
    def read():
        return (
            [json.dumps(m.body).encode() for m in nats.messages(stream)]
            if nats.count(stream)
            else []
        )

    return kind(url, nats.url, stream, read, **{"seconds": 5.0, **options})


def test_relays_are_killed_and_replaced(url, nats, stream):
    """Two relays under one name are killed, lose their sessions, and wake as zombies: the stream has
    each change once, in order, in whole transactions."""
    report = check(url, nats, stream).run()
    print(report)
    report.raise_if_wrong()
    assert report.transactions > 20
    assert {"kill", "zombie"} <= set(report.disturbances), report


@pytest.mark.thorough
def test_a_relay_that_stores_its_position_first_is_found_out(url, nats, stream):
    """The check misses changes if a relay stores its position before it publishes."""
    report = check(url, nats, stream, StoresFirstCheck, every=0.2).run()
    print(report)
    assert report.missing


@pytest.mark.thorough
def test_a_relay_that_publishes_a_window_in_another_order_is_found_out(url, nats, stream):
    """The check misses and doubles changes if a relay goes on by number in a window that it has read
    anew, because the changes of that window come in another order then."""
    report = check(
        url, nats, stream, SkipsByNumberCheck, every=0.2, batch_size=5, zombies=False
    ).run()
    print(report)
    assert report.missing and report.doubled
