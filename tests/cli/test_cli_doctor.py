"""``doctor`` finds what prevents events from arriving, names it, and says how to fix it."""

from __future__ import annotations

import pytest
from commands import MODULE
from kinds import address
from sqlalchemy import Column, Integer, MetaData, NullPool, Table, create_engine, text
from statements import run

from sa_pgnotify import Consumer, Listener, NotifySpec, check, notify_on_change
from sa_pgnotify.diagnosis import sessions
from sa_pgnotify.diagnosis.doctor import diagnose
from sa_pgnotify.subscription import probe

pytestmark = pytest.mark.undisturbed  # the doctor names the transactions of all databases

CREATE = "Run metadata.create_all(engine), or the migration that installs the triggers."


def about(engine, subject: str) -> list[tuple[str, str]]:
    """The findings about a subject: severity, and text with fix."""
    return [
        (found.severity, f"{found.text} {found.fix}".strip())
        for found in diagnose(engine)
        if found.subject == subject
    ]


def test_healthy_database(shop, engine):
    """Where all is well every line says so, and the exit status is 0; a listener is named."""
    shop.create(engine)
    with shop.models() as models, Listener(engine, models.Order):
        unread = [
            severity
            for severity, text in about(engine, "log")
            if "nobody consumes it: run a Consumer" in text
        ]
        assert unread == ["note"]
        with Consumer(engine, "billing", models.Payment):
            done = shop.run("doctor")
    assert (done.exit_code, done.stderr) == (0, "0 problems, 0 warnings\n")
    lines = done.stdout.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"good"}, done.output
    assert lines[0].startswith("good: server: PostgreSQL ")
    for reported in ("listening: A notification came back", "triggers: Installed and enabled on customers, orders, payments (durable).",
                 "sa_pgnotify listener) listens."):  # fmt: skip
        assert reported in done.output


def test_triggers_that_do_not_fire(shop, engine):
    """A disabled trigger, one for replicas, one that is gone and a damaged comment are problems
    with their fix; the exit status is 1."""
    assert about(engine, "triggers")[0][0] == "note"
    shop.create(engine)
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_delete",
        "ALTER TABLE orders ENABLE REPLICA TRIGGER sa_pgnotify_insert",
    )
    run(
        engine,
        "DROP TRIGGER sa_pgnotify_update ON orders",
        "COMMENT ON FUNCTION sa_pgnotify_customers() IS 'mine'",
    )
    lines = shop.run("doctor").output.splitlines()
    orders = [
        line.removeprefix("problem: triggers: The trigger sa_pgnotify_")
        for line in lines
        if " of orders " in line
    ]
    assert orders == [
        "insert of orders fires on replicas only: its changes are no longer published. ALTER TABLE orders ENABLE TRIGGER sa_pgnotify_insert;",
        f"update of orders is missing: its changes are no longer published. {CREATE}",
        "delete of orders is disabled: its changes are no longer published. ALTER TABLE orders ENABLE TRIGGER sa_pgnotify_delete;",
    ]
    assert any(
        line.startswith(
            "warning: triggers: The function sa_pgnotify_customers of customers does not say"
        )
        for line in lines
    )
    assert shop.run("doctor").exit_code == 1
    run(engine, "ALTER TABLE orders DROP COLUMN total")
    lost = "The triggers of orders read total, which the table no longer has: each change is reported as a gap."
    assert any(
        severity == "problem" and reported.startswith(lost)
        for severity, reported in about(engine, "triggers")
    )
    run(engine, "DROP TRIGGER sa_pgnotify_insert ON payments")
    reported = 'No trigger runs the function sa_pgnotify_payments. DROP FUNCTION "public"."sa_pgnotify_payments"();'
    assert ("note", f"{reported} unless a table should get its triggers back.") in about(
        engine, "triggers"
    )


def test_who_blocks_the_queue(engine, monkeypatch):
    """A session that listens and is idle in a transaction is named, with its process, and how to
    end it."""
    monkeypatch.setattr(sessions, "LONG_SECONDS", 0.0)
    with engine.connect() as listening:
        listening.execute(text("LISTEN somewhere"))
        listening.commit()
        pid = listening.scalar(text("SELECT pg_backend_pid()"))  # and so it is in a transaction
        found = [reported for severity, reported in about(engine, "queue") if severity == "warning"]
        (blocker,) = [reported for reported in found if f"Process {pid} " in reported]
        assert "has been idle in transaction for " in blocker
        assert blocker.endswith(
            f"End it: SELECT pg_terminate_backend({pid}); and have its program commit before it waits."
        )
    assert not [reported for _, reported in about(engine, "queue") if f"Process {pid} " in reported]


def test_pooler_that_swallows_notifications(shop, proxied, proxy, monkeypatch):
    """LISTEN that succeeds and brings nothing is a problem, and called by its name."""
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.5)
    proxy.censor_notifications = True
    ((severity, reported),) = about(proxied, "listening")
    assert severity == "problem"
    assert reported.startswith(
        "LISTEN succeeded, but a notification did not arrive within 0 s: there is a transaction pooler"
    )
    assert "Give the listener an engine that connects to PostgreSQL directly" in reported


def test_privileges_that_lack(shop, engine, url, admin):
    """For a role with few rights, the report says what the role cannot do. No query that it may not
    run ends the examination, not even for tables in a schema that it may not use."""
    shop.create(engine)
    run(engine, "CREATE SCHEMA walled")
    secret = Table("secret", MetaData(), Column("id", Integer, primary_key=True), schema="walled")
    notify_on_change(secret).metadata.create_all(engine)
    name = f"poor_{url.database}"
    run(
        engine,
        f"CREATE ROLE {name} LOGIN PASSWORD 'p'",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    try:
        with shop.models() as models, Listener(engine, models.Order):
            done = shop.run("doctor", DATABASE_URL=address(url.set(username=name, password="p")))
            drift, *_ = check(
                create_engine(url.set(username=name, password="p"), poolclass=NullPool),
                secret.metadata,
            )
        assert str(drift).startswith("missing: the table of walled.secret. Run ")
        assert str(drift).endswith(" If it is there, GRANT USAGE ON SCHEMA walled TO this role.")
        assert done.exit_code == 0, done.output
        lines = done.output.splitlines()
        assert any(
            line.startswith(
                "note: privileges: This role may not create anything in the schema public"
            )
            for line in lines
        )
        assert any(line.startswith("good: listeners: Process ") for line in lines)
        assert any(
            "This role cannot see what the sessions of other roles do" in line
            and "pg_read_all_stats" in line
            for line in lines
        )
        assert any(
            line.startswith(
                "note: triggers: Installed on walled.secret too, in schemas that this role may not use"
            )
            for line in lines
        )
        assert any(
            line.startswith("warning: consumers: This could not be examined: permission denied")
            for line in lines
        ), done.output
    finally:
        run(engine, f"DROP ROLE {name}")


def test_consumers_and_their_lag(shop, engine):
    """A consumer that is behind, and one whose change fails, are reported with the fix;
    ``consumers`` lists the same, and ``prune`` the log."""
    shop.create(engine)
    with shop.models() as models:
        with Consumer(engine, "billing", models.Payment):
            pass
        run(engine, "INSERT INTO payments VALUES (1), (2)")
        ((severity, reported),) = about(engine, "consumers")
        assert severity == "good"
        assert reported.startswith("'billing' is 2 changes behind; the oldest is from ")
        run(engine, "UPDATE sa_pgnotify_consumers SET failing = 'x', failures = 3")
        ((severity, reported),) = about(engine, "consumers")
        assert severity == "warning"
        assert "has failed 3 times. See its program's log" in reported
    done = shop.run("consumers")
    head, row = done.output.splitlines()
    assert head.split() == [
        "consumer",
        "part",
        "behind",
        "oldest",
        "moved",
        "at",
        "failures",
        "parked",
    ]
    assert row.split()[:5] == ["billing", "0", "of", "1", "2"]
    assert row.split()[-2:] == ["3", "0"]
    done = shop.run("prune", f"{MODULE}:Base")
    assert (done.exit_code, done.output) == (
        0,
        "the change log takes 0 MB; its hindmost consumer is 'billing'\n",
    )


def test_an_entity_that_is_not_read_any_more(shop, engine):
    """A place that no version of a consumer reads is named, with the way to free it, by ``doctor``
    and by ``consumers``."""
    shop.create(engine)
    with shop.models() as models:
        other = Table("others", models.Base.metadata, Column("id", Integer, primary_key=True))
        notify_on_change(other, NotifySpec(durable=True))
        models.Base.metadata.create_all(engine)
        with Consumer(engine, "billing", models.Payment, other):
            pass
        run(engine, "INSERT INTO others VALUES (1)", "INSERT INTO payments VALUES (2)")
        with Consumer(engine, "billing", models.Payment) as consumer:
            for batch in consumer:
                with batch:
                    break
        found = about(engine, "consumers")
    assert [severity for severity, _ in found] == ["good", "note"]
    assert found[1][1].startswith(
        "public.others has a place under the name 'billing', but no consumer reads it now: 1 changes wait"
    )
    assert "forget(engine, metadata, 'billing', 'public.others')" in found[1][1]
    assert (
        shop.run("consumers").output.splitlines()[2]
        == "billing does not read public.others now: 1 changes wait for it"
    )
