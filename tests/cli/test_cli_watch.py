"""``watch`` tells changes to people and to pipes, and ends at once however it is ended."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from commands import MODULE, START
from programs import hear_ctrl_c
from sqlalchemy import MetaData, Table
from statements import run

from sa_pgnotify import NotifySpec, notify_on_change

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sa-pgnotify watch'"


def watching(program) -> None:
    """Wait until it listens, which it says beside its output."""
    deadline = time.monotonic() + 20
    while not any("Ctrl-C ends it" in line for line in program.errors):
        assert time.monotonic() < deadline and program.process.poll() is None, program.errors
        time.sleep(0.02)


def ended(program, number=signal.SIGINT) -> str:
    """End it by a signal; what it says at the end."""
    began = time.monotonic()
    program.send(number)
    code, rest, complaints = program.end()
    assert time.monotonic() - began < 3
    assert code == 0, complaints
    assert rest == []
    assert "Traceback" not in complaints
    assert "Warning" not in complaints
    return complaints.splitlines()[-1]


def test_lines_for_people(shop, engine):
    """Each kind of event is one line, without colours in a pipe: operation, entity, identity, what
    changed from what to what; values that do not travel are not shown. A cut connection is a Gap.
    Ctrl-C ends it, and it sums up."""
    shop.create(engine)
    with shop.program("watch", f"{MODULE}:Base") as program:
        watching(program)
        run(engine, "INSERT INTO orders VALUES (1, E'a \\x1b[31m', 1.50), (2, 'b', 2)")
        run(
            engine,
            "UPDATE orders SET status = 'paid' WHERE id = 1",
            "UPDATE orders SET id = 3 WHERE id = 2",
        )
        run(
            engine,
            "INSERT INTO customers VALUES (1, 'secret')",
            "UPDATE customers SET name = 'other'",
        )
        run(
            engine,
            "INSERT INTO payments VALUES (7)",
            "DELETE FROM orders WHERE id = 3",
            "TRUNCATE orders",
        )
        lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", program.line()) for _ in range(9)]
        # the log is another way, with another time
        ephemeral = [line for line in lines if "Payment" not in line]
        assert ephemeral == [
            "Inserted  Order(1)  status='a \\x1b[31m'  total=1.50",
            "Inserted  Order(2)  status='b'  total=2",
            "Updated   Order(1)  status='a \\x1b[31m' -> 'paid'",
            "Updated   Order(3)  was (2)",
            "Inserted  Customer(1)",
            "Updated   Customer(1)  name",
            "Deleted   Order(3)  status='b'  total=2",
            "Truncated Order",
        ]
        assert "Inserted  Payment(7)" in lines
        run(engine, CUT)
        assert "Gap       reconnected: events since" in program.wait_for("Gap")
        run(engine, "DELETE FROM customers")
        program.wait_for(r"Deleted   Customer\(1\)")
        summary = ended(program)
        for part in ("4 inserted", "3 updated", "2 deleted", "1 truncated", "1 gap"):
            assert part in summary
        assert any(line.startswith("warning: ") for line in program.errors)


TYPES = {
    "numeric": ("1.50", "1.50"), "timestamptz": ("2026-01-02 03:04:05.6+00", "2026-01-02T03:04:05.600000+00:00"),
    "date": ("2026-01-02", "2026-01-02"), "time": ("03:04", "03:04:00"), "bytea": ("\\x6869", "\\x6869"), "float8": ("NaN", "NaN"),
    "int": ("7", 7), "bool": ("t", True), "jsonb": ('{"a": [1, null]}', {"a": [1, None]}), "interval": ("1 day 0.5 s", 86400.5),
    "text[]": ("{a,NULL}", ["a", None]), "int4range": ("[1,5)", {"lower": 1, "upper": 5, "bounds": "[)"}), "text": ("ü\u2028", "ü\u2028"), "inet": ("10.0.0.1", "10.0.0.1"),
    "uuid": ("6f2d9cbc-6b0f-4a3c-9c9e-4a1f0e3b7c11", "6f2d9cbc-6b0f-4a3c-9c9e-4a1f0e3b7c11"),
}  # fmt: skip


def test_json_of_what_the_database_has(shop, engine):
    """Without TARGET it watches what is installed, whatever the models were, by table; each event
    is one object on one line, a Gap too, and every type is written as documented. A table whose
    triggers are disabled is left out, and named."""
    shop.create(engine)
    columns = ", ".join(f'"{name}" {name}' for name in TYPES)
    run(
        engine,
        "CREATE SCHEMA other",
        f"CREATE TABLE other.kinds (id int, k int, {columns}, PRIMARY KEY (id, k))",
    )
    kinds = Table("kinds", MetaData(), schema="other", autoload_with=engine)
    notify_on_change(kinds, NotifySpec(values="all")).metadata.create_all(engine)
    run(engine, "ALTER TABLE customers DISABLE TRIGGER ALL")
    with shop.program("watch", "--json") as program:
        watching(program)
        values = ", ".join("'" + given.replace("'", "''") + "'" for given, _ in TYPES.values())
        run(
            engine,
            "INSERT INTO customers VALUES (1, 'unheard')",
            f"INSERT INTO other.kinds VALUES (1, 2, {values})",
        )
        inserted = json.loads(program.line())
        assert inserted["new"] == {
            "id": 1,
            "k": 2,
            **{name: shown for name, (_, shown) in TYPES.items()},
        }
        assert {name: inserted[name] for name in ("event", "entity", "table", "identity", "context")} == {
            "event": "inserted", "entity": "other.kinds", "table": "other.kinds", "identity": [1, 2], "context": {},
        }  # fmt: skip
        run(engine, "UPDATE other.kinds SET id = 5, int = 8")
        updated = json.loads(program.line())
        assert updated["changed"] == ["id", "int"]
        assert updated["previous_identity"] == [1, 2]
        assert (updated["old"]["int"], updated["new"]["int"]) == (7, 8)
        run(engine, "TRUNCATE other.kinds")
        assert json.loads(program.line())["event"] == "truncated"
        run(engine, CUT)
        gap = json.loads(program.line())
        assert (gap["event"], gap["reason"]) == ("gap", "reconnected")
        assert ended(program, signal.SIGTERM).startswith(
            "1 inserted, 1 updated, 1 truncated, 1 gap in"
        )
        complaints = "".join(program.errors)
        assert (
            "customers: sa_pgnotify_insert, sa_pgnotify_update, sa_pgnotify_delete, sa_pgnotify_truncate does not fire"
            in complaints
        )
        assert "outdated" not in complaints


def test_entity_chooses(shop, engine):
    """--entity leaves out the others."""
    shop.create(engine)
    with shop.program("watch", f"{MODULE}:Base", "--entity", "Customer") as program:
        watching(program)
        run(
            engine, "INSERT INTO orders VALUES (1, 'a', 1)", "INSERT INTO customers VALUES (1, 'a')"
        )
        assert "Customer(1)" in program.line()
        assert ended(program).startswith("1 inserted in")


def test_ctrl_c_while_it_connects():
    """It ends at once also while a server takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"postgresql://127.0.0.1:{mute.getsockname()[1]}/shop"
        command = [sys.executable, "-c", START, "watch", "--url", address]
        with (
            subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c) as program,
            mute.accept()[0],
        ):
            began = time.monotonic()
            program.send_signal(signal.SIGINT)
            assert program.wait(20) == 130
            assert time.monotonic() - began < 3
            assert b"Traceback" not in program.stderr.read()


@pytest.mark.parametrize("silent", [True, False])
def test_end_of_the_pipe_ends_it_quietly(shop, engine, silent):
    """As in ``watch | head``: when nobody reads any more it ends, at once also if no event comes,
    without a complaint."""
    shop.create(engine)
    command = [sys.executable, "-X", "dev", "-c", START, "watch", "--json"]
    with subprocess.Popen(
        command, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert "Ctrl-C" in program.stderr.readline()
        if not silent:
            program.send_signal(signal.SIGSTOP)
            run(engine, "INSERT INTO orders SELECT i, 'a', 1 FROM generate_series(1, 10000) AS i")
        program.stdout.close()
        program.send_signal(signal.SIGCONT)
        try:
            assert program.wait(5) == 0
        finally:
            program.kill()  # which does nothing to one that has ended
        complaints = program.stderr.read()
        assert "events in" in complaints or "inserted in" in complaints or complaints == ""
