"""Readers for what the drivers' own classes read alike: a whole column in one call of C, with the
same results.

It is hard because "the same" has to hold for every number and every text that PostgreSQL may send.
With the extra ``fast``, msgspec parses integers and JSON: it either gives what :mod:`json` gives,
or raises (a float beyond all bounds, half a surrogate pair), and then :mod:`json` is asked.
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


def _mapping(one: Callable[[str], Any]) -> Callable[[Sequence[str]], list[Any]]:
    return lambda texts: list(map(one, texts))


def _joining(
    parse: Callable[[str], list[Any]], one: Callable[[str], Any]
) -> Callable[[Sequence[str]], list[Any]]:
    """All texts parsed at once, as a JSON array, and by ``one`` what cannot be."""

    def every(texts: Sequence[str]) -> list[Any]:
        try:
            values = parse(f"[{','.join(texts)}]")
            if len(values) == len(texts):  # not of a forged text such as "1,2"
                return values
        except (ValueError, RecursionError):
            pass
        return list(map(one, texts))

    return every


INTEGERS = TextReader(
    int, _mapping(int) if Decoder is None else _joining(Decoder(list[int]).decode, int)
)
DECIMALS = TextReader(Decimal, _mapping(Decimal))
JSON = TextReader(
    json.loads, _joining(json.loads if Decoder is None else Decoder().decode, json.loads)
)
