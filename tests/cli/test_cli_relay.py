"""``relay`` publishes as a service does: it says how it gets on, and ends in order."""

from __future__ import annotations

import json
import signal

import pytest
from brokers import nats_server
from commands import MODULE
from statements import run
from waiting import wait_until

ARGUMENTS = ("relay", f"{MODULE}:Base", "--stream", "SHOP", "--start", "beginning")


@pytest.fixture(scope="module")
def nats():
    with nats_server() as server:
        yield server


def test_it_publishes_until_sigterm(shop, engine, nats):
    """Durable entities of TARGET are published; with --json each line is an object, some of them with
    the progress; SIGTERM ends it with status 0, and nothing is published twice by the next one."""
    shop.create(engine)
    run(engine, "INSERT INTO payments VALUES (1), (2)")
    arguments = [*ARGUMENTS, "--to", nats.url, "--every", "0.1", "--json"]
    with shop.program(*arguments) as program:
        wait_until(lambda: nats.count("SHOP") == 2)
        lines = []
        while not any(line.get("published") == 2 for line in lines):
            lines.append(json.loads(program.line()))
        assert all({"at", "level", "message"} <= line.keys() for line in lines)
        assert "working" in " ".join(line["message"] for line in lines)
        (progress, *_) = [line for line in lines if line.get("published") == 2]
        assert progress["behind"] == 0 and progress["rate"] >= 0
        program.send(signal.SIGTERM)
        code, rest, complaints = program.end()
        assert code == 0 and "Traceback" not in complaints, complaints
        assert "stopped, 2 messages published" in rest[-1]
    run(engine, "INSERT INTO payments VALUES (3)")
    with shop.program(*ARGUMENTS, "--to", nats.url, "--every", "0.1") as program:
        wait_until(lambda: nats.count("SHOP") == 3)
        program.send(signal.SIGINT)
        code, _, complaints = program.end()
        assert code == 0, complaints
        assert "1 messages published" in complaints
    assert [m.subject for m in nats.messages("SHOP")] == [f"shop.payments.{i}" for i in (1, 2, 3)]


def test_what_cannot_work_is_one_line(shop, engine, nats):
    """A broker that is not there, a URL of no broker, and models that are not durable end it with
    status 2 and one line."""
    shop.create(engine)
    for to, target, said in (
        ("nats://ann:secret@127.0.0.1:1", "Base", "NATS cannot be reached"),
        ("carrier://pigeon", "Base", "is not a broker"),
        (nats.url, "Order", "no entity"),
    ):
        shown = shop.run("relay", f"{MODULE}:{target}", "--to", to, "--stream", "SHOP")
        assert shown.exit_code == 2 and said in shown.output, shown.output
        assert "secret" not in shown.output and "Traceback" not in shown.output
