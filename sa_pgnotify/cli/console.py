"""Where commands print: to a terminal in its width and colours; to a pipe or a file plain, with no
line broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

__all__ = ["errors", "forget_output", "output", "printable", "progress", "say", "write_exactly"]

UNBROKEN = 10_000
"""Columns of what is no terminal: programs read lines."""


def output() -> Console:
    """What a command was called for."""
    return _console(sys.stdout)


def errors() -> Console:
    """What is to be said beside that."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    # Names of tables and values are printed as they are: rich would read [red] as a style, and
    # :Package: as a picture.
    return Console(
        file=file,
        width=None if file.isatty() else UNBROKEN,
        highlight=False,
        markup=False,
        emoji=False,
    )


def write_exactly(text: str) -> None:
    """Write to stdout as UTF-8, byte for byte, as for a file that a program reads; a console would
    leave escape sequences out."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # replaced by something that takes text only
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    sys.stdout.flush()
    binary.write(text.encode())
    binary.flush()


def printable(text: str) -> str:
    """``text`` without what a terminal would obey, on one line: names come from the database, and
    may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str) -> None:
    """Print one line beside the output, so that a file or a pipe holds nothing else."""
    errors().print(printable(text), style="dim")


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Show on a terminal that work is being done; nothing elsewhere."""
    console = errors()
    if not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        bar.add_task(doing, total=None)
        yield


def forget_output() -> None:
    """Let what is still to be written to stdout go nowhere: the interpreter would complain at its
    exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file, as in a test
        return
