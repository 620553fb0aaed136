"""Copies that begin with a snapshot, while the table is written to and the consumers are disturbed."""

from __future__ import annotations

import pytest
from small_pages import SnapshotCheck

from sa_pgnotify.consuming import scanner
from sa_pgnotify.scanning import entity_rows, started
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


def test_sessions_are_ended(url):
    """Each copy is in the end what the table is, and each change fits what was there before it."""
    passed(check(url, every=0.2, batch_size=40).run())


def test_processes_are_killed(url):
    """The place of a snapshot is committed with the work, so a process that dies anywhere takes
    nothing with it, and the next one goes on."""
    passed(check(url, processes=1, terminate=False, every=1.0, batch_size=40, seconds=8.0).run())


def test_whole_pages(url):
    """With the pages that a program has."""
    passed(DeliveryCheck(url, names=(), seconds=3.0, copies=1, longest=0.5, every=0.5).run())


def read_committed(monkeypatch):
    """A reader whose rows are of another snapshot than its changes."""
    by = scanner.Seen.by

    def anew(connection):
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        return by(connection)

    monkeypatch.setattr(scanner.Seen, "by", anew)


def moved_rows_as_they_are(monkeypatch):
    """A reader that takes the update of a key for the update of a row that was read."""
    monkeypatch.setattr(started, "left", lambda change: change)
    monkeypatch.setattr(started, "entered", lambda change: change)


def every_change(monkeypatch):
    """A reader that delivers the changes of rows that it has not read."""
    monkeypatch.setattr(scanner, "only_started", lambda execute, order, place, events: list(events))


@pytest.mark.parametrize("wrong", [read_committed, moved_rows_as_they_are, every_change])
def test_a_wrong_reader_is_found(url, monkeypatch, wrong):
    """The check fails where the rules are broken, or it would say nothing."""
    wrong(monkeypatch)
    report = check(url, seconds=6.0, batch_size=3, every=3.0, patience=1.0).run()
    assert report.misfits
