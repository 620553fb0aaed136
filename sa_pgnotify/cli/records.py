"""Records of the library as JSON, one object a line, for programs: the option ``--json``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from .console import write_exactly

__all__ = ["Json", "print_records"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def print_records(records: Iterable[Any]) -> None:
    """Print dataclasses with their fields as members; moments are in ISO 8601."""
    for record in records:
        write_exactly(f"{json.dumps(asdict(record), default=_text)}\n")


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
