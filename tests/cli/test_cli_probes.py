"""Commands that other programs run: ``health`` for a probe, ``metrics`` for a collector, ``grants``
for a script, and ``--json``."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.request

import pytest
from commands import MODULE, refused
from kinds import address
from sqlalchemy import NullPool, create_engine, text
from statements import run
from waiting import wait_until

from sa_pgnotify import Consumer, Listener
from sa_pgnotify.diagnosis import Metrics, grants


def test_health(shop, engine):
    """It is ready while triggers fire and consumers keep up. A disabled trigger, a table that the
    models have and the database has not, and a consumer that is late are each named, with exit
    status 1; a server that does not answer is status 2."""
    shop.create(engine)
    assert shop.run("health", f"{MODULE}:Base", "--max-lag", "0").stdout == "ready\n"
    run(engine, "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_delete")
    for target in ([], [f"{MODULE}:Base"]):
        done = shop.run("health", *target)
        assert done.exit_code == 1
        assert done.stdout.count("\n") == 1
        assert "rigger sa_pgnotify_delete of orders is disabled" in done.stdout
    run(engine, "ALTER TABLE orders ENABLE TRIGGER sa_pgnotify_delete")
    with shop.models() as models, Consumer(engine, "billing", models.Payment):
        pass
    run(engine, "INSERT INTO payments VALUES (1)", "DROP TABLE customers")
    assert shop.run("health").stdout == "ready\n"
    done = shop.run("health", f"{MODULE}:Base", "--max-lag", "0", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["subject"], one["severity"]) for one in found] == [
        ("triggers", "problem"),
        ("consumers", "problem"),
    ]
    assert found[0]["text"] == "The table customers is missing."
    nobody = shop.run("health", DATABASE_URL=address(engine.url.set(port=1)))
    assert refused(nobody).startswith("cannot connect to ")


def test_json_of_check_and_doctor(shop, engine):
    """Each line is an object with the fields of ``Drift`` or ``Finding``, and nothing else is
    printed to stdout; the exit status is as without ``--json``."""
    shop.create(engine)
    assert shop.run("check", f"{MODULE}:Base", "--json").stdout == ""
    run(engine, "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_delete")
    done = shop.run("check", f"{MODULE}:Base", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "kind": "disabled",
        "table": "orders",
        "object": "trigger sa_pgnotify_delete",
        "fix": "ALTER TABLE orders ENABLE TRIGGER sa_pgnotify_delete.",
    }
    done = shop.run("doctor", "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [one["subject"] for one in findings if one["severity"] == "problem"] == ["triggers"]


def test_metrics(shop, engine, monkeypatch):
    """Consumers and logs have their figures, in the text of Prometheus; and those of a listener are
    served while ``watch`` runs."""
    shop.create(engine)
    with shop.models() as models, Consumer(engine, "billing", models.Payment):
        pass
    run(engine, "INSERT INTO payments VALUES (1), (2)")
    shown = shop.run("metrics").stdout
    labels = '{consumer="billing",log="public.sa_pgnotify_log",part="0",parts="1"}'
    assert f"\nsa_pgnotify_consumer_behind{labels} 2.0\n" in shown
    assert '\nsa_pgnotify_log_bytes{log="public.sa_pgnotify_log"} ' in shown
    with shop.models() as models, Listener(engine, models.Order) as listener:
        names = {metric.name for metric in Metrics(None, listener).collect()}
    assert {"sa_pgnotify_listener_connected", "sa_pgnotify_listener_gaps"} <= names
    assert "is not [HOST]:PORT" in refused(shop.run("metrics", "--serve", "here"))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    missing = refused(shop.run("metrics"))
    assert missing == "metrics need the extra metrics. pip install 'sa_pgnotify[metrics]'"


def test_metrics_served_while_watching(shop, engine):
    """``watch --serve`` answers scrapes until it ends, with the events that it has received."""
    shop.create(engine)
    with shop.program("watch", f"{MODULE}:Order", "--serve", "127.0.0.1:0") as program:
        wait_until(lambda: any("Ctrl-C ends it" in line for line in program.errors))
        run(engine, "INSERT INTO orders VALUES (1, 'new', 5)")
        assert "Order(1)" in program.line()
        port = re.search(r"serving metrics at port (\d+)", "".join(program.errors))[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        assert 'sa_pgnotify_listener_received_total{listener="0"} 1.0' in lines
        program.send(signal.SIGTERM)
        code, _, errors = program.end()
    assert (code, "Traceback" in errors) == (0, False)


def statements(engine, role, purpose):
    with engine.connect() as connection:
        return [sql for part in grants(connection, role, [purpose]) for sql in part.statements]


def test_grants_are_enough(shop, engine, url, stranger):
    """With the statements for listening a role can listen to durable entities, and not consume;
    with those for consuming it can consume and park; both start from no right at all."""
    run(engine, "CREATE SCHEMA shut", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    shop.create(engine)
    poor = create_engine(url.set(username=stranger), poolclass=NullPool)
    with shop.models() as models:
        with pytest.raises(Exception, match="permission denied|does not exist|cannot be delivered"):
            Listener(poor, models.Payment).start()
        run(engine, *statements(engine, stranger, "listen"))
        with Listener(poor, models.Payment, models.Order) as listener:
            run(engine, "INSERT INTO payments VALUES (1)")
            assert listener.get(10).identity == (1,)
        with pytest.raises(Exception, match="permission denied"):
            Consumer(poor, "billing", models.Payment).start()
        run(engine, *statements(engine, stranger, "consume"))
        consumer = Consumer(poor, "billing", models.Payment, on_error=lambda *_: "park")
        with consumer:
            run(engine, "INSERT INTO payments VALUES (2), (3)")
            seen = []
            for batch in consumer:
                with batch:
                    for change in batch:
                        if change.identity == (2,):
                            raise LookupError
                        seen.append(change.identity[0])
                if 3 in seen:
                    break
            assert [parked.row for parked in consumer.parked()] == ["2"]
        run(engine, *statements(engine, stranger, "write"))
        with poor.begin() as connection:
            connection.execute(text("UPDATE orders SET status = 'x'"))


def test_grants_as_a_script(shop, engine):
    """The command prints SQL with a reason above each part, only for the tables of TARGET, and
    refuses a purpose that it does not know."""
    shop.create(engine)
    done = shop.run("grants", "web user", f"{MODULE}:Order", "--to", "listen")
    assert done.stdout == '-- To listen.\nGRANT USAGE ON SCHEMA public TO "web user";\n'
    assert "--to fly is none of listen, consume, write" in refused(
        shop.run("grants", "web", "--to", "fly")
    )
