"""Fixtures of the change log's tests."""

import pytest

from sa_pgnotify.log import retention
from sa_pgnotify.triggers.templates import v1_log


@pytest.fixture
def small_slots(monkeypatch):
    """Slots of four rows, so that sixteen changes fill them all."""
    monkeypatch.setattr(v1_log, "SLOT_BITS", 2)
    monkeypatch.setattr(retention, "SLOT_BITS", 2)
