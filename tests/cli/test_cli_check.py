"""``check`` finds every kind of drift, and ends as a deployment needs it."""

from __future__ import annotations

from statements import run

TARGET = "command_shop:Base"


def test_clean_database_is_one_line_and_status_0(shop, engine):
    """What is as the models say is said in one line, for the whole and for one class."""
    shop.create(engine)
    done = shop.run("check", TARGET)
    assert (done.exit_code, done.output) == (
        0,
        f"{TARGET}: the triggers of 3 tables match the models\n",
    )
    done = shop.run("check", "command_shop:Customer")
    assert (done.exit_code, done.output) == (
        0,
        "command_shop:Customer: the triggers of 1 table match the models\n",
    )


DRIFTS = {
    "DROP TRIGGER sa_pgnotify_insert ON orders": "missing: trigger sa_pgnotify_insert of orders.",
    "ALTER TABLE orders DISABLE TRIGGER sa_pgnotify_delete": "disabled: trigger sa_pgnotify_delete of orders.",
    "ALTER TABLE orders ENABLE REPLICA TRIGGER sa_pgnotify_update": "disabled: trigger sa_pgnotify_update of orders.",
    "COMMENT ON FUNCTION sa_pgnotify_orders() IS NULL": "outdated: function sa_pgnotify_orders of orders.",
    "CREATE OR REPLACE TRIGGER sa_pgnotify_truncate AFTER DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION sa_pgnotify_orders()":
        "outdated: trigger sa_pgnotify_truncate of orders.",
    "ALTER TABLE customers DROP COLUMN name": "outdated: column name of customers.",
    "ALTER FUNCTION sa_pgnotify_customers() SET DateStyle = 'SQL'": "outdated: function sa_pgnotify_customers of customers.",
    "ALTER FUNCTION sa_pgnotify_payments() SECURITY INVOKER": "outdated: function sa_pgnotify_payments of payments.",
    "CREATE TRIGGER sa_pgnotify_update AFTER UPDATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION sa_pgnotify_payments()":
        "left over: trigger sa_pgnotify_update of payments.",
    "CREATE TRIGGER copied AFTER UPDATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION sa_pgnotify_payments()":
        "left over: trigger copied of payments.",
    "DROP TABLE sa_pgnotify_parked": "missing: the table of sa_pgnotify_parked.",
    "CREATE FUNCTION sa_pgnotify_plain() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    " CREATE TRIGGER sa_pgnotify_insert AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION sa_pgnotify_plain()":
        "left over: function sa_pgnotify_plain of public.plain.",
}  # fmt: skip


def test_every_kind_of_drift_is_a_line_with_its_fix(shop, engine):
    """Each manual change of the database is reported on a line that ends with the fix, and the exit
    status is 1. For one class, only its own are reported."""
    shop.create(engine)
    run(engine, *DRIFTS)
    done = shop.run("check", TARGET)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    reported = {
        expected: [line for line in lines if line.startswith(expected)]
        for expected in DRIFTS.values()
    }
    assert {expected: len(found) for expected, found in reported.items()} == dict.fromkeys(
        DRIFTS.values(), 1
    ), done.output
    assert len(lines) == len(DRIFTS)
    assert all(
        line.endswith(".") and len(line) > len(expected) + 10
        for expected, (line,) in reported.items()
    )
    mine = shop.run("check", "command_shop:Payment")
    assert mine.exit_code == 1
    assert sorted(mine.output.splitlines()) == sorted(
        line for line in lines if "payments" in line or "parked" in line
    )


def test_missing_tables_and_functions(shop, engine):
    """In an empty database all of it is missing; after the tables alone, the functions and triggers
    are."""
    done = shop.run("check", TARGET)
    assert done.exit_code == 1
    assert {line.partition(".")[0] for line in done.output.splitlines()} >= {
        "missing: the table of orders", "missing: the table of sa_pgnotify_log"
    }  # fmt: skip
    run(engine, "CREATE TABLE customers (id int PRIMARY KEY, name text)")
    lines = shop.run("check", "command_shop:Customer").output.splitlines()
    assert [line.partition(" of ")[0] for line in lines] == [
        "missing: function sa_pgnotify_customers",
        *(
            f"missing: trigger sa_pgnotify_{operation}"
            for operation in ("insert", "update", "delete", "truncate")
        ),
    ]
