"""How far consumers may be behind: the options ``--max-lag`` and ``--max-age``."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

__all__ = ["Consumers", "MaxAge", "MaxLag"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Return the seconds of a time like ``90``, ``1.5s``, ``5m``, ``2h`` or ``1d``.

    :raises typer.BadParameter: if it is anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(text).strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time. Write 90s, 5m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


_seconds: Any = seconds_of  # of a time, which the type of the parameter does not say

MaxLag = Annotated[
    int | None,
    typer.Option(
        "--max-lag", metavar="N", min=0, help="Fail if a consumer is further behind, in changes."
    ),
]
MaxAge = Annotated[
    float | None,
    typer.Option(
        "--max-age",
        metavar="TIME",
        parser=_seconds,
        help="Fail if a change has waited longer: 90s, 5m, 2h.",
    ),
]
Consumers = Annotated[
    list[str] | None,
    typer.Option(
        "--consumer",
        metavar="NAME",
        help="Look at this consumer only; may be given more than once.",
    ),
]
