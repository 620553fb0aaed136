"""Show what the library logs while a command runs, such as a lost connection, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..triggers.drift import Drift
from .console import say
from .errors import shown

__all__ = ["logs_on_stderr"]


@contextmanager
def logs_on_stderr(*, drifts: bool = True) -> Iterator[None]:
    """Print warnings and errors that the library logs.

    :param drifts: whether to print also how triggers differ from their marking.
    """
    handler = _Printing(logging.WARNING)
    handler.addFilter(lambda record: drifts or not _is_drift(record))
    logger = logging.getLogger("sa_pgnotify")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def json_logs(write: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Give everything that the library logs to ``write``: ``level`` and ``message``."""
    handler = _Writing(write)
    logger = logging.getLogger("sa_pgnotify")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Writing(logging.Handler):
    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(logging.INFO)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write({"level": record.levelname.lower(), "message": shown(record.getMessage())})


class _Printing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(shown(f"{record.levelname.lower()}: {record.getMessage()}"))


def _is_drift(record: logging.LogRecord) -> bool:
    return isinstance(record.args, tuple) and any(
        isinstance(argument, Drift) for argument in record.args
    )
