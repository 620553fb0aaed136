"""JSON by orjson, if it is installed, and by Python otherwise: the same text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from importlib import import_module
from json.encoder import encode_basestring
from typing import Any

__all__ = ["moment_text", "moments_text", "text_of"]


@cache
def orjson_dumps() -> Callable[[Any], bytes] | None:
    """Return ``orjson.dumps``, imported at its first use; None if it is not installed."""
    try:
        dumps: Callable[[Any], bytes] = import_module("orjson").dumps
    except ImportError:  # it is an extra
        return None
    return dumps


def text_of(value: Any) -> str:
    """Return what JSON can express as JSON, on one line and without spaces."""
    if type(value) is str:
        return encode_basestring(value)
    if (dumps := orjson_dumps()) is not None:
        try:
            return dumps(value).decode()
        except TypeError:
            pass  # half of a surrogate pair, which a document of the type json may hold
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def moment_text(moment: datetime) -> str:
    """Return the JSON of a moment that is naive or in UTC."""
    if (dumps := orjson_dumps()) is not None:
        return dumps(moment).decode()
    return f'"{moment.isoformat()}"'


def moments_text(moments: Sequence[datetime]) -> list[str]:
    """Return the JSON of moments that are naive or in UTC."""
    if (dumps := orjson_dumps()) is not None:
        return dumps(moments).decode()[1:-1].split(",")
    return [f'"{moment.isoformat()}"' for moment in moments]
