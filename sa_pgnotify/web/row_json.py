"""Converting a row of a result, and its key, to JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime, time
from enum import Enum
from math import isfinite
from typing import Any

from sqlalchemy import Row, inspect

__all__ = ["key_text", "plain", "row_text"]


def key_text(key: Hashable) -> str:
    """Return the key of a row as JSON text, which is the same in every process."""
    return json.dumps(key, default=_expressed, separators=(",", ":"))


def plain(row: Row[Any]) -> Any:
    """Return a row as a dict of the values that a page shows.

    A row of one entity becomes the dict of its attributes. Any other row becomes a dict of its
    elements by their names, in which each entity is a dict of its attributes.
    """
    elements = {name: _attributes(value) for name, value in row._mapping.items()}
    if len(elements) == 1:
        (only,) = elements.values()
        if isinstance(only, dict):
            return only
    return elements


def _attributes(value: Any) -> Any:
    state: Any = None if value is None else inspect(value, raiseerr=False)
    mapper = getattr(state, "mapper", None)
    if mapper is None or isinstance(value, Mapping):
        return value
    names = [attribute.key for attribute in mapper.column_attrs]
    return {name: state.dict[name] for name in names if name in state.dict}


def row_text(row: Row[Any], encode: Callable[[Row[Any]], Any]) -> str:
    """Return a row as JSON text, with strings for types that JSON does not have.

    :param encode: converts the row to what JSON can express.
    """
    encoded = encode(row)
    try:
        return json.dumps(encoded, default=_expressed, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a float that JSON does not have
        return json.dumps(_finite(encoded), default=_expressed, separators=(",", ":"))


def _expressed(value: Any) -> Any:
    """Return a value of a type that JSON does not have as one that it has."""
    match value:
        case bytes() | bytearray() | memoryview():
            return f"\\x{value.hex()}"  # as PostgreSQL writes it
        case datetime() | time():
            return value.isoformat()
        case Enum():
            return value.value
    return str(value)


def _finite(value: Any) -> Any:
    """Return a value with strings in place of NaN and infinity."""
    match value:
        case float():
            return value if isfinite(value) else str(value)
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value
