"""What ``doctor`` reports, as a record: how serious it is, what it is about, what was found, and
what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["good", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar severity: ``"good"``; ``"note"``: worth knowing; ``"warning"``: it may become a problem;
        ``"problem"``: changes are not delivered, writes fail, or soon nobody can commit.
    :ivar subject: what it is about, in a word: server, listening, queue, ...
    :ivar text: what was found, and ``fix`` what to do about it, each in full sentences on one
        line; ``fix`` is empty if nothing needs to be done.
    """

    severity: Severity
    subject: str
    text: str
    fix: str = ""
