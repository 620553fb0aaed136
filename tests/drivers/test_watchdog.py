"""Blocks that take too long."""

from __future__ import annotations

import threading

from sa_pgnotify.drivers.watchdog import Watchdog


def ours() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "sa_pgnotify watchdog"]


def test_a_block_that_takes_too_long_is_interrupted():
    """A connection whose peer is silent is broken off, also if another block began before that may
    take longer."""
    watchdog, interrupted, never = Watchdog(), threading.Event(), threading.Event()
    with watchdog.watch(60.0, never.set), watchdog.watch(0.01, interrupted.set):
        assert interrupted.wait(10.0)
    assert not never.is_set()
    watchdog.close()


def test_a_block_that_ends_in_time_is_not_interrupted():
    """What comes after a block is not interrupted because of it, and one thread serves all blocks,
    which ends with the watchdog."""
    watchdog, late, interrupted = Watchdog(), threading.Event(), threading.Event()
    for _ in range(100):
        with watchdog.watch(0.05, late.set):
            assert len(ours()) == 1
    with watchdog.watch(0.2, interrupted.set):
        assert interrupted.wait(10.0)
    assert not late.is_set()
    watchdog.close()
    assert ours() == []


def test_its_thread_ends_by_itself():
    """A watchdog that nobody closes leaves no thread, and works again later."""
    watchdog = Watchdog()
    for _ in range(2):
        with watchdog.watch(0.02, lambda: None):
            (thread,) = ours()
        thread.join(10.0)
        assert not thread.is_alive()
