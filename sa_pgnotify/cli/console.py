"""Where commands print: to a terminal with its width and colours, to a pipe or a file as plain text
with no line broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "errors",
    "forget_output",
    "line",
    "output",
    "printable",
    "progress",
    "say",
    "write_exactly",
]

UNBROKEN = 10_000
"""The width of anything that is not a terminal, because programs read whole lines."""


def output() -> Console:
    """Return the console for a command's output."""
    return _console(sys.stdout)


def errors() -> Console:
    """Return the console for messages beside the output."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    from rich.console import Console  # which help and completion do not need

    # Names of tables and values must be printed as they are: rich would read [red] as a style, and
    # :Package: as an emoji.
    return Console(
        file=file,
        width=None if file.isatty() else UNBROKEN,
        highlight=False,
        markup=False,
        emoji=False,
    )


def write_exactly(text: str) -> None:
    """Write to stdout as UTF-8, byte for byte, for a program to read.

    A console would leave out escape sequences.
    """
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # stdout was replaced by something that takes only text
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    sys.stdout.flush()
    binary.write(text.encode())
    binary.flush()


def printable(text: str) -> str:
    """Return ``text`` on one line and with control characters escaped.

    Names come from the database, and may contain anything.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def line(text: str, style: str, file: TextIO | None = None) -> None:
    """Print one line, in ``style`` on a terminal.

    A pipe needs no rich, and a probe is in a hurry.

    :param file: by default stdout.
    """
    to = file or sys.stdout
    if to.isatty():
        _console(to).print(printable(text), style=style)
    else:
        to.write(printable(text) + "\n")
        to.flush()


def say(text: str) -> None:
    """Print one line to stderr, so that the output in a file or a pipe stays clean."""
    line(text, "dim", sys.stderr)


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Show on a terminal that work is in progress; print nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=errors(),
        transient=True,
    ) as bar:
        bar.add_task(doing, total=None)
        yield


def forget_output() -> None:
    """Discard what is still to be written to stdout; the interpreter would otherwise print an error
    at its exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is not a file, as in a test
        return
