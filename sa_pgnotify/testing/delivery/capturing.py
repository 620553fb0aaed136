"""The captures of a :class:`sa_pgnotify.testing.DeliveryCheck`, each in a process that is killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from ...capture.capture import Capture
from ...errors import PgNotifyError
from . import copies  # noqa: F401 (whose tables are captured as well)
from .readers import engine_for
from .tables import CAPTURED

__all__ = ["CaptureRows"]

logger = logging.getLogger("sa_pgnotify.testing")


@dataclass(frozen=True)
class CaptureRows:
    """Capture the tables of the check, or stand by."""

    url: str

    def consume(self, keep: Callable[[Any], bool]) -> Iterator[None]:
        """Capture, and yield after each failure, before a new capture begins."""
        engine = engine_for(self.url)
        while True:
            capture = Capture(engine, CAPTURED)
            try:
                if keep(capture):
                    capture.run()
            except (DBAPIError, PgNotifyError) as error:
                logger.info("a capture begins again: %s", error)
            yield
