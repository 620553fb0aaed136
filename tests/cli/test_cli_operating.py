"""Commands that operate consumers by their names, and say how far they are behind."""

from __future__ import annotations

import json

from commands import refused
from consumers import Running, until
from statements import run

from sa_pgnotify import Consumer, Position, consumers


def test_consumers_that_are_late(shop, engine):
    """``--max-lag`` and ``--max-age`` make the exit status 1 and name the consumer; what is below a
    limit leaves it 0. ``--json`` has the figures of the Python API."""
    shop.create(engine)
    with shop.models() as models, Consumer(engine, "billing", models.Payment):
        pass
    run(engine, "INSERT INTO payments VALUES (1), (2)")
    late = shop.run("consumers", "--max-lag", "1", "--json")
    assert late.exit_code == 1
    assert late.stderr.startswith("'billing' is 2 changes behind; the oldest is from ")
    status = json.loads(late.stdout)
    assert (status["name"], status["partition"], status["lag"]["events"]) == ("billing", [0, 1], 2)
    assert shop.run("consumers", "--max-lag", "2", "--max-age", "1h").exit_code == 0
    assert shop.run("consumers", "--max-age", "0s").exit_code == 1
    wrong = shop.run("consumers", "--max-age", "soon")
    assert wrong.exit_code == 2
    assert "'soon' is not a time. Write 90s, 5m, 2h or 1d" in " ".join(wrong.stderr.split())


def test_seek_and_back(shop, engine):
    """``seek`` moves all parts of a consumer, and prints positions that take them back; ``forget``
    removes it; and a name that is not there is answered with those that are."""
    shop.create(engine)
    with shop.models() as models:
        for part in range(2):
            with Consumer(engine, "billing", models.Payment, partition=(part, 2)):
                pass
    run(engine, "INSERT INTO payments VALUES (1), (2)")
    assert [status.lag.events for status in consumers(engine)] == [2, 2]
    moved = shop.run("seek", "billing", "now").stdout.splitlines()
    assert [line.partition(" was at ")[0] for line in moved] == [
        "billing (0 of 2)",
        "billing (1 of 2)",
    ]
    assert [status.lag.events for status in consumers(engine)] == [0, 0]
    former = moved[0].rpartition(" ")[2]
    assert str(Position.parse(former)) == former
    shop.run("seek", "billing", former)
    assert [status.lag.events for status in consumers(engine)] == [2, 2]
    assert "is not a place: give now, beginning" in refused(shop.run("seek", "billing", "there"))
    unknown = refused(shop.run("forget", "search"))
    assert unknown == "there is no consumer 'search'. There is 'billing'"
    assert shop.run("forget", "billing").stdout == "'billing' is forgotten, in 2 parts\n"
    assert consumers(engine) == []


def test_parked_and_retried(shop, engine):
    """``parked`` shows what failed and why, and with ``--retry`` a consumer gives it out again."""
    shop.create(engine)

    def fail(session, change):
        raise LookupError("no rate")

    with shop.models() as models:
        with Running(Consumer(engine, "billing", models.Payment, on_error=lambda *_: "park"), fail):
            run(engine, "INSERT INTO payments VALUES (7)")
            until(lambda: consumers(engine)[0].parked == 1)
        shown = shop.run("parked", "billing").stdout
        assert shown.endswith("I public.payments (7)  failed 1 times: LookupError: no rate\n")
        done = shop.run("parked", "billing", "--retry", "--json")
        assert json.loads(done.stdout)["operation"] == "I"
        assert done.stderr == "'billing' will give out 1 of them again\n"
        with Running(Consumer(engine, "billing", models.Payment), lambda *_: None):
            until(lambda: consumers(engine)[0].parked == 0)


def test_a_consumer_that_has_lost_changes(shop, engine):
    """What the log has removed unread, and a log that was made anew, is seen before the consumer runs;
    health looks at those that are named."""
    shop.create(engine)
    with shop.models() as models:
        for name in ("billing", "report"):
            Consumer(engine, name, models.Payment).start().stop()
        assert [c.has_lost for c in consumers(engine)] == [False, False]
        run(engine, "INSERT INTO payments VALUES (7)")
        with Running(Consumer(engine, "report", models.Payment), lambda *_: None):
            until(lambda: consumers(engine)[1].lag.events == 0)
    run(
        engine,
        "UPDATE sa_pgnotify_log SET removed = (SELECT max(xid) FROM (SELECT xid FROM sa_pgnotify_log_0 UNION SELECT xid FROM sa_pgnotify_log_1) AS l)",
    )
    assert [c.has_lost for c in consumers(engine)] == [True, False]
    assert "'billing' has lost changes that it had not read" in shop.run("consumers").stdout
    late = shop.run("health", "--max-lag", "100")
    assert (late.exit_code, "'billing' has lost changes" in late.stdout) == (1, True)
    assert shop.run("health", "--max-lag", "100", "--consumer", "report").exit_code == 0
    assert "sa-pgnotify seek billing beginning" in shop.run("doctor").stdout.replace("\n", " ")


def test_a_name_in_two_logs(shop, engine):
    """If two change logs have a consumer of the name, the command acts on neither until a schema is
    given."""
    shop.create(engine)
    with shop.models() as models, Consumer(engine, "billing", models.Payment):
        pass
    run(
        engine,
        "CREATE SCHEMA other",
        "CREATE TABLE other.sa_pgnotify_consumers (LIKE sa_pgnotify_consumers INCLUDING ALL)",
        "INSERT INTO other.sa_pgnotify_consumers SELECT * FROM sa_pgnotify_consumers",
    )
    assert "in the schemas other, public each have" in refused(shop.run("forget", "billing"))
    assert shop.run("forget", "billing", "--schema", "other").exit_code == 0
    assert shop.run("forget", "billing").stdout == "'billing' is forgotten\n"
