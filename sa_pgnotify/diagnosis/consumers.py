"""What the checks report about one consumer."""

from __future__ import annotations

from ..consuming.overview import ConsumerStatus
from .findings import Finding

__all__ = ["lost", "name_of"]


def name_of(consumer: ConsumerStatus) -> str:
    """Return the name of a consumer for a sentence, with its part if there are several."""
    part, parts = consumer.partition
    return repr(consumer.name) if parts == 1 else f"{consumer.name!r}, part {part} of {parts},"


def lost(consumer: ConsumerStatus) -> Finding:
    """Return the finding that changes are gone that a consumer had not read."""
    text = (
        f"{name_of(consumer)} has lost changes that it had not read: the log has removed them at its limits, or was restored. "
        'It gets Gap("lost_position") when it runs.'
    )
    fix = f"Correct what it writes, and then, if its handler stops at the Gap, run sa-pgnotify seek {consumer.name} beginning."
    return Finding("problem", "consumers", text, fix)
