"""Copies that begin with a snapshot, while the table is written to and the consumers are disturbed."""

from __future__ import annotations

import pytest
from small_pages import SnapshotCheck

from sa_pgnotify.scanning import entity_rows
from sa_pgnotify.testing import DeliveryCheck, Report


@pytest.fixture(autouse=True)
def page_rows(monkeypatch):
    """As before, whatever a check has set in this process."""
    monkeypatch.setattr(entity_rows, "PAGE_ROWS", entity_rows.PAGE_ROWS)


def check(url, **options) -> SnapshotCheck:
    """A check of copies alone."""
    return SnapshotCheck(
        url, **{"names": (), "seconds": 5.0, "copies": 2, "longest": 0.5, **options}
    )


def passed(report: Report) -> None:
    report.raise_if_wrong()
    assert report.copied > 500


@pytest.mark.thorough
def test_sessions_are_ended(url):
    """Each copy is in the end what the table is, and each change fits what was there before it."""
    passed(check(url, every=0.2, batch_size=40).run())


@pytest.mark.thorough
def test_processes_are_killed(url):
    """The place of a snapshot is committed with the work, so a process that dies anywhere takes
    nothing with it, and the next one goes on."""
    passed(check(url, processes=1, terminate=False, every=1.0, batch_size=40, seconds=8.0).run())


@pytest.mark.thorough
def test_whole_pages(url):
    """With the pages that a program has."""
    passed(DeliveryCheck(url, names=(), seconds=3.0, copies=1, longest=0.5, every=0.5).run())
