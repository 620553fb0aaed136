"""``metrics``, and the option ``--serve`` of commands that run on: figures for Prometheus."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from ..diagnosis.metrics import Metrics, registry_of
from ..listening.interface import BaseListener
from .console import say, write_exactly
from .engine import Url, connected
from .errors import CommandError, Debug
from .signals import stopped_by_signals

__all__ = ["Serve", "metrics", "served"]

Serve = Annotated[
    str | None,
    typer.Option(
        "--serve",
        metavar="[HOST]:PORT",
        help="Serve figures for Prometheus there, as :9187; needs the extra metrics.",
    ),
]


def metrics(serve: Serve = None, url: Url = None, debug: Debug = False) -> None:
    """Print figures of consumers and change logs for Prometheus.

    They cover all change logs of the database, in Prometheus' text format. With --serve the command
    runs until Ctrl-C, and reads the figures at each scrape.

    \b
    Examples:
      sa-pgnotify metrics > /var/lib/node_exporter/sa_pgnotify.prom
      sa-pgnotify metrics --serve 127.0.0.1:9187
    """
    with connected(url, "metrics") as engine:
        if serve is None:
            registry = registry_of(Metrics(engine))
            from prometheus_client import generate_latest

            write_exactly(generate_latest(registry).decode())
            return
        ended = threading.Event()
        with served(serve, engine), stopped_by_signals(ended.set):
            ended.wait()


@contextmanager
def served(place: str | None, engine: Engine, *listeners: BaseListener[Any]) -> Iterator[None]:
    """Serve the figures while the block runs.

    :param place: what was given to ``--serve``; None to serve nothing.
    :raises CommandError: if it is not a place, or is in use.
    :raises PgNotifyError: if the Prometheus client is not installed.
    """
    if place is None:
        yield
        return
    found = re.fullmatch(r"(?:\[?([^\[\]]*?)\]?:)?(\d{1,5})", place)
    if found is None or int(found[2]) > 65535:
        raise CommandError(f"--serve {place} is not [HOST]:PORT. Write :9187, or 127.0.0.1:9187")
    registry = registry_of(Metrics(engine, *listeners))
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(int(found[2]), found[1] or "0.0.0.0", registry)  # noqa: S104 (as Prometheus' exporters do)
    except OSError as error:
        raise CommandError(f"cannot serve at {place}: {error.strerror or error}") from error
    say(f"serving metrics at port {server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
