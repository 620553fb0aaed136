"""What can be wrong with a TARGET, a URL or the program around: one clear line, status 2, no
password and no traceback."""

from __future__ import annotations

import pytest
from commands import refused
from kinds import address
from typer.testing import CliRunner

from sa_pgnotify.cli import app


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "command_shop",
            "command_shop is a module: name the models in it. Give command_shop:Base or ",
        ),
        (
            "command_shop.py:Base",
            "'command_shop.py' is a file: give the module's name, as command_shop:Base",
        ),
        (
            "src/command_shop.py",
            "'src/command_shop.py' is a file: give the module's name, as src.command_shop:Base",
        ),
        ("no_such_shop:Base", "there is no module 'no_such_shop': it is neither installed nor in "),
        ("command_shop:Bse", "command_shop has no 'Bse'. Give command_shop:Base"),
        ("command_shop:Base.nothing", "command_shop has no 'Base.nothing'. Give command_shop:Base"),
        ("command_shop:answer", "command_shop:answer is of type int, not a declarative base"),
        ("command_shop:factory", "command_shop:factory is a function, not a declarative base"),
        (
            "command_shop:Decimal",
            "command_shop:Decimal is the unmapped class Decimal, not a declarative base",
        ),
        (
            "command_shop:empty",
            "the MetaData: nothing in it is marked, so it has no events. Use NotifyOnChange",
        ),
        (
            "command_shop:unmarked",
            "unmarked: nothing in it is marked, so it has no events. Use NotifyOnChange",
        ),
        (
            "command_shop:Plain",
            "Plain: nothing in it is marked, so it has no events. Use NotifyOnChange",
        ),
        (
            "broken_shop:Base",
            "broken_shop cannot be imported: ZeroDivisionError: division by zero. --debug shows where",
        ),
        (
            "needy_shop:Base",
            "needy_shop cannot be imported, because there is no module 'not_there_at_all': install what it needs",
        ),
        (
            "exiting_shop:Base",
            "exiting_shop cannot be imported: SystemExit: 3. --debug shows where",
        ),
        ("rude_shop:it.Base", "RuntimeError: not now. --debug shows where"),
        (":Base", "'' is not the name of a module. TARGET is package.module:Base"),
        ("..shop:Base", "'..shop' is not the name of a module. TARGET is package.module:Base"),
    ],
)
def test_invalid_target_is_refused_with_its_fix(shop, target, said):
    """Each way to be wrong has its own line."""
    (shop.folder / "broken_shop.py").write_text("1 / 0")
    (shop.folder / "needy_shop.py").write_text("import not_there_at_all")
    (shop.folder / "exiting_shop.py").write_text("raise SystemExit(3)")
    (shop.folder / "rude_shop.py").write_text(
        "class It:\n    def __getattr__(self, name): raise RuntimeError('not now')\nit = It()"
    )
    assert refused(shop.run("sql", target)).startswith(said)


@pytest.mark.parametrize(
    "target", ["Base", "Base.metadata", "Base.registry", "Order", "Order.__table__"]
)
def test_target_that_is_one(shop, target):
    """A declarative base, its MetaData, its registry, a class and a Table all do."""
    done = shop.run("sql", f"command_shop:{target}")
    assert done.exit_code == 0, done.output
    assert "sa_pgnotify_orders" in done.stdout


def test_debug_shows_the_traceback(shop):
    """--debug adds the traceback to the line, and hides the password there as well."""
    (shop.folder / "broken_shop.py").write_text("raise ValueError('no')")
    done = shop.run("sql", "broken_shop:Base", "--debug")
    assert done.exit_code == 2
    assert 'broken_shop.py", line 1' in done.stderr
    url = "postgresql://ann:hunter2@127.0.0.1:1/shop"
    done = shop.run("doctor", "--debug", "--url", url)
    assert "Traceback" in done.stderr
    assert "hunter2" not in done.output


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no database is given: use --url postgresql://user@host/name, or set DATABASE_URL"),
        ("sqlite:///shop.db", "the URL is for sqlite, but sa_pgnotify needs PostgreSQL: write"),
        ("shop", "the URL cannot be read: write postgresql://user:password@host:5432/name"),
        ("postgresql://ann:hun@ter2@127.0.0.1/shop", "the URL has more than one @: write "),
        ("postgresql://ann:hun@ter2/word@127.0.0.1/shop", "the URL has more than one @: write "),
        ("postgresql://ann:hunter2@127.0.0.1:hunter2/shop", "the URL cannot be read: write "),
        (
            "postgresql://ann:hunter2@127.0.0.1:1/shop",
            "cannot connect to postgresql://ann@127.0.0.1:1/shop: ",
        ),
        (
            "postgresql://ann@127.0.0.1:1/shop?password=hunter2",
            "cannot connect to postgresql://ann@127.0.0.1:1/shop: ",
        ),
        (
            "postgresql+psycopg://ann:hunter2@127.0.0.1:1/shop",
            "cannot connect to postgresql://ann@127.0.0.1:1/shop: ",
        ),
        (
            "postgresql://ann:hunter2@127.0.0.1:1/shop?no_such_option=hunter2",
            "cannot connect to postgresql://ann@127.0.0.1:1/shop: ",
        ),
    ],
)
def test_url_that_does_not_do(url, said, monkeypatch):
    """What is wrong is said, and no part of a password, wherever a URL with one goes wrong."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for given in (["--url", url], ["--url", url, "--debug"]):
        done = CliRunner().invoke(app, ["doctor", *given])
        assert "hun" not in done.output
        assert "ter2" not in done.output
    assert refused(CliRunner().invoke(app, ["doctor", "--url", url])).startswith(said)


@pytest.mark.parametrize("typed", [["doctor"], ["watch", "command_shop:Base"], []])
def test_url_without_its_option_is_not_quoted(typed):
    """If --url is forgotten, the message says so, and does not contain the password."""
    done = CliRunner().invoke(app, [*typed, "postgresql://ann:hunter 2@127.0.0.1/shop"])
    assert done.exit_code == 2
    assert "a URL is given as --url URL" in done.stderr
    assert "hunter" not in done.output


@pytest.mark.parametrize("command", ["check", "sql", "watch", "prune", "check target"])
def test_url_in_place_of_the_target(shop, command):
    """A URL that is given first is not taken for a module, and not quoted."""
    command, _, target = command.partition(" ")
    given = ["postgresql+psycopg2://ann:hunter2@127.0.0.1/shop", *([target] if target else [])]
    done = shop.run(command, *given)
    assert done.exit_code != 0
    assert "a URL is given as --url URL" in done.stderr
    assert "no module" not in done.output
    assert "hunter2" not in done.output


@pytest.mark.parametrize(
    "driver", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_url_of_any_driver_does(shop, url, driver):
    """A program's DATABASE_URL serves, also one of asyncio, and one that Heroku spells its own
    way."""
    done = shop.run("consumers", DATABASE_URL=address(url).replace("postgresql+psycopg2", driver))
    assert (done.exit_code, done.stdout) == (0, "no consumers\n")


def test_error_of_the_server_is_one_line(shop, engine):
    """Of a server error with many lines, only the first is shown."""
    assert refused(shop.run("prune", "command_shop:Base")).startswith("relation ")
    assert refused(shop.run("watch")).startswith(
        "no table of this database publishes its changes. Run metadata.create_all(engine)"
    )
    assert "events of " in refused(shop.run("watch", "command_shop:Order"))
    shop.create(engine)
    assert refused(shop.run("watch", "command_shop:Base", "--entity", "Ordr")) == (
        "command_shop:Base has no marked entity 'Ordr'; it has Customer, Order, Payment"
    )
