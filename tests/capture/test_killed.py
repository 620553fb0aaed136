"""Captures that are killed while programs write."""

from __future__ import annotations

import pytest
from durables import model_of
from killing import kill_captures

from sa_pgnotify import Capture


@pytest.mark.thorough
def test_killed_captures_lose_and_double_nothing(engine):
    """Of two capture processes one is killed again and again: the log has each committed change once,
    and in the order of the commits."""
    Item = model_of(engine, capture="wal")
    Capture(engine, Item.metadata).create_slot()
    outcome = kill_captures(engine, seconds=8, every=1.5)
    assert outcome.wrong == []
    assert outcome.killed >= 3
    assert outcome.committed > 50
