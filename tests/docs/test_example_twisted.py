"""The classic asyncnotify program runs as a process, is sent what its how-to sends, and says what
happened, line by line."""

import signal
from contextlib import closing

import pytest
from kinds import address
from programs import EXAMPLES, Program
from sessions import terminate_listener
from sqlalchemy import inspect
from statements import run

LISTENING = "listening to test1, test2, quit, table1, table2"
UNSUBSCRIBED = "test2: unsubscribed"
NO_DELAY = ("--delay", "0")

WITHOUT_TRIGGERS = """
import argparse, sys
import twisted_asyncnotify as example
example.Base.metadata.create_all = lambda engine: None
example.task.react(example.main, [argparse.Namespace(url=sys.argv[1], delay=15, without_key=False)])
"""
HANDLER_RAISES = """
import argparse, sys
import twisted_asyncnotify as example
example.Printer.notified = lambda self, event: 1 / 0
example.task.react(example.main, [argparse.Namespace(url=sys.argv[1], delay=15, without_key=False)])
"""
STARTED_TWICE = """
import sys
from twisted_asyncnotify import Printer, create_engine, task
async def main(_):
    printer = Printer(create_engine(sys.argv[1]), "test1", "quit")
    await printer.start()
    try:
        await printer.start()
    except Exception as error:
        print(type(error).__name__, error)
    await printer.finished
task.react(main)
"""
STOPPED_TWICE = """
import sys
from twisted_asyncnotify import Printer, create_engine, reactor, task
async def main(_):
    printer = Printer(create_engine(sys.argv[1]), "test1")
    await printer.start()
    print(printer in reactor.getReaders())
    printer.stop()
    printer.stop()
    await printer.finished
    print(printer in reactor.getReaders(), printer.fileno())
task.react(main)
"""
SUBSCRIBES = """
import sys
from twisted_asyncnotify import Printer, create_engine, deferToThread, reactor, task
async def main(_):
    printer = Printer(create_engine(sys.argv[1]), "quit")
    await printer.start()
    print("listening")
    await deferToThread(input)
    done = printer.subscribe("more")
    reactor.callLater(0, print, "the reactor runs")
    await done
    print("subscribed")
    await printer.finished
task.react(main)
"""


def example(url, *options) -> Program:
    """The program, listening."""
    program = Program(EXAMPLES / "twisted_asyncnotify.py", address(url), *options)
    assert program.line() == LISTENING
    return program


def variant(code, url) -> Program:
    """Another program that is made of the example's parts."""
    return Program("-c", code, address(url))


def psql(url, *statements) -> int:
    """Send statements, each in a transaction of its own, over one plain connection; returns the
    process id of its server process."""
    import psycopg2

    with closing(
        psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return connection.info.backend_pid


def test_session_of_the_how_to(url):
    """Each notification, insert, update and delete is one line, in order and with the sender's
    process id; quit ends the program."""
    with example(url) as program:
        pid = psql(
            url,
            "NOTIFY test1",
            "NOTIFY test2",
            "NOTIFY other",
            "INSERT INTO table1 (message) VALUES ('hello')",
            "UPDATE table1 SET message = 'hello, world'",
            "UPDATE table1 SET message = message",  # changes nothing: the original published it
            "DELETE FROM table1",
            "INSERT INTO table2 (message) VALUES ('hello')",
            "UPDATE table2 SET message = 'hello, world'",
            "DELETE FROM table2",
            "DELETE FROM table2",
            "NOTIFY quit",
            "NOTIFY test1",
        )
        assert program.end() == (
            0,
            [
                f"test1: notified by {pid}",
                f"test2: notified by {pid}",
                f"table1: inserted by {pid}",
                f"table1: updated by {pid}",
                f"table1: deleted by {pid}",
                f"table2: inserted by {pid}",
                f"table2: updated by {pid}",
                f"table2: deleted by {pid}",
                "stopped",
            ],
            "",
        )


def test_test2_is_removed_after_the_delay(url):
    """After the delay, test2 is called no more, and all other handlers are."""
    with example(url, *NO_DELAY) as program:
        assert program.line() == UNSUBSCRIBED
        pid = psql(
            url,
            "NOTIFY test2",
            "NOTIFY test1",
            "INSERT INTO table2 (message) VALUES ('hello')",
            "NOTIFY quit",
        )
        assert program.end() == (
            0,
            [f"test1: notified by {pid}", f"table2: inserted by {pid}", "stopped"],
            "",
        )


def test_a_lost_server_is_a_gap(url, engine):
    """The program goes on when its connection is lost: it shows the gap, and then new changes of
    all that it listened to, and of nothing else."""
    with example(url, *NO_DELAY) as program:
        assert program.line() == UNSUBSCRIBED
        terminate_listener(engine)
        assert program.line() == "gap: reconnected, events may be missing"
        pid = psql(
            url,
            "NOTIFY test2",
            "NOTIFY test1",
            "INSERT INTO table1 (message) VALUES ('hello')",
            "NOTIFY quit",
        )
        code, printed, errors = program.end()
        assert (code, printed) == (
            0,
            [f"test1: notified by {pid}", f"table1: inserted by {pid}", "stopped"],
        )
        assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(url, number):
    """Ctrl-C and a supervisor's SIGTERM stop the listener and the program, without a word of
    complaint."""
    with example(url) as program:
        program.send(number)
        assert program.end() == (0, ["stopped"], "")


def test_table_without_key_is_refused(url):
    """The original's table is refused by one line that names the fix, before anything is made in
    the database."""
    with Program(EXAMPLES / "twisted_asyncnotify.py", address(url), "--without-key") as program:
        code, printed, errors = program.end()
    assert (code, printed) == (1, [])
    assert errors == (
        "TableUnfit: table1: it has no primary key, so an event could not say which row changed. Give it a primary key to mark it\n"
    )


def test_a_table_of_the_original_is_not_taken_for_ours(url, engine):
    """Where the original's table1 is there already, which lacks the key, the program says so and
    ends."""
    run(engine, "CREATE TABLE table1 (message text)")
    with Program(EXAMPLES / "twisted_asyncnotify.py", address(url)) as program:
        code, printed, errors = program.end()
    assert (code, printed) == (1, [])
    delivered = errors.splitlines()[-1]
    assert delivered.startswith("TriggersMissing: events of table1 cannot be delivered")
    assert "First add column id" in delivered
    assert "create_all" not in delivered  # which has just run
    assert "Traceback" not in errors


def test_an_engine_of_asyncio_is_refused(url):
    """A URL of asyncpg ends the program by one line that names the class for it, before anything
    else is tried."""
    with Program(EXAMPLES / "twisted_asyncnotify.py", address(url, "asyncpg")) as program:
        code, printed, errors = program.end()
    assert (code, printed) == (1, [])
    assert errors.startswith(
        "NotifyConfigError: Listener: this is an asyncio engine. Use AsyncListener"
    )
    assert errors.count("\n") == 1


def test_missing_triggers_end_it(url, engine):
    """If tables have no triggers, the program ends with one clear line, and is not just silent."""
    columns = "(id serial PRIMARY KEY, message text)"
    run(engine, f"CREATE TABLE table1 {columns}", f"CREATE TABLE table2 {columns}")
    with variant(WITHOUT_TRIGGERS, url) as program:
        code, printed, errors = program.end()
    assert (code, printed) == (1, [])
    assert errors.startswith("TriggersMissing: events of table1, table2 cannot be delivered")
    assert errors.count("\n") == 1


def test_no_server_ends_it(proxy):
    """A database that cannot be reached at the start ends the program by what the driver says,
    without a traceback."""
    proxy.refuse()
    with Program(EXAMPLES / "twisted_asyncnotify.py", address(proxy.url)) as program:
        code, printed, errors = program.end()
    assert (code, printed) == (1, [])
    assert errors.startswith("OperationalError: ")
    assert "Traceback" not in errors


def test_a_handler_that_raises_ends_it(url):
    """An error of the program's own method stops listener and reactor, with one clear line and an
    exit code that is not 0."""
    with variant(HANDLER_RAISES, url) as program:
        assert program.line() == LISTENING
        psql(url, "NOTIFY test1", "NOTIFY test1")
        assert program.end() == (1, [], "ZeroDivisionError: division by zero\n")


def test_a_second_start_is_refused(url):
    """It fails by our error, and what listens already goes on."""
    with variant(STARTED_TWICE, url) as program:
        assert (
            program.line()
            == "PgNotifyError this listener has been started already; stop() it first, or make another one"
        )
        pid = psql(url, "NOTIFY test1", "NOTIFY quit")
        assert program.end() == (0, [f"test1: notified by {pid}"], "")


def test_stopped_from_the_program(url):
    """stop(), also twice, leaves nothing in the reactor, and fires the Deferred of the end."""
    with variant(STOPPED_TWICE, url) as program:
        assert program.end() == (0, ["True", "False -1"], "")


def test_the_reactor_does_not_wait_for_the_database(url, proxy):
    """While a subscription waits for a server that does not answer, the reactor goes on; then it is
    confirmed."""
    with variant(SUBSCRIBES, proxy.url) as program:
        assert program.line() == "listening"
        proxy.stall()
        program.say("subscribe")
        assert program.line() == "the reactor runs"
        proxy.flow()
        assert program.line() == "subscribed"
        pid = psql(url, "NOTIFY more", "NOTIFY quit")
        assert program.end() == (0, [f"more: notified by {pid}"], "")


def test_it_makes_the_tables_of_the_how_to(url, engine):
    """table1 and table2 have the original's column of text, and the key that it lacked."""
    with example(url):
        for name in ("table1", "table2"):
            columns = {
                column["name"]: str(column["type"]) for column in inspect(engine).get_columns(name)
            }
            assert columns == {"id": "INTEGER", "message": "TEXT"}
