"""A row of a result as JSON, as a page reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from sqlalchemy import Row, inspect

__all__ = ["key_text", "plain", "row_text"]


def key_text(key: Hashable) -> str:
    """Return the key of a row as a text, the same in every process: JSON of the identity."""
    return json.dumps(key, default=str, separators=(",", ":"))


def plain(row: Row[Any]) -> Any:
    """Return a row as a page reads it: of one entity, its attributes by their names; of several
    elements, each by its name, with an entity as an object of its own."""
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
    """Return a row as JSON. What JSON does not have, such as a Decimal or a date, is a text."""
    return json.dumps(encode(row), default=str, separators=(",", ":"))
