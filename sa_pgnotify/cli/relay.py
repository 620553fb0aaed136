"""``relay``: publish the changes of models into a message broker, as a service.

It runs until Ctrl-C or SIGTERM, and then finishes what it is publishing. Somebody who looks at its
log should see whether it works, how fast, and how far it is behind.
"""

from __future__ import annotations

import json as json_module
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from sqlalchemy.exc import SQLAlchemyError

from ..consuming.positions import Lag
from ..events.cloud_events import CloudEvents
from ..marking.sources import expand
from ..marking.spec import marking_of
from ..relay.messages import Format
from ..relay.relay import Relay
from ..relay.sinks import sink_of
from .console import say
from .engine import Url, connected
from .errors import CommandError, Debug, keep_secret
from .log_output import json_logs, logs_on_stderr
from .metrics import Serve, served
from .signals import stopped_by_signals
from .targets import Target, TargetName, target

__all__ = ["relay"]


class Begin(StrEnum):
    NOW = "now"
    BEGINNING = "beginning"
    SNAPSHOT = "snapshot"


To = Annotated[
    str, typer.Option(metavar="URL", help="The broker: nats://, kafka:// or redis://, and hosts.")
]
Stream = Annotated[
    str, typer.Option(metavar="NAME", help="The stream or topic; created if it is missing.")
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="The relay's name; default: the stream's, in small letters."
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(metavar="TEMPLATE", help="Where to publish; default: {relay}.{table}.{id}"),
]
Entities = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only this class or table; may be given more than once."),
]
Start = Annotated[Begin, typer.Option(help="Where a new name begins.")]
Source = Annotated[
    str | None, typer.Option(metavar="URI", help="Publish CloudEvents of this source.")
]
Every = Annotated[float, typer.Option(metavar="SECONDS", help="How often to print the progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print everything as one JSON object a line.")]


def relay(
    name: TargetName,
    to: To,
    stream: Stream,
    relay_name: Name = None,
    url: Url = None,
    entity: Entities = None,
    subject: Subject = None,
    start: Start = Begin.NOW,
    source: Source = None,
    every: Every = 10.0,
    json: Json = False,
    serve: Serve = None,
    debug: Debug = False,
) -> None:
    """Publish changes into a message broker, until Ctrl-C.

    The models in TARGET must be durable. Several relays of one name may run: one of them works, and
    the others stand by. SIGTERM ends it after what it is publishing.

    \b
    Example:
      sa-pgnotify relay shop.models:Base --to nats://localhost --stream SHOP
    """
    models = target(name)
    chosen = models.only(entity) if entity else _durable(models)
    keep_secret(urlsplit(to).password)
    write, logs = _json_form() if json else _text_form()
    with connected(url, "relay") as engine, logs:
        sink = sink_of(to, stream)
        wrap: Format = "envelope" if source is None else CloudEvents(source)
        made = Relay(
            engine,
            relay_name or stream.lower(),
            chosen,
            to=sink,
            subject=subject,
            format=wrap,
            start=start.value,
        )
        what = ", ".join(entity or sorted(models.entities))
        write({"message": f"relaying {what} into {sink} as {made.name!r}; Ctrl-C ends it"})
        with stopped_by_signals(made.stop), served(serve, engine), _progress(made, every, write):
            made.run()
        write({"message": f"stopped, {made.published:,} messages published"})


def _durable(models: Target) -> list[Any]:
    """Return the durable entities.

    :raises CommandError: if there are none.
    """
    found = [
        entity
        for entity in models.entities.values()
        if all(
            (marking := marking_of(table)) and marking.durable for table in expand([entity]).tables
        )
    ]
    if not found:
        raise CommandError(
            f"no entity of {models.name} is durable. Mark it with NotifySpec(durable=True)"
        )
    return found


# -- what it prints ------------------------------------------------------------------------------

Write = Callable[[dict[str, Any]], None]
"""Prints what a line says: its ``message``, and with JSON the other members as well."""


def _json_form() -> tuple[Write, AbstractContextManager[None]]:
    lock = threading.Lock()

    def write(said: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat()
        with lock:
            print(json_module.dumps({"at": at, "level": "info", **said}), flush=True)  # noqa: T201

    return write, json_logs(write)


def _text_form() -> tuple[Write, AbstractContextManager[None]]:
    return lambda said: say(said["message"]), logs_on_stderr()


@contextmanager
def _progress(made: Relay, every: float, write: Write) -> Iterator[None]:
    """Print the progress meanwhile, from a thread."""
    ended = threading.Event()

    def run() -> None:
        before, at = 0, time.monotonic()
        while not ended.wait(every):
            with suppress(SQLAlchemyError):  # the database is away, which the relay reports
                now, published = time.monotonic(), made.published
                write(_said(published, (published - before) / (now - at), made.lag()))
                before, at = published, now

    thread = threading.Thread(target=run, name="sa_pgnotify progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _said(published: int, rate: float, lag: Lag) -> dict[str, Any]:
    behind = f"{lag.events:,} behind" + (f" ({lag.seconds:.1f} s)" if lag.events else "")
    text = f"{published:,} published, {rate:,.0f}/s, {behind}"
    if lag.rows_estimate:
        text += f", snapshot: {lag.rows_done:,} of about {lag.rows_estimate:,} rows"
    return {
        "message": text,
        "published": published,
        "rate": round(rate, 1),
        "behind": lag.events,
        "oldest": round(lag.seconds, 3),
        "rows_done": lag.rows_done,
        "rows_estimate": lag.rows_estimate,
    }
