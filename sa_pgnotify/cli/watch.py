"""``watch``: print changes as they happen, for people and for pipes.

It runs until it is ended by Ctrl-C, by SIGTERM from an init system, or by the end of the pipe that
it writes to. A program normally notices the last only at its next write. Each of them must end it
at once, without an error message.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer
from sqlalchemy import Engine

from ..errors import NotifyConfigError
from ..events.kinds import Event
from ..listening.listener import Listener
from ..triggers.installation import read_installation
from .console import output, say
from .engine import Url, connected
from .errors import CommandError, Debug
from .event_json import json_line
from .event_text import print_event
from .log_output import logs_on_stderr
from .metrics import Serve, served
from .records import Json
from .signals import stopped_by_signals
from .targets import Target, of_metadata, target

__all__ = ["watch"]

SHOWN = 10
"""How many names are listed at most when it starts."""


def watch(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="Where the models are; default: what the database has."
        ),
    ] = None,
    url: Url = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this class or table; may be given more than once."),
    ] = None,
    json: Json = False,
    serve: Serve = None,
    debug: Debug = False,
) -> None:
    """Print changes as they happen, until Ctrl-C.

    These are the changes of the models in TARGET, or, without TARGET, of every marked table of the
    database. A Gap means that events may be missing.

    \b
    Examples:
      sa-pgnotify watch shop.models:Base --entity Order
      sa-pgnotify watch --json | jq 'select(.event == "deleted")'
    """
    models = None if name is None else target(name)
    # tables that were read back from the database have its types, not those of the models, so the
    # triggers always differ from them
    with connected(url, "watch") as engine, logs_on_stderr(drifts=models is not None):
        chosen = models or _of_database(engine)
        sources = chosen.only(entity or ())
        write = _json_writer() if json else _line_writer()
        listener = Listener(engine, *sources)
        with served(serve, engine, listener):
            _follow(listener, _listed(entity or sorted(chosen.entities)), write)


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:SHOWN])} and {more} more"


def _follow(listener: Listener, what: str, write: Callable[[Event], None]) -> None:
    counts: Counter[str] = Counter()
    with stopped_by_signals(listener.stop), listener:
        began = time.monotonic()
        say(f"watching {what}; Ctrl-C ends it")
        _stop_at_end_of_pipe(listener)
        for event in listener:
            write(event)
            counts[type(event).__name__.lower()] += 1
        seconds = time.monotonic() - began
    total = ", ".join(
        f"{count} {kind if kind != 'gap' or count == 1 else 'gaps'}"
        for kind, count in counts.items()
    )
    say(f"{total or 'no events'} in {seconds:.0f} s")


def _of_database(engine: Engine) -> Target:
    """Return the marked tables of the database.

    :raises CommandError: if there are none.
    """
    with engine.connect() as connection:
        installation = read_installation(connection)
        metadata = installation.tables(connection)
    for table in installation.damaged:
        say(
            f"{table} is left out: its trigger function does not say what it was made from, or was made by a newer sa_pgnotify"
        )
    for table in installation.hidden:
        say(f"{table} is left out: this role may not use its schema")
    for table in installation.sets:
        if silent := installation.silent(table):
            say(f"{table}: {', '.join(silent)} does not fire; see sa-pgnotify doctor")
    try:
        return of_metadata("the database", metadata)
    except NotifyConfigError as error:
        fix = "Run metadata.create_all(engine), or the migration that installs the triggers"
        raise CommandError(f"no table of this database publishes its changes. {fix}") from error


def _line_writer() -> Callable[[Event], None]:
    console = output()
    return lambda event: print_event(console, event)


def _json_writer() -> Callable[[Event], None]:
    def write(event: Event) -> None:
        sys.stdout.write(json_line(event) + "\n")
        sys.stdout.flush()

    return write


def _stop_at_end_of_pipe(listener: Listener) -> None:
    """Stop as soon as the reader of the output has closed the pipe, not only at the next event."""
    if sys.stdout.isatty() or not hasattr(select, "poll"):
        return
    with suppress(OSError, ValueError):  # stdout is not a file, as in a test
        poll = select.poll()
        # 0 asks for nothing but POLLERR and POLLHUP, which are always reported
        poll.register(os.dup(sys.stdout.fileno()), 0)

        def wait() -> None:
            poll.poll()
            listener.stop()

        threading.Thread(target=wait, name="sa_pgnotify end of pipe", daemon=True).start()
