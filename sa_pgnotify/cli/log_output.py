"""Show what the library logs while a command runs, such as a lost connection, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

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


class _Printing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(shown(f"{record.levelname.lower()}: {record.getMessage()}"))


def _is_drift(record: logging.LogRecord) -> bool:
    return isinstance(record.args, tuple) and any(
        isinstance(argument, Drift) for argument in record.args
    )
