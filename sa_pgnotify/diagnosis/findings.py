"""The record that ``doctor`` reports: how serious a finding is, what was found, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["good", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of examining one thing.

    :ivar severity: ``"good"``; ``"note"``: worth knowing; ``"warning"``: it may become a problem;
        ``"problem"``: changes are not delivered, writes fail, or COMMIT is about to fail.
    :ivar subject: what it is about, in a word: server, listening, queue, ...
    :ivar text: what was found, in full sentences on one line.
    :ivar fix: what to do about it, likewise; empty if nothing needs to be done.
    """

    severity: Severity
    subject: str
    text: str
    fix: str = ""
