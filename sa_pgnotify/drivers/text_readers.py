"""Fast readers for types that all drivers read in the same way: they parse a whole column in one C
call.

The result has to be the same for every number and every text that PostgreSQL may send. With the
extra ``fast``, msgspec parses integers and JSON. It either returns what :mod:`json` returns, or
raises (for a float out of range, or half a surrogate pair), and then :mod:`json` parses the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from .interface import TextReader

try:
    from msgspec.json import Decoder
except ImportError:
    Decoder = None  # type: ignore[assignment,misc]

__all__ = ["DECIMALS", "INTEGERS", "JSON"]


def _each_alone(one: Callable[[str], Any]) -> Callable[[Sequence[str]], list[Any]]:
    return lambda texts: list(map(one, texts))


def _as_array(
    parse: Callable[[str], list[Any]], one: Callable[[str], Any]
) -> Callable[[Sequence[str]], list[Any]]:
    """Return a function that parses all texts at once as a JSON array, or one by one if that
    fails."""

    def every(texts: Sequence[str]) -> list[Any]:
        try:
            values = parse(f"[{','.join(texts)}]")
            if len(values) == len(texts):  # a forged text such as "1,2" makes it longer
                return values
        except (ValueError, RecursionError):
            pass
        return list(map(one, texts))

    return every


INTEGERS = TextReader(
    int, _each_alone(int) if Decoder is None else _as_array(Decoder(list[int]).decode, int)
)
DECIMALS = TextReader(Decimal, _each_alone(Decimal))
JSON = TextReader(
    json.loads, _as_array(json.loads if Decoder is None else Decoder().decode, json.loads)
)
