"""Delivery of what is durable, while everything around it fails: consumers, listeners, connections
and the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kinds import driver_url
from proxy import Proxy
from servers import Server, data_folder
from sqlalchemy import inspect
from statements import rows

import sa_pgnotify.log.tail
from sa_pgnotify.log.reader import LogReader, LogRow
from sa_pgnotify.log.snapshots import Snapshot
from sa_pgnotify.protocol.wire import RS
from sa_pgnotify.testing import DeliveryCheck, Report, Seen, Written

SECONDS = 3.0


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own, to crash, which takes prepared transactions."""
    with data_folder() as data, Server(data) as server:
        with server.engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET max_prepared_transactions = 20")
        server.down("fast")
        server.up()
        yield server


def passed(check: DeliveryCheck, *made: str) -> Report:
    """Return the report, which must be right, and must cover enough to mean something."""
    report = check.run()
    report.raise_if_wrong()
    assert report.transactions > 20
    assert set(made) <= set(report.disturbances), report
    return report


@pytest.mark.sample(2)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_sessions_are_ended(url, driver):
    """A consumer whose sessions are ended anywhere, whose handler fails, and a listener beside it,
    miss and double nothing."""
    passed(
        DeliveryCheck(driver_url(url, driver), seconds=SECONDS, listeners=1, every=0.05),
        "terminate",
    )


@pytest.mark.thorough
def test_connections_are_cut(url, proxy):
    """Whatever was under way on a connection that is cut, an answer to COMMIT too, is known when
    the next one is made."""
    check = DeliveryCheck(
        url,
        proxy.url,
        seconds=SECONDS,
        listeners=1,
        terminate=False,
        every=0.1,
        disturbances={"cut": proxy.cut},
    )
    passed(check, "cut")


def test_listeners_alone(url, proxy):
    """Two listeners, disturbed in both ways, need no Gap, and no consumer that would keep the log
    for them."""
    check = DeliveryCheck(
        url,
        proxy.url,
        seconds=SECONDS,
        names=(),
        listeners=2,
        every=0.15,
        disturbances={"cut": proxy.cut},
    )
    passed(check, "cut", "terminate")


@pytest.mark.thorough
def test_processes_are_killed(url):
    """Of two processes under one name, one works; killed anywhere, it has done its work once, and
    the other takes over."""
    passed(
        DeliveryCheck(url, seconds=2 * SECONDS, threads=0, processes=2, terminate=False, every=1.0),
        "kill",
    )


@pytest.mark.thorough
def test_two_names_each_get_all(url):
    """Names do not share a position: each gets all, whatever befalls the other, and so it is if
    most transactions are longer than a batch."""
    passed(
        DeliveryCheck(
            url, seconds=SECONDS, names=("one", "two"), writers=3, batch_size=3, threads=2
        ),
        "terminate",
    )


@pytest.mark.thorough
def test_a_name_in_two_parts(url):
    """Each change reaches one of the parts, in the order of its row."""
    passed(DeliveryCheck(url, seconds=SECONDS, parts=2), "terminate")


def test_the_server_crashes(server):
    """What a crash took away was not delivered, what it left is, by consumers and listeners, and so
    is what was prepared before."""

    def crash() -> None:
        server.down("immediate")
        server.up()

    with Proxy(server.url) as proxy:
        check = DeliveryCheck(
            server.url,
            proxy.url,
            seconds=2 * SECONDS,
            processes=1,
            listeners=1,
            disturbances={"crash": crash, "cut": proxy.cut},
        )
        passed(check, "crash")


def test_captures_are_killed(server):
    """Tables that are captured from the write-ahead log, by one of two processes: these are killed, as
    a consumer's is, sessions are ended and the server crashes. Each change comes once, in whole
    transactions, also into a copy that begins with a snapshot."""

    def crash() -> None:
        server.down("immediate")
        server.up()

    check = DeliveryCheck(
        server.url,
        seconds=2 * SECONDS,
        processes=1,
        listeners=1,
        copies=1,
        captures=2,
        disturbances={"crash": crash},
    )
    passed(check, "crash", "kill", "terminate")


@pytest.mark.parametrize("captures", [0, 1])
def test_nothing_is_left(engine, captures):
    """A check leaves neither table nor slot behind in a database that it was run on."""
    DeliveryCheck(engine.url, seconds=0.2, captures=captures).run()
    assert "sa_pgnotify_delivery" not in inspect(engine).get_schema_names()
    for left in ("pg_publication", "pg_replication_slots WHERE database = current_database()"):
        assert rows(engine, f"SELECT 1 FROM {left}") == []


# -- readers that are wrong ------------------------------------------------------------------------


class NumberReader(LogReader):
    """Reads what has a greater number than the last one, as most that are written by hand do."""

    condition, order = "id > {at.row_id}", "id"

    def read(self, execute: Any, beside: str = "NULL") -> list[LogRow]:
        wanted = (
            f"{self.condition.format(at=self.position)} AND {self.position.within(ordered=False)}"
        )
        found = execute(
            f"SELECT id, xid, pid, relation, header, rows FROM {self._log} AS l WHERE {wanted} ORDER BY {self.order} LIMIT 1000"
        )
        ((snapshot,),) = execute("SELECT pg_current_snapshot()::text")
        self.snapshot = Snapshot.parse(snapshot)
        rows = []
        for number, xid, pid, relation, header, text in found:
            start = self.position
            self.position = replace(start, tx_end=xid, row_id=number, row_part=text.count(RS) + 1)
            rows.append(
                LogRow(number, number, xid, pid, relation, header, text, 0, start, self.position)
            )
        return rows


class HorizonReader(NumberReader):
    """Waits until nothing older can commit, and then reads in the order of transaction ids."""

    condition = "xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND (xid, id) > ({at.tx_end}, {at.row_id})"
    order = "xid, id"


@pytest.fixture
def wrong(url) -> DeliveryCheck:
    """A check without disturbances: what is wrong with a reader shows by itself."""
    return DeliveryCheck(url, seconds=2 * SECONDS, terminate=False, longest=1.0, batch_size=1000)


@pytest.mark.thorough
def test_a_reader_that_goes_by_numbers_is_found_out(monkeypatch, wrong):
    """What commits late, behind greater numbers, is missed by it, and the check says so: else it
    would prove nothing."""
    monkeypatch.setattr(sa_pgnotify.log.tail, "LogReader", NumberReader)
    report = wrong.run()
    assert report.missing
    assert not report.made_up
    with pytest.raises(
        AssertionError, match=rf"missing: {len(report.missing)}\n  consumer: Written"
    ):
        report.raise_if_wrong()


@pytest.mark.thorough
def test_a_reader_that_goes_by_transactions_is_found_out(monkeypatch, wrong):
    """The reader misses nothing, but delivers an older transaction's late change of a row before a
    newer transaction's change: the check reports it."""
    monkeypatch.setattr(sa_pgnotify.log.tail, "LogReader", HorizonReader)
    report = wrong.run()
    assert not report.missing
    assert report.out_of_order


# -- the comparison --------------------------------------------------------------------------------

ONE, TWO, THREE = Written(7, "I", 1, "a"), Written(7, "U", 1, "b"), Written(8, "D", 1, "b")


def seen(*changes: Written) -> list[Seen]:
    return [Seen(change) for change in changes]


@pytest.mark.parametrize(
    ("stream", "findings"),
    [
        (seen(ONE, TWO, THREE), []),
        (seen(ONE, THREE), ["missing"]),
        (seen(ONE, TWO, THREE, THREE), ["doubled"]),
        (seen(ONE, TWO, THREE, Written(9, "I", 2, "c")), ["made_up"]),
        (seen(THREE, ONE, TWO), ["out_of_order"]),
        (seen(ONE, THREE, TWO), ["out_of_order", "torn"]),
        ([Seen(ONE, True, False), Seen(TWO, False, True), Seen(THREE, True, True)], []),
        ([Seen(ONE, True, False), Seen(TWO, True, True), Seen(THREE, True, True)], ["torn"]),
        ([Seen(ONE, True, False), Seen(TWO, False, False), Seen(THREE, True, True)], ["torn"]),
    ],
)
def test_each_fault_is_reported_by_its_name(stream, findings):
    """A report names what is wrong, and nothing else."""
    report = Report.of([ONE, TWO, THREE], {"consumer": [stream]})
    kinds = ("missing", "doubled", "made_up", "out_of_order", "torn", "gaps")
    assert [kind for kind in kinds if getattr(report, kind)] == findings
    assert report.is_right == (not findings)


def test_a_gap_is_a_fault():
    """A Gap where nothing is missing is wrong as well, because it makes a program read everything
    again."""
    assert not Report.of([ONE], {"consumer": [seen(ONE)]}, gaps=["listener 1: Gap"]).is_right
